"""Green threads: what a switch, a spawn and a parked one cost, how they scale, and that the kernel sees none of them.

What one that blocks or never yields does to the others, and thousands that wait, is in `green_waits`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from filar import chart
from filar.chart import format_quantity
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
    Reference,
    Row,
    Rows,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.result import Result

FAMILY = "Green threads"
NOTES = "Lecture notes on user-level threads"
ONE_WAY = "one way"
CREATE_JOIN = "create+join"
_NS = "ns"
_N_MIN = 6


def words(row: Row) -> str:
    """Median and interval of a row, for a reason."""
    low, high = (format_quantity(value, row.unit) for value in (row.interval.lo, row.interval.hi))
    return f"{format_quantity(row.median, row.unit)} ({low} to {high})"


def times(ratio: stats.Interval) -> str:
    """A ratio and its interval: "62 times (60 to 64)"."""
    return f"{ratio.mid:.3g} times ({ratio.lo:.3g} to {ratio.hi:.3g})"


def enough(*rows: Row | None) -> bool:
    """Whether all rows were measured often enough for an interval."""
    return all(row is not None and row.n >= _N_MIN for row in rows)


def green_bytes(count: int) -> int:
    """What so many green threads take at most: a page each for stack and descriptor, page tables, the handle."""
    return count * 6_000


def thousands(bench: Bench, wanted: tuple[int, ...]) -> list[int]:
    """Those of the numbers for which there is memory, the least one always."""
    return [count for count in wanted if bench.safety.memory(green_bytes(count)) == green_bytes(count)] or [min(wanted)]


# ---- switching ----

BARE = "bare switch"
SWAPCONTEXT = "swapcontext"
KERNEL_FUTEX = "kernel threads, futex"
KERNEL_YIELD = "kernel threads, sched_yield"


def ready(count: int) -> str:
    """Public name of a yield with so many ready."""
    return f"green yield, {count:,} ready"


@experiment
class GreenSwitch(Experiment):
    """A switch between green threads, bare and through the scheduler, beside kernel threads (E6)."""

    name = "green-switch"
    title = "Switching between green threads"
    family = FAMILY
    claim = Claim("Switching between user-level threads is faster, because no kernel is involved.", NOTES)
    references: ClassVar = (
        Reference("kernel threads pinned (Bendersky 2018)", 1_200, _NS, "eli.thegreenplace.net/2018", ONE_WAY),
    )
    method = (
        "Green threads that do nothing but yield go round the queue of one worker, 2 or thousands of them; the "
        "switches are counted by the worker, and beside them stand the bare change of registers and stack, "
        "swapcontext, and kernel threads that hand over by futex or sched_yield on the same core. "
        "All variants run in every round, in shuffled order, and the ratio is formed round by round. "
        "Times are for one switch, from one thread to the next."
    )
    quick = Budget(seconds=1.8, rounds_max=100)
    full = Budget(seconds=12.0, rounds_max=400)

    def ways(self, bench: Bench) -> list[Way]:
        """From the bare switch to the kernel's."""
        keep = {"round trip": None, "switches per turn": None}
        only = {"yields": None, "steals": None, "stolen": None, "sleeps": None}
        counts = thousands(bench, (2, 1_000, 10_000) if bench.quick else (2, 1_000, 10_000, 100_000))
        many = bench.safety.threads(100)
        return [
            Way(BARE, "green-context", metrics=keep, note="registers and stack, no scheduler"),
            Way(SWAPCONTEXT, "switch-context", metrics=keep, note="asks the kernel for the signal mask each time"),
            *(Way(ready(count), "green-yield", {"ready": count}, metrics=only) for count in counts),
            Way(KERNEL_FUTEX, "switch-futex", metrics=keep, note="one core"),
            Way(KERNEL_YIELD, "switch-yield", metrics=keep, note="one core"),
            Way(f"{KERNEL_YIELD}, {many} ready", "kthread-yield", {"ready": many}, metrics=only, note="one core"),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if a yield through the scheduler is surely faster than a kernel switch, however many are ready."""
        kernel = [row for name in (KERNEL_FUTEX, KERNEL_YIELD) if enough(row := rows.find(name, ONE_WAY)) and row]
        green = [row for row in rows.of_metric(ONE_WAY) if row.variant.startswith("green yield") and enough(row)]
        if not kernel or not green:
            return undecided(
                "green yields and a switch of kernel threads were not both measured", rows.of_metric(ONE_WAY)
            )
        best = min(kernel, key=lambda row: row.min)
        first, worst = green[0], max(green, key=lambda row: row.min)
        gains = {row.variant: rows.ratio(best.variant, row.variant, ONE_WAY) for row in green}
        reason = (
            f"{first.variant}: {words(first)}, floor {format_quantity(first.min, _NS)}; {best.variant}: {words(best)}; "
            f"{times(gains[first.variant])} as fast"
        )
        if worst is not first:
            reason += f"; {worst.variant}: {words(worst)}, {times(gains[worst.variant])}"
        headline = f"{format_quantity(first.min, _NS)} against {format_quantity(best.min, _NS)} at best"
        slow = [name for name, gain in gains.items() if gain.lo <= 1]
        if not slow:
            return Verdict(HOLDS, reason, headline=headline)
        if len(slow) < len(gains):
            few = next(row for row in green if row.variant not in slow)
            return Verdict(CONDITIONAL, reason, f"few are ready: {few.variant}", headline)
        surely = all(gain.hi < 1 for gain in gains.values())
        return Verdict(FAILS if surely else UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots on a log axis."""
        groups = {
            name: "the kernel is asked" if name.startswith(("kernel", SWAPCONTEXT)) else "no kernel involved"
            for name in result.rows.variants()
        }
        return [pictures.ranked_dots(result, ONE_WAY, references=self.references, on=KERNEL_FUTEX, groups=groups)]


# ---- creating ----

GREEN_ONE = "green, one at a time"
KERNEL_ONE = "kernel, one at a time"


@experiment
class GreenSpawn(Experiment):
    """Spawn and join of green threads beside pthread_create."""

    name = "green-spawn"
    title = "Creating green threads"
    family = FAMILY
    claim = Claim("Creating a user-level thread is faster than creating a kernel thread.", NOTES)
    references: ClassVar = (
        Reference("kernel thread, Skylake (Lemire 2020)", 9_000, _NS, "lemire.me/blog/2020/01/30", CREATE_JOIN),
    )
    method = (
        "A thread with an empty body is created and joined, one at a time or many before the first is joined; green "
        "threads by a green thread on the same worker, kernel threads by the driver on one core. "
        "`new stacks` starts a runtime for each sample, so that every stack is touched for the first time and costs a "
        "page fault; otherwise stacks come back from a cache, as pthread's do. "
        "All variants run in every round, in shuffled order; times are for one thread."
    )
    quick = Budget(seconds=1.5, rounds_max=60)
    full = Budget(seconds=12.0, rounds_max=200)

    def ways(self, bench: Bench) -> list[Way]:
        """One at a time, many at once, on stacks that are there and on new ones."""
        keep = {"create call": None, "first instruction": None}
        many = thousands(bench, (10_000,) if bench.quick else (10_000, 100_000))
        fresh = thousands(bench, (2_000,) if bench.quick else (10_000,))[0]
        kernel = bench.safety.threads(200 if bench.quick else 2_000)
        return [
            Way(GREEN_ONE, "green-create", {"at_once": 1}),
            *(Way(f"green, {count:,} at once", "green-create", {"at_once": count}) for count in many),
            Way(f"green, {fresh:,} at once, new stacks", "green-create", {"at_once": fresh, "fresh": 1}),
            Way(KERNEL_ONE, "kthread-create", metrics=keep),
            Way(f"kernel, {kernel:,} at once", "kthread-many", {"at_once": kernel}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the dearest way for green threads is surely cheaper than the cheapest one for kernel threads."""
        green = [row for row in rows.of_metric(CREATE_JOIN) if row.variant.startswith("green") and enough(row)]
        kernel = [row for row in rows.of_metric(CREATE_JOIN) if row.variant.startswith("kernel") and enough(row)]
        if not green or not kernel:
            return undecided("green and kernel threads were not both measured", rows.of_metric(CREATE_JOIN))
        best = min(kernel, key=lambda row: row.min)
        dearest = max(green, key=lambda row: row.median)
        gains = {row.variant: rows.ratio(best.variant, row.variant, CREATE_JOIN) for row in green}
        parts = [f"{row.variant} {words(row)}, {times(gains[row.variant])} as fast" for row in green]
        reason = f"{best.variant} {words(best)}; {'; '.join(parts)}"
        headline = f"{format_quantity(green[0].min, _NS)} against {format_quantity(best.min, _NS)} at best"
        if gains[dearest.variant].lo > 1:
            return Verdict(HOLDS, reason, headline=headline)
        if any(gain.lo > 1 for gain in gains.values()):
            slow = next(name for name, gain in gains.items() if gain.lo <= 1)
            return Verdict(CONDITIONAL, reason, f"it is not {slow.removeprefix('green, ')}", headline)
        surely = all(gain.hi < 1 for gain in gains.values())
        return Verdict(FAILS if surely else UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots on a log axis."""
        groups = {name: f"{name.split(',')[0]} threads" for name in result.rows.variants()}
        return [pictures.ranked_dots(result, CREATE_JOIN, references=self.references, on=KERNEL_ONE, groups=groups)]


# ---- memory ----

KERNEL_PARTS = ("kernel stack", "slab", "page tables")
LARGE = 100_000


@experiment
class GreenMemory(Experiment):
    """Memory per parked green thread, beside kernel threads (E16)."""

    name = "green-memory"
    title = "Memory of a parked green thread"
    family = FAMILY
    claim = Claim("When one does want thousands of threads, green threads take much less memory.", NOTES)
    method = (
        "In every round a new runtime parks so many green threads, and a herd of kernel threads sleeps; /proc is read "
        "before and after, and the growth is divided by their number. "
        "Real is what is resident and what the kernel keeps beside it (page tables; for kernel threads also their "
        "kernel stacks and slab, from the whole machine's figures). "
        "A guard counts if the kernel, asked to read the byte below a stack, refuses."
    )
    quick = Budget(seconds=1.2, rounds_max=8, rounds_min=6)
    full = Budget(seconds=15.0, rounds_max=12, rounds_min=6)

    @staticmethod
    def variant(kind: str, count: int) -> str:
        """Public name of so many of a kind."""
        return f"{count:,} {kind} threads"

    def ways(self, bench: Bench) -> list[Way]:
        """Green threads by the thousand, kernel threads as far as it is safe; large numbers at the end."""
        counts = thousands(bench, (1_000, 10_000, LARGE) if bench.quick else (1_000, 10_000, LARGE, 1_000_000))
        kernel = sorted({bench.safety.threads(count) for count in ((200, 1_000) if bench.quick else (1_000, 10_000))})
        return [
            *(Way(self.variant("kernel", count), "kthread-memory", {"count": count}) for count in kernel),
            *(Way(self.variant("green", count), "green-memory", {"count": count}) for count in counts),
        ]

    def measure(self, bench: Bench) -> Measured:
        """Two plans: numbers that take a tenth of a second a round, and those that take longer, once or twice."""
        ways, found = self.ways(bench), Measured()
        small = [way for way in ways if way.params["count"] < LARGE]
        large = [way for way in ways if way.params["count"] >= LARGE]
        half = bench.budget.seconds / 2
        if small:
            self._add(found, bench.run(small, seconds=half))
        if large:
            self._add(found, bench.run(large, seconds=half, rounds_min=1, rounds_max=2, warmup_rounds=0))
        found.rows += self.real(found.rows)
        return found

    @staticmethod
    def _add(found: Measured, outcome: PlanOutcome) -> None:
        found.rows += outcome.rows()
        found.notes += outcome.notes()

    @staticmethod
    def real(rows: Rows) -> Rows:
        """Resident memory and what the kernel keeps, added up round by round; noise below nothing counts as 0."""
        found = Rows()
        for variant in rows.variants():
            resident = rows.find(variant, "resident")
            if resident is None:
                continue
            total = resident.samples.copy()
            for part in KERNEL_PARTS:
                row = rows.find(variant, part)
                if row is not None and row.n == resident.n:
                    total += row.samples.clip(min=0)
            found += [Row(variant, "real", "B", total, dict(resident.params), rounds=resident.rounds)]
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Much less is half or less, whatever the number."""
        real = rows.of_metric("real")
        green = [row for row in real if " green " in row.variant]
        kernel = [row for row in real if " kernel " in row.variant]
        if not green or not kernel or not enough(green[0], kernel[0]):
            return undecided("green and kernel threads were not both measured", real)
        worst = max(green, key=lambda row: row.median)
        most = max(green, key=lambda row: int(row.params["count"]))
        best = min(kernel, key=lambda row: row.median)
        ratio = best.median / worst.median
        reason = (
            f"each of {most.variant} takes {format_quantity(most.median, 'B')}, each of {best.variant} {words(best)}: "
            f"{ratio:.1f} times as much as a green thread at its dearest"
        )
        guarded, maps = rows.find(most.variant, "guarded"), rows.find(most.variant, "maps")
        if guarded is not None and maps is not None:
            reason += f"; {guarded.min:.0f} % of their guards refuse a byte, with {maps.median:,.0f} more memory maps"
        headline = f"{format_quantity(most.median, 'B')} against {format_quantity(best.median, 'B')}"
        return Verdict(HOLDS if ratio >= 2 else FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Real and virtual memory over the number of threads."""
        lines = []
        for kind in ("green", "kernel"):
            for metric in ("real", "virtual"):
                rows = [row for row in result.rows.of_metric(metric) if f" {kind} " in row.variant]
                if rows:
                    lines.append(pictures.curve(f"{kind}, {metric}", rows, "count", dashed=metric == "virtual"))
        return [
            chart.Lines(
                series=lines,
                y_unit="B",
                x_scale="log",
                y_scale="log",
                title=result.title,
                x_label="threads alive",
                y_label="memory of one",
                n=pictures.samples_note(result.rows.of_metric("real")),
            )
        ]


# ---- what the kernel sees ----


@experiment
class GreenSeen(Experiment):
    """The kernel's list of threads with a thousand green threads alive (E24)."""

    name = "green-seen-by-kernel"
    title = "The kernel does not see green threads"
    family = FAMILY
    claim = Claim("The kernel knows nothing of user-level threads: it sees one thread of the process.", NOTES)
    method = (
        "A thousand green threads are parked on one worker, then a thousand kernel threads sleep; each time "
        "/proc/self/task is counted before and with them, and nothing is timed. "
        "The count before includes the runtime's one worker. "
        "Fewer kernel threads are made where limits leave no room for a thousand."
    )
    quick = Budget(seconds=0.4, rounds_max=3, rounds_min=1)
    full = Budget(seconds=2.0, rounds_max=5, rounds_min=3)

    def ways(self, bench: Bench) -> list[Way]:
        """A thousand of each kind."""
        count = bench.safety.threads(1_000)
        return [
            Way("1,000 green threads", "green-seen", {"threads": 1_000}),
            Way(f"{count:,} kernel threads", "green-seen", {"threads": count, "kernel": 1}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the list grew with kernel threads and not with green ones."""
        grown = {}
        for kind in ("green", "kernel"):
            variant = next((name for name in rows.variants() if kind in name), "")
            before, after = rows.find(variant, "tasks before"), rows.find(variant, "tasks with them")
            alive = rows.find(variant, "alive")
            if before is None or after is None or alive is None:
                return Verdict(UNDECIDED, f"{kind} threads were not measured")
            # Threads of others in this process come and go: the median of the rounds.
            grown[kind] = (after.median - before.median, alive.median)
        (green, greens), (kernel, kernels) = grown["green"], grown["kernel"]
        reason = (
            f"{greens:,.0f} green threads made /proc/self/task grow by {green:,.0f}, "
            f"{kernels:,.0f} kernel threads by {kernel:,.0f}"
        )
        unseen, seen = abs(green) <= 2, kernel >= kernels - 2
        return Verdict(HOLDS if unseen and seen else FAILS, reason, headline=f"{green:,.0f} against {kernel:,.0f}")

    def charts(self, result: Result) -> list[Any]:
        """Counts before and with them."""
        metrics = ("alive", "tasks before", "tasks with them")
        variants = result.rows.variants()
        return [
            chart.Bars(
                groups=variants,
                series=[
                    chart.BarSeries(metric, [result.rows.median(variant, metric) for variant in variants])
                    for metric in metrics
                ],
                unit="",
                title=result.title,
                x_label="threads",
                n=pictures.samples_note(result.rows),
            )
        ]


# ---- scaling ----

YIELDS = "yields"
PER_TASK = "per task"
SCALES = 1.5


def workers_words(count: int) -> str:
    """Public name of a number of workers."""
    return f"{count} worker{'s' if count > 1 else ''}"


@experiment
class GreenScaling(Experiment):
    """Yields per second and a tree of tasks, by number of workers."""

    name = "green-scaling"
    title = "Green threads on one worker and on two"
    family = FAMILY
    claim = Claim("M green threads on N kernel threads use N processors.", "The Rust book on M:N threading")
    method = (
        "A thousand green threads do nothing but yield, on one worker and on two, each worker pinned to a core of its "
        "own, and the workers count; and a tree of tasks, ten to a parent, each a green thread, adds up its numbers. "
        "Kernel threads do the same beside them: sched_yield, and a smaller tree. "
        "All variants run in every round, in shuffled order; a sample lasts some milliseconds, so that work has time "
        "to move, and steals and sleeps are counted in it."
    )
    quick = Budget(seconds=1.5, rounds_max=40)
    full = Budget(seconds=12.0, rounds_max=150)

    def ways(self, bench: Bench) -> list[Way]:
        """One worker, and two where there is a second core."""
        places = {1: -1} | ({2: bench.other_cpu} if bench.other_cpu is not None else {})
        depth = 4 if bench.quick else 5
        found = []
        for workers, other in places.items():
            params = {"workers": workers, "other_cpu": other}
            name = workers_words(workers)
            found += [
                Way(f"yields, {name}", "green-yield", {"ready": 1_000, **params}, 200_000, {ONE_WAY: None}),
                Way(f"tree, {name}", "skynet", {"depth": depth, **params}, metrics={"wall": None}),
            ]
        cores = max(places)
        kernel = f"kernel threads on {cores} core{'s' if cores > 1 else ''}"
        threads = bench.safety.threads(20)
        found += [
            Way(f"yields, {kernel}", "kthread-yield", {"ready": threads, **params}, 2_000, {ONE_WAY: None}),
            Way(f"tree, {kernel}", "skynet", {"kernel": 1, "depth": 2, **params}, metrics={"wall": None}),
        ]
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Two workers must do 1.5 times as much, in yields and in the tree: by the best rounds, since others take."""
        one, two = rows.find("yields, 1 worker", YIELDS), rows.find("yields, 2 workers", YIELDS)
        tree_one, tree_two = rows.find("tree, 1 worker", PER_TASK), rows.find("tree, 2 workers", PER_TASK)
        if one is None or two is None or tree_one is None or tree_two is None or not enough(one, two, tree_one):
            return undecided("there is one CPU, or one and two workers were not both measured", rows)
        gains = {"yields": two.max / one.max, "a tree of tasks": tree_one.min / tree_two.min}
        stolen = rows.median("tree, 2 workers", "stolen")
        reason = (
            f"two workers against one, best rounds: yields {gains['yields']:.2f} times "
            f"({format_quantity(one.max, '1/s')} and {format_quantity(two.max, '1/s')}; medians "
            f"{two.median / one.median:.2f}), a tree of tasks {gains['a tree of tasks']:.2f} times "
            f"({format_quantity(tree_one.min, _NS)} and {format_quantity(tree_two.min, _NS)} a task; {stolen:,.0f} "
            "tasks stolen)"
        )
        headline = f"two workers: yields {gains['yields']:.2f}x, tree {gains['a tree of tasks']:.2f}x"
        good = [what for what, gain in gains.items() if gain >= SCALES]
        if len(good) == len(gains):
            return Verdict(HOLDS, reason, headline=headline)
        if good:
            return Verdict(CONDITIONAL, reason, f"the work is {good[0]}", headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Yields per second and time per task; steals and sleeps."""
        rates = pictures.ranked_dots(result, YIELDS, title="Yields of all threads together", references=self.references)
        tree = pictures.ranked_dots(result, PER_TASK, title="A tree of tasks: time for one")
        counted = [name for name in result.rows.variants() if result.rows.find(name, "steals")]
        counts = chart.Bars(
            groups=counted,
            series=[
                chart.BarSeries(metric, [result.rows.median(name, metric) for name in counted])
                for metric in ("steals", "stolen", "sleeps")
            ],
            unit="",
            title="What the workers did in one sample",
            x_label="times",
            n=pictures.samples_note(result.rows.of_metric("steals")),
        )
        return [rates, tree, counts]


# ---- ring ----


@experiment
class GreenRing(Experiment):
    """A token round a ring of thousands of threads, each asleep until it comes."""

    name = "green-ring"
    title = "A token round a ring of threads"
    family = FAMILY
    claim = Claim("Waking the next user-level thread is faster than waking the next kernel thread.", NOTES)
    method = (
        "Threads stand in a ring, each parked until the token comes, which it hands on to the next: one wake and one "
        "park each. "
        "The same code runs on green threads of one worker and on kernel threads of one core, in every round, in "
        "shuffled order. "
        "The time is from the first thread that has the token to the last, for one step."
    )
    quick = Budget(seconds=1.0, rounds_max=60)
    full = Budget(seconds=8.0, rounds_max=200)

    def ways(self, bench: Bench) -> list[Way]:
        """Rings of a hundred and of thousands."""
        kernel = bench.safety.threads(1_000)
        return [
            Way("100 green threads", "ring", {"members": 100}),
            *(Way(f"{n:,} green threads", "ring", {"members": n}) for n in thousands(bench, (10_000,))),
            Way("100 kernel threads", "ring", {"members": bench.safety.threads(100), "kernel": 1}),
            Way(f"{kernel:,} kernel threads", "ring", {"members": kernel, "kernel": 1}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the slowest green ring is surely faster than the fastest of kernel threads."""
        green = [row for row in rows.of_metric(ONE_WAY) if "green" in row.variant and enough(row)]
        kernel = [row for row in rows.of_metric(ONE_WAY) if "kernel" in row.variant and enough(row)]
        if not green or not kernel:
            return undecided("green and kernel threads were not both measured", rows.of_metric(ONE_WAY))
        slow, fast = max(green, key=lambda row: row.median), min(kernel, key=lambda row: row.median)
        gain = rows.ratio(fast.variant, slow.variant, ONE_WAY)
        reason = f"{slow.variant} {words(slow)} a step, {fast.variant} {words(fast)}: {times(gain)} as fast"
        headline = f"{format_quantity(slow.min, _NS)} against {format_quantity(fast.min, _NS)} at best"
        if gain.lo > 1:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(FAILS if gain.hi < 1 else UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots."""
        return [pictures.ranked_dots(result, ONE_WAY)]
