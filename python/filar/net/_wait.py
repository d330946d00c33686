"""INTERIM: poll(2) in slices, on a kernel thread of blocking()."""

import errno
import os
import select
import time

from filar.green import blocking

__all__ = ["READABLE", "WRITABLE", "close_fd", "forget_fd", "remaining", "wait_fd"]

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
_gone: dict[int, int] = {}


def _poll(fd: int, events: int, deadline: float | None, number: int) -> bool:
    poll = select.poll()
    poll.register(fd, events)
    while True:
        for _, got in poll.poll(10):
            if got & select.POLLNVAL:
                raise OSError(errno.EBADF, "the socket is closed")
            return True
        if _gone.get(fd, 0) != number:
            raise OSError(errno.EBADF, "the socket was closed while a thread waited for it") from None
        if deadline is not None and time.monotonic() >= deadline:
            return False


def wait_fd(fd: int, events: int, timeout: float | None) -> bool:
    if fd < 0:
        raise OSError(errno.EBADF, "the socket is closed")
    deadline = None if timeout is None else time.monotonic() + timeout
    return blocking(_poll, fd, events, deadline, _gone.get(fd, 0))


def forget_fd(fd: int) -> None:
    _gone[fd] = _gone.get(fd, 0) + 1


def close_fd(fd: int) -> None:
    forget_fd(fd)
    os.close(fd)


def remaining(deadline: float | None) -> float | None:
    """Seconds until a time of the monotonic clock, not less than none; None: there is no end."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
