"""Checks the direction of includes: a file may include only its own layer and those below.

The layers stand in one list each, bottom first; names on one line are on one level and do not
include each other. They are those of the tree, and ARCHITECTURE.md, "Layers", shows the same lists.
"""

import re
import sys
from pathlib import Path

C_LAYERS = [
    "base",
    "arch",
    "os",
    "sync",
    "kthread",
    "sched",
    "green",
    "block",
    "io",
    "pool",
    "kernels",
    "lab",
    "api",
    "py",
]
PYTHON_LAYERS = [
    "errors _budget _ffi_build _machine _tables",
    "_lib",
    "native topology threads sync waiting",
    "green",
    "aio net",
    "limits kernels pool queue channel",
    "joblib",
    "doctor",
    "chart",
    "watching",
    "predicting",
    "lab",
    "report",
    "cli",
    "__init__ __main__",
]


def level_of(layers: list[str], name: str) -> int | None:
    """The level of a folder or module, counted from the bottom."""
    return next((level for level, names in enumerate(layers) if name in names.split()), None)


def complain_about(source: str, source_layer: str, target_layer: str, layers: list[str]) -> str | None:
    """A sentence if `source` may not include from `target_layer`."""
    if source_layer == target_layer:
        return None
    here, there = level_of(layers, source_layer), level_of(layers, target_layer)
    if here is None or there is None:
        return (
            f"{source}: layer {source_layer if here is None else target_layer!r} is in no list (tools/check_layers.py)"
        )
    if there >= here:
        return f"{source}: {source_layer} includes from {target_layer}, which is not below it"
    return None


def check_names(layers: list[str], there: set[str], root: Path) -> list[str]:
    """Complaints about layers that are no folder or module of the tree, and about those of the tree in no list."""
    listed = {name for names in layers for name in names.split()}
    return [f"tools/check_layers.py: {root} has no {name}" for name in sorted(listed - there)] + [
        f"{root}: {name} is in no list (tools/check_layers.py)" for name in sorted(there - listed)
    ]


def check_shown(layers: list[str], page: Path) -> list[str]:
    """A complaint if the page does not show these layers in a line."""
    shown = " | ".join(layers)
    return [] if f"\n{shown} " in page.read_text() else [f"{page}: does not show the layers as {shown}"]


def check_c(root: Path) -> list[str]:
    """Complaints about csrc/."""
    complaints: list[str | None] = []
    there = {path.parent.name for path in root.glob("*/*.[chS]")} - {"include"}
    complaints += check_names(C_LAYERS, there, root)
    for path in sorted(root.glob("*/*.[chS]")):
        layer = path.parent.name
        if layer == "include":
            continue
        for target in re.findall(r'^\s*#\s*include\s+"([a-z]+)/', path.read_text(), re.MULTILINE):
            complaints.append(complain_about(str(path), layer, target, C_LAYERS))
        if layer != "py" and re.search(r"^\s*#\s*include\s+[<\"]Python\.h", path.read_text(), re.MULTILINE):
            complaints.append(f"{path}: Python.h is included only in csrc/py")
        if path.name != "atomic.h" and "#include <stdatomic.h>" in path.read_text():
            complaints.append(f"{path}: base/atomic.h is the only includer of stdatomic.h")
    return [complaint for complaint in complaints if complaint]


def python_layer(path: Path, root: Path) -> str:
    """The layer name of a Python file: its top folder or its own stem."""
    relative = path.relative_to(root)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def python_targets(text: str) -> list[str]:
    """The layers that a Python file imports from: `from filar.x import y`, `import filar.x`, `from filar import x`."""
    modules = re.findall(r"^\s*(?:from|import)\s+filar\.(\w+)", text, re.MULTILINE)
    names = re.findall(r"^\s*from\s+filar\s+import\s+(\([^)]*\)|.*)$", text, re.MULTILINE)
    # What else has a name in the package comes from its __init__.py, which is imported before anything of it.
    known = [name for line in names for name in re.findall(r"\w+", line) if level_of(PYTHON_LAYERS, name) is not None]
    return [target for target in (*modules, *known) if target != "_filar"]


def check_python(root: Path) -> list[str]:
    """Complaints about python/filar/."""
    complaints: list[str | None] = []
    complaints += check_names(PYTHON_LAYERS, {python_layer(path, root) for path in root.rglob("*.py")}, root)
    for path in sorted(root.rglob("*.py")):
        layer = python_layer(path, root)
        text = path.read_text()
        for target in python_targets(text):
            complaints.append(complain_about(str(path), layer, target, PYTHON_LAYERS))
        if layer != "_lib" and re.search(r"filar\._filar", text) and layer != "_ffi_build":
            complaints.append(f"{path}: only _lib.py imports the extension module")
    return [complaint for complaint in complaints if complaint]


def main(arguments: list[str]) -> int:
    """Checks the tree given, or the one this file stands in."""
    root = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).parent.parent
    complaints = check_c(root / "csrc") + check_python(root / "python" / "filar")
    complaints += [one for layers in (C_LAYERS, PYTHON_LAYERS) for one in check_shown(layers, root / "ARCHITECTURE.md")]
    print("\n".join(complaints) or "layers: every include points down")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
