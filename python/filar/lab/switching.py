"""Handing the CPU over: by what, between whom, and what it does to the caches."""

from __future__ import annotations

import math
from itertools import combinations
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
from filar.lab.derived import difference_row, ratio_row
from filar.lab.places import KIB, MIB, l2_bytes, places_of
from filar.lab.result import Result
from filar.lab.stats import N_MIN

_NS = "ns"

ONE_WAY = "one way"
PER_TURN = "per turn"
COUNTED = "switches per turn"
# Round trips of a sample across cores: what one costs (5 to 100 us) depends on how deep the other core sleeps,
# so that a calibration, which wakes it again and again, says little. The first dozens after a pause still find it
# polling: in bursts of 16 a turn takes a third of what it takes in a program that goes on (tests/agreement).
ACROSS_BATCH = 100


def words(row: Row) -> str:
    """Median and interval of a row, for a reason."""
    low, high = (format_quantity(value, row.unit) for value in (row.interval.lo, row.interval.hi))
    return f"{format_quantity(row.median, row.unit)} ({low} to {high})"


def _ns(row: Row) -> str:
    """Median of a row, for a headline."""
    return format_quantity(row.median, row.unit)


def measured(row: Row | None) -> bool:
    """Whether a row has enough samples for an interval."""
    return row is not None and row.n >= N_MIN


MEDIA = {
    "futex": "switch-futex",
    "pipe": "switch-pipe",
    "eventfd": "switch-eventfd",
    "unix socket": "switch-socket",
    "semaphore": "switch-semaphore",
    "mutex and condition variable": "switch-condvar",
}
BETWEEN_PROCESSES = {"futex": "switch-futex", "pipe": "switch-pipe", "yield": "switch-yield"}
USER_LEVEL = "swapcontext, one thread"
# Bendersky's 1.2 to 2.2 us, a factor of two wider at both ends: another CPU, another decade.
PUBLISHED_NS = (600.0, 4_400.0)


@experiment
class KthreadSwitch(Experiment):
    """A switch between kernel threads by medium, on one core and across two (E6)."""

    name = "kthread-switch"
    title = "Switching between kernel threads"
    family = "Switching"
    claim = Claim(
        "Switching between kernel threads goes through the kernel and costs 1.2 to 2.2 µs; "
        "a switch in user space is much faster.",
        "Lecture notes on user-level threads; figures of Bendersky 2018, eli.thegreenplace.net",
    )
    references: ClassVar = (
        Reference("i7-4771 pinned, low (Bendersky 2018)", 1_200, _NS, "eli.thegreenplace.net/2018", ONE_WAY),
        Reference("i7-4771 pinned, high (Bendersky 2018)", 1_500, _NS, "eli.thegreenplace.net/2018", ONE_WAY),
        Reference("i7-4771 unpinned (Bendersky 2018)", 2_200, _NS, "eli.thegreenplace.net/2018", ONE_WAY),
        Reference("threads on Windows (Arnott 2012)", 2_740, _NS, "devblogs.microsoft.com, Arnott 2012", ONE_WAY),
        Reference("pinned, low (Tsuna 2010, second-hand)", 1_300, _NS, "blog.tsunanet.net/2010", ONE_WAY),
        Reference("unpinned, high (Tsuna 2010, second-hand)", 4_500, _NS, "blog.tsunanet.net/2010", ONE_WAY),
    )
    method = (
        "Two parties take turns by one medium; each sleeps until its turn comes, and half a round trip is one switch "
        "(for sched_yield: the time divided by the context switches counted). "
        "Variants on one core run in every round, in shuffled order, and so do those across cores in a plan of their "
        "own, with the driver pinned unless a variant says otherwise. "
        "The switches of the driver are counted, so that a turn that never switched is not taken for one."
    )
    quick = Budget(seconds=2.5, rounds_max=150)
    full = Budget(seconds=15.0, rounds_max=600)

    def ways(self, bench: Bench) -> list[Way]:
        """Each medium on one core and across two; yields; processes; unpinned; and a switch in user space."""
        keep = {"round trip": None}
        found = [Way(f"{name}, one core", way, metrics=keep) for name, way in MEDIA.items()]
        found.append(
            Way("yield, one core", "switch-yield", metrics=keep, note="samples with fewer than 90 % counted left out")
        )
        if bench.other_cpu is not None:
            found += [
                Way(f"{name}, two cores", way, {"peer_cpu": bench.other_cpu}, ACROSS_BATCH, keep)
                for name, way in MEDIA.items()
            ]
            found += [
                Way(f"{name}, unpinned", MEDIA[name], {"driver_free": 1}, ACROSS_BATCH, keep)
                for name in ("futex", "pipe")
            ]
        found += [
            Way(f"{name} between processes", way, {"process": 1}, metrics=keep, note="both on the driver's core")
            for name, way in BETWEEN_PROCESSES.items()
        ]
        found.append(Way(USER_LEVEL, "switch-context", metrics=keep, note="two stacks, no other thread"))
        return found

    def measure(self, bench: Bench) -> Measured:
        """Two plans, and a sentence where yields did not switch or a core was missing.

        What crosses cores is interleaved with its like only: beside ways that leave the other core alone it would
        find that core in another state of sleep, and no ratio is formed between the two groups.
        """
        ways, found = self.ways(bench), Measured()
        for across, share in ((False, 0.4), (True, 0.6)):
            group = [way for way in ways if (way.batch == ACROSS_BATCH) == across]
            if group:
                self._measure_group(bench, group, share * bench.budget.seconds, found)
        if bench.other_cpu is None:
            found.notes.append("two cores: not measured, this process may use one CPU")
        return found

    @staticmethod
    def _measure_group(bench: Bench, ways: list[Way], seconds: float, found: Measured) -> None:
        outcome = bench.run(ways, seconds=seconds)
        found.rows += outcome.rows()
        found.notes += outcome.notes()
        for way in outcome.ways:
            taken = outcome.samples_of(way.variant)
            lost = int(np.isnan(taken["values"][:, 0]).sum())
            if lost:
                words = f"in {lost} of {len(taken)} samples fewer than 90 % of the yields switched"
                found.notes.append(f"{way.variant}: {words}")

    def judge(self, rows: Rows) -> Verdict:
        """One core within a factor of two of the published range, and user space faster; two cores as condition."""
        futex, user = rows.find("futex, one core", ONE_WAY), rows.find(USER_LEVEL, ONE_WAY)
        if futex is None or user is None or not (measured(futex) and measured(user)):
            return undecided("futex on one core and swapcontext were not both measured", rows.of_metric(ONE_WAY))
        gain = rows.ratio("futex, one core", USER_LEVEL, ONE_WAY)
        across = rows.find("futex, two cores", ONE_WAY)
        if not measured(across):
            across = None
        reason = (
            f"by futex {words(futex)} on one core, {gain.mid:.1f} times ({gain.lo:.1f} to {gain.hi:.1f}) what "
            f"swapcontext takes; {words(across) + ' across two cores' if across else 'across cores not measured'}"
        )
        headline = f"{_ns(futex)} by futex on one core, "
        headline += f"{_ns(across)} across two, {_ns(user)} in user space" if across else f"{_ns(user)} in user space"
        low, high = PUBLISHED_NS
        if gain.lo <= 1 < gain.hi:
            return Verdict(UNDECIDED, f"{reason}: too noisy to tell the two apart", headline=headline)
        if futex.median > high >= futex.min:
            why = f"the floor of {format_quantity(futex.min, _NS)} lies in the published range"
            return Verdict(UNDECIDED, f"{reason}; {why}, the median does not: other work", headline=headline)
        if not (low <= futex.median <= high and gain.lo > 1):
            return Verdict(FAILS, reason, headline=headline)
        if across is None or across.interval.hi <= high:
            return Verdict(HOLDS, reason, headline=headline)
        if across.interval.lo > high:
            where = "both threads run on one core: waking a sleeping core costs more"
            return Verdict(CONDITIONAL, reason, where, headline)
        return Verdict(UNDECIDED, f"{reason}: too noisy to say whether that is within the range", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots with the published figures on the futex row."""
        groups = {}
        for variant in result.rows.variants():
            if variant.endswith(("two cores", "unpinned")):
                groups[variant] = "across two cores, or free to choose"
            else:
                groups[variant] = "on one core"
        return [pictures.ranked_dots(result, ONE_WAY, references=self.references, on="futex, one core", groups=groups)]


PAGES_QUICK = (0, 64, 512)
PAGES_FULL = (0, 16, 64, 256, 512)
# A page and a line: one address translation for each touch, spread over the sets of the caches.
PAGE_STEP = 4096 + 64
MUCH = 1.5
# The A/A ratio may miss 1 by this much; a difference below twice that would be made of noise.
CONTROL_ERROR_MAX = 0.05


def _times(row: Row) -> str:
    return f"{row.median:.2f} ({row.interval.lo:.2f} to {row.interval.hi:.2f})"


def _pages(pages: int) -> str:
    return f"{pages} pages" if pages else "nothing touched"


@experiment
class ThreadVsProcessSwitch(Experiment):
    """The same round trip between threads and between processes (E5)."""

    name = "thread-vs-process-switch"
    title = "Switching threads against switching processes"
    family = "Switching"
    claim = Claim(
        "Switching between threads of a process is much faster than switching between processes.",
        "Lecture notes on threads against processes; the opposite, that it is as slow, is in the same notes",
    )
    method = (
        "Two parties on one core take turns through a futex in shared memory or through two pipes, once as threads and "
        "once as processes; in its turn each writes one word in each of so many pages of its own. "
        "Thread and process run in every round, in shuffled order, and the ratio is formed round by round. "
        "Threads also stand against themselves: that ratio shows the error of the method."
    )
    quick = Budget(seconds=2.5, rounds_max=150)
    full = Budget(seconds=15.0, rounds_max=600)

    def ways(self, bench: Bench) -> list[Way]:
        """Threads, processes and, with nothing touched, threads once more."""
        found = []
        keep = {ONE_WAY: None, COUNTED: None}
        for name in ("futex", "pipe"):
            for pages in PAGES_QUICK if bench.quick else PAGES_FULL:
                params = {"shared": 1, "touch_bytes": pages * PAGE_STEP, "step_bytes": PAGE_STEP}
                who = {"threads": 0, "processes": 1} | ({"threads again": 0} if pages == 0 else {})
                found += [
                    Way(f"{name}, {kind}, {_pages(pages)}", MEDIA[name], params | {"process": process}, metrics=keep)
                    for kind, process in who.items()
                ]
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan and its ratios."""
        outcome = bench.run(self.ways(bench))
        rows = outcome.rows()
        # The ratios are what it is about: they come first.
        return Measured(self.ratios(rows) + rows, notes=outcome.notes())

    @staticmethod
    def ratios(rows: Rows) -> Rows:
        """Process / thread for each medium and number of pages, and thread / thread."""
        found = Rows()
        for row in rows.of_metric("round trip"):
            name, kind, touched = row.variant.split(", ")
            if kind == "threads":
                continue
            label = "process / thread" if kind == "processes" else "thread / thread (A/A)"
            threads = rows.find(f"{name}, threads, {touched}", row.metric)
            found += ratio_row(row, threads, f"{label}, {name}, {touched}")
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Much is 1.5 times: surely everywhere, surely nowhere, or depending on what is touched."""
        ratios = [row for row in rows.of_metric("ratio") if row.n >= N_MIN]
        controls = [row for row in ratios if "(A/A)" in row.variant]
        found = [row for row in ratios if row.variant.startswith("process / thread")]
        if not found or not controls:
            return undecided(
                "threads and processes were not both measured, with threads against themselves", rows.of_metric("ratio")
            )
        error = max(abs(row.median - 1) for row in controls)
        if error > CONTROL_ERROR_MAX:
            return Verdict(
                UNDECIDED,
                f"too noisy: threads against themselves differ by {100 * error:.0f} %",
                headline=f"{100 * error:.0f} % between threads and the same threads again",
            )
        low, high = min(found, key=lambda row: row.median), max(found, key=lambda row: row.median)
        reason = (
            f"a process takes between {_times(low)} and {_times(high)} times as long as a thread; "
            f"A/A error {100 * error:.1f} %"
        )
        headline = f"{low.median:.2f} to {high.median:.2f} times as long between processes as between threads"
        surely = [row for row in found if row.interval.lo >= MUCH]
        if len(surely) == len(found):
            return Verdict(HOLDS, reason, headline=headline)
        if any(row.interval.lo < MUCH <= row.interval.hi for row in found):
            return Verdict(UNDECIDED, f"{reason}: an interval includes the threshold of {MUCH}", headline=headline)
        if surely:
            where = " or ".join(row.variant.removeprefix("process / thread, ") for row in surely[:2])
            return Verdict(CONDITIONAL, reason, f"it is {where}", headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """The ratios, one point a round, against 1."""
        rows = result.rows.of_metric("ratio")
        strip = chart.Strip(
            rows=[chart.Ratios(row.variant, row.samples, row.interval.lo, row.interval.hi, row.median) for row in rows],
            title="Process against thread, the same round trip",
            x_label="process / thread, round by round",
            n=pictures.samples_note(rows),
        )
        return [strip, pictures.ranked_dots(result, "round trip", title="Round trips")]


ALONE, CONTROL, USER, KERNEL = "alone, warm", "two buffers, no switch", "swapcontext", "futex"
SWITCH, REFILL = "switch itself", "refill"
# Some machines share 16 MiB of level 2 cache among cores: a sample would take a quarter of a second.
WORKING_SET_MAX = 4 * MIB


def working_sets(l2: int, quick: bool) -> list[int]:
    """Bytes that each party touches in its turn: nothing, and shares of the level 2 cache up to all of it."""
    shares = (64, 8, 2, 1) if quick else (128, 64, 16, 8, 4, 2, 1)
    most = min(l2, WORKING_SET_MAX)
    return [0, *(most // share for share in shares)]


def _size(size: float) -> str:
    return format_quantity(size, "B")


def _touch_batch(size: int) -> int:
    """Turns of a sample: about 16 MiB touched, but neither a switch or two nor a thousand."""
    return min(100, max(4, 2 * MIB // max(size, 1)))


@experiment
class SwitchWorkingSet(Experiment):
    """Direct cost of a switch against the refill of the cache (E7)."""

    name = "switch-working-set"
    title = "What a switch does to the cache"
    family = "Switching"
    claim = Claim(
        "Switching threads is cheap, since only the registers and the stack pointer must be exchanged.",
        "Lecture notes on threads; the indirect cost is the subject of Li, Ding and Shen, ExpCS 2007",
    )
    method = (
        "Two parties on one core take turns by a futex (and two stacks of one thread by swapcontext); in its turn each "
        "writes a word in every line of a buffer of its own, up to the size of the level 2 cache. "
        "The controls write the same two buffers by turns without any switch, and each of them alone; the four stand "
        "in every sample, in shuffled order. "
        "Turn minus control is the switch itself; control minus alone is the refill: what the other party's data "
        "pushed out, which a switch in user space pays as well."
    )
    quick = Budget(seconds=2.0, rounds_max=150)
    full = Budget(seconds=15.0, rounds_max=600)

    def ways(self, bench: Bench) -> list[Way]:
        """A pair of threads for each working set; in full mode a pair of processes as well."""
        sizes = working_sets(l2_bytes(bench.cpu) or MIB, bench.quick)
        kinds = {"": 0} if bench.quick else {"": 0, ", processes": 1}
        return [
            Way(
                f"{_size(size)} each{suffix}",
                "switch-touch",
                {"touch_bytes": size, "process": process},
                _touch_batch(size),
            )
            for size in sizes
            for suffix, process in kinds.items()
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan, and the two differences for every working set."""
        outcome = bench.run(self.ways(bench))
        rows = outcome.rows()
        l2 = l2_bytes(bench.cpu)
        note = f"the level 2 cache of CPU {bench.cpu} holds {_size(l2)}" if l2 else "cache sizes not known: up to 1 MiB"
        return Measured(rows + self.differences(rows), notes=[*outcome.notes(), note])

    @staticmethod
    def differences(rows: Rows) -> Rows:
        """Switch itself and refill, sample by sample."""
        found = Rows()
        for variant in rows.variants():
            found += difference_row(rows.find(variant, KERNEL), rows.find(variant, CONTROL), variant, SWITCH)
            found += difference_row(rows.find(variant, CONTROL), rows.find(variant, ALONE), variant, REFILL)
        return found

    @staticmethod
    def part(rows: Rows, metric: str) -> list[Row]:
        """The rows of one metric, threads only, in order of the working set."""
        found = [row for row in rows.of_metric(metric) if not row.params.get("process")]
        return sorted(found, key=lambda row: row.params["touch_bytes"])

    def judge(self, rows: Rows) -> Verdict:
        """Compares the largest refill with the switch itself at no working set."""
        switches, refills = self.part(rows, SWITCH), self.part(rows, REFILL)
        if len(switches) < 2 or len(refills) < 2 or switches[0].n < N_MIN or refills[-1].n < N_MIN:
            return undecided(
                "the switch and its control were not both measured with working sets", [*switches, *refills]
            )
        direct, refill = switches[0], max(refills, key=lambda row: row.median)
        size = _size(refill.params["touch_bytes"])
        reason = f"the switch itself takes {words(direct)}, the refill of {size} {words(refill)}"
        headline = f"{_ns(direct)} for the switch itself, {_ns(refill)} to refill {size}"
        if direct.interval.lo <= 0:
            return Verdict(UNDECIDED, f"{reason}: the switch is lost in noise", headline=headline)
        if refill.interval.lo > direct.interval.hi:
            first = next(i for i, row in enumerate(refills) if row.interval.hi > direct.interval.lo)
            largest = _size(refills[first - 1].params["touch_bytes"]) if first > 0 else "nothing"
            return Verdict(CONDITIONAL, reason, f"the working set is small (up to {largest} each here)", headline)
        if refill.interval.hi <= direct.interval.hi:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: the intervals overlap", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Stacked areas of work, refill and switch; and every kind of turn as lines."""
        alone, refills, switches = (self.part(result.rows, metric) for metric in (ALONE, REFILL, SWITCH))
        if not alone or not len(alone) == len(refills) == len(switches):
            return []
        label = "bytes touched in each turn"
        stack = chart.Stack(
            x=[float(row.params["touch_bytes"]) for row in alone],
            parts=[
                chart.Part("the work, warm", [row.median for row in alone]),
                # Where nothing is to be refilled, the difference of two controls is noise around 0.
                chart.Part("refill of the cache", [max(row.median, 0.0) for row in refills]),
                chart.Part("the switch itself", [max(row.median, 0.0) for row in switches]),
            ],
            unit=_NS,
            x_unit="B",
            style="areas",
            title=result.title,
            x_label=label,
            y_label="time per turn",
            n=pictures.samples_note(switches),
        )
        lines = chart.Lines(
            series=[
                pictures.curve(metric, self.part(result.rows, metric)[1:], "touch_bytes")
                for metric in (ALONE, CONTROL, USER, KERNEL)
            ],
            x_unit="B",
            y_unit=_NS,
            x_scale="log",
            y_scale="log",
            title="The same work, with and without a switch",
            x_label=label,
            y_label="time per turn",
            n=pictures.samples_note(alone),
        )
        return [stack, lines]


STAYING, MOVING, MOVE_COST = "staying", "moving", "cost of moving"


@experiment
class PinEffect(Experiment):
    """What a move to another core costs, by working set (E21)."""

    name = "pin-effect"
    title = "Staying on a core against moving"
    family = "Switching"
    claim = Claim(
        "Pinning a thread to a core pays, because its data stay in the core's cache.",
        "Lecture notes on affinity",
    )
    method = (
        "In each turn a thread pins itself, either to the core it is on or to the other one, and then writes a word in "
        "every line of its buffer. "
        "Both run in every round, in shuffled order, for every size of the buffer; that it ran where it was sent is "
        "checked in each turn. "
        "Moving minus staying is the cost of a move: the call, the wake-up of the other core and the cache to fill."
    )
    quick = Budget(seconds=1.5, rounds_max=150)
    full = Budget(seconds=10.0, rounds_max=600)

    def ways(self, bench: Bench) -> list[Way]:
        """Staying and moving, without data and with up to half of the level 2 cache."""
        other = bench.other_cpu
        l2 = l2_bytes(bench.cpu) or MIB
        found = []
        for size in (0, 32 * KIB, l2 // 2) if bench.quick else (0, 32 * KIB, l2 // 8, l2 // 4, l2 // 2, l2):
            kinds = {STAYING: -1} | ({MOVING: other} if other is not None else {})
            found += [
                Way(f"{kind}, {_size(size)}", "move", {"other_cpu": cpu, "touch_bytes": size}, 0 if cpu < 0 else 8)
                for kind, cpu in kinds.items()
            ]
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan and the cost of moving for each working set."""
        outcome = bench.run(self.ways(bench))
        arrived = "turns on the CPU asked for"
        rows, notes = outcome.rows(), outcome.notes()
        notes += [
            f"{row.variant}: only {100 * row.min:.0f} % of the turns ran on the CPU asked for"
            for row in rows.of_metric(arrived)
            if row.min < 1
        ]
        rows = Rows(rows.of_metric(PER_TURN))
        for row in rows.of_metric(PER_TURN):
            kind, size = row.variant.split(", ")
            if kind == MOVING:
                staying = rows.find(f"{STAYING}, {size}", PER_TURN)
                rows += difference_row(row, staying, f"{MOVE_COST}, {size}", "difference")
        if bench.other_cpu is None:
            notes.append("moving: not measured, this process may use one CPU")
        return Measured(rows, notes=notes)

    def judge(self, rows: Rows) -> Verdict:
        """Holds if a move always costs, and costs more with data than without; half as much again would be more."""
        costs = sorted(
            (row for row in rows.of_metric("difference") if row.n >= N_MIN), key=lambda row: row.params["touch_bytes"]
        )
        if len(costs) < 2:
            return Verdict(UNDECIDED, "it takes two CPUs to move from one to the other")
        bare, loaded = costs[0], costs[-1]
        size = _size(loaded.params["touch_bytes"])
        reason = f"a move costs {words(bare)} without data and {words(loaded)} with {size} to fetch again"
        headline = f"{_ns(bare)} to move with nothing, {_ns(loaded)} with {size} to fetch again"
        if bare.interval.hi <= 0:
            return Verdict(FAILS, reason, headline=headline)
        if bare.interval.lo > 0 and loaded.interval.lo > bare.interval.hi:
            return Verdict(HOLDS, reason, headline=headline)
        if bare.interval.lo > 0 and loaded.interval.hi < 1.5 * bare.median:
            return Verdict(CONDITIONAL, f"{reason}: the cache adds little", "the move itself is counted", headline)
        return Verdict(UNDECIDED, f"{reason}: too noisy to tell them apart", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Bars of staying and moving by working set."""
        rows = result.rows.of_metric(PER_TURN)
        sizes = sorted({row.params["touch_bytes"] for row in rows})
        series = []
        for kind in (STAYING, MOVING):
            found = [result.rows.find(f"{kind}, {_size(size)}", PER_TURN) for size in sizes]
            series.append(
                chart.BarSeries(
                    kind,
                    [row.median if row else math.nan for row in found],
                    [row.interval.lo if row else math.nan for row in found],
                    [row.interval.hi if row else math.nan for row in found],
                )
            )
        return [
            chart.Bars(
                groups=[f"{_size(size)} touched" if size else "nothing touched" for size in sizes],
                series=series,
                unit=_NS,
                log=True,
                title=result.title,
                x_label="time per turn",
                n=pictures.samples_note(rows),
            )
        ]


# One plan holds every pair: 22 cores make 231.
CORES_QUICK = 16
CORES_FULL = 22
# nviennot's table has 20 to 145 ns within and between sockets; twice that at both ends.
LINE_NS = (10.0, 300.0)
FAR_NS = 90.0
FAR_FACTOR = 1.6
BURSTS = 8


def pick_cores(cpus: tuple[int, ...], most: int) -> tuple[int, ...]:
    """At most `most` of the CPUs, spread evenly, the first and the last among them."""
    if len(cpus) <= most:
        return cpus
    return tuple(cpus[round(i * (len(cpus) - 1) / (most - 1))] for i in range(most))


def _pair(first: int, second: int) -> str:
    return f"CPU {first} to CPU {second}"


@experiment
class CoreLatency(Experiment):
    """One way of a cache line for each pair of cores (E22)."""

    name = "core-latency"
    title = "From core to core"
    family = "Switching"
    claim = Claim(
        "A value written by one core reaches another in some 20 to 150 ns, depending on where the two are.",
        "Lecture notes on affinity; figures of nviennot/core-to-core-latency",
    )
    references: ClassVar = tuple(
        Reference(f"{cpu} (nviennot)", value, _NS, "github.com/nviennot/core-to-core-latency", ONE_WAY)
        for cpu, value in (
            ("i7-6700K", 20),
            ("EPYC 7R13, near", 23),
            ("M1 Pro, near", 40),
            ("Graviton3", 46),
            ("Platinum 8275CL, one socket", 47),
            ("EPYC 7R13, far", 107),
            ("Platinum 8275CL, two sockets", 134),
        )
    )
    method = (
        "Two spinning threads pinned to the two cores answer each other, each by writing a cache line of its own that "
        "the other reads; half a round trip is one way. "
        "Every pair runs in every round, in shuffled order, each time in a fresh page; a burst of 64 trips in which "
        "either thread lost its core is left out and counted. "
        "Spinning shows the hardware alone: nobody sleeps, and the kernel has no part in it."
    )
    quick = Budget(seconds=1.5, rounds_max=100)
    full = Budget(seconds=10.0, rounds_max=300)

    def ways(self, bench: Bench) -> list[Way]:
        """Every pair of the cores chosen."""
        most = CORES_QUICK if bench.quick else CORES_FULL
        # Each pair keeps a parked thread until the plan ends.
        while most > 2 and math.comb(most, 2) > bench.safety.threads(math.comb(most, 2)):
            most -= 1
        cpus = pick_cores(bench.cpus, most)
        return [
            Way(_pair(first, second), "core-latency", {"cpu": first, "peer_cpu": second}, BURSTS)
            for first, second in combinations(cpus, 2)
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan, and what its figures and the topology say of where the cores are."""
        ways = self.ways(bench)
        if not ways:
            return Measured(notes=["it takes two CPUs; this process may use one"])
        outcome = bench.run(ways)
        rows, notes = outcome.rows(), outcome.notes()
        cpus = {way.params["cpu"] for way in ways} | {way.params["peer_cpu"] for way in ways}
        if len(cpus) < len(bench.cpus):
            notes.append(f"{len(cpus)} of {len(bench.cpus)} CPUs, spread evenly, to keep the number of pairs bounded")
        notes += [
            f"{row.variant}: {100 * row.median:.0f} % of the bursts were interrupted"
            for row in rows.of_metric("bursts interrupted")
            if row.median > 0
        ]
        rows = Rows(rows.of_metric(ONE_WAY))
        return Measured(rows, notes=notes + self.neighbourhood(rows))

    @staticmethod
    def neighbourhood(rows: Rows) -> list[str]:
        """Which pairs look as if they were on another socket or cluster, beside what the topology says."""
        found = rows.of_metric(ONE_WAY)
        if not found:
            return []
        nearest = min(row.median for row in found)
        limit = min(FAR_NS, nearest * FAR_FACTOR) if nearest < FAR_NS else FAR_NS
        far = [row for row in found if row.median > limit]
        if not far:
            return ["all pairs are near one another: one socket or cluster"]
        places = places_of(cpu for row in found for cpu in (row.params["cpu"], row.params["peer_cpu"]))
        shown = [
            f"{row.variant} {format_quantity(row.median, _NS)} "
            f"({places[row.params['cpu']]}; {places[row.params['peer_cpu']]})"
            for row in far[:4]
        ]
        more = f" and {len(far) - 4} more pairs" if len(far) > 4 else ""
        return [
            f"above {format_quantity(limit, _NS)} one way it looks like another socket or cluster: "
            f"{', '.join(shown)}{more}"
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if every pair lies within a factor of two of the published range."""
        found = [row for row in rows.of_metric(ONE_WAY) if row.n >= N_MIN]
        if not found:
            return Verdict(UNDECIDED, "no pair of cores was measured undisturbed; it takes two CPUs")
        near, far = min(found, key=lambda row: row.median), max(found, key=lambda row: row.median)
        reason = f"{near.variant} {words(near)}"
        if far is not near:
            reason += f", {far.variant} {words(far)}: {far.median / near.median:.1f} times, {len(found)} pairs"
        headline = f"{_ns(near)} one way"
        if far is not near:
            headline = f"{_ns(near)} one way between the nearest pair, {_ns(far)} between the farthest"
        low, high = LINE_NS
        if far.median > high >= far.min:
            why = f"the floor of {format_quantity(far.min, _NS)} is within, the median is not: other work"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if near.median >= low and far.median <= high:
            return Verdict(HOLDS, reason, headline=headline)
        if low <= near.median <= high:
            return Verdict(CONDITIONAL, reason, "the two cores are near one another", headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Heat map with the packages as brackets, and the published figures beside the nearest and farthest pair."""
        rows = result.rows.of_metric(ONE_WAY)
        if not rows:
            return []
        cpus = sorted({cpu for row in rows for cpu in (row.params["cpu"], row.params["peer_cpu"])})
        table = np.full((len(cpus), len(cpus)), math.nan)
        for row in rows:
            first, second = cpus.index(row.params["cpu"]), cpus.index(row.params["peer_cpu"])
            table[first, second] = table[second, first] = row.median
        brackets = _package_brackets(cpus)
        names = [f"CPU {cpu}" for cpu in cpus]
        heat = chart.Heatmap(
            rows=names,
            columns=names,
            values=table,
            unit=_NS,
            row_brackets=brackets,
            column_brackets=brackets,
            title="One way of a cache line",
            n=pictures.samples_note(rows),
        )
        nearest = min(rows, key=lambda row: row.median).variant
        farthest = max(rows, key=lambda row: row.median).variant
        dots = pictures.ranked_dots(
            result,
            ONE_WAY,
            title="Beside published figures",
            references=self.references,
            on=farthest,
            only=[nearest, farthest],
        )
        return [heat, dots]


def _package_brackets(cpus: list[int]) -> list[chart.Bracket]:
    """A bracket for each run of neighbouring CPUs of one package; none where packages are not known."""
    packages = [place.package for place in places_of(cpus).values()]
    if None in packages:
        return []
    starts = [i for i in range(len(cpus)) if i == 0 or packages[i] != packages[i - 1]]
    ends = [start - 1 for start in starts[1:]] + [len(cpus) - 1]
    return [chart.Bracket(start, end, f"package {packages[start]}") for start, end in zip(starts, ends, strict=True)]
