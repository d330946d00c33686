"""Creation, reuse and grain size: verdicts follow the rows; each experiment runs for real."""

import math

import numpy as np
import pytest

from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Row, Rows
from filar.lab.creation import break_even_ns
from rows import row, rows


def judge(name, these):
    return lab.find(name).judge(these)


@pytest.mark.parametrize(
    ("default_ns", "one_core_ns", "word"),
    [(12_000, 9_000, HOLDS), (80_000, 9_000, CONDITIONAL), (90_000, 60_000, FAILS), (900, 800, FAILS)],
)
def test_creation_holds_within_a_factor_of_two(default_ns, one_core_ns, word):
    verdict = judge("kthread-create", rows("create+join", {"default": default_ns, "one core": one_core_ns}))
    assert verdict.word == word
    assert "µs" in verdict.reason or "ns" in verdict.reason


def test_creation_says_where_the_kernel_put_the_children():
    placed = row("default", "on another core", 95, unit="percent")
    verdict = judge("kthread-create", Rows([row("default", "create+join", 40_000), placed]))
    assert "95 % of the children on another core" in verdict.reason


def test_creation_dear_across_cores_is_not_blamed_on_other_work():
    unpinned = Row("default", "create+join", "ns", np.array([9_000.0, *[45_000.0] * 39]))
    verdict = judge("kthread-create", Rows([unpinned, row("one core", "create+join", 9_000)]))
    assert verdict.word == CONDITIONAL
    assert judge("kthread-create", Rows([unpinned])).word == UNDECIDED


def test_creation_without_rows_cannot_be_decided():
    assert judge("kthread-create", Rows()).word == UNDECIDED
    assert judge("kthread-create", rows("create+join", {"default": 9_000}, n=3)).word == UNDECIDED


@pytest.mark.parametrize(("many_ns", "word"), [(10_100, FAILS), (30_000, HOLDS)])
def test_alive_compares_most_with_none(many_ns, word):
    these = rows("create+join", {"0 alive": 10_000, "100 alive": 10_000, "3,000 alive": many_ns})
    assert judge("kthread-alive", these).word == word


def test_alive_is_undecided_when_the_interval_covers_the_threshold():
    noisy = Row("3,000 alive", "create+join", "ns", np.tile([10_000.0, 20_000.0], 20))
    these = Rows([row("0 alive", "create+join", 10_000), noisy])
    assert judge("kthread-alive", these).word == UNDECIDED


def reuse_rows(near, far_hot, far_cold):
    return rows(
        "round trip",
        {
            "create, hot": 10_000,
            "create, after 1 ms idle": 10_000,
            "reuse on one core, hot": near,
            "reuse on one core, after 1 ms idle": near,
            "reuse on another core, hot": far_hot,
            "reuse on another core, after 1 ms idle": far_cold,
        },
    )


@pytest.mark.parametrize(
    ("near", "far_hot", "far_cold", "word"),
    [
        (2_000, 5_000, 8_000, HOLDS),
        (2_000, 5_000, 40_000, CONDITIONAL),
        (12_000, 50_000, 60_000, FAILS),
    ],
)
def test_reuse_holds_only_where_it_is_cheaper(near, far_hot, far_cold, word):
    assert judge("thread-reuse", reuse_rows(near, far_hot, far_cold)).word == word


def test_reuse_on_one_cpu_is_judged_from_one_core():
    these = rows("round trip", {"create, hot": 10_000, "reuse on one core, hot": 2_000})
    assert judge("thread-reuse", these).word == HOLDS


def grain_rows(small, large):
    return Rows(
        [
            row("new thread, 1 µs", "speedup", small, unit="ratio", work_ns=1_000),
            row("new thread, 1 ms", "speedup", large, unit="ratio", work_ns=1_000_000),
        ]
    )


@pytest.mark.parametrize(("small", "large", "word"), [(0.02, 1.8, HOLDS), (0.02, 0.7, FAILS), (1.5, 1.8, UNDECIDED)])
def test_grain_size_needs_a_loss_when_small_and_a_gain_when_large(small, large, word):
    assert judge("grain-size", grain_rows(small, large)).word == word


def test_break_even_is_interpolated_between_the_sizes_around_it():
    sizes = np.array([1e3, 1e4, 1e5])
    assert break_even_ns(sizes, np.array([0.1, 0.5, 2.0])) == pytest.approx(math.sqrt(1e4 * 1e5))
    assert break_even_ns(sizes, np.array([1.2, 1.5, 2.0])) == 1e3
    assert math.isnan(break_even_ns(sizes, np.array([0.1, 0.2, 0.3])))


@pytest.mark.parametrize("name", ["kthread-create", "kthread-alive", "thread-reuse", "grain-size"])
def test_runs_for_real(name):
    result = lab.run(name, quick=True)
    assert result.rows or result.notes
    for each in result.rows:
        assert np.isfinite(each.samples).all()
        if each.unit == "percent":
            assert ((each.samples >= 0) & (each.samples <= 100)).all()
        else:
            assert (each.samples > 0).all()
            assert each.unit in ("ns", "ratio")
    assert all("<svg" in picture.svg() for picture in lab.find(name).charts(result))


def test_creation_has_the_public_words():
    result = lab.run("kthread-create", quick=True)
    assert {r.metric for r in result.rows if r.variant == "default"} == {
        "create+join",
        "create call",
        "first instruction",
        "on another core",
    }
