"""What the scheduler does with kernel threads: slices, parallelism, order, shares by threads and nice, and its list."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from filar import chart
from filar.chart import format_quantity
from filar.lab import conditions, pictures
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
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.host import switch_of
from filar.lab.result import Result
from filar.topology import topology

NOTES = "Lecture notes on threads and scheduling"
FAMILY = "Scheduling"
MS = 1_000_000
TURN = -1  # kind of a point of the way time-slice; other kinds are CPU numbers
_CLOCK_MONOTONIC_COARSE = 6
CORE_GOT = "share of the core"
# Threads that got less than this of the time they should have had show other programs rather than the scheduler.
_GOT_PERCENT = 50.0


def ns(value: float) -> str:
    """A time in words: "4.02 ms"."""
    return format_quantity(value, "ns")


def tick_ns() -> float:
    """Length of the scheduler's tick: the coarse clock advances once a tick, and says so; 4 ms where it does not."""
    try:
        return time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9
    except OSError:
        return 4.0 * MS


def threads_words(count: int) -> str:
    """A count of threads as the name of a variant: "4,096 threads"."""
    return "1 thread" if count == 1 else f"{count:,} threads"


def busy_cpu(bench: Bench) -> int:
    """The core to keep busy: not the driver's, where there is another."""
    return bench.cpu if bench.other_cpu is None else bench.other_cpu


def least_disturbed_round(points: NDArray[Any]) -> NDArray[Any]:
    """The points (runs: x begin, y end) of the round in which the threads ran most: the one to draw."""
    rounds = np.unique(points["round"])
    if not len(rounds):
        return points
    ran = [float(np.sum((points["y"] - points["x"])[points["round"] == number])) for number in rounds]
    return points[points["round"] == rounds[int(np.argmax(ran))]]


def runs_series(outcome: PlanOutcome, variant: str, name: str) -> Series:
    """Who ran when: subject the thread, kind the CPU, x and y begin and end in ns, of one round."""
    points = outcome.points_of(variant)
    drawn = least_disturbed_round(points[points["kind"] >= 0])
    return Series(name, drawn["x"].copy(), drawn["y"].copy(), "ns", "ns", drawn["subject"].copy(), drawn["kind"].copy())


def _numbered(names: Iterable[str]) -> list[str]:
    """Different names in order of the number at their end."""
    return sorted(set(names), key=lambda name: int(name.split()[-1]))


def gantt(series: Series, *, by: str, title: str, span_ns: float, grid: float = float("nan")) -> chart.Gantt:
    """A row for each thread, coloured by state (by="thread"), or for each core, coloured by thread (by="core")."""
    subjects = series.subject if series.subject is not None else np.zeros(len(series.x), dtype=np.int32)
    kinds = series.kind if series.kind is not None else np.zeros(len(series.x), dtype=np.int32)
    low = float(np.min(series.x)) if len(series.x) else 0.0
    order = np.argsort(series.x, kind="stable")
    spans = zip(series.x[order] - low, series.y[order] - low, subjects[order], kinds[order], strict=True)
    intervals: list[chart.Interval] = []
    left: dict[str, float] = {}
    for begin, end, thread, cpu in spans:
        if begin > span_ns:
            break
        stretch = float(begin), float(min(end, span_ns))
        if by == "core":
            intervals.append(chart.Interval(f"CPU {cpu}", *stretch, f"thread {thread + 1}"))
            continue
        name = f"thread {thread + 1}"
        intervals.append(chart.Interval(name, left.get(name, 0.0), stretch[0], "waits"))
        intervals.append(chart.Interval(name, *stretch, "runs"))
        left[name] = stretch[1]
    return chart.Gantt(
        intervals=intervals,
        rows=_numbered(one.row for one in intervals),
        categories=["runs", "waits"] if by == "thread" else _numbered(one.category for one in intervals),
        heights={"waits": 0.2},
        unit="ns",
        grid=grid,
        title=title,
        x_label="time",
    )


# ---- slices ----


@experiment
class TimeSlice(Experiment):
    """Runs and waits of busy threads on one core (E8)."""

    name = "time-slice"
    title = "How threads take turns on one core"
    family = FAMILY
    claim = Claim("Threads are preempted: each gets a slice of time on a core, then the next one runs.", NOTES)
    method = (
        "k threads are pinned to one core and read the clock without pause; where two readings are more than 20 µs "
        "apart, the thread was not running. "
        "A turn is what a thread ran until another of the k did (what other programs took in between is no part of "
        "it), and half of all time lies in turns of at least the length shown; all k run in every round, in shuffled "
        "order, and turns that the window cuts off are left out. "
        "Beside the lengths of runs and waits stand the tick of the kernel and the base slice it reports."
    )
    quick = Budget(seconds=1.6, rounds_max=8, rounds_min=3)
    full = Budget(seconds=15.0, rounds_max=60, rounds_min=6)

    def ways(self, bench: Bench) -> list[Way]:
        """One thread as the control, then 2, 4 and, in full mode, 8 on one core."""
        window = 100 * MS if bench.quick else 300 * MS
        return [
            Way(threads_words(k), "time-slice", {"threads": k, "cpu": busy_cpu(bench), "window_ns": window})
            for k in ((1, 2, 4) if bench.quick else (1, 2, 4, 8))
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan; of each variant the runs of one round to draw, and all turns (y its length, x the wait before)."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        measured = Measured(rows=outcome.rows(), notes=outcome.notes())
        for variant in measured.rows.variants():
            measured.series.append(runs_series(outcome, variant, f"runs of {variant}"))
            measured.rows += self.core_got(outcome.points_of(variant), measured.rows.find(variant))
            turns = outcome.points_of(variant, kind=TURN)[:20_000]
            if len(turns):
                waits, lengths, threads = turns["y"].copy(), turns["x"].copy(), turns["subject"].copy()
                measured.series.append(Series(f"turns of {variant}", waits, lengths, "ns", "ns", threads))
        return measured

    @staticmethod
    def core_got(points: NDArray[Any], like: Row | None) -> Rows:
        """Share of the core that the threads of a variant had together, by round: the rest went to other programs."""
        runs = points[points["kind"] >= 0]
        if like is None or not len(runs):
            return Rows()
        rounds = np.unique(runs["round"])
        window = float(like.params["window_ns"])
        got = [100 * float(np.sum((runs["y"] - runs["x"])[runs["round"] == number])) / window for number in rounds]
        return Rows([Row(like.variant, CORE_GOT, "percent", np.minimum(got, 100.0), dict(like.params), rounds=rounds)])

    def judge(self, rows: Rows) -> Verdict:
        """Holds if every thread of two and more was stopped and came back several times in the window."""
        shared = [row for row in rows.of_metric("turns per thread") if row.params.get("threads", 1) > 1]
        if not shared:
            return Verdict(UNDECIDED, "no two threads could be put on one core")
        few = shared[0].variant
        fewest = min(shared, key=lambda row: row.median)
        run, wait = rows.find(few, "run"), rows.find(few, "wait")
        told = run is not None and wait is not None and run.n > 0 and wait.n > 0
        reason = headline = f"{fewest.median:.1f} turns per thread with {fewest.variant}"
        if run is not None and wait is not None and told:
            reason = (
                f"{few} ran {ns(run.median)} at a time ({ns(run.interval.lo)} to {ns(run.interval.hi)}) and waited "
                f"{ns(wait.median)}{self._beside(rows, few)}"
            )
            headline = f"{few} ran {ns(run.median)} at a time, then waited {ns(wait.median)}"
        if fewest.median >= 3 and told:
            return Verdict(HOLDS, reason, headline=headline)
        reason = f"a thread had only {fewest.median:.1f} turns in the window{'; ' + reason if told else ''}"
        got = rows.find(fewest.variant, CORE_GOT)
        if got is not None and got.median < _GOT_PERCENT:
            why = f"all {fewest.variant} together got {got.median:.0f} % of the core, other programs the rest"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        return Verdict(FAILS, reason, headline=headline)

    @staticmethod
    def _beside(rows: Rows, variant: str) -> str:
        """The slice in ticks, and what the kernel says of both."""
        run, tick, base = (rows.find(variant, metric) for metric in ("run", "tick", "base slice"))
        words = ""
        if run is not None and tick is not None and tick.median > 0:
            words = f": {run.median / tick.median:.2f} ticks of {ns(tick.median)}"
        if base is not None:
            words += f"; the kernel's base slice is {ns(base.median)}"
        return words

    def charts(self, result: Result) -> list[Any]:
        """Who ran when, and how long the runs were."""
        tick = result.rows.median("2 threads", "tick")
        drawn, lengths = [], []
        for series in result.series:
            if series.name.startswith("runs of ") and not series.name.endswith("1 thread"):
                count = len(set(series.subject.tolist())) if series.subject is not None else 1
                title = f"{series.name.removeprefix('runs of ')} on one core"
                span = max(4 * count, 12) * (tick if np.isfinite(tick) else 4 * MS)
                drawn.append(gantt(series, by="thread", title=title, span_ns=span, grid=tick))
            elif series.name.startswith("turns of "):
                lengths.append(chart.Samples(series.name.removeprefix("turns of "), np.maximum(series.y, 1000.0)))
        distribution = chart.Cdf(
            series=lengths,
            unit="ns",
            title="How long a thread runs before it must wait",
            x_label="length of a turn",
            n=pictures.events_note([np.size(one.values) for one in lengths], "turns"),
        )
        return [*drawn[::-1][:2], distribution]


# ---- parallelism ----

# With more than this taken by others, what runs at once says nothing about threads.
_TAKEN_PERCENT = 25.0
_COLOURS = 7


@experiment
class Parallelism(Experiment):
    """Threads that run at one instant, by how many there are (E10)."""

    name = "parallelism"
    title = "Truly parallel, or taking turns"
    family = FAMILY
    claim = Claim("Threads run truly in parallel on several cores, and are time-sliced beyond that.", NOTES)
    method = (
        "k unpinned threads count and read the clock and their CPU without pause for 40 ms; gaps over 20 µs say when "
        "each did not run. "
        "All k run in every round, in shuffled order; what ran at one instant is asked every 50 µs. "
        "Throughput is the work of all threads together in the window."
    )
    quick = Budget(seconds=1.6, rounds_max=12, rounds_min=4)
    full = Budget(seconds=12.0, rounds_max=80, rounds_min=8)

    def ways(self, bench: Bench) -> list[Way]:
        """One thread up to four times as many as there are cores."""
        cores = len(bench.cpus)
        counts = sorted({1, 2, cores, 2 * cores, 4 * cores})
        return [Way(threads_words(k), "parallelism", {"threads": k}) for k in counts if k <= 256]

    def measure(self, bench: Bench) -> Measured:
        """The plan; each row says how many cores there are, and each variant who ran where in one round."""
        watch = conditions.Watch(bench.cpus)
        outcome = bench.run(self.ways(bench))
        others = watch.stop().get("foreign_percent")
        cores = len(bench.cpus)
        rows = Rows(replace(row, params={**row.params, "cores": cores}) for row in outcome.rows())
        if others is not None:
            rows += [Row("other programs", "CPU taken", "percent", np.array([float(others)]), {"cores": cores})]
        quota = topology().quota_cpus
        if quota is not None:
            rows += [Row("this process", "CPU quota", "count", np.array([float(quota)]), {"cores": cores})]
        drawn = [runs_series(outcome, variant, f"runs of {variant}") for variant in outcome.rows().variants()]
        return Measured(rows=rows, series=drawn, notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Holds if as many threads as cores run at once, and never more; the least disturbed round counts."""
        counted = sorted(rows.of_metric("running at once"), key=lambda row: int(row.params["threads"]))
        if not counted:
            return Verdict(UNDECIDED, "nothing was measured")
        cores = int(counted[0].params["cores"])
        if cores < 2:
            return Verdict(UNDECIDED, "this process may use one CPU only: nothing can run in parallel")
        full = next((row for row in counted if row.params["threads"] == cores), None)
        if full is None or len(counted) < 3:
            return Verdict(UNDECIDED, f"{cores} threads on {cores} cores were not measured")
        most = counted[-1]
        lone, others = counted[0].max, rows.find("other programs", "CPU taken")
        taken = others.median if others is not None else 0.0
        if lone < 0.85:
            return Verdict(
                UNDECIDED,
                f"even one thread alone ran only {100 * lone:.0f} % of the time in its best round: other work, or a "
                "quota, keeps the cores from it",
                headline=f"one thread alone got {100 * lone:.0f} % of a core",
            )
        quota = rows.find("this process", "CPU quota")
        one, all_cores = rows.find(counted[0].variant, "throughput"), rows.find(full.variant, "throughput")
        headline = f"{full.max:.2f} of {full.variant} at once in the best round, {most.max:.2f} of {most.variant}"
        reason = (
            f"{full.variant} on {cores} cores ran {full.median:.2f} at once ({full.interval.lo:.2f} to "
            f"{full.interval.hi:.2f}, best round {full.max:.2f}), {most.variant} at best {most.max:.2f}"
        )
        if full.max >= 0.75 * cores and most.max <= 1.02 * cores:
            if one is not None and all_cores is not None and one.max > 0:
                reason += f"; {full.variant} did {all_cores.max / one.max:.2f} times the work of one"
            return Verdict(HOLDS, reason, headline=headline)
        if quota is not None and quota.median < cores:
            why = f"a quota of {quota.median:.2g} CPUs keeps the cores from it"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if taken > _TAKEN_PERCENT:
            return Verdict(
                UNDECIDED, f"{reason}; other programs took {taken:.0f} % of the CPUs meanwhile", headline=headline
            )
        if full.max < 1.1:
            return Verdict(FAILS, reason, headline=headline)
        where = "the cores are free: other work took part of them meanwhile"
        return Verdict(CONDITIONAL, reason, where, headline)

    def charts(self, result: Result) -> list[Any]:
        """Threads at once and throughput over threads; who ran on which core."""
        running = result.rows.of_metric("running at once")
        if not running:
            return []
        cores = float(running[0].params["cores"])
        at_once = chart.Lines(
            series=[
                pictures.curve("typical round", running, "threads"),
                chart.Series("best round", [float(r.params["threads"]) for r in running], [r.max for r in running]),
                chart.Series(
                    "ideal",
                    [float(r.params["threads"]) for r in running],
                    [min(float(r.params["threads"]), cores) for r in running],
                    dashed=True,
                ),
            ],
            x_scale="log2",
            x_ticks=[float(row.params["threads"]) for row in running],
            y_from_zero=True,
            marked=[chart.Marked(cores, "usable cores", "x")],
            title="Threads that run at one instant",
            x_label="threads",
            y_label="running at one instant",
            n=pictures.samples_note(running),
        )
        done = result.rows.of_metric("throughput")
        work = chart.Lines(
            series=[pictures.curve("all threads together", done, "threads")],
            x_scale="log2",
            x_ticks=[float(row.params["threads"]) for row in done],
            y_from_zero=True,
            marked=[chart.Marked(cores, "usable cores", "x")],
            title="Work done by all threads together",
            x_label="threads",
            y_label="units a second",
            n=pictures.samples_note(done),
        )
        drawn = [
            gantt(one, by="core", title=f"{one.name.removeprefix('runs of ')}: which core ran which", span_ns=40 * MS)
            for one in result.series[1:]
            # With more threads than colours, two of them would look like one.
            if one.subject is None or len(set(one.subject.tolist())) <= _COLOURS
        ]
        return [at_once, *drawn[-1:], work]


# ---- order ----


@experiment
class RunOrder(Experiment):
    """In which order threads end that were started in order (E31)."""

    name = "run-order"
    title = "The order in which threads run"
    family = FAMILY
    claim = Claim("There is no guarantee about the order in which threads run.", NOTES)
    method = (
        "Eight empty threads are created one after the other; each takes the next number when it runs. "
        "Unpinned and pinned to one core alternate in shuffled rounds. "
        "A run is in order if each thread got the number of its creation; orders that differ are counted."
    )
    quick = Budget(seconds=0.8, rounds_max=200, rounds_min=20)
    full = Budget(seconds=8.0, rounds_max=1000, rounds_min=50)
    threads = 8

    def measure(self, bench: Bench) -> Measured:
        """The plan, plus how many different orders there were of how many runs."""
        ways = [
            Way("unpinned", "run-order", {"threads": self.threads}, batch=5),
            Way("pinned to one core", "run-order", {"threads": self.threads, "cpu": bench.cpu}, batch=5),
        ]
        outcome = bench.run(ways)
        rows, series = outcome.rows(), []
        for variant in rows.variants():
            points = outcome.points_of(variant)
            orders = points["y"].reshape(-1, self.threads)
            params = {"cores": len(bench.cpus)}
            rows += [
                Row(variant, "orders seen", "count", np.array([float(len(np.unique(orders, axis=0)))]), params),
                Row(variant, "runs", "count", np.array([float(len(orders))]), params),
            ]
            series.append(
                Series(variant, points["x"].copy(), points["y"].copy(), "", "", subject=points["subject"].copy())
            )
        return Measured(rows=rows, series=series, notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Holds if threads that may run anywhere ended in more than one order."""
        runs = rows.find("unpinned", "runs")
        if runs is None or runs.median < 20:
            return Verdict(UNDECIDED, "too few runs of unpinned threads")
        parts, headline = [], ""
        for variant in rows.variants():
            ordered = rows.find(variant, "in order")
            if ordered is not None:
                share = float(np.mean(ordered.samples))
                seen = rows.median(variant, "orders seen")
                parts.append(
                    f"{variant}: {share:.1f} % of {rows.median(variant, 'runs'):,.0f} runs in order, "
                    f"{seen:,.0f} order{'' if seen == 1 else 's'} seen"
                )
                headline = (
                    headline or f"{seen:,.0f} different ones in {runs.median:,.0f} runs, {share:.0f} % as started"
                )
        reason = "; ".join(parts)
        if rows.median("unpinned", "orders seen") > 1:
            return Verdict(HOLDS, reason, headline=headline)
        if runs.params.get("cores", 1) < 2:
            return Verdict(UNDECIDED, f"with one CPU the order may stay by chance ({reason})", headline=headline)
        return Verdict(FAILS, f"one order only was seen, which is no guarantee either ({reason})", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """How often the thread started as i-th ran as j-th."""
        return [self._map(series) for series in result.series]

    def _map(self, series: Series) -> chart.Heatmap:
        table = np.zeros((self.threads, self.threads))
        if series.subject is not None:
            np.add.at(table, (series.subject, series.y.astype(int)), 1)
        total = table.sum(axis=1, keepdims=True)
        names = [str(number + 1) for number in range(self.threads)]
        return chart.Heatmap(
            rows=[f"started {name}." for name in names],
            columns=names,
            values=100 * table / np.where(total > 0, total, 1),
            unit="%",
            low=0,
            high=100,
            title=f"Order of running, {series.name}",
            x_label="ran as",
            n=f"{len(series.y) // self.threads:,} runs",
        )


# ---- the kernel's list ----


@experiment
class SeenByKernel(Experiment):
    """A thousand threads in the kernel's own list (E24)."""

    name = "seen-by-kernel"
    title = "Every kernel thread is known to the system"
    family = FAMILY
    claim = Claim("Every kernel thread has an entry in the operating system's table of threads.", NOTES)
    method = (
        "A thousand kernel threads are created, say their thread id and process id, and wait. "
        "Meanwhile /proc/self/task is listed and compared with what they said; nothing is timed. "
        "Fewer threads are made where limits leave no room for a thousand."
    )
    quick = Budget(seconds=0.5, rounds_max=3, rounds_min=1)
    full = Budget(seconds=2.0, rounds_max=5, rounds_min=3)

    def ways(self, bench: Bench) -> list[Way]:
        """A thousand, or as many as are safe."""
        count = bench.safety.threads(1000)
        return [Way(f"{count:,} kernel threads", "seen-by-kernel", {"threads": count})]

    def measure(self, bench: Bench) -> Measured:
        """The plan, and its counts as a table."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        measured = Measured(rows=outcome.rows(), notes=outcome.notes())
        variants = measured.rows.variants()
        if variants:
            counts = [(row.metric, f"{row.median:,.0f}") for row in measured.rows]
            first = outcome.points_of(variants[0])[:1]
            example = [(f"for example: tid {p['x']:.0f}", f"pid {p['y']:.0f}") for p in first]
            measured.tables.append(Table(variants[0], ("what", "count"), (*counts, *example)))
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the list grew by exactly as many as were made, each under its own tid and one pid."""
        found = {row.metric: row for row in rows}
        listed = found.get("tids listed")
        if listed is None:
            return Verdict(UNDECIDED, "no threads could be made")
        asked = float(listed.params["threads"])
        grown = found["tasks with them"].median - found["tasks before"].median
        tids, pids = found["different tids"].median, found["different pids"].median
        reason = (
            f"{asked:,.0f} threads made, {tids:,.0f} different thread ids, {listed.median:,.0f} of them in "
            f"/proc/self/task, which grew by {grown:,.0f}; process ids: {pids:.0f}"
        )
        # The list may also grow by a thread of somebody else in this process; it may not lack one of ours.
        known = tids == listed.median == asked and pids == 1 and grown >= asked - 1
        headline = f"{listed.median:,.0f} of {asked:,.0f} listed, each under an id of its own"
        if tids != asked or pids != 1:
            headline = f"{listed.median:,.0f} of {asked:,.0f} listed, {tids:,.0f} thread ids, {pids:.0f} process ids"
        return Verdict(HOLDS if known else FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """The counts as bars."""
        return [
            chart.Bars(
                groups=[row.metric for row in result.rows],
                series=[chart.BarSeries(result.rows.variants()[0], [row.median for row in result.rows])],
                unit="",
                log=True,
                title="What the kernel lists",
                n=pictures.samples_note(result.rows),
            )
        ]


# ---- shares of a core ----

# kernel/sched/core.c, sched_prio_to_weight: nice -20 to 19, each step about 1.25 times the next.
NICE_WEIGHTS = (
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916,
    9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277,
    1024, 820, 655, 526, 423, 335, 272, 215, 172, 137,
    110, 87, 70, 56, 45, 36, 29, 23, 18, 15,
)  # fmt: skip
IDLE_WEIGHT = 3  # kernel/sched/sched.h, WEIGHT_IDLEPRIO
BATCH, IDLE = 3, 5  # sched(7)
SAME, SESSIONS, GROUPS = 0, 1, 2
APART_WORDS = {SAME: "same session", SESSIONS: "own sessions", GROUPS: "own control groups"}
APART_PLACES = {SAME: "one session", SESSIONS: "two sessions", GROUPS: "two control groups"}
# A share in the middle between two models is neither: the windows were too disturbed to tell.
_MIDDLE = (0.35, 0.65)


def nice_model(nice: int) -> float:
    """Share in percent of a thread of that nice value against one of nice 0."""
    weight = NICE_WEIGHTS[nice + 20]
    return 100 * weight / (weight + NICE_WEIGHTS[20])


def pooled_share(rows: Rows, variant: str) -> float:
    """Share of A in percent over all rounds together: a low share gets its slice in few of the windows only."""
    a, b = rows.find(variant, "CPU of A"), rows.find(variant, "CPU of B")
    if a is None or b is None:
        return float("nan")
    total = float(np.sum(a.samples) + np.sum(b.samples))
    return 100 * float(np.sum(a.samples)) / total if total > 0 else float("nan")


def got_percent(rows: Rows, variant: str) -> float:
    """CPU time that A and B had together in all rounds, percent of the windows; 100 where the window is not known.

    A window that other programs disturb is lengthened, so this may be above 100.
    """
    a, b = rows.find(variant, "CPU of A"), rows.find(variant, "CPU of B")
    window = float(a.params.get("window_ns", 0)) * a.n if a is not None else 0.0
    if a is None or b is None or window <= 0:
        return 100.0
    return 100 * float(np.sum(a.samples) + np.sum(b.samples)) / window


def resolution(rows: Rows, row: Row, tick: float) -> float:
    """How finely a row can tell a share, percent: two ticks of the CPU time that A and B had in all its windows."""
    got = float(row.params.get("window_ns", 1)) * max(row.n, 1) * min(got_percent(rows, row.variant), 100.0) / 100
    return 100 * 2 * tick / max(got, 1.0)


def _got_rows(rows: Rows) -> Rows:
    """The CPU time that A and B really had, as a row of each variant."""
    found = []
    for a in rows.of_metric("CPU of A"):
        b = rows.find(a.variant, "CPU of B")
        if b is not None and a.n == b.n:
            got = 100 * (a.samples + b.samples) / float(a.params["window_ns"])
            found.append(Row(a.variant, CORE_GOT, "percent", np.minimum(got, 100.0), dict(a.params), rounds=a.rounds))
    return Rows(found)


def autogroup_note() -> str:
    """Whether the kernel groups processes by session, in words."""
    on = switch_of("/proc/sys/kernel/sched_autogroup_enabled")
    if on is None:
        return "This kernel has no autogroup: sessions do not matter to the scheduler."
    return f"Autogroup (a scheduling group for each session) is {'on' if on else 'off'} here."


def _share_way(variant: str, bench: Bench, window_ms: int, **params: int) -> Way:
    return Way(variant, "share", {**params, "cpu": busy_cpu(bench), "window_ns": window_ms * MS})


def _measure_shares(bench: Bench, ways: Sequence[Way]) -> Measured:
    outcome = bench.run(ways, warmup_rounds=0)
    rows = outcome.rows()
    return Measured(rows=rows + _got_rows(rows), notes=[*outcome.notes(), autogroup_note()])


@experiment
class CpuShare(Experiment):
    """What a process with k busy threads gets against one with a single one (E18)."""

    name = "cpu-share"
    title = "More threads, a larger share of the core?"
    family = FAMILY
    claim = Claim("A process with more threads gets a larger share of the CPU.", "Lecture notes on levels of threads")
    method = (
        "Process A with k busy threads and process B with one are forked and pinned to one core; their CPU clocks are "
        "read before and after a window. "
        "They are in one session, in a session each (which autogroup makes a scheduling group each), or in a control "
        "group each, all in every round, in shuffled order. "
        "The model is a share of k / (k + 1)."
    )
    quick = Budget(seconds=2.6, rounds_max=4, rounds_min=2)
    full = Budget(seconds=24.0, rounds_max=12, rounds_min=3)

    def ways(self, bench: Bench) -> list[Way]:
        """k over the same session, own sessions, own control groups."""
        counts = (1, 2, 4, 8)
        apart = (1, 4, 8) if bench.quick else counts
        groups = (4,) if bench.quick else counts
        window = 130 if bench.quick else 500
        return [
            _share_way(f"k = {k}, {APART_WORDS[kind]}", bench, window, threads=k, apart=kind)
            for kind, ks in ((SAME, counts), (SESSIONS, apart), (GROUPS, groups))
            for k in ks
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan, and whether autogroup is on."""
        return _measure_shares(bench, self.ways(bench))

    def judge(self, rows: Rows) -> Verdict:
        """Whether the share follows k / (k + 1) in one session, and whether it still does apart.

        Variants whose processes got less than half of their core, and those whose share lies in the middle between
        the model and an equal share, decide nothing.
        """
        follows: dict[int, list[bool]] = {}
        told: dict[int, str] = {}
        brief: dict[int, str] = {}
        least, tried = 100.0, set()
        for row in rows.of_metric("share of A"):
            k, kind = int(row.params["threads"]), int(row.params.get("apart", SAME))
            if k < 2:
                continue
            share, model, got = pooled_share(rows, row.variant), 100 * k / (k + 1), got_percent(rows, row.variant)
            least = min(least, got)
            tried.add(kind)
            told[kind] = f"{share:.1f} % ({row.min:.1f} to {row.max:.1f}) with k = {k} in {APART_PLACES[kind]}"
            brief[kind] = f"{share:.1f} % with k = {k} in {APART_PLACES[kind]}"
            place = (share - 50) / (model - 50)  # 1: at the model, 0: at an equal share
            if got >= _GOT_PERCENT and not _MIDDLE[0] < place < _MIDDLE[1]:
                follows.setdefault(kind, []).append(place > 0.5)
        if SAME not in tried:
            return Verdict(UNDECIDED, "two processes in one session were not measured")
        reason = f"the process with k threads gets {', '.join(told.values())}"
        headline = ", ".join(list(brief.values())[:2])
        if not tried <= follows.keys():
            why = f"too disturbed: the two processes together got {least:.0f} % of their core at the worst"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if not any(follows[SAME]):
            return Verdict(FAILS, reason, headline=headline)
        if not all(follows[SAME]):
            return Verdict(UNDECIDED, f"{reason}; some shares follow k / (k + 1) and some do not", headline=headline)
        apart = [all(follows[kind]) for kind in (SESSIONS, GROUPS) if kind in follows]
        if not apart:
            return Verdict(HOLDS, f"{reason}; sessions and groups of their own were not measured", headline=headline)
        if all(apart):
            return Verdict(HOLDS, reason, headline=headline)
        same = "the processes share a session and a control group" if not any(apart) else "no group lies between them"
        return Verdict(CONDITIONAL, reason, same, headline)

    def charts(self, result: Result) -> list[Any]:
        """Share over k, a line for each way of being apart, the model dashed."""
        rows = result.rows.of_metric("share of A")
        lines = []
        for kind, words in APART_WORDS.items():
            mine = [row for row in rows if row.params.get("apart", SAME) == kind]
            if mine:
                lines.append(_range_curve(words, mine, "threads"))
        ks = sorted({int(row.params["threads"]) for row in rows})
        model = chart.Series("k / (k + 1)", [float(k) for k in ks], [100 * k / (k + 1) for k in ks], dashed=True)
        return [
            chart.Lines(
                series=[*lines, model],
                x_unit="",
                y_unit="%",
                x_scale="log2",
                x_ticks=[float(k) for k in ks],
                title="Share of the core for a process with k busy threads against one",
                x_label="busy threads of process A",
                y_label="share of process A",
                n=pictures.samples_note(rows),
                note="Whiskers: lowest and highest round",
            )
        ]


def _range_curve(label: str, rows: Sequence[Row], param: str) -> chart.Series:
    """Medians with the whole range of the rounds: there are too few for an interval."""
    ordered = sorted(rows, key=lambda row: row.params[param])
    return chart.Series(
        label,
        [float(row.params[param]) for row in ordered],
        [row.median for row in ordered],
        [row.min for row in ordered],
        [row.max for row in ordered],
        whiskers=True,
    )


@experiment
class NiceShare(Experiment):
    """What priority does to the share of a core (E20)."""

    name = "nice-share"
    title = "What nice and policy do to the share of a core"
    family = FAMILY
    claim = Claim("Scheduling can be influenced by priority: a nicer thread gets a smaller share.", NOTES)
    method = (
        "Process A with one busy thread of some nice value or policy and process B with a plain one share one core; "
        "their CPU clocks are read before and after a window. "
        "All values run in every round, in shuffled order, in one session; some also in a session each. "
        "The model is the kernel's weight table: A / (A + B), nice 0 weighing 1,024."
    )
    references: ClassVar = (
        Reference("nice 10, by the weight table", nice_model(10), "percent", "kernel/sched/core.c", "share of A"),
    )
    quick = Budget(seconds=2.6, rounds_max=3, rounds_min=2)
    full = Budget(seconds=26.0, rounds_max=12, rounds_min=3)

    def ways(self, bench: Bench) -> list[Way]:
        """Nice values and policies in one session, some across sessions; low shares get longer windows."""
        levels = (-10, 0, 5, 10, 19) if bench.quick else (-20, -10, -5, 0, 1, 5, 10, 15, 19)
        window, long = (120, 280) if bench.quick else (350, 700)
        found = [_share_way(f"nice {n}", bench, long if n > 14 else window, nice=n) for n in levels]
        found.append(_share_way("BATCH", bench, window, policy=BATCH))
        found.append(_share_way("IDLE", bench, long, policy=IDLE))
        across = (10,) if bench.quick else (-20, 10, 19)
        found += [_share_way(f"nice {n}, own sessions", bench, long, nice=n, apart=SESSIONS) for n in across]
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan, and whether autogroup is on; every row knows the tick, which bounds what it can tell."""
        measured = _measure_shares(bench, self.ways(bench))
        tick = tick_ns()
        measured.rows = Rows(replace(row, params={**row.params, "tick_ns": tick}) for row in measured.rows)
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Holds if shares in one session follow the weight table; conditional if not across sessions."""
        within: dict[int, bool] = {}
        told: dict[int, dict[bool, str]] = {}
        across: list[bool] = []
        disturbed = tried = 0
        for row in rows.of_metric("share of A"):
            nice, share = int(row.params.get("nice", 0)), pooled_share(rows, row.variant)
            if row.params.get("policy", 0) != 0:
                continue
            model, apart = nice_model(nice), row.params.get("apart", SAME) != SAME
            # The value whose share is told, of those that both kinds have: the one nearest to 10.
            told.setdefault(nice, {})[apart] = f"{share:.1f} %"
            tried += not apart
            if got_percent(rows, row.variant) < _GOT_PERCENT:
                disturbed += 1
            elif apart:
                place = (share - model) / (50 - model)  # 0: at the model, 1: at an equal share
                if not _MIDDLE[0] < place < _MIDDLE[1]:
                    across.append(place < 0.5)
            else:
                slack = max(3.0, resolution(rows, row, float(row.params.get("tick_ns", 4 * MS))))
                within[nice] = abs(share - model) <= slack
        if tried < 3:
            return Verdict(UNDECIDED, "too few nice values could be measured")
        nice = min(told, key=lambda value: (-len(told[value]), abs(value - 10)))
        headline = f"nice {nice}: " + ", ".join(
            f"{share} of the core {'across sessions' if apart else 'in one session'}"
            for apart, share in told[nice].items()
        )
        reason = f"{headline}, by the weight table {nice_model(nice):.1f} %; "
        reason += f"{sum(within.values())} of {tried} shares in one session follow the table"
        if len(within) < max(3, 0.75 * tried):
            why = f"in {disturbed} variants other programs left the two less than half of the core"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if sum(within.values()) < 0.75 * len(within):
            return Verdict(FAILS, reason, headline=headline)
        if across and not all(across):
            return Verdict(CONDITIONAL, reason, "both threads are in one session and control group", headline)
        return Verdict(HOLDS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Share over nice with the table dashed; policies and sessions as bars."""
        rows = result.rows.of_metric("share of A")
        plain = [row for row in rows if row.params.get("policy", 0) == 0]
        lines = []
        for kind, words in ((SAME, "same session"), (SESSIONS, "own sessions")):
            mine = [row for row in plain if row.params.get("apart", SAME) == kind]
            if mine:
                lines.append(_range_curve(words, mine, "nice"))
        levels = list(range(-20, 20))
        model = chart.Series("weight table", levels, [nice_model(nice) for nice in levels], dashed=True)
        over_nice = chart.Lines(
            series=[*lines, model],
            y_unit="%",
            x_scale="linear",
            y_from_zero=True,
            title="Share of a core against a thread of nice 0",
            x_label="nice value",
            y_label="share",
            n=pictures.samples_note(rows),
            note="Whiskers: lowest and highest round",
        )
        bars = chart.Bars(
            groups=[row.variant for row in rows],
            series=[chart.BarSeries("share of A", [pooled_share(result.rows, row.variant) for row in rows])],
            unit="%",
            title="All variants, rounds pooled",
            x_label="share of the core against a thread of nice 0",
            n=pictures.samples_note(rows),
        )
        return [over_nice, bars]
