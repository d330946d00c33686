"""Locks, conditions, counters: the shapes of `threading`, for every kind of thread.

All but `Barrier` are types in C (csrc/py) over the primitives of csrc/block: where nobody has to wait a call takes
some tens of nanoseconds and neither lets go of the GIL nor enters the kernel. A wait lets go of the GIL; in the main
thread Ctrl-C ends it within 100 ms, and what it waited for is then neither taken nor lost.
"""

from collections.abc import Callable
from threading import BrokenBarrierError

from filar._lib import extension

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "Latch",
    "Lock",
    "RLock",
    "RWLock",
    "Semaphore",
    "WaitGroup",
]

BoundedSemaphore = extension.BoundedSemaphore
Condition = extension.Condition
Event = extension.Event
Latch = extension.Latch
Lock = extension.Lock
RLock = extension.RLock
RWLock = extension.RWLock
Semaphore = extension.Semaphore
WaitGroup = extension.WaitGroup


class Barrier:
    """`parties` threads wait for each other, again and again, as `threading.Barrier`.

    `action` is called by one of them before they go on; `timeout` (seconds) is that of waits without one of their own.
    A thread that gives up (timeout, Ctrl-C, an `action` that raises) breaks the barrier: whoever waits gets a
    BrokenBarrierError until somebody calls `reset()`.

    >>> barrier = Barrier(1, action=lambda: print("all here"))
    >>> barrier.wait()
    all here
    0
    """

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        if parties < 1:
            raise ValueError("parties must be > 0")
        self._parties = parties
        self._action = action
        self._timeout = timeout
        self._changed = Condition(Lock())
        self._begin_round()

    def _begin_round(self) -> None:
        self._round = _Round()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the others; each gets another number from 0 to parties - 1. Raises BrokenBarrierError.

        Blocks, at most `timeout` seconds (None: the barrier's own).
        """
        with self._changed:
            current = self._round
            if current.broken:
                raise BrokenBarrierError
            index = current.arrived
            current.arrived += 1
            try:
                if current.arrived == self._parties:
                    self._open(current)
                else:
                    self._wait_for_rest(current, self._timeout if timeout is None else timeout)
            except BaseException:
                if not current.open:
                    self._break(current)
                raise
            return index

    def _open(self, current: "_Round") -> None:
        """The last to arrive: the next round begins while those of this one are on their way out."""
        if self._action is not None:
            self._action()
        current.open = True
        self._begin_round()
        self._changed.notify_all()

    def _wait_for_rest(self, current: "_Round", timeout: float | None) -> None:
        if not self._changed.wait_for(lambda: current.open or current.broken, timeout):
            raise BrokenBarrierError
        if not current.open:
            raise BrokenBarrierError

    def _break(self, current: "_Round") -> None:
        current.broken = True
        self._changed.notify_all()

    def reset(self) -> None:
        """Back to the beginning. Threads that wait get a BrokenBarrierError."""
        with self._changed:
            self._break(self._round)
            self._begin_round()

    def abort(self) -> None:
        """Breaks the barrier: those that wait and those that come get a BrokenBarrierError, until `reset()`."""
        with self._changed:
            self._break(self._round)

    @property
    def parties(self) -> int:
        """How many wait for each other."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait now: a moment's view."""
        return 0 if self._round.broken else self._round.arrived

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._round.broken

    def __reduce__(self) -> str:
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __repr__(self) -> str:
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self.parties}"
        return f"<{kind} at {id(self):#x}: {state}>"


# One word before the name, as in the reprs of all others.
Barrier.__module__ = "filar"


class _Round:
    """One meeting; those of one round never take part in another's end."""

    __slots__ = ("arrived", "broken", "open")

    def __init__(self) -> None:
        self.arrived = 0
        self.open = False
        self.broken = False
