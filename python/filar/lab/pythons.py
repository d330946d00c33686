"""What threads do for Python code: the global interpreter lock (GIL) beside code that runs without it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from filar import chart
from filar._lib import ffi, lib
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
    Rows,
    Verdict,
    experiment,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.interpreters import Interpreter, free_threaded, gil_is_on, interpreters
from filar.lab.pymodels import count, on_threads
from filar.lab.pyrounds import Task, run_rounds
from filar.lab.result import Result
from filar.lab.stats import N_MIN, Interval
from filar.pool import ThreadPoolExecutor

FAMILY = "Python"
NOTES = "Lecture notes on using threads"
MS = 1_000_000
TIME = "time"
_NS = "ns"

PYTHON_THREADS = "Python code on threads"
PYTHON_PROCESSES = "Python code on processes"
PYTHON_FREE = "Python code on threads without a GIL"
NUMPY_THREADS = "NumPy on threads"
NATIVE_THREADS = "native kernel on threads"
KINDS = (PYTHON_THREADS, NATIVE_THREADS, NUMPY_THREADS, PYTHON_PROCESSES, PYTHON_FREE)
# Twice as fast on two cores is 2: threads that reach this help, and what stays below 1.2 they do not help.
_HELPS, _NO_HELP = 1.5, 1.2
_CHUNK = 16_384


def ns(value: float) -> str:
    """A time in words."""
    return format_quantity(value, _NS)


def variant(kind: str, workers: int) -> str:
    """Public name: "Python code on threads, 2"."""
    return f"{kind}, {workers}"


def _fastest_ns(body: Callable[[], object], tries: int = 5) -> int:
    """The shortest of some runs: others can only add to it."""
    best = 1 << 62
    for _ in range(tries):
        begun = time.perf_counter_ns()
        body()
        best = min(best, time.perf_counter_ns() - begun)
    return max(1, best)


def steps_in(target_ns: int) -> int:
    """Steps of the Python loop that take about so long here."""
    return max(1, 5_000 * target_ns // _fastest_ns(partial(count, 5_000)))


def _numpy_work(turns: int) -> Callable[[], object]:
    """Sines of an array that fits into the first caches, over and over: NumPy gives the GIL away meanwhile."""

    def body() -> None:
        values, out = np.linspace(0.0, 1.0, _CHUNK), np.empty(_CHUNK)
        for _ in range(turns):
            np.sin(values, out=out)

    return body


def _native_work(steps: int) -> Callable[[], object]:
    """filar's spin kernel, called through cffi, which gives the GIL away for the call."""

    def body() -> None:
        spin = ffi.new("filar_spin *", {"steps": 100, "sink": ffi.NULL})
        lib.filar_kernel_spin(0, steps, spin)

    return body


def native_steps(target_ns: int) -> int:
    """Steps of it that take about so long here."""
    return max(1, 2_000 * target_ns // _fastest_ns(_native_work(2_000)))


def _numpy_turns(target_ns: int) -> int:
    """Turns of it that take about so long here."""
    return max(4, 4 * target_ns // _fastest_ns(_numpy_work(4)))


def _wall(stamps: tuple[int, int]) -> dict[str, float]:
    return {TIME: float(stamps[1] - stamps[0])}


def _divided(threads: int, share: Callable[[], object]) -> dict[str, float]:
    return _wall(on_threads(threads, share))


def together(helpers: list[Interpreter], steps: int) -> dict[str, float]:
    """Each of the processes does its share; from the first start to the last end."""
    for one in helpers:
        one.order(1, steps // len(helpers))
    stamps = [one.stamps() for one in helpers]
    return _wall((min(start for start, _ in stamps), max(end for _, end in stamps)))


def _ordered(helper: Interpreter, threads: int, steps: int) -> dict[str, float]:
    helper.order(threads, steps // threads)
    return _wall(helper.stamps())


def worker_counts(cores: int) -> list[int]:
    """1, 2, 4, ... up to the cores, and twice as many."""
    powers = [1 << bit for bit in range(cores.bit_length()) if 1 << bit < cores]
    return sorted({*powers, cores, 2 * cores})


@experiment
class Gil(Experiment):
    """The same Python code on more threads, beside code that needs no GIL."""

    name = "gil"
    title = "Python code on several threads"
    family = FAMILY
    claim = Claim("Threads run truly in parallel: a program that divides its work uses more cores.", NOTES)
    method = (
        "A piece of work of about 20 ms is done by one thread, then divided among more: a Python loop on threads and "
        "on waiting processes, and two that give the GIL away: a native kernel of filar's and NumPy's sine. "
        "All run in every round, in shuffled order; the time is from the first start to the last end by the workers' "
        "own stamps, creation of the processes not counted. "
        "The speedup is the time of one worker over that of several, round by round."
    )
    quick = Budget(seconds=3.6, rounds_max=24, rounds_min=6)
    full = Budget(seconds=15.0, rounds_max=60, rounds_min=8)
    work_ns = 20 * MS

    def measure(self, bench: Bench) -> Measured:
        """Rounds of Python; other interpreters wait in processes of their own."""
        cores = len(bench.cpus)
        steps, turns, spins = steps_in(self.work_ns), _numpy_turns(self.work_ns), native_steps(self.work_ns)
        notes: list[str] = []
        tasks: list[Task] = []

        def add(kind: str, workers: int, run: Callable[[], Mapping[str, ArrayLike]]) -> None:
            tasks.append(
                Task(variant(kind, workers), run, {TIME: _NS}, {"kind": kind, "workers": workers, "cores": cores})
            )

        with ExitStack() as stack:
            helpers = self._helpers(stack, cores, notes)
            free = self._free_helper(stack, notes)
            for n in worker_counts(cores):
                add(PYTHON_THREADS, n, partial(_divided, n, partial(count, steps // n)))
                add(NATIVE_THREADS, n, partial(_divided, n, _native_work(spins // n)))
                add(NUMPY_THREADS, n, partial(_divided, n, _numpy_work(max(1, turns // n))))
                if n <= len(helpers):
                    add(PYTHON_PROCESSES, n, partial(together, helpers[:n], steps))
                if free is not None:
                    add(PYTHON_FREE, n, partial(_ordered, free, n, steps))
            measured = run_rounds(bench, tasks)
        measured.notes = [*notes, *measured.notes]
        return measured

    @staticmethod
    def _helpers(stack: ExitStack, cores: int, notes: list[str]) -> list[Interpreter]:
        try:
            return stack.enter_context(interpreters(sys.executable, min(cores, 16)))
        except (FilarError, OSError) as error:
            notes.append(f"Python code on processes was not measured: {error}.")
            return []

    @staticmethod
    def _free_helper(stack: ExitStack, notes: list[str]) -> Interpreter | None:
        notes.append(f"This is Python {sys.version.split()[0]}, {'with' if gil_is_on() else 'without'} a GIL.")
        path = free_threaded() if gil_is_on() else None
        if path is None:
            if gil_is_on():
                notes.append("No free-threaded Python (python3.13t or later) was found on the search path.")
            return None
        try:
            return stack.enter_context(interpreters(path, 1))[0]
        except (FilarError, OSError) as error:
            notes.append(f"The free-threaded Python at hand was not measured: {error}.")
            return None

    @staticmethod
    def speedup(rows: Rows, kind: str, workers: int) -> Interval:
        """Time of one worker over that of several, round by round."""
        return rows.ratio(variant(kind, 1), variant(kind, workers), TIME)

    def judge(self, rows: Rows) -> Verdict:
        """On as many threads as there are cores: does Python code get faster, and does code that needs no GIL?"""
        cores = max((int(row.params.get("cores", 1)) for row in rows), default=0)
        if not cores:
            return Verdict(UNDECIDED, "nothing was measured")
        if cores < 2:
            return Verdict(UNDECIDED, "this process may use one CPU only: nothing can run in parallel")
        speedups = {kind: self.speedup(rows, kind, cores) for kind in KINDS}
        python, native = speedups[PYTHON_THREADS], speedups[NATIVE_THREADS]
        if python.n < N_MIN or native.n < N_MIN:
            return undecided("Python code and native code were not both measured", rows.of_metric(TIME))
        told = [f"{kind} {one.mid:.2f} times ({one.lo:.2f} to {one.hi:.2f})" for kind, one in speedups.items() if one.n]
        reason = f"on {cores} instead of one, work gets faster by: {', '.join(told)}"
        headline = f"{cores} threads: Python code {python.mid:.2f} times as fast, native {native.mid:.2f} times"
        if python.lo >= _HELPS:
            return Verdict(HOLDS, reason, headline=headline)
        if native.hi < _HELPS:
            # Nothing ran in parallel, so it cannot be the GIL that kept Python from it.
            return Verdict(
                UNDECIDED, f"{reason}: not even native code got faster, other programs use the cores", "", headline
            )
        # Up to half of the rounds may be slow beside a busy program: the lower end need only be above what is no help.
        if python.hi < _NO_HELP <= native.lo and native.mid >= _HELPS:
            return Verdict(CONDITIONAL, reason, "the threads run code that needs no GIL", headline)
        return Verdict(UNDECIDED, f"{reason}: neither clearly faster nor clearly not", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Speedup over the number of threads or processes, a line a kind, the ideal dashed."""
        rows = result.rows
        cores = max((int(row.params.get("cores", 1)) for row in rows), default=1)
        lines = []
        for kind in KINDS:
            counts = sorted(int(row.params["workers"]) for row in rows if row.params.get("kind") == kind)
            if len(counts) > 1:
                found = [self.speedup(rows, kind, n) for n in counts]
                lines.append(
                    chart.Series(
                        kind,
                        np.array(counts, dtype=float),
                        np.array([1.0 if n == 1 else one.mid for n, one in zip(counts, found, strict=True)]),
                        np.array([1.0 if n == 1 else one.lo for n, one in zip(counts, found, strict=True)]),
                        np.array([1.0 if n == 1 else one.hi for n, one in zip(counts, found, strict=True)]),
                        whiskers=True,
                    )
                )
        counts = worker_counts(cores)
        ideal = [float(min(n, cores)) for n in counts]
        return [
            chart.Lines(
                series=[*lines, chart.Series("ideal", np.array(counts, dtype=float), np.array(ideal), dashed=True)],
                x_ticks=counts,
                y_from_zero=True,
                title="Speedup of the same work on more threads",
                x_label="threads or processes",
                y_label="times as fast as one",
                marked=[chart.Marked(cores, "usable CPUs")],
                n=pictures.samples_note(rows),
            )
        ]


# ---- a loop that must answer ----

LATE = "tick late"
CALM, INLINE = "no calculation", "inline"
THREAD, THREAD_KEEN, THREAD_NUMPY, PROCESS = (
    "Python code on a thread",
    "Python code on a thread, switch interval 0.1 ms",
    "NumPy on a thread",
    "Python code in a process",
)
_KEEN_S = 0.0001


def _ticks(window_ns: int, tick_ns: int, start: int) -> np.ndarray:
    """Something is due each tick of the window; how late each was served, in ns."""
    late = []
    for due in range(start + tick_ns, start + window_ns + 1, tick_ns):
        pause = due - time.monotonic_ns()
        if pause > 0:
            time.sleep(pause / 1e9)
        late.append(max(0, time.monotonic_ns() - due))
    return np.array(late, dtype=float)


def _calculate_until(deadline: int, body: Callable[[], object]) -> None:
    while time.monotonic_ns() < deadline:
        body()


@contextmanager
def _switch_interval(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@experiment
class PythonInteractive(Experiment):
    """How late a Python loop answers while Python code, or native code, calculates in the background."""

    name = "python-interactive"
    title = "Staying interactive in Python"
    family = FAMILY
    claim = Claim("Calculations on background threads keep a Python program interactive.", NOTES)
    references: ClassVar = (Reference("switch interval", 5 * MS, _NS, "sys.getswitchinterval(), the default", LATE),)
    method = (
        "A Python loop has something to do every millisecond for 60 ms while 60 ms of calculation run: in the loop "
        "itself, as Python code on a thread or in a process, or in NumPy on a thread. "
        "All run in every round, in shuffled order; each tick notes how late it was served. "
        "A thread that wants the GIL waits for one switch interval (5 ms unless changed) before it may ask for it."
    )
    quick = Budget(seconds=2.2, rounds_max=6, rounds_min=3)
    full = Budget(seconds=12.0, rounds_max=30, rounds_min=6)
    window_ns = 60 * MS
    tick_ns = MS

    def measure(self, bench: Bench) -> Measured:
        """Rounds of Python; single ticks are the samples."""
        steps, numpy_work = steps_in(MS), _numpy_work(_numpy_turns(MS))
        notes: list[str] = []

        def python_work() -> None:
            count(steps)

        def inline() -> dict[str, ArrayLike]:
            start = time.monotonic_ns()
            _calculate_until(start + self.window_ns, python_work)
            return {LATE: _ticks(self.window_ns, self.tick_ns, start)}

        def beside(body: Callable[[], object] | None, switch_s: float | None = None) -> dict[str, ArrayLike]:
            with ExitStack() as stack:
                if switch_s is not None:
                    stack.enter_context(_switch_interval(switch_s))
                start = time.monotonic_ns()
                if body is not None:
                    helper = threading.Thread(target=_calculate_until, args=(start + self.window_ns, body))
                    helper.start()
                    stack.callback(helper.join)
                return {LATE: _ticks(self.window_ns, self.tick_ns, start)}

        def process(helper: Interpreter) -> dict[str, ArrayLike]:
            helper.order(1, steps * (self.window_ns // MS))
            try:
                return {LATE: _ticks(self.window_ns, self.tick_ns, time.monotonic_ns())}
            finally:
                helper.stamps()

        runs: dict[str, Callable[[], Mapping[str, ArrayLike]]] = {
            CALM: lambda: beside(None),
            INLINE: inline,
            THREAD: lambda: beside(python_work),
            THREAD_KEEN: lambda: beside(python_work, _KEEN_S),
            THREAD_NUMPY: lambda: beside(numpy_work),
        }
        with ExitStack() as stack:
            try:
                helper = stack.enter_context(interpreters(sys.executable, 1))[0]
                runs[PROCESS] = lambda: process(helper)
            except (FilarError, OSError) as error:
                notes.append(f"Python code in a process was not measured: {error}.")
            params = {"cores": len(bench.cpus), "gil": int(gil_is_on()), "switch_ns": sys.getswitchinterval() * 1e9}
            measured = run_rounds(bench, [Task(name, run, {LATE: _NS}, params) for name, run in runs.items()])
        measured.notes = [*notes, *measured.notes]
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """A background thread keeps the loop alive if its p99 stays below a tenth of the inline loop's median."""
        inline, thread = rows.find(INLINE, LATE), rows.find(THREAD, LATE)
        if inline is None or thread is None:
            return Verdict(UNDECIDED, "the calculation inline and on a thread were not both measured")
        bound = inline.median / 10
        others = [row for name in (THREAD_NUMPY, PROCESS) if (row := rows.find(name, LATE)) is not None]
        reason = (
            f"a tick is late by {ns(inline.median)} with Python code inline and by {ns(thread.median)} with it on a "
            f"thread (p99 {ns(thread.p99)})"
        )
        reason += "".join(f", {ns(row.median)} with {row.variant} (p99 {ns(row.p99)})" for row in others)
        headline = f"ticks {ns(inline.median)} late inline, {ns(thread.median)} beside a Python thread"
        calm = rows.find(CALM, LATE)
        if calm is not None and calm.p99 > bound and thread.p99 > bound:
            why = f"without any calculation p99 is {ns(calm.p99)}: other programs delay the loop"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if thread.p99 <= bound:
            return Verdict(HOLDS, reason, headline=headline)
        # A Python thread that is late as a rule, beside others that are late now and then.
        fine = [row for row in others if row.p99 <= bound or (thread.median > bound >= 2 * row.median)]
        if fine:
            good = " or ".join(row.variant for row in fine)
            return Verdict(CONDITIONAL, reason, f"the calculation does not hold the GIL ({good})", headline)
        if thread.median <= bound:
            where = "a core and the GIL are free: now and then the loop waited for its turn"
            return Verdict(CONDITIONAL, reason, where, headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Distribution of lateness."""
        rows = result.rows.of_metric(LATE)
        return [
            chart.Cdf(
                series=[chart.Samples(row.variant, np.maximum(row.samples, 100.0)) for row in rows],
                unit=_NS,
                title="How late a 1 ms tick of a Python loop is served",
                x_label="late by",
                n=f"{min((row.n for row in rows), default=0):,} ticks or more",
            )
        ]


# ---- executors ----

PER_CALL = "per call"
STANDARD, OURS, OWN_THREAD = "concurrent.futures", "filar.ThreadPoolExecutor", "a threading.Thread each"
ONE_BY_ONE, MANY, MAPPED = "one by one", "500 submitted, then waited for", "map of 500"
_TASKS, _SINGLES = 500, 50


def nothing(_: object = None) -> None:
    """The task."""


@experiment
class PythonExecutor(Experiment):
    """An empty Python task on a thread of its own, on the standard executor and on filar's."""

    name = "python-executor"
    title = "What a Python task on a thread costs"
    family = FAMILY
    claim = Claim(
        "A thread pool makes a Python call much cheaper than a thread of its own.",
        "Lecture notes on thread pools; in Python",
    )
    method = (
        "Empty Python functions are run on a new threading.Thread each, by the standard executor and by filar's, "
        "both with as many workers as there are CPUs: one at a time with its result awaited, "
        "500 submitted and then waited for, and 500 by map. "
        "All run in every round, in shuffled order, in this process. "
        "The cost of a task is the time of all over their number."
    )
    quick = Budget(seconds=1.8, rounds_max=40, rounds_min=8)
    full = Budget(seconds=12.0, rounds_max=200, rounds_min=10)

    @staticmethod
    def tasks(executors: Mapping[str, futures.Executor]) -> list[Task]:
        """Everything that is compared."""

        def one_by_one(pool: futures.Executor) -> int:
            for _ in range(_SINGLES):
                pool.submit(nothing).result()
            return _SINGLES

        def many(pool: futures.Executor) -> int:
            for future in [pool.submit(nothing) for _ in range(_TASKS)]:
                future.result()
            return _TASKS

        def mapped(pool: futures.Executor) -> int:
            for _ in pool.map(nothing, range(_TASKS)):
                pass
            return _TASKS

        def threads() -> int:
            for _ in range(_SINGLES):
                one = threading.Thread(target=nothing)
                one.start()
                one.join()
            return _SINGLES

        def timed(run: Callable[..., int], *arguments: Any) -> dict[str, float]:
            begun = time.perf_counter_ns()
            calls = run(*arguments)
            return {PER_CALL: (time.perf_counter_ns() - begun) / calls}

        found = [Task(f"{OWN_THREAD}, {ONE_BY_ONE}", partial(timed, threads), {PER_CALL: _NS})]
        for how, run in ((ONE_BY_ONE, one_by_one), (MANY, many), (MAPPED, mapped)):
            found += [
                Task(f"{name}, {how}", partial(timed, run, pool), {PER_CALL: _NS}) for name, pool in executors.items()
            ]
        return found

    def measure(self, bench: Bench) -> Measured:
        """Rounds of Python; both executors exist all the time and sleep while it is not their turn."""
        workers = min(len(bench.cpus), 32)
        with futures.ThreadPoolExecutor(workers) as standard, ThreadPoolExecutor(workers) as ours:
            return run_rounds(bench, self.tasks({STANDARD: standard, OURS: ours}))

    def judge(self, rows: Rows) -> Verdict:
        """Holds if a task of either executor costs less than half of a thread, one by one."""
        thread = rows.find(f"{OWN_THREAD}, {ONE_BY_ONE}", PER_CALL)
        ratios = {
            name: rows.ratio(f"{OWN_THREAD}, {ONE_BY_ONE}", f"{name}, {ONE_BY_ONE}", PER_CALL)
            for name in (STANDARD, OURS)
        }
        if thread is None or any(one.n < N_MIN for one in ratios.values()):
            return undecided("threads and both executors were not measured often enough", rows.of_metric(PER_CALL))
        told = [
            f"{name} {ns(rows.median(f'{name}, {ONE_BY_ONE}', PER_CALL))}, {one.mid:.2g} times cheaper "
            f"({one.lo:.2g} to {one.hi:.2g})"
            for name, one in ratios.items()
        ]
        reason = f"an empty task, one by one: a thread each {ns(thread.median)}, {', '.join(told)}"
        between = {
            how: rows.ratio(f"{STANDARD}, {how}", f"{OURS}, {how}", PER_CALL) for how in (ONE_BY_ONE, MANY, MAPPED)
        }
        parts = [f"{how} {one.mid:.2g} times ({one.lo:.2g} to {one.hi:.2g})" for how, one in between.items() if one.n]
        reason += f"; the standard executor costs, of filar's: {', '.join(parts)}"
        headline = f"a thread {ns(thread.median)}, {STANDARD} "
        headline += f"{ns(rows.median(f'{STANDARD}, {ONE_BY_ONE}', PER_CALL))}, "
        headline += f"filar {ns(rows.median(f'{OURS}, {ONE_BY_ONE}', PER_CALL))}"
        cheap = [name for name, one in ratios.items() if one.lo > 2]
        if len(cheap) == len(ratios):
            return Verdict(HOLDS, reason, headline=headline)
        if all(one.hi < 2 for one in ratios.values()):
            return Verdict(FAILS, reason, headline=headline)
        if cheap and all(one.hi < 2 for name, one in ratios.items() if name not in cheap):
            return Verdict(CONDITIONAL, reason, f"the pool is {' or '.join(cheap)}", headline)
        return Verdict(UNDECIDED, f"{reason}: the intervals include the threshold of 2", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots."""
        return [pictures.ranked_dots(result, PER_CALL, on=f"{OURS}, {ONE_BY_ONE}")]
