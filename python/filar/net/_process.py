"""Waiting for processes: a green thread parks until a child has ended."""

import contextlib
import errno
import os
import subprocess
import time
from typing import Any

from filar.errors import DeadlineError
from filar.green import sleep
from filar.net._wait import READABLE, remaining, wait_fd
from filar.waiting import close_fd

__all__ = ["wait_process"]

# Seconds between two looks where the kernel has no pidfd (before 5.3) or forbids it.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


def wait_process(process: "subprocess.Popen[Any] | int", timeout: float | None = None) -> int | None:
    """Waits until a process has ended; its return code, as `Popen.returncode` has it.

    `process`: a subprocess.Popen, or the pid of a child (which is reaped), or of any other process: then None, since
    only parents are told. After `timeout` seconds: DeadlineError. Parks a green thread; a kernel thread sleeps.
    ProcessLookupError: there is no such process (any more).
    """
    code = _ended(process)
    if code is not _RUNNING:
        return code
    pid = process if isinstance(process, int) else process.pid
    deadline = None if timeout is None else time.monotonic() + timeout
    ready = _by_fd(pid, deadline) if hasattr(os, "pidfd_open") else None
    code = _by_looking(process, deadline) if ready is None else _code_of(process) if ready else _RUNNING
    if code is _RUNNING:
        raise DeadlineError(f"process {pid} did not end within {timeout} seconds")
    return code


_RUNNING = object()


def _ended(process: "subprocess.Popen[Any] | int") -> Any:
    """The return code; None of a process that is no child and has ended; _RUNNING."""
    if not isinstance(process, int):
        found = process.poll()
        return _RUNNING if found is None else found
    try:
        pid, status = os.waitpid(process, os.WNOHANG)
    except ChildProcessError:
        with contextlib.suppress(PermissionError):  # it is there, and somebody else's
            os.kill(process, 0)
        return _RUNNING
    return os.waitstatus_to_exitcode(status) if pid else _RUNNING


def _by_fd(pid: int, deadline: float | None) -> bool | None:
    """By a pidfd; None: there are none here."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENODEV):
            return None
        raise
    try:
        return wait_fd(fd, READABLE, remaining(deadline))
    finally:
        close_fd(fd)


def _code_of(process: "subprocess.Popen[Any] | int") -> int | None:
    """Of one that has ended."""
    try:
        code = _ended(process)
    except ProcessLookupError:
        return None
    return None if code is _RUNNING else code


def _by_looking(process: "subprocess.Popen[Any] | int", deadline: float | None) -> Any:
    """Now and then, as Popen.wait() with a timeout does; _RUNNING: the time has passed."""
    pause = _FIRST_PAUSE
    while True:
        try:
            code = _ended(process)
        except ProcessLookupError:
            return None
        left = remaining(deadline)
        if code is not _RUNNING or left == 0.0:
            return code
        sleep(pause if left is None else min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
