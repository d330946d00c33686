"""What it costs to create a kernel thread, what changes it, and when it pays."""

from __future__ import annotations

import math
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
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.result import Result
from filar.lab.stats import N_MIN, Interval

SMALL_STACK = 64 * 1024
LEMIRE = "Lemire 2020, lemire.me/blog/2020/01/30/cost-of-a-thread-in-c-under-linux (mean of 1,001 std::thread)"


def _ns(value: float) -> str:
    return format_quantity(value, "ns")


def _with_interval(row: Row) -> str:
    """'7.9 µs (7.8 to 8.0, floor 6.9)'."""
    return f"{_ns(row.median)} ({_ns(row.interval.lo)} to {_ns(row.interval.hi)}, floor {_ns(row.min)})"


@experiment
class KthreadCreate(Experiment):
    """Creation and join of a kernel thread, by variant (E1)."""

    name = "kthread-create"
    title = "Creating a kernel thread"
    family = "Creation"
    claim = Claim(
        "Creating a thread costs about 9,000 ns on a Skylake server and 20,000 ns on an Ampere server.",
        "Lecture notes after Lemire 2020, whose table has 20,000 ns for AMD Rome; his figure for Ampere is 200,000 ns",
    )
    references: ClassVar = (
        Reference("Skylake", 9_000, "ns", LEMIRE, "create+join"),
        Reference("AMD Rome", 20_000, "ns", LEMIRE, "create+join"),
        Reference("Ampere", 200_000, "ns", LEMIRE, "create+join"),
    )
    method = (
        "One operation is pthread_create, the child's first instruction and pthread_join, one after the other. "
        "All variants run in every round in shuffled order; the driver thread is pinned except for `default`, where "
        "driver and child go where the kernel puts them. "
        "create+join is the whole operation, create call the creator's part, first instruction the delay until the "
        "child runs, on another core the share of children that did not begin on their creator's."
    )

    def ways(self, bench: Bench) -> list[Way]:
        """Plain and unpinned; on one core with default, small and own stack; across cores."""
        found = [
            # Batch by hand: the first creation after being let loose may take 200 µs and would calibrate it to 1.
            Way("default", "kthread-create", {"driver_free": 1}, batch=20),
            Way("one core", "kthread-create"),
            Way("one core, 64 KiB stack", "kthread-create", {"stack_bytes": SMALL_STACK}),
            Way("one core, own reused stack", "kthread-create", {"stack_bytes": SMALL_STACK, "own_stack": 1}),
            Way("one core, raw clone", "clone-create"),
            Way("one core, pinned by attribute", "kthread-create", {"child_cpu": bench.cpu}),
        ]
        if bench.other_cpu is not None:
            found.append(Way("child on another core", "kthread-create", {"child_cpu": bench.other_cpu}))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds within a factor of two of the two figures named; else it may hold on one core only."""
        low, high = 9_000 / 2, 20_000 * 2
        default, near = rows.find("default", "create+join"), rows.find("one core", "create+join")
        if default is None or default.n < N_MIN:
            return undecided("the default variant was not measured", rows.of_metric("create+join"))
        reason = f"create and join take {_with_interval(default)} unpinned"
        elsewhere = rows.find("default", "on another core")
        if elsewhere is not None:
            reason += f" ({elsewhere.median:.0f} % of the children on another core)"
        if near is not None:
            reason += f", {_with_interval(near)} with both on one core"
        headline = f"{_ns(default.median)} to create and join one"
        if near is not None:
            headline += f", {_ns(near.median)} on one core"
        if low <= default.median <= high:
            return Verdict(HOLDS, f"{reason}: within a factor of two of 9 to 20 µs", headline=headline)
        # On one core the same work was cheap in the same rounds: it is the other core that costs, not other work.
        if near is not None and low <= near.median <= high:
            return Verdict(CONDITIONAL, reason, "creator and child share a core", headline)
        if default.median > high >= default.min:
            return Verdict(UNDECIDED, f"{reason}: only the floor is within a factor of two, other work", "", headline)
        return Verdict(FAILS, f"{reason}: outside a factor of two of 9 to 20 µs", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots with the published figures; the parts of the cost."""
        return [
            pictures.ranked_dots(result, "create+join", references=self.references, on="default"),
            pictures.ranked_dots(result, "first instruction", title="Until the child's first instruction"),
        ]


ALIVE_QUICK = (0, 100, 1_000, 3_000)
ALIVE_FULL = (0, 100, 1_000, 3_000, 10_000, 20_000)


@experiment
class KthreadAlive(Experiment):
    """Cost of one more thread while k others sleep (E17)."""

    name = "kthread-alive"
    title = "Creating a thread while many are alive"
    family = "Creation"
    claim = Claim(
        "The more threads exist, the dearer the next one is.",
        "Common belief behind 'thousands of threads make the system crawl'",
    )
    method = (
        "In every round, for each number of sleeping threads, those are created, then 16 threads are created and "
        "joined one by one, then all are ended. "
        "create+join is for threads that find a cached stack; create call, new stack is for the last tenth of the "
        "sleepers, each of which needs a stack of its own. "
        "The cost with thousands alive is divided by the cost with none, round by round."
    )
    quick = Budget(seconds=2.0, rounds_max=15, rounds_min=6)
    full = Budget(seconds=20.0, rounds_max=30, rounds_min=6)

    def ways(self, bench: Bench) -> list[Way]:
        """One way for each number of sleepers that the safety budget allows."""
        counts = ALIVE_QUICK if bench.quick else ALIVE_FULL
        allowed = [count for count in counts if count <= bench.safety.threads(count)]
        return [Way(f"{count:,} alive", "kthread-alive", {"alive": count}, batch=16) for count in allowed]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the cost with the most alive is above 1.5 times the cost with none."""
        variants = [row.variant for row in rows.of_metric("create+join")]
        if len(variants) < 2:
            return Verdict(UNDECIDED, "fewer than two numbers of threads could be measured")
        ratio = rows.ratio(variants[-1], variants[0], "create+join")
        if ratio.n < N_MIN:
            return Verdict(UNDECIDED, f"only {ratio.n} rounds were measured")
        reason = f"with {variants[-1]} the next one costs {ratio.mid:.2f} times ({ratio.lo:.2f} to {ratio.hi:.2f})"
        headline = f"{ratio.mid:.2f} times the cost with {variants[-1]}"
        if ratio.lo > 1.5:
            return Verdict(HOLDS, reason, headline=headline)
        if ratio.hi < 1.5:
            return Verdict(FAILS, f"{reason}: flat as far as measured", headline=headline)
        return Verdict(UNDECIDED, f"{reason}: the interval includes the threshold of 1.5", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Two lines over the number alive."""
        everyone = {row.variant for row in result.rows}
        cached = pictures.curves(
            result,
            "create+join",
            "alive",
            {"create + join, cached stack": everyone},
            x_scale="linear",
            y_scale="linear",
        )
        fresh = pictures.curves(result, "create call, new stack", "alive", {"create call, new stack": everyone})
        return [
            chart.Lines(
                series=[*cached.series, *fresh.series],
                y_unit="ns",
                y_from_zero=True,
                title=result.title,
                x_label="threads alive",
                y_label="cost of the next one",
                n=cached.n,
            )
        ]


IDLE_QUICK = (0, 50_000, 1_000_000, 10_000_000)
IDLE_FULL = (*IDLE_QUICK, 100_000_000)


def _idle_words(idle_ns: int) -> str:
    return "hot" if idle_ns == 0 else f"after {_ns(idle_ns)} idle"


@experiment
class ThreadReuse(Experiment):
    """Handing work to a parked thread against creating one, by idle time before (E2)."""

    name = "thread-reuse"
    title = "Reusing a thread instead of creating one"
    family = "Creation"
    claim = Claim(
        "A thread should be reused rather than created for each task, because creating one is dear.",
        "Lecture notes on thread pools",
    )
    method = (
        "A helper thread sleeps on a futex; one operation hands it empty work and waits until it is done. Beside it, "
        "one operation creates and joins a thread. "
        "Before each operation nothing runs for the idle time stated, since caches, branch predictors and the CPU's "
        "sleep states cool down. "
        "The same idle time goes before both, and the ratio is formed round by round."
    )
    quick = Budget(seconds=2.5, rounds_max=80, rounds_min=8)
    full = Budget(seconds=25.0, rounds_max=200, rounds_min=12)

    def ways(self, bench: Bench) -> list[Way]:
        """For each idle time: create, hand over on the same core, hand over to another core."""
        found = []
        for idle_ns in IDLE_QUICK if bench.quick else IDLE_FULL:
            batch = 1 if idle_ns >= 1_000_000 else 0
            words = _idle_words(idle_ns)
            found.append(Way(f"create, {words}", "create-after-idle", {"idle_ns": idle_ns}, batch=batch))
            found.append(
                Way(f"reuse on one core, {words}", "thread-reuse", {"idle_ns": idle_ns, "cpu": bench.cpu}, batch=batch)
            )
            if bench.other_cpu is not None:
                params = {"idle_ns": idle_ns, "cpu": bench.other_cpu}
                found.append(Way(f"reuse on another core, {words}", "thread-reuse", params, batch=batch))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if reuse on the same core is cheaper at every idle time and, where measured, on another core too."""
        first: dict[str, str] = {}  # at the shortest idle time
        last: dict[str, str] = {}  # at the longest
        near: list[Interval] = []
        far: list[Interval] = []
        for row in rows.of_metric("round trip"):
            if not row.variant.startswith("create, "):
                continue
            words = row.variant.removeprefix("create, ")
            for where, ratios in (("one core", near), ("another core", far)):
                ratio = rows.ratio(f"reuse on {where}, {words}", row.variant, "round trip")
                if ratio.n >= N_MIN:
                    ratios.append(ratio)
                    told = f"{ratio.mid:.2f} ({ratio.lo:.2f} to {ratio.hi:.2f}) on {where} {words}"
                    first.setdefault(where, told)
                    last[where] = told
        if not near:
            return undecided("reuse and creation were not both measured", rows.of_metric("round trip"))
        parts = dict.fromkeys([*first.values(), *list(last.values())[-1:]])
        reason = "handing over costs this share of creating: " + ", ".join(parts)
        headline = f"{near[0].mid:.2f} times the cost of creating on one core"
        if far:
            headline += f", {far[0].mid:.2f} on another"
        if all(ratio.hi < 1 for ratio in near + far):
            return Verdict(HOLDS, reason, headline=headline)
        if near[0].lo >= 1:
            return Verdict(FAILS, reason, headline=headline)
        if near[0].hi >= 1 or not any(ratio.lo >= 1 for ratio in near + far):
            return Verdict(UNDECIDED, f"{reason}: some intervals include 1", headline=headline)
        where = "the helper is on the same core" if all(ratio.hi < 1 for ratio in near) else "the helper is still hot"
        return Verdict(CONDITIONAL, reason, where, headline)

    def charts(self, result: Result) -> list[Any]:
        """Round trip over idle time, one line a way."""
        lines = {
            label: [row.variant for row in result.rows if row.variant.startswith(prefix)]
            for label, prefix in (
                ("create and join", "create,"),
                ("hand over, same core", "reuse on one core,"),
                ("hand over, another core", "reuse on another core,"),
            )
        }
        return [pictures.curves(result, "round trip", "idle_ns", lines, x_label="idle before", x_unit="ns")]


WORK_NS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
# A helper that only has to see a flag gains nearly two where the other core is free.
_SECOND_CORE_MIN = 1.2
SPLIT_KINDS = {"new thread": 1, "parked thread": 2, "spinning thread": 3}


def break_even_ns(work_ns: np.ndarray, speedups: np.ndarray) -> float:
    """Work at which the speedup first reaches 1, interpolated on logarithmic axes; NaN if it never does."""
    above = np.flatnonzero(speedups >= 1)
    if len(above) == 0:
        return math.nan
    first = int(above[0])
    if first == 0:
        return float(work_ns[0])
    x = np.log(work_ns[first - 1 : first + 1])
    y = np.log(speedups[first - 1 : first + 1])
    return float(np.exp(x[0] + (x[1] - x[0]) * (0 - y[0]) / (y[1] - y[0])))


@experiment
class GrainSize(Experiment):
    """From which size on splitting work over two cores pays, by way of starting the helper (E3)."""

    name = "grain-size"
    title = "When does splitting work over two cores pay?"
    family = "Creation"
    claim = Claim(
        "Threads pay only for a task that, once divided, still justifies the cost of the thread.",
        "Lecture notes on running code simultaneously",
    )
    method = (
        "A chain of dependent additions of known length is done by one thread, or one half of it by a helper on "
        "another core that is created, woken from a futex, or already spinning. "
        "The speedup is the time alone divided by the time split, round by round. "
        "Break-even is where the median speedup reaches 1."
    )
    quick = Budget(seconds=3.0, rounds_max=60, rounds_min=8)
    full = Budget(seconds=20.0, rounds_max=400, rounds_min=20)

    def ways(self, bench: Bench) -> list[Way]:
        """Alone and with each kind of helper, for each size of work; nothing on one CPU."""
        if bench.other_cpu is None:
            return []
        found = []
        for work_ns in WORK_NS:
            words = _ns(work_ns)
            found.append(Way(f"alone, {words}", "split", {"kind": 0, "work_ns": work_ns}))
            found += [
                Way(f"{kind}, {words}", "split", {"kind": code, "work_ns": work_ns, "cpu": bench.other_cpu})
                for kind, code in SPLIT_KINDS.items()
            ]
        return found

    def measure(self, bench: Bench) -> Measured:
        """One plan, and the speedups as rows of their own."""
        ways = self.ways(bench)
        if not ways:
            return Measured(notes=["Splitting work needs a second CPU; this process has one."])
        outcome = bench.run(ways)
        rows = outcome.rows()
        speedups = []
        for work_ns in WORK_NS:
            alone = rows.find(f"alone, {_ns(work_ns)}")
            for kind in SPLIT_KINDS:
                split = rows.find(f"{kind}, {_ns(work_ns)}")
                if alone is not None and split is not None and alone.n == split.n:
                    values = alone.samples / split.samples
                    speedups.append(Row(split.variant, "speedup", "ratio", values, params={"work_ns": work_ns}))
        # The speedups are what it is about: they come first.
        return Measured(rows=Rows(speedups) + rows, notes=outcome.notes())

    @staticmethod
    def break_evens(rows: Rows) -> dict[str, float]:
        """Break-even work in ns for each kind of helper."""
        found = {}
        for kind in SPLIT_KINDS:
            mine = sorted(
                (row for row in rows.of_metric("speedup") if row.variant.startswith(f"{kind},")),
                key=lambda row: row.params["work_ns"],
            )
            if mine:
                sizes = np.array([float(row.params["work_ns"]) for row in mine])
                found[kind] = break_even_ns(sizes, np.array([row.median for row in mine]))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if small work loses and large work gains with a new thread."""
        mine = [row for row in rows.of_metric("speedup") if row.variant.startswith("new thread,")]
        if len(mine) < 2 or mine[0].n < N_MIN:
            return Verdict(UNDECIDED, "splitting needs a second CPU and enough rounds")
        points = {
            kind: f"{kind} {'never' if math.isnan(ns) else _ns(ns)}" for kind, ns in self.break_evens(rows).items()
        }
        reason = f"break-even work: {', '.join(points.values())}; at {_ns(mine[-1].params['work_ns'])} a new thread "
        reason += f"gives {mine[-1].median:.2f} times ({mine[-1].interval.lo:.2f} to {mine[-1].interval.hi:.2f})"
        headline = f"pays from: {', '.join(points.values())}"
        if mine[0].interval.hi < 1 < mine[-1].interval.lo:
            return Verdict(HOLDS, reason, headline=headline)
        spinning = [row for row in rows.of_metric("speedup") if row.variant.startswith("spinning thread,")]
        if spinning and max(row.median for row in spinning) < _SECOND_CORE_MIN:
            why = "not even a spinning helper gained: the second core was not free"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if mine[-1].interval.hi < 1:
            return Verdict(FAILS, f"{reason}: not even the largest piece paid", headline=headline)
        return Verdict(UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Speedup over size of work, with the line at 1."""
        lines = {
            kind: [row.variant for row in result.rows if row.variant.startswith(f"{kind},")] for kind in SPLIT_KINDS
        }
        return [
            pictures.curves(
                result,
                "speedup",
                "work_ns",
                lines,
                x_label="work, as one piece",
                x_unit="ns",
                y_scale="linear",
                marked=[chart.Marked(1.0, "break-even", axis="y"), chart.Marked(2.0, "two cores", axis="y")],
            )
        ]
