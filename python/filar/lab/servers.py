"""Web servers: a thread for each client, a pool, green threads, an event loop, on the same service and the same load.

The service is csrc/lab/http.h, for servers in C, and `httpserver`, for those in Python. The load generator is C (the
way `serve-http`), a closed loop on one kernel thread; every server is a process of its own.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from filar import chart
from filar.errors import DeadlineError, FilarError
from filar.lab import httpserver, pictures
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
    Verdict,
    Way,
    experiment,
)
from filar.lab.bench import Bench
from filar.lab.interpreters import Helper
from filar.lab.pools import grouped_bars, per_s
from filar.lab.result import Result
from filar.lab.stats import N_MIN, NOTHING, Interval

FAMILY = "Servers"
THREADS_NOTES = "Lecture notes on threads"
POOL_NOTES = "Lecture notes on thread pools"
CAVEAT = (
    "The clients are a closed loop on one thread of this machine: they ask again when they are answered, so a server "
    "that stalls is asked less (coordinated omission), and the latencies are not those of requests that keep coming."
)
MS, US = 1_000_000, 1_000

SERVED, LATENCY, P99, P999 = "served", "latency", "latency p99", "latency p99.9"
CPU, SWITCHES, MEMORY = "server CPU per request", "switches per request", "memory per connection"
SILENT, FAILED = "clients without an answer", "failed"


@dataclass(frozen=True)
class Model:
    """A way of serving: one of csrc/lab/server.h by its number, or one of `httpserver.MODES` by its name."""

    name: str
    kind: int | str
    workers: int = 8


ITERATIVE = Model("one client after the other", 0)
THREADS = Model("thread per connection", 1)
PROCESSES = Model("process per connection", 2)
CREW = Model("pool, a thread per client", 3)
POOL = Model("pool with a dispatcher", 4)
EVENTS = Model("event loop", 5)
GREEN = Model("green threads", 6, 2)
PY_THREADS = Model("Python, thread per connection", "threads")
PY_POOL = Model("Python, pool with a dispatcher", "pool")
PY_GREEN = Model("Python, green threads", "green")
ASYNCIO = Model("asyncio", "asyncio")
ASYNCIO_THREADS = Model("asyncio with an executor", "asyncio-threads")
_ELSEWHERE = 7
# Of Python threads, at most so many: beyond, starting them takes longer than everything else.
_PYTHON_THREADS_MAX = 1_000
# What this process has open beside the clients.
_FDS_SPARE = 200


# ---- servers in Python ----


class HttpServer(Helper):
    """A process that runs `httpserver`: serves on `port` until it is closed."""

    def __init__(self, mode: str, workers: int) -> None:
        super().__init__([sys.executable, "-I", str(Path(httpserver.__file__)), mode, str(workers)])
        self.port = 0

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def await_port(self) -> None:
        """Blocks until it listens."""
        self.port = int(self._read())


@contextmanager
def http_servers(models: Sequence[Model], notes: list[str]) -> Iterator[dict[str, HttpServer]]:
    """A server for each model in Python, by the model's name; those that do not start are in `notes`."""
    with ExitStack() as stack:
        started: dict[str, HttpServer] = {}
        for model in models:
            if isinstance(model.kind, str):
                try:
                    started[model.name] = HttpServer(model.kind, model.workers)
                except (FilarError, OSError) as error:
                    notes.append(f"{model.name}: not measured, {error}.")
                    continue
                stack.callback(started[model.name].close)
        for name, server in list(started.items()):
            try:
                server.await_port()
            except (FilarError, OSError, ValueError) as error:
                notes.append(f"{name}: not measured, {error}.")
                del started[name]
        yield started


@contextmanager
def descriptors() -> Iterator[int]:
    """As many file descriptors as this process may have at all, for the block; yields how many clients that allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = before[1] if before[1] != resource.RLIM_INFINITY else 1 << 20
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
        yield max(1, most - _FDS_SPARE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def http_way(variant: str, model: Model, servers: Mapping[str, HttpServer], **params: int) -> Way | None:
    """A way that loads this model's server; None if it did not start."""
    if isinstance(model.kind, int):
        return Way(variant, "serve-http", {"kind": model.kind, "workers": model.workers, **params})
    server = servers.get(model.name)
    if server is None:
        return None
    own = {"kind": _ELSEWHERE, "port": server.port, "process": server.pid}
    return Way(variant, "serve-http", {**own, "workers": model.workers, **params})


def without_addresses(rows: Rows) -> Rows:
    """The rows without the port and process number of this run: they mean nothing later."""
    return Rows(
        Row(
            row.variant,
            row.metric,
            row.unit,
            row.samples,
            {name: value for name, value in row.params.items() if name not in ("port", "process")},
            row.note,
            row.rounds,
        )
        for row in rows
    )


def run_ways(bench: Bench, ways: Sequence[Way | None], **options: Any) -> Measured:
    """One plan of those that there are. The driver is the load generator: it runs wherever there is room."""
    outcome = bench.run([way for way in ways if way is not None], pinned=False, warmup_rounds=0, **options)
    measured = Measured(rows=without_addresses(outcome.rows()), notes=outcome.notes())
    for row in measured.rows.of_metric(FAILED):
        if row.max > 0:
            measured.notes.append(f"{row.variant}: {int(row.samples.sum()):,} requests failed.")
    return measured


def milliseconds(value: float) -> str:
    """A time in words."""
    return chart.format_quantity(value, "ns")


# ---- server-models ----

MODELS = (THREADS, POOL, EVENTS, GREEN, PY_THREADS, PY_POOL, PY_GREEN, ASYNCIO)
EACH = (ITERATIVE, THREADS, PROCESSES, CREW, EVENTS, GREEN)
EACH_CLIENTS = 32
# About 20 µs of computing on the machine of the published figures.
STEPS = 16_000
# Below this a model serves as many as the other.
_BETTER = 1.2
_HERE = "32 clients over unix sockets, 20 µs of computing, on a 2-core VM (Cascade Lake 2.5 GHz)"


@experiment
class ServerModels(Experiment):
    """One service, five ways of serving it, from a few clients to thousands (E35)."""

    name = "server-models"
    title = "A web server: threads, a pool, green threads, an event loop"
    family = FAMILY
    claim = Claim(
        "A thread for each client does not scale: where clients are many, a pool, green threads or an event loop serve "
        "more of them.",
        f"{THREADS_NOTES}; {POOL_NOTES}",
    )
    method = (
        "Clients with a connection each ask a small web service again and again over the loopback; it parses the "
        "request and echoes it, written once in C and once in Python, each server in a process of its own. "
        "Every server is loaded by every number of clients for a short window in every round, in shuffled order, by a "
        "closed loop on one thread; a second part has a new connection for each request, which computes for 20 µs. "
        "Latencies are of single requests within a window; CPU time, context switches and memory are the server's own, "
        "without what the kernel keeps for sockets and stacks of threads."
    )
    quick = Budget(seconds=6.4, rounds_max=12, rounds_min=6)
    full = Budget(seconds=24.0, rounds_max=20, rounds_min=6)
    references = (
        Reference("one after the other", 33_800, "1/s", _HERE, SERVED),
        Reference("thread per connection", 25_000, "1/s", _HERE, SERVED),
        Reference("pool of 4", 43_800, "1/s", _HERE, SERVED),
        Reference("process per connection", 3_300, "1/s", _HERE, SERVED),
        Reference("event loop", 32_200, "1/s", _HERE, SERVED),
    )
    counts_quick: ClassVar = (10, 200)
    counts_full: ClassVar = (10, 100, 1_000)
    many: ClassVar = 10_000

    @staticmethod
    def variant(model: Model, clients: int) -> str:
        """Public name: "event loop, 1,000 clients"."""
        return f"{model.name}, {clients:,} clients"

    @staticmethod
    def each_variant(model: Model) -> str:
        """Public name in the second part: "event loop, a connection a request"."""
        return f"{model.name}, a connection a request"

    def may_serve(self, model: Model, clients: int, bench: Bench) -> bool:
        """Whether so many clients of this model are all right here."""
        if model is PY_THREADS:
            return clients <= min(_PYTHON_THREADS_MAX, bench.safety.threads(clients))
        return model is not THREADS or clients <= bench.safety.threads(clients)

    def measure(self, bench: Bench) -> Measured:
        """Three plans: few clients, a connection for each request, very many clients (full mode)."""
        notes: list[str] = [CAVEAT]
        measured = Measured(notes=notes)
        with descriptors() as clients_max, http_servers(MODELS, notes) as servers:
            counts = [n for n in (self.counts_quick if bench.quick else self.counts_full) if n <= clients_max]
            window = 12 * MS if bench.quick else 60 * MS
            each = [self.each(model, window) for model in EACH]
            parts = {
                "A few clients": partial(self.part, bench, servers, MODELS, counts, window, share=0.75),
                "A connection for each request": partial(run_ways, bench, each, seconds=bench.budget.seconds / 4),
            }
            if not bench.quick and self.many <= clients_max:
                some = (THREADS, POOL, EVENTS, GREEN, PY_GREEN, ASYNCIO)
                parts[f"{self.many:,} clients"] = partial(
                    self.part, bench, servers, some, [self.many], 400 * MS, share=1.0, rounds_max=3
                )
            elif not bench.quick:
                notes.append(f"{self.many:,} clients: not measured, at most {clients_max:,} file descriptors are left.")
            for what, part in parts.items():
                try:
                    found = part()
                except DeadlineError as error:
                    if not measured.rows:
                        raise
                    # What there is already must not be lost for what there was no time for.
                    notes.append(f"{what}: not measured, {error}.")
                    continue
                measured.rows += found.rows
                notes += found.notes
        return measured

    def part(
        self,
        bench: Bench,
        servers: Mapping[str, HttpServer],
        models: Sequence[Model],
        counts: Sequence[int],
        window_ns: int,
        share: float,
        rounds_max: int | None = None,
    ) -> Measured:
        """One plan: these models at these numbers of clients."""
        ways = [
            http_way(
                self.variant(model, clients),
                model,
                servers,
                connections=clients,
                window_ns=window_ns,
                patience_ns=10_000 * MS,
            )
            for clients in counts
            for model in models
            if self.may_serve(model, clients, bench)
        ]
        return run_ways(bench, ways, seconds=bench.budget.seconds * share, rounds_max=rounds_max)

    def each(self, model: Model, window_ns: int) -> Way | None:
        """A new connection over a unix socket for each request that computes."""
        workers = 4 if model is CREW else model.workers
        params = {"connections": EACH_CLIENTS, "steps": STEPS, "reconnect": 1, "local": 1, "window_ns": window_ns}
        return http_way(self.each_variant(model), Model(model.name, model.kind, workers), {}, **params)

    def counts(self, rows: Rows) -> list[int]:
        """The numbers of clients of the first part, ascending."""
        return sorted({int(r.params["connections"]) for r in rows if not r.params.get("reconnect")})

    def judge(self, rows: Rows) -> Verdict:
        """By the event loop against a thread per connection, both in C, at each number of clients."""
        ratios: dict[int, Interval] = {}
        for clients in self.counts(rows):
            found = rows.ratio(self.variant(EVENTS, clients), self.variant(THREADS, clients), SERVED)
            if found.n >= N_MIN:
                ratios[clients] = found
        if len(ratios) < 2:
            return Verdict(UNDECIDED, "threads and the event loop were not both measured with few and many clients")
        most = max(ratios)
        told = [
            f"{model.name} {per_s(rows.median(self.variant(model, most), SERVED))}"
            for model in MODELS
            if rows.find(self.variant(model, most), SERVED) is not None
        ]
        by = [f"{one.mid:.2f} times ({one.lo:.2f} to {one.hi:.2f}) with {n:,} clients" for n, one in ratios.items()]
        reason = f"the event loop serves, of what a thread per connection does: {', '.join(by)}"
        reason += f"; with {most:,} clients: {', '.join(told)}"
        headline = f"{most:,} clients: event loop {ratios[most].mid:.2f} times a thread per connection"
        better = [n for n, one in ratios.items() if one.lo > _BETTER]
        if len(better) == len(ratios):
            return Verdict(HOLDS, reason, headline=headline)
        if most in better:
            least = min(n for n in better if all(m in better for m in ratios if m >= n))
            return Verdict(CONDITIONAL, reason, f"there are {least:,} clients or more", headline)
        if ratios[most].hi < _BETTER:
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: the interval includes the threshold", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Curves over the number of clients: served, latency, memory; bars of the second part."""
        counts = self.counts(result.rows)
        lines = {model.name: [self.variant(model, n) for n in counts] for model in MODELS}

        def curves(metric: str, title: str) -> chart.Lines:
            return pictures.curves(result, metric, "connections", lines, title=title, x_label="clients")

        return [
            curves(SERVED, "Requests served, by number of clients"),
            curves(LATENCY, "Latency, median of a window"),
            curves(P99, "Latency that one request in a hundred exceeds"),
            curves(CPU, "CPU time of the server for each request"),
            curves(MEMORY, "Memory of the server for each connection"),
            grouped_bars(
                result,
                SERVED,
                [model.name for model in EACH],
                ["a connection a request"],
                "{group}, {kind}",
                title=f"A connection for each request, {EACH_CLIENTS} clients",
                x_label="served",
            ),
        ]


# ---- every model under two loads ----


class _TwoLoads(Experiment):
    """Every server under one load and another in every round, so that the two can be compared."""

    loads: ClassVar[tuple[str, str]]
    # Of the loads, the one whose row says that a model was measured.
    telling: ClassVar[str]
    models: ClassVar[tuple[Model, ...]]
    models_quick: ClassVar[tuple[Model, ...]]

    @staticmethod
    def variant(model: Model, what: str) -> str:
        """Public name of a model under a load: "event loop, blocking"."""
        return f"{model.name}, {what}"

    def params(self, model: Model, what: str, quick: bool) -> dict[str, int]:
        """What the load is, as parameters of the way."""
        raise NotImplementedError

    def measure(self, bench: Bench) -> Measured:
        """One plan: every model under both loads."""
        notes: list[str] = [CAVEAT]
        models = self.models_quick if bench.quick else self.models
        with http_servers(models, notes) as servers:
            ways = [
                http_way(self.variant(model, what), model, servers, **self.params(model, what, bench.quick))
                for model in models
                for what in self.loads
            ]
            measured = run_ways(bench, ways)
        measured.notes = notes + measured.notes
        return measured

    def charts(self, result: Result) -> list[Any]:
        """Bars: served and p99, under both loads."""
        names = [model.name for model in self.models if result.rows.find(self.variant(model, self.telling), SERVED)]

        def bars(metric: str, title: str) -> Any:
            return grouped_bars(result, metric, names, list(self.loads), "{group}, {kind}", title=title, x_label=metric)

        return [bars(SERVED, result.title), bars(P99, "Latency, 99th percentile")]


# ---- server-blocking ----

BLOCK_US = 2_000
BLOCK_CLIENTS = 32
BLOCK_STEPS = 8_000
POOLS = tuple(Model(f"pool of {workers} with a dispatcher", 4, workers) for workers in (2, 8, 32))
BLOCK_MODELS = (EVENTS, *POOLS, THREADS, GREEN, ASYNCIO, ASYNCIO_THREADS, PY_THREADS, PY_GREEN)
# Without what blocks one at a time, as the event loop does: a sample of it lasts as long as all clients stand in line.
BLOCK_QUICK = (EVENTS, *POOLS[:2], THREADS, GREEN, ASYNCIO_THREADS, PY_GREEN)
WITH, WITHOUT = "blocking", "not blocking"
# A server that serves so many at once has one thread that blocks; one that does a pool's share does all of it.
_ALONE, _SHARE = 1.3, 0.5


@experiment
class ServerBlocking(_TwoLoads):
    """The same service with a call in its handler that blocks for 2 ms."""

    name = "server-blocking"
    title = "A handler that blocks"
    family = FAMILY
    claim = Claim(
        "A worker that blocks serves nobody meanwhile: an event loop stops, a pool serves at most as many as it has "
        "threads.",
        POOL_NOTES,
    )
    method = (
        f"{BLOCK_CLIENTS} clients ask for a little computing, with and without a call that blocks its kernel thread "
        "for 2 ms (a sleep). "
        "Every server takes both in every round, in shuffled order, from a closed loop on one thread. "
        "By Little's law, requests served a second times the time that each is blocked is how many were blocked at "
        "once: 1 in a server with one thread, at most the threads of a pool."
    )
    quick = Budget(seconds=3.2, rounds_max=6, rounds_min=6)
    full = Budget(seconds=12.0, rounds_max=20, rounds_min=6)
    references = (
        Reference("one after the other", 513, "1/s", "32 clients, 10 µs and 2 ms blocked, 2-core VM", SERVED),
        Reference("pool of 8", 515 * 8, "1/s", "32 clients, 10 µs and 2 ms blocked, 2-core VM: 515 a thread", SERVED),
        Reference("thread per connection", 14_500, "1/s", "32 clients, 10 µs and 2 ms blocked, 2-core VM", SERVED),
    )
    loads = (WITH, WITHOUT)
    telling = WITH
    models, models_quick = BLOCK_MODELS, BLOCK_QUICK

    def params(self, model: Model, what: str, quick: bool) -> dict[str, int]:
        """With and without the call that blocks."""
        return {
            "connections": BLOCK_CLIENTS,
            "steps": BLOCK_STEPS,
            "block_us": BLOCK_US if what == WITH else 0,
            "window_ns": (45 if what == WITH else 10) * MS * (1 if quick else 3),
            # All have asked by then: whoever is served one after the other is in the state that is to be measured.
            "patience_ns": 20 * MS,
        }

    def at_once(self, rows: Rows, model: Model) -> Interval:
        """How many requests were blocked at once, by Little's law."""
        row = rows.find(self.variant(model, WITH), SERVED)
        if row is None or row.n < N_MIN:
            return NOTHING
        factor = BLOCK_US / 1e6
        one = row.interval
        return Interval(one.mid * factor, one.lo * factor, one.hi * factor, one.n)

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the event loop blocks one at a time and the pools most of their threads, and no more."""
        found = {model: self.at_once(rows, model) for model in BLOCK_MODELS}
        found = {model: one for model, one in found.items() if one.n}
        pools = {model: found[model] for model in POOLS if model in found}
        if EVENTS not in found or not pools:
            return Verdict(UNDECIDED, "the event loop and a pool were not both measured")
        told = [f"{model.name} {one.mid:.3g}" for model, one in found.items()]
        reason = f"requests blocked at once, of {BLOCK_CLIENTS} clients: {', '.join(told)}"
        largest = max(pools, key=lambda model: model.workers)
        headline = f"blocked at once: event loop {found[EVENTS].mid:.2g}, {largest.name} {found[largest].mid:.3g}"
        full = [one.lo > _SHARE * min(model.workers, BLOCK_CLIENTS) for model, one in pools.items()]
        beyond = [one.lo > model.workers for model, one in pools.items()]
        if any(beyond) or found[EVENTS].lo > _ALONE:
            return Verdict(FAILS, reason, headline=headline)
        if all(full) and found[EVENTS].hi < _ALONE:
            return Verdict(HOLDS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: the machine was too busy for the pools to be full", headline=headline)


# ---- server-slow-clients ----

SLOW = 8
FAST = 16
SLOW_WORKERS = 4
SLOW_CREW, SLOW_POOL = Model(CREW.name, 3, SLOW_WORKERS), Model(POOL.name, 4, SLOW_WORKERS)
SLOW_MODELS = (SLOW_CREW, SLOW_POOL, THREADS, EVENTS, GREEN, PY_THREADS, PY_GREEN, ASYNCIO)
SLOW_QUICK = (SLOW_CREW, SLOW_POOL, THREADS, EVENTS, GREEN, PY_GREEN, ASYNCIO)
AMONG, ALONE = "among slow clients", "without them"
_STARVED, _UNHURT = 0.1, 0.5


@experiment
class ServerSlowClients(_TwoLoads):
    """Clients that send a byte now and then, beside ordinary ones."""

    name = "server-slow-clients"
    title = "Slow clients"
    family = FAMILY
    claim = Claim(
        "A slow client holds the thread that serves it: with as many of them as a pool has threads, nobody else is "
        "served.",
        POOL_NOTES,
    )
    method = (
        f"{FAST} clients ask over and over, with a connection for each request; beside them, or not, {SLOW} send a "
        "request at one byte in 20 ms. "
        "Every server takes both in every round, in shuffled order; the pools have "
        f"{SLOW_WORKERS} threads, which either keep a client to its end or take requests as they become ready. "
        "Counted and timed are the ordinary clients' requests alone."
    )
    quick = Budget(seconds=3.2, rounds_max=6, rounds_min=6)
    full = Budget(seconds=10.0, rounds_max=20, rounds_min=6)
    loads = (AMONG, ALONE)
    telling = ALONE
    models, models_quick = SLOW_MODELS, SLOW_QUICK

    def params(self, model: Model, what: str, quick: bool) -> dict[str, int]:
        """With and without slow clients."""
        slow = SLOW if what == AMONG else 0
        return {
            "connections": FAST + slow,
            "slow": slow,
            "pause_us": 20_000,
            "reconnect": 1,
            "window_ns": (10 if quick else 50) * MS,
            "patience_ns": (15 if model is SLOW_CREW else 2_000) * MS,
        }

    def kept(self, rows: Rows, model: Model) -> Interval:
        """The share of requests that is still served among slow clients; 0 is a value here, so no ratio of pairs."""
        among, alone = (rows.find(self.variant(model, what), SERVED) for what in (AMONG, ALONE))
        if among is None or alone is None or not alone.median > 0:
            return NOTHING
        one = among.interval
        return Interval(one.mid / alone.median, one.lo / alone.median, one.hi / alone.median, min(one.n, alone.n))

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the pool whose threads keep their clients starves, and the one with a dispatcher does not."""
        found = {model: self.kept(rows, model) for model in SLOW_MODELS}
        found = {model: one for model, one in found.items() if one.n >= N_MIN}
        if SLOW_CREW not in found or SLOW_POOL not in found:
            return Verdict(UNDECIDED, "the two pools were not both measured")
        told = [f"{model.name} {100 * one.mid:.3g} %" for model, one in found.items()]
        reason = f"of what is served without slow clients, among them: {', '.join(told)}"
        crew, pool = found[SLOW_CREW], found[SLOW_POOL]
        headline = f"{SLOW} slow clients leave {100 * crew.mid:.2g} % of a pool of {SLOW_WORKERS}, "
        headline += f"{100 * pool.mid:.3g} % with a dispatcher"
        if crew.hi < _STARVED and pool.lo > _UNHURT:
            return Verdict(CONDITIONAL, reason, "a thread of the pool keeps its client until that leaves", headline)
        if crew.hi < _STARVED and pool.hi < _STARVED:
            return Verdict(HOLDS, reason, headline=headline)
        if crew.lo > _STARVED:
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: neither clearly starved nor clearly not", headline=headline)
