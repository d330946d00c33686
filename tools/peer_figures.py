"""Puts what bench/peers has measured into README.md and docs/comparison.md, between their marks.

Usage: python tools/peer_figures.py [bench/results/HOST/peers.json]

Without an argument the file is the one that README.md names in its mark. No figure there is written by hand, and no
word that depends on one: "less", "more" and "not decided" are what the interval of the ratio says.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filar.chart import format_quantity

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "bench/peers"))

import peer_page  # noqa: E402 - a program of the tree, not of the package
from peer_goals import SUITES  # noqa: E402

PAGES = ("README.md", "docs/comparison.md")
PEERS = {
    "boost-context": "Boost.Context",
    "boost-fiber": "Boost.Fiber",
    "go": "Go",
    "pool-plain": "a queue under a mutex",
    "pool-tbb": "oneTBB",
    "pool-gomp": "OpenMP of GCC",
    "pool-llvm": "OpenMP of LLVM",
    "pool-pthreadpool": "pthreadpool",
    "executor-standard": "concurrent.futures",
    "executor-queue": "a SimpleQueue",
    "executor-chunks": "multiprocessing's ThreadPool",
    "executor-joblib": "joblib's threads",
    "executor-numba": "numba",
    "threads": "threading",
    "server-events": "an event loop in C",
    "server-pool": "a pool of 8 threads",
    "server-threads": "a thread for each",
    "server-go": "Go's net/http",
    "server-gonet": "Go, a parser as small",
    "server-gevent": "gevent",
    "server-asyncio": "asyncio",
    "server-uvloop": "uvloop",
    "server-pythreads": "threading",
}
# What the reader sees, line, metric, peers.
LINES = (
    ("switch from one stack to another", "G1", "switch", ("boost-context",)),
    ("yield among 1,000 green threads", "G3", "yield_1000", ("go", "boost-fiber")),
    ("spawn a green thread and join it", "G4", "spawn_join", ("go", "boost-fiber")),
    ("hand-off through a channel, one worker", "G7", "channel_same", ("go", "boost-fiber")),
    ("a million tasks as a tree, two workers", "G10", "skynet_2", ("go",)),
    ("a byte through a pipe, waiting by epoll", "G12", "pipe", ("go",)),
    ("memory of a parked green thread", "G6", "bytes", ("go",)),
    ("submit an empty task to a pool of two", "P1", "submit_2", ("pool-tbb", "pool-plain", "go")),
    ("fork and join, two threads", "P3", "fork_2", ("pool-tbb", "pool-llvm", "go")),
    (
        "loop of 1,000 small steps, a part for each of two threads",
        "P4",
        "static_2",
        ("pool-tbb", "pool-gomp", "pool-llvm", "pool-pthreadpool"),
    ),
    ("loop of a million small steps, two threads", "P5", "static_2", ("pool-tbb", "pool-gomp", "pool-llvm")),
    ("wake a pool after 5 ms", "P7", "wake_p50", ("pool-tbb",)),
    ("`submit(f).result()`", "X1", "round_trip", ("executor-standard",)),
    ("30,000 calls and their results, each", "X2", "results", ("executor-standard",)),
    ("`map` over 30,000 items, each", "X3", "item", ("executor-standard", "executor-chunks")),
    ("a joblib region of two tasks", "X4", "region", ("executor-joblib",)),
    ("Python: switch between green threads", "Y1", "switch", ("greenlet", "gevent", "asyncio")),
    ("Python: spawn and join", "Y3", "spawn_join", ("greenlet", "gevent", "asyncio", "threads")),
    ("Python: hand-off through a queue", "Y5", "handoff", ("gevent", "asyncio", "threads")),
    ("Python: memory of a parked one", "Y4", "bytes", ("greenlet", "gevent", "asyncio")),
    ("answer an HTTP request, 1,000 clients", "S2", "request", ("server-gonet", "server-go")),
    ("the same in Python", "N2", "request", ("server-gevent", "server-asyncio", "server-uvloop")),
)
# Why a peer is ahead, by line and peer; shown only where it is. "" stands for every peer.
REASONS = {
    ("G5", "go"): "first use of a stack: ours pays for two pages and a guard, Go carves many stacks from one page",
    ("G6", "go"): "Go's stacks start at 2 KiB and are copied when they grow; ours have a guard and stay where they are",
    ("G14", ""): "our workers look for work a moment longer before they sleep",
    ("P8", "go"): "Go runs the task on the thread that waits for it; ours runs on another",
    ("P4", ""): "a fixed part for each thread: nothing to decide, nothing to steal",
    ("P5", "pool-gomp"): "its threads spin between loops and begin at once; line P10 is what that costs",
    ("P5", "pool-llvm"): "its threads spin between loops and begin at once; line P10 is what that costs",
    ("P10", ""): "our workers look for work a moment longer before they sleep",
    ("S4", "server-go"): "blocking is `time.Sleep` there, which holds no thread; ours holds one",
    ("S4", "server-gonet"): "blocking is `time.Sleep` there, which holds no thread; ours holds one",
    ("X3", "executor-chunks"): "items in chunks; one that blocks holds up its chunk",
    ("Y4", "asyncio"): "a task is a Python object; a green thread has a C stack with a guard",
    ("Y4", "greenlet"): "its greenlets copy their piece of one shared stack to the heap at each switch",
    ("Y4", "gevent"): "its greenlets copy their piece of one shared stack to the heap at each switch",
}


def metric_of(record: Mapping[str, Any], line: str, metric: str) -> Mapping[str, Any] | None:
    """The entry of one metric of one line, None where it was not measured."""
    (found,) = [entry for entry in record["lines"] if entry["line"] == line]
    return next((entry for entry in found["metrics"] if entry["metric"] == metric), None)


def quantity(entry: Mapping[str, Any], program: str) -> str:
    """The median of a program, with its unit."""
    return format_quantity(entry["programs"][program]["median"], entry["unit"].removesuffix(" CPU"))


def ratio_words(ratio: Mapping[str, Any]) -> str:
    """ "0.177 (0.163 to 0.191)"."""
    mid, lo, hi = (peer_page.figure(ratio[key]) for key in ("mid", "lo", "hi"))
    return f"{mid} ({lo} to {hi})"


def compared(record: Mapping[str, Any], lines: Iterable[tuple[str, str, str, Sequence[str]]], peers_max: int) -> str:
    """A row for each line and peer that both were measured; at most so many peers of a line."""
    rows = []
    for words, line, metric, peers in lines:
        entry = metric_of(record, line, metric)
        if entry is None:
            continue
        ours = SUITES[next(one["suite"] for one in record["lines"] if one["line"] == line)].ours
        for peer in [peer for peer in peers if peer in entry["ratios"]][:peers_max]:
            ratio = entry["ratios"][peer]
            theirs = f"{quantity(entry, peer)}, {PEERS.get(peer, peer)}"
            rows.append((words, quantity(entry, ours), theirs, ratio_words(ratio), ratio["word"]))
            words = "" if peers_max > 1 else words
    return peer_page.table(("what", "filar", "peer", "filar / peer (95 % interval)", ""), rows)


def ahead(record: Mapping[str, Any]) -> str:
    """Where a peer needs less, and why where that is known."""
    rows = []
    for entry in peer_page.behind(record):
        ours, peer = SUITES[entry["suite"]].ours, entry["peer"]
        why = REASONS.get((entry["line"], peer)) or REASONS.get((entry["line"], "")) or ""
        rows.append(
            (
                f"{entry['title']} ({entry['line']}, {entry['metric']})",
                f"{quantity(entry, peer)}, {PEERS.get(peer, peer)}",
                quantity(entry, ours),
                ratio_words(entry["ratio"]),
                why,
            )
        )
    head = ("what", "peer", "filar", "filar / peer (95 % interval)", "why")
    return peer_page.table(head, rows) if rows else "Nowhere, of what was measured."


def open_goals(record: Mapping[str, Any], *, aim: bool) -> str:
    """Goals that were measured and do not hold."""
    rows = [
        (
            f"{line['title']} ({line['line']}, {goal['metric']})",
            goal["goal"],
            peer_page.ratio_text(goal),
            goal["word"] + (f": {goal['reason']}" if goal["reason"] else ""),
        )
        for line in record["lines"]
        for goal in line["goals"]
        if goal["aim"] == aim and goal["word"] in ("missed", "not decided")
    ]
    return peer_page.table(("what", "goal", "measured [95 % interval]", ""), rows) if rows else "None."


def not_measured(record: Mapping[str, Any]) -> str:
    """Lines without a figure of ours."""
    lines = [f"- {one['title']} ({one['line']}): {one['why']}" for one in record["not_measured"]]
    return "\n".join(lines) or "Nothing."


def measured_on(record: Mapping[str, Any], place: str) -> str:
    """Where, when, and where the rest is."""
    return (
        f"{peer_page.host_text(record)}, {record['date']}. Of what filar set out for, musts: "
        f"{peer_page.counts_text(record['musts'])}; aims: {peer_page.counts_text(record['aims'])}. "
        f"Every line, its conditions and the versions of the peers: {place}."
    )


def readme_block(record: Mapping[str, Any], path: str) -> str:
    """A line for each thing and one peer: the first that was measured."""
    page = path.removesuffix(".json") + ".md"
    return f"{compared(record, LINES, 1)}\n\n{measured_on(record, f'[peers.md]({page})')}"


def comparison_block(record: Mapping[str, Any], path: str) -> str:
    """All peers of these lines, then where they are ahead, then the goals that are open."""
    return "\n\n".join(
        [
            compared(record, LINES, 99),
            measured_on(record, "[results](results.md)"),
            "## Where a peer is ahead",
            "Whatever was measured, where the whole interval is above 1; floors, which are no libraries, do not count.",
            ahead(record),
            "## What filar set out for and has not reached",
            "Musts that are missed, or where the interval lies on both sides:",
            open_goals(record, aim=False),
            "Aims, likewise:",
            open_goals(record, aim=True),
            "Not measured on this machine:",
            not_measured(record),
        ]
    )


BLOCKS = {"README.md": readme_block, "docs/comparison.md": comparison_block}
_MARKED = re.compile(r"<!-- peers: begin (\S+) -->\n.*?<!-- peers: end -->", re.DOTALL)


def source() -> str:
    """The record that README.md shows, relative to the tree."""
    found = _MARKED.search((ROOT / "README.md").read_text(encoding="utf-8"))
    if found is None:
        sys.exit("README.md has no place for the peers")
    return found.group(1)


def filled(page: str, text: str, record: Mapping[str, Any], path: str) -> str:
    """The text of a page with its block made anew."""
    block = f"<!-- peers: begin {path} -->\n{BLOCKS[page](record, path)}\n<!-- peers: end -->"
    new, count = _MARKED.subn(lambda _: block, text)
    if count != 1:
        sys.exit(f"{page} has no place for the peers, or several")
    return new


def main(arguments: Sequence[str]) -> int:
    """Rewrites the pages."""
    path = Path(arguments[0]).resolve().relative_to(ROOT).as_posix() if arguments else source()
    record = json.loads((ROOT / path).read_text(encoding="utf-8"))
    for page in PAGES:
        place = ROOT / page
        place.write_text(filled(page, place.read_text(encoding="utf-8"), record, path), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
