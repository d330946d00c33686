"""The programs of `make bench-server`: one server each, under the load generator of the lab.

    python server.py SERVER --lines     which lines it knows
    python server.py SERVER LINE        prints `LINE METRIC VALUE UNIT` for each sample
    python server.py --serve SERVER     for this program itself: serves on a free port, which it prints

`request` is the window's length over the requests answered in it; `cpu` the server's own CPU time for each; `p99` the
99th percentile of latencies in a closed loop; `memory` what the server's process has grown by for each connection.
The load generator runs in this process, on one kernel thread, wherever the kernel puts it.
"""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

SAMPLES = 3
HERE = Path(__file__).resolve().parent
MS = 1_000_000

NATIVE = {"server-filar": 6, "server-events": 5, "server-pool": 4, "server-threads": 1}
GO = {"server-go": "http", "server-gonet": "net"}
PYTHON = ("server-python", "server-gevent", "server-asyncio", "server-uvloop", "server-pythreads")

# Connections, then what else a line sets.
LINES = {
    "S1": {"connections": 100, "window_ns": 250 * MS},
    "S2": {"connections": 1_000, "window_ns": 400 * MS},
    "S3": {"connections": 10_000, "window_ns": 1_200 * MS},
    "S4": {"connections": 64, "block_us": 2_000, "steps": 8_000, "window_ns": 250 * MS},
    "S5": {"connections": 100, "reconnect": 1, "window_ns": 250 * MS},
    "S6": {"connections": 10_000, "window_ns": 60_000 * MS},
    "N1": {"connections": 100, "window_ns": 250 * MS},
    "N2": {"connections": 1_000, "window_ns": 400 * MS},
    "N3": {"connections": 10_000, "window_ns": 2_000 * MS},
    "N4": {"connections": 64, "block_us": 2_000, "steps": 8_000, "window_ns": 250 * MS},
    "N6": {"connections": 10_000, "window_ns": 60_000 * MS},
}
LONG = ("S6", "N6")
# Those that hold 10,000 connections here, and the one long run of ours.
ONLY = {
    "S6": ("server-filar",),
    "N3": ("server-python", "server-gevent", "server-asyncio", "server-uvloop"),
    "N6": ("server-python",),
}
# Of a long run's 60 s memory counts between so long before its end and so long: earlier, clients still connect on a
# busy machine; later, all hang up at once.
SETTLED_S = (45.0, 3.0)


def lines_of(server: str) -> list[str]:
    """The lines that a server knows."""
    prefix = "N" if server in PYTHON else "S"
    return [line for line in LINES if line.startswith(prefix) and server in ONLY.get(line, (server,))]


# ---- servers in Python that are not filar's ----


def serve(server: str) -> None:
    """Serves with the handler of the lab's service in Python; only who waits for the sockets differs."""
    import asyncio
    import resource
    import socket
    import threading

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if server == "server-gevent":
        import gevent
        from gevent.server import StreamServer

        from filar.lab.httpserver import BACKLOG, serve_connection

        def handle(connection: object, address: object) -> None:
            serve_connection(connection, gevent.sleep)

        threads = StreamServer(("127.0.0.1", 0), handle, backlog=BACKLOG)
        threads.start()
        print(threads.server_port, flush=True)
        gevent.get_hub().threadpool.spawn(os.read, 0, 1).get()
        return
    from filar.lab import httpserver

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    if server == "server-uvloop":
        import uvloop

        uvloop.install()
    threading.stack_size(256 * 1024)
    listener = socket.create_server(("127.0.0.1", 0), backlog=httpserver.BACKLOG)
    print(listener.getsockname()[1], flush=True)
    if server in ("server-asyncio", "server-uvloop"):
        asyncio.run(httpserver._on_streams(listener, asyncio.sleep))
    httpserver.MODES["threads"](listener, 1)


def start(server: str) -> "subprocess.Popen[str]":
    """The process of a server that is not the lab's own; its first line is the port."""
    if server in GO:
        programs = Path(os.environ.get("PEER_PROGRAMS", HERE.parents[1] / "build/peers"))
        command = [str(programs / "goserver"), GO[server]]
    else:
        command = [sys.executable, __file__, "--serve", server]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ---- measuring ----


def value(line: str, metric: str, number: float, unit: str) -> None:
    """One sample."""
    if math.isfinite(number):
        print(line, metric, f"{number:.6g}", unit)


def resident(process: int) -> int:
    """Anonymous memory and page tables of a process, bytes."""
    fields = dict(row.split(":", 1) for row in Path(f"/proc/{process}/status").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "VmPTE")) * 1024


def first_child() -> int | None:
    """The server that a way of the lab has forked, while it runs."""
    for task in Path("/proc/self/task").iterdir():
        try:
            words = (task / "children").read_text().split()
        except OSError:
            continue
        if words:
            return int(words[0])
    return None


def measure(line: str, params: dict[str, int]) -> None:
    """Runs the line's samples and prints them."""
    from filar.lab.base import Budget, Way
    from filar.lab.bench import Bench
    from filar.lab.servers import CPU, FAILED, MEMORY, P99, P999, SERVED, SILENT, SWITCHES, descriptors

    sizes: list[tuple[float, int]] = []
    begun = time.monotonic()

    def look(done: float, what: str) -> None:
        child = params.get("process") or first_child()
        if child is not None:
            sizes.append((time.monotonic() - begun, resident(child)))

    rounds = 1 if params["connections"] >= 10_000 else SAMPLES
    with descriptors() as clients_max:
        if params["connections"] > clients_max:
            print(f"skip {line} {params['connections']} connections, {clients_max} file descriptors")
            return
        bench = Bench(quick=False, budget=Budget(60.0, rounds, rounds), on_progress=look if line in LONG else None)
        outcome = bench.run([Way("it", "serve-http", params)], pinned=False, warmup_rounds=0)
    if outcome.failures:
        raise SystemExit(f"{line}: {outcome.failures['it']}")
    rows = outcome.rows()

    def of(metric: str) -> list[float]:
        row = rows.find("it", metric)
        return [] if row is None else row.samples.tolist()

    for served in of(SERVED):
        value(line, "request", 1e9 / served if served else math.nan, "ns")
    for metric, name, unit in (
        (CPU, "cpu_each", "ns"),
        (P99, "p99", "ns"),
        (P999, "p999", "ns"),
        (MEMORY, "memory", "B"),
        (SWITCHES, "switches", "count"),
        (FAILED, "failed", "count"),
    ):
        for number in of(metric):
            value(line, name, number, unit)
    if line in LONG:
        settled = [size for at, size in sizes if SETTLED_S[1] <= sizes[-1][0] - at <= SETTLED_S[0]]
        value(line, "silent", max(of(SILENT)), "percent")
        value(line, "growth", 100 * (settled[-1] / settled[0] - 1) if settled else math.nan, "percent")


def run(server: str, line: str) -> None:
    """One line of one server."""
    params = {"patience_ns": 20_000 * MS, **LINES[line]}
    if server in NATIVE:
        workers = len(os.sched_getaffinity(0)) if server != "server-pool" else 8
        measure(line, {"kind": NATIVE[server], "workers": workers, **params})
        return
    if server == "server-python":
        from filar.lab.servers import HttpServer

        ours = HttpServer("green", 1)
        try:
            ours.await_port()
            measure(line, {"kind": 7, "port": ours.port, "process": ours.pid, **params})
        finally:
            ours.close()
        return
    process = start(server)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline() or 0)
        if port == 0:
            raise SystemExit(f"{server} did not start")
        measure(line, {"kind": 7, "port": port, "process": process.pid, **params})
    finally:
        process.kill()
        process.wait()


def main(words: list[str]) -> int:
    """The command line."""
    if words[0] == "--serve":
        serve(words[1])
    elif words[1] == "--lines":
        print(" ".join(lines_of(words[0])))
    else:
        run(words[0], words[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
