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
    assert lab.compare(first, third).names == [str(first), str(third)]
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ResultFileError, match="cut off"):
        lab.compare(first, tmp_path / "bad.json")
    with pytest.raises(InvalidArgumentError):
        lab.compare(3, first)


def test_the_data_are_plain_and_finite():
    data = lab.compare(one(1000), one(0, seed=2)).to_dict()
    words = json.dumps(data, allow_nan=False)
    assert json.loads(words)["others"][0]["rows"][0]["base"] > 0


def test_html_is_escaped():
    found = lab.compare(one(1), one(2, seed=2), names=["<a>", "<b>"])
    assert "<a>" not in found._repr_html_()
    assert "&lt;b&gt;" in found._repr_html_()
