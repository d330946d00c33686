"""What the site has beyond docs/: pages that live elsewhere in the tree, and pages made from code.

- ARCHITECTURE.md, HACKING.md, RELEASING.md and the READMEs of the folders, with links among them kept and others
  turned into text.
- filar.h and `filar --help`, so that the reference is what is installed.
- The pages of bench/results.
- The notebooks with the outputs they were saved with, as pages of the course; nothing is run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from traitlets.config import Config

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
EXPERIMENT = re.compile(r'lab\.run\("([a-z0-9-]+)"')
# Pictures stand in the page, so that they follow its light or dark; no output is Markdown, and none is searched.
OUTPUTS = """{% extends 'markdown/index.md.j2' %}
{% macro shown(what) %}<div class="filar-output" data-search-exclude>{{ what }}</div>{% endmacro %}
{% macro said(what) %}{% set words = what | e %}{{ shown('<pre><code>%s</code></pre>' % words) }}{% endmacro %}
{% block data_svg %}{{ shown(output.data['image/svg+xml']) }}{% endblock %}
{% block data_html scoped %}{{ shown(output.data['text/html']) }}{% endblock %}
{% block data_text scoped %}{{ said(output.data['text/plain']) }}{% endblock %}
{% block stream %}{{ said(output.text) }}{% endblock %}
"""
SHOWN = Config(
    NbConvertBase={"display_data_priority": ["image/svg+xml", "text/html", "text/plain"]},
    ExtractOutputPreprocessor={"enabled": False},
)
SECTION = re.compile(r"^/\* ---- (.*?) -* \*/$", re.MULTILINE)


def on_config(config):
    """The pages of the course follow its first one in the navigation."""
    course = next(part["Course"] for part in config.nav if "Course" in part)
    course += [course_page(path) for path in notebooks()]
    return config


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
        add(files, config, course_page(path), notebook_markdown(path, pages))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lists what was added where docs/ has only the heading."""
    if page.file.src_uri == "results.md":
        found = sorted((ROOT / "bench/results").glob("*/peers.md"))
        lines = [f"- [{title(path)}]({results_page(path)}), {path.parent.name}\n" for path in found]
        return "".join([markdown, "\n", *lines])
    if page.file.src_uri == "course/index.md":
        return "\n".join([markdown.rstrip(), *map(course_row, notebooks()), ""])
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


def course_page(path):
    """Where a notebook stands."""
    return f"course/{path.stem}.md"


def course_row(path):
    """A line of the table of contents: number, question, experiments."""
    cells = nbformat.read(path, as_version=4).cells
    question = next(line for cell in cells for line in cell.source.splitlines() if line.startswith("# "))
    named = EXPERIMENT.findall("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    told = ", ".join(f"`{name}`" for name in dict.fromkeys(named))
    return f"| {int(path.stem[:2])} | [{question[2:]}]({path.stem}.md) | {told} |"


def notebook_markdown(path, pages):
    """The notebook as a page, its links those of the site."""
    exporter = MarkdownExporter(raw_template=OUTPUTS, config=SHOWN)
    notebook = nbformat.read(path, as_version=4)
    known = {**pages, **{f"notebooks/{other.name}": course_page(other) for other in notebooks()}}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = linked(cell.source, f"notebooks/{path.name}", course_page(path), known)
    return exporter.from_notebook_node(notebook)[0]
