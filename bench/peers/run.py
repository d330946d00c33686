"""Runs the peer programs interleaved, forms ratios round by round, and writes the table.

Each round takes the lines in shuffled order and, for each, the programs that know it in shuffled order, a process each:
what is compared runs within a second of each other, so that drift and neighbours hit all alike. The value of a round is
the least of the samples that a process prints. Ratios are formed within rounds and get a sign-test interval.

Lines of one worker are judged by the CPU time of the whole process, which a busy neighbour changes least and which is
the time they take where nobody else runs; lines of several workers and delays by the clock. Both are in the results.

Rounds, seconds, memory and every process are bounded; what runs when this is interrupted is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from filar.lab import stats
from filar.lab.conditions import Watch
from filar.lab.host import host_record

ROOT = Path(__file__).resolve().parents[2]
OURS = "filar"
FORMAT = 1
PROGRAM_SECONDS_MAX = 120
# Foreign CPU in a round, percent of all CPUs, above which the round is marked as noisy.
NOISY_PERCENT = 10.0
# Fewer have no sign-test interval at 95 %.  Memory is no matter of luck: two rounds do.
ROUNDS_MIN = 6
PARKED = 1_000_000
BYTES_PER_PARKED = 6500


@dataclass(frozen=True)
class Line:
    """A line of the table: what it is, by which time it is judged, how many rounds it gets at most."""

    name: str
    title: str
    cpu: bool = True
    rounds_max: int = 99


@dataclass(frozen=True)
class Suite:
    """Lines run and written together: green threads (G), pools (P), the executor (X), Python on green threads (Y), web
    servers in C and Go (S), in Python (N)."""

    title: str
    word: str
    ours: str
    programs: tuple[str, ...]
    prefix: str


SUITES = {
    "green": Suite(
        "Green threads beside their peers",
        "make bench-green",
        OURS,
        (OURS, "floor", "boost-context", "boost-fiber", "go"),
        "G",
    ),
    "pool": Suite(
        "Pools beside their peers",
        "make bench-pool",
        "pool-filar",
        ("pool-filar", "pool-plain", "pool-tbb", "pool-gomp", "pool-llvm", "pool-pthreadpool", "go"),
        "P",
    ),
    "executor": Suite(
        "The executor from Python beside its peers",
        "make bench-pool",
        "executor-filar",
        tuple(f"executor-{kind}" for kind in ("filar", "standard", "queue", "chunks", "joblib", "numba")),
        "X",
    ),
    "green-python": Suite(
        "Python on green threads beside its peers",
        "make bench-green-python",
        OURS,
        (OURS, "floor", "greenlet", "gevent", "asyncio", "threads"),
        "Y",
    ),
    "server": Suite(
        "Web servers beside their peers",
        "make bench-server",
        "server-filar",
        ("server-filar", "server-events", "server-pool", "server-threads", "server-go", "server-gonet"),
        "S",
    ),
    "server-python": Suite(
        "Web servers in Python beside their peers",
        "make bench-server",
        "server-python",
        ("server-python", "server-gevent", "server-asyncio", "server-uvloop", "server-pythreads"),
        "N",
    ),
}


def suite_of(line: str) -> Suite:
    """The suite that a line belongs to."""
    return next(suite for suite in SUITES.values() if line.startswith(suite.prefix))


LINES = (
    Line("G1", "bare switch, one way"),
    Line("G2", "yield through the scheduler, 2 ready, 1 worker"),
    Line("G3", "yield, 1,000 and 10,000 ready, 1 worker"),
    Line("G4", "spawn and join an empty body, one at a time"),
    Line("G5", "spawn 100,000, then join all"),
    Line("G6", "resident bytes per parked green thread", cpu=False, rounds_max=2),
    Line("G7", "hand-off, one way, same worker"),
    Line("G8", "hand-off between two CPUs", cpu=False),
    Line("G9", "10,000 threads x 1,000 yields, 2 workers", cpu=False, rounds_max=9),
    Line("G10", "skynet, a million leaves", cpu=False, rounds_max=7),
    Line("G11", "a body that spins: worst wait of the next", cpu=False, rounds_max=7),
    Line("G13", "bookkeeping of a call that may block", cpu=False),
    Line("G14", "CPU burnt after a burst", cpu=False, rounds_max=9),
    Line("G15", "idle, 1,000 parked, 2 workers: CPU time in 1.5 s, per cent of one CPU", cpu=False, rounds_max=6),
    Line("P1", "submit empty tasks from one producer and wait, 1 and 2 workers", cpu=False),
    Line("P2", "the same from two producers", cpu=False),
    Line("P3", "fork and join: fib, a fork per call, 1 and 2 threads", cpu=False),
    Line("P4", "loop of 1,000 trivial steps, 2 threads", cpu=False),
    Line("P5", "loop of a million trivial steps, 2 threads", cpu=False),
    Line("P6", "uneven Mandelbrot, 1024 x 1024, 2 threads", cpu=False, rounds_max=9),
    Line("P7", "from 5 ms of idleness, submission to first instruction", cpu=False, rounds_max=9),
    Line("P8", "round trip of one task, 1 and 2 workers", cpu=False),
    Line("P9", "uneven Mandelbrot with a busy neighbour on one CPU", cpu=False, rounds_max=7),
    Line("P10", "CPU burnt after a burst", cpu=False, rounds_max=9),
    Line("X1", "submit(f).result(), 2 workers", cpu=False),
    Line("X2", "submit 30,000, then wait, per call", cpu=False),
    Line("X3", "map of 30,000, per item", cpu=False),
    Line("X4", "joblib: a region of two tasks", cpu=False),
    Line("X5", "native loop of 16 steps, called from Python", cpu=False),
    Line("X6", "16 x fib(20) on two threads, free-threaded Python", cpu=False),
    Line("Y1", "yield between two Python green threads, per switch"),
    Line("Y2", "1,000 ready, per yield"),
    Line("Y3", "spawn and join a Python callable, one at a time"),
    Line("Y4", "resident bytes per parked Python green thread, page tables included", cpu=False, rounds_max=2),
    Line("Y5", "queue or channel, one way"),
    Line("Y6", "skynet, 100,000 leaves in Python", rounds_max=7),
    Line("Y7", "Ctrl-C to KeyboardInterrupt", cpu=False),
    Line("S1", "100 clients, keep-alive", cpu=False, rounds_max=7),
    Line("S2", "1,000 clients, keep-alive", cpu=False, rounds_max=7),
    Line("S3", "10,000 clients, keep-alive", cpu=False, rounds_max=7),
    Line("S4", "64 clients, 10 us of computing and a call that blocks for 2 ms", cpu=False, rounds_max=7),
    Line("S5", "100 clients, a connection for each request", cpu=False, rounds_max=7),
    Line("S6", "10,000 clients for 60 s", cpu=False, rounds_max=1),
    Line("N1", "Python: 100 clients, keep-alive", cpu=False, rounds_max=7),
    Line("N2", "Python: 1,000 clients, keep-alive", cpu=False, rounds_max=7),
    Line("N3", "Python: 10,000 clients, keep-alive", cpu=False, rounds_max=7),
    Line("N4", "Python: 64 clients, 10 us of computing and a call that blocks for 2 ms", cpu=False, rounds_max=7),
    Line("N6", "Python: 10,000 clients for 60 s", cpu=False, rounds_max=1),
)
BY_NAME = {line.name: line for line in LINES}


@dataclass(frozen=True)
class Goal:
    """`metric` of ours is at most `limit`: times the peer's `peer_metric`, or, without a peer, in its own unit."""

    line: str
    metric: str
    limit: float
    peer: str | None = None
    peer_metric: str | None = None
    aim: bool = False

    @property
    def text(self) -> str:
        """As one reads it: "<= 0.2 x go"."""
        if self.peer is None:
            return f"≤ {self.limit:g}"
        other = "" if self.peer_metric in (None, self.metric) else f" ({self.peer_metric})"
        return f"≤ {self.limit:g} × {self.peer}{other}"


GOALS = (
    Goal("G1", "switch", 1.3, "boost-context"),
    Goal("G1", "switch_flags", 1.3, "boost-context"),
    Goal("G1", "switch", 1.1, "floor", aim=True),
    Goal("G1", "switch_flags", 1.1, "floor", "switch", aim=True),
    Goal("G2", "yield_2", 0.2, "go"),
    Goal("G2", "yield_2", 10, aim=True),
    Goal("G3", "yield_1000", 0.25, "go"),
    Goal("G3", "yield_1000", 0.5, "boost-fiber"),
    Goal("G3", "yield_10000", 0.25, "go"),
    Goal("G3", "yield_10000", 0.5, "boost-fiber"),
    Goal("G3", "yield_1000", 12, aim=True),
    Goal("G3", "yield_10000", 40, aim=True),
    Goal("G4", "spawn_join", 0.25, "go"),
    Goal("G4", "spawn_join", 40, aim=True),
    Goal("G5", "spawn_many", 0.4, "go"),
    Goal("G5", "spawn_many", 200, aim=True),
    Goal("G6", "bytes", 4900),
    Goal("G6", "bytes", 4300, aim=True),
    Goal("G7", "channel_same", 0.4, "go"),
    Goal("G7", "channel_same", 40, aim=True),
    Goal("G8", "cross_cold", 1.2, "floor"),
    Goal("G8", "cross_hot", 1000),
    Goal("G8", "cross_hot", 300, aim=True),
    Goal("G9", "yield_crowd", 0.2, "go"),
    Goal("G9", "yield_crowd", 20, aim=True),
    Goal("G10", "skynet_1", 0.25, "go"),
    Goal("G10", "skynet_2", 0.25, "go"),
    Goal("G10", "skynet_1", 90, aim=True),
    Goal("G10", "skynet_2", 50, aim=True),
    Goal("G11", "next_waits", 1.0, "go"),
    Goal("G11", "next_waits", 20, aim=True),
    Goal("G13", "bookkeeping", 1.0, "go"),
    Goal("G13", "bookkeeping", 20, aim=True),
    Goal("G14", "burnt_first_100ms", 1.0),
    Goal("G14", "burnt_next_300ms", 0.3),
    Goal("G14", "burnt_first_100ms", 0.1, aim=True),
    Goal("G15", "idle_share", 0.1),
    Goal("P1", "submit_1", 0.4, "pool-tbb"),
    Goal("P1", "submit_2", 0.4, "pool-tbb"),
    Goal("P1", "submit_1", 60, aim=True),
    Goal("P1", "batch_1", 12, aim=True),
    Goal("P2", "producers_1", 0.5, "pool-tbb"),
    Goal("P2", "producers_2", 0.5, "pool-tbb"),
    Goal("P2", "producers_2", 50, aim=True),
    Goal("P3", "fork_1", 0.25, "pool-tbb"),
    Goal("P3", "fork_2", 0.25, "pool-tbb"),
    Goal("P3", "fork_1", 8, aim=True),
    Goal("P3", "fork_2", 5, aim=True),
    Goal("P4", "best_2", 1.3, "pool-tbb", "static_2"),
    Goal("P4", "best_2", 1.0, "pool-plain", "serial_2", aim=True),
    Goal("P5", "best_2", 1.1, "pool-tbb", "static_2"),
    Goal("P5", "best_2", 0.51, "pool-plain", "serial_2", aim=True),
    Goal("P6", "best_2", 1.05, "pool-tbb"),
    Goal("P6", "best_2", 0.5025, "pool-plain", "serial_2", aim=True),
    Goal("P7", "wake_p50", 1.0, "pool-tbb"),
    Goal("P7", "wake_p99", 1.0, "pool-tbb"),
    Goal("P7", "wake_p50", 11, aim=True),
    Goal("P7", "wake_p99", 25, aim=True),
    Goal("P8", "round_trip_1", 1.0, "pool-tbb"),
    Goal("P8", "round_trip_2", 1.0, "pool-tbb"),
    Goal("P8", "round_trip_1", 2.5, aim=True),
    Goal("P9", "best_2", 1.0, "pool-tbb"),
    # A fair share of both CPUs is two thirds of the serial time; the aim leaves room for a time slice.
    Goal("P9", "best_2", 0.79, "pool-plain", "serial_2", aim=True),
    Goal("P10", "burnt_first_100ms", 1.0),
    Goal("P10", "burnt_first_100ms", 0.1, aim=True),
    Goal("X1", "round_trip", 0.5, "executor-standard"),
    Goal("X1", "round_trip", 0.2, "executor-standard", aim=True),
    Goal("X2", "results", 0.2, "executor-standard"),
    Goal("X2", "wait", 0.2, "executor-standard"),
    Goal("X2", "results", 1.0, aim=True),
    Goal("X2", "wait", 1.0, aim=True),
    Goal("X3", "item", 0.2, "executor-standard"),
    Goal("X3", "item", 0.3, aim=True),
    Goal("X4", "region", 0.1, "executor-joblib"),
    Goal("X4", "region", 100, aim=True),
    Goal("X5", "loop", 5),
    Goal("X5", "loop", 2, aim=True),
    Goal("Y1", "switch", 0.75, "greenlet"),
    Goal("Y1", "switch", 130, aim=True),
    Goal("Y2", "yield_1000", 0.3, "gevent"),
    Goal("Y2", "yield_1000", 0.5, "asyncio"),
    Goal("Y2", "yield_1000", 180, aim=True),
    Goal("Y3", "spawn_join", 0.5, "asyncio"),
    Goal("Y3", "spawn_join", 1500, aim=True),
    Goal("Y4", "bytes", 12_288),
    Goal("Y4", "bytes", 9_011, aim=True),
    Goal("Y5", "handoff", 0.25, "gevent"),
    Goal("Y5", "handoff", 500, aim=True),
    Goal("Y6", "skynet", 0.5, "asyncio"),
    Goal("Y6", "skynet", 250, aim=True),
    Goal("Y7", "interrupt", 100),
    Goal("Y7", "interrupt", 20, aim=True),
    # S and N: green threads serve as many as the peers' do, at the CPU time that those need; what an event loop by
    # hand needs is the floor.
    *(
        goal
        for line in ("S1", "S2", "S3", "S5")
        for goal in (
            Goal(line, "request", 1.0, "server-gonet"),
            Goal(line, "cpu_each", 1.0, "server-gonet"),
            Goal(line, "p99", 1.0, "server-gonet"),
            Goal(line, "request", 0.5, "server-go", aim=True),
            Goal(line, "cpu_each", 1.3, "server-events", aim=True),
        )
    ),
    Goal("S3", "memory", 12_288),
    Goal("S3", "memory", 1.0, "server-gonet", aim=True),
    Goal("S3", "failed", 0),
    Goal("S4", "request", 1.1, "server-gonet"),
    Goal("S4", "request", 0.25, "server-pool"),
    Goal("S6", "failed", 0),
    Goal("S6", "silent", 0),
    Goal("S6", "growth", 1.0),
    *(
        goal
        for line in ("N1", "N2", "N3")
        for goal in (
            Goal(line, "request", 1.0, "server-gevent"),
            Goal(line, "request", 1.0, "server-asyncio"),
            Goal(line, "cpu_each", 1.0, "server-gevent"),
            Goal(line, "request", 1.0, "server-uvloop", aim=True),
        )
    ),
    Goal("N3", "failed", 0),
    Goal("N3", "memory", 12_288, aim=True),
    Goal("N4", "request", 1.0, "server-pythreads", aim=True),
    Goal("N6", "failed", 0),
    Goal("N6", "silent", 0),
    Goal("N6", "growth", 1.0),
)


@dataclass(frozen=True)
class Parsed:
    """What a program printed: samples by metric with their unit, and lines it skips with the reason."""

    samples: dict[str, list[float]]
    units: dict[str, str]
    skips: dict[str, str]


def parse(text: str) -> Parsed:
    """Reads `LINE METRIC VALUE UNIT` and `skip LINE REASON`; ValueError names a line that is neither."""
    found = Parsed({}, {}, {})
    for row in text.splitlines():
        words = row.split()
        if len(words) >= 2 and words[0] == "skip":
            found.skips[words[1]] = " ".join(words[2:])
        elif len(words) == 4 and words[0] in BY_NAME:
            key = f"{words[0]}.{words[1]}"
            found.samples.setdefault(key, []).append(float(words[2]))
            found.units[key] = words[3]
        elif words:
            raise ValueError(f"a program printed {row!r}: neither a sample nor a skip")
    return found


class Samples:
    """The value of each program, metric and round; a round without one is NaN."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[int, float]]] = {}
        self.units: dict[str, str] = {}

    def add(self, program: str, number: int, parsed: Parsed) -> None:
        """The least of the samples counts: noise only adds."""
        for key, samples in parsed.samples.items():
            self.values.setdefault(program, {}).setdefault(key, {})[number] = min(samples)
        self.units.update(parsed.units)

    def series(self, program: str, line: str, metric: str) -> dict[int, float]:
        """By round; CPU time where the line is judged by it and it was measured."""
        metrics = self.values.get(program, {})
        if BY_NAME[line].cpu and f"{line}.{metric}.cpu" in metrics:
            return metrics[f"{line}.{metric}.cpu"]
        return metrics.get(f"{line}.{metric}", {})


@dataclass(frozen=True)
class Verdict:
    """Whether a goal is met: "holds", "missed", "not decided" or "not measured"; the figures are the ratio's."""

    goal: Goal
    word: str
    mid: float
    lo: float
    hi: float
    n: int
    reason: str = ""


def judge(goal: Goal, samples: Samples) -> Verdict:
    """By the interval of the ratio (or of the value): all of it on one side of the limit, or not decided."""
    ours = samples.series(suite_of(goal.line).ours, goal.line, goal.metric)
    if not ours:
        return Verdict(goal, "not measured", math.nan, math.nan, math.nan, 0, "ours does not have it yet")
    if goal.peer is None:
        interval = stats.median_interval(list(ours.values()))
    else:
        theirs = samples.series(goal.peer, goal.line, goal.peer_metric or goal.metric)
        both = sorted(set(ours) & set(theirs))
        if not both:
            return Verdict(goal, "not measured", math.nan, math.nan, math.nan, 0, f"{goal.peer} was not measured here")
        interval = stats.paired_ratio([ours[i] for i in both], [theirs[i] for i in both])
    if interval.n < ROUNDS_MIN and BY_NAME[goal.line].rounds_max >= ROUNDS_MIN:
        few = f"fewer than {ROUNDS_MIN} rounds"
        return Verdict(goal, "not decided", interval.mid, interval.lo, interval.hi, interval.n, few)
    word = "holds" if interval.hi <= goal.limit else "missed" if interval.lo > goal.limit else "not decided"
    return Verdict(goal, word, interval.mid, interval.lo, interval.hi, interval.n)


# ---- running ----


def run_program(path: Path, arguments: Sequence[str], extra: Mapping[str, str]) -> str:
    """Its output; RuntimeError says how it failed. Killed, with what it started, on time-out and interrupt."""
    process = subprocess.Popen(
        [str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **extra},
    )
    try:
        output, errors = process.communicate(timeout=PROGRAM_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took more than {PROGRAM_SECONDS_MAX} s") from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        last = errors.strip().splitlines()
        raise RuntimeError(f"ended with {process.returncode}{': ' + last[-1] if last else ''}")
    return output


def parked_here(available_bytes: int | None) -> int:
    """As many parked threads as half of the free memory holds, at most a million."""
    if available_bytes is None:
        return PARKED
    return max(1000, min(PARKED, available_bytes // 2 // BYTES_PER_PARKED))


def programs_in(folder: Path, suite: Suite) -> dict[str, list[str]]:
    """The lines that each built program knows."""
    found = {}
    for name in suite.programs:
        path = folder / name
        if path.is_file() and os.access(path, os.X_OK):
            found[name] = run_program(path, ["--lines"], {}).split()
    return found


class Race:
    """The rounds: which program runs which line when, and what came out."""

    def __init__(self, folder: Path, programs: Mapping[str, Sequence[str]], lines: Iterable[Line], seed: int) -> None:
        self.folder, self.programs, self.lines = folder, dict(programs), list(lines)
        self.random = random.Random(seed)
        self.samples, self.notes = Samples(), dict[str, str]()
        self.rounds: list[dict[str, Any]] = []

    def _turn(self, line: Line, number: int, extra: Mapping[str, str]) -> None:
        runners = [name for name, known in self.programs.items() if line.name in known]
        self.random.shuffle(runners)
        for name in runners:
            key = f"{name} {line.name}"
            if key in self.notes:
                continue
            try:
                parsed = parse(run_program(self.folder / name, [line.name], extra))
            except (RuntimeError, ValueError) as problem:
                self.notes[key] = str(problem)
                print(f"  {key}: {problem}; left out from here on", file=sys.stderr)
                continue
            self.samples.add(name, number, parsed)
            self.notes.update({f"{name} {skipped}": reason for skipped, reason in parsed.skips.items()})

    def round(self, number: int, extra: Mapping[str, str], deadline: float) -> bool:
        """One round; False when time is up, perhaps in the middle of it."""
        lines = [line for line in self.lines if number < line.rounds_max]
        self.random.shuffle(lines)
        watch = Watch(os.sched_getaffinity(0))
        complete = True
        for line in lines:
            if time.monotonic() > deadline:
                complete = False
                break
            self._turn(line, number, extra)
        found = watch.stop()
        foreign = found["foreign_percent"]
        noisy = foreign is not None and foreign > NOISY_PERCENT
        self.rounds.append({"foreign_percent": foreign, "steal_percent": found["steal_percent"], "noisy": noisy})
        words = "not known" if foreign is None else f"{foreign:.0f} %"
        print(f"round {number + 1}: {found['wall_s']:.0f} s, foreign CPU {words}", file=sys.stderr)
        return complete


def load_into(race: Race, path: Path) -> dict[str, Any]:
    """The rounds of an earlier run of the same code on the same machine come first; its conditions are returned."""
    before: dict[str, Any] = json.loads(path.read_text())
    host = host_record()
    same = ("cpu_model", "kernel_release")
    if before["commit"] != commit() or any(before["host"][name] != host[name] for name in same):
        raise SystemExit(f"{path} is of other code or of another machine: it cannot be added to")
    race.rounds += before["rounds"]
    race.samples.units.update(before["units"])
    for program, metrics in before["samples"].items():
        race.samples.values[program] = {
            key: {int(number): value for number, value in values.items()} for key, values in metrics.items()
        }
    return before["conditions"]


def worse(one: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    """Of the conditions of two parts, those with more foreign CPU."""
    return max([one, *([other] if other else [])], key=lambda found: found["foreign_percent"] or 0.0)


# ---- the table ----


def slug(host: Mapping[str, Any]) -> str:
    """A folder name from the CPU model and the kernel's major version; nothing that names the machine."""
    model = re.sub(r"\((r|tm|c)\)|@.*|\bcpu\b|\bprocessor\b", " ", str(host["cpu_model"]).lower())
    words = re.findall(r"[a-z0-9]+", model) or ["cpu"]
    return "-".join([*words, host["machine"].replace("_", "-"), f"linux{host['kernel_release'].split('.')[0]}"])


def version_of(command: Sequence[str]) -> str | None:
    """The first line that a tool says of itself."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout.splitlines() or [""])[0].strip() or None


def package_version(package: str) -> str | None:
    """Of a Debian package, without the packaging's own part."""
    if shutil.which("dpkg-query") is None:
        return None
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout.split("-")[0] or None


def python_version_of(package: str) -> str | None:
    """Of an installed Python package."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def boost_version() -> str | None:
    """From its header, where Debian puts it."""
    with contextlib.suppress(OSError):
        found = re.search(r'BOOST_LIB_VERSION "([^"]+)"', Path("/usr/include/boost/version.hpp").read_text())
        return found.group(1).replace("_", ".") if found else None
    return None


def commit() -> str | None:
    """Of this tree, with a mark if it is changed."""
    git = ["git", "-C", str(ROOT)]
    done = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "csrc"], capture_output=True, text=True, check=False)
    return done.stdout.strip() + ("+changes" if changed.stdout.strip() else "") if done.returncode == 0 else None


def figure(value: float, places: int = 3) -> str:
    """Three digits; "-" for none."""
    if not math.isfinite(value):
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{places}g}"


def cell(samples: Samples, program: str, line: str, metric: str) -> str:
    """ "least (median)"."""
    values = list(samples.series(program, line, metric).values())
    return f"{figure(min(values))} ({figure(float(np.median(values)))})" if values else ""


def measured_table(samples: Samples, suite: Suite) -> list[str]:
    """A row per metric, a column per program."""
    programs = [name for name in suite.programs if name in samples.values]
    rows = ["| line | metric | unit | " + " | ".join(programs) + " |", "|---|---|---|" + "---|" * len(programs)]
    for line in LINES:
        names = [key for values in samples.values.values() for key in values if key.startswith(line.name + ".")]
        for metric in dict.fromkeys(key.removeprefix(line.name + ".").removesuffix(".cpu") for key in names):
            unit = samples.units[f"{line.name}.{metric}"]
            cpu = line.cpu and any(f"{line.name}.{metric}.cpu" in values for values in samples.values.values())
            cells = [cell(samples, program, line.name, metric) for program in programs]
            rows.append(f"| {line.name} | {metric} | {unit}{' CPU' if cpu else ''} | " + " | ".join(cells) + " |")
    return rows


def verdict_row(verdict: Verdict) -> str:
    """A row of the table of musts or aims."""
    goal = verdict.goal
    interval = f"{figure(verdict.mid)} [{figure(verdict.lo)}, {figure(verdict.hi)}]" if verdict.n else "-"
    margin = f"{verdict.mid / goal.limit:.2f}" if verdict.n and goal.limit else "-"
    word = verdict.word + (f": {verdict.reason}" if verdict.reason else "")
    return f"| {goal.line} | {goal.metric} | {goal.text} | {interval} | {margin} | {verdict.n} | {word} |"


def markdown(
    result: Mapping[str, Any], samples: Samples, verdicts: Sequence[Verdict], suite: Suite = SUITES["green"]
) -> str:
    """The result as a page."""
    host, conditions = result["host"], result["conditions"]
    noisy = sum(entry["noisy"] for entry in result["rounds"])
    head = (
        "| line | metric | goal | measured [95 % interval] | of the limit | rounds | |\n|---|---|---|---|---|---|---|"
    )
    parts = [
        f"# {suite.title}",
        f"Written by `{suite.word}`; method and limits: [bench/README.md](../../README.md).",
        f"{host['cpu_model']}, {host['cpus_online']} CPUs, {host['hypervisor'] or 'no hypervisor seen'}, "
        f"Linux {host['kernel_release']}; filar {result['commit'] or 'commit not known'}; {result['date']}.",
        f"**Conditions: {conditions['badge']['text']}**; {noisy} of {len(result['rounds'])} rounds with more than "
        f"{NOISY_PERCENT:g} % foreign CPU.",
        "Peers: " + ", ".join(f"{name} {words}" for name, words in result["versions"].items() if words) + ".",
        "## Musts",
        "\n".join([head, *(verdict_row(v) for v in verdicts if not v.goal.aim)]),
        "## Aims",
        "\n".join([head, *(verdict_row(v) for v in verdicts if v.goal.aim)]),
        "## Measured: least (median) over the rounds",
        "\n".join(measured_table(samples, suite)),
    ]
    if result["notes"]:
        parts += ["## Left out", "\n".join(f"- {who}: {why}" for who, why in sorted(result["notes"].items()))]
    lines = "\n".join(f"- {line.name}: {line.title}" for line in LINES if suite_of(line.name) is suite)
    return "\n\n".join([*parts, "## Lines", lines]) + "\n"


def number(value: float) -> float | None:
    """JSON has no NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def as_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict for the JSON file."""
    figures = {name: number(getattr(verdict, name)) for name in ("mid", "lo", "hi")}
    return {**asdict(verdict.goal), "goal": verdict.goal.text, "word": verdict.word, **figures, "n": verdict.n}


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Green threads, pools, executors, web servers beside their peers.")
    parser.add_argument("--suite", choices=sorted(SUITES), default="green", help="which lines: G, P, X, Y, S, or N")
    parser.add_argument("--programs", type=Path, default=ROOT / "build/peers", help="where build.sh put them")
    parser.add_argument("--rounds", type=int, default=11, help="at most (1 to 99; below 6 no 95 %% interval)")
    parser.add_argument("--seconds", type=float, default=420, help="no new line is begun after so long")
    parser.add_argument("--lines", nargs="*", choices=sorted(BY_NAME), metavar="LINE", help="only these")
    parser.add_argument("--out", type=Path, help="folder for SUITE.md and SUITE.json (default: bench/results/<host>)")
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument("--add", type=Path, metavar="JSON", help="an earlier result of the same code: its rounds count")
    parser.add_argument("--print", action="store_true", dest="only_print", help="write no files")
    chosen = parser.parse_args(words)
    if not 1 <= chosen.rounds <= 99:
        parser.error("1 to 99 rounds")
    return chosen


def main(words: Sequence[str] | None = None) -> int:
    """Runs, judges, writes; 1 when our own program is missing."""
    chosen = arguments_of(words)
    suite = SUITES[chosen.suite]
    programs = programs_in(chosen.programs, suite)
    if suite.ours not in programs:
        print(f"no program {chosen.programs / suite.ours}: run {suite.word}", file=sys.stderr)
        return 1
    host = host_record()
    of_suite = [line for line in LINES if suite_of(line.name) is suite]
    lines = [line for line in of_suite if not chosen.lines or line.name in chosen.lines]
    race = Race(chosen.programs, programs, lines, chosen.seed)
    extra = {"PEER_PARKED": str(parked_here(host["memory_available_bytes"]))}
    watch, deadline = Watch(os.sched_getaffinity(0)), time.monotonic() + chosen.seconds
    before = load_into(race, chosen.add) if chosen.add else None
    for count in range(len(race.rounds), len(race.rounds) + chosen.rounds):
        if not race.round(count, extra, deadline):
            break
    verdicts = [judge(goal, race.samples) for goal in GOALS if BY_NAME[goal.line] in lines]
    result = {
        "format": FORMAT,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(),
        "host": host,
        "conditions": worse(watch.stop(), before),
        "rounds": race.rounds,
        "versions": {
            "go": version_of(["go", "version"]) if {"go", "server-go"} & set(programs) else None,
            "boost": boost_version() if {"boost-context", "boost-fiber"} & set(programs) else None,
            "oneTBB": package_version("libtbb-dev") if "pool-tbb" in programs else None,
            "pthreadpool": package_version("libpthreadpool-dev") if "pool-pthreadpool" in programs else None,
            "LLVM OpenMP": package_version("libomp-dev") if "pool-llvm" in programs else None,
            "Python": sys.version.split()[0] if suite.prefix in "XYN" else None,
            **{
                name: python_version_of(name)
                for name in ("greenlet", "gevent", "uvloop")
                if name in programs or f"server-{name}" in programs
            },
            "compiler": version_of(["gcc", "--version"]),
        },
        "notes": race.notes,
        "units": race.samples.units,
        "samples": race.samples.values,
        "verdicts": [as_json(verdict) for verdict in verdicts],
    }
    page = markdown(result, race.samples, verdicts, suite)
    print(page)
    if not chosen.only_print:
        folder = chosen.out or ROOT / "bench/results" / slug(host)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{chosen.suite}.md").write_text(page)
        (folder / f"{chosen.suite}.json").write_text(json.dumps(result, indent=1) + "\n")
        shown = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
        print(f"wrote {shown}/{chosen.suite}.md and {chosen.suite}.json")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
