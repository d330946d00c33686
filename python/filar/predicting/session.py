"""The prediction that users hold: recordings of a program, the best of them, and what follows from it."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from filar._lib import check, ffi, lib
from filar._tables import facts_html, facts_text
from filar.chart import Lines, Marked, Series, format_quantity
from filar.errors import ForkedError, InvalidArgumentError, WrongStateError
from filar.predicting.costs import Costs, measure_costs
from filar.predicting.simulation import Run, simulate
from filar.predicting.tree import PART, Bounds, Tree
from filar.watching import TracePlot

__all__ = ["WORKERS", "Prediction", "RecordingTotals", "predict", "scaling_chart"]

# From one to 1,024.
WORKERS = tuple(1 << power for power in range(11))
_SEEDS = 3
# A larger share of the time than this taken off by calibration: what is left says little. (The calibration itself is
# off by up to a quarter: a loop of nothing but forks predicts its branches better than a program.)
TOO_FINE = 1 / 3


@dataclass(frozen=True)
class RecordingTotals:
    """What a recording came to; times in ns."""

    wall_ns: float
    work_ns: float  # of all strands, without what recording them cost
    probes_ns: float  # spent with recording between strands
    subtracted_ns: float  # taken off the strands' times for stamps and counting
    stamp_ns: float
    quiet_fork_ns: float
    grain_ns: float  # what took less stands for one strand
    forks: int
    loops: int
    pieces: int
    calls: int
    parts: int

    @property
    def probe_share(self) -> float:
        """How much of the measured time of strands was the measuring itself, and was taken off."""
        measured = self.work_ns + self.subtracted_ns
        return self.subtracted_ns / measured if measured > 0 else 0.0


class Prediction:
    """Takes down the forks and loops of a program, and says how fast it would be on any number of workers.

    A context manager: what the block does on this thread, `filar.kernels`, `parallel_for()`, C functions that call
    `filar_join()`, runs there alone, one part after the other, and is recorded. It may be entered again: the recording
    with the least work is kept, since what else runs on the machine only adds to it. Two or three are advisable.

    `costs`: of this machine if None, measured when first needed. `grain`: seconds; what takes less stands for one
    strand. `parts`: of the tree, at most; the grain doubles when it is full.
    """

    def __init__(self, costs: Costs | None = None, *, grain: float = 2e-6, parts: int = 16_384) -> None:
        if not 0 < grain <= 3600:
            raise InvalidArgumentError(f"grain is {grain:g} s; above 0 and up to an hour is possible")
        self._costs = costs
        self._options = ffi.new("filar_recording_options *")
        self._options.parts_max, self._options.grain_ns = parts, max(1, round(grain * 1e9))
        self._handle: Any = None
        self._pid = 0
        self._tree: Tree | None = None
        self._totals: RecordingTotals | None = None
        self._runs: dict[int, list[Run]] = {}
        self.recordings = 0

    # ---- taking it ---------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begins to record this thread; BusyError if it is being recorded, WrongStateError on a green thread."""
        if self._handle is not None:
            raise WrongStateError("the prediction is being recorded")
        handle = ffi.new("filar_recording **")
        check(lib.filar_recording_start(handle, self._options))
        self._handle, self._pid = handle[0], os.getpid()
        return self

    def stop(self) -> None:
        """Ends the recording, on the thread that began it, and keeps it if it has less work than those before."""
        handle = self._handle
        if handle is None:
            raise WrongStateError("the prediction is not being recorded: with filar.predict() as p: ...")
        if self._pid != os.getpid():
            raise ForkedError("the recording was begun by the parent process")
        totals = ffi.new("filar_recording_totals *")
        check(lib.filar_recording_stop(handle, totals))
        self._handle = None
        self.recordings += 1
        try:
            if self._totals is None or totals.work_ns < self._totals.work_ns:
                self._keep(handle, totals)
        finally:
            check(lib.filar_recording_destroy(handle))

    def _keep(self, handle: Any, totals: Any) -> None:
        parts = np.zeros(totals.parts, PART)
        lib.filar_recording_copy(handle, ffi.cast("filar_recorded_part *", parts.ctypes.data), len(parts))
        names = RecordingTotals.__dataclass_fields__
        self._totals = RecordingTotals(**{name: getattr(totals, name) for name in names})
        self._tree = Tree(parts, self._totals.calls)
        self._runs = {}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # ---- looking at it -----------------------------------------------------------------------------------------

    @property
    def tree(self) -> Tree:
        """What was recorded."""
        if self._tree is None:
            raise WrongStateError("nothing has been recorded: with filar.predict() as p: ...")
        return self._tree

    @property
    def totals(self) -> RecordingTotals:
        """Times and counts of the recording that is kept."""
        if self._totals is None:
            raise WrongStateError("nothing has been recorded: with filar.predict() as p: ...")
        return self._totals

    @property
    def costs(self) -> Costs:
        """What forks cost here; measures for 0.2 s when first needed."""
        if self._costs is None:
            self._costs = measure_costs()
        return self._costs

    @property
    def work_ns(self) -> float:
        """The time of all strands together."""
        return self.tree.work_ns

    @property
    def span_ns(self) -> float:
        """The longest chain of strands that wait for each other."""
        return self.tree.span_ns

    @property
    def parallelism(self) -> float:
        """Work over span: the speedup on endlessly many workers that cost nothing."""
        return self.tree.parallelism

    @property
    def too_fine(self) -> bool:
        """Whether measuring took so large a share that the times say little: use a coarser cut-off in the program."""
        return self.totals.probe_share > TOO_FINE

    def runs(self, workers: int) -> list[Run]:
        """Simulated runs on so many workers, with several seeds."""
        if workers not in self._runs:
            seeds = range(1, _SEEDS + 1) if workers > 1 else (1,)
            self._runs[workers] = [simulate(self.tree, workers, self.costs, seed) for seed in seeds]
        return self._runs[workers]

    def time_ns(self, workers: int) -> float:
        """The predicted time on so many workers: the median of some simulated runs."""
        return float(np.median([run.time_ns for run in self.runs(workers)]))

    def speedup(self, workers: int) -> float:
        """How many times as fast as on one worker of a pool it is predicted to be."""
        together = self.time_ns(workers)
        return self.time_ns(1) / together if together > 0 else 1.0

    def bounds(self, workers: int) -> Bounds:
        """The laws of work and span, and Brent's bound with the costs of this machine."""
        return self.tree.bounds(workers, self.costs)

    def plot(self, measured: dict[int, float] | None = None, workers: Iterable[int] = WORKERS) -> TracePlot:
        """Predicted speedup and its bounds by workers; `measured`: times in seconds by number of workers, 1 included.

        Simulates what has not been simulated: some 5 us for each part of the tree and number of workers.
        """
        counts = sorted(set(workers))
        points: dict[int, float] = {}
        if measured:
            if 1 not in measured:
                raise InvalidArgumentError("measured times without that on one worker give no speedup")
            points = {count: measured[1] / seconds for count, seconds in sorted(measured.items())}
        predicted = {count: self.speedup(count) for count in counts}
        chart = scaling_chart("Predicted speedup", predicted, {n: self.bounds(n) for n in counts}, points)
        return TracePlot((chart,), "prediction")

    def summary(self) -> str:
        """Some lines for a terminal."""
        return facts_text(self._facts())

    def _facts(self) -> list[tuple[str, str]]:
        found, tree = self.totals, self.tree
        facts = [
            ("work", format_quantity(tree.work_ns, "ns")),
            ("span", format_quantity(tree.span_ns, "ns")),
            ("parallelism", f"{tree.parallelism:.3g}"),
            ("forks, loops, pieces", f"{tree.forks:,}, {found.loops:,}, {found.pieces:,}"),
            ("tree", f"{len(tree.parts):,} parts of {format_quantity(found.grain_ns, 'ns')} or more"),
            ("measuring took", f"{found.probe_share:.1%} of the strands' time, taken off"),
            ("recordings", f"{self.recordings}, the least work kept"),
        ]
        if self.too_fine:
            facts.append(("too fine", "so much was taken off that the figures say little"))
        if self.costs.complete:
            facts += [(f"on {count:,} workers", f"{self.speedup(count):.2f} times as fast") for count in (2, 8, 64)]
        else:
            why = "what a steal costs cannot be measured on one CPU, or beside very busy programs"
            facts.append(("speedup", f"not predicted: {why}"))
        return facts

    def __repr__(self) -> str:
        if self._handle is not None:
            return "<Prediction, being recorded>"
        if self._tree is None:
            return "<Prediction, nothing recorded>"
        return f"<Prediction of {format_quantity(self.work_ns, 'ns')} of work, parallelism {self.parallelism:.3g}>"

    def _repr_html_(self) -> str:
        if self._tree is None:
            return html.escape(repr(self))
        picture = self.plot()._repr_html_() if self.costs.complete else ""
        return f"{facts_html(self._facts())}\n{picture}"


def scaling_chart(
    title: str, predicted: dict[int, float], bounds: dict[int, Bounds], measured: dict[int, float], note: str = ""
) -> Lines:
    """Speedup by workers on two logarithmic axes: measured points, the simulation, the bounds around it."""

    def line(label: str, points: dict[int, float], dashed: bool = False) -> Series:
        return Series(label, np.array(list(points), dtype=float), np.array(list(points.values())), dashed=dashed)

    series = [line("measured", measured)] if measured else []
    series += [
        line("predicted", predicted),
        line("work law and span law", {count: one.upper for count, one in bounds.items()}, dashed=True),
        line("greedy, burdened", {count: one.greedy for count, one in bounds.items()}, dashed=True),
    ]
    return Lines(
        series=series,
        x_scale="log2",
        y_scale="log2",
        x_ticks=[float(count) for count in predicted],
        title=title,
        x_label="workers",
        y_label="times as fast as one worker",
        marked=[Marked(float(os.cpu_count() or 1), "CPUs here")] if (os.cpu_count() or 1) in predicted else [],
        note=note,
    )


def predict(costs: Costs | None = None, *, grain: float = 2e-6, parts: int = 16_384) -> Prediction:
    """A prediction to be recorded by `with`: work, span, bounds and speedup on any number of workers.

    with filar.predict() as p:
        filar.kernels.merge_sort(values, pool)
    p.speedup(8)
    """
    return Prediction(costs, grain=grain, parts=parts)
