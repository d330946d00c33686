"""Comparing results and reports: what changed, what did not, and what cannot be compared."""

import json
import math

import numpy as np
import pytest

from filar import lab
from filar.errors import InvalidArgumentError, ResultFileError
from filar.lab.base import FAILS, Row, Rows, Verdict
from filar.lab.report import Report
from filar.lab.selfcheck import RATIO
from filar.report import compare_html, comparison_page
from filar.report.compare_text import column_names
from results import result


def sample(median, *, seed=1, spread=0.05, n=80):
    return median * np.random.default_rng(seed).lognormal(0, spread, n)


def one(median, *, unit="ns", seed=1, **changes):
    return result(rows=Rows([Row("default", "create+join", unit, sample(median, seed=seed))]), **changes)


def word(base, other, **options):
    return lab.compare(base, other, **options).changes[0][0].word


@pytest.mark.parametrize(
    ("unit", "factor", "expected"),
    [
        ("ns", 1.3, "slower"),
        ("ns", 0.7, "faster"),
        ("ns", 1.0, "same"),
        ("1/s", 1.3, "faster"),
        ("req/s", 0.7, "slower"),
        ("bytes", 1.3, "more"),
        ("percent", 0.7, "less"),
    ],
)
def test_what_a_change_is_called_depends_on_its_unit(unit, factor, expected):
    assert word(one(1000, unit=unit), one(1000 * factor, unit=unit, seed=2)) == expected


def test_a_change_within_the_interval_is_none():
    assert word(one(1000, seed=1), one(1003, seed=9)) == "same"


def test_a_change_below_the_a_a_noise_is_none_even_if_its_interval_misses_one():
    base = one(1000, conditions={"self_check_percent": 8.0})
    rows = Rows([Row("default", "create+join", "ns", sample(1050, seed=1))])  # the very same noise: a sharp ratio
    assert word(base, result(rows=rows)) == "same"
    assert word(one(1000), result(rows=rows)) == "slower"


def test_the_noise_of_a_report_is_that_of_its_self_check():
    check = result("self-check", rows=Rows([Row("float loop", RATIO, "ratio", np.full(20, 1.06))]))
    found = lab.compare(Report([check, one(1000)]), Report([one(1050, seed=2)]))
    assert found.noise == [pytest.approx(0.06)]
    assert [c.word for c in found.changes[0]] == ["same"]


def with_loop(loop_ns, median, *, name="self-check", variant="float loop, A", host=None, **changes):
    """A report of a loop in registers and one experiment, both as long as the clock of its moment makes them."""
    loop = result(name, rows=Rows([Row(variant, "time", "ns", sample(loop_ns, spread=0.001))]))
    return Report([loop, one(median, **changes)], host=host or {"cpu_model": "X"})


def words_of(base, other):
    return [c.word for c in lab.compare(base, other).changes[0] if c.experiment == "made-up"]


@pytest.mark.parametrize("loop", [("self-check", "float loop, B"), ("floors", "1,000 additions")])
def test_a_change_that_the_clock_explains_is_none(loop):
    name, variant = loop
    calm = with_loop(800, 1000, name=name, variant=variant)
    slow_clock = with_loop(800 * 1.028, 1000 * 1.03, name=name, variant=variant)
    assert words_of(calm, slow_clock) == ["same"]
    assert words_of(calm, with_loop(800, 1000 * 1.03, name=name, variant=variant)) == ["slower"]
    assert words_of(calm, with_loop(800 * 1.028, 1000 * 1.2, name=name, variant=variant)) == ["slower"]
    found = lab.compare(calm, slow_clock)
    assert found.drift == [pytest.approx(0.028, abs=1e-3)]
    assert "took 2.8 % longer" in str(found)
    assert "up to 3.8 % counts as the same (A/A noise 1.0 %, drift 2.8 %" in str(found)
    assert "took 2.7 % less" in str(lab.compare(slow_clock, calm))


def test_the_loop_of_the_other_run_itself_is_not_slower():
    changes = lab.compare(with_loop(800, 1000), with_loop(830, 1000)).changes[0]
    assert [c.word for c in changes] == ["same", "same"]


def test_the_clock_probes_of_an_experiment_count_for_it_alone():
    def at(clock_ns, median):
        return Report([one(median, conditions={"clock_ns": clock_ns}), result("calm", conditions={"clock_ns": 800})])

    found = lab.compare(at(800, 1000), at(832, 1040))
    assert [c.word for c in found.changes[0]] == ["same", "same", "same"]
    assert [c.threshold for c in found.changes[0]] == [pytest.approx(0.05), 0.01, 0.01]
    assert lab.compare(at(800, 1000), at(800, 1040)).changes[0][0].word == "slower"
    assert lab.compare(at(None, 1000), at(832, 1040)).changes[0][0].word == "slower"


@pytest.mark.parametrize(
    "host", [{"cpu_model": "Y"}, {"cpu_model": "X", "build": {"compiler": "gcc 12", "flags": "-O0"}}]
)
def test_between_two_machines_or_builds_the_loop_is_no_drift(host):
    other = with_loop(1600, 1500, host=host)
    assert words_of(with_loop(800, 1000), other) == ["slower"]
    assert lab.compare(with_loop(800, 1000), other).drift == [0.0]


def test_slower_needs_a_floor_that_moved_the_same_way():
    samples = sample(1000, n=200)
    above = samples * 1.2
    above[0] = samples.min() * 0.99  # once it was as fast as ever

    def rows_of(values, unit):
        return result(rows=Rows([Row("default", "create+join", unit, values)]))

    assert word(rows_of(samples, "ns"), rows_of(samples * 1.2, "ns")) == "slower"
    assert word(rows_of(samples, "ns"), rows_of(above, "ns")) == "same"
    assert word(rows_of(above, "ns"), rows_of(samples, "ns")) == "same"
    assert word(rows_of(samples, "bytes"), rows_of(above, "bytes")) == "more"  # no floor: nothing disturbs bytes
    below = samples / 1.2
    below[0] = samples.max()  # the floor of a rate is its best, the greatest
    assert word(rows_of(samples, "1/s"), rows_of(samples / 1.2, "1/s")) == "slower"
    assert word(rows_of(samples, "1/s"), rows_of(below, "1/s")) == "same"


def test_the_interval_of_the_ratio_covers_the_ratio():
    ratio = lab.compare(one(1000), one(1300, seed=2)).changes[0][0].ratio
    assert ratio.contains(1.3)
    assert ratio.width < 0.1


def test_rows_and_experiments_of_only_one_side_are_named():
    rows = Rows([Row("a", "m", "ns", sample(1)), Row("b", "m", "ns", sample(1))])
    base = Report([result("x", rows=rows), result("gone")])
    other = Report([result("x", rows=Rows([Row("a", "m", "ns", sample(1)), Row("c", "m", "ns", sample(1))]))])
    found = lab.compare(base, other)
    assert found.only_in_base == [["gone", "x / b / m"]]
    assert found.only_in_other == [["x / c / m"]]
    assert [c.variant for c in found.changes[0]] == ["a"]
    assert "Only in A: gone, x / b / m" in str(found)


def test_nothing_in_common_is_said():
    found = lab.compare(result("x"), result("y"))
    assert "no row in common" in str(found)
    assert "no row in common" in found._repr_html_()


def test_a_changed_verdict_is_said():
    found = lab.compare(one(1), one(1, verdict=Verdict(FAILS, "r")))
    assert found.verdicts == [[("made-up", "holds", "does not hold here")]]
    assert "Verdict of made-up: holds → does not hold here" in str(found)


def test_host_differences_that_matter_are_shown_and_others_not():
    base = one(1, host={"cpu_model": "X", "python": {"version": "3.11"}, "load_average": [1]})
    other = one(1, host={"cpu_model": "Y", "python": {"version": "3.12"}, "load_average": [2]}, mode="full")
    differences = lab.compare(base, other).host_differences[0]
    assert differences == {"cpu_model": ("X", "Y"), "python.version": ("3.11", "3.12"), "mode": ("quick", "full")}
    assert "Host: cpu_model X → Y" in str(lab.compare(base, other))


def test_other_units_and_zero_medians_are_not_ratios():
    assert word(one(1000), one(1, unit="us")) == "other unit"
    zero = result(rows=Rows([Row("default", "create+join", "count", np.zeros(9))]))
    assert word(zero, zero) == "same"
    change = lab.compare(zero, one(5, unit="count")).changes[0][0]
    assert change.word == "not comparable"
    assert math.isnan(change.ratio.mid)


def test_three_are_each_compared_with_the_first():
    found = lab.compare(one(1000), one(2000, seed=2), one(500, seed=3), names=["old", "new", "odd"])
    assert [part[0].word for part in found.changes] == ["slower", "faster"]
    assert found.has_slower
    assert "old" in str(found)
    assert repr(found) == "<Comparison of old with new with odd: 1 faster, 1 slower, 0 same>"
    with pytest.raises(InvalidArgumentError, match="3 things to compare need as many names"):
        lab.compare(one(1), one(1), one(1), names=["a", "b"])


def test_paths_are_loaded_and_name_the_sides(tmp_path):
    (tmp_path / "x").mkdir()
    first, second = one(1000).save(tmp_path / "old.json"), one(2000, seed=2).save(tmp_path / "new.json")
    third = one(2000, seed=2).save(tmp_path / "x" / "old.json")
    assert lab.compare(first, str(second)).names == ["old", "new"]
    assert lab.compare(first, third).names == [tmp_path.name, "x"]
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ResultFileError, match="cut off"):
        lab.compare(first, tmp_path / "bad.json")
    with pytest.raises(InvalidArgumentError):
        lab.compare(3, first)


def test_reports_of_many_folders_are_named_after_these_as_short_as_can_be(tmp_path):
    paths = [tmp_path / folder / "report.json" for folder in ("monday", "tuesday/a", "wednesday/a")]
    for path in paths:
        path.parent.mkdir(parents=True)
        one(1000).save(path)
    assert lab.compare(*paths).names == ["monday", "tuesday/a", "wednesday/a"]
    assert lab.compare(*paths, one(1000).save(tmp_path / "monday/other.json")).names == [
        "monday/report",
        "tuesday/a/report",
        "wednesday/a/report",
        "other",
    ]


def test_one_file_twice_and_hosts_of_one_name_are_told_apart(tmp_path):
    path = one(1000).save(tmp_path / "same.json")
    assert lab.compare(path, path, path).names == ["same", "same (2)", "same (3)"]
    assert lab.compare(one(1), one(2), names=["node", "node"]).names == ["node", "node (2)"]
    assert lab.compare(*[one(1)] * 28).names[25:] == ["Z", "A1", "B1"]


def test_ten_results_make_one_page_with_all_of_them(tmp_path):
    ten = [one(1000 * 1.2**i, seed=i, host={"cpu_model": f"CPU {i}"}) for i in range(10)]
    names = [f"node-{i}" for i in range(10)]
    found = lab.compare(*ten, names=names)
    assert [len(part) for part in found.changes] == [1] * 9
    (dots,) = found.charts().values()
    assert [dot.label for dot in dots.rows] == names
    page = comparison_page(found)
    assert "Machines side by side" in page
    for i in range(1, 10):
        assert f'href="#part-{i}">node-{i}</a>' in page
        assert f'id="part-{i}">node-{i}</h2>' in page
        assert f"CPU {i}" in page
    assert all(name in str(found) for name in names)


def test_a_page_folds_rows_that_are_the_same_and_names_both_sides():
    many = Rows([Row(f"v{i}", "m", "ns", sample(1000, seed=i)) for i in range(20)])
    changed = Rows([Row("v0", "m", "ns", sample(3000, seed=0)), *list(many)[1:]])
    page = comparison_page(lab.compare(result(rows=many), result(rows=changed), names=["old", "new"]))
    assert "What changed" in page
    assert "<summary>19 rows that are the same</summary>" in page
    assert page.index(">3.000<") < page.index("<summary>19") < page.index(">v19<")
    assert '<th scope="col" class="figure">old</th><th scope="col" class="figure">new</th>' in page


def test_the_heads_of_a_table_are_the_names_by_their_ends():
    def heads(*names):
        return column_names(lab.compare(one(1), one(2), names=list(names)), 0)

    assert heads("old", "new") == ("old", "new")
    assert heads("a-very-long-folder/report", "b") == ("…folder/report", "b")
    assert heads("monday-one-report-of-many", "tuesday-one-report-of-many") == ("first", "other")


OTHER_HOST = {
    "cpu_model": "Another CPU",
    "machine": "aarch64",
    "cpus_allowed": list(range(64)),
    "cpus_online": 64,
    "kernel_release": "7.1.0-42-generic",
    "python": {"version": "3.14.1"},
}


def test_another_host_with_other_cpus_and_kernel_compares_without_trouble(tmp_path):
    here = Report([one(1000), result("only-here")], host=one(1).host)
    there = Report([one(700, seed=3, host=OTHER_HOST), result("only-there", host=OTHER_HOST)], host=OTHER_HOST)
    found = lab.compare(here.save(tmp_path / "here.json"), there.save(tmp_path / "there.json"))
    assert [change.word for change in found.changes[0]] == ["faster"]
    assert found.drift == [0.0]
    assert found.host_differences[0]["cpus_online"] == (None, 64)
    assert found.host_differences[0]["kernel_release"] == (None, "7.1.0-42-generic")
    assert found.experiments() == ["made-up"]
    page = comparison_page(found)
    assert "Another CPU, 64 CPUs, 7.1.0-42-generic, quick mode" in page
    assert '<th scope="row">cpus allowed</th><td>0-1</td><td>0-63</td>' in page
    assert page.count("<figure>") == 1


def test_the_picture_shows_every_side_of_every_variant():
    three = [one(1000), one(2000, seed=2), one(500, seed=3, unit="count")]
    (dots,) = lab.compare(*three, names=["old", "new", "odd"]).charts().values()
    assert [(dot.group, dot.label, round(dot.median, -3)) for dot in dots.rows] == [
        ("default", "old", 1000),
        ("default", "new", 2000),  # what is in another unit has no place on the axis
    ]


def test_pictures_that_would_make_the_page_too_large_are_left_out(monkeypatch):
    monkeypatch.setattr(compare_html, "PICTURES_MAX_BYTES", 1)
    page = comparison_page(lab.compare(one(1), one(2)))
    assert "<figure>" not in page
    assert "1 more pictures would make this page too large" in page


def test_the_data_are_plain_and_finite():
    data = lab.compare(one(1000), one(0, seed=2)).to_dict()
    words = json.dumps(data, allow_nan=False)
    assert json.loads(words)["others"][0]["rows"][0]["base"] > 0


def test_html_is_escaped():
    found = lab.compare(one(1), one(2, seed=2), names=["<a>", "<b>"])
    assert "<a>" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()
