"""Queues: the shapes of the `queue` module, for every kind of thread.

`SimpleQueue` and `Queue` keep their items in C; `LifoQueue`, `PriorityQueue` and subclasses of `Queue` that override
`_init`, `_qsize`, `_put` or `_get` keep them in Python, under a lock.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, Full
from typing import Any, TypeVar

from filar._lib import extension
from filar.errors import ShutDown
from filar.sync import Condition, Lock

__all__ = ["Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "ShutDown", "SimpleQueue"]

T = TypeVar("T")
SimpleQueue = extension.SimpleQueue

_HOOKS = ("_init", "_qsize", "_put", "_get")


class Queue(extension.QueueCore[T]):
    """First in, first out, as `queue.Queue`, with `shutdown()` on every Python.

    `maxsize` items at most; 0 or less: as many as there is memory for. First come, first served, for those that put
    and those that get alike. An interrupted `put()` has put nothing, an interrupted `get()` has taken nothing.

    A subclass may override `_init(maxsize)`, `_qsize()`, `_put(item)` and `_get()`, and then finds what the standard
    class has: `mutex`, `not_empty`, `not_full`, `all_tasks_done`, `queue`. A queue without such hooks has none of
    these.

    >>> jobs = Queue(maxsize=2)
    >>> jobs.put("a"), jobs.put("b"), jobs.full()
    (None, None, True)
    >>> jobs.get(), jobs.task_done(), jobs.unfinished_tasks
    ('a', None, 1)
    >>> jobs.shutdown(immediate=True)
    >>> jobs.join()
    >>> jobs.get()
    Traceback (most recent call last):
    queue.ShutDown
    """

    _has_hooks = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._has_hooks = any(getattr(cls, hook) is not getattr(Queue, hook) for hook in _HOOKS)

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize if not self._has_hooks else 0)
        if self._has_hooks:
            self._begin_hooked(maxsize)

    # ---- hooks, called with the lock held ----

    def _init(self, maxsize: int) -> None:
        self.queue: Any = deque()

    def _qsize(self) -> int:
        return len(self.queue)

    def _put(self, item: T) -> None:
        self.queue.append(item)

    def _get(self) -> T:
        item: T = self.queue.popleft()
        return item

    # ---- a queue with hooks: the core calls these (csrc/py/queue.c) ----

    def _begin_hooked(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.mutex = Lock()
        self.not_empty = Condition(self.mutex)
        self.not_full = Condition(self.mutex)
        self.all_tasks_done = Condition(self.mutex)
        self._hooked_unfinished = 0
        self._hooked_is_shutdown = False
        self._init(maxsize)

    def _hooked_wait(
        self,
        condition: Condition,
        ready: Callable[[], bool],
        block: bool,
        timeout: float | None,
        exception: type[Exception],
    ) -> None:
        """Not ready: waits until it is, or for the shutdown; raises `exception` where that takes longer than it may."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not ready() and not self._hooked_is_shutdown:
            left = None if deadline is None else deadline - time.monotonic()
            if not block or (left is not None and left <= 0):
                raise exception
            condition.wait(left)

    def _hooked_put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        _check_timeout(timeout)
        with self.mutex:
            if 0 < self.maxsize <= self._qsize():
                self._hooked_wait(self.not_full, lambda: self._qsize() < self.maxsize, block, timeout, Full)
            if self._hooked_is_shutdown:
                raise ShutDown
            self._put(item)
            self._hooked_unfinished += 1
            self.not_empty.notify()

    def _hooked_get(self, block: bool = True, timeout: float | None = None) -> T:
        _check_timeout(timeout)
        with self.mutex:
            if not self._qsize():
                self._hooked_wait(self.not_empty, lambda: self._qsize() > 0, block, timeout, Empty)
                if not self._qsize():
                    raise ShutDown
            item = self._get()
            self.not_full.notify()
            return item

    def _hooked_qsize(self) -> int:
        with self.mutex:
            return self._qsize()

    def _hooked_task_done(self) -> None:
        with self.mutex:
            if self._hooked_unfinished <= 0:
                raise ValueError("task_done() called too many times")
            self._hooked_unfinished -= 1
            if self._hooked_unfinished == 0:
                self.all_tasks_done.notify_all()

    def _hooked_join(self) -> None:
        with self.mutex:
            while self._hooked_unfinished:
                self.all_tasks_done.wait()

    def _hooked_shutdown(self, immediate: bool) -> None:
        with self.mutex:
            self._hooked_is_shutdown = True
            while immediate and self._qsize():
                self._get()
                self._hooked_unfinished = max(0, self._hooked_unfinished - 1)
            for condition in (self.not_empty, self.not_full, self.all_tasks_done):
                condition.notify_all()


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


class LifoQueue(Queue[T]):
    """Last in, first out.

    >>> items = LifoQueue()
    >>> items.put(1), items.put(2), items.get()
    (None, None, 2)
    """

    def _init(self, maxsize: int) -> None:
        self.queue = []

    def _get(self) -> T:
        item: T = self.queue.pop()
        return item


class PriorityQueue(Queue[T]):
    """The least item first, as `<` has it.

    >>> items = PriorityQueue()
    >>> items.put((2, "late")), items.put((1, "soon")), items.get()
    (None, None, (1, 'soon'))
    """

    def _init(self, maxsize: int) -> None:
        self.queue = []

    def _put(self, item: T) -> None:
        heapq.heappush(self.queue, item)

    def _get(self) -> T:
        item: T = heapq.heappop(self.queue)
        return item


for _kind in (Queue, LifoQueue, PriorityQueue):
    _kind.__module__ = "filar"
