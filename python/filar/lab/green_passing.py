"""Handing items from thread to thread through memory, and who decides in which order threads run."""

from __future__ import annotations

from typing import Any

from filar import chart
from filar.lab import pictures
from filar.lab.base import (
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
from filar.lab.greens import FAMILY, NOTES, ONE_WAY, enough, times, words
from filar.lab.pythons import ns
from filar.lab.result import Result

# The last part of a variant's name says between whom.
GREEN, GREEN_APART = "green threads, one worker", "green threads, two cores"
KERNEL, KERNEL_APART = "kernel threads, one core", "kernel threads, two cores"
PIPE, PIPE_APART = "pipe between processes, one core", "pipe between processes, two cores"
MEANS = {"channel": 0, "rendezvous": 1, "condition": 2}


def passing(means: str, between: str) -> str:
    """Public name: "channel, green threads, one worker"."""
    return f"{means}, {between}"


@experiment
class GreenChannel(Experiment):
    """An item handed over by a channel or under a lock, and by a pipe between processes."""

    name = "green-channel"
    title = "Handing an item to another thread"
    family = FAMILY
    claim = Claim(
        "Threads communicate through the memory they share, which is faster than communication between processes.",
        NOTES,
    )
    method = (
        "An item is handed to another thread, which sends it back one higher, and so on: by a channel with one place, "
        "by one without (both have to meet), and in a variable under a mutex with a condition variable. "
        "The same code runs on green threads of one worker, or of one worker on each of two cores, and on kernel "
        "threads; beside them a byte through a pipe between two processes. "
        "The time is one hand-over, half of a round trip."
    )
    quick = Budget(seconds=1.8, rounds_max=60)
    full = Budget(seconds=12.0, rounds_max=200)

    def ways(self, bench: Bench) -> list[Way]:
        """By means, kind of thread and place."""
        pipe = {"round trip": None, "switches per turn": None}
        there = bench.other_cpu
        found = []
        for means, by in MEANS.items():
            found.append(Way(passing(means, GREEN), "pass", {"by": by}))
            found.append(Way(passing(means, KERNEL), "pass", {"by": by, "kernel": 1}))
            if there is not None:
                found.append(Way(passing(means, GREEN_APART), "pass", {"by": by, "peer_cpu": there}))
                params = {"by": by, "kernel": 1, "peer_cpu": there}
                found.append(Way(passing(means, KERNEL_APART), "pass", params))
        found.append(Way(PIPE, "switch-pipe", {"process": 1}, metrics=pipe))
        if there is not None:
            found.append(Way(PIPE_APART, "switch-pipe", {"process": 1, "peer_cpu": there}, metrics=pipe))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the slowest means between green threads of a worker is surely faster than a pipe on one core."""
        green = [row for row in rows.of_metric(ONE_WAY) if row.variant.endswith(GREEN) and enough(row)]
        pipe = rows.find(PIPE, ONE_WAY)
        if len(green) < len(MEANS) or pipe is None or not enough(pipe):
            return undecided("green threads and processes were not both measured", rows.of_metric(ONE_WAY))
        slow, fast = max(green, key=lambda row: row.median), min(green, key=lambda row: row.median)
        gain = rows.ratio(PIPE, slow.variant, ONE_WAY)
        reason = f"{fast.variant}: {words(fast)}; {slow.variant}: {words(slow)}; {PIPE}: {words(pipe)}, {times(gain)}"
        for between in (KERNEL, KERNEL_APART, GREEN_APART):
            row = rows.find(passing("channel", between), ONE_WAY)
            if row is not None:
                reason += f"; {row.variant}: {words(row)}"
        headline = f"{ns(fast.median)} to {ns(slow.median)} between green threads, {ns(pipe.median)} by pipe"
        if gain.lo > 1:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(FAILS if gain.hi < 1 else UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots, by who hands over."""
        groups = {
            name: "processes" if name.startswith("pipe") else name.partition(", ")[2] for name in result.rows.variants()
        }
        return [pictures.ranked_dots(result, ONE_WAY, groups=groups)]


# ---- order ----

BY_PROGRAM = "green threads, their program decides"
BY_NICE = "kernel threads, the kernel decides by nice level"
ONE_BY_ONE = "kernel threads, their program lets one go at a time"
OUT_OF_ORDER, PER_THREAD = "out of order", "per thread"


@experiment
class GreenControl(Experiment):
    """Threads with priorities, all ready at once: in which order do they run? (E41)"""

    name = "green-control"
    title = "Who decides which thread runs next?"
    family = FAMILY
    claim = Claim("Threads of the user level give the program control over scheduling.", NOTES)
    method = (
        "In each round 32 threads on one core are to run in an order drawn by chance, each for about 20 µs. "
        "Green threads and, once more, kernel threads are all parked, and their program lets the next one go when one "
        "has ended; kernel threads are also given nice levels from 0 to 19 in that order, and all let go at once. "
        "Out of order is the share of pairs that ended the other way round: 0 if the order was kept, 50 % by chance. "
        "The time is that of all threads, divided by their number."
    )
    quick = Budget(seconds=1.0, rounds_max=60, rounds_min=8)
    full = Budget(seconds=6.0, rounds_max=200, rounds_min=8)

    def ways(self, bench: Bench) -> list[Way]:
        """Who decides, of which kind of threads."""
        params = {"threads": bench.safety.threads(32)}
        return [
            Way(BY_PROGRAM, "order-kept", {**params, "who": 0}),
            Way(BY_NICE, "order-kept", {**params, "who": 1}),
            Way(ONE_BY_ONE, "order-kept", {**params, "who": 2}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the program's order was always kept and the kernel's, by nice level, surely was not."""
        green, nice = rows.find(BY_PROGRAM, OUT_OF_ORDER), rows.find(BY_NICE, OUT_OF_ORDER)
        if green is None or nice is None or not enough(green, nice):
            return undecided("green threads and kernel threads were not both measured", rows.of_metric(OUT_OF_ORDER))
        reason = f"out of order: {words(green)} of the pairs of green threads, {words(nice)} by nice level"
        price = rows.ratio(ONE_BY_ONE, BY_PROGRAM, PER_THREAD)
        kernel = rows.find(ONE_BY_ONE, OUT_OF_ORDER)
        if kernel is not None and price.n:
            reason += (
                f"; kernel threads that their program lets go one by one: {words(kernel)}, "
                f"in {times(price)} the time of green threads"
            )
        headline = f"{green.max:.0f} % out of order, {nice.median:.0f} % where the kernel decides"
        if green.max > 0:
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(HOLDS if nice.interval.lo > 0 else UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """The order, and what it costs."""
        rows = result.rows.of_metric(OUT_OF_ORDER)
        order = chart.Bars(
            groups=[row.variant for row in rows],
            series=[
                chart.BarSeries(
                    OUT_OF_ORDER,
                    [row.median for row in rows],
                    [row.interval.lo for row in rows],
                    [row.interval.hi for row in rows],
                )
            ],
            unit="%",
            title=self.title,
            x_label="pairs that ran the other way round than asked; 50 % is chance",
            n=pictures.samples_note(rows),
        )
        return [order, pictures.ranked_dots(result, PER_THREAD, title="What letting them go costs")]
