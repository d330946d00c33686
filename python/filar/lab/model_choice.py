"""Which kind of thread for which job: what one task that blocks or never ends does to the others, the same waiting
by every model, and a table of jobs and kinds computed from what this machine needs for them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from filar import chart
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
    Series,
    Table,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.green_python import FAMILY, GREEN, KERNEL, Models, Order, kind_of, tasks_of
from filar.lab.green_waits import ns, strip, waits_cdf
from filar.lab.greens import enough, times, words
from filar.lab.interpreters import Interpreter, interpreters, models
from filar.lab.pymodels import CPU, MEMORY, MS, STRIP, SWITCHES, WALL, WORK, WORST
from filar.lab.pyrounds import Task, run_rounds, way_task
from filar.lab.pythons import TIME, native_steps, steps_in, together
from filar.lab.result import Result
from filar.lab.stats import N_MIN

TASKS = 8
_NS = "ns"
_UNIT_NS = 20_000


class _Gaps(Models):
    """Eight tasks that take turns, the first of which causes trouble: waits, work, and who ran when."""

    units: ClassVar = {WORST: _NS, WORK: "1/s"}
    window_ms: ClassVar[int] = 100
    block_ms: ClassVar[int] = 20
    first: ClassVar[str]

    def how(self) -> dict[str, Any]:
        """What all orders have in common."""
        return {
            "tasks": TASKS,
            "window_ns": self.window_ms * MS,
            "block_ns": self.block_ms * MS,
            "unit_steps": steps_in(_UNIT_NS),
        }

    def measure(self, bench: Bench) -> Measured:
        """Rounds; longest waits as events, the first round as time lines."""
        orders, first = self.orders(bench), dict[str, Series]()

        def keep(task: Task) -> Task:
            def run() -> Mapping[str, ArrayLike]:
                found = dict(task.run())
                told = np.array(found.pop(STRIP), dtype=float).reshape(-1, 4)
                subject, kind = (told[:, i].astype(np.int32) for i in (0, 1))
                first.setdefault(task.variant, Series(task.variant, told[:, 2], told[:, 3], _NS, _NS, subject, kind))
                return found

            return Task(task.variant, run, task.units, task.params)

        with models(order.model for order in orders) as (found, notes):
            tasks = [keep(task) for task in tasks_of(found, orders, self.units, notes, 0)]
            measured = run_rounds(bench, tasks, warmup_rounds=0)
        measured.notes = [*notes, *measured.notes]
        measured.series = [first[order.variant] for order in orders if order.variant in first]
        return measured

    def charts(self, result: Result) -> list[Any]:
        """A strip for each variant, on one scale, and the distribution of waits."""
        # That of the result, which may be of a version with another one.
        window = max((float(row.params.get("window_ns", 0)) for row in result.rows), default=0) or self.window_ms * MS
        strips = [strip(series, window, self.first) for series in result.series]
        return [*strips, waits_cdf(result, "How long the other tasks waited for their next turn")]


# ---- one that blocks ----

GREEN_BLOCKS, GREEN_HANDED = "green threads, one blocks", "green threads, one blocks in blocking()"
GREEN_CALM = "green threads, none blocks"
THREADS_BLOCK, THREADS_CALM = "kernel threads, one blocks", "kernel threads, none blocks"
ASYNC_BLOCKS, ASYNC_HANDED = "asyncio, one blocks", "asyncio, one blocks in to_thread()"
GEVENT_BLOCKS, GEVENT_HANDED = "gevent, one blocks", "gevent, one blocks in its thread pool"


@experiment
class PyBlocking(_Gaps):
    """Eight Python tasks, one of which calls something that blocks its kernel thread."""

    name = "py-blocking"
    title = "One Python task blocks"
    claim = Claim(
        "A call that blocks in one Python task blocks all tasks of its event loop, or all green threads of its worker.",
        "Lecture notes on user-level threads",
    )
    method = (
        "Eight tasks of Python code take turns of some 20 µs, and the first of them calls time.sleep() for 20 ms after "
        "each of its turns, as a library does that knows nothing of tasks: as it is, and handed to a helper thread by "
        "what the model has for that. "
        "Each task reads the clock around each turn; the longest time between two readings is its longest wait, one "
        "sample for each of the seven others and each round. "
        "Green threads and event loops use one kernel thread; kernel threads never yield, the interpreter takes the "
        "GIL from them every 5 ms. All take turns in shuffled rounds, each model a process of its own."
    )
    references: ClassVar = (
        Reference("the blocking call itself", 20 * MS, _NS, "what the theory says the others wait", WORST),
    )
    first = "sleeps in a call for 20 ms at a time, where one blocks"
    quick = Budget(seconds=1.6, rounds_max=3, rounds_min=2)
    full = Budget(seconds=12.0, rounds_max=15, rounds_min=5)

    def orders(self, bench: Bench) -> list[Order]:
        """As it is, handed over, and without the call."""
        calm, blocks = {**self.how(), "trouble": ""}, {**self.how(), "trouble": "block"}
        handed = {**blocks, "call": "handed"}
        return [
            Order(GREEN_BLOCKS, "filar", "gaps", blocks),
            Order(GREEN_HANDED, "filar", "gaps", handed),
            Order(GREEN_CALM, "filar", "gaps", calm),
            Order(THREADS_BLOCK, "threads", "gaps", blocks),
            Order(THREADS_CALM, "threads", "gaps", calm),
            Order(ASYNC_BLOCKS, "asyncio", "gaps", blocks),
            Order(ASYNC_HANDED, "asyncio", "gaps", handed),
            Order(GEVENT_BLOCKS, "gevent", "gaps", blocks),
            Order(GEVENT_HANDED, "gevent", "gaps", handed),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the others wait as long as the call takes and do next to nothing."""
        calm, blocked = rows.find(GREEN_CALM, WORST), rows.find(GREEN_BLOCKS, WORST)
        work_calm, work = rows.find(GREEN_CALM, WORK), rows.find(GREEN_BLOCKS, WORK)
        if calm is None or blocked is None or work_calm is None or work is None:
            return Verdict(UNDECIDED, "green threads were not measured with and without the call")
        lost = 100 * (1 - work.median / work_calm.median)
        reason = f"the others wait {words(blocked)} with the call, {words(calm)} without, and do {lost:.0f} % less work"
        for variant, told in (
            (GREEN_HANDED, "handed to a helper thread"),
            (ASYNC_BLOCKS, "asyncio"),
            (ASYNC_HANDED, "asyncio, handed to a thread"),
            (GEVENT_BLOCKS, "gevent"),
            (THREADS_BLOCK, "kernel threads, which wait for the GIL"),
        ):
            row = rows.find(variant, WORST)
            if row is not None:
                reason += f"; {told}: {ns(row.median)}"
        handed = rows.find(GREEN_HANDED, WORST)
        headline = f"the others wait {ns(blocked.median)} instead of {ns(calm.median)}"
        if handed is not None:
            headline += f"; {ns(handed.median)} with blocking()"
        holds = blocked.median >= 0.9 * self.block_ms * MS and lost >= 90
        return Verdict(HOLDS if holds else FAILS, reason, headline=headline)


# ---- one that never yields ----

GREEN_HOG, GREEN_ALL = "green threads, one never yields", "green threads, all yield"
GREEN_PREEMPTED = "green threads, one never yields, preempted after 5 ms"
THREADS_HOG = "kernel threads, none yields"
ASYNC_HOG, GEVENT_HOG = "asyncio, one never yields", "gevent, one never yields"
PREEMPT_MS = 5


@experiment
class PyPreemption(_Gaps):
    """A Python task that never yields, among cooperative and preempted ones."""

    name = "py-preemption"
    title = "A Python task that never yields"
    claim = Claim(
        "A Python task that never yields keeps all others from running where scheduling is cooperative; "
        "preemption gives each its turn.",
        "Lecture notes on preemptive and cooperative scheduling",
    )
    method = (
        "Eight tasks of Python code take turns of some 20 µs and yield after each, but for the first, which never "
        "does: as green threads, cooperative and preempted after 5 ms, as tasks of asyncio and gevent, and as kernel "
        "threads, where nobody yields and the interpreter takes the GIL every 5 ms. "
        "Each task notes its longest wait, one sample for each of the seven others and each round; the endless task "
        "stops after 240 ms, so that is how long it can keep the others waiting. "
        "All take turns in shuffled rounds, each model a process of its own; Python 3.11 cannot preempt."
    )
    references: ClassVar = (Reference("switch interval", 5 * MS, _NS, "sys.getswitchinterval(), the default", WORST),)
    first = "never yields, where one does not"
    # Several turns of all by the interpreter's interval: in half of it each has long had one, or has none at all.
    window_ms = 240
    quick = Budget(seconds=2.2, rounds_max=3, rounds_min=2)
    full = Budget(seconds=12.0, rounds_max=15, rounds_min=5)

    def orders(self, bench: Bench) -> list[Order]:
        """One endless task by each model; all yielding beside."""
        hog = {**self.how(), "trouble": "hog"}
        return [
            Order(GREEN_HOG, "filar", "gaps", hog),
            Order(GREEN_PREEMPTED, "filar", "gaps", {**hog, "preempt_ms": PREEMPT_MS}),
            Order(GREEN_ALL, "filar", "gaps", {**self.how(), "trouble": ""}),
            Order(THREADS_HOG, "threads", "gaps", hog),
            Order(ASYNC_HOG, "asyncio", "gaps", hog),
            Order(GEVENT_HOG, "gevent", "gaps", hog),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the others wait for the whole window, and among preempted tasks half of it or less."""
        calm, hog, kernel = (rows.find(name, WORST) for name in (GREEN_ALL, GREEN_HOG, THREADS_HOG))
        if calm is None or hog is None or kernel is None:
            return Verdict(UNDECIDED, "green threads and kernel threads were not both measured")
        window = float(hog.params.get("window_ns", self.window_ms * MS))
        preempted = rows.find(GREEN_PREEMPTED, WORST)
        reason = (
            f"one that never yields: the others wait {words(hog)} among green threads; when all yield {words(calm)}; "
            f"kernel threads, preempted by the interpreter: {words(kernel)}"
        )
        headline = f"the others wait {ns(hog.median)}, kernel threads {ns(kernel.median)}"
        if preempted is not None:
            reason += f"; green threads preempted after {PREEMPT_MS} ms: {words(preempted)}"
            headline = f"the others wait {ns(hog.median)}, preempted {ns(preempted.median)}"
        for name in (ASYNC_HOG, GEVENT_HOG):
            row = rows.find(name, WORST)
            if row is not None:
                reason += f"; {name.split(',')[0]}: {ns(row.median)}"
        if hog.median < 0.9 * window:
            return Verdict(FAILS, reason, headline=headline)
        waits = min((row.interval for row in (kernel, preempted) if row is not None), key=lambda one: one.mid)
        if waits.hi <= window / 2:
            return Verdict(HOLDS, reason, headline=headline)
        if waits.lo <= window / 2:
            return Verdict(UNDECIDED, f"{reason}: the interval includes half of the window", headline=headline)
        if calm.interval.hi > window / 10:
            return Verdict(UNDECIDED, f"{reason}: other programs keep tasks waiting that all yield", headline=headline)
        return Verdict(FAILS, f"preempted tasks waited nearly as long: {reason}", headline=headline)


# ---- the same waiting by every model ----

ASYNCIO, CALLBACKS = "asyncio", "callbacks, Python"
PY_KERNEL, PY_GREEN = "kernel threads, Python", "green threads, Python"
C_KERNEL, C_GREEN, C_MACHINES = "kernel threads, C", "green threads, C", "state machines, C"
COSTS = {WALL: "time", CPU: "CPU time", MEMORY: "memory", SWITCHES: "switches by the kernel"}


@experiment
class AsyncModels(Models):
    """Thousands of tasks that ask and wait for answers, by eight models (E36, async/await)."""

    name = "async-models"
    title = "The same waiting by every model"
    claim = Claim(
        "For many tasks that wait for input and output async/await is the better choice: one thread, and tasks that "
        "yield where they wait.",
        "Lecture notes on using threads; on web servers",
    )
    method = (
        "So many tasks each wait twice for an answer that comes after 10 ms, which is what input and output look like "
        "to a task; the answers are timers, so that no server is measured: kernel threads, green threads, asyncio's "
        "coroutines and callbacks of its loop in Python; kernel threads, green threads and state machines over a heap "
        "of times in C. "
        "All take turns in shuffled rounds, the Python ones in a fresh child process each time. "
        "Time is from the first task's start to the last one's end (20 ms at least), memory the growth for each task "
        "while all wait, kernel stacks included; switches are those that the kernel counted for the process."
    )
    references: ClassVar = (
        Reference("C#, a switch of threads (Arnott 2012)", 2_740, _NS, "devblogs.microsoft.com, S. Arnott 2012"),
        Reference("C#, async with a yield (Arnott 2012)", 349, _NS, "devblogs.microsoft.com, S. Arnott 2012"),
    )
    quick = Budget(seconds=2.6, rounds_max=8, rounds_min=6)
    full = Budget(seconds=25.0, rounds_max=15, rounds_min=6)
    units: ClassVar = {WALL: _NS, CPU: _NS, MEMORY: "B", SWITCHES: "count"}
    sleeps: ClassVar[int] = 2
    sleep_ns: ClassVar[int] = 10 * MS

    def tasks(self, bench: Bench) -> int:
        """How many wait at once."""
        return bench.safety.threads(1_000 if bench.quick else 5_000)

    def orders(self, bench: Bench) -> list[Order]:
        """The models in Python."""
        script = {"sleeps": self.sleeps, "sleep_ns": self.sleep_ns}
        params = {"tasks": self.tasks(bench), **script}
        warm = {"tasks": 10, "sleeps": 1, "sleep_ns": 100_000}
        return [
            Order(variant, model, do, params, fork=True, warm=warm)
            for variant, model, do in (
                (PY_KERNEL, "threads", "waiting"),
                (PY_GREEN, "filar", "waiting"),
                (ASYNCIO, "asyncio", "waiting"),
                (CALLBACKS, "asyncio", "callbacks"),
                ("gevent", "gevent", "waiting"),
            )
        ]

    def native(self, bench: Bench) -> list[Way]:
        """The models in C."""
        late = dict.fromkeys(("late", "late, p99", "late, worst"))
        params = {"tasks": self.tasks(bench), "sleeps": self.sleeps, "sleep_ns": self.sleep_ns}
        return [
            Way(variant, "waiters", {**params, **how}, metrics={"wall": WALL, "CPU time": CPU, **late})
            for variant, how in ((C_KERNEL, {"kernel": 1}), (C_GREEN, {}), (C_MACHINES, {"machines": 1}))
        ]

    def measure(self, bench: Bench) -> Measured:
        """Rounds of all models."""
        orders = self.orders(bench)
        with models(order.model for order in orders) as (found, notes):
            tasks = tasks_of(found, orders, self.units, notes, 0)
            tasks += [way_task(bench, way, switches=SWITCHES) for way in self.native(bench)]
            measured = run_rounds(bench, tasks)
        measured.notes = [*notes, *measured.notes]
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Which costs are surely lower with asyncio than with kernel threads, in Python."""
        ours, theirs = rows.find(ASYNCIO, WALL), rows.find(PY_KERNEL, WALL)
        if ours is None or theirs is None:
            return Verdict(UNDECIDED, "asyncio and kernel threads in Python were not both measured")
        if not enough(ours, theirs):
            return undecided("asyncio and kernel threads were not measured often enough", (ours, theirs))
        gains = {metric: rows.ratio(PY_KERNEL, ASYNCIO, metric) for metric in COSTS}
        gains = {metric: gain for metric, gain in gains.items() if gain.n >= N_MIN}
        tasks = int(ours.params.get("tasks", 0))
        told = [f"{COSTS[metric]} {times(gain)}" for metric, gain in gains.items()]
        reason = f"{tasks:,} tasks, kernel threads of asyncio's: {', '.join(told)}"
        for variant in (PY_GREEN, CALLBACKS, C_GREEN, C_MACHINES):
            wall, cpu = rows.find(variant, WALL), rows.find(variant, CPU)
            if wall is not None and cpu is not None:
                reason += f"; {variant}: {ns(wall.median)}, CPU time {ns(cpu.median)}"
        green = rows.find(PY_GREEN, WALL)
        headline = f"{tasks:,} tasks: threads {ns(theirs.median)}, asyncio {ns(ours.median)}"
        if green is not None:
            headline += f", green threads {ns(green.median)}"
        better = [COSTS[metric] for metric, gain in gains.items() if gain.lo > 1]
        if len(better) == len(gains):
            return Verdict(HOLDS, reason, headline=headline)
        if better:
            return Verdict(CONDITIONAL, reason, f"what counts is {' and '.join(better)}", headline)
        surely = all(gain.hi < 1 for gain in gains.values())
        return Verdict(FAILS if surely else UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Each cost by model."""
        return [self._bars(result, metric, what) for metric, what in COSTS.items()]

    @staticmethod
    def _bars(result: Result, metric: str, what: str) -> chart.Bars:
        rows = sorted(result.rows.of_metric(metric), key=lambda row: row.median)
        shown = [max(row.median, 0.0) for row in rows]
        return chart.Bars(
            groups=[row.variant for row in rows],
            series=[chart.BarSeries(what, shown, [max(r.interval.lo, 0) for r in rows], [r.interval.hi for r in rows])],
            unit=rows[0].unit if rows else "",
            title=f"Tasks that wait: {what}" + (" of each" if metric == MEMORY else ""),
            x_label=what,
            n=pictures.samples_note(rows),
        )


# ---- which kind for which job ----

INLINE, POOL, PROCESSES = "no threads", "thread pool", "processes"
JOB_KINDS = {
    "inline": INLINE,
    "threads": KERNEL,
    "pool": POOL,
    "green": GREEN,
    "asyncio": "asyncio",
    "processes": PROCESSES,
}
COMPUTE, NATIVE, WAIT, BLOCK, HANDOFF, SHORT = (
    "Python code that computes, divided",
    "native code that computes, divided",
    "tasks that wait for an answer",
    "library calls that block",
    "items passed on and answered",
    "many short pieces of Python code",
)
# What is slower by less than this is as good: differences that small are often the machine's.
AS_GOOD = 1.1


@dataclass(frozen=True)
class Choice:
    """What the rows say of one job.

    `best` has the shortest median, `as_good` are those (it included) that are not surely slower, `surely` those of
    them that are surely no more than that slower; `then` is the first one that is surely slower, by so many `times`.
    """

    job: str
    time_ns: float
    best: str
    as_good: tuple[str, ...]
    surely: tuple[str, ...]
    measured: tuple[str, ...]
    then: str
    times: float
    inline: float

    @property
    def words(self) -> str:
        """The kinds to take: "green threads or asyncio", "any but processes"."""
        others = [kind for kind in self.measured if kind not in self.as_good]
        if len(self.as_good) > 2 and len(others) < 2:
            return f"any but {others[0]}" if others else "no difference"
        return " or ".join(self.as_good)


def _together(helpers: list[Interpreter], steps: int) -> Mapping[str, ArrayLike]:
    return {WALL: together(helpers, steps)[TIME]}


def _choice(job: str, mine: list[Row], rows: Rows) -> Choice:
    first = mine[0]
    ratios = {row.variant: rows.ratio(row.variant, first.variant, WALL) for row in mine[1:]}
    as_good = [first, *(row for row in mine[1:] if ratios[row.variant].lo <= AS_GOOD)]
    surely = [first, *(row for row in mine[1:] if ratios[row.variant].hi <= AS_GOOD)]
    rest = [row for row in mine if row not in as_good]
    inline = next((row for row in mine if kind_of(row) == INLINE), None)
    return Choice(
        job=job,
        time_ns=first.median,
        best=kind_of(first),
        as_good=tuple(map(kind_of, as_good)),
        surely=tuple(map(kind_of, surely)),
        measured=tuple(map(kind_of, mine)),
        then=kind_of(rest[0]) if rest else "",
        times=ratios[rest[0].variant].mid if rest else math.nan,
        inline=inline.median / first.median if inline else math.nan,
    )


def choices(rows: Rows) -> list[Choice]:
    """One for each job that was measured often enough by two kinds or more, from the rows alone."""
    found = []
    for job in dict.fromkeys(str(row.params.get("job", "")) for row in rows.of_metric(WALL)):
        mine = [row for row in rows.of_metric(WALL) if row.params.get("job") == job and enough(row)]
        if len(mine) > 1:
            found.append(_choice(job, sorted(mine, key=lambda row: row.median), rows))
    return found


def choice_table(rows: Rows) -> Table:
    """The choices as a table of facts."""

    def longer(value: float) -> str:
        return "" if math.isnan(value) else f"{value:.{1 if value < 10 else 0}f} times"

    lines = tuple(
        (one.job, one.words, ns(one.time_ns), one.then, longer(one.times), longer(one.inline)) for one in choices(rows)
    )
    heads = ("the job", "best here", "it takes", "surely slower", "by", "without threads")
    return Table("Which kind of thread on this machine", heads, lines)


@experiment
class WhichThread(Experiment):
    """Six jobs by every kind of thread that can do them: a table for whoever has to choose."""

    name = "which-thread"
    title = "Which kind of thread for which job?"
    family = FAMILY
    claim = Claim("No kind of thread is the best for everything: it depends on what the tasks do.", "Lecture notes")
    method = (
        "Six jobs are done in Python by every kind of thread that can do them: 20 ms of Python code or of native code "
        "divided by the CPUs, 500 tasks that wait 5 ms, 16 calls that block 5 ms, 500 items passed on and answered, "
        "300 pieces of 20 µs. "
        "All jobs and kinds take turns in shuffled rounds; the time is from the first task's start to the last one's "
        "end, with the creation of threads, pools and loops (but not of processes). "
        f"Best is the shortest median, and whatever is not surely {round(100 * (AS_GOOD - 1))} % slower, round by "
        "round."
    )
    quick = Budget(seconds=6.0, rounds_max=15, rounds_min=8)
    full = Budget(seconds=20.0, rounds_max=40, rounds_min=10)
    work_ns: ClassVar[int] = 20 * MS

    def jobs(self, bench: Bench) -> dict[str, tuple[str, tuple[str, ...], dict[str, int]]]:
        """By job: what is asked, by which kinds, with which parameters."""
        parts, steps = min(len(bench.cpus), 32), steps_in(self.work_ns)
        tasks = bench.safety.threads(500)
        every = ("inline", "threads", "pool", "green", "asyncio")
        return {
            COMPUTE: ("compute", every, {"parts": parts, "steps": steps}),
            NATIVE: ("native", every, {"parts": parts, "steps": native_steps(self.work_ns)}),
            WAIT: ("wait", every[1:], {"tasks": tasks, "sleep_ns": 5 * MS}),
            BLOCK: ("block", every, {"tasks": 16, "sleep_ns": 5 * MS}),
            HANDOFF: ("handoff", ("threads", "green", "asyncio"), {"items": 500}),
            SHORT: ("short", every, {"tasks": 300, "steps": steps_in(_UNIT_NS)}),
        }

    def orders(self, bench: Bench) -> list[Order]:
        """All jobs by all kinds."""
        return [
            Order(f"{job}: {name}", "mixed", do, {"kind": kind, **params}, kind=name, facts={"job": job})
            for job, (do, kinds, params) in self.jobs(bench).items()
            for kind, name in JOB_KINDS.items()
            if kind in kinds
        ]

    def measure(self, bench: Bench) -> Measured:
        """Rounds; processes for the job that needs them."""
        with ExitStack() as stack:
            found, notes = stack.enter_context(models(["mixed"]))
            tasks = tasks_of(found, self.orders(bench), {WALL: _NS}, notes, 0)
            parts = min(len(bench.cpus), 16)
            try:
                helpers = stack.enter_context(interpreters(sys.executable, parts))
                run = partial(_together, helpers, steps_in(self.work_ns))
                params = {"job": COMPUTE, "kind": PROCESSES, "parts": parts}
                tasks.append(Task(f"{COMPUTE}: {PROCESSES}", run, {WALL: _NS}, params))
            except (FilarError, OSError) as error:
                notes.append(f"processes: not measured, {error}.")
            measured = run_rounds(bench, tasks)
        measured.notes = [*notes, *measured.notes]
        measured.tables = [choice_table(measured.rows)]
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Holds if what is best for one job is surely slower at another; fails if one kind is surely good at all."""
        found = choices(rows)
        if len(found) < 2:
            return undecided("fewer than two jobs were measured by several kinds", rows.of_metric(WALL))
        parts = []
        for one in found:
            then = f", {one.then} {one.times:.2g} times as long" if one.then else ""
            parts.append(f"{one.job}: {one.words}, {ns(one.time_ns)}{then}")
        reason = "; ".join(parts)
        if not set.intersection(*(set(one.as_good) for one in found)):
            kinds = dict.fromkeys(one.best for one in found)
            return Verdict(HOLDS, reason, headline=f"best at one of {len(found)} jobs or more: {', '.join(kinds)}")
        always = set.intersection(*(set(one.surely) for one in found))
        if always:
            return Verdict(FAILS, reason, headline=f"{' or '.join(sorted(always))} for all {len(found)} jobs")
        return Verdict(UNDECIDED, f"too noisy to tell the kinds apart: {reason}")

    def charts(self, result: Result) -> list[Any]:
        """Times by job and kind, each as a multiple of the job's best."""
        rows = result.rows.of_metric(WALL)
        jobs = list(dict.fromkeys(str(row.params.get("job", "")) for row in rows))
        kinds = [kind for kind in JOB_KINDS.values() if any(kind_of(row) == kind for row in rows)]
        best = {job: min(row.median for row in rows if row.params.get("job") == job) for job in jobs}
        medians = {(str(row.params.get("job", "")), kind_of(row)): row.median for row in rows}
        values = [[medians.get((job, kind), float("nan")) / best[job] for kind in kinds] for job in jobs]
        return [
            chart.Heatmap(
                rows=jobs,
                columns=kinds,
                values=values,
                log=True,
                title=result.title,
                x_label="time as a multiple of the job's best",
                n=pictures.samples_note(rows),
            )
        ]
