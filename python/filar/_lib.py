"""The only importer of the extension module: `ffi`, `lib`, its types, and how a status becomes an exception.

The interpreter lets go of the GIL around every `lib` call. A call that waits returns `FILAR_INTERRUPTED` when a
signal arrives and is asked again, so that Python's signal handlers (Ctrl-C) run between two calls; `wait()` is
that loop.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from filar import _filar as extension
from filar._filar import ffi, lib
from filar.errors import BY_STATUS, CancelledError, FilarError, ShutDown, SystemCallError

__all__ = [
    "FOREVER",
    "LOOP_DEFAULTS",
    "Selected",
    "check",
    "error_for",
    "extension",
    "ffi",
    "lib",
    "loop_options",
    "now_ns",
    "pool_types",
    "text",
    "wait",
]

FOREVER: int = 2**63 - 1
# A signal that arrives between Python's look at its signals and the wait inside C does not end that wait; the
# main thread, the only one that runs handlers, therefore waits in slices. Ctrl-C is promised within 100 ms.
_SLICE_NS = 40_000_000
# Seconds; from here on (30 years, infinity) a timeout is none, and its nanoseconds might not fit in 64 bits.
_TIMEOUT_MAX = 1e9


def text(pointer: Any) -> str:
    """A C string as a Python one; "" for NULL."""
    return ffi.string(pointer).decode(errors="replace") if pointer != ffi.NULL else ""


def now_ns() -> int:
    """Nanoseconds on CLOCK_MONOTONIC, the clock of all deadlines."""
    return int(lib.filar_now_ns())


def error_for(status: int, detail: str | None = None) -> FilarError | CancelledError:
    """The exception that says what `status` says, with the detail of this thread's last failed call."""
    kind = BY_STATUS.get(text(lib.filar_status_name(status)), SystemCallError)
    detail = text(lib.filar_status_detail()) if detail is None else detail
    return kind(detail or text(lib.filar_status_sentence(status)))


def check(status: int) -> None:
    """Raises what a failed call reported, or what a signal handler raised during it."""
    if status == lib.FILAR_OK:
        return
    if status == lib.FILAR_INTERRUPTED:
        extension.raise_interrupt()
    raise error_for(status)


def loop_options() -> Any:
    """`filar_loop_options` with the defaults; the loop runs Python's signal handlers between pieces."""
    options = ffi.new("filar_loop_options *")
    lib.filar_loop_options_init(options)
    options.interrupted = ffi.addressof(lib, "filar_py_interrupted")
    return options


# For loops without wishes: never written to.
LOOP_DEFAULTS = loop_options()


def wait(call: Callable[[int], int], timeout: float | None) -> bool:
    """Calls `call(deadline_ns)` until it is done; False when `timeout` seconds pass first.

    Blocks. KeyboardInterrupt and other exceptions of signal handlers come out of it within 100 ms. WrongStateError on a
    native green thread that has called Python: the thread state that it borrows is not its own.
    """
    extension.may_wait()
    deadline_ns = FOREVER
    if timeout is not None and timeout < _TIMEOUT_MAX:
        deadline_ns = now_ns() + max(0, int(timeout * 1e9))
    # Not current_thread(): it would make a stand-in object on a green thread.
    in_main_thread = threading.get_ident() == threading.main_thread().ident
    while True:
        slice_ns = min(deadline_ns, now_ns() + _SLICE_NS) if in_main_thread else deadline_ns
        status = call(slice_ns)
        if status == lib.FILAR_OK:
            return True
        if status == lib.FILAR_TIMED_OUT:
            if slice_ns >= deadline_ns:
                return False
        elif status != lib.FILAR_INTERRUPTED:
            raise error_for(status)


def pool_types(settled: Any, let_others: Callable[[], None]) -> dict[str, Any]:
    """The C halves of `filar.pool`, made once; what the arguments are stands in csrc/py/border.h."""
    # cffi lets go of the GIL around a call; ctypes has a kind of function that keeps it.
    import ctypes

    prototype = ctypes.PYFUNCTYPE(*[ctypes.py_object] * 4)
    make = prototype(int(ffi.cast("uintptr_t", ffi.addressof(lib, "filar_py_pool_types"))))
    return make(settled, extension.Condition, let_others)


class Selected(NamedTuple):
    """What select() did: which case, and what was received (None where something was sent)."""

    case: int
    value: Any


def _install_types() -> None:
    """Adds the types of csrc/py to the extension module: cffi, which writes its start, cannot."""
    exceptions = {**BY_STATUS, "Empty": queue.Empty, "Full": queue.Full, "ShutDown": ShutDown}
    pointers = [ffi.cast("void *", id(thing)) for thing in (extension, exceptions, Selected)]
    check(lib.filar_py_install_types(*pointers))


_install_types()
