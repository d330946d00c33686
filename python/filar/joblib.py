"""A backend for joblib: `filar.joblib.register()`, then `joblib.parallel_config(backend="filar")`.

Threads in this process, as joblib's "threading" backend, but kept between calls and without its polling: where the
results are wanted as a list, joblib waits for the next one with our future, and not in steps of 10 ms.
"""

import threading
from collections.abc import Callable
from typing import Any

import joblib
from joblib._parallel_backends import ParallelBackendBase, SequentialBackend

from filar.errors import InvalidArgumentError
from filar.pool import ThreadPoolExecutor

__all__ = ["FilarBackend", "register"]

_lock = threading.Lock()
_executors: dict[tuple[int, int, int | None], ThreadPoolExecutor] = {}


def _executor(workers: int, level: int, native_threads: int | None) -> ThreadPoolExecutor:
    """The executor for regions of this size and depth, the same for all of them."""
    with _lock:
        found = _executors.get((workers, level, native_threads))
        if found is None or not found._work_queue.is_open():
            found = ThreadPoolExecutor(workers, f"joblib-{level}", native_threads=native_threads)
            _executors[workers, level, native_threads] = found
        return found


class _Job:
    """A future with the name that joblib before 1.4 wants for `result`."""

    __slots__ = ("future",)

    def __init__(self, future: Any) -> None:
        self.future = future

    def get(self, timeout: float | None = None) -> Any:
        return self.future.result(timeout)


class FilarBackend(ParallelBackendBase):
    """Runs joblib's batches on a `filar.ThreadPoolExecutor`."""

    uses_threads = True
    supports_sharedmem = True
    supports_inner_max_num_threads = True
    supports_timeout = True
    supports_return_generator = True
    parallel: Any = None
    _pool: ThreadPoolExecutor | None = None
    _live: set[Any]  # the futures of the batches of this region that are not done

    @property
    def supports_retrieve_callback(self) -> bool:
        """Only for generators: with it joblib polls for results every 10 ms."""
        return bool(getattr(self.parallel, "return_generator", False))

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers `n_jobs` means here; does not block."""
        if n_jobs == 0:
            raise InvalidArgumentError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(joblib.cpu_count() + 1 + n_jobs, 1)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **_: Any
    ) -> int:
        """Called by joblib at the beginning of a region."""
        workers = self.effective_n_jobs(n_jobs)
        self.parallel = parallel
        level = getattr(self, "nesting_level", 0) or 0
        self._pool = _executor(workers, level, getattr(self, "inner_max_num_threads", None))
        self._live = set()
        return workers

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> _Job:
        """One batch; called by joblib from the thread of the region and from callbacks."""
        if self._pool is None:
            raise RuntimeError("the backend was not configured")
        future = self._pool.submit(func)
        self._live.add(future)
        future.add_done_callback(self._live.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return _Job(future)

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result(self, out: _Job, timeout: float | None = None) -> Any:
        """Blocks until the batch is done."""
        return out.get(timeout)

    def retrieve_result_callback(self, out: Any) -> Any:
        """`out` is the future itself, which is done."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """After an exception: what has not begun will not, what runs is told (`filar.pool.is_cancelled()`)."""
        for future in list(self._live):
            future.cancel()

    def terminate(self) -> None:
        """The end of a region: the workers stay for the next one."""

    def get_nested_backend(self) -> tuple[Any, None]:
        """Regions inside a batch share one more executor; deeper ones are sequential."""
        level = (getattr(self, "nesting_level", 0) or 0) + 1
        backend = SequentialBackend if level > 1 else FilarBackend
        return backend(nesting_level=level), None


def register(name: str = "filar", make_default: bool = False) -> None:
    """Makes the backend known to joblib under this name."""
    joblib.register_parallel_backend(name, FilarBackend, make_default=make_default)
