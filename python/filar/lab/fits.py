"""Laws of speedup fitted to measured points: Amdahl's and the universal scalability law (USL), by least squares.

Both laws are linear in their parameters once written for 1/speedup, so the fits are exact and need numpy alone:

    Amdahl 1967   1/S(n) = s + (1 - s) / n                     s: the serial share
    Gunther       n/S(n) = 1 + a (n - 1) + b n (n - 1)         a: contention, b: crosstalk

Residuals are weighted to be relative to the measured value. Shares below 0 mean nothing, so both fits stop there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from filar.lab.base import Row
from filar.lab.stats import LEVEL, NOTHING, Interval, paired_ratio

__all__ = ["AMDAHL", "USL", "Fit", "Law", "Scaling", "amdahl", "fit", "percent", "scaling", "usl"]

_RESAMPLES = 500
# Laws go through 1 at one worker by construction: each parameter needs a point of its own, and one more to be tested.
_SPARE_POINTS = 1


def amdahl(workers: ArrayLike, serial: float) -> NDArray[np.float64]:
    """Speedup on `workers` of work whose share `serial` (0 to 1) cannot be divided."""
    n = np.asarray(workers, dtype=float)
    return np.asarray(1 / (serial + (1 - serial) / n))


def usl(workers: ArrayLike, contention: float, crosstalk: float) -> NDArray[np.float64]:
    """Speedup on `workers` by the universal scalability law."""
    n = np.asarray(workers, dtype=float)
    return np.asarray(n / (1 + contention * (n - 1) + crosstalk * n * (n - 1)))


def _solve_amdahl(n: NDArray[np.float64], speedup: NDArray[np.float64]) -> tuple[float, ...]:
    slope, left = (1 - 1 / n) * speedup, 1 - speedup / n
    return (float(np.clip(slope @ left / (slope @ slope), 0, 1)),)


def _solve_usl(n: NDArray[np.float64], speedup: NDArray[np.float64]) -> tuple[float, ...]:
    weight = speedup / n
    first, second, left = (n - 1) * weight, n * (n - 1) * weight, (n / speedup - 1) * weight
    both, *_ = np.linalg.lstsq(np.column_stack([first, second]), left, rcond=None)
    if (both >= 0).all():
        return float(both[0]), float(both[1])
    # One of them at its bound: the better of the two fits with a single parameter.
    alone = [(max(0.0, float(first @ left / (first @ first))), 0.0)]
    alone.append((0.0, max(0.0, float(second @ left / (second @ second)))))
    return min(alone, key=lambda p: float(np.sum((p[0] * first + p[1] * second - left) ** 2)))


@dataclass(frozen=True)
class Law:
    """A law of speedup: its name, the names of its parameters, the curve, the exact least squares."""

    name: str
    parameters: tuple[str, ...]
    curve: Callable[..., NDArray[np.float64]]
    solve: Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[float, ...]]

    @property
    def points_min(self) -> int:
        """Numbers of workers above one that a fit needs to say anything."""
        return len(self.parameters) + (_SPARE_POINTS if len(self.parameters) > 1 else 0)


AMDAHL = Law("Amdahl", ("serial share",), amdahl, _solve_amdahl)
USL = Law("USL", ("contention", "crosstalk"), usl, _solve_usl)


@dataclass(frozen=True)
class Fit:
    """A fitted law: its parameters with intervals, and the largest relative error at the points."""

    law: Law
    parameters: Mapping[str, Interval]
    error: float

    @property
    def values(self) -> tuple[float, ...]:
        """The parameters' estimates, in the law's order."""
        return tuple(self.parameters[name].mid for name in self.law.parameters)

    def curve(self, workers: ArrayLike) -> NDArray[np.float64]:
        """The fitted speedup."""
        return self.law.curve(workers, *self.values)

    def words(self) -> str:
        """'Amdahl: serial share 2.1 % (1.8 to 2.6)'."""
        told = [
            f"{name} {percent(one.mid)} % ({percent(one.lo)} to {percent(one.hi)})"
            for name, one in self.parameters.items()
        ]
        return f"{self.law.name}: {', '.join(told)}"


def fit(law: Law, workers: Sequence[float], speedups: ArrayLike, resampled: ArrayLike | None = None) -> Fit | None:
    """The law through speedups at numbers of workers; None where there are too few of them to fit it.

    `resampled` holds bootstrap repeats of the speedups, one a row; without it intervals are the estimates alone.
    """
    n, measured = np.asarray(workers, dtype=float), np.asarray(speedups, dtype=float)
    good = (n > 1) & np.isfinite(measured) & (measured > 0)
    if len(np.unique(n[good])) < law.points_min:
        return None
    values = law.solve(n[good], measured[good])
    spread = np.array([values])
    if resampled is not None:
        repeats = np.atleast_2d(np.asarray(resampled, dtype=float))[:, good]
        repeats = repeats[(np.isfinite(repeats) & (repeats > 0)).all(axis=1)]
        if len(repeats):
            spread = np.array([law.solve(n[good], one) for one in repeats])
    tails = (50 * (1 - LEVEL), 100 - 50 * (1 - LEVEL))
    bounds = [np.percentile(spread[:, i], tails) for i in range(len(values))]
    parameters = {
        name: Interval(value, min(value, float(lo)), max(value, float(hi)), len(measured[good]))
        for name, value, (lo, hi) in zip(law.parameters, values, bounds, strict=True)
    }
    error = float(np.max(np.abs(law.curve(n[good], *values) / measured[good] - 1)))
    return Fit(law, parameters, error)


def percent(share: float) -> str:
    """Two digits: 0.021 as "2.1", 1 as "100"."""
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.2g}"


@dataclass(frozen=True, eq=False)
class Scaling:
    """Speedups of one piece of work by workers: floors, what is typical, and the laws through the floors.

    `floors` are ratios of the best times: the work is the same each time, so others can only add to it. `typical`
    are medians of the ratios round by round, with their intervals. The laws' intervals come from rounds drawn anew.
    """

    workers: NDArray[np.float64]
    floors: NDArray[np.float64]
    typical: tuple[Interval, ...]
    amdahl: Fit | None
    usl: Fit | None

    def at(self, workers: float) -> tuple[float, Interval]:
        """Floor and typical speedup at a number of workers; NaN and NOTHING where it was not measured."""
        for place, count in enumerate(self.workers):
            if count == workers:
                return float(self.floors[place]), self.typical[place]
        return math.nan, NOTHING

    @property
    def noise(self) -> float:
        """How far, at worst, floor and typical speedup are apart, as a share: above 5 % others disturbed."""
        gaps = [abs(one.mid / floor - 1) for one, floor in zip(self.typical, self.floors, strict=True) if one.n]
        return max((gap for gap in gaps if math.isfinite(gap)), default=math.nan)


def scaling(alone: Row, by_workers: Mapping[int, Row], *, cores: int, seed: int = 1) -> Scaling:
    """From times alone and times by number of workers. Laws are fitted up to `cores`: beyond, nothing is added."""
    counts = sorted(by_workers)
    times = {0: _by_round(alone)} | {count: _by_round(by_workers[count]) for count in counts}
    shared = sorted(set.intersection(*(set(one) for one in times.values())))
    floors = np.array([_ratio(alone.min, by_workers[count].min) for count in counts])
    typical = []
    for count in counts:
        pairs = sorted(set(times[0]) & set(times[count]))
        typical.append(paired_ratio([times[0][r] for r in pairs], [times[count][r] for r in pairs]))
    inside = [count for count in counts if count <= cores]
    known = floors[: len(inside)]
    repeats: Any = None
    if len(shared) > 1 and inside:
        table = np.array([[times[count][r] for r in shared] for count in (0, *inside)])
        drawn = np.random.default_rng(seed).integers(0, len(shared), size=(_RESAMPLES, len(shared)))
        best = np.nanmin(table[:, drawn], axis=2)
        repeats = (best[0] / best[1:]).T
    return Scaling(
        np.array(counts, dtype=float),
        floors,
        tuple(typical),
        fit(AMDAHL, inside, known, repeats),
        fit(USL, inside, known, repeats),
    )


def _by_round(row: Row) -> dict[int, float]:
    values = zip(row.round_numbers.tolist(), row.samples.tolist(), strict=True)
    return {number: value for number, value in values if math.isfinite(value)}


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan
