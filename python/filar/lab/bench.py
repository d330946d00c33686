"""Runs plans: the bridge between an experiment and the C lab, and what an experiment may know of the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar._lib import check, error_for, ffi, lib, text, wait
from filar.errors import CancelledError, DeadlineError, InvalidArgumentError, NotFoundError
from filar.lab.base import Budget, Row, Rows, Way
from filar.lab.safety import Safety
from filar.topology import topology

__all__ = ["Bench", "PlanOutcome", "WayInfo", "find_way", "ways"]

SAMPLE_DTYPE = np.dtype(
    [
        ("way", "u4"),
        ("round", "u4"),
        ("position", "u4"),
        ("batch", "u4"),
        ("start_ns", "i8"),
        ("wall_ns", "i8"),
        ("values", "f8", (lib.FILAR_METRICS_MAX,)),
        ("clock_before_ns", "f8"),
        ("clock_after_ns", "f8"),
        ("switches_voluntary", "u4"),
        ("switches_involuntary", "u4"),
        ("cpu_before", "i4"),
        ("cpu_after", "i4"),
    ]
)
POINT_DTYPE = np.dtype([("way", "u4"), ("round", "u4"), ("kind", "i4"), ("subject", "i4"), ("x", "f8"), ("y", "f8")])
for _dtype, _struct in ((SAMPLE_DTYPE, "filar_sample"), (POINT_DTYPE, "filar_point")):
    if _dtype.itemsize != ffi.sizeof(_struct):
        raise ImportError(f"{_struct} has {ffi.sizeof(_struct)} bytes in C and {_dtype.itemsize} here")


@dataclass(frozen=True)
class WayInfo:
    """A way of the C lab: what one operation is, parameters with defaults, metrics with units."""

    name: str
    summary: str
    params: dict[str, int]
    metrics: dict[str, str]


def _way_info(info: Any) -> WayInfo:
    return WayInfo(
        name=text(info.name),
        summary=text(info.summary),
        params={text(info.param_names[i]): info.param_defaults[i] for i in range(info.param_count)},
        metrics={text(info.metric_names[i]): text(info.metric_units[i]) for i in range(info.metric_count)},
    )


def find_way(name: str) -> WayInfo:
    """The way of that name; NotFoundError if there is none."""
    info = ffi.new("filar_way_info *")
    check(lib.filar_way_find(name.encode(), info))
    return _way_info(info)


def ways() -> dict[str, WayInfo]:
    """All ways of the C lab by name."""
    info = ffi.new("filar_way_info *")
    found = {}
    for index in range(lib.filar_way_count()):
        check(lib.filar_way_describe(index, info))
        way = _way_info(info)
        found[way.name] = way
    return found


@dataclass
class PlanOutcome:
    """What a plan gave: samples and points as structured arrays, and which ways could not run."""

    ways: list[Way]
    infos: list[WayInfo]
    samples: NDArray[Any]
    points: NDArray[Any]
    failures: dict[str, str] = field(default_factory=dict)
    points_lost: int = 0

    def index_of(self, variant: str) -> int:
        """Index of a variant in the plan; NotFoundError if it has none."""
        for index, way in enumerate(self.ways):
            if way.variant == variant:
                return index
        raise NotFoundError(f"the plan has no variant {variant!r}")

    def samples_of(self, variant: str) -> NDArray[Any]:
        """The samples of one variant in order of rounds."""
        mine = self.samples[self.samples["way"] == self.index_of(variant)]
        return mine[np.argsort(mine["round"], kind="stable")]

    def points_of(self, variant: str, kind: int | None = None) -> NDArray[Any]:
        """The points that one variant recorded, of one kind or all."""
        mine = self.points[self.points["way"] == self.index_of(variant)]
        return mine if kind is None else mine[mine["kind"] == kind]

    def rows(self) -> Rows:
        """One row for each variant and metric that has a finite value."""
        rows = []
        for way, info in zip(self.ways, self.infos, strict=True):
            mine = self.samples_of(way.variant)
            for position, (metric, unit) in enumerate(info.metrics.items()):
                name = way.metrics.get(metric, metric)
                measured = mine[np.isfinite(mine["values"][:, position])]
                if name is not None and len(measured):
                    rounds = measured["round"].astype(np.int64)
                    values = measured["values"][:, position]
                    rows.append(Row(way.variant, name, unit, values, dict(way.params), way.note, rounds))
        return Rows(rows)

    def notes(self) -> list[str]:
        """A sentence for each variant that could not be measured."""
        return [f"{variant}: not measured, {why}" for variant, why in self.failures.items()]


@dataclass
class Bench:
    """What an experiment gets: mode, budget, seed, the CPUs it may use, what it may take, and `run()`.

    `on_progress(done, what)` is called with a share of 0 to 1 of the plan about ten times a second while it runs.
    `safety` says how many threads and how much memory are all right. After `deadline` (time.monotonic()) a plan is
    cut short, with a note in `notes`, and no further one starts.
    """

    quick: bool
    budget: Budget
    seed: int = 1
    cpus: tuple[int, ...] = field(default_factory=lambda: tuple(sorted(os.sched_getaffinity(0))))
    on_progress: Callable[[float, str], None] | None = None
    outcomes: list[PlanOutcome] = field(default_factory=list)
    safety: Safety = field(default_factory=lambda: Safety.now(seconds_max=60.0))
    deadline: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def cpu(self) -> int:
        """The CPU of the driver thread: the lowest allowed one."""
        return self.cpus[0]

    @cached_property
    def other_cpu(self) -> int | None:
        """A second CPU, of another core where there is one (siblings share their core's units); None without any."""
        others = self.cpus[1:]
        core_of = {cpu.number: cpu.core for cpu in topology().cpus} if others else {}
        apart = (cpu for cpu in others if core_of.get(cpu) != core_of.get(self.cpu))
        return next(apart, others[0] if others else None)

    def run(
        self,
        ways: Sequence[Way],
        *,
        seconds: float | None = None,
        rounds_max: int | None = None,
        rounds_min: int | None = None,
        sample_ns: int = 200_000,
        pinned: bool = True,
        warmup_rounds: int = 1,
    ) -> PlanOutcome:
        """Runs all `ways` as one plan, in shuffled rounds, and blocks until it has ended.

        `seconds` is the time for the rounds (default: the whole budget; set-up and calibration come on top).
        Ctrl-C cancels the plan, waits for its clean-up and raises KeyboardInterrupt. A way that cannot run is in
        `failures` of the outcome; ways with parameters that do not exist raise InvalidArgumentError.
        """
        if self._is_late():
            raise DeadlineError("the time limit of the experiment passed before all of it was measured")
        infos = [find_way(way.way) for way in ways]
        options = ffi.new("filar_plan_options *")
        lib.filar_plan_options_init(options)
        options.seed = self.seed + len(self.outcomes)
        options.rounds_max = self.budget.rounds_max if rounds_max is None else rounds_max
        options.rounds_min = min(self.budget.rounds_min if rounds_min is None else rounds_min, options.rounds_max)
        options.time_max_ns = int((self.budget.seconds if seconds is None else seconds) * 1e9)
        options.sample_target_ns = sample_ns
        options.driver_cpu = self.cpu if pinned else -1
        options.warmup_rounds = warmup_rounds
        handle = ffi.new("filar_plan **")
        check(lib.filar_plan_create(handle, options))
        plan = handle[0]
        try:
            for way, info in zip(ways, infos, strict=True):
                self._add(plan, way, info)
            check(lib.filar_plan_start(plan))
            self._await(plan, ways)
            outcome = self._collect(plan, list(ways), infos)
        finally:
            lib.filar_plan_destroy(plan)
        self.outcomes.append(outcome)
        return outcome

    def _is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _await(self, plan: Any, ways: Sequence[Way]) -> None:
        """Blocks until the plan has ended; past the deadline it is cancelled, and what it has is kept."""
        cut = False
        try:
            while not wait(lambda deadline: lib.filar_plan_wait_until(plan, deadline), timeout=0.1):
                if self._is_late() and not cut:
                    lib.filar_plan_cancel(plan)
                    cut = True
                self._report(plan, ways)
        except CancelledError:
            if not cut:
                raise
        if cut:
            self.notes.append("The time limit cut the measurement short: some rows have fewer samples.")

    @staticmethod
    def _add(plan: Any, way: Way, info: WayInfo) -> None:
        unknown = set(way.params) - set(info.params)
        if unknown:
            raise InvalidArgumentError(
                f"the way {way.way!r} has no parameter {', '.join(sorted(unknown))}; it has {', '.join(info.params)}"
            )
        values = [int(way.params.get(name, default)) for name, default in info.params.items()]
        index = ffi.new("int32_t *")
        check(lib.filar_plan_add(plan, way.way.encode(), values, len(values), way.batch, index))

    def _report(self, plan: Any, ways: Sequence[Way]) -> None:
        if self.on_progress is None:
            return
        progress = ffi.new("filar_plan_progress *")
        lib.filar_plan_read_progress(plan, progress)
        share = progress.rounds_done / max(progress.rounds_planned, 1)
        what = ways[progress.current_way].variant if progress.current_way >= 0 else ""
        self.on_progress(min(share, 1.0), what)

    @staticmethod
    def _collect(plan: Any, ways: list[Way], infos: list[WayInfo]) -> PlanOutcome:
        samples = np.zeros(lib.filar_plan_sample_count(plan), dtype=SAMPLE_DTYPE)
        points = np.zeros(lib.filar_plan_point_count(plan), dtype=POINT_DTYPE)
        lib.filar_plan_copy_samples(plan, ffi.from_buffer("filar_sample[]", samples), len(samples))
        lib.filar_plan_copy_points(plan, ffi.from_buffer("filar_point[]", points), len(points))
        failures = {}
        for index, way in enumerate(ways):
            detail = ffi.new("char const **")
            status = lib.filar_plan_way_status(plan, index, detail)
            if status != lib.FILAR_OK:
                failures[way.variant] = str(error_for(status, text(detail[0])))
        return PlanOutcome(ways, infos, samples, points, failures, lib.filar_plan_points_lost(plan))
