"""What locks cost, alone and against another thread; how they are handed on; lines that are shared by accident."""

from __future__ import annotations

import math
from typing import Any

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
    Rows,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.result import Result
from filar.lab.stats import N_MIN

__all__ = ["ContentionCrawl", "FalseSharing", "MutexCost", "two_cores"]

# Two threads with nothing in common take half the time for each step; from here on they did not run at once.
_NOT_PARALLEL = 0.8
CORES_TAKEN = "two threads with nothing in common were hardly faster than one, so the cores were not both free"
NO_SECOND_CPU = "two threads must run at once, and this process may use only one CPU"


def two_cores(bench: Bench) -> dict[str, int]:
    """Parameters that put the two threads of a way on two CPUs.

    Without a second CPU the way itself finds none, and says so: the variant is then a note of the result.
    """
    return {"first_cpu": bench.cpu, "second_cpu": -1 if bench.other_cpu is None else bench.other_cpu}


def _ns(value: float) -> str:
    return format_quantity(value, "ns")


# Words of the variant, the C way, steps of each thread in a sample with two threads, likewise alone. Fixed, not
# calibrated: a sample with two threads also creates them, and calibration would take that for the work. Each lasts
# some 0.2 to 2 ms, against starts that differ by about 1 us.
KINDS: tuple[tuple[str, str, int, int], ...] = (
    ("pthread", "lock-pthread", 5_000, 10_000),
    ("filar", "lock-filar", 5_000, 10_000),
    ("filar, green threads", "lock-filar-green", 5_000, 10_000),
    ("spin", "lock-spin", 10_000, 20_000),
    ("ticket", "lock-ticket", 2_000, 20_000),
    ("mcs", "lock-mcs", 2_000, 10_000),
    ("atomic add", "count-atomic", 20_000, 30_000),
    ("CAS loop", "count-cas", 10_000, 20_000),
    ("per-thread counter", "count-own", 300_000, 200_000),
    ("plain", "count-plain", 200_000, 200_000),
)
GUARDS = tuple(kind for kind, *_ in KINDS if kind != "plain")


def _alone(kind: str) -> str:
    return f"{kind}, 1 thread" if kind == "per-thread counter" else f"{kind}, uncontended"


def _both(kind: str) -> str:
    return f"{kind}, 2 threads" if kind == "per-thread counter" else f"{kind}, contended"


@experiment
class MutexCost(Experiment):
    """Lock, step and unlock by kind of lock, alone and contended (E28)."""

    name = "mutex-cost"
    title = "What a lock costs"
    family = "Locks and races"
    claim = Claim(
        "Shared data must be guarded, and guarding costs: a lock takes longer than the step it guards, and longer "
        "still when threads compete for it.",
        "Lecture notes on synchronisation: races need mutexes, and mutexes are not free",
    )
    method = (
        "One operation adds 1 to a counter, under a lock, by an atomic instruction, or with no guard; alone, and by "
        "two threads on two cores that start together and time themselves. "
        "With two threads the figure is wall time divided by the operations of both, so perfect scaling would halve "
        "the figure of one thread. "
        "After each sample the counter is compared with what was done, so `lost` is measured, not assumed; `handed "
        "over` is the share of operations that found the other thread's: fair locks go to and fro, unfair ones stay."
    )
    quick = Budget(seconds=1.9, rounds_max=200, rounds_min=8)
    full = Budget(seconds=15.0, rounds_max=600, rounds_min=20)

    def ways(self, bench: Bench) -> list[Way]:
        """Each kind alone on the driver's core, and with a second thread on another."""
        found = []
        for kind, way, steps_both, steps_alone in KINDS:
            found.append(Way(_alone(kind), way, {"threads": 1}, batch=steps_alone))
            found.append(Way(_both(kind), way, {"threads": 2, **two_cores(bench)}, batch=steps_both))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the mutex costs more than the bare step, more yet when contended, and loses nothing."""
        step = rows.ratio("pthread, uncontended", "plain, uncontended", "per operation")
        rivals = rows.ratio("pthread, contended", "pthread, uncontended", "per operation")
        if step.n < N_MIN:
            return undecided("the mutex and the bare step were not both measured", rows.of_metric("per operation"))
        leaks = [kind for kind in GUARDS for variant in (_alone(kind), _both(kind)) if _lost(rows, variant) > 0]
        if leaks:
            names = ", ".join(dict.fromkeys(leaks))
            return Verdict(FAILS, f"updates were lost under a guard: {names}", headline=f"updates lost with {names}")
        if rivals.n < N_MIN:
            return Verdict(
                UNDECIDED,
                f"{NO_SECOND_CPU}; alone, the mutex costs {step.mid:.1f} times the bare step",
                headline=f"{step.mid:.1f} times the bare step alone; contended not measured",
            )
        alone, both = (rows.median(f"pthread, {place}", "per operation") for place in ("uncontended", "contended"))
        reason = (
            f"alone, lock and unlock take {_ns(alone)}, {step.mid:.1f} times the bare step ({step.lo:.1f} to "
            f"{step.hi:.1f}); contended {rivals.mid:.1f} times that ({rivals.lo:.1f} to {rivals.hi:.1f})"
        )
        if _lost(rows, "plain, contended") > 0:
            reason += f"; with no guard up to {_lost(rows, 'plain, contended'):.0f} % of the steps were lost"
        headline = f"{_ns(alone)} alone, {_ns(both)} contended"
        if step.lo > 1 and rivals.lo > 1:
            return Verdict(HOLDS, reason, headline=headline)
        apart = rows.ratio(_both("per-thread counter"), _alone("per-thread counter"), "per operation")
        if apart.n >= N_MIN and apart.lo > _NOT_PARALLEL:
            return Verdict(UNDECIDED, f"{reason}; {CORES_TAKEN}", headline=headline)
        if step.lo <= 1 < step.hi or rivals.lo <= 1 < rivals.hi:
            return Verdict(UNDECIDED, f"{reason}: too noisy, an interval includes 1", headline=headline)
        if rivals.lo > 1:
            return Verdict(CONDITIONAL, reason, "threads compete for the lock", headline)
        if step.lo > 1:
            where = "the lock is compared with no lock: competing made it no dearer"
            return Verdict(CONDITIONAL, reason, where, headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Bars by kind, alone and contended; floors and tails as ranked dots."""
        series = [
            chart.BarSeries(label, *_bars(result.rows, [variant(kind) for kind, *_ in KINDS]))
            for label, variant in (("one thread", _alone), ("two threads on two cores", _both))
        ]
        kept = [one for one in series if np.isfinite(np.asarray(one.values, dtype=float)).any()]
        bars = chart.Bars(
            groups=[kind for kind, *_ in KINDS],
            series=kept,
            unit="ns",
            log=True,
            title=self.title,
            x_label="per operation (wall time by the operations of all threads)",
            n=pictures.samples_note(result.rows.of_metric("per operation")),
        )
        return [bars, pictures.ranked_dots(result, "per operation", title="Floor, median and p99")]


def _bars(rows: Rows, variants: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median, lower and upper end for each variant, NaN where it was not measured."""
    found = [rows.find(variant, "per operation") for variant in variants]
    columns = [(r.median, r.interval.lo, r.interval.hi) if r else (math.nan,) * 3 for r in found]
    values, lows, highs = np.array(columns).T
    return values, lows, highs


def _lost(rows: Rows, variant: str) -> float:
    """The largest loss of any sample in percent; 0 where it was not measured."""
    row = rows.find(variant, "lost")
    return row.max if row else 0.0


THREADS = (1, 2, 4, 8, 16, 32, 64)
CRAWL_LOCKS = 8
CRAWL_WINDOW_US = 20_000


@experiment
class ContentionCrawl(Experiment):
    """Lock hand-overs per second by number of threads (E14)."""

    name = "contention-crawl"
    title = "Handing locks on among many threads"
    family = "Locks and races"
    claim = Claim(
        "Too many threads make a program crawl: they wait for each other's locks instead of working.",
        "Lecture notes on threads: thousands of them, and the system slows to a crawl; mutexes",
    )
    method = (
        f"Each thread takes {CRAWL_LOCKS} mutexes in turn; while it holds one it yields its CPU once, as sysbench's "
        "threads test does, so the others run into it. "
        "All threads start together, on any core, and go on for 20 ms; what is counted is how often a lock was taken, "
        "and how often by another thread than the time before (a hand-over). "
        "Rates of different numbers of threads are compared round by round."
    )
    quick = Budget(seconds=1.8, rounds_max=40, rounds_min=7)
    full = Budget(seconds=15.0, rounds_max=100, rounds_min=12)

    def ways(self, bench: Bench) -> list[Way]:
        """One way for each number of threads that the safety budget allows."""
        allowed = [count for count in THREADS if count <= bench.safety.threads(count)]
        params = {"window_us": CRAWL_WINDOW_US, "locks": CRAWL_LOCKS}
        return [Way(_threads(count), "lock-crawl", {"threads": count, **params}) for count in allowed]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if hand-overs with the most threads are less than half of those with two."""
        counted = [row for row in rows.of_metric("hand-overs") if row.params.get("threads", 0) >= 2]
        if len(counted) < 2 or counted[0].params["threads"] != 2:
            return Verdict(UNDECIDED, "two threads and more than two were not both measured")
        most = max(counted, key=lambda row: row.params["threads"])
        ratio = rows.ratio(most.variant, _threads(2), "hand-overs")
        if ratio.n < N_MIN:
            return Verdict(UNDECIDED, f"only {ratio.n} rounds were measured")
        reason = (
            f"{format_quantity(rows.median(_threads(2), 'hand-overs'), '')} hand-overs a second with 2 threads, "
            f"{format_quantity(most.median, '')} with {most.variant}: {ratio.mid:.2f} times "
            f"({ratio.lo:.2f} to {ratio.hi:.2f})"
        )
        headline = f"{ratio.mid:.2f} times the hand-overs of 2 threads with {most.variant}"
        if ratio.hi < 0.5:
            return Verdict(HOLDS, reason, headline=headline)
        if ratio.lo >= 0.5:
            return Verdict(FAILS, f"{reason}: more than half is left", headline=headline)
        return Verdict(UNDECIDED, f"{reason}: the interval includes the threshold of one half", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Both rates over the number of threads."""
        everyone = result.rows.variants()
        # One thread hands nothing on: 0 has no place on a logarithmic axis.
        several = [row.variant for row in result.rows.of_metric("hand-overs") if row.median > 0]
        taken = pictures.curves(result, "acquisitions", "threads", {"locks taken": everyone})
        handed = pictures.curves(result, "hand-overs", "threads", {"handed to another thread": several})
        return [
            chart.Lines(
                series=[*taken.series, *handed.series],
                y_unit="1/s",
                x_scale="log",
                y_scale="log",
                x_ticks=[float(row.params["threads"]) for row in result.rows.of_metric("acquisitions")],
                title=self.title,
                x_label="threads",
                y_label="per second, all threads together",
                n=taken.n,
            )
        ]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


# Steps of each thread in a sample: plain steps are a tenth of a nanosecond to one, atomic ones 5 to 20.
ATOMIC_STEPS, PLAIN_STEPS = 20_000, 400_000
# One line counts as slower from here on.
_SLOWER = 1.2
DISTANCES = {"same line": 8, "next line": 64, "padded": 128}


@experiment
class FalseSharing(Experiment):
    """Two threads, each with a counter of its own, on one line or apart (E39)."""

    name = "false-sharing"
    title = "Two counters on one cache line"
    family = "Locks and races"
    claim = Claim(
        "Threads that share no data still slow each other down when their data lie on one cache line.",
        "Lecture notes on shared memory, made precise: what cores pass to and fro is lines, not variables",
    )
    method = (
        "Two threads on two cores each add to a counter of their own; the counters stand 8 bytes apart (same line), 64 "
        "(next line, which some CPUs fetch in pairs) or 128 (padded). "
        "Steps are atomic additions or plain load, add, store. "
        "Wall time by the steps of both; same line is divided by padded, round by round."
    )
    quick = Budget(seconds=1.5, rounds_max=300, rounds_min=10)
    full = Budget(seconds=8.0, rounds_max=1000, rounds_min=30)

    def ways(self, bench: Bench) -> list[Way]:
        """Both kinds of step at each distance, and one thread alone."""
        found = []
        for kind, atomic, steps in (("atomic", 1, ATOMIC_STEPS), ("plain", 0, PLAIN_STEPS)):
            found.append(Way(f"{kind}, one thread", "line-sharing", {"threads": 1, "atomic": atomic}, batch=steps))
            for words, distance in DISTANCES.items():
                params = {"threads": 2, **two_cores(bench), "distance_bytes": distance, "atomic": atomic}
                found.append(Way(f"{kind}, {words}", "line-sharing", params, batch=steps))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if both kinds of step are at least a fifth slower on one line."""
        ratios = {
            kind: rows.ratio(f"{kind}, same line", f"{kind}, padded", "per operation") for kind in ("atomic", "plain")
        }
        if any(ratio.n < N_MIN for ratio in ratios.values()):
            return Verdict(UNDECIDED, NO_SECOND_CPU)
        parts = [f"{kind} steps {r.mid:.2f} times ({r.lo:.2f} to {r.hi:.2f})" for kind, r in ratios.items()]
        alone = rows.ratio("atomic, same line", "atomic, one thread", "per operation")
        reason = f"one line against two: {', '.join(parts)}"
        if alone.n >= N_MIN:
            reason += f"; on one line two threads need {alone.mid:.1f} times as long for an atomic step as one alone"
        headline = (
            f"{ratios['atomic'].mid:.2f} times as long for an atomic step, {ratios['plain'].mid:.2f} for a plain one"
        )
        slow = [kind for kind, ratio in ratios.items() if ratio.lo > _SLOWER]
        if len(slow) == 2:
            return Verdict(HOLDS, reason, headline=headline)
        apart = rows.ratio("atomic, padded", "atomic, one thread", "per operation")
        if apart.n >= N_MIN and apart.lo > _NOT_PARALLEL:
            return Verdict(UNDECIDED, f"{reason}; {CORES_TAKEN}", headline=headline)
        if any(ratio.lo <= _SLOWER < ratio.hi for ratio in ratios.values()):
            return Verdict(UNDECIDED, f"{reason}: an interval includes the threshold of {_SLOWER}", headline=headline)
        if slow:
            hidden = ", since the store buffer hides plain ones" if slow == ["atomic"] else ""
            return Verdict(CONDITIONAL, reason, f"the steps are {slow[0]}{hidden}", headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Bars by distance, one group for each kind of step."""
        kinds = [kind for kind in ("atomic", "plain") if result.rows.find(f"{kind}, one thread")]
        series = [
            chart.BarSeries(words, *_bars(result.rows, [f"{kind}, {words}" for kind in kinds]))
            for words in ("one thread", *DISTANCES)
        ]
        kept = [one for one in series if np.isfinite(np.asarray(one.values, dtype=float)).any()]
        return [
            chart.Bars(
                groups=[f"{kind} steps" for kind in kinds],
                series=kept,
                unit="ns",
                log=True,
                title=self.title,
                x_label="per step (wall time by the steps of both threads)",
                n=pictures.samples_note(result.rows.of_metric("per operation")),
            )
        ]
