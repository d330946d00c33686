"""Does a system with thousands of threads crawl? The same work over ever more threads, and the wait for a turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from filar import chart
from filar.lab import pictures, stats
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
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.result import Result
from filar.lab.scheduling import FAMILY, MS, NOTES, ns, threads_words

MODES = {"plain": 0, "yields": 1, "shared lock": 2, "working set": 3}
WORKING_BYTES = 16 * 1024
_SLOW = 2.0
# Even in its best round, one thread per core took this many times its share of the time of one thread alone.
_CORES_TAKEN = 1.5
# A cost of this much a thread would make even long tasks crawl.
_CRAWLS_NS = 1.0 * MS
_WAIT_FEW_MAX_NS = 10.0 * MS


def _at(mode: str, threads: int) -> str:
    return threads_words(threads) if mode == "plain" else f"{threads_words(threads)}, {mode}"


@experiment
class Crawl(Experiment):
    """A fixed piece of work over one to thousands of threads (E12)."""

    name = "crawl"
    title = "The same work over thousands of threads"
    family = FAMILY
    claim = Claim("Thousands of threads make the system crawl: the same work takes far longer.", NOTES)
    method = (
        "A fixed number of steps is split over N threads that stand at a gate and start together; wall time goes from "
        "the first begin to the last end by their own clocks, creation is apart. "
        "Every thousand steps (1 µs) a variant does nothing else, yields, holds one shared mutex for a tenth of them, "
        "or touches 16 KiB of its own; all run in every round, in shuffled order. "
        "Ratios are against as many threads as there are cores, of the fastest rounds."
    )
    quick = Budget(seconds=2.6, rounds_max=6, rounds_min=2)
    full = Budget(seconds=24.0, rounds_max=12, rounds_min=2)

    def ways(self, bench: Bench) -> list[Way]:
        """Plain over all counts; the other modes at the number of cores and at thousands."""
        cores = len(bench.cpus)
        most = bench.safety.threads(4096 if bench.quick else 20_000)
        thousands = bench.safety.threads(4096)
        plain = [1, cores, 64, 512, 4096] if bench.quick else [1, cores, 4 * cores, 64, 512, 4096, 20_000]
        between = [] if bench.quick else [64, 512]
        steps = 50_000_000 if bench.quick else 100_000_000
        found = []
        for mode, code in MODES.items():
            counts = plain if mode == "plain" else [cores, *between, thousands]
            for threads in sorted({min(count, most) for count in counts}):
                params = {"threads": threads, "mode": code, "steps": steps}
                if mode == "working set":
                    if threads * WORKING_BYTES > bench.safety.memory(threads * WORKING_BYTES):
                        continue
                    params["working_bytes"] = WORKING_BYTES
                found.append(Way(_at(mode, threads), "crawl", params))
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan; a note where safety kept the number of threads down."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        cores = len(bench.cpus)
        rows = Rows(replace(row, params={**row.params, "cores": cores}) for row in outcome.rows())
        measured = Measured(rows=rows, notes=outcome.notes())
        wanted = 4096 if bench.quick else 20_000
        if bench.safety.threads(wanted) < wanted:
            measured.notes.append(f"Limits and free memory allow {bench.safety.threads(wanted):,} threads safely here.")
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Compares what each thread costs with the work it has; yields, a lock and a working set on top of that."""
        ratios = {mode: self._ratio(rows, code) for mode, code in MODES.items()}
        known = {mode: found for mode, found in ratios.items() if found is not None}
        if "plain" not in known:
            return Verdict(UNDECIDED, "fewer than a thousand threads could be made safely")
        base, top = self._ends(rows, 0)
        cores, count = int(base.params["threads"]), int(top.params["threads"])
        extra = max(0.0, top.min - base.min)
        # What each thread costs a core; with as much work as this, thousands take twice as long as one per core.
        each = extra * cores / count
        ratio, lo, hi = known["plain"]
        reason = (
            f"{top.variant} with {ns(base.min * cores / count)} of work each take {ratio:.2f} times "
            f"({lo:.2f} to {hi:.2f}) as long as one per core: {ns(each)} of a core for each thread"
        )
        headline = f"{ratio:.2f} times as long with {top.variant}, {ns(each)} of a core for each"
        lone = rows.find(threads_words(1), "work")
        if lone is not None and cores > 1 and base.min > _CORES_TAKEN * lone.min / cores:
            gain = lone.min / base.min
            why = f"{base.variant} were only {gain:.2f} times as fast as one: the cores were not free"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if each >= _CRAWLS_NS:
            return Verdict(HOLDS, reason, headline=headline)
        conditions = [f"each thread has less than about {ns(each)} of work"] if known["plain"][0] >= _SLOW else []
        words = {
            "yields": "they yield often",
            "shared lock": "they share a lock",
            "working set": "each has a working set of its own",
        }
        for mode in (mode for mode in words if mode in known):
            few, many = self._ends(rows, MODES[mode])
            if many.min - few.min - extra >= (_SLOW - 1) * few.min:
                conditions.append(words[mode])
        if not conditions:
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(CONDITIONAL, reason, " or ".join(conditions), headline)

    @staticmethod
    def _of(rows: Rows, code: int) -> list[Row]:
        mine = [row for row in rows.of_metric("work") if row.params.get("mode", 0) == code]
        return sorted(mine, key=lambda row: int(row.params["threads"]))

    def _ends(self, rows: Rows, code: int) -> tuple[Row, Row]:
        """One thread per core and the most there were; the mode must have been measured."""
        mine = self._of(rows, code)
        per_core = [row for row in mine if row.params["threads"] == row.params["cores"]]
        return (per_core or mine)[0], mine[-1]

    def _ratio(self, rows: Rows, code: int) -> tuple[float, float, float] | None:
        """Most threads against one per core: ratio of the fastest rounds, and the range round by round."""
        mine = self._of(rows, code)
        if not mine or int(mine[-1].params["threads"]) < 1000:
            return None
        base, top = self._ends(rows, code)
        paired = rows.ratio(top.variant, base.variant, "work")
        return stats.ratio_of_mins(top.samples, base.samples), paired.lo, paired.hi

    def charts(self, result: Result) -> list[Any]:
        """Wall time over threads by mode; work and creation stacked for plain work."""
        lines = {
            mode: [row.variant for row in self._of(result.rows, code)]
            for mode, code in MODES.items()
            if self._of(result.rows, code)
        }
        wall = pictures.curves(
            result, "work", "threads", lines, title="Wall time of the same work", x_label="threads", y_label="wall time"
        )
        plain = self._of(result.rows, 0)
        made = [result.rows.median(row.variant, "creation") for row in plain]
        stack = chart.Stack(
            x=[f"{int(row.params['threads']):,}" for row in plain],
            parts=[chart.Part("work", [row.median for row in plain]), chart.Part("creation", made)],
            unit="ns",
            style="bars",
            title="Plain work, with what creating the threads adds",
            x_label="threads",
            y_label="time",
            n=pictures.samples_note(plain),
        )
        return [wall, stack]


@experiment
class CrawlLatency(Experiment):
    """How long each waits for its turn among N endless threads (E13)."""

    name = "crawl-latency"
    title = "Waiting for a turn among thousands of threads"
    family = FAMILY
    claim = Claim("Thousands of threads make the system crawl: each waits ever longer for its turn.", NOTES)
    method = (
        "N threads work without end for a window, each noting the longest time it did not run; one more sleeps 1 ms "
        "at a time and notes how late it wakes. "
        "All N run in every round, in shuffled order; every thread ends by its own clock, so that nothing depends on "
        "a driver that may get no turn. "
        "A wait cannot look longer than the window plus what the last turns take."
    )
    quick = Budget(seconds=2.2, rounds_max=3, rounds_min=1)
    full = Budget(seconds=18.0, rounds_max=4, rounds_min=1)

    def ways(self, bench: Bench) -> list[Way]:
        """None, one per core, four per core, and up to 64 (quick) or thousands (full, as far as it is safe)."""
        cores = len(bench.cpus)
        windows = {0: 300, cores: 300, 4 * cores: 300, 64: 300, 256: 400} if bench.quick else {
            0: 500, cores: 500, 4 * cores: 500, 64: 1000, 512: 3000, 4096: 6000
        }  # fmt: skip
        most = bench.safety.threads(max(windows))
        return [
            Way(self.variant(hogs), "crawl-latency", {"hogs": hogs, "window_ns": window * MS})
            for hogs, window in sorted(windows.items())
            if hogs <= most
        ]

    @staticmethod
    def variant(hogs: int) -> str:
        """Public name of N."""
        return "nothing else" if hogs == 0 else f"{hogs:,} busy thread{'s' if hogs > 1 else ''}"

    def measure(self, bench: Bench) -> Measured:
        """The plan; waits and ticks as single events, throughput and the driver's own lateness by round."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        kept = [row for row in outcome.rows() if row.metric in ("throughput", "control back late")]
        events = [row for way in outcome.ways for row in self._events(outcome, way)]
        return Measured(rows=Rows([*events, *kept]), notes=outcome.notes())

    @staticmethod
    def _events(outcome: PlanOutcome, way: Way) -> list[Row]:
        found = []
        for kind, metric in ((0, "tick late"), (1, "longest wait")):
            points = outcome.points_of(way.variant, kind)
            if len(points):
                rounds = points["round"].astype(np.int64)
                found.append(Row(way.variant, metric, "ns", points["y"], dict(way.params), way.note, rounds))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Throughput and waiting apart: the claim may be true of one and not of the other."""
        waits = sorted(rows.of_metric("longest wait"), key=lambda row: int(row.params["hogs"]))
        idle = rows.find(self.variant(0), "tick late")
        if len(waits) < 2 or idle is None:
            return Verdict(UNDECIDED, "too few numbers of threads were measured")
        few, many = waits[0], waits[-1]
        late = rows.find(many.variant, "tick late")
        done = [rows.find(row.variant, "throughput") for row in (few, many)]
        if late is None or done[0] is None or done[1] is None:
            return Verdict(UNDECIDED, f"{many.variant} were not measured to the end")
        kept = done[1].max / done[0].max
        span = f"{ns(many.interval.lo)} to {ns(many.interval.hi)}"
        if many.median >= float(many.params.get("window_ns", np.inf)):
            span += ", the whole window: it may be longer"
        reason = (
            f"{many.variant} instead of {few.variant}: longest wait of a thread {ns(many.median)} ({span}) instead of "
            f"{ns(few.median)}, total work {100 * kept:.0f} %; a 1 ms sleeper wakes {ns(late.p99)} late (p99), with "
            f"nothing else {ns(idle.p99)}"
        )
        headline = f"longest wait {ns(many.median)} among {many.variant}, {ns(few.median)} among {few.variant}"
        waiting = many.median >= 10 * few.median or late.p99 >= max(10 * idle.p99, 10 * MS)
        slower = kept < 0.6
        # One thread per core does not wait longer than for the slice of a neighbour, unless the core is taken.
        if few.median > _WAIT_FEW_MAX_NS and (slower or not waiting):
            why = f"even {few.variant} waited for other programs"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if waiting and slower:
            return Verdict(HOLDS, reason, headline=headline)
        if waiting:
            where = "waiting counts: the total work done stays about the same"
            return Verdict(CONDITIONAL, reason, where, headline)
        if slower:
            where = "the total work done counts: nobody waits much longer"
            return Verdict(CONDITIONAL, reason, where, headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Distributions of lateness and of longest waits, a line for each N; throughput over N."""
        late = result.rows.of_metric("tick late")
        waits = result.rows.of_metric("longest wait")
        lateness = chart.Cdf(
            series=[chart.Samples(row.variant, np.maximum(row.samples, 100.0)) for row in late],
            unit="ns",
            title="How late a thread that sleeps 1 ms comes back",
            x_label="late by",
            n=pictures.events_note([row.n for row in late], "sleeps"),
        )
        longest = chart.Cdf(
            series=[chart.Samples(row.variant, row.samples) for row in waits],
            unit="ns",
            title="Longest time a busy thread waited for its turn",
            x_label="longest wait",
            n=pictures.events_note([row.n for row in waits], "threads"),
        )
        work = result.rows.of_metric("throughput")
        total = chart.Lines(
            series=[pictures.curve("all threads together", work, "hogs")],
            x_scale="log",
            y_from_zero=True,
            title="Work done by all threads together",
            x_label="busy threads",
            y_label="units a second",
            n=pictures.samples_note(work),
        )
        return [lateness, longest, total]
