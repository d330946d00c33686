"""Shuffled rounds of Python code: for claims about the interpreter itself, which no plan in C can measure.

The method is that of a plan (every task once a round, in an order drawn anew, one round dropped); the difference is
that Python stands between the stamps, because Python is what is measured.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from filar.errors import FilarError
from filar.lab.base import Measured, Row, Rows, Way
from filar.lab.bench import Bench, find_way

__all__ = ["Task", "run_rounds", "timed", "way_task"]


@dataclass(frozen=True)
class Task:
    """One way of doing what is measured: `run()` does it once and returns its metrics.

    A metric that is an array holds single events of this round. `units` names every metric's unit.
    """

    variant: str
    run: Callable[[], Mapping[str, ArrayLike]]
    units: Mapping[str, str]
    params: Mapping[str, Any] = field(default_factory=dict)


# As long as a sample of a plan in C.
_TARGET_NS = 200_000


def timed(variant: str, body: Callable[[], object], *, metric: str = "per call", **params: Any) -> Task:
    """A task whose metric is the time of one call of `body()` in ns, from batches of about 0.2 ms.

    What is measured holds an empty turn of a Python loop, some 20 ns, and the call of `body` itself.
    """
    batch = 1
    while (taken := _batch_ns(body, batch)) < _TARGET_NS / 2 and batch < 1 << 20:
        batch = min(4 * batch, max(batch + 1, int(batch * _TARGET_NS / max(taken, 1))))
    return Task(variant, lambda: {metric: _batch_ns(body, batch) / batch}, {metric: "ns"}, {"batch": batch, **params})


def _batch_ns(body: Callable[[], object], batch: int) -> int:
    begun = time.perf_counter_ns()
    for _ in range(batch):
        body()
    return time.perf_counter_ns() - begun


def way_task(bench: Bench, way: Way, *, switches: str = "") -> Task:
    """A way of the C lab among tasks of Python: one sample of it, by a plan of its own, whenever it is its turn.

    With `switches` the context switches that the kernel counted are a metric of that name. A way that cannot run
    raises FilarError, as tasks may.
    """
    units = {way.metrics.get(name, name): unit for name, unit in find_way(way.way).metrics.items()}

    def run() -> Mapping[str, ArrayLike]:
        outcome = bench.run([way], rounds_max=1, rounds_min=1, warmup_rounds=0)
        if way.variant in outcome.failures:
            raise FilarError(outcome.failures[way.variant])
        found: dict[str, ArrayLike] = {row.metric: row.samples for row in outcome.rows()}
        if switches:
            names = ("switches_voluntary", "switches_involuntary")
            found[switches] = float(sum(outcome.samples[name].sum() for name in names))
        return found

    known = {name: unit for name, unit in units.items() if name is not None}
    return Task(way.variant, run, {**known, switches: "count"}, way.params)


@contextmanager
def _without_collector() -> Iterator[None]:
    """A collection in the middle of a sample would be measured with it."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def run_rounds(
    bench: Bench,
    tasks: Sequence[Task],
    *,
    seconds: float | None = None,
    rounds_max: int | None = None,
    rounds_min: int | None = None,
    warmup_rounds: int = 1,
) -> Measured:
    """Runs all tasks in shuffled rounds until the time or `rounds_max` is reached; blocks the caller.

    Defaults are the budget's; the first `warmup_rounds` (1 or 0) are dropped. A task that fails with trouble from
    outside (FilarError, OSError) is left out from then on, with a note. Ctrl-C raises KeyboardInterrupt between or
    inside tasks.
    """
    limit_s = bench.budget.seconds if seconds is None else seconds
    most = bench.budget.rounds_max if rounds_max is None else rounds_max
    least = min(bench.budget.rounds_min if rounds_min is None else rounds_min, most)
    order, failures = list(tasks), dict[str, str]()
    found: dict[tuple[str, str], tuple[list[float], list[int]]] = {}
    shuffle = random.Random(bench.seed).shuffle
    with _without_collector():
        begun = math.nan if warmup_rounds else time.monotonic()
        for number in range(-warmup_rounds, most):
            if number >= least and time.monotonic() - begun >= limit_s:
                break
            if bench.deadline is not None and time.monotonic() > bench.deadline:
                bench.notes.append("The time limit cut the measurement short: some rows have fewer samples.")
                break
            shuffle(order)
            for task in order:
                if task.variant in failures:
                    continue
                try:
                    values = task.run()
                except (FilarError, OSError) as error:
                    failures[task.variant] = str(error) or type(error).__name__
                    continue
                if number >= 0:
                    _keep(found, task.variant, values, number)
            if number < 0:
                begun = time.monotonic()
            elif bench.on_progress is not None:
                share = max((number + 1) / most, (time.monotonic() - begun) / max(limit_s, 1e-3))
                bench.on_progress(min(share, 1.0), "")
    rows = [
        Row(task.variant, metric, task.units[metric], np.array(values), task.params, rounds=np.array(rounds))
        for task in tasks
        for (variant, metric), (values, rounds) in found.items()
        if variant == task.variant and values
    ]
    return Measured(Rows(rows), notes=[f"{variant}: {why}" for variant, why in failures.items()])


def _keep(found: dict[Any, Any], variant: str, values: Mapping[str, ArrayLike], number: int) -> None:
    for metric, value in values.items():
        events = np.atleast_1d(np.asarray(value, dtype=float))
        samples, rounds = found.setdefault((variant, metric), ([], []))
        samples.extend(events.tolist())
        rounds.extend([number] * len(events))
