"""Intervals cover what they promise, on the skewed data that timings are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filar.lab import stats
from filar.lab.base import Row, Rows

finite = st.floats(-1e12, 1e12, allow_nan=False)


@pytest.mark.parametrize("n", [6, 15, 40, 301])
@pytest.mark.parametrize(
    ("name", "median"),
    [("lognormal", 1.0), ("exponential", math.log(2)), ("pareto", 2 ** (1 / 1.5) - 1)],
)
def test_the_sign_test_interval_covers_the_median_of_skewed_data_at_its_level(n, name, median):
    random = np.random.default_rng(20261121)
    draw = {
        "lognormal": lambda: random.lognormal(0, 2, n),
        "exponential": lambda: random.exponential(1, n),
        "pareto": lambda: random.pareto(1.5, n),
    }[name]
    trials = 2000
    covered = sum(stats.median_interval(draw()).contains(median) for _ in range(trials)) / trials
    # At least 95 %, less four standard errors of 2,000 trials; discrete ranks cover up to 3 % more.
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials) <= covered <= 0.99


@pytest.mark.parametrize(
    ("n", "rank"),
    # Ranks (counted from 1) of the 95 % interval of a median in tables of the sign test, e.g. Conover, table A3.
    [(6, 1), (8, 1), (9, 2), (10, 2), (11, 2), (12, 3), (15, 4), (20, 6), (25, 8), (30, 10), (40, 14), (50, 18)],
)
def test_small_samples_agree_with_the_table_of_the_sign_test(n, rank):
    interval = stats.median_interval(np.arange(1, n + 1))
    assert (interval.lo, interval.hi) == (rank, n + 1 - rank)


def test_the_normal_rank_continues_the_exact_one():
    exact, normal = (stats._sign_test_rank(n, 0.95) for n in (stats._N_EXACT_MAX, stats._N_EXACT_MAX + 1))
    assert abs(exact - normal) <= 1


@pytest.mark.parametrize("n", [1, 2, 5])
def test_below_six_samples_the_interval_is_the_whole_range(n):
    interval = stats.median_interval(np.arange(n, dtype=float))
    assert (interval.lo, interval.hi, interval.n) == (0, n - 1, n)


def test_no_samples_and_no_finite_samples_give_nothing():
    for samples in ([], [math.nan, math.inf]):
        assert stats.median_interval(samples).n == 0
        summary = stats.summarize(samples)
        assert summary.n == 0
        assert math.isnan(summary.median)
        assert math.isnan(stats.tail(samples))


@given(st.lists(finite, min_size=1, max_size=200))
def test_an_interval_holds_its_median_and_stays_in_the_range(samples):
    interval = stats.median_interval(samples)
    assert min(samples) <= interval.lo <= interval.mid <= interval.hi <= max(samples)
    assert interval.n == len(samples)


@given(st.lists(finite, min_size=6, max_size=60), st.floats(0.001, 1000))
def test_an_interval_scales_with_its_unit(samples, factor):
    plain, scaled = stats.median_interval(samples), stats.median_interval(np.array(samples) * factor)
    assert scaled.lo == pytest.approx(plain.lo * factor)
    assert scaled.hi == pytest.approx(plain.hi * factor)


def test_a_paired_ratio_needs_pairs():
    with pytest.raises(ValueError, match="as many samples above as below, not 3 and 2"):
        stats.paired_ratio([1, 2, 3], [1, 2])


def test_a_paired_ratio_sees_through_a_drift_that_hits_both():
    random = np.random.default_rng(7)
    drift = np.repeat([1.0, 3.0], 50)
    below = drift * random.lognormal(0, 0.01, 100)
    interval = stats.paired_ratio(1.1 * drift * random.lognormal(0, 0.01, 100), below)
    assert interval.contains(1.1)
    assert interval.width < 0.02


def test_a_division_by_zero_is_left_out_of_a_ratio():
    interval = stats.paired_ratio([2, 2, 2], [1, 0, 1])
    assert (interval.mid, interval.n) == (2, 2)


def test_a_row_that_missed_a_round_is_paired_by_round():
    a = Row("a", "m", "ns", np.array([10.0, 20.0, 30.0]), rounds=np.array([0, 1, 2]))
    b = Row("b", "m", "ns", np.array([10.0, 5.0, 15.0]), rounds=np.array([1, 0, 3]))
    ratio = Rows([a, b]).ratio("a", "b")
    assert (ratio.n, ratio.lo, ratio.hi) == (2, 2.0, 2.0)


def test_rounds_that_do_not_fit_the_samples_are_refused():
    with pytest.raises(ValueError, match="2 samples cannot be of 1 rounds"):
        Row("a", "m", "ns", np.array([1.0, 2.0]), rounds=np.array([0]))


def test_ratio_of_mins():
    assert stats.ratio_of_mins([4, 9], [2, 100]) == 2
    assert math.isnan(stats.ratio_of_mins([], [1]))
    assert math.isnan(stats.ratio_of_mins([1], [0]))


@pytest.mark.parametrize("n", [5, 20, 21])
def test_the_short_cut_of_the_bootstrap_draws_what_resampling_draws(n):
    """The quantiles of resamples come from a Beta law; here both are drawn and their distributions compared."""
    random = np.random.default_rng(3)
    data = np.sort(random.lognormal(0, 1, n))
    for share in (0.5, 0.99, 0.0):
        direct = np.quantile(random.choice(data, size=(20_000, n)), share, axis=1)
        short = stats._resampled_quantiles(data, share, 20_000, random)
        points = np.unique(np.quantile(direct, np.linspace(0.02, 0.98, 25)))
        below = [np.array([(values <= point).mean() for point in points]) for values in (direct, short)]
        # Two standard errors of a share of 20,000 draws are 0.7 %; allowed are five.
        assert np.max(np.abs(below[0] - below[1])) < 0.02


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_bootstrap_of_a_ratio_of_medians_covers_it(seed):
    random = np.random.default_rng(seed)
    trials = 300
    covered = sum(
        stats.ratio_of_medians(1.3 * random.lognormal(0, 0.5, 80), random.lognormal(0, 0.5, 60)).contains(1.3)
        for _ in range(trials)
    )
    assert covered / trials >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)


def test_a_million_samples_cost_no_more_memory_than_a_few():
    data = np.random.default_rng(1).lognormal(0, 1, 1_000_000)
    interval = stats.bootstrap_interval(data)
    assert interval.lo <= np.median(data) <= interval.hi
    assert interval.width < 0.01


def test_an_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="there are min, median and p99"):
        stats.bootstrap_interval([1, 2, 3], "mean")


def test_a_ratio_of_medians_of_nothing_is_nothing():
    assert stats.ratio_of_medians([], [1]).n == 0
    assert stats.ratio_of_medians([1, 1], [0, 0]).n == 0
