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


class _Outcome(Future[Any]):
    """What comes of a coroutine in a LoopThread. `cancel()` reaches one that runs, where a plain Future refuses.

    All but `cancel()` is called in the loop's thread. `_task` is None until the coroutine has begun.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        super().__init__()
        self._loop, self._coroutine = loop, coroutine
        self._task: asyncio.Task[Any] | None = None

    def cancel(self) -> bool:
        """Of one that runs: asks it; it is done when the coroutine has ended. False: it was done, or the loop is."""
        if super().cancel():
            self._coroutine.close()  # it has not begun, and will not
            return True
        if self.done():
            return False
        try:
            self._loop.call_soon_threadsafe(self._cancel_task)
        except RuntimeError:  # closed: whoever closed it completes us
            return False
        return True

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def begin(self) -> None:
        """PENDING -> RUNNING, with a task whose end is ours; nothing if it was cancelled."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            self._task = self._loop.create_task(self._coroutine)
        except BaseException as error:  # the loop's task factory may be anybody's
            self._coroutine.close()
            self.set_exception(error)
        else:
            self._task.add_done_callback(self._hand_on)

    def abandon(self) -> None:
        """The loop is closed, or will not begin it any more: whatever had become of it, this is its end."""
        if self._task is None:
            self._coroutine.close()
            if not self.set_running_or_notify_cancel():
                return
        if self._task is not None and self._task.done():
            self._hand_on(self._task)
        else:
            self.set_exception(asyncio.CancelledError())

    def _hand_on(self, task: "asyncio.Task[Any]") -> None:
        if task.cancelled():
            self.set_exception(asyncio.CancelledError())
        elif (failure := task.exception()) is not None:
            self.set_exception(failure)
        else:
            self.set_result(task.result())


class LoopThread:
    """An event loop on a kernel thread of its own; a context manager that ends it.

    From any thread but its own: `submit()` starts a coroutine, `run()` waits for one.

    Always: an outcome that is not done is in `_unfinished`. It is put there before it is handed to the loop, and the
    loop's thread looks there after it has closed the loop: so either submit() hears that the loop is closed, or the
    outcome is found.
    """

    def __init__(self, name: str = "filar-loop") -> None:
        self._loop = asyncio.new_event_loop()
        self._unfinished: set[_Outcome] = set()  # changed by single operations
        # For the loop's thread alone. What is cancelled may still need others for its clean-up; they in turn may not.
        self._stopped = self._refuses = False
        self._number: int | None = None  # of the loop's thread, while it runs: later it may be another one's
        self._joining = threading.RLock()  # two that join a thread at once may trip over each other before Python 3.13
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """For `call_soon_threadsafe()` and its kin."""
        return self._loop

    def _serve(self) -> None:
        self._number = threading.get_ident()
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._stopped = True
            try:
                self._cancel_tasks()
                self._refuses = True
                self._cancel_tasks()  # those that have begun meanwhile
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            finally:  # also when one of them leaves by SystemExit
                self._loop.close()
                for outcome in self._unfinished.copy():
                    outcome.abandon()
                self._number = None

    def _cancel_tasks(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def _begin(self, outcome: _Outcome) -> None:
        """In the loop's thread."""
        if self._refuses:
            outcome.abandon()
        else:
            outcome.begin()

    def _stop(self) -> None:
        """In the loop's thread. A second close() must not stop it while it waits for what the first has cancelled."""
        if not self._stopped:
            self._loop.stop()

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Starts a coroutine in the loop, in a copy of the caller's context. Does not block.

        What it returns is done for certain: at the latest when the loop is closed, with asyncio.CancelledError.
        WrongStateError: the loop is closed already.
        """
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"a coroutine is needed, not {type(coroutine).__name__}")
        if self._pid != os.getpid():
            coroutine.close()
            raise WrongStateError("the loop's thread is in the parent process")
        outcome = _Outcome(self._loop, coroutine)
        outcome.add_done_callback(self._unfinished.discard)
        self._unfinished.add(outcome)
        try:
            self._loop.call_soon_threadsafe(self._begin, outcome, context=contextvars.copy_context())
        except RuntimeError:
            outcome.cancel()
            raise WrongStateError("the loop is closed") from None
        return outcome

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float | None = None) -> Any:
        """What the coroutine returns; parks a green thread, a kernel thread sleeps.

        If the wait ends early (DeadlineError, the green thread is cancelled, Ctrl-C), the coroutine is cancelled.
        """
        if threading.get_ident() == self._number:
            coroutine.close()
            raise WrongStateError("run() inside its own loop would wait for itself: await the coroutine")
        outcome = self.submit(coroutine)
        try:
            return wait_for_future(outcome, timeout)
        except BaseException:
            outcome.cancel()
            raise

    def close(self) -> None:
        """Cancels what runs in the loop, waits for its end, and ends the kernel thread. Blocks; harmless again."""
        if self._pid != os.getpid():
            return
        if threading.get_ident() == self._number:
            raise WrongStateError("close() inside its own loop would wait for itself")
        with contextlib.suppress(RuntimeError):  # closed, by another close() or a coroutine that left by SystemExit
            self._loop.call_soon_threadsafe(self._stop)
        with self._joining:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_shared: LoopThread | None = None
_shared_lock = threading.Lock()


def _shared_loop() -> LoopThread:
    global _shared
    with _no_collections, _shared_lock:
        # A coroutine that leaves by SystemExit has ended the one before.
        if _shared is None or _shared.loop.is_closed():
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
