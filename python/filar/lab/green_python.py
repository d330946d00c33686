"""Python on green threads beside threads, event loops and other green threads: what switches, tasks and items cost.

Each model is a process of its own (`pymodels`); the orders of all take turns in shuffled rounds. What they do when
one blocks, and which kind suits which job, is in `model_choice`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from filar.chart import format_quantity
from filar.errors import FilarError
from filar.lab import pictures
from filar.lab.base import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    UNDECIDED,
    Budget,
    Claim,
    Experiment,
    Measured,
    Reference,
    Row,
    Rows,
    Verdict,
    Way,
    experiment,
    paired,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.greens import enough, times, words
from filar.lab.interpreters import Model, models
from filar.lab.pymodels import CHANNEL, KERNEL_STACK, MS, RESIDENT, SPAWN, SWITCH
from filar.lab.pyrounds import Task, run_rounds, way_task
from filar.lab.result import Result

FAMILY = "Python on green threads"
NOTES = "Lecture notes on user-level threads"
_NS = "ns"

KERNEL, GREEN, LOOP = "kernel threads", "green threads", "event loop"
PLAIN, NATIVE = "one thread, no scheduler", "without Python"
# What the programs are called, and what they are.
KINDS = {"filar": GREEN, "threads": KERNEL, "asyncio": LOOP, "greenlet": GREEN, "gevent": GREEN, "runloom": GREEN}
RUNLOOM = "runloom's own figure, 64 cores, no GIL"
ARNOTT = "devblogs.microsoft.com, S. Arnott 2012"


@dataclass(frozen=True)
class Order:
    """What one model is asked to do in each round.

    `per` names the parameter that is chosen so that an order takes about as long as the others: the number of turns,
    of so many `operations` each. `fork` does it in a child of the model's process, which begins with nothing
    allocated, after doing it once with the parameters `warm`. `kind` and `facts` are for the row.
    """

    variant: str
    model: str
    do: str
    params: Mapping[str, Any] = field(default_factory=dict)
    per: str = ""
    operations: int = 1
    fork: bool = False
    warm: Mapping[str, Any] | None = None
    kind: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, **more: Any) -> dict[str, Any]:
        """What is sent to the model."""
        found = {"do": self.do, **self.params, **more}
        return {**found, "fork": True, "warm": self.warm} if self.fork else found


# What costs next to nothing in a turn would otherwise be asked for more and more of them.
TURNS_MAX = 1 << 17


def fitted(model: Model, order: Order, metric: str, target_ns: int) -> dict[str, Any]:
    """The arguments with which what is measured takes about `target_ns` here; a turn at least."""
    if not order.per:
        return order.arguments()
    turns = 1
    while True:
        begun = time.perf_counter_ns()
        found = model.ask(**order.arguments(**{order.per: turns}))
        taken, whole = found[metric] * order.operations * turns, time.perf_counter_ns() - begun
        # What is around the measurement (event loops, runtimes, tasks to begin with) may take the longest.
        if taken >= target_ns / 4 or whole >= 8 * target_ns or turns >= TURNS_MAX:
            fit = int(turns * target_ns / max(taken, 1))
            return order.arguments(**{order.per: max(turns // 4, min(TURNS_MAX, fit), 1)})
        turns = min(4 * turns, TURNS_MAX)


def tasks_of(
    found: Mapping[str, Model], orders: Iterable[Order], units: Mapping[str, str], notes: list[str], target_ns: int
) -> list[Task]:
    """A task for each order whose model is there; one that cannot do it is a note."""
    made = []
    for order in orders:
        model = found.get(order.model)
        if model is None:
            continue
        try:
            arguments = fitted(model, order, next(iter(units)), target_ns)
        except (FilarError, OSError) as error:
            notes.append(f"{order.variant}: not measured, {error}.")
            continue
        params = {**order.params, "kind": order.kind or KINDS.get(order.model, ""), **order.facts}
        made.append(Task(order.variant, partial(model.ask, **arguments), units, params))
    return made


class Models(Experiment):
    """What these experiments have in common: orders to models, in rounds."""

    units: ClassVar[Mapping[str, str]]
    target_ns: ClassVar[int] = 4 * MS
    family = FAMILY

    def orders(self, bench: Bench) -> list[Order]:
        """What is asked of whom."""
        raise NotImplementedError

    def native(self, bench: Bench) -> list[Way]:
        """The same in C, for comparison."""
        return []

    def measure(self, bench: Bench) -> Measured:
        """Rounds of orders."""
        orders = self.orders(bench)
        with models(order.model for order in orders) as (found, notes):
            tasks = tasks_of(found, orders, self.units, notes, self.target_ns)
            tasks += [way_task(bench, way) for way in self.native(bench)]
            measured = run_rounds(bench, tasks)
        wanted = [row for row in measured.rows if row.metric in self.units]
        return Measured(Rows(wanted), notes=[*notes, *measured.notes])


def kind_of(row: Row) -> str:
    """What kind of thread a row is of."""
    return str(row.params.get("kind", NATIVE))


def cheaper(rows: Rows, metric: str, green: Iterable[str], what: str) -> Verdict:
    """Holds if green threads are surely cheaper than kernel threads at their best, in every one of `green`."""
    kernel = [row for row in rows.of_metric(metric) if kind_of(row) == KERNEL and enough(row)]
    ours = [row for name in green if enough(row := rows.find(name, metric)) and row is not None]
    if not kernel or not ours:
        return lacking(rows, metric, green)
    best = min(kernel, key=lambda row: row.median)
    gains = {row.variant: rows.ratio(best.variant, row.variant, metric) for row in ours}
    parts = [f"{row.variant} {words(row)}, {times(gains[row.variant])} cheaper" for row in ours]
    reason = f"{best.variant} {words(best)}; {'; '.join(parts)}"
    named = {best.variant, *gains}
    others = [row for row in rows.of_metric(metric) if row.variant not in named and kind_of(row) != KERNEL]
    if others:
        # The picture has all.
        nearest = sorted(others, key=lambda row: row.median)[:4]
        reason += "; beside: " + ", ".join(f"{row.variant} {format_quantity(row.median, _NS)}" for row in nearest)
    headline = f"{what} {format_quantity(ours[0].median, _NS)}, of kernel threads {format_quantity(best.median, _NS)}"
    dear = [name for name, gain in gains.items() if gain.lo <= 1]
    if not dear:
        return Verdict(HOLDS, reason, headline=headline)
    if len(dear) < len(gains):
        fine = next(name for name in gains if name not in dear)
        return Verdict(CONDITIONAL, reason, f"it is {fine}", headline)
    surely = all(gain.hi < 1 for gain in gains.values())
    return Verdict(FAILS if surely else UNDECIDED, reason, headline=headline)


def lacking(rows: Rows, metric: str, green: Iterable[str]) -> Verdict:
    """The verdict without figures of both sides: which one is missing, or that there were too few rounds."""
    found = {
        KERNEL: any(kind_of(row) == KERNEL for row in rows.of_metric(metric)),
        GREEN: any(rows.find(name, metric) for name in green),
    }
    missing = " and ".join(name for name, there in found.items() if not there)
    return undecided(f"{missing} were not measured", [] if missing else rows.of_metric(metric))


# ---- switching ----


def ready(name: str, count: int) -> str:
    """Public name of a yield with so many ready."""
    return f"{name}, {count:,} ready"


THREADS_SWITCH, THREADS_ONE_CPU = "threading, two locks", "threading, two locks, one CPU"
GREENLET_DIRECT, GENERATOR = "greenlet, by name", "generator, next()"
NATIVE_SWITCH = "native green threads, 2 ready"


@experiment
class PySwitch(Models):
    """A switch between Python tasks: green threads, event loops, kernel threads (Y1, Y2)."""

    name = "py-switch"
    title = "Switching between Python tasks"
    claim = Claim("In Python, too, switching between user-level threads is faster than between kernel threads.", NOTES)
    references: ClassVar = (
        Reference("C#, two threads (Arnott 2012)", 2_740, _NS, ARNOTT, SWITCH),
        Reference("C#, async that yields (Arnott 2012)", 349, _NS, ARNOTT, SWITCH),
        Reference(f"{RUNLOOM}, yield", 75, _NS, "pypi.org/project/runloom", SWITCH),
    )
    method = (
        "Python functions that do nothing but yield take turns, 2 or 1,000 of them, by each model in a process of its "
        "own: filar's green threads on one worker, asyncio's sleep(0), gevent's sleep(0), greenlets by a queue or by "
        "name; two kernel threads wake each other by locks, wherever the kernel puts them and on one CPU. "
        "The models take turns in shuffled rounds; those that are not installed are left out. "
        "Times are for one switch, from one task to the next, and hold the Python code of the loop."
    )
    quick = Budget(seconds=1.0, rounds_max=30, rounds_min=7)
    full = Budget(seconds=10.0, rounds_max=200, rounds_min=10)
    units: ClassVar = {SWITCH: _NS}

    def orders(self, bench: Bench) -> list[Order]:
        """Two that are ready, and a thousand."""
        found = [
            Order(THREADS_SWITCH, "threads", "switch", per="turns", operations=2),
            Order(THREADS_ONE_CPU, "threads", "switch", {"one_cpu": True}, per="turns", operations=2),
            Order(GREENLET_DIRECT, "greenlet", "direct", per="turns", operations=2),
            Order(GENERATOR, "floor", "switch", per="turns", operations=2, kind=PLAIN),
        ]
        for model in ("filar", "asyncio", "greenlet", "gevent", "runloom"):
            for count in (2, 1_000):
                params = {"ready": count}
                found.append(Order(ready(model, count), model, "switch", params, per="turns", operations=count))
        return found

    def native(self, bench: Bench) -> list[Way]:
        """The same scheduler without Python."""
        keep = {"one way": SWITCH, "yields": None, "steals": None, "stolen": None, "sleeps": None}
        return [Way(NATIVE_SWITCH, "green-yield", {"ready": 2}, metrics=keep)]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if a yield is surely cheaper than a switch of kernel threads, however many are ready."""
        return cheaper(rows, SWITCH, [ready("filar", n) for n in (2, 1_000)], "a switch")

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots on a log axis."""
        return [ranked(result, SWITCH, self.references, ready("filar", 2))]


def ranked(result: Result, metric: str, references: Iterable[Reference], on: str) -> Any:
    """Dots of all models, by kind."""
    groups = {row.variant: kind_of(row) for row in result.rows.of_metric(metric)}
    marks = [one for one in references if one.metric == metric]
    return pictures.ranked_dots(result, metric, references=marks, on=on, groups=groups)


# ---- creating ----


def at_once(name: str, count: int) -> str:
    """Public name of so many tasks created before the first is waited for."""
    return f"{name}, one at a time" if count == 1 else f"{name}, {count:,} at once"


@experiment
class PySpawn(Models):
    """Creating and joining a task that runs a Python function (Y3)."""

    name = "py-spawn"
    title = "Creating a Python task"
    claim = Claim("In Python, too, creating a user-level thread is faster than creating a kernel thread.", NOTES)
    references: ClassVar = (
        Reference("kernel thread in C, Skylake (Lemire 2020)", 9_000, _NS, "lemire.me/blog/2020/01/30", SPAWN),
        Reference(RUNLOOM, 740, _NS, "pypi.org/project/runloom", SPAWN),
    )
    method = (
        "An empty Python function is started as a task of its own and waited for, one at a time or many before the "
        "first is waited for: filar's green threads, asyncio's and gevent's tasks, greenlets, threading's threads. "
        "Each model is a process of its own, and all take turns in shuffled rounds; those that are not installed are "
        "left out. "
        "Times are for one task."
    )
    quick = Budget(seconds=1.0, rounds_max=30, rounds_min=7)
    full = Budget(seconds=10.0, rounds_max=200, rounds_min=10)
    units: ClassVar = {SPAWN: _NS}
    many = 1_000

    def orders(self, bench: Bench) -> list[Order]:
        """One at a time, and many at once."""
        found = []
        for model in ("filar", "asyncio", "greenlet", "gevent", "runloom", "threads"):
            many = bench.safety.threads(50) if model == "threads" else self.many
            name = "threading" if model == "threads" else model
            found += [
                Order(at_once(name, n), model, "create", {"at_once": n}, per="turns", operations=n) for n in (1, many)
            ]
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if a green thread is surely cheaper, one at a time and many at once."""
        return cheaper(rows, SPAWN, [at_once("filar", n) for n in (1, self.many)], "a green thread")

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots on a log axis."""
        return [ranked(result, SPAWN, self.references, at_once("filar", 1))]


# ---- memory ----

REAL = "real"


def parked(name: str, count: int) -> str:
    """Public name of so many that wait."""
    return f"{name}, {count:,} parked"


@experiment
class PyMemory(Models):
    """Memory of a Python task that waits (Y4)."""

    name = "py-memory"
    title = "Memory of a Python task that waits"
    claim = Claim("In Python, too, thousands of green threads take much less memory than kernel threads.", NOTES)
    references: ClassVar = (Reference(RUNLOOM, 8_800, "B", "pypi.org/project/runloom", REAL),)
    method = (
        "In every round a fresh child process starts so many tasks that wait: filar's green threads, asyncio's tasks, "
        "greenlets, gevent's, threading's threads. "
        "Counted is how much anonymous memory grew, page tables included, and for kernel threads their kernel stacks "
        "(from the whole machine's figures, so others add noise), divided by the number of tasks. "
        "All take turns in shuffled rounds; what is not installed is left out."
    )
    quick = Budget(seconds=1.2, rounds_max=12, rounds_min=6)
    full = Budget(seconds=15.0, rounds_max=20, rounds_min=6)
    units: ClassVar = {RESIDENT: "B", KERNEL_STACK: "B"}

    def orders(self, bench: Bench) -> list[Order]:
        """Thousands of what is small, as many threads as are safe."""
        found = []
        for wanted in (2_000,) if bench.quick else (2_000, 50_000):
            tasks = max(200, bench.safety.memory(wanted * 16_000) // 16_000)
            found += [
                Order(parked(model, tasks), model, "park", {"tasks": tasks}, fork=True)
                for model in ("filar", "asyncio", "greenlet", "gevent")
            ]
        threads = bench.safety.threads(200 if bench.quick else 1_000)
        return [*found, Order(parked("threading", threads), "threads", "park", {"tasks": threads}, fork=True)]

    def measure(self, bench: Bench) -> Measured:
        """Both parts, and their sum."""
        measured = super().measure(bench)
        measured.rows += self.real(measured.rows)
        return measured

    @staticmethod
    def real(rows: Rows) -> Rows:
        """Resident memory and, of kernel threads only, kernel stacks; added up round by round."""
        found = []
        for row in rows.of_metric(RESIDENT):
            stacks, total, rounds = rows.find(row.variant, KERNEL_STACK), row.samples, row.round_numbers
            if kind_of(row) == KERNEL and stacks is not None:
                rounds, mine, theirs = paired(row, stacks)
                total = mine + theirs
            found.append(Row(row.variant, REAL, "B", total, dict(row.params), rounds=rounds))
        return Rows(found)

    def judge(self, rows: Rows) -> Verdict:
        """Much less is half or less, whatever the number."""
        real = rows.of_metric(REAL)
        ours = [row for row in real if row.variant.startswith("filar") and enough(row)]
        kernel = [row for row in real if kind_of(row) == KERNEL and enough(row)]
        if not ours or not kernel:
            return lacking(rows, REAL, [row.variant for row in real if row.variant.startswith("filar")])
        worst, best = max(ours, key=lambda row: row.median), min(kernel, key=lambda row: row.median)
        ratio = best.median / worst.median
        reason = (
            f"each of {worst.variant} takes {words(worst)}, each of {best.variant} {words(best)}: "
            f"{ratio:.2g} times as much"
        )
        others = [row for row in real if row not in (*ours, *kernel)]
        if others:
            reason += "; beside: " + ", ".join(f"{r.variant} {format_quantity(r.median, 'B')}" for r in others)
        headline = f"{format_quantity(worst.median, 'B')} a green thread, {format_quantity(best.median, 'B')} a thread"
        return Verdict(HOLDS if ratio >= 2 else FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots on a log axis."""
        on = next((row.variant for row in result.rows.of_metric(REAL) if row.variant.startswith("filar")), "")
        return [ranked(result, REAL, self.references, on)]


# ---- passing items on ----

FILAR_CHANNEL, FILAR_QUEUE = "filar, Channel", "filar, SimpleQueue"
THREADS_SIMPLE, THREADS_QUEUE = "threading, SimpleQueue", "threading, Queue"


@experiment
class PyChannel(Models):
    """Handing an item to another Python task and waiting for one back (Y5)."""

    name = "py-channel"
    title = "Passing an item to another Python task"
    claim = Claim("Tasks that pass messages to each other are cheaper as user-level threads.", NOTES)
    references: ClassVar = (
        Reference(RUNLOOM, 280, _NS, "pypi.org/project/runloom", CHANNEL),
        Reference("goroutines (Bendersky 2018)", 170, _NS, "eli.thegreenplace.net/2018", CHANNEL),
    )
    method = (
        "Two tasks of Python code send each other an item through two channels or queues, so that each always waits "
        "for the other: filar's green threads, asyncio, gevent, and kernel threads wherever the kernel puts them and "
        "on one CPU. "
        "Each model is a process of its own, and all take turns in shuffled rounds; those that are not installed are "
        "left out. "
        "Times are for one way: put, wake, switch, get."
    )
    quick = Budget(seconds=1.0, rounds_max=30, rounds_min=7)
    full = Budget(seconds=10.0, rounds_max=200, rounds_min=10)
    units: ClassVar = {CHANNEL: _NS}

    def orders(self, bench: Bench) -> list[Order]:
        """A queue or channel of each model."""
        each: dict[str, Any] = {"per": "turns", "operations": 2}
        return [
            Order(FILAR_CHANNEL, "filar", "channel", **each),
            Order(FILAR_QUEUE, "filar", "channel", {"queue": True}, **each),
            Order("asyncio, Queue", "asyncio", "channel", **each),
            Order("gevent, Queue", "gevent", "channel", **each),
            Order("runloom, Chan", "runloom", "channel", **each),
            Order(THREADS_SIMPLE, "threads", "channel", **each),
            Order(f"{THREADS_SIMPLE}, one CPU", "threads", "channel", {"one_cpu": True}, **each),
            Order(THREADS_QUEUE, "threads", "channel", {"simple": False}, **each),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if channel and queue of green threads are surely cheaper than the best queue of kernel threads."""
        return cheaper(rows, CHANNEL, [FILAR_CHANNEL, FILAR_QUEUE], "one way")

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots on a log axis."""
        return [ranked(result, CHANNEL, self.references, FILAR_CHANNEL)]
