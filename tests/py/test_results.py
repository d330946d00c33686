"""Results: tables, arrays, words, and files that come back as they were or are refused with one sentence."""

import builtins
import json
import math
import os
import re
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from filar import lab
from filar.errors import FilarError, NotFoundError, ResultFileError
from filar.lab import jsonfile
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Row, Rows, Series, Table, Verdict
from filar.lab.report import Report
from filar.lab.result import Result
from results import result


def test_a_result_comes_back_from_its_file_as_it_was(tmp_path):
    before = result()
    path = before.save(tmp_path / "a.json")
    after = Result.load(path)
    assert after.to_dict() == before.to_dict()
    assert after.verdict == before.verdict
    assert after.rows.ratio("other", "default").n == 49  # rounds 1 to 49 are in both
    assert after.tables == before.tables
    assert after.references == before.references
    np.testing.assert_allclose(after.rows.find("default").samples, before.rows.find("default").samples, rtol=1e-5)
    np.testing.assert_array_equal(after.series[0].subject, before.series[0].subject)


def test_a_report_comes_back_and_load_tells_the_two_apart(tmp_path):
    report = Report([result("one"), result("two")], {"cpu_model": "x"}, "quick", 3, "2026-11-21", 2.5, False, ["cut"])
    report.save(tmp_path / "r.json")
    again = lab.load(tmp_path / "r.json")
    assert isinstance(again, Report)
    assert again.to_dict() == report.to_dict()
    assert again.names() == ["one", "two"]
    assert not again.complete
    result().save(tmp_path / "a.json")
    assert isinstance(lab.load(tmp_path / "a.json"), Result)
    with pytest.raises(NotFoundError, match="it has one, two"):
        again["three"]


def test_the_error_of_the_self_check_is_the_same_before_and_after_a_file(tmp_path):
    rows = Rows([Row("float loop", "pair ratio", "ratio", np.full(9, 0.99845528441987))])
    report = Report([result("self-check", rows=rows)])
    again = Report.load(report.save(tmp_path / "r.json"))
    assert again.self_check == report.self_check
    assert report.self_check["error"] == pytest.approx(0.001545, rel=1e-3)
    assert Report([result("self-check", rows=Rows([Row("x", "y", "ns", [1.0])]))]).self_check["error"] is None


def test_nothing_that_is_not_finite_reaches_a_file():
    row = Row("v", "m", "ns", np.array([1.0, math.nan, math.inf, 2.0]))
    empty = Row("w", "m", "ns", np.array([]))
    data = result(
        rows=Rows([row, empty]),
        series=[Series("s", np.array([1.0, math.nan]), np.array([math.inf, 2.0]))],
        elapsed_s=math.nan,
        conditions={"share": math.nan, "badge": {"level": "ok", "text": ""}},
    ).to_dict()
    words = json.dumps(data, allow_nan=False)
    assert "NaN" not in words
    assert data["rows"][0]["samples"] == [1, None, None, 2]
    assert data["rows"][1]["median"] is None
    assert data["conditions"]["share"] is None
    assert Result.from_dict(json.loads(words)).elapsed_s == 0


@given(hnp.arrays(float, st.integers(0, 60), elements=st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf])))
def test_any_samples_survive_the_file_to_six_digits(samples):
    row = Row("v", "m", "ns", samples)
    again = jsonfile.row_from_dict(json.loads(jsonfile.dump(jsonfile.row_to_dict(row))), "the row")
    expected = np.where(np.isfinite(samples), samples, np.nan)
    np.testing.assert_allclose(again.samples, expected, rtol=1e-5)
    assert again.n == np.isfinite(samples).sum()


def test_long_rows_are_thinned_but_keep_extremes_and_figures(tmp_path):
    samples = np.random.default_rng(2).lognormal(0, 1, 50_000)
    samples[31_234] = 9e9
    before = result(rows=Rows([Row("v", "m", "ns", samples)]))
    after = Result.load(before.save(tmp_path / "a.json")).rows.find("v")
    assert len(after.samples) <= jsonfile.SAMPLES_MAX
    assert after.n == 50_000
    assert after.samples.max() == 9e9
    assert after.max == 9e9
    assert after.samples[after.round_numbers == 31_234] == 9e9
    assert after.median == pytest.approx(float(np.median(samples)), rel=1e-5)
    assert after.min == pytest.approx(samples.min(), rel=1e-5)


def test_long_series_are_thinned_and_say_so(tmp_path):
    y = np.sin(np.arange(300_000))
    y[77_777] = 55
    before = result(series=[Series("s", np.arange(300_000.0), y)])
    after = Result.load(before.save(tmp_path / "a.json")).series[0]
    assert len(after.x) <= jsonfile.POINTS_MAX
    assert after.points_total == 300_000
    assert after.y.max() == 55
    assert after.x[after.y.argmax()] == 77_777
    assert (np.diff(after.x) > 0).all()


def test_points_with_a_subject_are_kept_from_the_first_on_since_they_belong_together(tmp_path):
    subject = np.tile(np.arange(8), 5_000)
    before = result(series=[Series("ranks", subject.astype(float), subject[::-1].astype(float), subject=subject)])
    after = Result.load(before.save(tmp_path / "a.json")).series[0]
    assert len(after.x) == jsonfile.POINTS_MAX
    assert after.subject.tolist() == subject[: jsonfile.POINTS_MAX].tolist()
    assert after.points_total == 40_000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("{", "cut off"),
        ('{"schema": "filar-result/1", "rows": [{"variant": "de', "cut off"),
        ("hello", "is not JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[1, 2]", "not a file of filar"),
        ("3", "not a file of filar"),
        ('{"machine_info": {}, "benchmarks": []}', "not a file of filar"),
        ('{"schema": 5}', "not a file of filar"),
        ('{"schema": "filar-result/2"}', "written by a newer filar"),
        ('{"schema": "filar-report/17", "results": []}', "written by a newer filar"),
        ('{"schema": "filar-result/0"}', "written by an older filar"),
        ('{"schema": "filar-comparison/1"}', "is filar-comparison/1, not"),
        ('{"schema": "filar-result/1"}', "`experiment` is missing"),
        ('{"schema": "filar-report/1", "host": {}}', "`results` is missing"),
        ('{"schema": "filar-report/1", "results": [7]}', "an object was expected, not a number"),
        ('{"schema": "filar-result/1", "experiment": "x", "claim": "c", "rows": "none"}', "`rows` is text"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_with_one_sentence(tmp_path, words, sentence):
    path = tmp_path / "file.json"
    path.write_text(words)
    with pytest.raises(ResultFileError) as caught:
        lab.load(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is None
    assert isinstance(caught.value, FilarError)
    assert isinstance(caught.value, ValueError)


def test_every_truncation_of_a_file_is_refused(tmp_path):
    words = result(rows=Rows([Row("v", "m", "ns", np.arange(3.0))])).to_json()
    path = tmp_path / "cut.json"
    for length in range(0, len(words) - 1, 7):
        path.write_text(words[:length])
        with pytest.raises(ResultFileError):
            lab.load(path)


def test_what_is_wrong_inside_is_named(tmp_path):
    good = result().to_dict()

    def sentence(change):
        data = json.loads(json.dumps(good))
        change(data)
        with pytest.raises(ResultFileError) as caught:
            Result.from_dict(data, "a.json")
        return str(caught.value)

    assert "rows[0]: `samples` holds something" in sentence(lambda d: d["rows"][0].update(samples=["x"]))
    assert "rows[1]: `rounds` does not fit" in sentence(lambda d: d["rows"][1].update(rounds=[1]))
    assert "rows[1]: `n` is 3, but there are 50" in sentence(lambda d: d["rows"][1].update(n=3))
    assert "no verdict 'maybe'" in sentence(lambda d: d.update(verdict_word="maybe"))
    assert "needs its condition" in sentence(lambda d: d.update(verdict_word=CONDITIONAL, condition=""))
    assert "series[0]: `x` and `y`" in sentence(lambda d: d["series"][0].update(y=[1], subject=None, kind=None))
    assert "tables[0]: a row does not fit its 2" in sentence(lambda d: d["tables"][0].update(rows=[[1]]))
    assert "references[0]: `value` is text" in sentence(lambda d: d["references"][0].update(value="9"))


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\x7fELF\xff\xfe\x00")
    with pytest.raises(ResultFileError, match="it is not text"):
        lab.load(tmp_path / "x")


def test_a_missing_file_is_what_python_says():
    with pytest.raises(FileNotFoundError):
        lab.load("/nonexistent/result.json")


def test_saving_leaves_the_old_file_where_it_fails(tmp_path, monkeypatch):
    path = result().save(tmp_path / "a.json")
    old = path.read_text()

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        result("changed").save(path)
    assert path.read_text() == old
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_saved_file_has_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        path = result().save(tmp_path / "a.json")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_array_has_a_record_for_each_sample_and_cuts_no_names():
    long_name = (
        "a variant with a name that is longer than most, in two parts: the first and the second one, which is last"
    )
    rows = Rows([Row(long_name, "m", "ns", np.array([1.0, 2.0]), rounds=np.array([4, 9])), Row("b", "n", "1/s", [3.0])])
    array = result(rows=rows).to_array()
    assert array.dtype.names == ("variant", "metric", "unit", "round", "value")
    assert array["variant"].tolist() == [long_name, long_name, "b"]
    assert array["round"].tolist() == [4, 9, 0]
    assert array["value"].tolist() == [1, 2, 3]


def test_a_result_without_rows_has_an_empty_array():
    empty = result()
    empty.rows = Rows()
    assert len(empty.to_array()) == 0
    assert empty.raw == {}
    assert "Trust: 0 samples a row" in empty.explain()


def test_the_frame_is_the_array():
    pandas = pytest.importorskip("pandas")
    frame = result().to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["variant", "metric", "unit", "round", "value"]
    assert len(frame) == 100


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'filar\[lab\]'"):
        result().to_dataframe()


def test_the_table_is_aligned_and_has_units():
    table = result().table()
    lines = str(table).splitlines()
    assert lines[0].split()[:2] == ["median", "95"]
    assert lines[2] == "create+join:"
    assert len({len(line) for line in (lines[1], *lines[3:])}) == 1
    assert "µs" in lines[3]
    assert lines[3].endswith("50")
    assert "\n" not in repr(table)
    html = table._repr_html_()
    assert html.count("<th ") == 7
    assert html.count("<tr>") == 3


def test_a_table_of_facts_shows_itself() -> None:
    facts = Table("Limits", ("limit", "<value>", "binds"), (("pid\x1b[2J_max", 32768, True), ("<b>", None, False)))
    lines = str(facts).splitlines()
    assert lines[0] == "Limits"
    assert "32,768" in lines[3]
    assert lines[4].split() == ["<b>", "–", "no"]
    assert "\x1b" not in str(facts)
    html = facts._repr_html_()
    assert "Limits</caption>" in html
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "text-align:right" in html
    # Right on light and on dark pages: no colour but the text's own and half-transparent grey.
    assert not re.search(r"#[0-9a-f]{3}|color:(?!inherit)|background:(?!none)", html)


def test_a_result_shows_its_tables_too() -> None:
    made = result()
    assert "Facts</caption>" in made._repr_html_()
    assert str(made).endswith(str(made.tables[0]))


def test_a_ratio_is_shown_with_its_digits():
    rows = Rows([Row("loop", "pair ratio", "ratio", np.full(10, 0.9978))])
    assert "0.9978" in str(result(rows=rows).table())


def test_html_is_escaped():
    html = result(claim="<script>", rows=Rows([Row("<b>", "m", "ns", [1.0] * 9)]))._repr_html_()
    assert "<script>" not in html
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize(
    ("verdict", "opening"),
    [
        (Verdict(HOLDS, "r"), "It holds here: r."),
        (Verdict(FAILS, "r"), "It does not hold here: r."),
        (Verdict(CONDITIONAL, "r", "the core is shared"), "It holds only when the core is shared: r."),
        (Verdict(UNDECIDED, "r"), "It cannot be decided here: r."),
    ],
)
def test_explain_says_claim_verdict_method_and_trust(verdict, opening):
    words = result(verdict=verdict).explain()
    assert "Things cost time." in words
    assert opening in words
    assert "One. Two. Three." in words
    assert "Somebody 1999 9 µs" in words
    assert "50 samples a row, quick mode" in words
    assert "Quiet: foreign 1 %." in words
    assert "One variant could not run." in words


def test_a_result_of_an_unknown_experiment_has_no_charts_but_everything_else():
    stranger = result("from-another-version")
    assert stranger.charts() == []
    with pytest.raises(NotFoundError, match="has no picture"):
        stranger.plot()
    assert repr(stranger) == "<Result from-another-version: holds, 2 rows, quick>"


def test_merged_reports_keep_the_later_result_of_each_machine():
    early = Report([result("one", started="2026-01-01"), result("two", started="2026-01-01")], mode="quick")
    late = Report([result("one", started="2026-02-01", seed=2)], mode="quick", complete=False)
    elsewhere = Report([result("one", host={"cpu_model": "Other CPU"})], mode="full")
    merged = early.merge(late)
    assert [(r.experiment, r.seed) for r in merged] == [("one", 2), ("two", 1)]
    assert not merged.complete
    both = merged.merge(elsewhere)
    assert len(both) == 3
    assert both.mode == ""
    assert any("different machines" in note for note in both.notes)


def test_the_badge_of_a_broken_record_is_none():
    assert result(conditions={}).badge is None
    assert result(conditions={"badge": {"level": "great"}}).badge is None
    assert result().badge.level == "ok"
