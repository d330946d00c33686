"""asyncio and green threads, both ways.

    result = await green                       # in a coroutine: a GreenThread is awaitable
    result = await filar.aio.wrap(future)      # ... and so is a concurrent.futures.Future

    result = filar.aio.run(coroutine())        # on a green thread: parks it until the coroutine has ended

The coroutine runs in an event loop on a kernel thread of its own, beside the workers: `LoopThread`, or the one that
`run()` shares. `asyncio.run()` on a green thread works too, but its loop blocks that green thread's worker.
"""

import asyncio
import atexit
import contextlib
import contextvars
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from filar.errors import CancelledError, WrongStateError
from filar.green import GreenThread, _no_collections, wait_for_future

__all__ = ["LoopThread", "run", "wrap"]


# ---- from a loop ---------------------------------------------------------------------------------------------------


def _settle(future: "asyncio.Future[Any]", green: Any) -> None:
    """In the loop's thread: what came out of the green thread."""
    if future.cancelled():
        green.exception()  # nobody wants to know it any more
        return
    failure = green.exception()
    if isinstance(failure, CancelledError):
        future.cancel()
    elif isinstance(failure, StopIteration):
        future.set_exception(RuntimeError("the green thread raised StopIteration"))
    elif failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(green.result())


def _tell(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", green: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(_settle, future, green)


def wrap(thing: Any, *, loop: asyncio.AbstractEventLoop | None = None) -> "asyncio.Future[Any]":
    """An asyncio future for a GreenThread or a concurrent.futures.Future (the executors' kind).

    Cancelling it cancels the green thread. A green thread that was cancelled cancels it. `loop`: the running one.
    """
    loop = asyncio.get_running_loop() if loop is None else loop
    if not isinstance(thing, GreenThread):
        return asyncio.wrap_future(thing, loop=loop)
    future = loop.create_future()
    future.add_done_callback(lambda done: thing.cancel() if done.cancelled() and not thing.done() else None)
    thing.add_done_callback(lambda green: _tell(loop, future, green))
    return future


# ---- from a green thread -------------------------------------------------------------------------------------------


class LoopThread:
    """An event loop on a kernel thread of its own; a context manager that ends it.

    From any thread but its own: `submit()` starts a coroutine, `run()` waits for one.
    """

    def __init__(self, name: str = "filar-loop") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._pid = os.getpid()
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """For `call_soon_threadsafe()` and its kin."""
        return self._loop

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Starts a coroutine in the loop, in a copy of the caller's context. Does not block."""
        if self._loop.is_closed() or self._pid != os.getpid():
            coroutine.close()
            raise WrongStateError("the loop is closed")
        outcome: Future[Any] = Future()
        context = contextvars.copy_context()
        self._loop.call_soon_threadsafe(_start, self._loop, coroutine, outcome, context=context)
        return outcome

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """What the coroutine returns; parks a green thread, a kernel thread sleeps.

        If the wait ends early (DeadlineError, the green thread is cancelled, Ctrl-C), the coroutine is cancelled.
        """
        if threading.get_ident() == self._thread.ident:
            coroutine.close()
            raise WrongStateError("run() inside its own loop would wait for itself: await the coroutine")
        outcome = self.submit(coroutine)
        try:
            return wait_for_future(outcome, timeout)
        except BaseException:
            outcome.cancel()
            raise

    def close(self) -> None:
        """Cancels what runs in the loop, waits for its end, and ends the kernel thread. Blocks."""
        if not self._loop.is_closed() and self._pid == os.getpid():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], outcome: "Future[Any]") -> None:
    """In the loop's thread: a task whose end is the outcome, and the other way round."""
    if not outcome.set_running_or_notify_cancel():
        coroutine.close()
        return
    task = loop.create_task(coroutine)
    cancels = _Cancels(loop, task)
    outcome.cancel = cancels.cancel  # type: ignore[method-assign]
    task.add_done_callback(lambda done: _hand_on(done, outcome))


class _Cancels:
    """What `cancel()` of a running outcome does: a Future of concurrent.futures refuses once it runs."""

    def __init__(self, loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
        self._loop, self._task = loop, task

    def cancel(self) -> bool:
        if self._task.done():
            return False
        self._loop.call_soon_threadsafe(self._task.cancel)
        return True


def _hand_on(task: "asyncio.Task[Any]", outcome: "Future[Any]") -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
    elif (failure := task.exception()) is not None:
        outcome.set_exception(failure)
    else:
        outcome.set_result(task.result())


_shared: LoopThread | None = None
_shared_lock = threading.Lock()


def _shared_loop() -> LoopThread:
    global _shared
    with _no_collections, _shared_lock:
        if _shared is None:
            _shared = LoopThread()
        return _shared


def run(coroutine: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
    """`LoopThread.run()` in a loop that all callers share: clients of one connection pool, say, meet there."""
    return _shared_loop().run(coroutine, timeout)


def _close_shared() -> None:
    if _shared is not None:
        _shared.close()


def _after_fork_in_child() -> None:
    global _shared, _shared_lock
    _shared, _shared_lock = None, threading.Lock()


atexit.register(_close_shared)
os.register_at_fork(after_in_child=_after_fork_in_child)
