"""What bench/peers measures and what is wanted of it: suites, their lines, and goals.

Data only: run.py runs it, peer_judge.py says whether goals are met, peer_page.py writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A line of the table: what it is, by which time it is judged, how many rounds it gets at most."""

    name: str
    title: str
    cpu: bool = True
    rounds_max: int = 99


@dataclass(frozen=True)
class Suite:
    """Lines run together: green threads (G), pools (P), the executor (X), Python on green threads (Y), web servers in
    C and Go (S), in Python (N). The first program is ours."""

    name: str
    title: str
    word: str
    prefix: str
    programs: tuple[str, ...]
    floors: tuple[str, ...] = ()
    """Programs that no library is in: what the machine, or the plainest thing that works, takes."""
    folder: str = "peers"
    """Where the programs are, below build/."""
    code: tuple[str, ...] = ("csrc", "bench/peers")
    """What of the tree its figures depend on."""
    seconds: float = 420

    @property
    def ours(self) -> str:
        """The program that is filar."""
        return self.programs[0]


_PYTHON = ("csrc", "bench/peers", "python/filar")
_ALL = (
    Suite(
        "green",
        "Green threads",
        "make bench-green",
        "G",
        ("filar", "floor", "boost-context", "boost-fiber", "go"),
        floors=("floor",),
    ),
    Suite(
        "pool",
        "Pools",
        "make bench-pool",
        "P",
        ("pool-filar", "pool-plain", "pool-tbb", "pool-gomp", "pool-llvm", "pool-pthreadpool", "go"),
        floors=("pool-plain",),
    ),
    Suite(
        "executor",
        "The executor, from Python",
        "make bench-pool",
        "X",
        tuple(f"executor-{kind}" for kind in ("filar", "standard", "queue", "chunks", "joblib", "numba")),
        floors=("executor-queue",),
        code=_PYTHON,
        seconds=240,
    ),
    Suite(
        "green-python",
        "Python on green threads",
        "make bench-green-python",
        "Y",
        ("filar", "floor", "greenlet", "gevent", "asyncio", "threads"),
        floors=("floor",),
        folder="python-peers",
        code=_PYTHON,
    ),
    Suite(
        "server",
        "Web servers",
        "make bench-server",
        "S",
        ("server-filar", "server-events", "server-pool", "server-threads", "server-go", "server-gonet"),
        floors=("server-events",),
        code=_PYTHON,
        seconds=720,
    ),
    Suite(
        "server-python",
        "Web servers in Python",
        "make bench-server",
        "N",
        ("server-python", "server-gevent", "server-asyncio", "server-uvloop", "server-pythreads"),
        code=_PYTHON,
        seconds=720,
    ),
)
SUITES = {suite.name: suite for suite in _ALL}


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
    Line("G12", "pipe ping-pong through the poller, one way, 1 worker"),
    Line("G13", "bookkeeping of a call that may block", cpu=False),
    Line("G14", "CPU burnt after a burst", cpu=False, rounds_max=9),
    Line("G15", "idle, 1,000 parked, 2 workers: CPU time in 1.5 s, per cent of one CPU", cpu=False, rounds_max=6),
    Line("P1", "submit empty tasks from one producer and wait, 1 and 2 workers", cpu=False),
    Line("P2", "the same from two producers", cpu=False),
    Line("P3", "fork and join: fib, a fork per call, 1 and 2 threads", cpu=False),
    Line("P4", "loop of 1,000 trivial steps, 2 threads", cpu=False),
    Line("P5", "loop of a million trivial steps, 2 threads", cpu=False),
    Line("P6", "uneven Mandelbrot, 1024 x 1024, 2 threads", cpu=False, rounds_max=9),
    Line("P7", "from 5 ms of idleness, submission to first instruction", cpu=False, rounds_max=99),
    Line("P8", "round trip of one task, 1 and 2 workers", cpu=False),
    Line("P9", "uneven Mandelbrot with a busy neighbour on one CPU", cpu=False, rounds_max=99),
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
    Goal("G12", "pipe", 1.0, "go"),
    Goal("G12", "pipe", 0.8, "go", aim=True),
    Goal("G13", "bookkeeping", 1.0, "go"),
    Goal("G13", "bookkeeping", 20, aim=True),
    Goal("G14", "burnt_first_100ms", 1.0),
    Goal("G14", "burnt_next_300ms", 0.3),
    Goal("G14", "burnt_first_100ms", 0.1, aim=True),
    Goal("G15", "idle_share", 0.1),
    Goal("P1", "submit_1", 0.4, "pool-tbb"),
    Goal("P1", "submit_2", 0.4, "pool-tbb"),
    Goal("P1", "submit_1", 60, aim=True),
    Goal("P1", "submit_2", 60, aim=True),
    Goal("P1", "batch_1", 12, aim=True),
    Goal("P1", "batch_2", 12, aim=True),
    Goal("P2", "producers_1", 0.5, "pool-tbb"),
    Goal("P2", "producers_2", 0.5, "pool-tbb"),
    Goal("P2", "producers_1", 50, aim=True),
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
    Goal("P8", "round_trip_2", 2.5, aim=True),
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
    # At least 1.8 times as fast on two threads as the same calls one after the other.
    Goal("X6", "two_threads", round(1 / 1.8, 3), "executor-filar", "one_thread", aim=True),
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
