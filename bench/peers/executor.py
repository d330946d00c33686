"""The executor's lines (X) for one of those that are compared: `executor.py KIND LINE`, or `executor.py KIND --lines`.

Prints three samples per metric as the C programs do: `LINE METRIC VALUE UNIT`, or `skip LINE REASON`.
"""

import importlib
import queue
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from multiprocessing.pool import ThreadPool
from typing import Any

WORKERS = 2
SAMPLES = 3
TRIPS, BURST, ITEMS, REGIONS, LOOPS = 1000, 30_000, 30_000, 20, 5000


def nothing() -> None:
    pass


def same(x: int) -> int:
    return x


def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def per(count: int, body: Callable[[], Any]) -> Iterator[float]:
    """Microseconds per step, a sample at a time."""
    for _ in range(SAMPLES):
        begun = time.perf_counter_ns()
        body()
        yield (time.perf_counter_ns() - begun) / count / 1000


def show(line: str, metric: str, samples: Iterator[float], unit: str = "us") -> None:
    for value in samples:
        print(line, metric, f"{value:.4f}", unit)


# ---- executors -------------------------------------------------------------------------------------------------


def executor_lines(line: str, executor: futures.Executor) -> None:
    """X1 to X3 and X6 are the same program for every executor."""
    submit = executor.submit
    futures.wait([submit(time.sleep, 0.001) for _ in range(20)])  # the workers are there
    if line == "X1":
        show(line, "round_trip", per(TRIPS, lambda: [submit(nothing).result() for _ in range(TRIPS)]))
    elif line == "X2":
        show(line, "results", per(BURST, lambda: [f.result() for f in [submit(nothing) for _ in range(BURST)]]))
        show(line, "wait", per(BURST, lambda: futures.wait([submit(nothing) for _ in range(BURST)])))
    elif line == "X3":
        show(line, "item", per(ITEMS, lambda: list(executor.map(same, range(ITEMS)))))
    elif not sysconfig.get_config_var("Py_GIL_DISABLED"):
        print(f"skip {line} needs a free-threaded build of Python")
    else:
        show(line, "one_thread", per(1, lambda: [fib(20) for _ in range(16)]))
        show(line, "two_threads", per(1, lambda: list(executor.map(fib, [20] * 16))))


def filar_line(line: str) -> None:
    import filar

    with filar.ThreadPoolExecutor(WORKERS) as executor:
        if line == "X4":
            filar.joblib.register()
            joblib_line(line, "filar")
        elif line == "X5":
            native_loop(line, executor)
        else:
            executor_lines(line, executor)


def native_loop(line: str, executor: Any) -> None:
    """A kernel of filar's own, so that no compiler is needed; sixteen steps that do next to nothing."""
    from filar._lib import ffi, lib

    ctx = ffi.new("filar_spin *")
    body = ffi.addressof(lib, "filar_kernel_spin")

    def loops() -> None:
        for _ in range(LOOPS):
            executor.parallel_for(body, 16, ctx=ctx)

    show(line, "loop", per(LOOPS, loops))


def standard_line(line: str) -> None:
    with futures.ThreadPoolExecutor(WORKERS) as executor:
        executor_lines(line, executor)


def joblib_line(line: str, backend: str = "threading") -> None:
    joblib = importlib.import_module("joblib")
    with joblib.parallel_config(backend):
        parallel = joblib.Parallel(n_jobs=2)
        tasks = [joblib.delayed(abs)(n) for n in range(2)]
        parallel(tasks)
        show(line, "region", per(REGIONS, lambda: [parallel(tasks) for _ in range(REGIONS)]))


# ---- floors and others -----------------------------------------------------------------------------------------


def queue_line(line: str) -> None:
    """A worker that takes callables from a SimpleQueue: what an executor in Python could cost at least."""
    work: queue.SimpleQueue[Any] = queue.SimpleQueue()
    done: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def serve() -> None:
        while (call := work.get()) is not None:
            done.put(call())

    worker = threading.Thread(target=serve)
    worker.start()

    def trips() -> None:
        for _ in range(TRIPS):
            work.put(nothing)
            done.get()

    def burst() -> None:
        for _ in range(BURST):
            work.put(nothing)
        for _ in range(BURST):
            done.get()

    if line == "X1":
        show(line, "round_trip", per(TRIPS, trips))
    else:
        show(line, "results", per(BURST, burst))
    work.put(None)
    worker.join()


def chunks_line(line: str) -> None:
    with ThreadPool(WORKERS) as pool:
        show(line, "item", per(ITEMS, lambda: pool.map(same, range(ITEMS))))


def numba_line(line: str) -> None:
    numba = importlib.import_module("numba")
    numpy = importlib.import_module("numpy")

    @numba.njit(parallel=True, nogil=True)
    def loop(array: Any) -> None:
        for i in numba.prange(16):
            array[i] += 1

    array = numpy.zeros(16)
    loop(array)
    show(line, "loop", per(REGIONS, lambda: [loop(array) for _ in range(REGIONS)]))


KINDS: dict[str, tuple[Callable[[str], None], tuple[str, ...], str]] = {
    "filar": (filar_line, ("X1", "X2", "X3", "X4", "X5", "X6"), "filar"),
    "standard": (standard_line, ("X1", "X2", "X3", "X6"), "concurrent.futures"),
    "queue": (queue_line, ("X1", "X2"), "queue"),
    "chunks": (chunks_line, ("X3",), "multiprocessing"),
    "joblib": (joblib_line, ("X4",), "joblib"),
    "numba": (numba_line, ("X5",), "numba"),
}


def main(kind: str, line: str) -> int:
    """Prints the lines that it knows, or measures one."""
    measure, lines, module = KINDS[kind]
    if line == "--lines":
        print(*lines)
        return 0
    try:
        importlib.import_module(module)
    except ImportError:
        print(f"skip {line} {module} is not installed")
        return 0
    measure(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
