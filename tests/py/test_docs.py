"""The documentation: the site builds without a warning, its code runs, and who follows a page gets what it says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from programs import SECONDS_MAX

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([DOCS / "tutorial.md", DOCS / "networking.md", *DOCS.glob("how-to/*.md")])


def blocks(page: Path) -> list[str]:
    """The Python code of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env={**os.environ, **environment},
    )


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    command = ["-m", "mkdocs", "build", "--strict", "--quiet", "-f", ROOT / "mkdocs.yml", "-d", tmp_path / "site"]
    done = run(*command, NO_MKDOCS_2_WARNING="1")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    c_page = (tmp_path / "site/reference/c.html").read_text()
    assert "filar_green_spawn" in c_page
    assert "KernelThread" in (tmp_path / "site/reference/python.html").read_text()
    check_course(tmp_path / "site")
    check_offline(tmp_path / "site")


def check_course(site):
    """Each notebook is a page with its pictures, in the navigation of all of them and in the table of contents."""
    names = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    contents = (site / "course/index.html").read_text()
    for name in names:
        page = (site / f"course/{name}.html").read_text()
        assert "filar-chart" in page, name
        assert "What do you expect?" in page
        assert all(f'href="{other}.html"' in page for other in names if other != name), name
        assert f'href="{name}.html"' in contents.partition("<table>")[2]
    assert not list(site.rglob("*.ipynb"))


def check_offline(site):
    """No page asks for anything from elsewhere: no script, style, font or picture."""
    asks = re.compile(r'<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)="(?:https?:)?//[^"]*"')
    for page in site.rglob("*.html"):
        found = [one for one in asks.findall(page.read_text()) if 'rel="canonical"' not in one]
        assert not found, f"{page.relative_to(site)}: {found[:2]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, tmp_path):
    code = blocks(page)
    assert code
    for number, block in enumerate(code):
        script = tmp_path / f"{page.stem}_{number}.py"
        script.write_text(block)
        done = run(script, FILAR_LAB_QUICK="1")
        assert done.returncode == 0, f"block {number} of {page.name}:\n{done.stderr}"


@pytest.fixture
def experiment_of_the_page(tmp_path):
    """The file that a reader of the how-to makes."""
    (code,) = blocks(DOCS / "how-to/add-an-experiment.md")
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 30
    path = tmp_path / "my_experiments.py"
    path.write_text(code)
    return path


def test_an_experiment_made_by_the_page_is_one_like_all_others(experiment_of_the_page, tmp_path):
    def filar(*arguments):
        done = run("-m", "filar", *arguments, FILAR_EXPERIMENTS=str(experiment_of_the_page), NO_COLOR="1")
        assert done.returncode in (0, 1), done.stderr  # compare: 1 where something became slower
        return done.stdout

    assert "queue-cost" in [one["name"] for one in json.loads(filar("list", "--json"))]
    result = json.loads(filar("run", "queue-cost", "--quick", "--json", "-"))
    assert {row["variant"] for row in result["rows"]} == {"Queue", "SimpleQueue"}
    filar("report", "--quick", "--only", "queue-cost", "--out", tmp_path / "first", "--no-progress")
    filar("report", "--quick", "--only", "queue-cost", "--out", tmp_path / "second", "--no-progress")
    page = (tmp_path / "first/report.html").read_text()
    assert "queue.SimpleQueue costs less than half" in page
    compared = json.loads(
        filar("compare", tmp_path / "first/report.json", tmp_path / "second/report.json", "--json", "-")
    )
    assert "queue-cost" in {row["experiment"] for row in compared["others"][0]["rows"]}


def test_a_file_that_cannot_be_loaded_is_named(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("import no_such_module\n")
    done = run("-m", "filar", "list", FILAR_EXPERIMENTS=str(bad))
    assert done.returncode == 2
    assert "bad.py, which cannot be loaded (ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr
