"""What the kernel says of this process's threads: context switches, time spent waiting for a CPU, migrations.

A trace sees on which CPU each record was written; between two records it sees nothing. These totals, read when
it begins and when it ends, say how much there was. Each is None where this kernel does not tell.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KernelTotals", "difference", "read"]

# Threads looked at, at most: three small files each.
_THREADS_MAX = 512


@dataclass(frozen=True)
class KernelTotals:
    """Of one kernel thread, from its beginning to one moment, or between two moments."""

    name: str
    run_ns: int | None = None
    wait_ns: int | None = None  # it was ready and had no CPU
    voluntary: int | None = None  # it waited for something
    involuntary: int | None = None  # it was preempted
    migrations: int | None = None


def _numbers(path: Path, separator: str) -> dict[str, str]:
    """The lines "name<separator>value" of a file, or nothing."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split(separator, 1) for line in lines if separator in line)
    return {name.strip(): value.strip() for name, value in pairs}


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


def _of_thread(task: Path, name: str) -> KernelTotals:
    status = _numbers(task / "status", ":")
    try:
        times = [_whole(word) for word in (task / "schedstat").read_text().split()]
    except OSError:
        times = []
    run_ns, wait_ns = times[:2] if len(times) == 3 else (None, None)
    return KernelTotals(
        name=name or status.get("Name", ""),
        run_ns=run_ns,
        wait_ns=wait_ns,
        voluntary=_whole(status.get("voluntary_ctxt_switches")),
        involuntary=_whole(status.get("nonvoluntary_ctxt_switches")),
        migrations=_whole(_numbers(task / "sched", ":").get("se.nr_migrations")),
    )


def read(root: str = "/proc/self/task") -> dict[int, KernelTotals]:
    """The totals of every kernel thread of this process that is there now, by the kernel's id."""
    names = {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id is not None}
    try:
        tids = sorted(int(tid) for tid in os.listdir(root))
    except (OSError, ValueError):
        return {}
    found = {tid: _of_thread(Path(root, str(tid)), names.get(tid, "")) for tid in tids[:_THREADS_MAX]}
    # Gone between the listing and the reading.
    return {tid: totals for tid, totals in found.items() if totals.name}


def difference(before: dict[int, KernelTotals], after: dict[int, KernelTotals]) -> dict[int, KernelTotals]:
    """What happened between two readings, to threads that were there at the second."""
    return {tid: _minus(totals, before.get(tid)) for tid, totals in after.items()}


def _minus(now: KernelTotals, then: KernelTotals | None) -> KernelTotals:
    if then is None:
        return now

    def change(field: str) -> int | None:
        a, b = getattr(then, field), getattr(now, field)
        return None if a is None or b is None else b - a

    fields = ("run_ns", "wait_ns", "voluntary", "involuntary", "migrations")
    return KernelTotals(now.name, **{field: change(field) for field in fields})
