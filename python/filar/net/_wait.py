"""How everything in this package waits: for a file descriptor, until a time, whatever kind of thread calls."""

import errno
import os
import time

from filar._lib import ffi, lib, wait
from filar.errors import ClosedError

__all__ = ["READABLE", "WRITABLE", "close_fd", "forget_fd", "remaining", "wait_fd"]

READABLE: int = lib.FILAR_READABLE
WRITABLE: int = lib.FILAR_WRITABLE


def wait_fd(fd: int, events: int, timeout: float | None) -> bool:
    """Waits until the file descriptor is ready; False when `timeout` seconds pass first.

    Parks a green thread, a kernel thread sleeps. OSError (EBADF) when it is, or while it waits becomes, closed.
    """
    if fd < 0:
        raise OSError(errno.EBADF, "the socket is closed")
    try:
        return wait(lambda deadline_ns: lib.filar_wait_fd_until(fd, events, deadline_ns, ffi.NULL), timeout)
    except ClosedError:
        raise OSError(errno.EBADF, "the socket was closed while a thread waited for it") from None


def forget_fd(fd: int) -> None:
    """Those who wait for it hear EBADF; it stays open."""
    lib.filar_forget(fd)


def close_fd(fd: int) -> None:
    """Closes it; those who wait for it hear EBADF."""
    if lib.filar_close(fd) != lib.FILAR_OK:
        code = lib.filar_status_errno()
        raise OSError(code, os.strerror(code))


def remaining(deadline: float | None) -> float | None:
    """Seconds until a time of the monotonic clock, not less than none; None: there is no end."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
