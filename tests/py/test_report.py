"""The page and the tables, from made-up results: they need no measurement to be right."""

from __future__ import annotations

import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import synthetic
from filar import chart, report
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, Row, Rows, Table, Verdict
from filar.lab.report import Report
from filar.lab.result import Result
from filar.lab.table import ResultTable
from filar.report import files, tables
from filar.report.html import PAGE_MAX_BYTES
from filar.report.machine import machine_facts, machine_line, overall_badge
from filar.report.markup import VOID, join, prose, script_json, tag
from filar.report.words import VERDICTS, duration, format_interval, groups_of, look_of, quantity, sentence

HOSTILE = "<script>alert('x')</script> & \"quotes\" ]]> --> \x00\x1b[31m \ud800"


class Outline(HTMLParser):
    """Checks that tags are balanced; collects headings, ids, links, text and elements."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.elements.append((name, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if re.fullmatch("h[1-6]", name):
            self.headings.append(int(name[1]))
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self.open, f"</{name}> closes nothing"
        assert self.open.pop() == name, f"</{name}> closes another element"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every result has one chart of each kind."""
    monkeypatch.setattr(Result, "charts", lambda self: synthetic.charts())


@pytest.fixture
def page(drawn: None) -> str:
    return report.page(synthetic.report([*synthetic.report().results, synthetic.self_check()]), "report.json")


# ---- the page ----


def test_page_is_well_formed_with_unique_ids_and_resolving_anchors(page: str) -> None:
    outline = Outline(page)
    assert len(set(outline.ids)) == len(outline.ids)
    inside = [a["href"][1:] for name, a in outline.elements if name == "a" and (a.get("href") or "").startswith("#")]
    assert inside
    assert set(inside) <= set(outline.ids)


def test_page_has_headings_in_order(page: str) -> None:
    levels = Outline(page).headings
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_page_loads_nothing(page: str) -> None:
    loading = {"src", "srcset", "poster", "data", "background", "action", "formaction", "xlink:href"}
    for name, attributes in Outline(page).elements:
        assert name not in ("img", "iframe", "object", "embed", "base", "link", "audio", "video"), name
        assert not loading & {key for key, value in attributes.items() if value}, (name, attributes)
        if attributes.get("href"):
            assert name == "a"
    assert "@import" not in page
    assert not re.search(r"url\(", page)
    # The only addresses are the svg namespace, which is a name, and sources named in text.
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page.replace("&#x27;", "'")


def test_page_says_each_verdict_in_words_with_its_reason(page: str) -> None:
    text = Outline(page).text
    for look in VERDICTS:
        assert look.word in text
    assert "holds only when it is quiet" in text
    assert "9.4 µs here (9.1 to 9.8, floor 8.2)" in text


def test_page_counts_verdicts_without_the_self_check(page: str) -> None:
    assert "4 claims, tested here" in Outline(page).text


def test_page_shows_all_parts_of_an_experiment(page: str) -> None:
    text = Outline(page).text
    for words in (
        "The claim of e0, a sentence of the theory.",
        "lecture notes, chapter 1",
        "It is compared with that.",
        "Skylake (Lemire 2020)",
        "lemire.me/blog/2020/01/30",
        "Child on the other core: not measured, there is one CPU.",
        "Where things are",
        "95 % interval",
        "quick mode, seed 7",
        "A/A check",
        "Example CPU @ 2.50GHz, 2 CPUs of 4 allowed",
        "21 November 2026",
    ):
        assert words in text, words


def test_page_has_all_charts_wide_and_narrow(page: str) -> None:
    labels = [
        a.get("aria-label") or "" for name, a in Outline(page).elements if name == "svg" and a.get("role") == "img"
    ]
    for one in synthetic.charts():
        # Four results and the self-check, each with a drawing for wide and one for narrow windows.
        assert sum(label.startswith(f"{one.title}.") for label in labels) == 10, one.title


def test_a_failed_self_check_is_seen_at_the_head() -> None:
    check = synthetic.self_check()
    assert 'class="trust ok"' in report.page(synthetic.report([check]))
    check.verdict = Verdict(FAILS, "too noisy")
    assert 'class="trust bad"' in report.page(synthetic.report([check]))


def test_table_headers_have_scope(page: str) -> None:
    assert all(a.get("scope") for name, a in Outline(page).elements if name == "th")


def test_page_is_for_light_dark_paper_and_phones(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert 'name="viewport"' in page
    assert "@media (max-width" in page


def test_published_figures_stand_beside_the_measured_one(drawn: None) -> None:
    row = Row("default", "create+join", "ns", np.full(50, 18_000.0))
    text = Outline(report.page(synthetic.report([synthetic.result(rows=Rows([row]))]))).text
    assert "9 µs 18 µs 2×" in text


def test_hostile_text_stays_text(drawn: None) -> None:
    evil = synthetic.result(
        "kthread-create",
        title=HOSTILE,
        family=HOSTILE,
        claim=HOSTILE,
        claim_source=HOSTILE,
        method=HOSTILE,
        verdict=Verdict(CONDITIONAL, HOSTILE, HOSTILE),
        rows=Rows([Row(HOSTILE, HOSTILE, HOSTILE, np.arange(9.0), note=HOSTILE)]),
        tables=[Table(HOSTILE, (HOSTILE, HOSTILE), ((HOSTILE, HOSTILE),))],
        notes=[HOSTILE],
        conditions={"badge": {"level": "warn", "text": HOSTILE}},
    )
    made = synthetic.report([evil], host={"cpu_model": HOSTILE, "python": HOSTILE}, notes=[HOSTILE])
    text = report.page(made, HOSTILE)
    outline = Outline(text)
    # The data and the theme switch are the only scripts, whatever the results say.
    assert [name for name, _ in outline.elements].count("script") == 2
    assert outline.text.count("alert('x')") > 8
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff]", text)
    text.encode()


def test_experiment_names_from_foreign_files_make_safe_ids() -> None:
    outline = Outline(report.page(synthetic.report([synthetic.result('a b"><i>')])))
    assert "a-b---i-" in outline.ids


def test_a_chart_that_cannot_be_drawn_costs_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Result) -> list[chart.Chart]:
        raise ZeroDivisionError("no rows")

    monkeypatch.setattr(Result, "charts", broken)
    text = Outline(report.page(synthetic.report())).text
    assert "could not be drawn (ZeroDivisionError: no rows)" in text
    assert "Skylake" in text


def test_embedded_json_reads_back(page: str) -> None:
    found = re.search(r'<script type="application/json" id="filar-report">(.*?)</script>', page, re.DOTALL)
    assert found
    again = Report.from_dict(json.loads(found[1]))
    assert [one.experiment for one in again] == ["e0", "e1", "e2", "e3", "self-check"]
    assert again["e0"].rows.median("default") == pytest.approx(synthetic.rows().median("default"), rel=1e-5)


def test_page_of_many_large_results_stays_below_the_limit(drawn: None) -> None:
    many = [Row(f"way {i}", "time", "ns", synthetic.samples(1e5, 3000, i)) for i in range(20)]
    results = [synthetic.result(f"e{i}", rows=Rows(many)) for i in range(35)]
    text = report.page(synthetic.report(results), "report.json")
    assert len(text.encode()) < PAGE_MAX_BYTES + 10_000 < 5_000_000
    assert "and 2," in Outline(text).text, "rows say how many samples are left out"
    # Half a megabyte of figures and 700 drawings leave no room for the data; the file beside has them.


def test_page_of_nothing() -> None:
    text = Outline(report.page(Report())).text
    assert "No experiment was finished." in text


def test_page_of_results_without_samples_or_host() -> None:
    empty = synthetic.result(rows=Rows(), tables=[], notes=[], references=[], conditions={}, host={})
    nan = synthetic.result("nan", rows=Rows([Row("a", "b", "ns", np.array([math.nan, math.nan]))]))
    text = Outline(report.page(synthetic.report([empty, nan], host={}))).text
    assert "Conditions were not recorded." in text


def test_write_makes_both_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = report.write(synthetic.report(), tmp_path / "deep" / "out")
    assert path == tmp_path / "deep" / "out" / "report.html"
    assert sorted(one.name for one in path.parent.iterdir()) == ["report.html", "report.json"]
    assert len(Report.load(path.parent / "report.json")) == 4


def test_a_failed_write_keeps_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(tmp_path / "report.html", "new")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_check_writable_leaves_no_folder_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        files.check_writable(tmp_path / "file" / "a" / "b")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    made = files.check_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    files.remove_empty(made)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


# ---- words, markup ----


def test_tag_escapes_all_but_markup() -> None:
    assert tag("p", "<b>", tag("i", "x"), None, ["&", 3], title='"', hidden=True, id=None) == (
        '<p title="&quot;" hidden>&lt;b&gt;<i>x</i>&amp;3</p>'
    )
    assert join("a", "\ud800\x00") == "a\ufffd\ufffd"


def test_prose_marks_code_and_escapes() -> None:
    assert prose("a `b<` c") == "a <code>b&lt;</code> c"
    assert prose("an odd ` stays") == "an odd ` stays"


def test_script_json_cannot_end_its_element() -> None:
    text = json.dumps({"a": "</script><!--&"})
    safe = script_json(text)
    assert "<" not in safe
    assert json.loads(safe) == json.loads(text)


@pytest.mark.parametrize(
    ("lo", "hi", "unit", "expected"),
    [
        (9_680, 10_400, "ns", "9.68 to 10.4 µs"),
        (980, 1_040, "ns", "980 ns to 1.04 µs"),
        (5, 5, "ns", "5 ns"),
        (0.98, 1.02, "x", "0.98× to 1.02×"),
        (math.nan, math.nan, "ns", "–"),
        (10, 20, "", "10 to 20"),
    ],
)
def test_format_interval(lo: float, hi: float, unit: str, expected: str) -> None:
    assert format_interval(lo, hi, unit) == expected


def test_units_of_rows_are_shown_as_people_write_them() -> None:
    shown = [quantity(12.5, "percent"), quantity(0.99781, "ratio"), quantity(1000, "count"), quantity(1e4, "1/s")]
    assert shown == ["12.5 %", "0.9978×", "1,000", "10,000 per s"]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (7260, "2 h 1 min")]
)
def test_duration(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a call takes 5 ns", "A call takes 5 ns."),
        ("break-even: 5 ns.", "Break-even: 5 ns."),
        ("k = 1: 50 %", "k = 1: 50 %."),
        ("kernel.pid_max binds", "kernel.pid_max binds."),
        ("2 threads ran!", "2 threads ran!"),
        ("", ""),
    ],
)
def test_sentence_begins_and_ends_as_one(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_a_verdict_word_of_a_newer_version_looks_undecided() -> None:
    assert look_of("holds on Tuesdays").style == "open"
    assert look_of(HOLDS).style == "holds"


def test_groups_put_what_is_compared_side_by_side() -> None:
    by_metric = groups_of(synthetic.rows(metric="a") + synthetic.rows(metric="b"))
    assert [(g.heading, [label for label, _ in g.rows]) for g in by_metric] == [
        ("a", ["default", "one core"]),
        ("b", ["default", "one core"]),
    ]
    one_variant = synthetic.rows(["x"], "a") + synthetic.rows(["x"], "b")
    assert [(g.heading, [label for label, _ in g.rows]) for g in groups_of(one_variant)] == [("x", ["a", "b"])]


def test_machine_in_words() -> None:
    assert machine_line({}) == "a CPU that was not recorded"
    limited = {**synthetic.HOST, "cpus_online": 2, "cpu_quota": 0.5}
    assert machine_line(limited) == "Example CPU @ 2.50GHz, 2 CPUs with a quota of 0.5"
    facts = dict(machine_facts(synthetic.report(complete=False)))
    assert facts["Kernel"] == "6.18.0, 250 Hz"
    assert facts["Runs in"] == "virtual machine (KVM)"
    assert facts["Mode"].endswith("stopped early")
    assert "Clock" not in facts, "what was not recorded is left out"


def test_overall_badge_counts_disturbed_experiments() -> None:
    def with_levels(*levels: str) -> Report:
        return synthetic.report([synthetic.result(conditions={"badge": {"level": x, "text": "t"}}) for x in levels])

    assert overall_badge(synthetic.report([synthetic.result(conditions={})])) is None
    quiet, noisy, bad = (
        overall_badge(with_levels(*levels)) for levels in (("ok", "ok"), ("ok",) * 7 + ("bad",), ("bad", "warn"))
    )
    assert quiet is not None
    assert noisy is not None
    assert bad is not None
    assert (quiet.level, noisy.level, bad.level) == ("ok", "warn", "bad")
    assert noisy.text == "noisy in 1 of 8 experiments"


# ---- tables for terminals ----


def test_table_fits_the_width_and_aligns() -> None:
    columns = [tables.Column("name"), tables.Column("n", right=True), tables.Column("words", breaks=True)]
    text = tables.text_table(columns, ["Family:", ("a", 5, "long words " * 12), ("bcd", 1234, "short")], 50, "  ")
    lines = text.splitlines()
    assert max(map(tables.cells, lines)) <= 50
    assert lines[2] == "Family:"
    assert lines[3].startswith("  a        5  long words")
    assert lines[-1] == "  bcd   1234  short"


def test_tables_count_columns_not_letters() -> None:
    assert tables.cells("µs") == 2
    assert tables.cells("漢字") == 4
    assert tables.cells("e\u0301") == 1
    assert tables.pad("漢", 4) + "|" == "漢  |"
    assert tables.shorten("漢字漢字", 5) == "漢字…"
    assert all(tables.cells(line) <= 10 for line in tables.fill("漢字" * 12, 10).splitlines())


def test_ascii_keeps_the_width() -> None:
    text = "✓ 9 µs … ±3 × ▁▂█ ─ ≤ é 漢?"
    plain = tables.to_ascii(text)
    assert plain.isascii()
    assert len(plain) == len(text)
    assert plain.startswith("+ 9 us ~")


def test_control_characters_do_not_reach_a_terminal() -> None:
    row = Row("a\x1b[2Jb\nc", "m\t", "ns", np.arange(8.0))
    text = ResultTable("", Rows([row])).text()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)


def test_the_table_of_rows_shows_median_interval_floor_tail_and_n() -> None:
    text = ResultTable("", Rows([Row("default", "create+join", "ns", np.linspace(9_000, 11_000, 301))])).text()
    assert "create+join:" in text
    line = text.splitlines()[-1].split()
    assert line[:3] == ["default", "10", "µs"]
    assert "9" in line
    assert line[-1] == "301"


def test_distribution_shows_where_samples_are() -> None:
    low, high = (Row(name, "t", "ns", synthetic.samples(at)) for name, at in (("low", 1e3), ("high", 1e5)))
    lines = tables.distribution([low, high], 80).splitlines()
    assert lines[0].index("█") < lines[1].index("█")
    assert "log axis" in lines[-1]
    assert max(map(tables.cells, lines)) <= 80
    assert tables.distribution([Row("same", "t", "ns", np.full(9, 5.0))]) == ""
    assert tables.distribution([]) == ""


def test_facts_table_writes_cells_for_people() -> None:
    facts = Table("Limits", ("limit", "value", "binds"), (("pid_max", 32768, True), ("nproc", None, False)))
    text = facts.text()
    assert "32,768" in text
    assert "yes" in text
    assert "–" in text


def test_of_a_long_table_the_main_metric_stands_and_the_rest_is_folded() -> None:
    variants = [f"variant {i}" for i in range(9)]
    long = synthetic.rows(variants) + synthetic.rows(variants, "create call")
    shown = report.page(synthetic.report([synthetic.result(rows=long)]))
    before, _, folded = shown.partition('<details class="more">')
    assert "9 more rows: create call" in folded
    assert before.count('scope="row">variant') == 9
    assert folded.count('scope="row">variant') == 9


def test_a_main_metric_of_many_rows_is_cut_and_no_row_is_lost() -> None:
    long = synthetic.rows([f"variant {i}" for i in range(30)])
    shown = report.page(synthetic.report([synthetic.result(rows=long)]))
    before, _, folded = shown.partition('<details class="more">')
    assert (before.count('scope="row">variant'), folded.count('scope="row">variant')) == (12, 18)


def test_a_short_table_is_not_folded() -> None:
    assert 'class="more"' not in report.page(synthetic.report())
