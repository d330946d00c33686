"""Statistics for timings: medians with exact intervals, ratios pair by pair, never a mean.

Timings are skewed and have outliers, so nothing here assumes a distribution. The interval of a median comes from
order statistics (the sign test): it holds its level for any continuous distribution, where Wilcoxon's does not
on skewed data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LEVEL",
    "Interval",
    "bootstrap_interval",
    "median_interval",
    "paired_ratio",
    "ratio_of_mins",
    "tail",
]

LEVEL = 0.95
# Fewer samples have no sign-test interval at 95 %: 2 * 0.5**n > 0.05.
_N_MIN = 6


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that covers it at `LEVEL`; all in the unit of the data."""

    mid: float
    lo: float
    hi: float
    n: int

    def contains(self, value: float) -> bool:
        """Whether `value` lies inside the interval."""
        return self.lo <= value <= self.hi

    @property
    def width(self) -> float:
        """Width relative to the middle; infinite where the middle is 0."""
        return (self.hi - self.lo) / abs(self.mid) if self.mid else math.inf


NOTHING = Interval(math.nan, math.nan, math.nan, 0)


def _finite(samples: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(samples, dtype=float).ravel()
    return array[np.isfinite(array)]


def _sign_test_rank(n: int, level: float) -> int:
    """How many order statistics to leave out at each end: the largest k with P(Binomial(n, 1/2) < k) <= alpha/2."""
    alpha_half, cumulative, k = (1 - level) / 2, 0.0, 0
    while True:
        # In logarithms: the binomial coefficient overflows a float at n > 1,000.
        cumulative += math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
        if cumulative > alpha_half or k >= n // 2:
            return k
        k += 1


def median_interval(samples: ArrayLike, level: float = LEVEL) -> Interval:
    """Median with its sign-test interval; below 6 samples the interval is the whole range."""
    data = np.sort(_finite(samples))
    n = len(data)
    if n == 0:
        return NOTHING
    middle = float(np.median(data))
    if n < _N_MIN:
        return Interval(middle, float(data[0]), float(data[-1]), n)
    k = _sign_test_rank(n, level)
    return Interval(middle, float(data[max(k - 1, 0)]), float(data[n - max(k, 1)]), n)


def paired_ratio(above: Sequence[float] | ArrayLike, below: Sequence[float] | ArrayLike) -> Interval:
    """Median of above[i] / below[i] with its interval; the pairs are the rounds of one plan.

    Raises ValueError when the two are not of one length: pairs that are not pairs measure nothing.
    """
    a, b = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"a paired ratio needs as many samples above as below, not {a.size} and {b.size}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return median_interval(a / b)


def ratio_of_mins(above: ArrayLike, below: ArrayLike) -> float:
    """min(above) / min(below): the headline for speedups of deterministic work, where noise only adds."""
    a, b = _finite(above), _finite(below)
    return float(a.min() / b.min()) if len(a) and len(b) and b.min() else math.nan


def tail(samples: ArrayLike, percent: float = 99.0) -> float:
    """The percentile (of single events, not of batches); NaN without samples."""
    data = _finite(samples)
    return float(np.percentile(data, percent)) if len(data) else math.nan


def bootstrap_interval(
    samples: ArrayLike, statistic: str = "median", level: float = LEVEL, resamples: int = 2000, seed: int = 1
) -> Interval:
    """Percentile bootstrap of "median", "p99" or "min": for statistics that have no exact interval."""
    percent = {"min": 0.0, "median": 50.0, "p99": 99.0}.get(statistic)
    if percent is None:
        raise ValueError(f"no statistic {statistic!r}; there are min, median and p99")
    data = _finite(samples)
    if len(data) == 0:
        return NOTHING
    draws = np.random.default_rng(seed).choice(data, size=(resamples, len(data)))
    values = np.percentile(draws, percent, axis=1)
    lo, hi = np.percentile(values, [50 * (1 - level), 100 - 50 * (1 - level)])
    return Interval(float(np.percentile(data, percent)), float(lo), float(hi), len(data))
