"""Checks the direction of includes: a file may include only its own layer and those below.

The layers stand in one list each, bottom first; names on one line are on one level and do not
include each other. DESIGN and ARCHITECTURE.md, "Layers", show the same lists.
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
    "trace",
    "kernels",
    "lab",
    "api",
    "py",
]
PYTHON_LAYERS = [
    "errors _budget _ffi_build _machine _tables",
    "_lib",
    "clock native topology threads sync waiting",
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


def check_c(root: Path) -> list[str]:
    """Complaints about csrc/."""
    complaints = []
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


def check_python(root: Path) -> list[str]:
    """Complaints about python/filar/."""
    complaints = []
    for path in sorted(root.rglob("*.py")):
        layer = python_layer(path, root)
        text = path.read_text()
        for target in re.findall(r"^\s*(?:from|import)\s+filar\.(\w+)", text, re.MULTILINE):
            if target not in ("_filar",):
                complaints.append(complain_about(str(path), layer, target, PYTHON_LAYERS))
        if layer != "_lib" and re.search(r"filar\._filar", text) and layer != "_ffi_build":
            complaints.append(f"{path}: only _lib.py imports the extension module")
    return [complaint for complaint in complaints if complaint]


def main(arguments: list[str]) -> int:
    """Checks the tree given, or the one this file stands in."""
    root = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).parent.parent
    complaints = check_c(root / "csrc") + check_python(root / "python" / "filar")
    print("\n".join(complaints) or "layers: every include points down")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
