"""Kernel threads with every option the system has: CPUs, priority, policy, stack, native bodies.

A `KernelThread` has the habits of `threading.Thread` and is none: that class creates its kernel thread in a way
that leaves no room for these options. What the two share goes through public interfaces: inside the body
`threading.current_thread()` is the stand-in object that `threading` makes for any thread it did not start, renamed
so that logs show the right name (it has no other use; `KernelThread.current()` is the real object). Tracing and
profiling hooks of `threading` apply, and so does `threading.excepthook`.
"""

import atexit
import functools
import itertools
import operator
import os
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filar._lib import check, ffi, lib, wait
from filar.errors import BusyError, DeadlockError, ForkedError, InvalidArgumentError, WrongStateError

__all__ = ["KernelThread", "ThreadStatistics"]

_PIN_BY = {
    "attribute": lib.FILAR_PIN_BY_ATTRIBUTE,
    "parent": lib.FILAR_PIN_BY_PARENT,
    "self": lib.FILAR_PIN_BY_SELF,
}
_POLICIES = {
    "other": lib.FILAR_POLICY_OTHER,
    "batch": lib.FILAR_POLICY_BATCH,
    "idle": lib.FILAR_POLICY_IDLE,
    "fifo": lib.FILAR_POLICY_FIFO,
    "rr": lib.FILAR_POLICY_RR,
}


@dataclass(frozen=True)
class ThreadStatistics:
    """A snapshot of one thread; what the kernel no longer tells after its end is None."""

    name: str
    tid: int | None  # the kernel's thread id; None before the start
    started: bool
    alive: bool
    cpu_seconds: float
    switches_voluntary: int | None  # it waited
    switches_involuntary: int | None  # it was made to wait


# ---- arguments -------------------------------------------------------------------------------------------------


def _integer(value: Any, what: str) -> int:
    """An int and nothing that merely behaves like one by accident (True, "5", 5.0)."""
    if isinstance(value, bool):
        raise TypeError(f"{what} is a number, not {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} is a whole number, not {type(value).__name__}") from None


def _c_int(value: Any, what: str) -> int:
    number = _integer(value, what)
    if not -(2**31) <= number < 2**31:
        raise InvalidArgumentError(f"{what} {number} is out of range")
    return number


def _choice(value: Any, choices: Mapping[str, int], what: str) -> int:
    if not isinstance(value, str):
        raise TypeError(f"{what} is one of {', '.join(choices)}, not {type(value).__name__}")
    if value.lower() not in choices:
        raise InvalidArgumentError(f"{what} is one of {', '.join(choices)}, not {value!r}")
    return choices[value.lower()]


def _cpu_list(cpus: Any) -> list[int]:
    if isinstance(cpus, (str, bytes)) or not isinstance(cpus, Iterable):
        raise TypeError(f"cpus is a collection of CPU numbers, not {type(cpus).__name__}")
    numbers = sorted({_c_int(cpu, "a CPU") for cpu in cpus})
    if not numbers:
        raise InvalidArgumentError("cpus is empty: a thread needs at least one CPU")
    return numbers


def _wanted_cpus(cpu: Any, cpus: Any) -> list[int] | None:
    if cpu is not None and cpus is not None:
        raise InvalidArgumentError("give either cpu or cpus, not both")
    if cpu is not None:
        return [_c_int(cpu, "cpu")]
    return None if cpus is None else _cpu_list(cpus)


def _thread_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    encoded = name.encode(errors="surrogateescape")
    if len(encoded) > lib.FILAR_NAME_BYTES_MAX:
        raise InvalidArgumentError(
            f"the name {name!r} is {len(encoded)} bytes long; Linux keeps {lib.FILAR_NAME_BYTES_MAX}"
        )
    if b"\0" in encoded:
        raise InvalidArgumentError(f"the name {name!r} contains a zero byte")
    return name


def _stack_bytes(size: Any, stack: Any) -> int:
    """The bytes of the stack; 0 for the process's default."""
    if size is None:
        return 0 if stack is None else len(stack)
    number = _integer(size, "stack_size")
    if number <= 0:
        raise InvalidArgumentError(f"stack_size is a number of bytes above zero, not {number}")
    if stack is not None and number > len(stack):
        raise InvalidArgumentError(f"stack_size {number} is more than the {len(stack)} bytes of the stack given")
    return min(number, 2**63)


def _is_ctypes(value: Any, *kinds: str) -> bool:
    """Whether it is an instance of one of ctypes' base classes; a program without ctypes has no such instance."""
    ctypes = sys.modules.get("ctypes")
    return ctypes is not None and isinstance(value, tuple(getattr(ctypes, kind) for kind in kinds))


def function_address(function: Any) -> int:
    """The address in a cffi pointer, a ctypes function, a number, or anything with an `address` (numba's cfunc)."""
    if _is_ctypes(function, "_CFuncPtr"):
        ctypes = sys.modules["ctypes"]
        address = ctypes.cast(function, ctypes.c_void_p).value or 0
    elif isinstance(function, ffi.CData):
        address = int(ffi.cast("uintptr_t", function))
    else:
        number = getattr(function, "address", function)
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(
                "a native body is a cffi function pointer, a ctypes function, an address, or an object with an"
                f" address; not {type(function).__name__}"
            )
        address = number
    if not 0 < address < 2**64:
        raise InvalidArgumentError(f"{address:#x} is not the address of a function")
    return address


def argument_pointer(argument: Any) -> Any:
    """A `void *` cdata; it keeps a buffer alive, the caller keeps everything else alive."""
    if argument is None:
        return ffi.NULL
    if isinstance(argument, bool):
        raise TypeError("the argument of a native body is a pointer, an address or a buffer, not bool")
    if isinstance(argument, int):
        if not 0 <= argument < 2**64:
            raise InvalidArgumentError(f"{argument:#x} is not an address")
        return ffi.cast("void *", argument)
    if isinstance(argument, ffi.CData):
        return ffi.cast("void *", argument)
    if _is_ctypes(argument, "c_void_p", "c_char_p", "_Pointer"):
        ctypes = sys.modules["ctypes"]
        return ffi.cast("void *", ctypes.cast(argument, ctypes.c_void_p).value or 0)
    try:
        return ffi.from_buffer(argument)
    except (TypeError, BufferError):
        raise TypeError(
            f"the argument of a native body is a pointer, an address or a buffer, not {type(argument).__name__}"
        ) from None


# ---- what outlives a KernelThread --------------------------------------------------------------------------------


def _release_boxed(box: Any, release: Callable[[Any], None] = lib.filar_kthread_release) -> None:
    release(box[0])


class _Core:
    """One kernel thread: the handle, and what must live as long as the thread runs.

    In `_cores` from before the creation until a sweep after the end, so that a KernelThread may be dropped at any
    time: a running Python body keeps its KernelThread through `body`, a native one keeps its argument.
    """

    __slots__ = ("__weakref__", "body", "box", "daemon", "handle", "keepalive", "stack")

    def __init__(self, daemon: bool, keepalive: Any, stack: Any) -> None:
        self.daemon = daemon
        self.keepalive = keepalive
        self.stack = stack  # a char[] of ffi over the caller's stack, or None
        self.body: Callable[[], None] | None = None
        # Owns the handle that the creation puts there; made before, so that nothing can fail after.
        self.box = ffi.gc(ffi.new("filar_kthread **"), _release_boxed)
        self.handle: Any = None  # set by the creator and the new thread alike, whoever comes first

    def adopt_handle(self) -> bool:
        """After the creation; False when there is no thread."""
        if self.box[0] == ffi.NULL:
            return False
        self.handle = self.box[0]
        return True

    def is_alive(self) -> bool:
        return self.handle is not None and bool(lib.filar_kthread_is_alive(self.handle))

    def join(self, timeout: float | None = None) -> bool:
        return wait(lambda deadline_ns: lib.filar_kthread_join_until(self.handle, deadline_ns), timeout)

    def overlaps(self, stack: Any) -> bool:
        if self.stack is None:
            return False
        mine, other = (int(ffi.cast("uintptr_t", s)) for s in (self.stack, stack))
        return mine < other + len(stack) and other < mine + len(self.stack)


# All of these are changed by single operations on built-in types only, which are atomic: a lock here could be
# wanted by a finalizer or a signal handler that interrupts its holder.
_cores: set[_Core] = set()
_unseen: dict[int, "weakref.ref[KernelThread]"] = {}  # failed, and nobody has looked at the exception
_sweep_at = 64
_phase = "running"  # then "leaving" (interrupted while waiting for threads), "closed"
_local = threading.local()


def _sweep() -> None:
    """Reaps the ended; called so rarely that it costs a constant per thread."""
    global _sweep_at
    for core in list(_cores):
        # Without a handle it is being created just now.
        if core.handle is not None and not core.is_alive() and core.join(0):
            _cores.discard(core)
    _sweep_at = 2 * len(_cores) + 64


def _claim_stack(core: _Core) -> None:
    """Raises if another thread still uses that memory as its stack."""
    for other in list(_cores):
        if other is core or not other.overlaps(core.stack):
            continue
        if other.handle is None or other.is_alive() or not other.join(1.0):
            raise BusyError("another thread still uses this stack")
        _cores.discard(other)


def _wait_for_all() -> None:
    """Joins the threads that are no daemons, and those that they start meanwhile."""
    global _phase
    try:
        while waiting := [core for core in list(_cores) if not core.daemon and core.is_alive()]:
            for core in waiting:
                core.join()
    except BaseException:
        _phase = "leaving"  # Ctrl-C: as with threading, once is enough
        raise


def _at_exit() -> None:
    """The last word: after this no thread starts, and every failure has been reported."""
    global _phase
    try:
        if _phase == "running":
            _wait_for_all()
    finally:
        _phase = "closed"
        for reference in list(_unseen.values()):
            thread = reference()
            if thread is not None:
                thread._report_unseen()


def _after_fork_in_child() -> None:
    lib.filar_after_fork_in_child()
    _cores.clear()
    _unseen.clear()
    _local.thread = None


# First when threading waits for its own threads, and again as late as possible, for what threads of others have
# started meanwhile.
_register_atexit = getattr(threading, "_register_atexit", None)
if _register_atexit is not None:
    _register_atexit(_wait_for_all)
atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)


def _forget_stand_in() -> None:
    """Up to 3.12 threading keeps its stand-in for a foreign thread for ever; those versions no longer change."""
    if sys.version_info < (3, 13):
        threading._active.pop(threading.get_ident(), None)  # type: ignore[attr-defined]


def _call_excepthook(thread: "KernelThread", exception: BaseException) -> None:
    hook = threading.excepthook
    try:
        hook(threading.ExceptHookArgs((type(exception), exception, exception.__traceback__, thread)))
    except Exception:
        if sys is not None and sys.stderr is not None:
            print("Exception in threading.excepthook:", file=sys.stderr, flush=True)
            sys.excepthook(*sys.exc_info())


# ---- the class -------------------------------------------------------------------------------------------------


class KernelThread:
    """A kernel thread that runs a Python callable, or (`KernelThread.native`) a C function without the GIL.

    The habits are those of `threading.Thread`, with these differences:

    - `join()` raises what the body raised, with its traceback, each time it is called; `result` is what the body
      returned. A failure that nobody has looked at is reported once by `threading.excepthook`, when the object is
      collected or the interpreter exits. SystemExit ends the body silently.
    - The body runs in a copy of the context (`contextvars`) of whoever called `start()`.
    - Bad options are refused by the constructor or by `start()`, and then there is no thread and `start()` may be
      called again.

    `cpu` or `cpus` (numbers): where it may run; `pin_by` ("attribute", "parent", "self") says who pins it, for those
    who compare. `nice` -20 to 19; `policy` "other", "batch", "idle", "fifo", "rr", the last two with a `priority` of
    1 to 99. `stack_size` in bytes, at least 128 KiB for a Python body; `stack`: a writable buffer of the caller's to
    use as stack (without guard page), which is free again when `join()` has returned. `name`: up to 15 bytes.
    `daemon`: the interpreter does not wait for it at exit; None: as the thread that creates it.

        with filar.KernelThread(work, args=(1,), cpu=1, nice=5) as thread:
            ...                       # started here
        thread.result                 # joined here
    """

    _claim: Any = None  # taken by the one who starts; None: __init__ was not called

    def __init__(
        self,
        target: Callable[..., Any] | None = None,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        daemon: bool | None = None,
        cpu: int | None = None,
        cpus: Iterable[int] | None = None,
        pin_by: str = "attribute",
        nice: int | None = None,
        policy: str | None = None,
        priority: int = 0,
        stack_size: int | None = None,
        stack: Any = None,
    ) -> None:
        if target is not None and not callable(target):
            raise TypeError(f"target is a callable, not {type(target).__name__}")
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"args is a tuple, not {type(args).__name__}: for one argument write (x,)")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs is a dict, not {type(kwargs).__name__}")
        if daemon is not None and not isinstance(daemon, (bool, int)):
            raise TypeError(f"daemon is True, False or None, not {type(daemon).__name__}")
        self._target, self._args, self._kwargs = target, tuple(args), dict(kwargs or {})
        self._name = _thread_name(name) if name else _next_name()
        self._daemon = _daemon_of_creator() if daemon is None else bool(daemon)
        self._cpus = _wanted_cpus(cpu, cpus)
        self._pin_by = _choice(pin_by, _PIN_BY, "pin_by")
        self._nice = lib.FILAR_NICE_INHERIT if nice is None else _checked_nice(nice)
        self._policy = lib.FILAR_POLICY_INHERIT if policy is None else _choice(policy, _POLICIES, "policy")
        self._priority = _c_int(priority, "priority")
        self._stack = None if stack is None else _stack_buffer(stack)
        self._stack_bytes = _stack_bytes(stack_size, self._stack)
        self._native: tuple[int, Any, Any] | None = None  # address, argument, what to keep alive
        self._core: _Core | None = None
        self._done = False  # the Python body has ended
        self._result: Any = None
        self._exception: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._claim = threading.Lock()

    @classmethod
    def native(cls, function: Any, argument: Any = None, **options: Any) -> Self:
        """A thread whose body is the C function `void function(void *argument)`; no Python runs in it.

        `function`: a cffi function pointer (`ffi.addressof(lib, "f")`), a ctypes function, an object with an
        `address` (numba's `@cfunc`), or the address itself. `argument`: None, a pointer of cffi or ctypes, an
        address, or a buffer (its first byte). Both are kept alive until the thread has ended; what an address
        points to is the caller's care. `options` are those of the constructor. `result` is None.
        """
        address, pointer = function_address(function), argument_pointer(argument)
        for name in ("target", "args", "kwargs"):
            if name in options:
                raise TypeError(f"a native body takes no {name}")
        thread = cls(**options)
        thread._native = (address, pointer, (function, argument, pointer))
        return thread

    @staticmethod
    def current() -> "KernelThread | None":
        """The KernelThread whose Python body is running; None on any other thread."""
        return getattr(_local, "thread", None)

    # ---- start and end ----

    def start(self) -> None:
        """Creates the kernel thread; it runs, with every option in effect, when this returns.

        Blocks for some ten microseconds, until the thread has set itself up. Raises WrongStateError (a
        RuntimeError) the second time.
        """
        if self._claim is None:
            raise WrongStateError("KernelThread.__init__() was not called")
        if not self._claim.acquire(blocking=False):
            raise WrongStateError("threads can only be started once")
        try:
            self._launch()
        except BaseException:
            if self._core is None:
                self._claim.release()
            raise

    def _launch(self) -> None:
        if _phase == "closed":
            raise WrongStateError("no new threads: the interpreter is shutting down")
        if len(_cores) >= _sweep_at:
            _sweep()
        core = _Core(self._daemon, self._native, self._stack)
        _cores.add(core)
        try:
            if core.stack is not None:
                _claim_stack(core)
            self._core = core
            self._create(core)
        except BaseException:
            # A signal handler may raise after the creation: then there is a thread all the same.
            if not core.adopt_handle():
                self._core = None
                _cores.discard(core)
            raise

    def _create(self, core: _Core) -> None:
        options, keepalive = self._c_options()
        if self._native is not None:
            body = ffi.cast("filar_kthread_body", self._native[0])
            check(lib.filar_kthread_create(core.box, options, body, self._native[1]))
        else:
            # Not a lambda: its frame would hold us in the traceback of a failure, as _bootstrap's must not.
            core.body = functools.partial(self._bootstrap, core, copy_context())
            check(lib.filar_py_kthread_create(core.box, options, ffi.cast("void *", id(core.body))))
        del keepalive
        core.adopt_handle()

    def _c_options(self) -> tuple[Any, Any]:
        """The options in C, and what they point to."""
        options = ffi.new("filar_kthread_options *")
        name = ffi.new("char[]", self._name.encode(errors="surrogateescape"))
        cpus = ffi.NULL if self._cpus is None else ffi.new("int32_t[]", self._cpus)
        options.name = name
        options.stack_bytes = self._stack_bytes
        options.stack = ffi.NULL if self._stack is None else self._stack
        options.cpus = cpus
        options.cpu_count = len(self._cpus or ())
        options.pin_by = self._pin_by
        options.policy = self._policy
        options.priority = self._priority
        options.nice = self._nice
        return options, (name, cpus)

    def _bootstrap(self, core: _Core, context: Any) -> None:
        """All of Python that runs on the new thread; raises nothing."""
        core.handle = lib.filar_kthread_self()
        _local.thread = self
        try:
            threading.current_thread().name = self._name
            if trace := threading.gettrace():
                sys.settrace(trace)
            if profile := threading.getprofile():
                sys.setprofile(profile)
            self._result = context.run(self.run)
        except SystemExit:
            pass
        except BaseException as exception:
            self._keep_failure(exception)
        finally:
            self._done = True
            _forget_stand_in()
            del _local.thread
            core.body = None
            # The exception holds its frames and they hold this one: no way back to us from there.
            del self, core, context

    def _keep_failure(self, exception: BaseException) -> None:
        own_frame = exception.__traceback__
        self._traceback = own_frame.tb_next if own_frame is not None else None
        self._exception = exception.with_traceback(self._traceback)
        _unseen[id(self)] = weakref.ref(self)

    def run(self) -> Any:
        """The body: calls `target(*args, **kwargs)`. May be overridden; what it returns is `result`."""
        target, args, kwargs = self._target, self._args, self._kwargs
        self._target, self._args, self._kwargs = None, (), {}
        try:
            return target(*args, **kwargs) if target is not None else None
        finally:
            # No cycle: this frame may be part of an exception that `self` keeps.
            del self, target, args, kwargs

    def join(self, timeout: float | None = None) -> None:
        """Waits until the thread has ended, at most `timeout` seconds; then raises what its body raised.

        Returns None also when the time has passed: ask `is_alive()`, as with `threading.Thread`. Blocks without
        the GIL; Ctrl-C ends the wait within 100 ms and the thread goes on. Raises WrongStateError before the
        start and DeadlockError on the thread itself, both RuntimeErrors. In the child of a fork the threads of the
        parent are over and join returns.
        """
        if self._core is None:
            raise WrongStateError("cannot join a thread before it is started")
        if KernelThread.current() is self:
            raise DeadlockError("a thread cannot join itself")
        try:
            ended = self._core.join(timeout)
        except ForkedError:
            ended = True
        # What is left of a thread after its body may outlast a short timeout; the body's outcome is there.
        try:
            if ended or not self._core.is_alive():
                self._raise_failure()
        finally:
            del self  # as in run(): this frame is now part of the exception

    def _raise_failure(self) -> None:
        exception = self._exception
        if exception is None:
            return
        _unseen.pop(id(self), None)
        try:
            raise exception.with_traceback(self._traceback)
        finally:
            del self, exception

    def _report_unseen(self) -> None:
        if _unseen.pop(id(self), None) is not None and self._exception is not None:
            _call_excepthook(self, self._exception)

    def __del__(self) -> None:
        # At the very end of the interpreter the module's names are None; _at_exit() has reported by then.
        if _unseen and id(self) in _unseen:
            self._report_unseen()

    def __enter__(self) -> Self:
        """Starts the thread, unless it was."""
        if self._core is None:
            self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            self.join()
        finally:
            del self

    # ---- what came out ----

    def _check_ended(self) -> None:
        if self._core is None:
            raise WrongStateError("the thread has not been started")
        if self._native is None and not self._done:
            raise WrongStateError("the thread runs" if self._core.is_alive() else "the thread left no result")
        if self._native is not None and self._core.is_alive():
            raise WrongStateError("the thread runs")

    @property
    def result(self) -> Any:
        """What the body returned; raises what it raised. WrongStateError while it runs: does not block."""
        try:
            self._check_ended()
            self._raise_failure()
            return self._result
        finally:
            del self

    @property
    def exception(self) -> BaseException | None:
        """What the body raised, or None. WrongStateError while it runs: does not block."""
        self._check_ended()
        _unseen.pop(id(self), None)
        return self._exception

    # ---- who it is ----

    @property
    def name(self) -> str:
        """Up to 15 bytes; `ps`, `top` and `/proc` show it. Fixed once the thread has been started."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._before_start("name")
        self._name = _thread_name(name)

    @property
    def daemon(self) -> bool:
        """True: the interpreter does not wait for it at exit. Fixed once the thread has been started."""
        return self._daemon

    @daemon.setter
    def daemon(self, daemon: bool) -> None:
        self._before_start("daemon")
        self._daemon = bool(daemon)

    def _before_start(self, what: str) -> None:
        if self._core is not None:
            raise WrongStateError(f"cannot set {what} of a thread that was started")

    @property
    def ident(self) -> int | None:
        """What `threading.get_ident()` says inside it; None before the start. Reused after the end."""
        core = self._core
        return None if core is None or core.handle is None else int(lib.filar_kthread_ident(core.handle))

    @property
    def native_id(self) -> int | None:
        """The kernel's thread id; None before the start. Reused after the end."""
        core = self._core
        return None if core is None or core.handle is None else int(lib.filar_kthread_tid(core.handle))

    def is_alive(self) -> bool:
        """True from `start()` until the body has ended."""
        return self._core is not None and self._core.is_alive()

    def __repr__(self) -> str:
        state = "initial" if self._core is None else "started" if self.is_alive() else "stopped"
        daemon = " daemon" if self._daemon else ""
        ident = "" if self.ident is None else f" {self.ident}"
        return f"<{type(self).__name__}({self._name}, {state}{daemon}{ident})>"

    # ---- how it runs ----

    @property
    def cpu_time(self) -> float:
        """Seconds of CPU time used so far, or in all after the end."""
        core = self._core
        return 0.0 if core is None or core.handle is None else int(lib.filar_kthread_cpu_ns(core.handle)) / 1e9

    @property
    def cpus(self) -> frozenset[int] | None:
        """The CPUs it may run on; before the start and after the end those last asked for, None if none were."""
        tid = self.native_id
        if tid is not None and self.is_alive():
            try:
                found = frozenset(os.sched_getaffinity(tid))
            except OSError:
                found = None
            # The kernel may give the tid of an ended thread to another one: then the answer is not ours.
            if found is not None and self.is_alive():
                return found
        return None if self._cpus is None else frozenset(self._cpus)

    def set_cpus(self, cpus: Iterable[int] | int) -> None:
        """Moves the running thread to these CPUs (a number or several): to all of them or none."""
        numbers = [_c_int(cpus, "a CPU")] if isinstance(cpus, int) else _cpu_list(cpus)
        check(lib.filar_kthread_set_cpus(self._running("CPUs").handle, ffi.new("int32_t[]", numbers), len(numbers)))
        self._cpus = numbers

    def set_nice(self, nice: int) -> None:
        """Sets the nice value (-20 to 19) of the running thread alone; below the present one needs permission."""
        check(lib.filar_kthread_set_nice(self._running("nice").handle, _checked_nice(nice)))

    def set_policy(self, policy: str, priority: int = 0) -> None:
        """Sets the scheduling policy of the running thread; "fifo" and "rr" need a priority and permission."""
        number = _choice(policy, _POLICIES, "policy")
        core = self._running("policy")
        check(lib.filar_kthread_set_policy(core.handle, number, _c_int(priority, "priority")))

    def _running(self, what: str) -> _Core:
        if self._core is None:
            raise WrongStateError(f"cannot set the {what} of a thread before it is started: give it as an option")
        return self._core

    def statistics(self) -> ThreadStatistics:
        """A snapshot; reads /proc while the thread lives."""
        voluntary, involuntary = self._switches()
        return ThreadStatistics(
            name=self._name,
            tid=self.native_id,
            started=self._core is not None,
            alive=self.is_alive(),
            cpu_seconds=self.cpu_time,
            switches_voluntary=voluntary,
            switches_involuntary=involuntary,
        )

    def _switches(self) -> tuple[int | None, int | None]:
        if not self.is_alive():
            return None, None
        try:
            text = Path(f"/proc/self/task/{self.native_id}/status").read_text()
        except OSError:
            return None, None
        found = re.findall(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)
        # As in `cpus`: only what was read while it lived is its own.
        return (int(found[0]), int(found[1])) if len(found) == 2 and self.is_alive() else (None, None)


_numbers = itertools.count(1)


def _next_name() -> str:
    return f"filar-{next(_numbers)}"


def _daemon_of_creator() -> bool:
    creator = KernelThread.current()
    return creator.daemon if creator is not None else threading.current_thread().daemon


def _checked_nice(nice: Any) -> int:
    number = _c_int(nice, "nice")
    if not -20 <= number <= 19:
        raise InvalidArgumentError(f"nice is -20 to 19, not {number}")
    return number


def _stack_buffer(stack: Any) -> Any:
    try:
        return ffi.from_buffer("char[]", stack, require_writable=True)
    except (TypeError, BufferError, ValueError):
        raise TypeError(f"stack is a writable buffer (an mmap, a NumPy array), not {type(stack).__name__}") from None
