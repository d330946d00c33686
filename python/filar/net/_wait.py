"""How everything in this package waits: for a file descriptor, until a time, whatever kind of thread calls."""

import errno
import select
import time

from filar import waiting
from filar.errors import DeadlineError

__all__ = ["READABLE", "WRITABLE", "remaining", "wait_fd"]

READABLE, WRITABLE = select.POLLIN, select.POLLOUT


def wait_fd(fd: int, events: int, timeout: float | None) -> bool:
    """Waits until the file descriptor is ready; False when `timeout` seconds pass first.

    Parks a green thread, a kernel thread sleeps. OSError (EBADF) when it is, or while it waits becomes, closed.
    """
    if fd < 0:
        raise OSError(errno.EBADF, "the socket is closed")
    try:
        waiting.wait_fd(fd, events, timeout)
    except DeadlineError:
        return False
    return True


def remaining(deadline: float | None) -> float | None:
    """Seconds until a time of the monotonic clock, not less than none; None: there is no end."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
