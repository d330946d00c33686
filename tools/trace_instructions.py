"""Counts the instructions that places for trace records add while nobody looks, and puts them into docs/watching.md.

Usage: python tools/trace_instructions.py WITH WITHOUT

Two builds of bench/c/trace_count.c: the library as users get it, and one without these places (FILAR_UNTRACED). Each
operation is done so many times and twice as often under callgrind; what the difference makes of one is the same on a
busy machine and on a quiet one.
"""

import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from marked import fill

PAGE = Path(__file__).resolve().parent.parent / "docs/watching.md"
# What the reader sees, and the way of the lab that does it.
OPERATIONS = (("switch", "trace-yield"), ("spawn and join", "trace-spawn"), ("park and wake", "trace-park"))
BATCH = 100_000


def instructions(program: str, way: str, batch: int) -> int:
    """Instructions of the whole program, all threads together."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, way, str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        sys.exit(f"{' '.join(command)}: {done.stderr[-500:]}")
    return int(found.group(1))


def of_one(program: str, way: str) -> float:
    """Instructions of one operation: starting, stopping and waiting are in both counts, and cancel out."""
    return (instructions(program, way, 2 * BATCH) - instructions(program, way, BATCH)) / BATCH


def compiler() -> str:
    """Its version in a word or two: "gcc 12.2.0"."""
    return "gcc " + subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True).stdout.strip()


def main(arguments: Sequence[str]) -> int:
    """Counts, prints, writes the page."""
    with_places, without = arguments
    lines = ["| instructions of a | without the places | with them, nobody looks | more |", "|---|---|---|---|"]
    for words, way in OPERATIONS:
        bare, real = of_one(without, way), of_one(with_places, way)
        lines.append(f"| {words} | {bare:.1f} | {real:.1f} | {real - bare:+.1f} |")
    lines += ["", f"Counted by callgrind, {compiler()} -O2, {platform.machine()}: `make trace-cost`."]
    print("\n".join(lines))
    fill(PAGE, "instructions", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
