"""CPython's own suites for locks and queues, with our classes in the place of theirs.

The suites are those of the Python that runs (`lock_tests` and `test_queue` of its `test` package; Debian keeps them in
libpython3.x-testsuite). What does not apply is left out here, each with its reason: nothing else is. Run as a program,
`conformance.py NAME` runs one case in a process of its own: the suites count all threads of the process.
"""

import importlib
import sys
import threading
import types
import unittest
from collections.abc import Callable
from typing import Any

import filar
import filar.queue

# Case -> test method -> why it says nothing about our classes.
LEFT_OUT: dict[str, dict[str, str]] = {
    "Event": {
        "test_at_fork_reinit": "looks at the private `_cond` of threading.Event; ours: test_sync_fork.py",
        "test_reset_internal_locks": "looks at the private `_cond` of threading.Event; ours: test_sync_fork.py",
    },
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


def suite_for(case: str) -> types.ModuleType | None:
    """The module of CPython's that tests this case, wherever this Python keeps it; None: nowhere."""
    for name in ("lock_tests", "support.lock_tests") if case in LOCKS else ("test_queue",):
        try:
            return importlib.import_module(f"test.{name}")
        except ImportError:
            continue
    return None


def build(case: str, suite: types.ModuleType) -> type[unittest.TestCase]:
    """CPython's test case, on our class."""
    if case in LOCKS:
        kind, attribute, made = LOCKS[case]
        built = type(case, (getattr(suite, kind),), {attribute: staticmethod(made)})
    else:
        built = type(case, (getattr(suite, QUEUES[case]),), {"queue": filar.queue})
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


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
