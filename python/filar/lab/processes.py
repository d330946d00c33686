"""Processes beside threads: creation, what is shared, and what a crash takes with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from filar import chart
from filar._machine import bytes_field, read_text
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
    Table,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.result import Result
from filar.lab.stats import N_MIN

MIB = 1024 * 1024
CALLS = {"fork": 0, "vfork": 1, "clone(VM|VFORK)": 4, "posix_spawn": 2, "posix_spawn of /bin/true": 5, "thread": 3}
EXTRA_QUICK = (0, 32 * MIB, 128 * MIB)
EXTRA_FULL = (0, 16 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB)
# A process that surely costs less than this many threads is as light as one; up to there it is noise.
_EQUAL = 1.1


@experiment
class ProcessCreate(Experiment):
    """Creating a process against creating a thread, by resident memory (E4)."""

    name = "process-create"
    title = "Creating a process instead of a thread"
    family = "Threads and processes"
    claim = Claim(
        "Threads are lighter to create than processes.", "Lecture notes on threads against processes; kernel docs"
    )
    method = (
        "One operation creates a process that ends at once and reaps it (fork, vfork, clone on a stack of its own, "
        "posix_spawn of a program of 200 bytes and of /bin/true), or creates and joins a thread. "
        "In each round each call runs with no extra memory and with more resident memory in 4 KiB pages, which is "
        "what fork must copy the page tables of. "
        "Ratios to the thread are formed round by round."
    )
    quick = Budget(seconds=3.0, rounds_max=30, rounds_min=6)
    full = Budget(seconds=25.0, rounds_max=100, rounds_min=8)

    def ways(self, bench: Bench) -> list[Way]:
        """Each call with each amount of extra memory that the safety budget allows."""
        found = []
        for extra in EXTRA_QUICK if bench.quick else EXTRA_FULL:
            if extra > bench.safety.memory(extra):
                continue
            words = f"+ {format_quantity(extra, 'B')}" if extra else "as it is"
            for call, code in CALLS.items():
                # vfork and thread do not depend on memory; two sizes show that.
                if call != "fork" and 0 < extra != EXTRA_QUICK[-1]:
                    continue
                # Touching the memory comes before each sample: a fixed batch needs no calibration.
                batch = 1 if call == "fork" or call.startswith("posix_spawn") else 8
                found.append(Way(f"{call}, {words}", "process-create", {"call": code, "extra_bytes": extra}, batch))
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan, with the process's own memory as a note: fork depends on it."""
        measured = super().measure(bench)
        own = format_quantity(bytes_field(read_text("/proc/self/status"), "VmRSS") or 0, "B")
        measured.notes.append(f"This process itself has {own} resident (Python and NumPy); fork pays for that too.")
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Holds if fork and posix_spawn cost at least twice a thread; says what vfork does."""
        ratios = {
            call: rows.ratio(f"{call}, as it is", "thread, as it is", "create+join")
            for call in CALLS
            if call != "thread"
        }
        if ratios["fork"].n < N_MIN:
            return undecided("fork and thread were not both measured", rows.of_metric("create+join"))
        known = {call: ratio for call, ratio in ratios.items() if ratio.n >= N_MIN}
        parts = [
            f"{call} {known[call].mid:.1f} times ({known[call].lo:.1f} to {known[call].hi:.1f})"
            for call in ("fork", "vfork", "posix_spawn")
            if call in known
        ]
        reason = f"against a thread at {format_quantity(rows.median('thread, as it is'), 'ns')}: {', '.join(parts)}"
        largest = [row for row in rows if row.variant.startswith("fork, +")]
        if largest:
            reason += f"; {largest[-1].variant} takes {format_quantity(largest[-1].median, 'ns')}"
        told = [f"{call} {known[call].mid:.3g} times" for call in ("fork", "vfork", "posix_spawn") if call in known]
        headline = f"{', '.join(told)} the cost of a thread"
        if all(ratio.lo > 1 for ratio in known.values()):
            return Verdict(HOLDS, reason, headline=headline)
        if ratios["fork"].hi < 1:
            return Verdict(FAILS, reason, headline=headline)
        equal = [call for call, ratio in known.items() if ratio.lo <= 1]
        if "fork" in equal or any(known[call].hi > _EQUAL for call in equal):
            return Verdict(UNDECIDED, f"{reason}: too noisy to tell which is dearer", headline=headline)
        return Verdict(CONDITIONAL, reason, "the process is made by fork, which copies page tables", headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots without extra memory; lines over it."""
        small = [row.variant for row in result.rows if row.variant.endswith("as it is")]
        lines = {call: [r.variant for r in result.rows if r.variant.startswith(f"{call},")] for call in CALLS}
        drawn = pictures.curves(result, "create+join", "extra_bytes", lines, x_scale="linear", x_unit="B")
        over_memory = chart.Lines(
            series=drawn.series,
            x_unit="B",
            y_unit="ns",
            x_scale="linear",
            y_scale="log",
            title="By extra resident memory",
            x_label="extra resident memory, 4 KiB pages",
            y_label="create and reap",
            n=drawn.n,
        )
        dots = pictures.ranked_dots(result, "create+join", only=small)
        return [dots, over_memory]


@experiment
class ProcessIsolation(Experiment):
    """One of eight crashes: who lives on (E32)."""

    name = "process-isolation"
    title = "What a crash takes with it"
    family = "Threads and processes"
    claim = Claim(
        "If one thread crashes, all threads of the process die; a process that crashes leaves the others alone.",
        "Lecture notes on isolation",
    )
    method = (
        "A child process with eight threads has one of them killed by a segmentation fault; beside it, one of eight "
        "child processes is. "
        "Survivors among the other seven are counted. "
        "Nothing is timed; children are reaped after each round."
    )
    quick = Budget(seconds=1.5, rounds_max=20)
    full = Budget(seconds=10.0, rounds_max=140)

    def ways(self, bench: Bench) -> list[Way]:
        """Threads and processes."""
        return [
            Way("one of eight threads crashes", "isolation", {"processes": 0}),
            Way("one of eight processes crashes", "isolation", {"processes": 1}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if no thread and every process ever survived."""
        threads = rows.find("one of eight threads crashes", "survivors")
        processes = rows.find("one of eight processes crashes", "survivors")
        if threads is None or processes is None:
            return Verdict(UNDECIDED, "crashes of threads and of processes were not both tried")
        reason = (
            f"threads: {threads.samples.sum():.0f} of {7 * threads.n} others lived; "
            f"processes: {processes.samples.sum():.0f} of {7 * processes.n}"
        )
        headline = (
            f"{threads.samples.sum():.0f} of {7 * threads.n} threads lived through it, "
            f"{processes.samples.sum():.0f} of {7 * processes.n} processes"
        )
        return Verdict(HOLDS if threads.max == 0 and processes.min == 7 else FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Share of the others that lived."""
        rows = result.rows.of_metric("survivors")
        return [
            chart.Bars(
                groups=[row.variant for row in rows],
                series=[chart.BarSeries("survivors of seven", [float(np.mean(row.samples)) for row in rows])],
                title=result.title,
                x_label="survivors among the seven others",
                n=pictures.samples_note(rows),
            )
        ]


WHO = ("driver", "thread 1", "thread 2", "child process")
WHAT = ("stack", "heap", "static", "process id", "thread id", "driver sees write")


@experiment
class AddressMap(Experiment):
    """What threads share and what they own (E25)."""

    name = "address-map"
    title = "Own stack, shared heap"
    family = "Threads and processes"
    claim = Claim(
        "Threads share memory and have a stack of their own; a process has everything of its own.",
        "Lecture notes on what a thread is",
    )
    method = (
        "Two threads, alive together, and a forked child report the address of a local, a heap and a static "
        "variable, their process id and thread id, and write to the heap variable. "
        "The driver then looks whether it sees the write. "
        "After fork the child's addresses are the parent's, but the memory behind them is a copy."
    )
    quick = Budget(seconds=0.5, rounds_max=10)
    full = Budget(seconds=1.0, rounds_max=30)

    def measure(self, bench: Bench) -> Measured:
        """The counts as rows, the addresses of the last round as a table."""
        outcome = bench.run([Way("everyone looks around", "address-map")])
        points = outcome.points_of("everyone looks around")
        table: tuple[tuple[str, ...], ...] = ()
        if len(points):
            points = points[points["round"] == points["round"].max()]
            facts = {(int(p["subject"]), int(p["kind"])): int(p["x"]) for p in points}
            table = tuple(
                (what, *(_fact(facts, who, kind) for who in range(len(WHO)))) for kind, what in enumerate(WHAT)
            )
        return Measured(outcome.rows(), tables=[Table(self.title, ("", *WHO), table)], notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Holds if threads' writes are always seen and the child's never."""
        thread = rows.find("everyone looks around", "thread's write seen")
        child = rows.find("everyone looks around", "child's write seen")
        if thread is None or child is None:
            return Verdict(UNDECIDED, "threads and child could not both be asked")
        reason = f"the driver saw {thread.samples.sum():.0f} of {thread.n} writes by a thread and "
        reason += f"{child.samples.sum():.0f} of {child.n} by a child process"
        headline = f"{thread.samples.sum():.0f} of {thread.n} writes by a thread seen, "
        headline += f"{child.samples.sum():.0f} of {child.n} by a child process"
        return Verdict(HOLDS if thread.min == 1 and child.max == 0 else FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """None: the table is the picture."""
        return []


def _fact(facts: dict[tuple[int, int], int], who: int, kind: int) -> str:
    value = facts.get((who, kind))
    if value is None:
        return ""
    return hex(value) if kind < 3 else ("yes" if value else "no") if kind == 5 else str(value)
