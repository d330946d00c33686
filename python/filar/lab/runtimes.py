"""How large a runtime for threads is: the time it takes to have one, the memory, and the code."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from filar.chart import format_quantity
from filar.errors import FilarError
from filar.lab import pictures
from filar.lab.base import (
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
from filar.lab.greens import enough, times, words
from filar.lab.pyrounds import Task, run_rounds, way_task
from filar.lab.pythons import ns
from filar.lab.result import Result

TIME = "start to end"
THREAD, POOL, SEVERAL = "one kernel thread", "a pool of two workers", "green threads, two workers"
SINGLE = "green threads, one worker"
PROGRAM = "process: "
PATIENCE_S = 20.0


def programs() -> dict[str, list[str]]:
    """Programs that start their runtime and end; only those that are here."""
    bare = [sys.executable, "-I", "-S", "-c"]
    found = {}
    if true := shutil.which("true"):
        found["C, does nothing"] = [true]
    # Formats nothing: what remains is the start of Go's runtime.
    if gofmt := shutil.which("gofmt"):
        found["Go, gofmt of nothing"] = [gofmt]
    if sys.executable:
        found["Python, nothing imported"] = [*bare, "pass"]
        found["Python, import threading"] = [*bare, "import threading"]
        found["Python, import asyncio"] = [*bare, "import asyncio"]
    return found


def run_program(command: list[str]) -> Mapping[str, ArrayLike]:
    """From the call that starts it to its end, in ns."""
    begun = time.perf_counter_ns()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise FilarError(f"{os.path.basename(command[0])} did not end within {PATIENCE_S:g} s") from error
    taken = time.perf_counter_ns() - begun
    if done.returncode != 0:
        raise FilarError(f"{os.path.basename(command[0])} ended with status {done.returncode}")
    return {TIME: taken}


def code_bytes(path: Path) -> int | None:
    """Bytes of machine code in an ELF file of 64 bits: its executable segments; None if it is something else."""
    try:
        data = path.read_bytes()
        if data[:6] != b"\x7fELF\x02\x01":
            return None
        offset, size, count = (*struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54))
        headers = [struct.unpack_from("<II6Q", data, offset + i * size) for i in range(count)]
    except (OSError, struct.error, OverflowError):
        return None
    return sum(header[5] for header in headers if header[0] == 1 and header[1] & 1)


def loaded_files() -> dict[str, Path]:
    """Which of the files that are mapped as code into this process holds which runtime."""
    kinds = {
        "threads 1:1, with the rest of the C library": re.compile(r"libc[.-][^/]*\.so|/libc\.so"),
        "filar: threads, pool, green threads, lab": re.compile(r"/_filar\.[^/]*\.so$"),
        "Python, the interpreter": re.compile(r"/(libpython3[^/]*\.so[^/]*|python3?[0-9.]*t?d?)$"),
    }
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    mapped = dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if " r-xp " in line and "/" in line)
    return {kind: Path(path) for kind, name in kinds.items() for path in mapped if name.search(path)}


def code_table() -> Table:
    """Code of the runtimes that are loaded here."""
    sizes = [(kind, code_bytes(path)) for kind, path in loaded_files().items()]
    lines = tuple((kind, format_quantity(size, "B")) for kind, size in sizes if size is not None)
    return Table("Machine code of what is loaded", ("part", "code"), lines)


@experiment
class RuntimeSize(Experiment):
    """What it takes to have threads of each kind at all (E40)."""

    name = "runtime-size"
    title = "How large is a runtime for threads?"
    family = "Green threads"
    claim = Claim(
        "A language with threads of its own has a larger runtime than one that uses those of the kernel.",
        "Lecture notes on using threads to run code simultaneously",
    )
    method = (
        "From nothing until one empty body has run and all is gone again: a kernel thread, a runtime for green threads "
        "with one worker and with two, a pool. Beside them whole programs that start their runtime and end. "
        "All run in every round, in shuffled order; address space and memory are what the process has more while a "
        "runtime for green threads is there. The machine code is read from the files that are loaded."
    )
    quick = Budget(seconds=1.6, rounds_max=30, rounds_min=6)
    full = Budget(seconds=10.0, rounds_max=100, rounds_min=8)

    def native(self) -> list[Way]:
        """Runtimes inside this process."""
        # The C library keeps stacks for the next thread: what a thread adds shows with the first one only.
        time_only: dict[str, str | None] = {"virtual": None, "resident": None}
        return [
            Way(variant, "runtime-start", {"kind": kind, "workers": workers}, 8, {} if kind == 1 else time_only)
            for variant, kind, workers in ((THREAD, 0, 1), (SINGLE, 1, 1), (SEVERAL, 1, 2), (POOL, 2, 2))
        ]

    def measure(self, bench: Bench) -> Measured:
        """Rounds of all of them."""
        tasks = [way_task(bench, way) for way in self.native()]
        tasks += [
            Task(PROGRAM + name, lambda command=command: run_program(command), {TIME: "ns"})  # type: ignore[misc]
            for name, command in programs().items()
        ]
        measured = run_rounds(bench, tasks)
        table = code_table()
        measured.tables = [*measured.tables, *([table] if table.rows else [])]
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Holds if a runtime for green threads surely takes longer to have than a thread of the kernel's."""
        thread, single = rows.find(THREAD, TIME), rows.find(SINGLE, TIME)
        if thread is None or single is None or not enough(thread, single):
            return undecided("kernel thread and runtime were not both measured", rows.of_metric(TIME))
        dearer = rows.ratio(SINGLE, THREAD, TIME)
        space = format_quantity(rows.median(SINGLE, "virtual"), "B")
        reason = (
            f"to have a runtime for green threads takes {words(single)}, a kernel thread {words(thread)}: "
            f"{times(dearer)} as long, and {space} of address space"
        )
        for row in rows.of_metric(TIME):
            if row.variant.startswith(PROGRAM) and enough(row):
                reason += f"; {row.variant.removeprefix(PROGRAM)}: {ns(row.median)}"
        headline = f"{ns(single.median)}, a kernel thread {ns(thread.median)}"
        if dearer.lo > 1:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(FAILS if dearer.hi < 1 else UNDECIDED, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots, runtimes and whole programs apart."""
        groups = {
            name: "whole programs" if name.startswith(PROGRAM) else "within a process"
            for name in result.rows.variants()
        }
        return [pictures.ranked_dots(result, TIME, groups=groups)]
