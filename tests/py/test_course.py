"""The course: notebooks of one shape that follow each other; what they offer to try, with ipywidgets and without."""

import builtins
import importlib
import re
import sys
from pathlib import Path

import pytest

from filar import DeadlineError, FilarError, InvalidArgumentError, NotFoundError, chart, lab
from filar.lab import play
from filar.lab.base import HOLDS, Rows
from rows import row
from synthetic import result

ROOT = Path(__file__).resolve().parents[2]
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARTS = ("## What do you expect?", "**What the verdict means.**", "## Try it", "## Next")


def read(path):
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    return nbformat.read(path, as_version=4)


def words(book):
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")


def code(book):
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")


# ---- the notebooks ----


def test_the_notebooks_are_numbered_without_a_gap():
    assert [int(path.stem[:2]) for path in BOOKS] == list(range(1, len(BOOKS) + 1))
    assert 10 <= len(BOOKS) <= 12


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_asks_one_question_and_has_all_parts(path):
    book = read(path)
    opening = book.cells[0].source.splitlines()[0]
    assert opening.startswith("# ")
    assert opening.endswith("?")
    text = words(book)
    found = [text.find(part) for part in PARTS]
    assert -1 not in found, dict(zip(PARTS, found, strict=True))
    assert found == sorted(found)
    assert sum(line.startswith("# ") for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines()) == 1
    named = re.findall(r'lab\.run\("([^"]+)"', text + code(book))
    assert named
    assert set(named) <= set(lab.experiments()), path.name
    assert len(set(re.findall(r'lab\.run\("([^"]+)"', code(book)))) <= 4
    own = ["## Try it" in cell.source for cell in book.cells].index(True)
    assert any(cell.cell_type == "code" and "lab." in cell.source for cell in book.cells[own:])


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_links_to_the_next_and_no_link_is_dead(path):
    targets = re.findall(r"\]\(([^)#\s]+)\)", words(read(path)))
    for target in targets:
        assert (path.parent / target).exists(), target
    following = BOOKS[(BOOKS.index(path) + 1) % len(BOOKS)]
    assert following.name in targets


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_outputs(path):
    cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", {})}
    assert "image/svg+xml" in kinds
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    assert not any(cell.metadata for cell in cells)
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)


def test_what_is_of_one_run_only_is_not_kept():
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    course = importlib.import_module("course")
    new = nbformat.v4
    live = new.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "VBox()"})
    picture = new.new_output("execute_result", {"image/svg+xml": "<svg/>", "text/plain": "Dots(a=1, b=2)"})
    said = new.new_output("stream", name="stdout", text="said")
    noise = new.new_output("stream", name="stderr", text="a warning")
    cell = new.new_code_cell("1", outputs=[live, picture, said, noise], metadata={"execution": {"at": "12:00"}})
    book = course.kept(new.new_notebook(cells=[new.new_markdown_cell("# A"), cell], metadata={"widgets": {}}))
    assert [one.output_type for one in book.cells[1].outputs] == ["execute_result", "stream"]
    assert book.cells[1].outputs[0].data["text/plain"] == "Dots"
    assert book.cells[1].metadata == {}
    assert "widgets" not in book.metadata


# ---- measuring with other numbers ----


def test_one_number_is_one_variant_and_several_are_compared():
    alone = lab.measure("spin", steps=50, seconds=0.02)
    assert {one.variant for one in alone.rows} == {"spin"}
    several = lab.measure("spin", steps=[50, 5_000], seconds=0.02)
    assert several.rows.variants() == ["steps 50", "steps 5,000"]
    assert [several.rows.find(name).params["steps"] for name in several.rows.variants()] == [50, 5_000]
    assert "steps 5,000" in several._repr_html_()


def test_several_parameters_are_combined():
    table = lab.measure("data-pointer", bytes=[64, 128], process=[0, 1], seconds=0.05)
    assert len(table.rows.variants()) == 4
    assert "bytes 64, process 0" in table.rows.variants()


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"steps": []}, "no number"),
        ({"steps": "50"}, "whole number"),
        ({"steps": [1.5]}, "whole number"),
        ({"steps": True}, "whole number"),
        ({"stride": 1}, "it has steps"),
        ({"steps": range(25)}, "25 variants"),
        ({"steps": 1, "seconds": 0}, "seconds"),
        ({"steps": 1, "seconds": float("nan")}, "seconds"),
        ({"steps": -1}, "steps"),
    ],
)
def test_bad_numbers_are_refused_with_a_sentence(numbers, words):
    with pytest.raises(FilarError, match=words):
        lab.measure("spin", **numbers)


def test_numbers_that_take_too_long_end_with_a_sentence(monkeypatch):
    monkeypatch.setattr(play, "PATIENCE_S", 0.1)
    with pytest.raises(DeadlineError, match=r"longer than 0\.14 s"):
        lab.measure("n1-share", window_ns=10_000_000_000, seconds=0.01)


def test_a_way_that_is_not_there_is_named():
    with pytest.raises(NotFoundError, match="no-such-way"):
        lab.measure("no-such-way")


# ---- exploring ----


def test_without_ipywidgets_exploring_is_measuring(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **more):
        if name.partition(".")[0] == "ipywidgets":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.delitem(sys.modules, "ipywidgets", raising=False)
    assert lab.explore("spin", steps=[50, 100], seconds=0.02).rows.variants() == ["steps 50", "steps 100"]


def test_outside_a_notebook_exploring_is_measuring():
    assert play._widgets() is None
    assert lab.explore("spin", steps=[50, 100], seconds=0.02).rows.variants() == ["steps 50", "steps 100"]


@pytest.fixture
def controls(monkeypatch):
    """What explore() shows in a notebook: fields, button, answer."""
    widgets = pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    display = pytest.importorskip("IPython.display")
    shown = []
    monkeypatch.setattr(play, "_widgets", lambda: widgets)
    monkeypatch.setattr(display, "display", shown.append)
    table = lab.explore("spin", steps=[50, 100], seconds=0.02)
    assert table.rows.variants() == ["steps 50", "steps 100"]
    (box,) = shown
    line, answer = box.children
    field, button = line.children
    return field, button, answer


def test_with_ipywidgets_a_number_is_measured_beside_the_first(controls):
    field, button, answer = controls
    assert (field.description, field.value) == ("steps", 100)
    field.value = 7_000
    button.click()
    assert "steps 50" in answer.value
    assert "steps 7,000" in answer.value
    assert not button.disabled


def test_a_number_that_is_refused_is_answered_in_words(controls):
    field, button, answer = controls
    field.value = -3
    button.click()
    assert "steps" in answer.value
    assert "<table" not in answer.value
    assert not button.disabled


def test_only_a_live_notebook_gets_controls(monkeypatch):
    ipython = pytest.importorskip("IPython")
    widgets = pytest.importorskip("ipywidgets")

    class Shell:
        """A terminal: no kernel."""

    monkeypatch.setattr(ipython, "get_ipython", Shell)
    assert play._widgets() is None
    Shell.kernel = None
    assert play._widgets() is widgets


# ---- guessing ----


def measured(value, unit="ns"):
    return result("kthread-create", HOLDS, rows=Rows([row("default", "create+join", value, unit=unit)]))


@pytest.mark.parametrize(
    ("guess", "words"),
    [
        ("10 µs", "was 4 times too low: it is 40 µs"),
        (10_000, "was 4 times too low"),
        ("0.4 ms", "was 10 times too high"),
        ("42us", "was good"),
    ],
)
def test_a_guess_is_compared(guess, words):
    assert words in measured(40_000).guess(guess, "default")


@pytest.mark.parametrize("guess", ["", "much", "10 apples", "10 MiB", 0, -5, float("nan"), float("inf")])
def test_what_is_no_guess_is_refused(guess):
    with pytest.raises(ValueError):
        measured(40_000).guess(guess, "default")


def test_nothing_measured_is_told_without_a_ratio():
    assert "it is 0" in measured(0.0, "percent").guess("1 %", "default")


def test_a_guess_at_what_was_not_measured_names_what_was():
    with pytest.raises(NotFoundError, match="'default', 'create\\+join'"):
        measured(40_000).guess("1 µs", "another")


@pytest.mark.parametrize("unit", ["ns", "B", "percent", "ratio", "count", "1/s", "s", "KiB"])
@pytest.mark.parametrize("value", [0.5, 1.0, 21.3, 4_096.0, 123_000.0])
def test_what_is_written_is_read_again(value, unit):
    text = chart.format_quantity(value, unit, digits=12)
    assert chart.parse_quantity(text, unit) == pytest.approx(value, rel=1e-6)


def test_invalid_numbers_are_invalid_arguments():
    with pytest.raises(InvalidArgumentError):
        lab.measure("spin", steps="many")
