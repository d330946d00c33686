"""Puts the figures of a report into README.md: the table between the two marks, and the picture it shows.

Usage: python tools/readme_figures.py REPORT.json

The table is never edited by hand: each line names the row of the report it comes from, and the host is the report's.
"""

import re
import sys
from pathlib import Path

from filar import lab
from filar.chart import format_quantity

ROOT = Path(__file__).parent.parent
PICTURE = "docs/thread-reuse.svg"
# What the reader sees, experiment, variant, metric.
LINES = (
    ("enter the kernel and come back", "floors", "system call", None),
    ("create and join a thread, wherever the kernel puts it", "kthread-create", "default", "create+join"),
    ("the same, both on one core", "kthread-create", "one core", "create+join"),
    ("hand work to a parked thread, one core", "thread-reuse", "reuse on one core, hot", "round trip"),
    ("hand work to a parked thread, another core", "thread-reuse", "reuse on another core, hot", "round trip"),
    ("switch to another thread, futex, one core", "kthread-switch", "futex, one core", "one way"),
    ("the same across two cores", "kthread-switch", "futex, two cores", "one way"),
    ("fork and reap a process", "process-create", "fork, as it is", "create+join"),
    ("vfork and reap a process", "process-create", "vfork, as it is", "create+join"),
    ("lock and unlock a pthread mutex, nobody else", "mutex-cost", "pthread, uncontended", None),
    ("the same with a competitor on another core", "mutex-cost", "pthread, contended", None),
    ("a cache line from another core, one way", "core-latency", None, None),
    ("memory of a sleeping thread, resident", "kthread-memory", "default stack", "resident"),
)


def table(report: lab.Report) -> list[str]:
    """The lines of the table; a row that the report does not have is left out."""
    lines = ["| what | floor | median | 95 % interval | samples |", "|---|---|---|---|---|"]
    for words, experiment, variant, metric in LINES:
        rows = [row for one in report.results if one.experiment == experiment for row in one.rows]
        row = next((r for r in rows if variant in (None, r.variant) and metric in (None, r.metric)), None)
        if row is None:
            print(f"no row for {words!r} ({experiment}, {variant}, {metric})", file=sys.stderr)
            continue
        figures = (row.min, row.interval.mid, row.interval.lo, row.interval.hi)
        floor, median, lo, hi = (format_quantity(figure, row.unit) for figure in figures)
        lines.append(f"| {words} | {floor} | {median} | {lo} to {hi} | {row.n} |")
    return lines


def host_line(report: lab.Report) -> str:
    """Which machine, when, and how quiet it was."""
    host, check = report.host, report.self_check or {}
    kernel = re.match(r"[\d.]*\d", str(host.get("kernel_release", "")))
    words = [
        host.get("cpu_model") or "unknown CPU",
        f"{len(host.get('cpus_allowed') or [])} CPUs",
        *(["virtual machine"] if host.get("hypervisor") else []),
        f"Linux {kernel.group()}" if kernel else "Linux",
        report.started[:10],
        f"{report.mode} mode",
    ]
    return f"{', '.join(words)}. The same work measured as A and as B: {check.get('reason', 'not run')}."


def main(arguments: list[str]) -> int:
    """Rewrites README.md and the picture from the report named."""
    report = lab.load(arguments[1])
    readme = ROOT / "README.md"
    block = "\n".join(["<!-- figures: begin -->", *table(report), "", host_line(report), "<!-- figures: end -->"])
    text, found = re.subn(
        r"<!-- figures: begin -->.*<!-- figures: end -->", lambda _: block, readme.read_text(), flags=re.DOTALL
    )
    if not found:
        sys.exit("README.md has no place for figures")
    readme.write_text(text)
    chosen = next(one for one in report.results if one.experiment == Path(PICTURE).stem)
    (ROOT / PICTURE).write_text(chosen.plot().svg())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
