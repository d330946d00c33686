"""Green threads that wait: one that blocks or never yields, thousands asleep, and the share of a core they get."""

from __future__ import annotations

import dataclasses
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
    Reference,
    Row,
    Rows,
    Series,
    Verdict,
    Way,
    experiment,
    paired,
    undecided,
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.greens import FAMILY, NOTES, enough, green_bytes, times, words
from filar.lab.result import Result

MS = 1_000_000
WAIT = "longest wait"
OTHERS = "work of the others"
RAN, BLOCKED, WORST = 0, 1, 2
NO_TROUBLE, BLOCKS, HOGS = 0, 1, 2
TASKS = 8
SPARES = 8
_NS = "ns"


def ns(value: float) -> str:
    """A time in words."""
    return format_quantity(value, _NS)


def wait_rows(outcome: PlanOutcome) -> Rows:
    """The longest wait of each task but those that cause trouble: one sample a task and round."""
    found = []
    for way in outcome.ways:
        points = outcome.points_of(way.variant, WORST)
        points = points[points["subject"] >= max(1, int(way.params.get("blockers", 1)))]
        if len(points):
            rounds = points["round"].astype(np.int64)
            found.append(Row(way.variant, WAIT, _NS, points["y"], dict(way.params), way.note, rounds))
    return Rows(found)


def first_round(outcome: PlanOutcome) -> list[Series]:
    """Of the first round of each variant, when each task ran and when it was blocked."""
    found = []
    for way in outcome.ways:
        points = outcome.points_of(way.variant)
        points = points[points["kind"] != WORST]
        if len(points):
            points = points[points["round"] == points["round"].min()]
            found.append(Series(way.variant, points["x"], points["y"], _NS, _NS, points["subject"], points["kind"]))
    return found


def strip(series: Series, span_ns: float, first: str) -> chart.Gantt:
    """Who ran when: a row a task; task 1 is the one that causes trouble, `first` says how."""
    intervals, ended = [], dict.fromkeys(range(TASKS), 0.0)
    assert series.subject is not None
    assert series.kind is not None
    for begin, end, task, kind in sorted(
        zip(series.x, series.y, series.subject, series.kind, strict=True), key=lambda one: one[0]
    ):
        name = f"task {task + 1}"
        start, stop = min(float(begin), span_ns), min(float(end), span_ns)
        intervals.append(chart.Interval(name, ended[int(task)], start, "waits"))
        intervals.append(chart.Interval(name, start, stop, "runs" if kind == RAN else "blocked"))
        ended[int(task)] = stop
    intervals += [chart.Interval(f"task {task + 1}", left, span_ns, "waits") for task, left in ended.items()]
    return chart.Gantt(
        intervals=[one for one in intervals if one.end > one.start],
        rows=[f"task {task + 1}" for task in range(TASKS)],
        categories=["runs", "waits", "blocked"],
        heights={"runs": 1.0, "blocked": 0.6, "waits": 0.15},
        unit=_NS,
        title=series.name,
        x_label="time",
        note=f'task 1 {first}; on green threads "runs" is taking turns of a few µs',
    )


def waits_cdf(result: Result, title: str, start: str = "") -> chart.Cdf:
    """Longest waits, one line a variant, of those whose name begins with `start`."""
    rows = [row for row in result.rows.of_metric(WAIT) if row.variant.startswith(start)]
    return chart.Cdf(
        series=[chart.Samples(row.variant, row.samples) for row in rows],
        unit=_NS,
        title=title,
        x_label="longest wait of a task",
        n=f"{min((row.n for row in rows), default=0)} waits each",
    )


class _Gaps(Experiment):
    """What both have in common: the plan, its waits as single events, and the pictures."""

    window_ms: ClassVar[int]
    first: ClassVar[str]

    def measure(self, bench: Bench) -> Measured:
        """The plan; longest waits as events, work by round, the first round as time lines."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        kept = [row for row in outcome.rows() if row.metric in (OTHERS, "work of the first", "times blocked")]
        notes = [*outcome.notes(), *self.remarks(bench)]
        return Measured(rows=wait_rows(outcome) + kept, series=first_round(outcome), notes=notes)

    def remarks(self, bench: Bench) -> list[str]:
        """Sentences about what was left out."""
        return []

    def charts(self, result: Result) -> list[Any]:
        """A strip for each variant, on one scale, and the distribution of waits."""
        strips = [strip(series, self.window_ms * MS, self.first) for series in result.series]
        return [*strips, waits_cdf(result, "How long the other tasks waited for their next turn")]


N1_FREE, N1_BLOCKS = "N:1, none blocks", "N:1, one blocks"
N1_HANDED, N1_NOTICED = "N:1, one blocks, a spare stands in", "N:1, one blocks, noticed after 10 ms"
MN_BLOCKS = "M:N on two cores, one blocks"
K_FREE, K_BLOCKS = "1:1, none blocks", "1:1, one blocks"


@experiment
class N1Blocking(_Gaps):
    """Eight tasks, one of which blocks in the kernel: on one worker, on two, and on kernel threads (E23)."""

    name = "n1-blocking"
    title = "One blocking call blocks them all"
    family = FAMILY
    claim = Claim(
        "If one user-level thread makes a blocking system call, all threads of the process are blocked.", NOTES
    )
    method = (
        "Eight tasks work in units of a few microseconds, and the first of them sleeps in a system call for 20 ms "
        "after each of its units: as green threads on one worker, on two, and as eight kernel threads on one core; and "
        "on one worker with a spare that stands in, because the call is marked or because a watcher notices. "
        "Each task reads the clock after each unit; the longest time between two readings is its longest wait. "
        "All variants run in every round, in shuffled order; waits are those of the seven others, one for each task "
        "and round."
    )
    references: ClassVar = (
        Reference("the blocking call itself", 20 * MS, _NS, "what the theory says the others wait", WAIT),
    )
    window_ms = 100
    first = "sleeps in a system call for 20 ms at a time"
    quick = Budget(seconds=2.2, rounds_max=4, rounds_min=3)
    full = Budget(seconds=15.0, rounds_max=20, rounds_min=6)

    def ways(self, bench: Bench) -> list[Way]:
        """With and without the blocking call."""
        keep = {"worst wait": None, "typical worst wait": None}
        window = {"tasks": TASKS, "window_ns": self.window_ms * MS}
        kernel = {"kernel": 1, "yields": 0}
        spares = {"trouble": BLOCKS, "spares": SPARES}
        found = [
            Way(N1_BLOCKS, "green-gaps", {**window, "trouble": BLOCKS}, metrics=keep),
            Way(N1_HANDED, "green-gaps", {**window, **spares}, metrics=keep),
            Way(N1_NOTICED, "green-gaps", {**window, **spares, "marked": 0}, metrics=keep),
            Way(N1_FREE, "green-gaps", {**window, "trouble": NO_TROUBLE}, metrics=keep),
            Way(K_BLOCKS, "green-gaps", {**window, **kernel, "trouble": BLOCKS}, metrics=keep),
            Way(K_FREE, "green-gaps", {**window, **kernel, "trouble": NO_TROUBLE}, metrics=keep),
        ]
        if bench.other_cpu is not None:
            two = {"workers": 2, "other_cpu": bench.other_cpu}
            found.append(Way(MN_BLOCKS, "green-gaps", {**window, **two, "trouble": BLOCKS}, metrics=keep))
        return found

    def remarks(self, bench: Bench) -> list[str]:
        """What the machine cannot do."""
        return [] if bench.other_cpu is not None else ["M:N: not measured, this process may use one CPU"]

    @staticmethod
    def _handed(rows: Rows, work_free: Row) -> str:
        """What a spare makes of it."""
        parts = []
        for variant, words_for in ((N1_HANDED, "with a spare that stands in"), (N1_NOTICED, "with one, unmarked")):
            wait, work = rows.find(variant, WAIT), rows.find(variant, OTHERS)
            if wait is not None and work is not None:
                change = 100 * (work.median / work_free.median - 1)
                parts.append(f"; {words_for}: longest wait {ns(wait.median)}, work {change:+.0f} %")
        return "".join(parts)

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the others wait as long as the call takes and do next to nothing, and kernel threads do not."""
        free, blocked = rows.find(N1_FREE, WAIT), rows.find(N1_BLOCKS, WAIT)
        work_free, work = rows.find(N1_FREE, OTHERS), rows.find(N1_BLOCKS, OTHERS)
        if free is None or blocked is None or work_free is None or work is None or not enough(free, blocked):
            return undecided(
                "green threads with and without a blocking call were not both measured", rows.of_metric(WAIT)
            )
        lost = 100 * (1 - work.median / work_free.median)
        reason = (
            f"N:1: longest wait of the others {words(blocked)} with the blocking call, {words(free)} without; "
            f"they do {lost:.1f} % less"
        )
        reason += self._handed(rows, work_free)
        kernel, kernel_free = rows.find(K_BLOCKS, OTHERS), rows.find(K_FREE, OTHERS)
        kernel_wait = rows.find(K_BLOCKS, WAIT)
        kernel_lost = 100 * (1 - kernel.median / kernel_free.median) if kernel and kernel_free else np.nan
        if kernel_wait is not None:
            reason += (
                f"; 1:1: they do {-kernel_lost:+.0f} %, longest wait {ns(kernel_wait.median)}, from time slices alone"
            )
        mn = rows.find(MN_BLOCKS, WAIT)
        if mn is not None:
            reason += f"; M:N on two cores: longest wait {ns(mn.median)}"
        headline = f"the others wait {ns(blocked.median)} instead of {ns(free.median)} and do {lost:.0f} % less"
        handed = rows.find(N1_HANDED, WAIT)
        if handed is not None:
            headline += f"; {ns(handed.median)} with a spare"
        if blocked.median >= 0.9 * 20 * MS and lost >= 90:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(FAILS, reason, headline=headline)


# ---- M:N ----

SHARE_OF_WORK = "work of the others, of all without trouble"
RELIEVED = "times relieved"


@experiment
class MnBlocking(_Gaps):
    """Some of eight tasks block in the kernel, on several workers, with and without spares (E23, M:N)."""

    name = "mn-blocking"
    title = "Blocking calls on several workers"
    family = FAMILY
    claim = Claim(
        "With M:N threads a blocking call takes one kernel thread away: the others run on until all are blocked, "
        "and if another kernel thread takes its place, even then.",
        "Lecture notes on M:N threads",
    )
    method = (
        "Eight tasks work in units of a few microseconds on several workers, and some of them, from none to one for "
        "each worker, sleep in a system call for 20 ms after each of their units; with spare workers that may stand "
        "in, and without. "
        "The work of the others is compared, round by round, with what all eight do on as many workers when none "
        "blocks; waits are those of the tasks that do not block. "
        "All variants run in every round, in shuffled order; workers share two cores, or one where there is no other."
    )
    window_ms = 60
    first = "and perhaps the next ones sleep in a system call for 20 ms at a time"
    quick = Budget(seconds=1.8, rounds_max=5, rounds_min=3)
    full = Budget(seconds=20.0, rounds_max=20, rounds_min=6)

    @staticmethod
    def variant(workers: int, blockers: int, spares: bool) -> str:
        """Public name."""
        return f"{workers} workers, {blockers} blocked{', spares' if spares else ''}"

    def workers(self, bench: Bench) -> tuple[int, ...]:
        """How many workers are tried."""
        return (2,) if bench.quick else (2, 4)

    def ways(self, bench: Bench) -> list[Way]:
        """From none to all workers blocked, without and with spares."""
        keep = {"worst wait": None, "typical worst wait": None}
        other = -1 if bench.other_cpu is None else bench.other_cpu
        found = []
        for workers in self.workers(bench):
            for blockers in range(workers + 1):
                for spares in (0, SPARES) if blockers else (0,):
                    params = {
                        "tasks": TASKS,
                        "window_ns": self.window_ms * MS,
                        "workers": workers,
                        "other_cpu": other,
                        "trouble": BLOCKS if blockers else NO_TROUBLE,
                        "blockers": blockers,
                        "spares": spares,
                    }
                    found.append(Way(self.variant(workers, blockers, spares > 0), "green-gaps", params, metrics=keep))
        return found

    def measure(self, bench: Bench) -> Measured:
        """Waits of the tasks that do not block; their work as a share, formed round by round."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        rows = outcome.rows()
        kept = [row for row in rows if row.metric in (OTHERS, RELIEVED)]
        shares = [share for way in outcome.ways if (share := self._share(rows, way)) is not None]
        return Measured(rows=wait_rows(outcome) + kept + shares, series=first_round(outcome), notes=outcome.notes())

    def _share(self, rows: Rows, way: Any) -> Row | None:
        """Of what all eight did in the same round without trouble."""
        free = self.variant(int(way.params["workers"]), 0, False)
        others, first = rows.find(free, OTHERS), rows.find(free, "work of the first")
        mine = rows.find(way.variant, OTHERS)
        if others is None or first is None or mine is None:
            return None
        rounds, these, those = paired(others, first)
        whole = Row(free, OTHERS, others.unit, these + those, rounds=rounds)
        rounds, done, possible = paired(mine, whole)
        return Row(way.variant, SHARE_OF_WORK, "percent", 100 * done / possible, dict(way.params), way.note, rounds)

    def judge(self, rows: Rows) -> Verdict:
        """At two workers: one blocked leaves work, both blocked hardly any, and with spares most of it."""
        names = {
            "one": self.variant(2, 1, False),
            "all": self.variant(2, 2, False),
            "spares": self.variant(2, 2, True),
        }
        shares = {key: rows.find(name, SHARE_OF_WORK) for key, name in names.items()}
        waits = {key: rows.find(name, WAIT) for key, name in names.items()}
        one, both, spared = shares["one"], shares["all"], shares["spares"]
        if one is None or both is None or spared is None or not enough(*waits.values()):
            return undecided(
                "two workers with one and both blocked, and with spares, were not all measured", rows.of_metric(WAIT)
            )
        told = {key: f"{row.median:.0f} %" for key, row in (("one", one), ("all", both), ("spares", spared))}
        longest = {key: "" if row is None else f", longest wait {ns(row.median)}" for key, row in waits.items()}
        reason = (
            f"of two workers: one blocked leaves the others {told['one']} of the work{longest['one']}; both blocked "
            f"{told['all']}{longest['all']}; both blocked with spares {told['spares']}{longest['spares']}"
        )
        for row in rows.of_metric(SHARE_OF_WORK):
            workers, blockers = int(row.params.get("workers", 2)), int(row.params.get("blockers", 0))
            if workers > 2 and blockers == workers:
                spares = "with spares" if row.params.get("spares") else "without"
                reason += f"; all of {workers} workers blocked, {spares}: {row.median:.0f} %"
        headline = f"both workers blocked: {told['all']} of the work, with spares {told['spares']}"
        runs_on, stops, restored = one.median >= 30, both.median <= 20, spared.median >= 50
        if runs_on and stops and restored:
            return Verdict(HOLDS, reason, headline=headline)
        if runs_on and stops:
            return Verdict(FAILS, f"spares restored too little: {reason}", headline=headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """The share over the number blocked, the strips that tell most, and the waits."""
        counts = sorted({int(row.params["workers"]) for row in result.rows.of_metric(SHARE_OF_WORK)})
        lines: dict[str, list[str]] = {}
        for workers in counts:
            free = self.variant(workers, 0, False)
            for spares in (False, True):
                label = f"{workers} workers, {'with' if spares else 'no'} spares"
                blocked = [self.variant(workers, blockers, spares) for blockers in range(1, workers + 1)]
                lines[label] = [free, *blocked]
        share = pictures.curves(
            result,
            SHARE_OF_WORK,
            "blockers",
            lines,
            title="What is left of the work when some block",
            x_label="tasks that block, one worker each",
            y_label="work of the others",
            x_scale="linear",
            y_scale="linear",
        )
        share = dataclasses.replace(share, x_ticks=range(max(counts, default=0) + 1))
        telling = (self.variant(2, 1, False), self.variant(2, 2, False), self.variant(2, 2, True))
        strips = [strip(s, self.window_ms * MS, self.first) for s in result.series if s.name in telling]
        waits = [
            waits_cdf(result, f"How long the tasks that do not block waited, {n} workers", f"{n} workers, ")
            for n in counts
        ]
        return [share, *strips, *waits]


# ---- fairness ----

GREEN_ALL, GREEN_HOG = "green, all yield", "green, one never yields"
GREEN_PREEMPTED = "green, one never yields, preempted after 5 ms"
PREEMPT_NS = 5 * MS
KERNEL_ALL, KERNEL_HOG = "kernel, none yields", "kernel, one never yields"


@experiment
class Fairness(_Gaps):
    """A task that never yields, among cooperative green threads and among kernel threads (E9)."""

    name = "fairness"
    title = "A task that never yields"
    family = FAMILY
    claim = Claim(
        "With cooperative scheduling one task that never yields keeps all others from running; "
        "preemption gives each its turn.",
        "Lecture notes on preemptive and cooperative scheduling",
    )
    method = (
        "Eight tasks work in units of a few microseconds on one core and yield after each, but for the first, which "
        "never does: as green threads on one worker, cooperative and preempted by a signal, and as kernel threads. "
        "Beside them all yield (green threads) and none does (kernel threads). "
        "Each task notes its longest wait, one sample for each of the seven others and each round; the endless task "
        "stops after 120 ms, so that is how long it can keep green threads waiting."
    )
    window_ms = 120
    first = "never yields, where one does not"
    quick = Budget(seconds=1.8, rounds_max=4, rounds_min=3)
    full = Budget(seconds=12.0, rounds_max=20, rounds_min=6)

    def ways(self, bench: Bench) -> list[Way]:
        """Green and kernel threads, with and without the endless task."""
        keep = {"worst wait": None, "typical worst wait": None, "times blocked": None}
        window = {"tasks": TASKS, "window_ns": self.window_ms * MS}
        return [
            Way(GREEN_HOG, "green-gaps", {**window, "trouble": HOGS}, metrics=keep),
            Way(GREEN_PREEMPTED, "green-gaps", {**window, "trouble": HOGS, "preempt_ns": PREEMPT_NS}, metrics=keep),
            Way(KERNEL_HOG, "green-gaps", {**window, "kernel": 1, "yields": 1, "trouble": HOGS}, metrics=keep),
            Way(GREEN_ALL, "green-gaps", {**window, "trouble": NO_TROUBLE}, metrics=keep),
            Way(KERNEL_ALL, "green-gaps", {**window, "kernel": 1, "yields": 0}, metrics=keep),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the others wait for the whole window, and among kernel threads half of it or less."""
        found = {name: rows.find(name, WAIT) for name in (GREEN_ALL, GREEN_HOG, KERNEL_ALL, KERNEL_HOG)}
        free, hog, kernel = found[GREEN_ALL], found[GREEN_HOG], found[KERNEL_HOG]
        if free is None or hog is None or kernel is None or not enough(free, hog, kernel):
            return undecided("green threads and kernel threads were not both measured", rows.of_metric(WAIT))
        window = float(hog.params.get("window_ns", self.window_ms * MS))
        reason = (
            f"one that never yields: the others wait {words(hog)} among green threads, {words(kernel)} among kernel "
            f"threads; when all green threads yield {words(free)}"
        )
        none = found[KERNEL_ALL]
        if none is not None:
            reason += f", when kernel threads never do {words(none)}"
        preempted = rows.find(GREEN_PREEMPTED, WAIT)
        if preempted is not None:
            reason += f"; green threads preempted after {ns(PREEMPT_NS)}: {words(preempted)}"
        headline = f"the others wait {ns(hog.median)}; among kernel threads {ns(kernel.median)}"
        if preempted is not None:
            headline += f"; preempted green threads {ns(preempted.median)}"
        stopped, served = hog.median >= 0.9 * window, kernel.median <= hog.median / 2
        if stopped and served:
            return Verdict(HOLDS, reason, headline=headline)
        if stopped:
            return Verdict(UNDECIDED, f"kernel threads waited nearly as long: {reason}", headline=headline)
        return Verdict(FAILS, reason, headline=headline)


# ---- thousands that sleep ----

GREEN_WAITERS, KERNEL_WAITERS = "green threads", "kernel threads"
COSTS = {"wall": "time", "CPU time": "CPU time", "memory": "memory"}


@experiment
class Waiters(Experiment):
    """Thousands of tasks that mostly sleep, as green threads and as kernel threads (E36)."""

    name = "waiters"
    title = "Thousands of tasks that wait"
    family = FAMILY
    claim = Claim(
        "For thousands of tasks that mostly wait, user-level threads or async are the better choice.",
        "Lecture notes on using threads",
    )
    method = (
        "So many tasks are created, each sleeps a few times for a fixed time, and all are joined; the sleeps alone are "
        "the floor of the wall time. "
        "Green threads of one worker and kernel threads run in every round, in shuffled order. "
        "CPU time is the process's, memory the growth of what is resident and of kernel stacks for each task, and "
        "lateness how long after its time a sleeper runs again."
    )
    quick = Budget(seconds=1.3, rounds_max=8, rounds_min=6)
    full = Budget(seconds=20.0, rounds_max=20, rounds_min=6)

    @staticmethod
    def variant(kind: str, count: int) -> str:
        """Public name: "10,000 green threads"."""
        return f"{count:,} {kind}"

    def ways(self, bench: Bench) -> list[Way]:
        """As many of each kind as the mode and the safety budget allow."""
        sleeps = {"sleeps": 3, "sleep_ns": 20 * MS} if bench.quick else {"sleeps": 5, "sleep_ns": 50 * MS}
        found = []
        for wanted in (1_000,) if bench.quick else (1_000, 10_000):
            count = bench.safety.threads(wanted)
            found += [
                Way(self.variant(GREEN_WAITERS, count), "waiters", {"tasks": count, **sleeps}),
                Way(self.variant(KERNEL_WAITERS, count), "waiters", {"tasks": count, "kernel": 1, **sleeps}),
            ]
        if not bench.quick and bench.safety.memory(green_bytes(100_000)) == green_bytes(100_000):
            found.append(Way(self.variant(GREEN_WAITERS, 100_000), "waiters", {"tasks": 100_000, **sleeps}))
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan, and the lateness of some sleeps as a distribution."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        series = []
        for way in outcome.ways:
            points = outcome.points_of(way.variant)
            if len(points):
                series.append(Series(way.variant, points["x"], points["y"], "", _NS))
        return Measured(rows=outcome.rows(), series=series, notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """At the largest number measured of both: which costs are lower with green threads."""
        counts = {int(row.params["tasks"]) for row in rows if KERNEL_WAITERS in row.variant}
        count = max(counts & {int(row.params["tasks"]) for row in rows if GREEN_WAITERS in row.variant}, default=0)
        green, kernel = self.variant(GREEN_WAITERS, count), self.variant(KERNEL_WAITERS, count)
        if not count or not enough(rows.find(green, "wall"), rows.find(kernel, "wall")):
            return undecided("green and kernel threads were not both measured", rows.of_metric("wall"))
        gains = {metric: rows.ratio(kernel, green, metric) for metric in COSTS}
        parts = [
            f"{what} {format_quantity(rows.median(kernel, metric), rows.of_metric(metric)[0].unit)} against "
            f"{format_quantity(rows.median(green, metric), rows.of_metric(metric)[0].unit)}, {times(gains[metric])}"
            for metric, what in COSTS.items()
        ]
        late = [rows.find(name, "late, p99") for name in (kernel, green)]
        reason = f"{kernel} against {green}: {'; '.join(parts)}"
        if late[0] is not None and late[1] is not None:
            reason += f"; late p99 {ns(late[0].median)} against {ns(late[1].median)}"
        headline = f"{count:,}: {', '.join(f'{what} {gains[m].mid:.1f}x' for m, what in COSTS.items())}"
        better = [what for metric, what in COSTS.items() if gains[metric].lo > 1]
        if len(better) == len(COSTS):
            return Verdict(HOLDS, reason, headline=headline)
        if better:
            return Verdict(CONDITIONAL, reason, f"what counts is {' and '.join(better)}", headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Wall, CPU and memory by kind, and how late the sleepers were."""
        found: list[Any] = [
            pictures.ranked_dots(result, metric, title=f"Tasks that wait: {what}") for metric, what in COSTS.items()
        ]
        found.append(
            chart.Cdf(
                series=[chart.Samples(one.name, np.maximum(one.y, 100.0)) for one in result.series],
                unit=_NS,
                title="How late a sleeper comes back",
                x_label="late by",
                n="a part of the sleeps of each round",
            )
        )
        return found


# ---- the share of a core ----

SHARE = "share of A"


@experiment
class N1Share(Experiment):
    """Eight green threads against one kernel thread on a core (E19)."""

    name = "n1-share"
    title = "Green threads share one time slice"
    family = FAMILY
    claim = Claim("User-level threads share the time slices of the one kernel thread that runs them.", NOTES)
    method = (
        "Eight busy tasks and one busy kernel thread compete for one core for a window: the tasks as green threads on "
        "one worker, then as eight kernel threads. "
        "Both run in every round, in shuffled order, in one process and so in one session and control group. "
        "The share is the CPU time of the kernel threads that carry the tasks, of all that both parties used."
    )
    window_ms = 100
    quick = Budget(seconds=1.5, rounds_max=7, rounds_min=6)
    full = Budget(seconds=10.0, rounds_max=40, rounds_min=10)

    def ways(self, bench: Bench) -> list[Way]:
        """Green and kernel threads; and one of each, which should get half."""
        window = {"window_ns": self.window_ms * MS}
        return [
            Way(f"{TASKS} green threads", "n1-share", {"tasks": TASKS, **window}),
            Way(f"{TASKS} kernel threads", "n1-share", {"tasks": TASKS, "kernel": 1, **window}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if eight green threads get what one thread gets, and eight kernel threads surely more."""
        green, kernel = rows.find(f"{TASKS} green threads", SHARE), rows.find(f"{TASKS} kernel threads", SHARE)
        if green is None or kernel is None or not enough(green, kernel):
            return undecided("green and kernel threads were not both measured", rows.of_metric(SHARE))
        fair, model = 50.0, 100 * TASKS / (TASKS + 1)
        reason = (
            f"{TASKS} tasks against one thread get {green.median:.1f} % of the core as green threads "
            f"({green.interval.lo:.1f} to {green.interval.hi:.1f}; one thread of two would get {fair:.0f}), "
            f"{kernel.median:.1f} % as kernel threads ({kernel.interval.lo:.1f} to {kernel.interval.hi:.1f}; "
            f"{TASKS} of {TASKS + 1} would get {model:.1f})"
        )
        headline = f"{green.median:.0f} % of the core as green threads, {kernel.median:.0f} % as kernel threads"
        # A tenth of the core: a window of some slices does not end with a whole number of turns.
        if abs(green.median - fair) <= 10 and kernel.interval.lo > green.interval.hi:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Shares beside the models."""
        rows = result.rows.of_metric(SHARE)
        model = [50.0 if "green" in row.variant else 100 * TASKS / (TASKS + 1) for row in rows]
        bars = chart.Bars(
            groups=[row.variant for row in rows],
            series=[
                chart.BarSeries(
                    "measured",
                    [row.median for row in rows],
                    [row.interval.lo for row in rows],
                    [row.interval.hi for row in rows],
                ),
                chart.BarSeries("what the model says", model),
            ],
            unit="percent",
            title="Share of a core of eight tasks against one thread",
            x_label="share of the core",
            n=pictures.samples_note(rows),
        )
        return [bars]
