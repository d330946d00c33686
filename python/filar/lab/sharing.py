"""Handing data to another party: by pointer, through shared memory, through a pipe or a socket."""

from __future__ import annotations

from typing import Any

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
    Rows,
    Verdict,
    Way,
    experiment,
)
from filar.lab.bench import Bench
from filar.lab.places import KIB, MIB
from filar.lab.result import Result
from filar.lab.stats import N_MIN

__all__ = ["SharingCost"]

METRIC = "round trip"
POINTER, SHARED = "pointer between threads", "shared memory between processes"
PIPE, SOCKET = "pipe between processes", "unix socket between processes"
ALONE = "written and read alone"
KINDS = {
    POINTER: ("data-pointer", 0),
    SHARED: ("data-pointer", 1),
    PIPE: ("data-pipe", 1),
    SOCKET: ("data-socket", 1),
}
SIZES_QUICK = (64, 4 * KIB, 64 * KIB, MIB)
SIZES_FULL = (64, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB)
# Copying counts as dearer, and shared memory as different, from here on.
DIFFERENT = 1.1


@experiment
class SharingCost(Experiment):
    """A block of data, handed to a thread or to a process (E26)."""

    name = "sharing-cost"
    title = "Sharing data"
    family = "Threads and processes"
    claim = Claim(
        "Threads share data without copying; processes need interprocess communication, which costs more.",
        "Lecture notes on threads against processes",
    )
    method = (
        "The driver writes a block of 64 bytes to 1 MiB, hands it over, and the other party reads all of it and "
        "answers with its sum, which is checked. "
        "By pointer and in shared memory only the turn is handed over, by a futex; pipe and unix socket copy the block "
        "in and out of the kernel. "
        "All variants run in every round, in shuffled order, on one core and across two; writing and reading the block "
        "alone is the control."
    )
    quick = Budget(seconds=2.5, rounds_max=100)
    full = Budget(seconds=20.0, rounds_max=400)

    def ways(self, bench: Bench) -> list[Way]:
        """Every kind and size on one core and, where there are two, across them."""
        places = {"one core": -1} | ({"two cores": bench.other_cpu} if bench.other_cpu is not None else {})
        found = []
        for size in SIZES_QUICK if bench.quick else SIZES_FULL:
            found.append(Way(f"{ALONE}, {_size(size)}", "data-alone", {"bytes": size}))
            for place, cpu in places.items():
                # Across cores the other one may sleep: some wake-ups together, but not 100 blocks of 1 MiB.
                batch = 0 if cpu < 0 else 8 if size <= 64 * KIB else 2
                found += [
                    Way(
                        f"{kind}, {place}, {_size(size)}",
                        way,
                        {"peer_cpu": cpu, "process": process, "bytes": size},
                        batch,
                    )
                    for kind, (way, process) in KINDS.items()
                ]
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan; a note where there was one CPU only."""
        measured = super().measure(bench)
        if bench.other_cpu is None:
            measured.notes.append("two cores: not measured, this process may use one CPU")
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """At the largest size: do pipe and socket cost more than a pointer, and does shared memory?"""
        place = "two cores" if any(f"{POINTER}, two cores" in row.variant for row in rows) else "one core"
        sizes = [row.params["bytes"] for row in rows if row.variant.startswith(f"{POINTER}, {place}")]
        if not sizes:
            return Verdict(UNDECIDED, "handing over a pointer was not measured")
        size = _size(max(sizes))
        pointer = f"{POINTER}, {place}, {size}"
        ratios = {kind: rows.ratio(f"{kind}, {place}, {size}", pointer, METRIC) for kind in (SHARED, PIPE, SOCKET)}
        if any(ratio.n < N_MIN for ratio in ratios.values()):
            return Verdict(UNDECIDED, "not every way of handing data over was measured")
        parts = [
            f"{kind.removesuffix(' between processes')} {ratio.mid:.2f} ({ratio.lo:.2f} to {ratio.hi:.2f})"
            for kind, ratio in ratios.items()
        ]
        here = format_quantity(rows.median(pointer, METRIC), "ns")
        reason = f"{size} by pointer takes {here} ({place}); times that: {', '.join(parts)}"
        headline = f"{ratios[PIPE].mid:.3g} times a pointer by pipe, {ratios[SOCKET].mid:.3g} by socket, "
        headline += f"{ratios[SHARED].mid:.3g} in shared memory ({size})"
        copies = (ratios[PIPE], ratios[SOCKET])
        if any(ratio.hi <= DIFFERENT for ratio in copies):
            return Verdict(FAILS, reason, headline=headline)
        if any(ratio.lo <= DIFFERENT for ratio in copies):
            return Verdict(UNDECIDED, f"{reason}: too noisy to say that copies cost more", headline=headline)
        if ratios[SHARED].lo > DIFFERENT:
            return Verdict(HOLDS, reason, headline=headline)
        if ratios[SHARED].hi > DIFFERENT:
            return Verdict(UNDECIDED, f"{reason}: too noisy to tell shared memory from a pointer", headline=headline)
        where = "the processes send copies; with shared memory they are equal to threads"
        return Verdict(CONDITIONAL, reason, where, headline)

    def charts(self, result: Result) -> list[Any]:
        """Lines over the size, one chart across two cores (if measured) and one on one core."""
        drawn = []
        for place in ("two cores", "one core"):
            lines = {kind: [v for v in result.rows.variants() if v.startswith(f"{kind}, {place}, ")] for kind in KINDS}
            if not any(lines.values()):
                continue
            lines[ALONE] = [v for v in result.rows.variants() if v.startswith(f"{ALONE}, ")]
            drawn.append(
                pictures.curves(
                    result,
                    METRIC,
                    "bytes",
                    lines,
                    title=f"Handing a block over, {place}",
                    x_label="bytes handed over",
                    x_unit="B",
                )
            )
        return drawn


def _size(size: int) -> str:
    return format_quantity(size, "B")
