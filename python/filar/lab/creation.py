"""What it costs to create a kernel thread, and what changes it."""

from __future__ import annotations

from typing import Any, ClassVar

from filar.lab.base import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    UNDECIDED,
    Claim,
    Experiment,
    Reference,
    Rows,
    Verdict,
    Way,
    experiment,
)
from filar.lab.bench import Bench
from filar.lab.result import Result

STACK_BYTES = 64 * 1024


@experiment
class KthreadCreate(Experiment):
    """Creation and join by variant."""

    name = "kthread-create"
    title = "Creating a kernel thread"
    family = "Creation"
    claim = Claim(
        "Creating a thread costs about 9,000 ns on a Skylake server and 20,000 ns on an Ampere server.",
        "Lemire 2020, as miscopied in lecture notes: his table has 20,000 ns for AMD Rome and 200,000 ns for Ampere",
    )
    references: ClassVar = (
        Reference("Skylake (Lemire 2020)", 9_000, "ns", "lemire.me/blog/2020/01/30", "create+join"),
        Reference("AMD Rome (Lemire 2020)", 20_000, "ns", "lemire.me/blog/2020/01/30", "create+join"),
        Reference("Ampere (Lemire 2020)", 200_000, "ns", "lemire.me/blog/2020/01/30", "create+join"),
    )
    method = (
        "One operation is pthread_create, the first instruction of the child and pthread_join, one after the other. "
        "All variants run in every round, in shuffled order, on a driver thread that is pinned except where a variant "
        "says otherwise. Ratios to the default are formed round by round."
    )

    def ways(self, bench: Bench) -> list[Way]:
        """Default, on one core, small stack, own reused stack, and pinned to the other core."""
        found = [
            Way("default", "kthread-create", {"driver_free": 1}),
            Way("one core", "kthread-create"),
            Way("one core, 64 KiB stack", "kthread-create", {"stack_bytes": STACK_BYTES}),
            Way("one core, own reused stack", "kthread-create", {"stack_bytes": STACK_BYTES, "own_stack": 1}),
        ]
        if bench.other_cpu is not None:
            found.append(Way("child on the other core", "kthread-create", {"child_cpu": bench.other_cpu}))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the typical cost is within the published range of the servers named, 9 to 20 us."""
        row = rows.find("default", "create+join")
        if row is None or row.n < 6:
            return Verdict(UNDECIDED, "the default variant was not measured")
        mid, lo, hi = (value / 1000 for value in (row.median, row.interval.lo, row.interval.hi))
        here = f"{mid:.1f} µs here ({lo:.1f} to {hi:.1f}, floor {row.min / 1000:.1f})"
        if row.min >= 4_500 and row.median <= 40_000:
            return Verdict(HOLDS, f"{here}: within a factor of two of 9 to 20 µs")
        if row.min <= 40_000:
            return Verdict(CONDITIONAL, here, "the machine is quiet and the child stays on the creator's core")
        return Verdict(FAILS, here)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots."""
        return []
