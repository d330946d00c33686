"""Native work on native workers: C functions over NumPy arrays, without the GIL.

A kernel is a C function `void kernel(int64_t begin, int64_t end, void *ctx)`: a function pointer of cffi or ctypes, a
numba `@cfunc`, a `scipy.LowLevelCallable`, or an address. Where the object knows its signature, it is checked. Arrays
are passed as they are; each must be C-contiguous and, unless it is only read, writable.
"""

import ctypes
import functools
import operator
import os
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from filar._lib import FOREVER, LOOP_DEFAULTS, check, error_for, ffi, lib, loop_options, now_ns, wait
from filar.errors import BusyError, ForkedError, InvalidArgumentError, NoSuchCPUError, WrongStateError

__all__ = ["Kernel", "NativePool", "NativePoolStatistics"]

_VOID, _INTEGER, _POINTER = "void", "int64_t", "void *"
RANGE = (_VOID, (_INTEGER, _INTEGER, _POINTER))  # of a loop's kernel
PARTIAL = (_VOID, (_INTEGER, _INTEGER, _POINTER, _POINTER))  # of a reduction's
COMBINE = (_VOID, (_POINTER, _POINTER, _POINTER))
_Signature = tuple[str, tuple[str, ...]]

_INTEGERS = {"long", "long long", "int64_t", "intptr_t", "ptrdiff_t", "ssize_t", "Py_ssize_t", "int64", "npy_intp"}


# ---- what a function object says of its signature --------------------------------------------------------------


def _word(kind: str) -> str:
    """A C or numba type as one of the three that matter; another one as it is."""
    kind = kind.strip()
    if kind.endswith("*"):
        return _POINTER
    if kind in _INTEGERS:
        return _INTEGER
    return _VOID if kind in ("void", "none") else kind


def _of_ctypes(function: Any) -> _Signature | None:
    """None: it was never declared."""
    if function.argtypes is None:
        return None

    def word(kind: Any) -> str:
        if kind is None:
            return _VOID
        if issubclass(kind, (ctypes.c_void_p, ctypes._Pointer, ctypes.c_char_p)):
            return _POINTER
        integer = kind in (ctypes.c_int64, ctypes.c_long, ctypes.c_longlong, ctypes.c_ssize_t)
        return _INTEGER if integer and ctypes.sizeof(kind) == 8 else kind.__name__

    return word(function.restype), tuple(word(kind) for kind in function.argtypes)


def _of_cffi(function: Any) -> _Signature | None:
    """None: a pointer to something else, such as `void *`."""
    kind = ffi.typeof(function)
    if kind.kind != "function":
        if kind.kind == "pointer" and kind.item.kind == "void":
            return None
        raise TypeError(f"a kernel is a function, not {kind.cname}")
    return _word(kind.result.cname), tuple(_word(argument.cname) for argument in kind.args)


def _of_text(text: str) -> _Signature:
    """`void (int64_t, int64_t, void *)`, as SciPy has it."""
    result, _, rest = text.partition("(")
    return _word(result), tuple(_word(argument) for argument in rest.rstrip(") ").split(",") if argument.strip())


def _of_numba(function: Any) -> _Signature | None:
    signature = getattr(function, "_sig", None)
    if signature is None:
        return None
    return _word(str(signature.return_type)), tuple(_word(str(argument)) for argument in signature.args)


def _capsule_pointer(capsule: Any) -> int:
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return pointer(capsule, name(capsule)) or 0


def _is_low_level_callable(function: Any) -> bool:
    return isinstance(function, tuple) and type(function).__name__ == "LowLevelCallable" and len(function) == 3


def _resolve(function: Any) -> tuple[int, _Signature | None, Any]:
    """The address, the signature if it is known, and what the object brings as `ctx`."""
    if _is_low_level_callable(function):
        data = None if function.user_data is None else _capsule_pointer_or_object(function.user_data)
        # It forbids its own indexing.
        return _capsule_pointer(tuple.__getitem__(function, 0)), _of_text(function.signature), data
    if isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
        if any(type(kept).__name__ == "CThunkObject" for kept in (function._objects or {}).values()):
            raise TypeError("this ctypes function calls back into Python: give Python callables to submit() or map()")
        return ctypes.cast(function, ctypes.c_void_p).value or 0, _of_ctypes(function), None
    if isinstance(function, ffi.CData):
        return int(ffi.cast("uintptr_t", function)), _of_cffi(function), None
    if type(function).__name__ == "builtin_function_or_method":
        try:
            return int(ffi.cast("uintptr_t", function)), None, None  # a function of a cffi library
        except TypeError:
            pass
    address = getattr(function, "address", function)
    if isinstance(address, bool) or not isinstance(address, int):
        raise TypeError(
            "a kernel is a function pointer of cffi or ctypes, a numba cfunc, a scipy.LowLevelCallable or an address;"
            f" not {type(function).__name__}"
        )
    return address, _of_numba(function), None


def _capsule_pointer_or_object(data: Any) -> Any:
    return ffi.cast("void *", _capsule_pointer(data)) if type(data).__name__ == "PyCapsule" else data


class Kernel:
    """A native function, checked once: for those who call it often. Kept alive as long as this object."""

    __slots__ = ("address", "data", "function", "pointer", "signature")

    def __init__(self, function: Any, signature: _Signature = RANGE) -> None:
        address, known, data = _resolve(function)
        if not 0 < address < 2**64:
            raise InvalidArgumentError(f"{address:#x} is not the address of a function")
        if known is not None and known != signature:
            raise InvalidArgumentError(f"the kernel is {_spelled(known)}; wanted is {_spelled(signature)}")
        self.function, self.address, self.signature, self.data = function, address, signature, data
        self.pointer = ffi.cast(_C_TYPES[signature], address)

    @classmethod
    def of(cls, function: Any, signature: _Signature = RANGE) -> "Kernel":
        """The kernel that `function` is, or is one of; the last ones are remembered, and kept alive."""
        found = function if isinstance(function, cls) else _recent.get(id(function))
        if found is None or (
            found is not function and (found.function is not function or found.signature != signature)
        ):
            found = cls(function, signature)
            if len(_recent) >= _RECENT_MAX:
                _recent.clear()
            _recent[id(function)] = found
        if found.signature != signature:
            raise InvalidArgumentError(f"the kernel is {_spelled(found.signature)}; wanted is {_spelled(signature)}")
        return found

    def prepare(self, begin: int, end: int, ctx: Any = None, writes: bool = True) -> Callable[[], None]:
        """A callable that makes one call without the GIL; the arguments are checked now and kept alive by it."""
        pointer = _context(self.data if ctx is None else ctx, writes)
        # The kernel may be the last to hold its library, and a pointer does not keep its array alive.
        return functools.partial(
            _call, self, _whole(begin, "begin", 0), _whole(end, "end", 0), ffi.cast("void *", pointer), pointer, ctx
        )

    def __repr__(self) -> str:
        return f"<filar kernel {_spelled(self.signature)} at {self.address:#x}>"


def _call(kernel: Kernel, begin: int, end: int, pointer: Any, *_kept: Any) -> None:
    kernel.pointer(begin, end, pointer)


_C_TYPES = {RANGE: "filar_range_body", PARTIAL: "filar_partial_body", COMBINE: "filar_combine_body"}


# By id(): a function is looked up in a tenth of the time that looking into it takes.
_recent: dict[int, Kernel] = {}
_RECENT_MAX = 64


def _spelled(signature: _Signature) -> str:
    return f"{signature[0]} ({', '.join(signature[1])})"


# ---- arguments -------------------------------------------------------------------------------------------------


def _array_pointer(array: Any, writes: bool, what: str) -> Any:
    """Its memory as a cdata that keeps it alive, and where it is."""
    if array.dtype.hasobject:
        raise TypeError(f"{what} holds Python objects, which native code cannot touch without the GIL")
    if not array.flags.c_contiguous:
        raise InvalidArgumentError(f"{what} is not C-contiguous: pass np.ascontiguousarray() of it")
    if writes and not array.flags.writeable:
        raise InvalidArgumentError(f"{what} is read-only: pass a copy, or writes=False if the kernel only reads it")
    return ffi.from_buffer("char[]", array, require_writable=writes) if array.nbytes else ffi.NULL


def _slot(value: Any, writes: bool, position: int) -> tuple[int, Any]:
    """Eight bytes of a tuple ctx, and what to keep alive for them."""
    if isinstance(value, np.ndarray):
        pointer = _array_pointer(value, writes, f"ctx[{position}]")
        return int(ffi.cast("uintptr_t", pointer)), pointer
    if isinstance(value, (float, np.floating)):
        return int(np.float64(value).view(np.uint64)), None
    if isinstance(value, (int, np.integer)):
        number = operator.index(value)
        if not -(2**63) <= number < 2**64:
            raise InvalidArgumentError(f"ctx[{position}] {number} does not fit in 64 bits")
        return number % 2**64, None
    if isinstance(value, ffi.CData):
        return int(ffi.cast("uintptr_t", value)), value
    raise TypeError(f"ctx[{position}] is an array, a number or a pointer, not {type(value).__name__}")


def _context(ctx: Any, writes: bool) -> Any:
    """`ctx` as a cdata pointer that keeps alive what it points to."""
    if isinstance(ctx, np.ndarray):
        return _array_pointer(ctx, writes, "ctx")
    if ctx is None:
        return ffi.NULL
    if isinstance(ctx, ffi.CData):
        return ffi.cast("void *", ctx)
    if isinstance(ctx, tuple):
        slots, kept = zip(*(_slot(value, writes, i) for i, value in enumerate(ctx)), strict=True) if ctx else ((), ())
        block = ffi.new("uint64_t[]", list(slots))
        _keep[block] = kept
        return block
    if isinstance(ctx, bool):
        raise TypeError("ctx is an array, a tuple, a pointer or an address, not bool")
    if isinstance(ctx, int):
        if not 0 <= ctx < 2**64:
            raise InvalidArgumentError(f"{ctx:#x} is not an address")
        return ffi.cast("void *", ctx)
    if isinstance(ctx, (ctypes.c_void_p, ctypes._Pointer)):
        return ffi.cast("void *", ctypes.cast(ctx, ctypes.c_void_p).value or 0)
    try:
        return ffi.from_buffer("char[]", ctx, require_writable=writes)
    except (TypeError, BufferError, ValueError):
        raise TypeError(
            f"ctx is an array, a tuple of arrays and numbers, a {'writable ' if writes else ''}buffer, a pointer or an"
            f" address, not {type(ctx).__name__}"
        ) from None


# A block of slots -> what they point to, for as long as the block lives.
_keep: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def allowed_cpus(cpus: Iterable[Any]) -> list[int]:
    """CPU numbers that this process may run on; raises for another one."""
    numbers = [_whole(cpu, "a CPU", 0) for cpu in cpus]
    allowed = os.sched_getaffinity(0)
    for cpu in numbers:
        if cpu not in allowed:
            raise NoSuchCPUError(f"this process may not run on CPU {cpu}; it may on {sorted(allowed)}")
    return numbers


def _whole(value: Any, what: str, least: int) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{what} is a number, not {value!r}")
    number = operator.index(value)
    if number < least or number >= 2**63:
        raise InvalidArgumentError(f"{what} is at least {least} and fits in 64 bits, not {number}")
    return number


_SCHEDULES = {
    "adaptive": lib.FILAR_SCHEDULE_ADAPTIVE,
    "static": lib.FILAR_SCHEDULE_STATIC,
    "dynamic": lib.FILAR_SCHEDULE_DYNAMIC,
}


def _loop_options(grain: Any, schedule: str, threads: Any, token: Any) -> Any:
    """The same object where nothing was asked for: the fast path of a loop."""
    if grain is None and threads is None and schedule == "adaptive" and token is None:
        return LOOP_DEFAULTS
    if schedule not in _SCHEDULES:
        raise InvalidArgumentError(f"schedule is one of {', '.join(_SCHEDULES)}, not {schedule!r}")
    options = loop_options()
    options.schedule = _SCHEDULES[schedule]
    if grain is not None:
        options.grain = _whole(grain, "grain", 1)
    if threads is not None:
        options.threads = min(_whole(threads, "threads", 1), 2**31)
    if token is not None:
        options.token = token
    return options


def _deadline_token(timeout: float | None) -> Any:
    if timeout is None:
        return None
    token = ffi.new("filar_token *")
    lib.filar_token_init(token, FOREVER if timeout >= 1e9 else now_ns() + int(max(0.0, timeout) * 1e9))
    return token


# ---- the pool --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NativePoolStatistics:
    """A snapshot; the counters only grow."""

    workers: int
    started: int  # kernel threads there are
    sleeping: int
    loops: int  # that called for help
    helpers: int  # times a worker helped with one
    wakes: int


def _release(box: Any, lib: Any = lib, forever: int = FOREVER) -> None:
    """No loop runs any more: each holds the pool until it ends."""
    if box[0]:
        lib.filar_pool_shutdown_until(box[0], False, forever)
        lib.filar_pool_destroy(box[0])


class NativePool:
    """Native workers without a thread state: what runs on them cannot touch Python, and nothing of Python slows them.

    `workers`: how many, None for as many as there are CPUs for this process; they start with the first loop that
    needs them. `cpus`: which CPU each is pinned to, in turn; None: not pinned.
    """

    def __init__(self, workers: int | None = None, *, cpus: Iterable[int] | None = None, name: str = "native") -> None:
        options = ffi.new("filar_pool_options *")
        lib.filar_pool_options_init(options)
        options.workers = 0 if workers is None else min(_whole(workers, "workers", 1), 2**31)
        spelled = ffi.new("char[]", name.replace("\0", "").encode(errors="replace"))
        options.name = spelled
        numbers = ffi.NULL if cpus is None else ffi.new("int32_t[]", allowed_cpus(cpus))
        if numbers != ffi.NULL:
            options.pin, options.cpus, options.cpu_count = lib.FILAR_WORKERS_LIST, numbers, len(numbers)
        self._box = ffi.gc(ffi.new("filar_pool **"), _release)
        check(lib.filar_pool_create(self._box, options))
        self._pool = self._box[0]
        self._pid = os.getpid()

    def _open(self) -> Any:
        pool = self._pool
        if pool is None:
            raise WrongStateError("the native pool is shut down")
        return pool

    def parallel_for(
        self,
        kernel: Any,
        n: int,
        grain: int | None = None,
        ctx: Any = None,
        *,
        begin: int = 0,
        schedule: str = "adaptive",
        threads: int | None = None,
        timeout: float | None = None,
        writes: bool = True,
    ) -> None:
        """Calls `kernel(b, e, ctx)` for pieces [b, e) that make up [begin, n), on this thread and on idle workers.

        Blocks without the GIL until all is done; `timeout` in seconds ends it between two pieces with DeadlineError.
        `ctx`: an array, a tuple of arrays and numbers (which becomes an array of 8-byte slots: pointers, int64_t,
        double), a buffer, a pointer, or None. `grain`: the most steps of a piece; None: as it sees fit, and short
        loops stay on this thread. `schedule`: "adaptive", "static" (equal parts), "dynamic". `writes=False`: the
        kernel only reads, so read-only arrays may be passed. Signal handlers run between two pieces, within 100 ms
        where pieces are shorter; if one raises (Ctrl-C), the rest of the loop is not done.
        """
        checked = Kernel.of(kernel)
        pointer = _context(checked.data if ctx is None else ctx, writes)
        end, begin = _whole(n, "n", 0), _whole(begin, "begin", 0) if begin else 0
        options = _loop_options(grain, schedule, threads, _deadline_token(timeout))
        status = lib.filar_parallel_for(self._open(), options, begin, end, checked.pointer, pointer)
        if status != lib.FILAR_OK:
            check(status)

    def parallel_reduce(
        self,
        kernel: Any,
        combine: Any,
        n: int,
        identity: Any,
        grain: int | None = None,
        ctx: Any = None,
        *,
        begin: int = 0,
        threads: int | None = None,
        timeout: float | None = None,
        writes: bool = False,
    ) -> np.ndarray:
        """Combines what `kernel(b, e, ctx, partial)` adds to its partial results, in order of the pieces.

        `identity`: an array (or a number) that a partial result begins as; the result is a new array like it, the
        same to the last bit for any number of workers. `combine(into, from, ctx)` adds `from` to `into`. Blocks
        without the GIL.
        """
        body, both = Kernel.of(kernel, PARTIAL), Kernel.of(combine, COMBINE)
        start = np.ascontiguousarray(identity)
        result = np.empty(start.shape, start.dtype)
        if start.nbytes == 0:
            raise InvalidArgumentError("identity is empty: a partial result has at least one byte")
        reduction = ffi.new("filar_reduction *")
        reduction.body, reduction.combine = body.pointer, both.pointer
        source = _array_pointer(start, False, "identity")
        reduction.identity, reduction.bytes_each = source, start.nbytes
        pointer = _context(body.data if ctx is None else ctx, writes)
        options = _loop_options(grain, "adaptive", threads, _deadline_token(timeout))
        check(
            lib.filar_parallel_reduce(
                self._open(), options, _whole(begin, "begin", 0), _whole(n, "n", 0), reduction, pointer,
                _array_pointer(result, True, "result"),
            )
        )  # fmt: skip
        return result

    def resize(self, workers: int) -> None:
        """Changes the number of workers; does not wait for loops."""
        check(lib.filar_pool_resize(self._open(), _whole(workers, "workers", 1)))

    def statistics(self) -> NativePoolStatistics:
        """A snapshot; does not block."""
        found = ffi.new("filar_pool_stats *")
        check(lib.filar_pool_read_stats(self._open(), found))
        return NativePoolStatistics(
            found.workers, found.started, found.sleeping, found.loops, found.helpers, found.worker_wakes
        )

    def shutdown(self, timeout: float | None = None) -> None:
        """Ends the workers; blocks until running loops have ended. Twice is once."""
        pool = self._pool
        if pool is None:
            return
        if os.getpid() == self._pid:
            try:
                if not wait(lambda deadline_ns: lib.filar_pool_shutdown_until(pool, False, deadline_ns), timeout):
                    raise error_for(lib.FILAR_TIMED_OUT)
            except ForkedError:
                pass
        status = lib.filar_pool_destroy(pool)
        if status == lib.FILAR_BUSY:
            raise BusyError("a loop still runs on this pool")
        self._pool = None
        self._box[0] = ffi.NULL

    def __enter__(self) -> "NativePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
