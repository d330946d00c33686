"""CPython's own suites for locks and queues, with our classes in the place of theirs.

The suites are those of the Python that runs (`lock_tests` and `test_queue` of its `test` package; Debian keeps them in
libpython3.x-testsuite). What does not apply is left out here, each with its reason: nothing else is. Run as a program,
`conformance.py CASE` runs one case in a process of its own: the suites count all threads of the process.
`conformance.py CASE WORKERS` runs it on green threads: the tests themselves, and every thread that they start.
"""

import contextlib
import importlib
import sys
import threading
import types
import unittest
from collections.abc import Callable
from typing import Any

import filar
import filar.queue

# Of 3.14 and later.
NAN_OF_CONDITIONS = {"test_nan_timeout": "looks at the private `_waiters` of threading.Condition; ours: test_sync.py"}
# Case -> test method -> why it says nothing about our classes.
LEFT_OUT: dict[str, dict[str, str]] = {
    "Condition": NAN_OF_CONDITIONS,
    "ConditionOnStandardLock": NAN_OF_CONDITIONS,
    "ConditionOnSubclass": NAN_OF_CONDITIONS,
    "Event": {
        "test_at_fork_reinit": "looks at the private `_cond` of threading.Event; ours: test_sync_process.py",
        "test_reset_internal_locks": "looks at the private `_cond` of threading.Event; ours: test_sync_process.py",
        "test_set_and_clear": "believes after a time that five threads wait; ours: test_sync_green.py",
    },
    "SimpleQueue": {"test_simplequeue_sizeof": "counts the bytes of CPython's own structure (3.15)"},
    "Barrier": {
        "test_timeout": "believes that a thread that sleeps for longer comes later; ours: test_sync.py",
        "test_default_timeout": "likewise",
        "test_repr": "believes after a time that two threads wait; ours: test_sync.py",
    },
}
# Case -> why it is not run on green threads; single tests there: none.
LEFT_OUT_ON_GREEN: dict[str, str] = {
    "StandardConditionOnOurRLock": "threading.Condition waits on a lock of its own, which blocks the worker",
    "ConditionOnStandardLock": "threading.RLock belongs to the kernel thread, which green threads share",
}


def on_our_rlock(lock: Any = None) -> Any:
    """The standard condition on our lock."""
    return threading.Condition(filar.RLock() if lock is None else lock)


def on_standard_lock(lock: Any = None) -> Any:
    """Our condition on a lock that is not ours."""
    return filar.Condition(threading.RLock() if lock is None else lock)


def on_subclass(lock: Any = None) -> Any:
    """Our condition on a subclass of our lock, which may do more than the lock: it is asked, not bypassed."""

    class Other(filar.RLock):
        pass

    return filar.Condition(Other() if lock is None else lock)


# Case -> class of lock_tests, attribute that makes the object, what makes it.
LOCKS: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "Lock": ("LockTests", "locktype", filar.Lock),
    "RLock": ("RLockTests", "locktype", filar.RLock),
    "Event": ("EventTests", "eventtype", filar.Event),
    "Condition": ("ConditionTests", "condtype", filar.Condition),
    "StandardConditionOnOurRLock": ("ConditionTests", "condtype", on_our_rlock),
    "ConditionOnStandardLock": ("ConditionTests", "condtype", on_standard_lock),
    "ConditionOnSubclass": ("ConditionTests", "condtype", on_subclass),
    "Semaphore": ("SemaphoreTests", "semtype", filar.Semaphore),
    "BoundedSemaphore": ("BoundedSemaphoreTests", "semtype", filar.BoundedSemaphore),
    "Barrier": ("BarrierTests", "barriertype", filar.Barrier),
}
# Case -> class of test_queue, which takes the module under test as `queue`.
QUEUES: dict[str, str] = {
    "Queue": "CQueueTest",
    "LifoQueue": "CLifoQueueTest",
    "PriorityQueue": "CPriorityQueueTest",
    "FailingQueue": "CFailingQueueTest",
    "SimpleQueue": "CSimpleQueueTest",
}
CASES = [*LOCKS, *QUEUES]
# What they find there.
tested = types.ModuleType("queue")
tested.__dict__.update({name: getattr(filar.queue, name) for name in filar.queue.__all__})


def at_least(self: Any, actual: float, expected: float) -> None:
    """assertTimeout() of the suite, without what it asks of the machine: that it took no longer than ten times."""
    assert actual >= expected * 0.6


# Members of the suite's classes that a busy machine needs otherwise; the second: seconds for all to come to a barrier.
PATIENT = {"assertTimeout": at_least, "defaultTimeout": 600.0}


def be_patient() -> None:
    """Before the suites are imported: limits of theirs that only a hang is to reach, as by regrtest's --timeout."""
    from test import support

    support.LOOPBACK_TIMEOUT = max(support.LOOPBACK_TIMEOUT, 120.0)
    support.SHORT_TIMEOUT = max(support.SHORT_TIMEOUT, 300.0)


def suite_for(case: str) -> types.ModuleType | None:
    """The module of CPython's that tests this case, wherever this Python keeps it; None: nowhere."""
    for name in ("lock_tests", "support.lock_tests") if case in LOCKS else ("test_queue",):
        try:
            return importlib.import_module(f"test.{name}")
        except ImportError:
            continue
    return None


spawned: list[int] = []


def spawn(callable: Callable[..., object], *args: Any) -> Any:
    """As filar.spawn(), counted."""
    spawned.append(1)
    return filar.spawn(callable, *args)


class GreenThread:
    """What the suites need of threading.Thread, on a green thread."""

    def __init__(
        self, group: Any = None, target: Any = None, name: Any = None, args: Any = (), kwargs: Any = None
    ) -> None:
        self._target, self._args, self._kwargs = target, args, kwargs or {}
        self._green: Any = None
        self.name = name or "green"
        self.daemon = False

    def start(self) -> None:
        """Spawns it."""
        self._green = spawn(self.run)

    def run(self) -> None:
        """May be overridden."""
        self._target(*self._args, **self._kwargs)

    def join(self, timeout: float | None = None) -> None:
        """Returns when the time has passed, as Thread's."""
        with contextlib.suppress(filar.DeadlineError):
            self._green.join(timeout)

    def is_alive(self) -> bool:
        """From start() to the end."""
        return self._green is not None and not self._green.done()


def polite(kind: type[filar.Queue[Any]]) -> type[filar.Queue[Any]]:
    """Some tests poll without ever waiting; a green thread that does must let others run."""

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return kind.get(self, block, timeout)
        except filar.Empty:
            filar.yield_()
            raise

    return type(kind.__name__, (kind,), {"get": get})


def use_green_threads() -> None:
    """From here on the modules of the suites get green threads, and what parks instead of blocking."""
    import _thread
    import time

    # Before the suites are imported, which keep names of these; filar has what it needs of them.
    import test.support.threading_helper  # noqa: F401

    shim = types.ModuleType("threading")
    shim.__dict__.update(threading.__dict__)
    for name in ("Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier"):
        setattr(shim, name, getattr(filar, name))
    shim.Thread = GreenThread  # type: ignore[attr-defined]
    sys.modules["threading"] = shim
    _thread.start_new_thread = lambda function, args: spawn(function, *args).ident  # type: ignore[assignment]
    time.sleep = filar.sleep
    for name in ("Queue", "LifoQueue", "PriorityQueue"):
        setattr(tested, name, polite(getattr(filar, name)))


def build(case: str, suite: types.ModuleType) -> type[unittest.TestCase]:
    """CPython's test case, on our class."""
    if case in LOCKS:
        kind, attribute, made = LOCKS[case]
        built = type(case, (getattr(suite, kind),), {attribute: staticmethod(made), **PATIENT})
    else:
        built = type(case, (getattr(suite, QUEUES[case]),), {"queue": tested})
    for name, reason in LEFT_OUT.get(case, {}).items():
        if hasattr(built, name):
            setattr(built, name, unittest.skip(reason)(getattr(built, name)))
    return built


def run(case: str) -> int:
    """Runs the case; 0: all passed, 1: not, 77: this Python does not have the suite."""
    suite = suite_for(case)
    if suite is None:
        return 77
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(build(case, suite))
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    return 0 if result.wasSuccessful() and result.testsRun > len(result.skipped) else 1


def main(case: str, workers: int = 0) -> int:
    """On kernel threads (workers 0) or on a runtime with so many workers."""
    be_patient()
    if workers == 0:
        return run(case)
    use_green_threads()

    def on_green() -> int:
        assert filar.current() is not None
        result = run(case)
        # Not a word of threads that were not green.
        assert result == 77 or spawned, "no test has started a green thread"
        return result

    return int(filar.run(on_green, workers=workers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
