"""Exceptions, and the one place where a status of the C core becomes one."""

import queue
import sys

if sys.version_info >= (3, 13):
    ShutDown = queue.ShutDown
else:

    class ShutDown(Exception):  # noqa: N818 (the name of the standard library's, from 3.13 on)
        """A queue was shut down: nothing can be put into it, and nothing is left to get."""


class FilarError(Exception):
    """Base of all exceptions of filar; `status` is the name of the C status, such as "FILAR_LIMIT"."""

    status = "FILAR_SYSTEM"


class InvalidArgumentError(FilarError, ValueError):
    """An argument is outside what the function accepts."""

    status = "FILAR_INVALID"


class OutOfMemoryError(FilarError, MemoryError):
    """The system has no memory for this."""

    status = "FILAR_NO_MEMORY"


class LimitError(FilarError, OSError):
    """A limit of the system, the container or the process is reached; `filar.why_not()` names it."""

    status = "FILAR_LIMIT"


class NotPermittedError(FilarError, PermissionError):
    """This process may not do that."""

    status = "FILAR_NO_PERMISSION"


class NoSuchCPUError(FilarError, ValueError):
    """No such CPU, or this process may not run on it."""

    status = "FILAR_NO_CPU"


class DeadlineError(FilarError, TimeoutError):
    """The deadline passed first."""

    status = "FILAR_TIMED_OUT"


class CancelledError(BaseException):
    """This green thread (or operation) was cancelled: let it through, after cleaning up.

    No FilarError and no Exception, as in asyncio: `except Exception` in the code that is to be stopped must not
    stop the stopping. Each wait of a cancelled green thread raises it, not only the first.
    """

    status = "FILAR_CANCELLED"


class JoinCancelledError(FilarError):
    """The green thread that was joined had been cancelled (the one that joins it was not)."""

    status = "FILAR_CANCELLED"


class WrongStateError(FilarError, RuntimeError):
    """The object is not in a state that allows this."""

    status = "FILAR_WRONG_STATE"


class DeadlockError(FilarError, RuntimeError):
    """Waiting for this would never end."""

    status = "FILAR_DEADLOCK"


class BusyError(FilarError, RuntimeError):
    """The object is in use."""

    status = "FILAR_BUSY"


class NotSupportedHereError(FilarError, NotImplementedError):
    """This kernel, CPU or build has no such feature."""

    status = "FILAR_NOT_SUPPORTED"


class NotFoundError(FilarError, LookupError):
    """No such thing."""

    status = "FILAR_NOT_FOUND"


class ForkedError(FilarError, RuntimeError):
    """The object belongs to the parent process of a fork."""

    status = "FILAR_FORKED"


class SystemCallError(FilarError, OSError):
    """The operating system reported an unexpected error."""

    status = "FILAR_SYSTEM"


class ClosedError(FilarError):
    """The channel is closed. `case` is the one of select() that it came to, else None."""

    status = "FILAR_CLOSED"
    case: int | None = None


class RejectedError(FilarError, queue.Full):
    """The queue of a pool is full, and the pool was told to refuse then."""

    status = "FILAR_BUSY"


class ResultFileError(FilarError, ValueError):
    """A file is not a result or a report of filar, is cut off, or comes from a newer version."""

    status = "FILAR_INVALID"


BY_STATUS: dict[str, type[FilarError] | type[CancelledError]] = {
    kind.status: kind
    for kind in (
        InvalidArgumentError,
        OutOfMemoryError,
        LimitError,
        NotPermittedError,
        NoSuchCPUError,
        DeadlineError,
        CancelledError,
        WrongStateError,
        DeadlockError,
        BusyError,
        NotSupportedHereError,
        NotFoundError,
        ForkedError,
        ClosedError,
        SystemCallError,
    )
}
