"""Thread pools: what a task costs and how soon it begins, how large a pool should be, what its queue does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from filar import chart
from filar.chart import format_quantity
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
    Row,
    Rows,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.greens import enough, times, words
from filar.lab.result import Result
from filar.lab.stats import N_MIN, NOTHING, Interval

FAMILY = "Pools"
POOLS = "Lecture notes on thread pools"
THREADS = "Lecture notes on using threads"
MS, US = 1_000_000, 1_000
_NS = "ns"

# Who serves a call: the parameter "kind" of the ways, in the order of csrc/lab/staff.h.
ALONE = "the caller itself"
THREAD_EACH = "a new thread each"
GREEN_EACH = "a new green thread each"
TEXTBOOK = "textbook pool"
DISPATCHER = "pool with a dispatcher"
SHARED = "filar, shared queue"
STEALING = "filar, stealing"
PINNED = "filar, a queue per worker"
KINDS = (ALONE, THREAD_EACH, GREEN_EACH, TEXTBOOK, DISPATCHER, SHARED, STEALING, PINNED)
CODES = {kind: code for code, kind in enumerate(KINDS)}


def ns(value: float) -> str:
    """A time in words."""
    return format_quantity(value, _NS)


def per_s(value: float) -> str:
    """A rate in words."""
    return format_quantity(value, "1/s")


def grouped_bars(
    result: Result, metric: str, groups: Sequence[str], kinds: Sequence[str], form: str, *, title: str, x_label: str
) -> chart.Bars:
    """Bars of medians with intervals: a group each of `groups`, a bar each of `kinds`; `form` names the variant."""
    rows = {(g, k): result.rows.find(form.format(kind=k, group=g), metric) for g in groups for k in kinds}
    known = [row for row in rows.values() if row is not None]

    def column(kind: str, value: str) -> list[float]:
        found = [rows[group, kind] for group in groups]
        return [math.nan if row is None else float(getattr(row.interval, value)) for row in found]

    return chart.Bars(
        groups=list(groups),
        series=[
            chart.BarSeries(kind, column(kind, "mid"), column(kind, "lo"), column(kind, "hi"))
            for kind in kinds
            if any(rows[group, kind] for group in groups)
        ],
        unit=known[0].unit if known else "",
        title=title,
        x_label=x_label,
        n=pictures.samples_note(known),
    )


# ---- what a task costs ----

PER_CALL, SUBMIT = "per call", "submit"
# A thread each: so many are alive at once in a sample.
THREADS_AT_ONCE = 50


@experiment
class TaskOverhead(Experiment):
    """An empty task: a call, a thread, a green thread, a place in a pool's queue."""

    name = "task-overhead"
    title = "What a task costs"
    family = FAMILY
    claim = Claim("A thread pool makes a task much cheaper than a thread of its own.", POOLS)
    method = (
        "A batch of empty tasks is submitted, then all are waited for: to a pool as textbooks print it (a mutex, a "
        "condition variable), to filar's pool with three kinds of queues, as green threads, as kernel threads. "
        "All run in every round, in shuffled order, with as many workers as there are CPUs. "
        "The cost of a task is the time of the batch over its length, submission and waiting included."
    )
    quick = Budget(seconds=1.5, rounds_max=60, rounds_min=8)
    full = Budget(seconds=10.0, rounds_max=300, rounds_min=12)
    kinds: ClassVar = (ALONE, STEALING, SHARED, PINNED, GREEN_EACH, TEXTBOOK, THREAD_EACH)

    def ways(self, bench: Bench) -> list[Way]:
        """Every kind with a batch of its own length."""
        workers = min(len(bench.cpus), 64)
        return [
            Way(
                kind,
                "calls",
                {"kind": CODES[kind], "workers": workers},
                batch=THREADS_AT_ONCE if kind == THREAD_EACH else 1_000,
            )
            for kind in self.kinds
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if both the textbook's pool and filar's cost less than half of a thread."""
        thread, book, ours = (rows.find(kind, PER_CALL) for kind in (THREAD_EACH, TEXTBOOK, STEALING))
        if thread is None or book is None or ours is None or not enough(thread, book, ours):
            return undecided("threads and pools were not both measured", rows.of_metric(PER_CALL))
        by_book, by_ours = (rows.ratio(THREAD_EACH, kind, PER_CALL) for kind in (TEXTBOOK, STEALING))
        reason = (
            f"an empty task costs {words(thread)} as a thread, {words(book)} in a textbook pool and {words(ours)} in "
            f"filar's: a thread costs {times(by_book)} and {times(by_ours)} as much"
        )
        headline = f"a thread costs {by_book.mid:.3g} times a textbook pool's task, {by_ours.mid:.3g} times filar's"
        if by_book.lo > 2 and by_ours.lo > 2:
            return Verdict(HOLDS, reason, headline=headline)
        if by_book.hi < 2 and by_ours.hi < 2:
            return Verdict(FAILS, reason, headline=headline)
        if by_ours.lo > 2 > by_book.hi:
            return Verdict(CONDITIONAL, reason, "its queue is more than one lock and one condition variable", headline)
        return Verdict(UNDECIDED, f"{reason}: the intervals include the threshold of 2", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots: the whole task; the submission alone."""
        return [
            pictures.ranked_dots(result, PER_CALL, on=STEALING),
            pictures.ranked_dots(result, SUBMIT, on=STEALING, title="Submitting alone"),
        ]


LENGTHS_QUICK = (0, 1_000, 10_000, 100_000)
LENGTHS_FULL = (0, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000)
_THREAD_DEARER = 1.5


def length_words(steps: int) -> str:
    """Length of a task in words, as variants have it."""
    return "empty" if steps == 0 else f"{steps:,} steps"


@experiment
class ThreadPerTask(Experiment):
    """A thread for each task against a pool, by length of the task."""

    name = "thread-per-task"
    title = "A thread for each task, or a pool?"
    family = FAMILY
    claim = Claim("Threads should be reused by a pool that creates them ahead, not created for each task.", POOLS)
    method = (
        "A batch of tasks of a known length is done by the caller alone, by a thread each, by a green thread each, by "
        "a textbook pool and by filar's pool, with as many workers as there are CPUs. "
        "All lengths and ways run in every round, in shuffled order; the caller alone says how long a task is. "
        "Break-even is the shortest length at which a way is faster than the caller alone."
    )
    quick = Budget(seconds=2.2, rounds_max=30, rounds_min=6)
    full = Budget(seconds=15.0, rounds_max=150, rounds_min=8)
    kinds: ClassVar = (ALONE, THREAD_EACH, GREEN_EACH, TEXTBOOK, STEALING)

    @staticmethod
    def variant(kind: str, steps: int) -> str:
        """Public name: "filar, stealing, 10,000 steps"."""
        return f"{kind}, {length_words(steps)}"

    def ways(self, bench: Bench) -> list[Way]:
        """Every kind at every length; long tasks in shorter batches."""
        workers = min(len(bench.cpus), 64)
        return [
            Way(
                self.variant(kind, steps),
                "calls",
                {"kind": CODES[kind], "workers": workers, "steps": steps},
                batch=max(8, min(THREADS_AT_ONCE, 2 * MS // (steps + 20_000))),
            )
            for steps in (LENGTHS_QUICK if bench.quick else LENGTHS_FULL)
            for kind in self.kinds
        ]

    def lengths(self, rows: Iterable[Row]) -> list[int]:
        """The lengths measured, ascending."""
        return sorted({int(row.params.get("steps", 0)) for row in rows})

    def length_ns(self, rows: Rows, steps: int) -> float:
        """How long such a task takes at best."""
        return rows.floor(self.variant(ALONE, steps), PER_CALL)

    def words(self, rows: Rows, steps: int) -> str:
        """The length of a task in words: "1.7 µs", or "empty"."""
        return ns(self.length_ns(rows, steps)) if steps else "empty"

    def break_even(self, rows: Rows, kind: str) -> int | None:
        """The shortest length at which a way is surely faster than the caller alone."""
        for steps in self.lengths(rows):
            ratio = rows.ratio(self.variant(ALONE, steps), self.variant(kind, steps), PER_CALL)
            if ratio.n >= N_MIN and ratio.lo > 1:
                return steps
        return None

    def judge(self, rows: Rows) -> Verdict:
        """Up to which length a thread each costs half as much again as a task in filar's pool."""
        ratios = {
            steps: rows.ratio(self.variant(THREAD_EACH, steps), self.variant(STEALING, steps), PER_CALL)
            for steps in self.lengths(rows)
        }
        ratios = {steps: one for steps, one in ratios.items() if one.n >= N_MIN}
        if len(ratios) < 2:
            return undecided("threads and the pool were not both measured at several lengths", rows.of_metric(PER_CALL))
        told = [f"{times(one)} when {self.words(rows, steps)}" for steps, one in ratios.items()]
        reason = f"a thread each against a task in the pool: {', '.join(told)}"
        evens = {kind: self.break_even(rows, kind) for kind in (THREAD_EACH, TEXTBOOK, STEALING)}
        found = [f"{kind} from {self.words(rows, steps)} on" for kind, steps in evens.items() if steps is not None]
        reason += f"; faster than the caller alone: {', '.join(found) or 'none of them'}"
        first, longest = next(iter(ratios.values())), max(ratios)
        headline = f"a thread each: {first.mid:.3g} times the pool when empty, "
        headline += f"{ratios[longest].mid:.2f} times when {self.words(rows, longest)}"
        if first.hi < _THREAD_DEARER:
            return Verdict(FAILS, reason, headline=headline)
        if first.lo < _THREAD_DEARER:
            return Verdict(UNDECIDED, f"{reason}: the intervals include the threshold", headline=headline)
        no_matter = next((steps for steps, one in ratios.items() if one.mid < _THREAD_DEARER), None)
        if no_matter is None:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(CONDITIONAL, reason, f"a task takes less than {self.words(rows, no_matter)}", headline)

    def charts(self, result: Result) -> list[Any]:
        """Cost a task over its length, a line each way."""
        lines = []
        for kind in self.kinds:
            rows = [row for row in result.rows.of_metric(PER_CALL) if row.variant.startswith(f"{kind}, ")]
            if rows:
                line = pictures.curve(kind, rows, "steps")
                x = np.array([self.length_ns(result.rows, int(steps)) for steps in line.x])
                lines.append(chart.Series(kind, x, line.y, line.lo, line.hi))
        return [
            chart.Lines(
                series=lines,
                x_unit=_NS,
                y_unit=_NS,
                x_scale="log",
                y_scale="log",
                title=result.title,
                x_label="length of the task: what the caller alone needs",
                y_label="time a task, all CPUs together",
                n=pictures.samples_note(result.rows.of_metric(PER_CALL)),
            )
        ]


# ---- how soon a task begins ----

TO_START = "to start"


@experiment
class TaskLatency(Experiment):
    """From submission to the first instruction, by what the pool did before."""

    name = "task-latency"
    title = "How soon a task begins"
    family = FAMILY
    claim = Claim("A pool's threads are there already, so a task begins sooner than on a new thread.", POOLS)
    method = (
        "One empty task at a time is submitted and waited for: right after the last one, and after a millisecond in "
        "which everything slept. "
        "A new thread, a textbook pool and filar's pools run in every round, in shuffled order. "
        "Distributions are of single tasks, from the call of submit to the task's first instruction."
    )
    quick = Budget(seconds=1.8, rounds_max=40, rounds_min=8)
    full = Budget(seconds=12.0, rounds_max=150, rounds_min=8)
    kinds: ClassVar = (THREAD_EACH, TEXTBOOK, SHARED, STEALING)
    idles: ClassVar = {"hot": 0, "after 1 ms idle": MS}

    def ways(self, bench: Bench) -> list[Way]:
        """Every kind hot and after an idleness."""
        workers = min(len(bench.cpus), 64)
        return [
            Way(
                f"{kind}, {idle}",
                "call-latency",
                {"kind": CODES[kind], "workers": workers, "idle_ns": idle_ns},
                batch=8 if idle_ns else 24,
                metrics={TO_START: "to start, typical of a sample", "round trip": None},
            )
            for idle, idle_ns in self.idles.items()
            for kind in self.kinds
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan; single tasks first, medians of samples for ratios after them."""
        outcome = bench.run(self.ways(bench))
        return Measured(rows=single_events(outcome, TO_START) + outcome.rows(), notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Holds if filar's pool and the textbook's start a task sooner than a new thread, hot and after idling."""
        ratios: dict[str, Interval] = {}
        for idle in self.idles:
            for kind in (TEXTBOOK, STEALING):
                found = rows.ratio(f"{THREAD_EACH}, {idle}", f"{kind}, {idle}", "to start, typical of a sample")
                if found.n >= N_MIN:
                    ratios[f"{kind}, {idle}"] = found
        if len(ratios) < 2:
            return undecided(
                "a new thread and a pool were not both measured", rows.of_metric("to start, typical of a sample")
            )
        told = [f"{variant} {ns(rows.median(variant, TO_START))}" for variant in ratios]
        news = [f"{idle} {ns(rows.median(f'{THREAD_EACH}, {idle}', TO_START))}" for idle in self.idles]
        reason = f"a task begins after: on a new thread {', '.join(news)}; {', '.join(told)} (medians)"
        headline = f"{ns(rows.median(f'{STEALING}, hot', TO_START))} hot in filar's pool, "
        headline += f"{ns(rows.median(f'{THREAD_EACH}, hot', TO_START))} on a new thread"
        if all(one.lo > 1 for one in ratios.values()):
            return Verdict(HOLDS, reason, headline=headline)
        if all(one.hi < 1 for one in ratios.values()):
            return Verdict(FAILS, reason, headline=headline)
        sooner = [variant for variant, one in ratios.items() if one.lo > 1]
        if not sooner:
            return Verdict(UNDECIDED, f"{reason}: the intervals include no difference", headline=headline)
        whose = {TEXTBOOK: "the textbook's", STEALING: "filar's"}
        states = {kind: [one.removeprefix(f"{kind}, ") for one in sooner if one.startswith(kind)] for kind in whose}
        pools = [f"{whose[kind]} ({' or '.join(found)})" for kind, found in states.items() if found]
        where = f"the pool is {' or '.join(pools)}"
        if all(variant.endswith("hot") for variant in sooner):
            where = "the pool has just worked" if len(sooner) == 2 else f"it has just worked and is {sooner[0][:-5]}"
        return Verdict(CONDITIONAL, reason, where, headline)

    def charts(self, result: Result) -> list[Any]:
        """Distributions, one picture each for hot and idle."""
        rows = result.rows.of_metric(TO_START)
        return [
            chart.Cdf(
                series=[
                    chart.Samples(row.variant.removesuffix(f", {idle}"), row.samples)
                    for row in rows
                    if row.variant.endswith(f", {idle}")
                ],
                unit=_NS,
                title=f"From submission to a task's first instruction, {idle}",
                x_label="until it begins",
                n=f"{min((row.n for row in rows if row.variant.endswith(idle)), default=0):,} tasks or more",
            )
            for idle in self.idles
        ]


def single_events(outcome: PlanOutcome, metric: str) -> Rows:
    """One row a variant of all its points."""
    found = []
    for way in outcome.ways:
        points = outcome.points_of(way.variant)
        if len(points):
            rounds = points["round"].astype(np.int64)
            found.append(Row(way.variant, metric, _NS, points["y"], dict(way.params), way.note, rounds))
    return Rows(found)


# ---- how large a pool should be ----

SERVED, LATENCY, IN_SYSTEM = "served", "latency", "rate x latency"
CLIENTS = 32
COMPUTING, BLOCKING, MIXED = "computing", "blocking", "mixed"
PROFILES = {
    COMPUTING: {"steps": 25_000, "sleep_ns": 0},
    BLOCKING: {"steps": 0, "sleep_ns": MS},
    MIXED: {"steps": 10_000, "sleep_ns": MS},
}
# Workers that slept begin on whatever CPUs the kernel wakes them on; some ticks later they are spread.
SETTLE_NS = 15 * MS
# Up to here more workers than cores change nothing; below half of what the clients allow they scale.
_SAME, _SCALES = 1.25, 0.5


@experiment
class PoolSize(Experiment):
    """Throughput and latency by number of workers, for tasks that compute, block, or do both (E34)."""

    name = "pool-size"
    title = "How many threads should a pool have?"
    family = FAMILY
    claim = Claim(
        "The size of a pool is bounded by the resources of the computer: more threads than those serve nobody.", POOLS
    )
    method = (
        f"{CLIENTS} clients send a request, wait for its answer and send the next: it calculates for 50 µs or so, "
        "sleeps for 1 ms as in a system call, or calculates 20 µs and sleeps. "
        "Every size of the pool and kind of request takes its window in every round, in shuffled order; what is served "
        f"in the first {SETTLE_NS // MS} ms, until the kernel has spread the workers over the CPUs, is not counted. "
        "By Little's law rate times latency is the number of clients; where it is, the measurement adds up."
    )
    quick = Budget(seconds=4.4, rounds_max=12, rounds_min=6)
    full = Budget(seconds=25.0, rounds_max=30, rounds_min=6)

    def sizes(self, bench: Bench) -> list[int]:
        """Numbers of workers: up to as many as there are clients, and beyond in full mode."""
        cores = len(bench.cpus)
        few = {1, cores, 4 * cores, CLIENTS}
        return sorted(few if bench.quick else {*few, 2 * cores, 2, 4, 8, 16, 64})

    def ways(self, bench: Bench) -> list[Way]:
        """Every profile at every size."""
        window = (20 if bench.quick else 60) * MS
        return [
            Way(
                f"{profile}, {workers} workers",
                "serve-closed",
                {
                    "kind": CODES[SHARED],
                    "workers": workers,
                    "clients": CLIENTS,
                    "window_ns": window,
                    "settle_ns": SETTLE_NS,
                    **params,
                },
            )
            for profile, params in PROFILES.items()
            for workers in self.sizes(bench)
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan; every row knows the number of cores and its profile."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        rows = [
            Row(
                row.variant,
                row.metric,
                row.unit,
                row.samples,
                {**row.params, "cores": len(bench.cpus), "profile": row.variant.split(",")[0]},
                row.note,
                row.rounds,
            )
            for row in outcome.rows()
        ]
        return Measured(rows=Rows(rows), notes=outcome.notes())

    @staticmethod
    def by_size(rows: Rows, profile: str, metric: str) -> dict[int, Row]:
        """Rows of one profile and metric by number of workers."""
        found = [row for row in rows.of_metric(metric) if row.params.get("profile") == profile]
        return {int(row.params["workers"]): row for row in sorted(found, key=lambda row: row.params["workers"])}

    def judge(self, rows: Rows) -> Verdict:
        """Computing stops gaining at the cores; does blocking go on to the number of clients?"""
        computing, blocking = (self.by_size(rows, profile, SERVED) for profile in (COMPUTING, BLOCKING))
        if len(computing) < 2 or len(blocking) < 2 or not enough(*computing.values(), *blocking.values()):
            return undecided(
                "computing and blocking requests were not both measured at several sizes", rows.of_metric(SERVED)
            )
        cores = int(next(iter(computing.values())).params["cores"])
        most = max(computing)
        at_cores = min((size for size in computing if size >= cores), default=most)
        gain = rows.ratio(computing[most].variant, computing[at_cores].variant, SERVED)
        scale = rows.ratio(blocking[most].variant, blocking[1].variant, SERVED) if 1 in blocking else gain
        reason = (
            f"from {at_cores} to {most} workers requests that compute are served {gain.mid:.2f} times as fast "
            f"({gain.lo:.2f} to {gain.hi:.2f}); from 1 to {most} requests that block {scale.mid:.3g} times "
            f"({scale.lo:.3g} to {scale.hi:.3g}; {min(most, CLIENTS)} would be ideal)"
        )
        little = self.little(rows)
        if little.n:
            reason += f"; rate times latency over the number of clients is {little.mid:.2f} (Little's law says 1)"
        headline = f"computing: {most} workers serve {gain.mid:.2f} times what {at_cores} do; "
        headline += f"blocking: {scale.mid:.3g} times what 1 does"
        computing_bound, blocking_scales = gain.hi < _SAME, scale.lo > _SCALES * min(most, CLIENTS)
        if computing_bound and blocking_scales:
            where = "the tasks compute; for tasks that wait, threads serve up to as many as there are clients"
            return Verdict(CONDITIONAL, reason, where, headline)
        if computing_bound and scale.hi < _SAME:
            return Verdict(HOLDS, reason, headline=headline)
        if gain.lo > _SAME:
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: too noisy to say where it ends", headline=headline)

    @staticmethod
    def little(rows: Rows) -> Interval:
        """Rate times latency over the clients, where the window holds ten latencies or more."""
        shares = []
        for row in rows.of_metric(IN_SYSTEM):
            late = rows.find(row.variant, LATENCY)
            if late is not None and late.median < float(row.params["window_ns"]) / 10:
                shares.append(row.median / float(row.params["clients"]))
        if not shares:
            return NOTHING
        return Interval(float(np.median(shares)), min(shares), max(shares), len(shares))

    def charts(self, result: Result) -> list[Any]:
        """Throughput, then latency, over the number of workers; a line each kind of request."""
        cores = max((int(row.params.get("cores", 1)) for row in result.rows), default=1)
        pictured = []
        for metric, title, y_label, unit in (
            (SERVED, "Requests served by size of the pool", "requests a second", "1/s"),
            (LATENCY, "How long a request takes by size of the pool", "median from sending to the answer", _NS),
        ):
            found = {profile: self.by_size(result.rows, profile, metric) for profile in PROFILES}
            sizes = sorted({size for rows in found.values() for size in rows})
            pictured.append(
                chart.Lines(
                    series=[
                        pictures.curve(profile, list(rows.values()), "workers")
                        for profile, rows in found.items()
                        if rows
                    ],
                    x_scale="log2",
                    y_scale="log",
                    y_unit=unit,
                    x_ticks=sizes,
                    title=title,
                    x_label="workers",
                    y_label=y_label,
                    marked=[chart.Marked(cores, "usable CPUs"), chart.Marked(CLIENTS, "clients")],
                    n=pictures.samples_note(result.rows.of_metric(metric)),
                )
            )
        return pictured


# ---- one that blocks ----

FREE, BLOCKED = "none blocked", "one blocked"
BLOCKED_WORKERS = 4


@experiment
class PoolBlocking(Experiment):
    """One of the workers is blocked: what do the others serve (E33)?"""

    name = "pool-blocking"
    title = "One thread of a pool blocks"
    family = FAMILY
    claim = Claim("With several threads the others go on working when one of them blocks.", POOLS)
    method = (
        f"16 clients send requests that sleep 0.2 ms to a pool of {BLOCKED_WORKERS} workers, and to one of a single "
        "worker, while one call blocks its worker for the whole window, and while none does. "
        "All pools, blocked or not, take their window in every round, in shuffled order. "
        f"If only the blocked thread is lost, {BLOCKED_WORKERS - 1} of {BLOCKED_WORKERS} are still served."
    )
    quick = Budget(seconds=2.0, rounds_max=12, rounds_min=6)
    full = Budget(seconds=12.0, rounds_max=40, rounds_min=6)
    kinds: ClassVar = (TEXTBOOK, SHARED, STEALING, PINNED)
    single = "one worker"
    spare = "filar, stealing, a spare worker"

    def ways(self, bench: Bench) -> list[Way]:
        """Each kind of pool, and the single worker, with and without the blocking call."""
        window = (20 if bench.quick else 60) * MS
        params = {"clients": 16, "sleep_ns": 200 * US, "window_ns": window}
        found = []
        for state, blocked in ((FREE, 0), (BLOCKED, 1)):
            found.append(Way(f"{self.single}, {state}", "serve-closed", {**params, "workers": 1, "blocked": blocked}))
            found += [
                Way(
                    f"{kind}, {state}",
                    "serve-closed",
                    {**params, "kind": CODES[kind], "workers": BLOCKED_WORKERS, "blocked": blocked},
                )
                for kind in self.kinds
            ]
            params_spare = {"kind": CODES[STEALING], "workers": BLOCKED_WORKERS, "blocked": blocked, "spares": 1}
            found.append(Way(f"{self.spare}, {state}", "serve-closed", {**params, **params_spare}))
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan without a round that is dropped: windows are long."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        return Measured(rows=outcome.rows(), notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Holds where most of what the others can do is done; the condition is whose queue it is."""
        ideal = (BLOCKED_WORKERS - 1) / BLOCKED_WORKERS
        kept = {kind: rows.ratio(f"{kind}, {BLOCKED}", f"{kind}, {FREE}", SERVED) for kind in self.kinds}
        kept = {kind: one for kind, one in kept.items() if one.n >= N_MIN}
        if TEXTBOOK not in kept or len(kept) < 2:
            return undecided("pools with and without a blocked worker were not both measured", rows.of_metric(SERVED))
        told = [
            f"{kind} {100 * one.mid:.0f} % ({100 * one.lo:.0f} to {100 * one.hi:.0f})" for kind, one in kept.items()
        ]
        alone = rows.find(f"{self.single}, {BLOCKED}", SERVED)
        reason = (
            f"with one of {BLOCKED_WORKERS} blocked, still served ({100 * ideal:.0f} % are possible): {', '.join(told)}"
        )
        if alone is not None:
            reason += f"; a single worker that is blocked serves {per_s(alone.median)}"
        relieved = rows.ratio(f"{self.spare}, {BLOCKED}", f"{self.spare}, {FREE}", SERVED)
        if relieved.n >= N_MIN:
            reason += f"; with a spare worker that stands in {100 * relieved.mid:.0f} %"
        headline = f"still served: {', '.join(f'{kind} {100 * one.mid:.0f} %' for kind, one in kept.items())}"
        good = [kind for kind, one in kept.items() if one.lo > 0.75 * ideal]
        bad = [kind for kind, one in kept.items() if one.hi < 0.75 * ideal]
        if len(good) == len(kept):
            return Verdict(HOLDS, reason, headline=headline)
        if len(bad) == len(kept):
            return Verdict(FAILS, reason, headline=headline)
        if good and bad:
            return Verdict(
                CONDITIONAL, reason, f"no call is bound to the blocked thread ({' or '.join(good)})", headline
            )
        return Verdict(UNDECIDED, f"{reason}: too noisy", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Requests served, blocked or not."""
        return [
            grouped_bars(
                result,
                SERVED,
                [self.single, *self.kinds, self.spare],
                (FREE, BLOCKED),
                "{group}, {kind}",
                title=result.title,
                x_label="requests served a second",
            )
        ]


# ---- the queue ----

WAIT, SERVICE, LOAD, MODEL = "wait", "service", "load", "wait by M/M/c"
LOADS = (30, 60, 80, 90)
QUEUE_WORKERS = 4
SERVICE_NS = 500 * US


def erlang_wait(load: float, workers: int, service: float) -> float:
    """Mean wait in an M/M/c queue, in the unit of `service`; infinite from a load of 1 on (Erlang C)."""
    if load >= 1:
        return math.inf
    offered = load * workers
    # Erlang B by its recursion, which neither overflows nor cancels; then C from B.
    blocking = 1.0
    for count in range(1, workers + 1):
        blocking = offered * blocking / (count + offered * blocking)
    waiting = blocking / (1 - load * (1 - blocking))
    return waiting * service / (workers * (1 - load))


@experiment
class PoolQueue(Experiment):
    """How long a request waits for a free worker, by load, beside the model M/M/c (E34)."""

    name = "pool-queue"
    title = "Waiting for a free thread"
    family = FAMILY
    claim = Claim(
        "If no thread of the pool is free, requests wait in a queue, and more so the busier the pool is.", POOLS
    )
    method = (
        f"Requests arrive as a Poisson process and sleep for exponential times of {ns(SERVICE_NS)} on average, in a "
        f"pool of {QUEUE_WORKERS} workers; the first fifth of each window is not counted. "
        "Every load takes its window in every round, in shuffled order. "
        "The model M/M/c (Erlang C) is given the arrival rate and the service time that were measured; it knows "
        "no cost of handing over. Means, since the model speaks of means."
    )
    quick = Budget(seconds=2.8, rounds_max=6, rounds_min=3)
    full = Budget(seconds=20.0, rounds_max=20, rounds_min=6)

    def ways(self, bench: Bench) -> list[Way]:
        """A window for each load."""
        window = (200 if bench.quick else 600) * MS
        return [
            Way(
                f"load {percent} %",
                "serve-open",
                {
                    "kind": CODES[SHARED],
                    "workers": QUEUE_WORKERS,
                    "per_s": int(percent / 100 * QUEUE_WORKERS / (SERVICE_NS * 1e-9)),
                    "service_ns": SERVICE_NS,
                    "window_ns": window,
                },
            )
            for percent in LOADS
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan, and what the model says of each window."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        rows = outcome.rows()
        return Measured(rows=rows + self.model(rows), notes=outcome.notes())

    @staticmethod
    def model(rows: Rows) -> Rows:
        """Erlang's wait for each window, from its own load and service time."""
        found = []
        for load in rows.of_metric(LOAD):
            service = rows.find(load.variant, SERVICE)
            if service is None:
                continue
            workers = int(load.params["workers"])
            waits = [erlang_wait(x, workers, s) for x, s in zip(load.samples, service.samples, strict=False)]
            found.append(Row(load.variant, MODEL, _NS, np.array(waits), load.params, "", load.rounds))
        return Rows(found)

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the wait grows with the load; quotes how far the model is off."""
        waits = sorted(rows.of_metric(WAIT), key=lambda row: rows.median(row.variant, LOAD))
        if len(waits) < 2 or any(row.n < 3 for row in waits):
            return undecided("the wait was not measured at several loads", rows.of_metric(WAIT), 3)
        lowest, highest = waits[0], waits[-1]
        parts = []
        for row in waits:
            load, model = rows.median(row.variant, LOAD), rows.median(row.variant, MODEL)
            told = f" (M/M/c: {ns(model)})" if math.isfinite(model) else " (M/M/c: without end)"
            parts.append(f"{ns(row.median)} at {100 * load:.0f} %{told}")
        reason = f"mean wait by load: {', '.join(parts)}"
        headline = f"wait {ns(lowest.median)} at {100 * rows.median(lowest.variant, LOAD):.0f} % load, "
        headline += f"{ns(highest.median)} at {100 * rows.median(highest.variant, LOAD):.0f} %"
        if highest.min > 2 * lowest.max:
            return Verdict(HOLDS, reason, headline=headline)
        if highest.median <= lowest.median:
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: the rounds overlap", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Wait over load, the model dashed."""
        rows = result.rows
        waits = sorted(rows.of_metric(WAIT), key=lambda row: rows.median(row.variant, LOAD))
        x = np.array([100 * rows.median(row.variant, LOAD) for row in waits])
        loads = np.linspace(0.2, 0.97, 60)
        service = float(np.median([rows.median(row.variant, SERVICE) for row in waits])) if waits else math.nan
        model = [erlang_wait(float(load), QUEUE_WORKERS, service) for load in loads]
        return [
            chart.Lines(
                series=[
                    chart.Series(
                        "measured",
                        x,
                        np.array([row.median for row in waits]),
                        np.array([row.min for row in waits]),
                        np.array([row.max for row in waits]),
                        whiskers=True,
                    ),
                    chart.Series("M/M/c", 100 * loads, np.array(model), dashed=True),
                ],
                x_unit="percent",
                y_unit=_NS,
                y_scale="log",
                title="How long a request waits for a free thread",
                x_label="load: time needed over time there is",
                y_label="mean wait of a window; whiskers: all windows",
                n=f"{pictures.samples_note(waits)} of each load",
            )
        ]


# ---- a dispatcher ----

# A dispatcher that makes tasks a quarter dearer is worth thinking about.
_DISPATCHER_DEAR = 1.25


@experiment
class Dispatcher(Experiment):
    """Who hands out the tasks: a dispatcher thread, a shared queue, or nobody."""

    name = "dispatcher"
    title = "A dispatcher thread, a shared queue, or stealing?"
    family = FAMILY
    claim = Claim(
        "A server is well organised as a dispatcher thread that hands requests to idle worker threads.", POOLS
    )
    method = (
        "A batch of tasks goes through a pool in which one thread takes each task from the queue and gives it to a "
        "worker that is free, through one whose workers share the queue, and through one with stealing. "
        "All run in every round, in shuffled order, with as many workers as there are CPUs, with empty tasks and with "
        "tasks of some 10 and 100 µs. "
        "The first two are alike but for the dispatcher: a mutex, condition variables, plain threads."
    )
    quick = Budget(seconds=2.0, rounds_max=40, rounds_min=8)
    full = Budget(seconds=12.0, rounds_max=200, rounds_min=10)
    kinds: ClassVar = (DISPATCHER, TEXTBOOK, SHARED, STEALING)
    lengths: ClassVar = (0, 5_000, 50_000)

    @staticmethod
    def variant(kind: str, steps: int) -> str:
        """Public name: "textbook pool, empty tasks"."""
        return f"{kind}, {Dispatcher.group(steps)}"

    @staticmethod
    def group(steps: int) -> str:
        """The length in words."""
        return "empty tasks" if steps == 0 else f"tasks of {steps:,} steps"

    def ways(self, bench: Bench) -> list[Way]:
        """Each kind with each length."""
        workers = min(len(bench.cpus), 64)
        return [
            Way(
                self.variant(kind, steps),
                "calls",
                {"kind": CODES[kind], "workers": workers, "steps": steps},
                batch=max(20, min(400, 2 * MS // (steps + 5_000))),
            )
            for steps in self.lengths
            for kind in (ALONE, *self.kinds)
        ]

    def words(self, rows: Rows, steps: int) -> str:
        """The length of a task in words, as the caller alone needs for it: "8.5 µs"."""
        return ns(rows.floor(self.variant(ALONE, steps), PER_CALL)) if steps else "nothing"

    def judge(self, rows: Rows) -> Verdict:
        """What the dispatcher adds to a task, against the same pool without one."""
        ratios = {
            steps: rows.ratio(self.variant(DISPATCHER, steps), self.variant(TEXTBOOK, steps), PER_CALL)
            for steps in self.lengths
        }
        ratios = {steps: one for steps, one in ratios.items() if one.n >= N_MIN}
        if len(ratios) < 2:
            return undecided("pools with and without a dispatcher were not both measured", rows.of_metric(PER_CALL))
        told = [f"{times(one)} for tasks of {self.words(rows, steps)}" for steps, one in ratios.items()]
        first, longest = min(ratios), max(ratios)
        rival = rows.median(self.variant(STEALING, first), PER_CALL)
        reason = f"with a dispatcher a task costs, against workers that share the queue: {', '.join(told)}; "
        reason += f"an empty one {ns(rows.median(self.variant(DISPATCHER, first), PER_CALL))}, "
        reason += f"with stealing {ns(rival)}"
        headline = f"a dispatcher costs {ratios[first].mid:.2f} times a shared queue when tasks are empty, "
        headline += f"{ratios[longest].mid:.2f} at {self.words(rows, longest)}"
        cheap = [steps for steps, one in ratios.items() if one.hi < _DISPATCHER_DEAR]
        dear = [steps for steps, one in ratios.items() if one.lo > _DISPATCHER_DEAR]
        if len(cheap) == len(ratios):
            return Verdict(HOLDS, reason, headline=headline)
        if len(dear) == len(ratios):
            return Verdict(FAILS, reason, headline=headline)
        if cheap and dear and max(dear) < min(cheap):
            return Verdict(CONDITIONAL, reason, f"a request takes {self.words(rows, min(cheap))} or more", headline)
        return Verdict(UNDECIDED, f"{reason}: too noisy to say from which length on", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Cost of a task against workers that share the queue, a group each length."""
        rows, against = result.rows, [kind for kind in self.kinds if kind != TEXTBOOK]
        ratios = {
            (kind, steps): rows.ratio(self.variant(kind, steps), self.variant(TEXTBOOK, steps), PER_CALL)
            for kind in against
            for steps in self.lengths
        }

        def column(kind: str, value: str) -> list[float]:
            return [float(getattr(ratios[kind, steps], value)) for steps in self.lengths]

        return [
            chart.Bars(
                groups=[f"tasks of {self.words(rows, steps)}" for steps in self.lengths],
                series=[
                    chart.BarSeries(kind, column(kind, "mid"), column(kind, "lo"), column(kind, "hi"))
                    for kind in against
                ],
                unit="ratio",
                log=True,
                title=result.title,
                x_label=f"cost of a task over that of the {TEXTBOOK}, whose workers share a queue",
                n=pictures.samples_note(rows.of_metric(PER_CALL)),
            )
        ]
