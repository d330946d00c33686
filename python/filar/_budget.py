"""One thread budget for Python's workers and the threads of BLAS and OpenMP below them.

Without it four workers that each call a matrix product on a machine with four CPUs run sixteen threads. threadpoolctl
(an extra of pip's) does the setting; a BLAS library has one number for the process, OpenMP one for each thread.
"""

import contextlib
import importlib
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["native_threads_limited", "require_threadpoolctl"]

_lock = threading.Lock()
_wanted: list[int] = []  # by all workers of all pools that have a budget; the least counts
_before: Any = None  # what the libraries had before the first


def require_threadpoolctl() -> Any:
    """The module; an ImportError that says what to install."""
    try:
        return importlib.import_module("threadpoolctl")
    except ImportError:
        raise ImportError("native_threads needs threadpoolctl: pip install threadpoolctl") from None


def _apply(module: Any) -> None:
    """Under the lock."""
    global _before
    if not _wanted:
        if _before is not None:
            _before.restore_original_limits()
        _before = None
        return
    limits = module.threadpool_limits(min(_wanted), user_api="blas")
    _before = _before or limits


@contextlib.contextmanager
def native_threads_limited(threads: int | None) -> Iterator[None]:
    """Inside, on this thread, BLAS and OpenMP take at most `threads` threads; None: nothing changes."""
    if threads is None:
        yield
        return
    module = require_threadpoolctl()
    own = module.threadpool_limits(threads, user_api="openmp")
    with _lock:
        _wanted.append(threads)
        _apply(module)
    try:
        yield
    finally:
        with _lock:
            _wanted.remove(threads)
            _apply(module)
        own.restore_original_limits()
