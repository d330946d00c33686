"""Memory of sleeping threads and processes, and what stops more of them."""

from __future__ import annotations

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
    Table,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.result import Result
from filar.lab.stats import N_MIN
from filar.limits import why_not

KIB, MIB = 1024, 1024 * 1024
PARTS = ("resident", "kernel stack", "slab", "page tables")


def _bytes(value: float) -> str:
    return format_quantity(value, "B")


def memory_stack(result: Result, title: str) -> chart.Stack:
    """What a sleeper occupies, part by part, for each variant; parts the machine's noise made negative count as 0."""
    variants = result.rows.variants()
    parts = [
        chart.Part(part, [max(result.rows.median(variant, part), 0.0) for variant in variants])
        for part in PARTS
        if any(result.rows.find(variant, part) for variant in variants)
    ]
    return chart.Stack(
        x=variants,
        parts=parts,
        unit="B",
        style="bars",
        title=title,
        y_label="memory of one",
        n=pictures.samples_note(result.rows),
    )


@experiment
class KthreadMemory(Experiment):
    """Memory per kernel thread, virtual against resident (E16)."""

    name = "kthread-memory"
    title = "Memory of a sleeping kernel thread"
    family = "Memory and limits"
    claim = Claim("A thread takes 1 to 8 MB of memory for its stack.", "Lecture notes on what a thread is")
    references: ClassVar = (
        Reference("at least, as memory", MIB, "B", "lecture notes", "resident"),
        Reference("at most, as address space", 8 * MIB, "B", "lecture notes; the usual `ulimit -s`", "virtual"),
    )
    method = (
        "In every round, for each kind of stack, a herd of threads is created and sleeps; /proc/self/status and "
        "/proc/meminfo are read before and after, and the growth is divided by their number. "
        "Resident and virtual belong to the process; kernel stack, slab and page tables are what the kernel keeps. "
        "The kernel's figures are the whole machine's, so others' work adds noise."
    )
    quick = Budget(seconds=1.5, rounds_max=8, rounds_min=6)
    full = Budget(seconds=15.0, rounds_max=20, rounds_min=8)

    def ways(self, bench: Bench) -> list[Way]:
        """Default and small stacks, as many as the safety budget allows."""
        count = bench.safety.threads(500 if bench.quick else 5_000)
        return [
            Way("default stack", "kthread-memory", {"count": count}),
            Way("64 KiB stack", "kthread-memory", {"count": count, "stack_bytes": 64 * KIB}),
            Way("1 MiB stack", "kthread-memory", {"count": count, "stack_bytes": MIB}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """The claim is about memory: it holds if resident and kernel memory together reach 1 MB."""
        virtual, resident = rows.find("default stack", "virtual"), rows.find("default stack", "resident")
        if virtual is None or resident is None or resident.n < N_MIN:
            return undecided("the memory of threads with default stacks was not measured", rows.of_metric("resident"))
        kernel = sum(
            max(rows.median("default stack", part), 0) for part in PARTS[1:] if rows.find("default stack", part)
        )
        real = resident.median + kernel
        reason = (
            f"a thread that sleeps takes {_bytes(virtual.median)} of address space, but {_bytes(resident.median)} "
            f"resident and about {_bytes(kernel)} in the kernel"
        )
        headline = f"{_bytes(virtual.median)} of address space, {_bytes(real)} of memory"
        if real >= 1e6:
            return Verdict(HOLDS, reason, headline=headline)
        if virtual.median >= 1e6:
            return Verdict(CONDITIONAL, reason, "address space is meant, not memory", headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Parts of the real memory; virtual against resident."""
        variants = result.rows.variants()
        both = chart.Bars(
            groups=variants,
            series=[
                chart.BarSeries(part, [result.rows.median(variant, part) for variant in variants])
                for part in ("virtual", "resident")
            ],
            unit="B",
            log=True,
            title="Address space against memory",
            x_label="per thread",
            n=pictures.samples_note(result.rows),
        )
        return [memory_stack(result, result.title), both]


@experiment
class ProcessMemory(Experiment):
    """Kernel memory per forked process beside that of a thread (E16)."""

    name = "process-memory"
    title = "Memory of a sleeping process"
    family = "Memory and limits"
    claim = Claim("A process needs more memory than a thread.", "Lecture notes on threads against processes")
    method = (
        "In every round a herd of threads, and a herd of forked children of this process, sleep; /proc/meminfo is read "
        "before and after each. "
        "For processes only the kernel's share is counted (kernel stack, slab, page tables): what they own beyond that "
        "depends on what they write. "
        "The ratio is formed round by round."
    )
    quick = Budget(seconds=2.0, rounds_max=8, rounds_min=6)
    full = Budget(seconds=15.0, rounds_max=20, rounds_min=8)

    def ways(self, bench: Bench) -> list[Way]:
        """Threads and forked children."""
        processes = bench.safety.threads(30 if bench.quick else 300)
        threads = bench.safety.threads(500 if bench.quick else 2_000)
        return [
            Way("thread", "kthread-memory", {"count": threads, "stack_bytes": 64 * KIB}),
            Way("forked process", "process-memory", {"count": processes}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if page tables alone, the steadiest figure, are dearer for a process."""
        thread, process = rows.find("thread", "page tables"), rows.find("forked process", "page tables")
        if thread is None or process is None or min(thread.n, process.n) < N_MIN:
            return undecided("threads and processes were not both measured", rows.of_metric("page tables"))
        kernel = {
            variant: sum(max(rows.median(variant, part), 0) for part in PARTS[1:] if rows.find(variant, part))
            for variant in ("thread", "forked process")
        }
        reason = (
            f"in the kernel a thread takes about {_bytes(kernel['thread'])}, a forked process "
            f"{_bytes(kernel['forked process'])}, of which page tables {_bytes(process.median)}"
        )
        headline = f"{_bytes(kernel['forked process'])} in the kernel against {_bytes(kernel['thread'])}"
        if process.interval.lo > thread.interval.hi:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(UNDECIDED if process.interval.hi > thread.interval.hi else FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Parts side by side."""
        return [memory_stack(result, result.title)]


@experiment
class KthreadLimit(Experiment):
    """How many threads can exist, and what stops them (E15)."""

    name = "kthread-limit"
    title = "How many kernel threads can exist?"
    family = "Memory and limits"
    claim = Claim(
        "The number of threads is limited by kernel.threads-max (63,704 on a sample machine).",
        "Lecture notes; /proc/sys/kernel/threads-max",
    )
    method = (
        "Every limit on threads is read and turned into a number of threads: the lowest one binds. "
        "Then child processes run into tightened limits one at a time (address space, RLIMIT_NPROC as nobody, memory "
        "maps), and count the threads until one is refused. "
        "The machine's own limits are not touched and never approached."
    )
    quick = Budget(seconds=2.0, rounds_max=7, rounds_min=3)
    full = Budget(seconds=10.0, rounds_max=20, rounds_min=6)

    def measure(self, bench: Bench) -> Measured:
        """Trials in children, and the ladder of limits as a table."""
        ways = [
            Way(
                "1 GiB more address space, 8 MiB stacks",
                "thread-limit",
                {"limit": 0, "value": 1 << 30, "stack_bytes": 8 * MIB},
            ),
            Way("RLIMIT_NPROC 400", "thread-limit", {"limit": 1, "value": 400, "stack_bytes": 64 * KIB}),
            Way("1,000 memory maps left", "thread-limit", {"limit": 2, "stack_bytes": 64 * KIB}),
        ]
        outcome = bench.run(ways)
        answer = why_not(threads=100_000)
        ladder = tuple(
            (limit.name, limit.value, "none" if limit.room is None else limit.room, limit.change)
            for limit in answer.limits
        )
        table = Table("Limits on threads of this process", ("limit", "value", "room for threads", "raise with"), ladder)
        rooms = [
            Row(limit.name, "room for threads", "count", np.array([float(limit.room)]))
            for limit in answer.limits
            if limit.room is not None
        ]
        return Measured(outcome.rows() + rooms, tables=[table], notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Fails where another limit than threads-max binds first."""
        room = {row.variant: row.median for row in rows.of_metric("room for threads")}
        if "kernel.threads-max" not in room:
            return Verdict(UNDECIDED, "kernel.threads-max could not be read")
        binding = min(room, key=lambda name: room[name])
        errors = {int(value) for row in rows.of_metric("errno") for value in row.samples}
        reason = f"{binding} binds first, at {room[binding]:,.0f} threads; threads-max would allow "
        reason += f"{room['kernel.threads-max']:,.0f}"
        if errors == {11}:
            reason += "; every limit reports the same error, EAGAIN"
        headline = f"{binding} stops at {room[binding]:,.0f}"
        return Verdict(HOLDS if binding == "kernel.threads-max" else FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """The ladder of limits."""
        rows = result.rows.of_metric("room for threads")
        if not rows:
            return []
        binding = min(rows, key=lambda row: row.median)
        return [
            chart.Ladder(
                limits=[chart.Limit(row.variant, row.median) for row in rows],
                unit="",
                binds=binding.variant,
                title=result.title,
                x_label="room for threads",
            )
        ]
