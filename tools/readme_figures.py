"""Puts the figures of a report into pages: README.md with the picture it shows, docs/watching.md, docs/predicting.md.

Usage: python tools/readme_figures.py REPORT.json

The tables, between two marks, are never edited by hand: each line names the row of the report it comes from, and the
host is the report's. A page whose experiment the report does not have stays as it is.
"""

import re
import sys
from pathlib import Path

from filar import lab
from filar.chart import format_quantity
from filar.lab import predictions, watched
from marked import fill

ROOT = Path(__file__).resolve().parent.parent
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


def watching_table(found: lab.Result) -> list[str]:
    """What watching costs, each operation with and without, and what that makes of a busy program."""
    lines = ["| | nobody looks | a trace is taken | records |", "|---|---|---|---|"]
    for what, words in (
        (watched.RECORD, "a place where a record could be written"),
        (watched.SWITCH, "switch between two green threads"),
        (watched.SPAWN, "spawn and join"),
        (watched.PARK, "park and wake"),
    ):
        off, on = (found.rows.find(watched.variant(what, traced), watched.PER_OPERATION) for traced in (False, True))
        records = found.rows.median(watched.variant(what, True), watched.RECORDS) if what != watched.RECORD else 1
        lines.append(f"| {words} | {interval_text(off)} | {interval_text(on)} | {records:.0f} |")
    off, on = (
        found.rows.median(watched.variant(watched.SWITCH, traced), watched.PER_OPERATION) for traced in (False, True)
    )
    return [*lines, "", f"A program that switches a million times a second is slowed down by {(on - off) / 10:.1f} %."]


def interval_text(row) -> str:
    """ "8.36 ns (8.2 ns to 8.5 ns)"."""
    mid, lo, hi = (format_quantity(one, row.unit) for one in (row.interval.mid, row.interval.lo, row.interval.hi))
    return f"{mid} ({lo} to {hi})"


def predicting_table(found: lab.Result) -> list[str]:
    """Predicted and measured speedups on two workers, of the best and of typical rounds."""
    lines = [
        "| kernel | predicted | best round | off by | typical round (95 % interval) | off by |",
        "|---|---|---|---|---|---|",
    ]
    for kernel, one in lab.find(predictions.NAME).judged(found.rows).items():
        typical = f"{one.typical.mid:.2f} ({one.typical.lo:.2f} to {one.typical.hi:.2f})"
        lines.append(
            f"| {kernel} | {one.predicted:.2f} | {one.floor:.2f} | {one.error:+.1%} | {typical} "
            f"| {one.typical_error:+.1%} |"
        )
    rounds = min((row.n for row in found.rows.of_metric(predictions.TIME)), default=0)
    return [*lines, "", f"Of {rounds} rounds."]


# Pages beside README.md: the experiment they show, and its table.
PAGES = (
    ("docs/watching.md", "trace-cost", watching_table),
    ("docs/predicting.md", predictions.NAME, predicting_table),
)


def main(arguments: list[str]) -> int:
    """Rewrites the pages and the picture from the report named."""
    report = lab.load(arguments[1])
    results = {one.experiment: one for one in report.results}
    fill(ROOT / "README.md", "figures", [*table(report), "", host_line(report)])
    if Path(PICTURE).stem in results:
        (ROOT / PICTURE).write_text(results[Path(PICTURE).stem].plot().svg())
    for page, experiment, make in PAGES:
        if experiment in results:
            fill(ROOT / page, "figures", [*make(results[experiment]), "", host_line(report)])
        else:
            print(f"{page}: the report has no {experiment}, its figures stay", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
