"""Figures that programs write into pages: each page has its place, and shows what a report says."""

import shutil
from pathlib import Path

import pytest

import readme_figures
from filar.lab import predictions, watched
from filar.lab.base import HOLDS, Rows
from filar.lab.predictions import SUBTRACTED, WORK, PredictedSpeedup
from filar.lab.speedups import TIME
from rows import row
from synthetic import report, result

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/watching.md", "docs/predicting.md")


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """A copy of the pages, for the programs to write."""
    for page in PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    monkeypatch.setattr(readme_figures, "ROOT", tmp_path)
    return tmp_path


def cost_rows():
    found = []
    for what, off, on, records in (
        (watched.RECORD, 0.28, 26.3, 1),
        (watched.SWITCH, 8.0, 65.0, 2),
        (watched.SPAWN, 47.0, 219.0, 6),
        (watched.PARK, 28.0, 111.0, 3),
    ):
        found += [row(watched.variant(what, False), watched.PER_OPERATION, off)]
        found += [row(watched.variant(what, True), watched.PER_OPERATION, on)]
        found += [row(watched.variant(what, True), watched.RECORDS, records, unit="ratio", spread=0)]
    return Rows(found)


def speedup_rows(kernel, one, two, foretold):
    found = [row(PredictedSpeedup.on(kernel, n), TIME, time, cores=2) for n, time in ((1, one), (2, two))]
    for n, time in ((1, one), (2, one / foretold)):
        found.append(row(PredictedSpeedup.on(kernel, n), "predicted time", time, n=3, spread=0))
    recorded = PredictedSpeedup.variant(kernel, "recorded")
    return Rows([*found, row(recorded, WORK, one), row(recorded, SUBTRACTED, one / 100)])


def written(pages, results, tmp_path):
    saved = tmp_path / "report.json"
    report(results).save(saved)
    assert readme_figures.main(["", str(saved)]) == 0
    return {page: (pages / page).read_text() for page in PAGES}


def test_pages_show_what_the_report_says(pages, tmp_path):
    name = predictions.CHOSEN[0]
    texts = written(
        pages,
        [
            result("trace-cost", HOLDS, rows=cost_rows()),
            result(predictions.NAME, HOLDS, rows=speedup_rows(name, 4e6, 2e6, 1.9)),
        ],
        tmp_path,
    )
    watching, predicting = texts["docs/watching.md"], texts["docs/predicting.md"]
    assert "| switch between two green threads | 8 ns (" in watching
    assert "slowed down by 5.7 %" in watching
    assert f"| {name} | 1.90 | 2.00 | -5.0% | 2.00 (2.00 to 2.00) | -5.0% |" in predicting
    assert "Of 40 rounds." in predicting
    for text in texts.values():
        assert "Example CPU" in text
        assert text.count("<!-- figures: begin -->") == text.count("<!-- figures: end -->") == 1


def test_a_page_whose_experiment_was_not_measured_stays_as_it_is(pages, tmp_path, capsys):
    before = (pages / "docs/watching.md").read_text()
    texts = written(pages, [result("floors", HOLDS)], tmp_path)
    assert texts["docs/watching.md"] == before
    assert "the report has no trace-cost" in capsys.readouterr().err


def test_a_page_without_its_place_is_an_error(pages):
    page = pages / "docs/watching.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit, match=r"watching\.md has no place for figures"):
        readme_figures.fill(page, "figures", [])
