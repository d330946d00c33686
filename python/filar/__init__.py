"""Threading primitives in C, and a lab that measures what each costs on this machine.

    filar.KernelThread(work, cpu=1)         a thread with a name, CPUs, priority, stack; the habits of threading.Thread
    filar.ThreadPoolExecutor(4)             the standard library's executor, much faster, with more options
    filar.run(main)                         main() on a green thread; spawn(), TaskGroup, sleep() and so on inside it
    filar.topology()                        the CPUs, caches and limits of this machine, as this process may use them
    filar.Lock(), RLock, Condition, ...     what threads wait for, with the shapes of `threading` and `queue`
    filar.Channel(16), filar.select(...)    items from sender to receiver, and waiting for the first of several
    filar.net.serve(handler, address)       sockets for green threads; servers, TLS, socketserver, http
    filar.wait_process(popen)               waits for a child process
    with filar.trace() as t: ...            what ran where, who waited, who woke whom; t.plot(), t.to_perfetto(path)
    with filar.predict() as p: ...          work, span, and how fast it would be on 1 to 1,024 workers
    filar.wait_readable(fd), ...            until a file descriptor is ready, without holding up other green threads
    filar.why_not(threads=50_000)           which limit would stop so many threads
    filar.doctor()                          what this machine lacks for good measurements
    from filar import lab                   experiments: lab.run("kthread-create", quick=True)

The command `filar` does the same in a terminal; `filar report` measures everything and writes one page.
"""

import importlib
from typing import Any

from filar.channel import Channel, Selected, select
from filar.doctor import Diagnosis, Finding, doctor
from filar.errors import (
    BusyError,
    CancelledError,
    ClosedError,
    DeadlineError,
    DeadlockError,
    FilarError,
    ForkedError,
    InvalidArgumentError,
    JoinCancelledError,
    LimitError,
    NoSuchCPUError,
    NotFoundError,
    NotPermittedError,
    NotSupportedHereError,
    OutOfMemoryError,
    RejectedError,
    SystemCallError,
    WrongStateError,
)
from filar.green import (
    GreenRuntime,
    GreenThread,
    TaskGroup,
    blocking,
    current,
    dump,
    run,
    sleep,
    spawn,
    timeout,
    yield_,
)
from filar.limits import Limit, WhyNot, why_not
from filar.queue import Empty, Full, LifoQueue, PriorityQueue, Queue, ShutDown, SimpleQueue
from filar.sync import (
    Barrier,
    BoundedSemaphore,
    BrokenBarrierError,
    Condition,
    Event,
    Latch,
    Lock,
    RLock,
    RWLock,
    Semaphore,
    WaitGroup,
)
from filar.threads import KernelThread, ThreadStatistics
from filar.topology import Topology, topology
from filar.waiting import close_fd, forget_fd, wait_fd, wait_readable, wait_writable

__version__: str

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "BusyError",
    "CancelledError",
    "Channel",
    "ClosedError",
    "Condition",
    "DeadlineError",
    "DeadlockError",
    "Diagnosis",
    "Empty",
    "Event",
    "FilarError",
    "Finding",
    "ForkedError",
    "Full",
    "GreenRuntime",
    "GreenThread",
    "InvalidArgumentError",
    "JoinCancelledError",
    "KernelThread",
    "Latch",
    "LifoQueue",
    "Limit",
    "LimitError",
    "Lock",
    "NoSuchCPUError",
    "NotFoundError",
    "NotPermittedError",
    "NotSupportedHereError",
    "OutOfMemoryError",
    "PriorityQueue",
    "Queue",
    "RLock",
    "RWLock",
    "RejectedError",
    "Selected",
    "Semaphore",
    "ShutDown",
    "SimpleQueue",
    "SystemCallError",
    "TaskGroup",
    "ThreadPoolExecutor",
    "ThreadStatistics",
    "Topology",
    "WaitGroup",
    "WhyNot",
    "WrongStateError",
    "__version__",
    "blocking",
    "close_fd",
    "current",
    "doctor",
    "dump",
    "forget_fd",
    "predict",
    "run",
    "select",
    "sleep",
    "spawn",
    "timeout",
    "topology",
    "trace",
    "wait_fd",
    "wait_process",
    "wait_readable",
    "wait_writable",
    "why_not",
    "yield_",
]


_MODULES = ("aio", "chart", "joblib", "kernels", "lab", "native", "net", "pool", "predicting", "report", "watching")


def __getattr__(name: str) -> Any:
    """`filar.lab` and its kin, and `filar.__version__`, on first use: `import filar` stays light."""
    if name in _MODULES:
        return importlib.import_module(f"filar.{name}")
    if name == "wait_process":
        from filar.net import wait_process

        globals()[name] = wait_process
        return wait_process
    if name == "ThreadPoolExecutor":
        from filar.pool import ThreadPoolExecutor

        globals()[name] = ThreadPoolExecutor
        return ThreadPoolExecutor
    if name == "trace":
        from filar.watching import trace

        globals()[name] = trace
        return trace
    if name == "predict":
        from filar.predicting import predict

        globals()[name] = predict
        return predict
    if name == "__version__":
        globals()[name] = found = _version()
        return found
    raise AttributeError(f"module 'filar' has no attribute {name!r}")


def _version() -> str:
    """That of the installed package; of a source tree that was never installed, that of its C core."""
    # Half of the time that `import filar` would take is importlib.metadata.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("filar")
    except PackageNotFoundError:
        from filar._lib import lib, text

        return text(lib.filar_build_info().version)
