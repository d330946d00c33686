"""Green threads that run ordinary Python: thousands of them, blocking anywhere in filar's primitives.

    def main():
        with filar.TaskGroup() as group:
            for url in urls:
                group.spawn(fetch, url)

    filar.run(main)

A green thread has a stack and a Python thread state of its own, so any code runs on it, and it waits in the middle
of any call. Those of one runtime take turns on its workers (kernel threads, `workers=`, 1 by default: with the GIL,
more of them add parallelism only to native code). One that has started stays on its worker. Scheduling is
cooperative: a green thread runs until it waits for something of filar's, calls `yield_()`, or ends; what blocks its
kernel thread (`time.sleep`, a standard socket, `threading.Lock`) blocks its worker, which is what `blocking()` is for.

`docs/green_threads.md` says what is promised and what is not.
"""

import atexit
import contextvars
import gc
import operator
import os
import sys
import sysconfig
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from typing import IO, Any, Self

from filar._lib import check, error_for, extension, ffi, lib, wait
from filar.errors import (
    CancelledError,
    DeadlineError,
    InvalidArgumentError,
    JoinCancelledError,
    NotSupportedHereError,
    WrongStateError,
)
from filar.threads import argument_pointer, function_address

__all__ = [
    "GreenRuntime",
    "GreenThread",
    "NativeGreenThread",
    "RuntimeStatistics",
    "TaskGroup",
    "blocking",
    "current",
    "dump",
    "run",
    "sleep",
    "spawn",
    "spawn_first",
    "timeout",
    "yield_",
]


def _forget_kernel_thread() -> None:
    """On a worker that ends: up to 3.12 threading keeps its stand-in for a foreign thread for ever."""
    if sys.version_info < (3, 13):
        threading._active.pop(threading.get_ident(), None)  # type: ignore[attr-defined]


def _say_if_free_threaded() -> None:
    """Once, at import: there most of filar works with the GIL on again, and green threads refuse to run Python."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        warnings.warn(
            "filar does not support free-threaded builds of Python yet: green threads that run Python are refused, and "
            "the rest is not tested there",
            RuntimeWarning,
            stacklevel=2,
        )


_say_if_free_threaded()

_border: dict[str, Any] = {
    "__name__": __name__,
    "error_for": error_for,
    "CancelledError": CancelledError,
    "JoinCancelledError": JoinCancelledError,
    "forget_kernel_thread": _forget_kernel_thread,
}
check(lib.filar_py_install(ffi.cast("void *", id(_border))))

GreenThread = _border["GreenThread"]
spawn: Callable[..., Any] = _border["spawn"]
spawn_first: Callable[..., Any] = _border["spawn_first"]
yield_: Callable[[], None] = _border["yield_"]
sleep: Callable[[float | None], None] = _border["sleep"]
current: Callable[[], Any] = _border["current"]
timeout = _border["timeout"]


# ---- runtimes --------------------------------------------------------------------------------------------------

_PINS = {None: lib.FILAR_WORKERS_NOT_PINNED, "compact": lib.FILAR_WORKERS_COMPACT, "scatter": lib.FILAR_WORKERS_SCATTER}
_COUNTERS = (
    *("yields", "parks", "steals", "stolen", "worker_sleeps", "worker_wakes", "deadlines_fired"),
    *("blocking_calls", "workers_relieved", "workers_stuck", "spares_started", "spares_refused", "preemptions"),
)
# Seconds: how long a runtime that is asked to end waits before it names what never ends; and how long the
# interpreter's exit waits for it.
_PATIENCE = 5.0
_open: set["GreenRuntime"] = set()  # changed by single operations, which are atomic


class _ImportGuard:
    """First in sys.meta_path: tells the border while a green thread executes a module's source.

    It finds what the others find. Of the loader it found (an object made for this one import) it wraps
    `exec_module` for the duration.
    """

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """What the finders after this one say."""
        if current() is None:
            return None
        found = None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None and (found := find(name, path, target)) is not None:
                break
        if found is not None and type(found.loader) in (SourceFileLoader, SourcelessFileLoader):
            _wrap_loader(found.loader, name)
        return found


def _wrap_loader(loader: Any, name: str) -> None:
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        del loader.exec_module
        before = _border["_importing"](name)
        try:
            execute(module)
        finally:
            _border["_importing"](before)

    loader.exec_module = exec_module


_import_guard = _ImportGuard()


@dataclass(frozen=True)
class RuntimeStatistics:
    """A snapshot; the counters only grow."""

    workers: int
    live: int  # green threads spawned and not ended
    stacks: int  # made so far
    spawned: int
    ended: int
    yields: int  # that switched
    parks: int
    steals: int
    stolen: int
    worker_sleeps: int
    worker_wakes: int
    deadlines_fired: int
    blocking_calls: int  # of filar_blocking_begin(), nested ones not counted
    workers_relieved: int  # times somebody stood in for a worker that was blocked or stuck
    workers_stuck: int  # of these, for `watch_ms`
    spares_started: int
    spares_refused: int  # times one was wanted and could not be had
    preemptions: int


class GreenRuntime:
    """Workers that take turns to run green threads; a context manager that ends when all of those have.

    `workers`: kernel threads. `pin`: None, "compact", "scatter", or a list of CPUs. `stack_size`: bytes of each green
    thread's stack (address space; only what is used costs memory), None: as Python's version needs. `preempt_ms`:
    a body that computes for about so long gives up its worker to those that wait for it; None: it keeps it until it
    waits, yields or ends. On Python 3.11 a RuntimeWarning, and as None: it has no `sys.monitoring`, which this needs.

    `spares`: how many workers may stand in for blocked ones, made when needed; None: 64, but none with one worker. A
    worker counts as blocked between filar_blocking_begin() and _end() of native code, and after `watch_ms`
    milliseconds in one green thread without a wait or yield while others wait; None: never, since a worker that waits
    for the GIL looks like that. A spare runs what has not been started yet and native green threads; started Python
    ones stay where they are. (`blocking()` needs neither: it runs its call elsewhere.)

    `native_preempt_ms`: a green thread of `spawn_native(..., preemptible=True)` that runs for so long is made to
    yield, by a signal; at least 0.1; None: never. It does nothing to green threads that run Python; for those there is
    `preempt_ms`, in another runtime.

    Leaving the block waits until every green thread has ended; if an exception leaves it, they are all
    cancelled first. Ctrl-C works while it waits. Blocks; not allowed on a green thread.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        pin: str | Iterable[int] | None = None,
        stack_size: int | None = None,
        name: str | None = None,
        spares: int | None = None,
        watch_ms: float | None = None,
        native_preempt_ms: float | None = None,
        preempt_ms: float | None = None,
    ) -> None:
        self._pointer: Any = None
        self._address = 0
        self._preempts = False
        options, keep = _runtime_options(workers, pin, stack_size, name)
        if spares is not None:
            options.spare_workers_max = _spares(spares)
        options.watch_ns = _nanoseconds("watch_ms", watch_ms)
        options.preempt_ns = _nanoseconds("native_preempt_ms", native_preempt_ms)
        preempt_ns = _preempt_ns(preempt_ms)
        if preempt_ns > 0 and options.preempt_ns > 0:
            raise InvalidArgumentError("a runtime preempts Python (preempt_ms) or native bodies (native_preempt_ms)")
        if _import_guard not in sys.meta_path:
            sys.meta_path.insert(0, _import_guard)
        if preempt_ns > 0:
            _border["_preemption_prepare"]()
            self._preempts = True
        place = ffi.new("filar_runtime **")
        try:
            check(lib.filar_py_runtime_create(place, options, preempt_ns))
        except BaseException:
            self._end_preemption()
            raise
        del keep
        self._pointer = place[0]
        self._address = int(ffi.cast("uintptr_t", place[0]))
        _open.add(self)
        if self._preempts:
            _measure_bodies(self)

    def _end_preemption(self) -> None:
        if self._preempts:
            self._preempts = False
            _border["_preemption_done"]()

    def spawn(self, callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Runs `callable(*args, **kwargs)` on a green thread, from any thread; returns its GreenThread."""
        return _border["_spawn_on"](self._alive(), 0, None, callable, *args, **kwargs)

    def start(
        self,
        callable: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        name: str | None = None,
        stack_size: int | None = None,
    ) -> Any:
        """As `spawn()`, with a name and a stack of its own size (bytes)."""
        stack_bytes = 0 if stack_size is None else _stack_bytes(stack_size)
        return _border["_spawn_on"](self._alive(), stack_bytes, name, callable, *args, **(kwargs or {}))

    def spawn_native(
        self, function: Any, argument: Any = None, *, name: str | None = None, preemptible: bool = False
    ) -> "NativeGreenThread":
        """Runs the C function `void function(void *argument)` on a green thread: no thread state, no GIL.

        `function` and `argument` as for `KernelThread.native`. It may wait in filar's C functions; it must not call
        Python code that waits. `preemptible`: it may be stopped between any two instructions of its own, where the
        runtime has `native_preempt_ms`; filar.h (`filar_preempt_disable`) says what such a body must not do.
        """
        self._alive()
        return NativeGreenThread(self, function, argument, name, preemptible)

    def cancel(self) -> None:
        """Cancels every green thread of this runtime that has not ended. Does not block."""
        check(lib.filar_runtime_cancel_all(ffi.cast("filar_runtime *", self._alive())))
        for green in self.green_threads():
            green.cancel()

    def green_threads(self) -> list[Any]:
        """Those that run Python and have not ended."""
        return [green for green in _border["_all_green"]() if green._runtime == self._address]

    def close(self, *, cancel: bool = False) -> None:
        """Waits until every green thread has ended, then ends the workers. With `cancel` they are asked to stop.

        What never ends is named in a RuntimeWarning after some seconds. Blocks; Ctrl-C ends the wait, and close()
        may be called again. Harmless when closed already.
        """
        if self._pointer is None:
            return
        if current() is not None:
            raise WrongStateError("a green thread cannot close a runtime: that would block its worker")
        self._drain(cancel, None)
        self._destroy()

    def _alive(self) -> int:
        if self._pointer is None:
            raise WrongStateError("the runtime is closed")
        return self._address

    def _drain(self, cancel: bool, patience: float | None) -> bool:
        """Until all have ended, or for `patience` seconds: then False."""
        started, watch = time.monotonic(), _Watch(self)
        while True:
            if cancel:
                self.cancel()  # again: what was cancelled may have spawned
            if wait(lambda deadline_ns: lib.filar_runtime_shutdown_until(self._pointer, deadline_ns), 0.1):
                return True
            if patience is not None and time.monotonic() - started > patience:
                return False
            watch.look()

    def _destroy(self) -> None:
        pointer, self._pointer = self._pointer, None
        _open.discard(self)
        if pointer is not None:
            check(lib.filar_py_runtime_destroy(pointer))
        self._end_preemption()

    def __enter__(self) -> Self:
        self._alive()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        self.close(cancel=kind is not None)

    def statistics(self) -> RuntimeStatistics:
        """A snapshot of its counters; looks at every stack made so far."""
        found = ffi.new("filar_runtime_stats *")
        self._alive()
        check(lib.filar_runtime_read_stats(self._pointer, found))
        names = ("workers", "live", "stacks", "spawned", "ended", *_COUNTERS)
        return RuntimeStatistics(**{name: int(getattr(found, name)) for name in names})

    def dump(self, file: IO[str] | None = None) -> None:
        """Writes workers, queues and every green thread with what it waits for and its Python stack (stderr)."""
        self._alive()
        print(_dump_text(self), file=sys.stderr if file is None else file, end="")

    def __repr__(self) -> str:
        if self._pointer is None:
            return "<GreenRuntime closed>"
        found = self.statistics()
        return f"<GreenRuntime {found.workers} workers, {found.live} green threads>"


def _runtime_options(
    workers: int, pin: str | Iterable[int] | None, stack_size: int | None, name: str | None
) -> tuple[Any, Any]:
    """The options in C, and what they point to."""
    options = ffi.new("filar_runtime_options *")
    lib.filar_runtime_options_init(options)
    count = operator.index(workers)
    if not 1 <= count <= 1024:
        raise InvalidArgumentError(f"a runtime has 1 to 1024 workers, not {workers}")
    options.workers = count
    options.stack_bytes = 0 if stack_size is None else _stack_bytes(stack_size)
    keep: list[Any] = []
    if pin is None or isinstance(pin, str):
        if pin not in _PINS:
            raise InvalidArgumentError(f'pin is None, "compact", "scatter" or a list of CPUs, not {pin!r}')
        options.pin = _PINS[pin]
    else:
        keep.append(ffi.new("int32_t[]", [operator.index(cpu) for cpu in pin]))
        options.pin, options.cpus, options.cpu_count = lib.FILAR_WORKERS_LIST, keep[0], len(keep[0])
    if name is not None:
        keep.append(ffi.new("char[]", name.encode()))
        options.name = keep[-1]
    return options, keep


_PREEMPT_MS_MIN = 1.0  # below that, asking takes longer than what is asked for


def _preempt_ns(preempt_ms: float | None) -> int:
    """0: it does not preempt."""
    if preempt_ms is None:
        return 0
    number = float(preempt_ms)
    if not number >= _PREEMPT_MS_MIN:  # NaN, too
        raise InvalidArgumentError(f"preempt_ms is at least {_PREEMPT_MS_MIN:g}, not {preempt_ms!r}")
    if sys.version_info < (3, 12):
        level = 2
        while sys._getframe(level - 1).f_code.co_filename == __file__:
            level += 1
        warnings.warn(
            "preempt_ms has no effect: preemption needs sys.monitoring, which Python has from 3.12 on",
            RuntimeWarning,
            stacklevel=level,
        )
        return 0
    return int(min(number, 3.6e6) * 1e6)


class _Samples:
    """Bodies whose use of the C stack is measured: how much one takes that calls Python from Python only."""

    def method(self, *args: Any, **kwargs: Any) -> None:
        """A method is called with one step more."""
        for _ in range(2):
            pass


def _sample_function(*args: Any, **kwargs: Any) -> None:
    """A function."""
    for _ in range(2):
        pass


def _measure_bodies(runtime: GreenRuntime) -> None:
    """Once per process; with and without arguments, since these ways differ in C. Others may be at it, too."""
    sample = _border["_preemption_sample"]
    for _ in range(10):
        if sample(None):
            return
        for body in (_sample_function, _Samples().method):
            sample(body.__code__)
            runtime.spawn(body).join()
            runtime.spawn(body, 1, 2, named=3).join()
    runtime.close()
    raise NotSupportedHereError("preemption: this Python's sys.monitoring does not report jumps and calls")


def _spares(spares: int) -> int:
    number = operator.index(spares)
    if not 0 <= number <= 1024:
        raise InvalidArgumentError(f"a runtime has 0 to 1024 spare workers, not {spares}")
    return number


def _nanoseconds(name: str, milliseconds: float | None) -> int:
    if milliseconds is None:
        return 0
    if not 0 < milliseconds < 1e9:  # not a number is refused, too
        raise InvalidArgumentError(f"{name} is a positive number of milliseconds or None, not {milliseconds}")
    return max(1, round(milliseconds * 1e6))


def _stack_bytes(stack_size: int) -> int:
    number = operator.index(stack_size)
    if number < lib.FILAR_PY_GREEN_STACK_BYTES_MIN:
        raise InvalidArgumentError(
            f"a stack of {number} bytes is too small: a green thread that runs Python needs at least "
            f"{lib.FILAR_PY_GREEN_STACK_BYTES_MIN}"
        )
    return min(number, 2**62)


class _Watch:
    """Says once, while a runtime waits for its end, which green threads will probably never come to theirs."""

    def __init__(self, runtime: GreenRuntime) -> None:
        self._runtime = runtime
        self._counters: Any = None
        self._since = 0.0
        self._told = False

    def look(self) -> None:
        """Warns if nothing has happened for a while and some wait for something other than time."""
        found, now = self._runtime.statistics(), time.monotonic()
        counters = (found.spawned, found.ended, found.yields, found.parks)
        if counters != self._counters:
            self._counters, self._since = counters, now
        if self._told or now - self._since < _PATIENCE:
            return
        stuck = [green for green in self._runtime.green_threads() if "sleep" not in green.state]
        self._told = True
        if stuck:
            names = ", ".join(f"{green.name} {green.state}" for green in stuck[:10])
            warnings.warn(
                f"{len(stuck)} green threads keep their runtime from ending: {names}; filar.dump() shows their stacks",
                RuntimeWarning,
                stacklevel=2,
            )


def run(
    main: Callable[..., Any],
    /,
    *args: Any,
    workers: int = 1,
    stack_size: int | None = None,
    preempt_ms: float | None = None,
    **kwargs: Any,
) -> Any:
    """Runs `main(*args, **kwargs)` on a green thread of a runtime of its own; returns what it returns.

    What main raises comes out, SystemExit too. When main has ended, the green threads that are left are cancelled
    and waited for. Ctrl-C cancels all of them and comes out as KeyboardInterrupt when they have ended. Blocks the
    calling kernel thread; not allowed on a green thread. The options are those of GreenRuntime.
    """
    if current() is not None:
        raise WrongStateError("run() on a green thread would block its worker: spawn() instead")
    runtime = GreenRuntime(workers, stack_size=stack_size, preempt_ms=preempt_ms)
    try:
        handle = runtime.spawn(main, *args, **kwargs)
        # A second Ctrl-C, while those cancelled by the first one end, comes out of close().
        return handle.result()
    finally:
        runtime.close(cancel=True)


class NativeGreenThread:
    """A C function on a green thread; `GreenRuntime.spawn_native()` makes it."""

    def __init__(
        self, runtime: GreenRuntime, function: Any, argument: Any, name: str | None, preemptible: bool = False
    ) -> None:
        address, pointer = function_address(function), argument_pointer(argument)
        options = ffi.new("filar_green_options *")
        text_name = ffi.new("char[]", (name or "native").encode())
        options.name = text_name
        options.preemptible = preemptible
        self._runtime = runtime
        self._keep = (function, argument, pointer)
        self._joining = threading.Lock()
        self._joined = False
        self._handle = ffi.new("filar_green *")
        body = ffi.cast("filar_green_body", address)
        check(lib.filar_green_spawn(self._handle, runtime._pointer, options, body, pointer))

    def join(self, timeout: float | None = None) -> None:
        """Waits for the end, at most `timeout` seconds (DeadlineError). One joins at a time: BusyError."""
        if not self._joined and not wait(
            lambda deadline_ns: lib.filar_green_join_until(self._handle[0], deadline_ns), timeout
        ):
            raise DeadlineError(f"the native green thread did not end within {timeout} seconds")
        self._joined = True

    def cancel(self) -> None:
        """Its waits in filar's C functions end with FILAR_CANCELLED from now on."""
        if not self._joined:
            check(lib.filar_green_cancel(self._handle[0]))


# ---- structure -------------------------------------------------------------------------------------------------


class TaskGroup:
    """`with TaskGroup() as group: group.spawn(f, x)`: the block ends when all of its green threads have.

    The first failure, of a child or of the block itself, cancels the others; when all have ended, the failures come
    out together as an ExceptionGroup (KeyboardInterrupt and SystemExit as themselves). If the green thread
    that runs the block is cancelled, so are the children. Only on a green thread.
    """

    def __init__(self) -> None:
        self._children: set[Any] = set()
        self._failures: dict[Any, BaseException] = {}  # by child; the block's own: None
        self._scope = timeout()
        self._cancelling = False
        self._closed = False

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def spawn(self, callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `filar.spawn()`; the new one is the group's. WrongStateError once the block has ended."""
        if self._closed:
            raise WrongStateError("the task group has ended")
        child = spawn(callable, *args, **kwargs)
        self._children.add(child)
        if self._cancelling:
            child.cancel()
        child.add_done_callback(self._child_ended)
        return child

    def cancel(self) -> None:
        """Cancels the children and the block; the block then ends without an exception."""
        self._cancelling = True
        for child in self._children.copy():
            child.cancel()
        self._scope.cancel()

    def _child_ended(self, child: Any) -> None:
        """Called by the child, and by whoever waits, which may find it ended before it has come to that."""
        if self._closed:
            return
        failure = child.exception()
        if failure is not None and not isinstance(failure, CancelledError):
            self._failures[child] = failure
            if not self._cancelling:
                self.cancel()
        # Last: what has left the set has been seen to.
        self._children.discard(child)

    def _wait_for_children(self) -> None:
        while children := self._children.copy():
            for child in children:
                child._wait_shielded() if self._cancelling else child._wait(None)
                self._child_ended(child)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if error is not None:
            if not isinstance(error, CancelledError):
                self._failures[None] = error
            self.cancel()
        cancelled = None
        try:
            self._wait_for_children()
        except CancelledError as came:
            cancelled = came
            self.cancel()
            self._wait_for_children()
        self._closed = True
        # Whether it was only the group that cancelled the block, or somebody from outside as well.
        ours = bool(self._scope.__exit__(CancelledError, error or cancelled, trace))
        try:
            self._raise_failures()
            if cancelled is not None and not ours and error is None:
                raise cancelled
        finally:
            self._failures.clear()
            del error, trace, cancelled
        return ours

    def _raise_failures(self) -> None:
        for failure in self._failures.values():
            if isinstance(failure, (KeyboardInterrupt, SystemExit)):
                raise failure
        if self._failures:
            raise BaseExceptionGroup(
                f"{len(self._failures)} failed in a task group", list(self._failures.values())
            ) from None


# ---- calls that block their kernel thread --------------------------------------------------------------------------

_BLOCKING_THREADS = 64
_executor: Any = None


def _blocking_executor() -> Any:
    global _executor
    if _executor is None:
        from concurrent.futures import ThreadPoolExecutor

        _executor = ThreadPoolExecutor(_BLOCKING_THREADS, thread_name_prefix="filar-blocking")
    return _executor


class _NoCollections:
    """While anybody is inside, no automatic collection runs.

    One could call a finalizer that waits. If that happens in code of the standard library that holds a lock, the next
    green thread to want it would block the worker for ever.

    Always: `_inside` counts who is inside, and with one or more, none begins. The interpreter changes threads after
    calls: between one of ours and the next no more than one step is done, in an order in which nothing can go wrong.
    """

    def __init__(self) -> None:
        self._inside = 0
        self._resume = False

    def __enter__(self) -> None:
        self._inside += 1
        if self._inside == 1:
            self._resume = gc.isenabled()
        gc.disable()  # everybody: the first may have been stopped before it came to this

    def __exit__(self, *_: object) -> None:
        if self._inside > 0:  # 0: in the child of a fork, end() was before
            self._inside -= 1
            if self._inside == 0 and self._resume:
                gc.enable()

    def end(self) -> None:
        """Nobody is inside any more."""
        if self._inside > 0:
            self._inside = 0
            if self._resume:
                gc.enable()


_no_collections = _NoCollections()


def wait_for_future(future: Any, timeout: float | None = None) -> Any:
    """The result of a concurrent.futures.Future: parks a green thread, where `future.result()` blocks its worker."""
    flag = extension.Event()
    future.add_done_callback(lambda _: flag.set())
    if not flag.wait(timeout):
        raise DeadlineError(f"the future was not done within {timeout} seconds")
    return future.result()


def blocking(callable: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Runs `callable(*args, **kwargs)` on a kernel thread kept for that, and parks the calling green thread.

    For calls that would block a worker: files, sockets, `time.sleep`, C libraries. It runs in a copy of the caller's
    context; its result or exception is the caller's. If the caller is cancelled meanwhile it goes on at once,
    and the call runs on unattended: nothing can stop it. Up to 64 run at a time. On a kernel thread: calls it.
    """
    if current() is None:
        return callable(*args, **kwargs)
    context = contextvars.copy_context()
    with _no_collections:
        future = _blocking_executor().submit(context.run, callable, *args, **kwargs)
    return wait_for_future(future)


# ---- looking ---------------------------------------------------------------------------------------------------


def _core_text(runtime: GreenRuntime) -> str:
    """What the C core has to say."""
    descriptor = os.memfd_create("filar-dump")
    try:
        check(lib.filar_runtime_dump(runtime._pointer, descriptor))
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(os.dup(descriptor)) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _dump_text(runtime: GreenRuntime) -> str:
    lines = [repr(runtime), *(line for line in _core_text(runtime).splitlines() if not line.startswith("green"))]
    for green in runtime.green_threads():
        where = f", worker {green.worker}" if green.worker is not None else ""
        lines.append(f"{green.name}: {green.state}{where}")
        frame = green.frame
        if frame is not None:
            lines += [line.rstrip() for entry in traceback.format_stack(frame) for line in entry.splitlines()]
    return "\n".join(lines) + "\n"


def dump(file: IO[str] | None = None) -> None:
    """Writes every runtime of this process: workers, queues, each green thread with its wait and its stack (stderr)."""
    file = sys.stderr if file is None else file
    if not _open:
        print("no green runtime", file=file)
    for runtime in list(_open):
        runtime.dump(file)


# ---- the end of the interpreter, and fork --------------------------------------------------------------------------


def _close_all() -> None:
    """While Python still runs: after its end, green threads could not even be told."""
    for runtime in list(_open):
        if runtime._drain(True, _PATIENCE):
            runtime._destroy()
            continue
        names = ", ".join(green.name for green in runtime.green_threads()[:10])
        print(f"filar: the interpreter ends before these green threads did: {names}", file=sys.stderr)
        _open.discard(runtime)


def _after_fork_in_child() -> None:
    global _executor
    lib.filar_py_after_fork_in_child()
    _executor = None
    _no_collections.end()  # those inside were threads of the parent
    _open.clear()


_register_atexit = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    _register_atexit(_close_all)
else:
    atexit.register(_close_all)
os.register_at_fork(after_in_child=_after_fork_in_child)
