"""Statistics for timings: medians with exact intervals, ratios pair by pair, never a mean.

Timings are skewed and have outliers, so nothing here assumes a distribution. The interval of a median comes from
order statistics (the sign test): it holds its level for any continuous distribution, where Wilcoxon's does not
on skewed data.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LEVEL",
    "NOTHING",
    "N_MIN",
    "Interval",
    "Summary",
    "bootstrap_interval",
    "median_interval",
    "paired_ratio",
    "ratio_of_medians",
    "ratio_of_mins",
    "share_interval",
    "summarize",
    "tail",
]

LEVEL = 0.95
# Fewer samples have no sign-test interval at 95 %: 2 * 0.5**n > 0.05.
N_MIN = 6
# Above this many samples the binomial is normal to within one rank, and summing it would take seconds.
_N_EXACT_MAX = 5000
_RESAMPLES = 2000


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


@functools.lru_cache(maxsize=1024)
def _sign_test_rank(n: int, level: float) -> int:
    """How many order statistics to leave out at each end: the largest k with P(Binomial(n, 1/2) < k) <= alpha/2."""
    alpha_half, cumulative, k = (1 - level) / 2, 0.0, 0
    if n > _N_EXACT_MAX:
        return int(n / 2 - NormalDist().inv_cdf(1 - alpha_half) * math.sqrt(n) / 2)
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
    if n < N_MIN:
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


def share_interval(hits: int, runs: int, level: float = LEVEL) -> Interval:
    """Share of runs in which something happened, with Wilson's interval: right also for 0 of n and n of n."""
    if runs <= 0:
        return NOTHING
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = hits / runs, z * z / runs
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / runs + weight / (4 * runs))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), runs)


def tail(samples: ArrayLike, percent: float = 99.0) -> float:
    """The percentile (of single events, not of batches); NaN without samples."""
    data = _finite(samples)
    return float(np.percentile(data, percent)) if len(data) else math.nan


@dataclass(frozen=True)
class Summary:
    """The figures of a row: median with its interval, floor, tail and number of samples; NaN without samples."""

    median: float
    lo: float
    hi: float
    min: float
    p99: float
    max: float
    n: int


def summarize(samples: ArrayLike) -> Summary:
    """All figures of a row at once."""
    data = _finite(samples)
    if not len(data):
        return Summary(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    mid = median_interval(data)
    return Summary(mid.mid, mid.lo, mid.hi, float(data.min()), tail(data), float(data.max()), len(data))


def _resampled_quantiles(
    data: NDArray[np.float64], share: float, resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """The quantile at `share` of each of `resamples` bootstrap samples of sorted `data`.

    Drawn without drawing the samples: the k-th smallest of n uniform ranks is Beta(k, n - k + 1), and given it the
    next one is as far into the rest as the smallest of n - k. A million samples cost no more memory than ten.
    """
    n = len(data)
    place = (n - 1) * share
    k, part = int(place) + 1, place - int(place)
    below = random.beta(k, n - k + 1, size=resamples)
    quantiles = data[np.minimum((below * n).astype(int), n - 1)]
    if part > 0:
        above = below + (1 - below) * random.beta(1, n - k, size=resamples)
        quantiles = (1 - part) * quantiles + part * data[np.minimum((above * n).astype(int), n - 1)]
    return quantiles


def _percentile_interval(middle: float, values: NDArray[np.float64], level: float, n: int) -> Interval:
    lo, hi = np.percentile(values, [50 * (1 - level), 100 - 50 * (1 - level)])
    return Interval(middle, float(lo), float(hi), n)


def bootstrap_interval(
    samples: ArrayLike, statistic: str = "median", level: float = LEVEL, resamples: int = _RESAMPLES, seed: int = 1
) -> Interval:
    """Percentile bootstrap of "median", "p99" or "min": for statistics that have no exact interval.

    That of "min" lies wholly above the true floor, as every bootstrap of an extreme does: read it as spread.
    """
    share = {"min": 0.0, "median": 0.5, "p99": 0.99}.get(statistic)
    if share is None:
        raise ValueError(f"no statistic {statistic!r}; there are min, median and p99")
    data = np.sort(_finite(samples))
    if len(data) == 0:
        return NOTHING
    values = _resampled_quantiles(data, share, resamples, np.random.default_rng(seed))
    return _percentile_interval(float(np.quantile(data, share)), values, level, len(data))


def ratio_of_medians(
    above: ArrayLike, below: ArrayLike, level: float = LEVEL, resamples: int = _RESAMPLES, seed: int = 1
) -> Interval:
    """median(above) / median(below) with a bootstrap interval, for samples of two runs that form no pairs.

    `n` is the smaller number of samples; NOTHING where a side has none or the median below is 0.
    """
    a, b = np.sort(_finite(above)), np.sort(_finite(below))
    if not len(a) or not len(b) or np.median(b) == 0:
        return NOTHING
    random = np.random.default_rng(seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = _resampled_quantiles(a, 0.5, resamples, random) / _resampled_quantiles(b, 0.5, resamples, random)
    values = values[np.isfinite(values)]
    middle = float(np.median(a) / np.median(b))
    if not len(values):
        return NOTHING
    return _percentile_interval(middle, values, level, min(len(a), len(b)))
