"""What the site has beyond docs/: pages that live elsewhere in the tree, and pages made from code.

- ARCHITECTURE.md, HACKING.md, RELEASING.md and the READMEs of the folders, with links among them kept and others
  turned into text.
- filar.h and `filar --help`, so that the reference is what is installed.
- The pages of bench/results, and the notebooks as HTML.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "ARCHITECTURE.md": "internals/architecture.md",
    "HACKING.md": "internals/hacking.md",
    "RELEASING.md": "internals/releasing.md",
    "bench/README.md": "internals/bench.md",
    "python/filar/lab/SCHEMA.md": "reference/schema.md",
    **{f"csrc/{name}/README.md": f"internals/{name}.md" for name in ("base", "block", "pool", "sched", "sync", "io")},
}
COMMANDS = ("report", "list", "run", "compare", "cluster", "topology", "doctor", "why-not")
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
SECTION = re.compile(r"^/\* ---- (.*?) -* \*/$", re.MULTILINE)


def on_files(files, config):
    """Adds the pages that are not in docs/."""
    pages = {name: page for name, page in PAGES.items() if (ROOT / name).exists()}
    for name, page in pages.items():
        add(files, config, page, linked((ROOT / name).read_text(encoding="utf-8"), name, page, pages))
    add(files, config, "reference/c.md", c_reference())
    add(files, config, "reference/command.md", command_reference())
    for path in sorted((ROOT / "bench/results").glob("*/peers.md")):
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        add(files, config, results_page(path), linked(text, name, results_page(path), pages))
    for path in notebooks():
        add(files, config, f"notebooks/{path.stem}.html", notebook_html(path))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lists what was added where docs/ has only the heading."""
    if page.file.src_uri == "results.md":
        found = sorted((ROOT / "bench/results").glob("*/peers.md"))
        lines = [f"- [{title(path)}]({results_page(path)}), {path.parent.name}\n" for path in found]
        return "".join([markdown, "\n", *lines])
    if page.file.src_uri == "notebooks.md":
        lines = [f"- [{notebook_title(path)}](notebooks/{path.stem}.html)\n" for path in notebooks()]
        return "".join([markdown, "\n", *lines])
    return markdown


def add(files, config, uri, content):
    """One generated file."""
    files.append(File.generated(config, uri, content=content))


def linked(text, source, page, pages):
    """Links to what is a page here become links to that page; links to other files of the tree become text."""

    def replace(match):
        words, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target:
            return match[0]
        whole = os.path.normpath(os.path.join(os.path.dirname(source), target))
        found = pages.get(whole) or (whole.removeprefix("docs/") if whole.startswith("docs/") else None)
        if found is None:
            return words
        return f"[{words}]({os.path.relpath(found, os.path.dirname(page))}{anchor})"

    return LINK.sub(replace, text)


def c_reference():
    """filar.h, a heading for each of its parts."""
    text = (ROOT / "csrc/include/filar.h").read_text(encoding="utf-8")
    head, _, rest = text.partition("/* cffi: begin */")
    body = rest.partition("/* cffi: end */")[0]
    lines = [line.removeprefix(" *").strip() for line in head.partition("*/")[0].splitlines()[1:]]
    lines = [f"**{line}**\n" if line == "Conventions" else line for line in lines]
    parts = SECTION.split(body)
    out = ["# C: filar.h", "", *lines, ""]
    for name, declarations in zip(parts[1::2], parts[2::2], strict=True):
        out += [f"## {name[:1].upper()}{name[1:]}", "", "```c", declarations.strip("\n"), "```", ""]
    return "\n".join(out)


def command_reference():
    """What --help says, of the command and of each of its commands."""
    out = ["# The filar command", ""]
    for name in ("", *COMMANDS):
        command = [sys.executable, "-m", "filar", *([name] if name else []), "--help"]
        environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
        text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        out += [f"## filar {name}".rstrip(), "", "```text", text.rstrip(), "```", ""]
    return "\n".join(out)


def results_page(path):
    """Where the page of one host stands."""
    return f"results/{path.parent.name}.md"


def title(path):
    """The first heading of a page."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ").strip()


def notebooks():
    """All of the course, in order."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def notebook_title(path):
    """The first heading of a notebook."""
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    return next((line[2:] for cell in cells for line in cell.source.splitlines() if line.startswith("# ")), path.stem)


def notebook_html(path):
    """The notebook as it was saved; nothing is run, and nothing is loaded from elsewhere."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    return exporter.from_filename(str(path))[0]
