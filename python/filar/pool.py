"""A `concurrent.futures.ThreadPoolExecutor` in C, with what users of the standard one have asked for.

`ThreadPoolExecutor` is a subclass of the standard class and keeps its whole contract: what a program may do with that
one it may do with this one, with the same results, exceptions and messages. A future and the call it stands for are
one object here, without locks of its own; submitting, taking and waiting are done in C.

On builds with a GIL the fast paths rely on it; on free-threaded builds the same places take a mutex each.
"""

import contextlib
import itertools
import logging
import operator
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.thread import BrokenThreadPool
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from filar._budget import native_threads_limited, require_threadpoolctl
from filar._lib import lib, pool_types
from filar.errors import DeadlineError, InvalidArgumentError, RejectedError
from filar.native import Kernel, NativePool, allowed_cpus
from filar.topology import topology

__all__ = [
    "BrokenThreadPool",
    "Future",
    "PoolStatistics",
    "RejectedError",
    "StuckError",
    "StuckWorker",
    "ThreadPoolExecutor",
    "check_cancelled",
    "is_cancelled",
]

_T = TypeVar("_T")
_LOGGER = logging.getLogger("concurrent.futures")


class _Settled:
    """Stands for the condition of a future that is done and never had one: nothing can change under it."""

    __slots__ = ()

    def acquire(self, *_: Any, **__: Any) -> bool:
        return True

    def release(self) -> None:
        pass

    def notify(self, n: int = 1) -> None:
        pass

    def notify_all(self) -> None:
        pass

    def wait(self, timeout: float | None = None) -> bool:
        return True

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass


def _let_others_run() -> None:
    """Empty: that the interpreter begins a Python function is enough for it to let go of the GIL if it was asked."""


_types = pool_types(_Settled(), _let_others_run)
_FutureCore: Any = _types["FutureCore"]
_ExecutorCore: Any = _types["ExecutorCore"]
is_cancelled: Callable[[], bool] = _types["is_cancelled"]


def check_cancelled() -> None:
    """Inside a call that a pool runs: raises `concurrent.futures.CancelledError` if somebody wants it to end."""
    if is_cancelled():
        raise futures.CancelledError


class Future(_FutureCore, futures.Future):
    """A `concurrent.futures.Future`; `cancel_requested` says whether `cancel()` was called, also too late."""

    __slots__ = ()


@dataclass(frozen=True)
class PoolStatistics:
    """A snapshot of a pool; the counters only grow."""

    threads: int  # that exist or are being started
    idle: int  # of those, waiting for work
    queued: int  # calls not yet begun
    longest_queue: int
    submitted: int
    completed: int  # ended, with a result or not, or found cancelled when their turn came
    rejected: int  # refused because the queue was full
    run_by_submitter: int  # run by whoever submitted them, because the queue was full
    wakes: int  # how often a sleeping worker had to be woken
    max_workers: int


@dataclass(frozen=True)
class StuckWorker:
    """A worker that did not end in time."""

    name: str
    ident: int
    stack: str  # its Python stack, outermost call first


class StuckError(DeadlineError):
    """`shutdown(timeout=)` ran out of time; `workers` says who is stuck, and where."""

    def __init__(self, message: str, workers: list[StuckWorker]) -> None:
        super().__init__(message)
        self.workers = workers


# ---- the process -----------------------------------------------------------------------------------------------

# The threads of all pools that the interpreter waits for, each with its queue.
_threads_queues: "weakref.WeakKeyDictionary[threading.Thread, Any]" = weakref.WeakKeyDictionary()


def _at_exit() -> None:
    """Before the interpreter joins its threads: what is queued still runs, then the workers end."""
    _types["at_exit"]()
    waiting = list(_threads_queues.items())
    for _, queue in waiting:
        queue.wake()
    for thread, _ in waiting:
        thread.join()


def _after_fork_in_child() -> None:
    _types["after_fork_in_child"]()
    _threads_queues.clear()


# As the standard library does, and after it: what is registered last runs first.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_after_fork_in_child)


# ---- workers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Setup:
    """What a worker does before its first call."""

    queue: Any
    name: str
    cpus: tuple[int, ...] | None
    native_threads: int | None
    initializer: Callable[..., Any] | None
    initargs: tuple[Any, ...]


def _worker(executor_reference: "weakref.ref[ThreadPoolExecutor]", setup: _Setup) -> None:
    with contextlib.ExitStack() as stack:
        try:
            # The end of a name tells workers apart, and the system keeps 15 bytes.
            name = setup.name.replace("\0", "").encode(errors="replace")[-lib.FILAR_NAME_BYTES_MAX :]
            _types["name_thread"](name)
            if setup.cpus is not None:
                os.sched_setaffinity(0, setup.cpus)
            if setup.native_threads is not None:
                stack.enter_context(native_threads_limited(setup.native_threads))
            if setup.initializer is not None:
                setup.initializer(*setup.initargs)
        except BaseException:
            _LOGGER.critical("Exception in initializer:", exc_info=True)
            setup.queue.leave()
            executor = executor_reference()
            if executor is not None:
                executor._initializer_failed()
            return
        setup.queue.work()


# ---- arguments -------------------------------------------------------------------------------------------------

_WHEN_FULL = {"block": 0, "reject": 1, "run": 2}
_PRIORITIES = {"normal": 0, "high": 1, "low": 2}
_CONTEXTS: dict[str | None, int] = {None: 0, "copy": 1, "empty": 2}


def _default_workers() -> int:
    """What the running Python's own executor takes."""
    count = getattr(os, "process_cpu_count", os.cpu_count)()
    return min(32, (count or 1) + 4)


def _choice(value: Any, choices: dict[Any, int], what: str) -> int:
    try:
        return choices[value]
    except (KeyError, TypeError):
        raise InvalidArgumentError(f"{what} is one of {', '.join(map(repr, choices))}, not {value!r}") from None


def _queue_limit(size: Any) -> int:
    if size is None:
        return 0
    number = operator.index(size)
    if number < 1:
        raise InvalidArgumentError(f"queue_size is None or at least 1, not {number}")
    return number


def _native_threads(threads: Any, workers: int) -> int | None:
    if threads is None:
        return None
    number = max(1, len(os.sched_getaffinity(0)) // workers) if threads == "share" else operator.index(threads)
    if number < 1:
        raise InvalidArgumentError(f'native_threads is None, "share" or at least 1, not {number}')
    require_threadpoolctl()
    return number


def _cpus_per_worker(pin: Any) -> list[tuple[int, ...]] | None:
    """For each worker in turn where it may run; None: wherever its creator may."""
    if pin is None or pin == "none":
        return None
    if pin == "cores":
        # The first CPU of each core, then the siblings.
        cpus = sorted((cpu for cpu in topology().cpus if cpu.allowed), key=lambda cpu: (cpu.smt, cpu.number))
        return [(cpu.number,) for cpu in cpus]
    if isinstance(pin, str) or not isinstance(pin, Iterable):
        raise InvalidArgumentError(f'pin is None, "none", "cores" or a list of CPUs, not {pin!r}')
    numbers = allowed_cpus(pin)
    if not numbers:
        raise InvalidArgumentError("pin is empty: a worker needs a CPU")
    return [(cpu,) for cpu in numbers]


# ---- the executor ----------------------------------------------------------------------------------------------


def _results(job: Any) -> Iterator[Any]:
    """The standard executor's map returns a generator: what was not reached is cancelled when it is closed."""
    try:
        yield from job
    finally:
        job.cancel()


def _map(
    executor: Any,
    pool: "ThreadPoolExecutor",
    fn: Callable[..., _T],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    options: dict[str, Any],
    priority: int = 0,
) -> Iterator[_T]:
    """For the pool itself or a view of it."""
    inherited = (
        set(options) - {"chunksize"}  # buffersize, or what the standard map refuses
        or pool._limit  # each call is to be admitted by itself
        or not iterables
        or type(pool).submit is not ThreadPoolExecutor.submit
        or sys.version_info >= (3, 15)  # its iterator goes on after an exception
    )
    if inherited:
        return futures.Executor.map(executor, fn, *iterables, timeout=timeout, **options)
    spread = len(iterables) > 1
    job = _types["MapJob"](pool._work_queue, fn, timeout, spread, priority)
    job.extend(executor, zip(*iterables, strict=False) if spread else iterables[0])
    return _results(job)


# Below so many elements of the result starting a piece costs more than it saves.
_ELEMENTS_WORTH_A_PIECE = 32_768


def _check_map_array(ufunc: Any, arrays: tuple[Any, ...], out: Any) -> None:
    if not isinstance(ufunc, np.ufunc):
        raise TypeError(f"map_array() takes a NumPy ufunc, not {type(ufunc).__name__}")
    if ufunc.nout != 1 or ufunc.signature is not None:
        raise InvalidArgumentError(f"map_array() takes a ufunc from numbers to one number; {ufunc.__name__} is none")
    if len(arrays) != ufunc.nin:
        raise TypeError(f"{ufunc.__name__} takes {ufunc.nin} arrays, not {len(arrays)}")
    if out is not None and not isinstance(out, np.ndarray):
        raise TypeError(f"out is an array, not {type(out).__name__}")
    if out is not None and not out.flags.writeable:
        raise InvalidArgumentError("out is read-only")


def _map_array(pool: "ThreadPoolExecutor", ufunc: Any, arrays: tuple[Any, ...], out: Any, grain: Any) -> np.ndarray:
    _check_map_array(ufunc, arrays, out)
    inputs = [np.asanyarray(array) for array in arrays]
    shape = np.broadcast_shapes(*(array.shape for array in inputs))
    if out is None:
        # What the ufunc makes of no elements has the type that it makes of all.
        out = np.empty(shape, ufunc(*(np.empty(0, array.dtype) for array in inputs)).dtype)
    elif out.shape != shape:
        raise InvalidArgumentError(f"out has the shape {out.shape}; the result has {shape}")
    rows = shape[0] if shape else 0
    if grain is None:
        pieces = min(4 * len(os.sched_getaffinity(0)), out.size // _ELEMENTS_WORTH_A_PIECE, rows)
        step = -(-rows // pieces) if pieces else rows
    elif (step := operator.index(grain)) < 1:
        raise InvalidArgumentError(f"grain is None or at least 1, not {step}")
    if step >= rows or any(np.may_share_memory(out, array) and not _same_place(out, array) for array in inputs):
        ufunc(*inputs, out=out)
        return out
    views = [np.broadcast_to(array, shape, subok=True) for array in inputs]

    def piece(begin: int) -> None:
        part = slice(begin, begin + step)
        ufunc(*(view[part] for view in views), out=out[part])

    for _ in pool.map(piece, range(0, rows, step)):
        pass
    return out


def _same_place(out: Any, array: Any) -> bool:
    """Element i of one is element i of the other: then no piece reads what another one writes."""
    return (
        out.__array_interface__["data"] == array.__array_interface__["data"]
        and out.strides == array.strides
        and out.shape == array.shape
        and out.dtype == array.dtype
    )


class ThreadPoolExecutor(_ExecutorCore, futures.ThreadPoolExecutor):
    """The standard ThreadPoolExecutor, faster, and with more to say about it.

    `max_workers`, `thread_name_prefix`, `initializer`, `initargs`: as there; threads start when there is work for
    them. What is new, and by default as there:

    - `queue_size`: how many calls may wait; None: any number. `when_full`: "block" (submit waits; a worker of this
      pool never does, since it would wait for itself), "reject" (submit raises RejectedError, a `queue.Full`) or
      "run" (submit runs the call itself and returns a future that is done).
    - `context`: "copy" runs each call in a copy of the submitter's `contextvars` context, "empty" in an empty one;
      None as the running Python's own executor does, in the worker's context.
    - `pin`: "cores" (one worker per core, then the siblings, then from the start), a list of CPUs for the workers in
      turn, or None.
    - `daemon`: the interpreter does not wait for the workers at exit.
    - `native_threads`: how many threads BLAS and OpenMP may use inside a call; "share" divides this process's CPUs
      among the workers. Needs threadpoolctl. BLAS libraries know only one number for the whole process: it holds while
      there are workers, and the least of all pools counts.

    A running call may ask `filar.pool.is_cancelled()`: true once somebody has called its future's `cancel()` (which
    returns False all the same), closed its `map`, or shut the pool down with `cancel_futures`.
    """

    _counter = itertools.count().__next__
    _work_queue: Any  # a WorkQueue, kept by the C half
    _broken: Any  # False, or a sentence

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        queue_size: int | None = None,
        when_full: str = "block",
        context: str | None = None,
        pin: str | Iterable[int] | None = None,
        daemon: bool | None = None,
        native_threads: int | str | None = None,
    ) -> None:
        # Not the parent's: it would make a queue and locks that nobody uses.
        if max_workers is None:
            max_workers = _default_workers()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._max_workers = operator.index(max_workers)
        self._limit = _queue_limit(queue_size)
        self._cpus = _cpus_per_worker(pin)
        self._daemon = daemon
        self._native_threads = _native_threads(native_threads, self._max_workers)
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._threads: set[threading.Thread] = set()
        self._broken = False
        self._shutdown = False
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{self._counter()}"
        self._numbers = itertools.count()
        self._native_pool: NativePool | None = None
        self._work_queue = _types["WorkQueue"](
            Future,
            self._max_workers,
            self._limit,
            _choice(when_full, _WHEN_FULL, "when_full"),
            _choice(context, _CONTEXTS, "context"),
        )

    # ---- work ----

    def map(
        self, fn: Callable[..., _T], *iterables: Iterable[Any], timeout: float | None = None, **options: Any
    ) -> Iterator[_T]:
        """As the running Python's own: calls `fn` with the iterables' elements in parallel, results in order.

        `chunksize` is ignored, `buffersize` (from 3.14 on) is that of the running Python. Blocks only while the
        iterables do; the iterator blocks until the next result is there.
        """
        return _map(self, self, fn, iterables, timeout, options)

    def at_priority(self, priority: str) -> futures.Executor:
        """This pool as an executor whose calls go before ("high") or after ("low") the others that wait.

        `submit()` and `map()` are those of an executor, and it can be given to whatever takes one
        (`loop.run_in_executor`). Calls that run are not interrupted, and now and then a call of the lowest priority is
        taken first, so that none waits for ever. `shutdown()` is the pool's.
        """
        return _View(self, _choice(priority, _PRIORITIES, "priority"))

    # ---- native work ----

    def _natives(self) -> NativePool:
        """The native workers, made with the first loop: no more than CPUs, pinned as the others are."""
        found = self._native_pool
        if found is None:
            if not self._work_queue.is_open():
                self.submit(int)  # raises what a submission raises
            workers = min(self._max_workers, len(os.sched_getaffinity(0)))
            cpus = None if self._cpus is None else list(itertools.chain.from_iterable(self._cpus))
            prefix = str(self._thread_name_prefix)
            # Two threads may both make one; the one that is not kept ends unused.
            made = NativePool(workers, cpus=cpus, name=prefix[-lib.FILAR_NAME_BYTES_MAX :])
            found = self.__dict__.setdefault("_native_kept", made)
            self._native_pool = found
        return found

    def parallel_for(self, kernel: Any, n: int, grain: int | None = None, ctx: Any = None, **options: Any) -> None:
        """Runs a native kernel over [0, n) without the GIL; see `filar.native.NativePool.parallel_for()`. Blocks."""
        (self._native_pool or self._natives()).parallel_for(kernel, n, grain, ctx, **options)

    def parallel_reduce(self, kernel: Any, combine: Any, n: int, identity: Any, **options: Any) -> np.ndarray:
        """A native reduction; see `filar.native.NativePool.parallel_reduce()`. Blocks."""
        return self._natives().parallel_reduce(kernel, combine, n, identity, **options)

    def submit_native(self, kernel: Any, begin: int, end: int, ctx: Any = None, *, writes: bool = True) -> Any:
        """Schedules one call `kernel(begin, end, ctx)` on a worker of this pool, without the GIL.

        The arguments are those of `filar.native.NativePool.parallel_for()`, checked now and kept alive until the call
        has ended. Returns a Future, whose result is None.
        """
        return self.submit(Kernel.of(kernel).prepare(begin, end, ctx, writes))

    def map_array(self, ufunc: np.ufunc, /, *arrays: Any, out: Any = None, grain: int | None = None) -> np.ndarray:
        """`ufunc(*arrays, out=out)`, in pieces along the first axis on this pool's workers.

        NumPy lets go of the GIL for numbers, so the pieces run in parallel. `grain`: rows in a piece; None: four
        pieces per CPU, and one for all if there is little to do. Blocks; raises what the ufunc raises.
        """
        return _map_array(self, ufunc, arrays, out, grain)

    # ---- threads ----

    def _spawn(self) -> None:
        """Called where a thread is wanted and has been counted."""
        number = next(self._numbers)
        name = f"{self._thread_name_prefix}_{number}"
        cpus = self._cpus[number % len(self._cpus)] if self._cpus else None
        setup = _Setup(self._work_queue, name, cpus, self._native_threads, self._initializer, self._initargs)
        thread = threading.Thread(name=name, target=_worker, args=(weakref.ref(self), setup), daemon=self._daemon)
        self._threads.add(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            raise
        if not thread.daemon:
            _threads_queues[thread] = self._work_queue

    def _initializer_failed(self) -> None:
        self._broken = "A thread initializer failed, the thread pool is not usable anymore"
        self._work_queue.break_(self._broken)
        for work in self._work_queue.drain():
            work.set_exception(BrokenThreadPool(self._broken))

    def resize(self, max_workers: int) -> None:
        """Changes how many workers there may be; does not block.

        Workers that are too many end after the call they are in; more start at once if calls are waiting.
        """
        number = operator.index(max_workers)
        if number <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._max_workers = number
        self._work_queue.resize(number)
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        for _ in range(number):
            self._attend()
        if self._native_pool is not None:
            self._native_pool.resize(min(number, len(os.sched_getaffinity(0))))

    def statistics(self) -> PoolStatistics:
        """A snapshot; does not block."""
        return PoolStatistics(**self._work_queue.statistics())

    # ---- the end ----

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """No new calls. `wait`: blocks until all workers have ended; Ctrl-C ends the wait.

        `cancel_futures`: calls that have not begun are cancelled, running ones are told (`is_cancelled()`).
        `timeout`: seconds to wait at most; then raises StuckError (a TimeoutError), which says which workers are in
        a call that does not end, and where. They go on; the pool stays shut down.
        """
        self._shutdown = True
        self._work_queue.close()
        if cancel_futures:
            self._work_queue.cancel_running()
            for work in self._work_queue.drain():
                if work.cancel() and isinstance(work, Future):
                    work.set_running_or_notify_cancel()
        if not wait:
            return
        if self._native_pool is not None:
            self._native_pool.shutdown(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if deadline is not None:
            self._report_stuck(timeout)

    def _report_stuck(self, timeout: float | None) -> None:
        frames = sys._current_frames()
        stuck = [
            StuckWorker(thread.name, thread.ident, "".join(traceback.format_stack(frames[thread.ident])))
            for thread in self._threads
            if thread.is_alive() and thread.ident in frames
        ]
        if stuck:
            names = ", ".join(worker.name for worker in stuck)
            stacks = "\n".join(f"{worker.name}:\n{worker.stack}" for worker in stuck)
            raise StuckError(f"after {timeout} s still in a call: {names}\n{stacks}", stuck)


class _View(_ExecutorCore, futures.Executor):
    """See `ThreadPoolExecutor.at_priority()`; keeps the pool alive."""

    def __init__(self, pool: ThreadPoolExecutor, priority: int) -> None:
        self._pool, self._priority = pool, priority
        self._share(pool, priority)

    def map(
        self, fn: Callable[..., _T], *iterables: Iterable[Any], timeout: float | None = None, **options: Any
    ) -> Iterator[_T]:
        return _map(self, self._pool, fn, iterables, timeout, options, self._priority)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def _spawn(self) -> None:
        self._pool._spawn()
