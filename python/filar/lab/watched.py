"""What it costs to watch: switch, spawn and park with a trace being taken and without."""

from __future__ import annotations

from typing import Any, ClassVar

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
    Reference,
    Rows,
    Verdict,
    Way,
    experiment,
)
from filar.lab.bench import Bench
from filar.lab.greens import enough, words
from filar.lab.result import Result

PER_OPERATION = "per operation"
RECORDS = "records"
RECORD = "one record"
SWITCH, SPAWN, PARK = "switch", "spawn and join", "park and wake"

# Nanoseconds: the claim's two figures.
UNWATCHED_MAX, RECORD_MAX = 1.0, 100.0

_WAYS = {
    RECORD: ("trace-record", "each"),
    SWITCH: ("trace-yield", "one way"),
    SPAWN: ("trace-spawn", "create+join"),
    PARK: ("trace-park", "one way"),
}


def variant(what: str, traced: bool) -> str:
    """Public name of one variant."""
    return f"{what}, {'traced' if traced else 'not traced'}"


@experiment
class TraceCost(Experiment):
    """Cost of tracing, on and off."""

    name = "trace-cost"
    title = "What watching costs"
    family = "Green threads"
    claim = Claim(
        "Watching a scheduler costs less than a nanosecond a place while nobody looks, and less than 100 ns a record "
        "while somebody does.",
        "filar's own promise (docs/watching.md)",
    )
    references: ClassVar[tuple[Reference, ...]] = ()
    method = (
        "The same green threads yield, are spawned and joined, and wake each other on one worker, with a trace being "
        "taken during the sample and without; beside them stands one place where a record can be written, in a loop. "
        "All variants run in every round in shuffled order. "
        "Records are counted per operation, so the difference can be told per record."
    )
    quick = Budget(seconds=1.2, rounds_max=60)
    full = Budget(seconds=8.0, rounds_max=300)

    def ways(self, bench: Bench) -> list[Way]:
        """Each operation twice."""
        unwanted: dict[str, str | None] = {"yields": None, "steals": None, "stolen": None, "sleeps": None}
        return [
            Way(variant(what, traced), way, {"traced": int(traced)}, metrics={metric: PER_OPERATION, **unwanted})
            for what, (way, metric) in _WAYS.items()
            for traced in (False, True)
        ]

    def judge(self, rows: Rows) -> Verdict:
        """By the two figures for one place; the reason tells what that makes of the operations."""
        off, on = (rows.find(variant(RECORD, traced), PER_OPERATION) for traced in (False, True))
        if off is None or on is None or not enough(off, on):
            return Verdict(UNDECIDED, "a place with a trace and one without were not both measured")
        reason = f"a place where nobody looks takes {words(off)}, a record {words(on)}{_operations(rows)}"
        headline = f"{format_quantity(on.median, 'ns')} a record, {format_quantity(off.median, 'ns')} when off"
        cheap = [off.interval.hi <= UNWATCHED_MAX, on.interval.hi <= RECORD_MAX]
        dear = [off.interval.lo > UNWATCHED_MAX, on.interval.lo > RECORD_MAX]
        if all(cheap):
            return Verdict(HOLDS, reason, headline=headline)
        if all(dear):
            return Verdict(FAILS, reason, headline=headline)
        if cheap[0] and dear[1]:
            return Verdict(CONDITIONAL, reason, "while nobody looks", headline)
        if cheap[1] and dear[0]:
            return Verdict(CONDITIONAL, reason, "while somebody looks", headline)
        return Verdict(UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots, each operation with and without."""
        groups = {variant(what, traced): what for what in _WAYS for traced in (False, True)}
        return [pictures.ranked_dots(result, PER_OPERATION, groups=groups)]


def _operations(rows: Rows) -> str:
    """'; a switch 8 ns, traced 90 ns with 2 records'."""
    parts = []
    for what in (SWITCH, SPAWN, PARK):
        off, on = (rows.find(variant(what, traced), PER_OPERATION) for traced in (False, True))
        count = rows.find(variant(what, True), RECORDS)
        if off is not None and on is not None and count is not None and enough(off, on, count):
            times = [format_quantity(row.median, "ns") for row in (off, on)]
            parts.append(f"{what} {times[0]}, traced {times[1]} with {count.median:.3g} records")
    return f"; {'; '.join(parts)}" if parts else ""
