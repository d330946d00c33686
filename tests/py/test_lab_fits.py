"""Laws of speedup: exact data give their parameters back, noisy data an interval around them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filar.lab.base import Row
from filar.lab.fits import AMDAHL, USL, amdahl, fit, scaling, usl

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)


def times(speedup: float, *, rounds: int = 40, noise: float = 0.01, seed: int = 0) -> Row:
    """Times of work that takes 1 ms alone: never below the floor, now and then above."""
    above = np.random.default_rng(seed).exponential(noise, rounds)
    above[0] = 0
    return Row("x", "time", "ns", 1e6 / speedup * (1 + above))


@given(st.floats(0, 1))
def test_amdahl_gives_back_the_serial_share_of_exact_data(serial):
    found = fit(AMDAHL, COUNTS, amdahl(COUNTS, serial))
    assert found.values == pytest.approx((serial,), abs=1e-9)
    assert found.error < 1e-9


@given(st.floats(0, 0.5), st.floats(0, 0.05))
def test_usl_gives_back_both_parameters_of_exact_data(contention, crosstalk):
    found = fit(USL, COUNTS, usl(COUNTS, contention, crosstalk))
    assert found.values == pytest.approx((contention, crosstalk), abs=1e-7)
    assert found.error < 1e-6


def test_two_workers_give_amdahl_and_not_the_usl():
    assert fit(AMDAHL, [1, 2], [1, 1.9]).values == pytest.approx((2 / 1.9 - 1,))
    assert fit(USL, [1, 2], [1, 1.9]) is None
    assert fit(USL, [1, 2, 4], [1, 1.9, 3.2]) is None
    assert fit(USL, [1, 2, 4, 8], [1, 1.9, 3.2, 4.5]) is not None


def test_nothing_to_fit_is_none():
    assert fit(AMDAHL, [1], [1.0]) is None
    assert fit(AMDAHL, [2, 4], [math.nan, math.nan]) is None
    assert fit(AMDAHL, [], []) is None


@pytest.mark.parametrize("law", [AMDAHL, USL])
def test_better_than_ideal_stops_at_no_loss(law):
    found = fit(law, [2, 4, 8], [2.1, 4.3, 8.8])
    assert found.values == (0.0,) * len(law.parameters)


def test_a_retrograde_curve_needs_crosstalk():
    found = fit(USL, COUNTS, usl(COUNTS, 0.0, 0.02))
    peak = COUNTS[int(np.argmax(found.curve(COUNTS)))]
    assert found.parameters["crosstalk"].mid == pytest.approx(0.02)
    assert peak < max(COUNTS)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 0.6), st.integers(0, 1000))
def test_the_interval_lies_around_the_estimate_and_near_the_truth(serial, seed):
    counts = [1, 2, 4, 8]
    rows = {n: times(float(amdahl(n, serial)), seed=seed + n) for n in counts}
    found = scaling(times(1.0, seed=seed), rows, cores=8).amdahl
    share = found.parameters["serial share"]
    assert share.lo <= share.mid <= share.hi
    assert share.mid == pytest.approx(serial, abs=0.02)


def test_more_noise_gives_a_wider_interval():
    def width(noise: float) -> float:
        rows = {n: times(float(amdahl(n, 0.1)), noise=noise, seed=n) for n in (2, 4, 8)}
        one = scaling(times(1.0, noise=noise, seed=99), rows, cores=8).amdahl.parameters["serial share"]
        return one.hi - one.lo

    assert width(0.2) > width(0.005)


def test_points_beyond_the_cores_are_shown_and_not_fitted():
    rows = {1: times(1.0), 2: times(1.98, seed=1), 4: times(1.9, seed=2), 8: times(1.7, seed=3)}
    found = scaling(times(1.0, seed=4), rows, cores=2)
    assert found.workers.tolist() == [1, 2, 4, 8]
    assert found.amdahl.values[0] == pytest.approx(2 / 1.98 - 1, abs=1e-6)
    assert found.usl is None
    assert found.at(8)[0] == pytest.approx(1.7)
    assert math.isnan(found.at(3)[0])


def test_rounds_that_one_row_misses_do_not_pair_with_others():
    alone = Row("x", "time", "ns", [100.0, 200.0, 300.0], rounds=np.array([0, 1, 2]))
    two = Row("x", "time", "ns", [100.0, 150.0], rounds=np.array([1, 2]))
    assert scaling(alone, {2: two}, cores=2).at(2)[1].mid == pytest.approx(2.0)


def test_a_disturbed_median_is_told_from_the_floor():
    quiet = scaling(times(1.0), {2: times(2.0, seed=1)}, cores=2)
    shaken = Row("x", "time", "ns", np.r_[0.5e6, np.full(39, 0.8e6)])
    assert quiet.noise < 0.05 < scaling(times(1.0), {2: shaken}, cores=2).noise


def test_words_name_law_and_interval():
    words = fit(AMDAHL, [2, 4], [1.8, 3.0]).words()
    assert words.startswith("Amdahl: serial share")
    assert "to" in words
