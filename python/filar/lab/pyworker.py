"""An interpreter that counts on order: the other party of experiments about Python threads and processes.

Run as a script it needs nothing but the standard library, so that any Python at hand can be asked, also one without
filar. It reads orders from standard input, a line each: "<threads> <steps>"; does `steps` steps of a Python loop on
so many threads; answers "<start> <end>", CLOCK_MONOTONIC in ns. It ends with its input.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable


def count(steps: int) -> int:
    """A Python loop: `steps` turns of some tens of nanoseconds each."""
    total = 0
    for step in range(steps):
        total += step & 7
    return total


def on_threads(threads: int, body: Callable[[], object]) -> tuple[int, int]:
    """Runs body() on so many new threads at once; the first start and the last end by their own stamps, in ns."""
    stamps: list[tuple[int, int]] = []

    def run() -> None:
        start = time.monotonic_ns()
        body()
        stamps.append((start, time.monotonic_ns()))

    if threads == 1:
        run()
    else:
        crew = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
        for one in crew:
            one.start()
        for one in crew:
            one.join()
    return min(start for start, _ in stamps), max(end for _, end in stamps)


def serve() -> None:
    """Orders in, stamps out, until the input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        threads, steps = map(int, line.split())
        start, end = on_threads(threads, lambda: count(steps))  # noqa: B023 - run before the next line is read
        print(start, end, flush=True)


if __name__ == "__main__":
    import signal

    # Ctrl-C reaches the whole terminal; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve()
