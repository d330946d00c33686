"""Is the speedup of a program of forks and loops known from a run on one thread? Predicted, then measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar import chart
from filar.lab import pictures
from filar.lab.base import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    UNDECIDED,
    Budget,
    Claim,
    Measured,
    Row,
    Rows,
    Series,
    Table,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.pools import ns
from filar.lab.result import Result
from filar.lab.speedups import (
    KERNELS,
    NOT_MEASURED,
    SHARED_CORES,
    TIME,
    Parallel,
    disturbed,
    speedup,
    told,
    with_params,
)
from filar.lab.stats import N_MIN, Interval
from filar.predicting import PART, Bounds, Costs, Tree, measure_costs, simulate
from filar.predicting.session import TOO_FINE, WORKERS, scaling_chart

__all__ = ["CHOSEN", "COSTS", "NAME", "TOLERANCE", "PredictedSpeedup", "costs_of", "tree_of"]

NAME = "predicted-speedup"
# Those that compute; what memory bounds, the tree does not know.
CHOSEN = tuple(name for name, kernel in KERNELS.items() if not kernel.memory_bound and name != "histogram")
COSTS = "costs of forks"
WORK, SUBTRACTED, PREDICTED = "work", "subtracted", "speedup"
TOLERANCE = 0.15
_KERNELS_MIN = 5
_SEEDS = 3
# The points of the way "kernel-recorded": csrc/lab/ways_pool_kernels.c.
_ABOUT, _PART, _STEPS = range(3)


def costs_of(rows: Rows) -> Costs | None:
    """What forks cost when nobody disturbs: a tenth from the better end; None if not all of it was measured."""
    found = {}
    for field in fields(Costs):
        row = rows.find(COSTS, field.name.removesuffix("_ns").replace("_", " "))
        if row is None:
            return None
        share = 0.1 if field.name.endswith("_ns") else 0.9
        found[field.name] = max(float(np.quantile(row.samples, share)), 0.0)
    found["pair_speed"] = min(found["pair_speed"], 1.0)
    return Costs(**found) if found["pair_speed"] > 0 else None


def tree_of(points: NDArray[Any]) -> Tree | None:
    """The last tree among the points of a recorded kernel: that with the least work; None if it is not whole."""
    starts = np.flatnonzero(points["kind"] == _ABOUT)
    if not len(starts):
        return None
    about, rest = points[starts[-1]], points[starts[-1] + 1 :]
    mine, steps = rest[rest["kind"] == _PART], rest[rest["kind"] == _STEPS]
    if len(mine) != int(about["x"]) or len(steps) != len(mine):
        return None
    parts = np.zeros(len(mine), PART)
    parts["kind"], parts["work_ns"], parts["forks"] = mine["subject"], mine["x"], mine["y"]
    parts["children"], parts["steps"] = steps["subject"], steps["x"]
    return Tree(parts, int(about["subject"]))


@dataclass(frozen=True)
class _Judged:
    """A kernel's speedup on two workers: predicted, as the ratio of the best times, and as it typically was."""

    predicted: float
    floor: float
    typical: Interval
    probe_share: float

    @property
    def error(self) -> float:
        """How far the prediction was off; of the ratio of the best times, as noise only ever adds."""
        return self.predicted / self.floor - 1

    @property
    def typical_error(self) -> float:
        """How far it was off of the median of the ratios round by round."""
        return self.predicted / self.typical.mid - 1

    @property
    def is_good(self) -> bool:
        return abs(self.error) <= TOLERANCE

    @property
    def is_typical(self) -> bool:
        """Whether a round as most are can be within the tolerance, too: its interval reaches into it."""
        return self.typical.lo * (1 - TOLERANCE) <= self.predicted <= self.typical.hi * (1 + TOLERANCE)

    @property
    def is_bad(self) -> bool:
        """Off by more than the tolerance, whichever end of the interval is true."""
        ends = (self.typical.lo, self.typical.hi, self.floor)
        off = [self.predicted / end - 1 for end in ends]
        return min(off) > TOLERANCE or max(off) < -TOLERANCE

    def words(self) -> str:
        off = f"{self.error:+.1%} of the best, {self.typical_error:+.1%} of typical rounds"
        return f"{self.predicted:.2f} predicted, {told(self.floor, self.typical)}: {off}"


@experiment
class PredictedSpeedup(Parallel):
    """Kernels recorded on one thread, simulated on any number of workers, measured on one and two."""

    name = NAME
    title = "Can a speedup be predicted from one thread?"
    claim = Claim(
        "How much faster a program of forks and loops gets by more workers follows from its work, its span and what "
        "forks cost: a run on one thread tells.",
        "Blumofe and Leiserson 1999; He, Leiserson and Leiserson 2010",
    )
    method = (
        "One thread runs each kernel alone and takes down its forks and loops as a tree of timed strands; the kernel "
        "itself runs on pools of one and two workers; what a fork, a steal, a wake-up cost is measured too. "
        "All run in every round, in shuffled order; the tree of the recording with the least work is run by a "
        "simulation of the scheduler on 1 to 1,024 workers. "
        "The predicted speedup on two workers is compared with the ratio of the best times and with the median of the "
        "ratios round by round: the simulation gives every worker a CPU of its own, which the best rounds had."
    )
    quick = Budget(seconds=2.0, rounds_max=60, rounds_min=8)
    full = Budget(seconds=15.0, rounds_max=400, rounds_min=15)

    @staticmethod
    def variant(kernel: str, what: str) -> str:
        """Public name: "merge sort, recorded", "merge sort, predicted"."""
        return f"{kernel}, {what}"

    @classmethod
    def on(cls, kernel: str, workers: int) -> str:
        """Public name: "merge sort, 2 workers"."""
        return cls.variant(kernel, "1 worker" if workers == 1 else f"{workers} workers")

    def ways(self, bench: Bench) -> list[Way]:
        """Every kernel on one and two workers, and recorded; and the costs."""
        ways = [Way(COSTS, "fork-costs", batch=1)]
        for name in CHOSEN:
            code = KERNELS[name].code
            ways += [Way(self.on(name, n), "kernel", {"kernel": code, "threads": n}, batch=1) for n in (1, 2)]
            ways.append(Way(self.variant(name, "recorded"), "kernel-recorded", {"kernel": code}, batch=1))
        return ways

    def measure(self, bench: Bench) -> Measured:
        """The plan, then the simulations."""
        if bench.other_cpu is None:
            return super().measure(bench)
        outcome = bench.run(self.ways(bench))
        measured = Measured(with_params(outcome.rows(), cores=len(bench.cpus)), notes=outcome.notes())
        costs = costs_of(measured.rows)
        if costs is None:
            costs = measure_costs()
            measured.notes.append("What forks cost was measured after the rounds: too few of them had all of it.")
        if not costs.complete:
            measured.notes.append("What a steal costs could not be measured: nothing is predicted.")
            return measured
        lines = []
        for kernel in CHOSEN:
            line = self._predict(kernel, outcome, costs, measured, quick=bench.quick)
            if line is not None:
                lines.append(line)
        columns = ("kernel", "work", "span", "parallelism", "forks", "most workers worth it", "on 1,024")
        measured.tables.append(Table("What one thread tells", columns, tuple(lines)))
        measured.notes.append(
            f"Assumed: every further worker computes {costs.pair_speed:.1%} as fast beside others as alone, as the "
            "second one does here; memory and caches serve all alike; docs/predicting.md names the rest."
        )
        return measured

    def _predict(
        self, kernel: str, outcome: PlanOutcome, costs: Costs, measured: Measured, *, quick: bool
    ) -> tuple[Any, ...] | None:
        """Adds the kernel's predicted rows and curves; its line in the table, None if it was not recorded."""
        variant = self.variant(kernel, "recorded")
        tree = tree_of(outcome.points_of(variant)) if variant not in outcome.failures else None
        if tree is None:
            return None
        curve: dict[int, float] = {}
        alone = simulate(tree, 1, costs).time_ns
        for workers in WORKERS:
            seeds = _SEEDS if workers == 2 or not quick else 1
            times = np.array([simulate(tree, workers, costs, seed).time_ns for seed in range(1, seeds + 1)])
            curve[workers] = alone / float(np.median(times))
            if workers <= 2:
                params = {"workers": workers}
                measured.rows += [Row(self.on(kernel, workers), "predicted time", "ns", times, params)]
        bounds = [tree.bounds(workers, costs) for workers in WORKERS]
        x = np.array(WORKERS, dtype=float)
        for name, values in (
            ("predicted", list(curve.values())),
            ("upper", [one.upper for one in bounds]),
            ("greedy", [one.greedy for one in bounds]),
        ):
            measured.series.append(Series(self.variant(kernel, name), x, np.array(values), "", "ratio"))
        most = max(curve.values())
        worth = next(workers for workers, gain in curve.items() if gain >= 0.9 * most)
        return (
            kernel,
            ns(tree.work_ns),
            ns(tree.span_ns),
            round(tree.parallelism, 1),
            tree.forks,
            worth,
            f"{curve[WORKERS[-1]]:.1f}",
        )

    def judged(self, rows: Rows) -> dict[str, _Judged]:
        """Every kernel that was recorded, simulated, and measured on one and two workers."""
        found = {}
        for kernel in CHOSEN:
            one, two = (rows.find(self.on(kernel, n), "predicted time") for n in (1, 2))
            floor, typical = speedup(rows, self.on(kernel, 1), self.on(kernel, 2))
            recorded = self.variant(kernel, "recorded")
            taken, left = rows.median(recorded, SUBTRACTED), rows.median(recorded, WORK)
            if one is None or two is None or not typical.n or not math.isfinite(taken + left):
                continue
            found[kernel] = _Judged(one.median / two.median, floor, typical, taken / max(taken + left, 1.0))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Each kernel within 15 %, or only some; in typical rounds as in the best?"""
        if self.cores(rows) < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        every = self.judged(rows)
        kernels = {kernel: one for kernel, one in every.items() if one.probe_share <= TOO_FINE}
        if len(every) < _KERNELS_MIN or any(one.typical.n < N_MIN for one in every.values()):
            return undecided(
                f"{len(every)} kernels were recorded and measured, and {_KERNELS_MIN} are needed", rows.of_metric(TIME)
            )
        reason = f"speedup on two workers: {'; '.join(f'{kernel} {one.words()}' for kernel, one in kernels.items())}"
        if len(kernels) < _KERNELS_MIN:
            return Verdict(UNDECIDED, f"{len(every) - len(kernels)} kernels fork too finely to be timed")
        worst = max(kernels, key=lambda kernel: abs(kernels[kernel].error))
        usual = max(kernels, key=lambda kernel: abs(kernels[kernel].typical_error))
        headline = f"{len(kernels)} kernels, off by up to {kernels[worst].error:+.0%} at best ({worst}), "
        headline += f"{kernels[usual].typical_error:+.0%} typically ({usual})"
        good = [kernel for kernel, one in kernels.items() if one.is_good]
        if len(good) == len(kernels):
            others = [kernel for kernel, one in kernels.items() if not one.is_typical]
            if not others:
                return Verdict(HOLDS, reason, headline=headline)
            where = f"the best rounds count, not the typical ones (of {', '.join(others)})"
            return Verdict(CONDITIONAL, reason, where, headline)
        if disturbed((one.floor, one.typical) for kernel, one in kernels.items() if kernel not in good):
            return Verdict(UNDECIDED, f"{reason}; {SHARED_CORES}", headline=headline)
        if all(one.is_bad for one in kernels.values()):
            return Verdict(FAILS, reason, headline=headline)
        if not good:
            return Verdict(UNDECIDED, f"{reason}: the intervals include the threshold of 15 %", headline=headline)
        return Verdict(CONDITIONAL, reason, f"it is {' or '.join(good)}", headline)

    def charts(self, result: Result) -> list[Any]:
        """Predicted beside measured on two workers; then each kernel up to 1,024 with its bounds."""
        judged = self.judged(result.rows)
        return [
            *([self._comparison(judged, result.rows)] if judged else []),
            *(self._curve(kernel, result, judged) for kernel in CHOSEN if self._known(kernel, result)),
        ]

    @staticmethod
    def _comparison(judged: dict[str, _Judged], rows: Iterable[Row]) -> Any:
        values = list(judged.values())
        return chart.Bars(
            groups=list(judged),
            series=[
                chart.BarSeries("predicted", [one.predicted for one in values]),
                chart.BarSeries("measured, best round", [one.floor for one in values]),
                chart.BarSeries(
                    "measured, typical round",
                    [one.typical.mid for one in values],
                    [one.typical.lo for one in values],
                    [one.typical.hi for one in values],
                ),
            ],
            unit="ratio",
            title="Speedup on two workers, predicted from one thread and measured",
            x_label="times as fast as one worker",
            n=pictures.samples_note([row for row in rows if row.metric == TIME]),
            note="Best: ratio of the best times; typical: median of the ratios round by round with its 95 % interval",
        )

    def _known(self, kernel: str, result: Result) -> dict[str, Series]:
        wanted = {self.variant(kernel, what): what for what in ("predicted", "upper", "greedy")}
        return {wanted[one.name]: one for one in result.series if one.name in wanted}

    def _curve(self, kernel: str, result: Result, judged: dict[str, _Judged]) -> Any:
        known = self._known(kernel, result)
        counts = known["predicted"].x.astype(int).tolist()
        bounds = {
            n: Bounds(n, upper, upper, greedy)
            for n, upper, greedy in zip(counts, known["upper"].y.tolist(), known["greedy"].y.tolist(), strict=True)
        }
        measured = {1: 1.0, 2: judged[kernel].floor} if kernel in judged else {}
        predicted = dict(zip(counts, known["predicted"].y.tolist(), strict=True))
        note = f"On two workers {judged[kernel].words()}" if kernel in judged else ""
        return scaling_chart(f"Predicted speedup: {kernel}", predicted, bounds, measured, note)
