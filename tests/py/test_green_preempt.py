"""Preemption of Python bodies: who computes gives up the worker, but not in the middle of what others must not see.

No test here measures a time. That one is preempted: it computes until another green thread of the same worker has
set a flag. That one is not: it computes until it has refused several times, and looks at the flag then.
"""

import functools
import gc
import importlib
import io
import logging
import operator
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import filar
from programs import run_program

PREEMPTS = sys.version_info >= (3, 12)
needs_monitoring = pytest.mark.skipif(not PREEMPTS, reason="preemption needs sys.monitoring, from 3.12 on")
MS = 2.0


def compute_until(reached: Callable[[], Any]) -> None:
    """Never waits, never yields; a limit only for the case that the test fails."""
    end = time.monotonic() + 60
    while not reached():
        if time.monotonic() > end:
            raise TimeoutError("was not preempted")


def refused(times: int = 3) -> Callable[[], bool]:
    """True once somebody who was asked to give up the worker has gone on, at so many events since now."""
    refusals = filar.green._border["_preemption_refusals"]
    enough = refusals() + times
    return lambda: refusals() >= enough


def on_one_worker(body: Callable[[list[int]], Any], **options: Any) -> Any:
    """Runs body(flag) beside one that sets the flag as soon as the worker is free for it."""

    def main() -> Any:
        flag: list[int] = []
        filar.spawn(flag.append, 1)
        return body(flag)

    with filar.GreenRuntime(1, preempt_ms=MS, **options) as runtime:
        return runtime.spawn(main).result()


# ---- it is preempted ------------------------------------------------------------------------------------------------


def loop(flag: list[int]) -> None:
    """A loop."""
    compute_until(lambda: flag)


def endless_for(flag: list[int]) -> None:
    """A for loop over an iterator of C."""
    for _ in iter(int, 1):
        if flag:
            return


def deep(flag: list[int], depth: int = 50) -> None:
    """A loop at the end of many calls."""
    if depth > 0:
        deep(flag, depth - 1)
    else:
        compute_until(lambda: flag)


def recursion(flag: list[int]) -> None:
    """Calls without a loop that lasts."""

    def fib(n: int) -> int:
        return n if n < 2 or flag else fib(n - 1) + fib(n - 2)

    fib(60)


def generator(flag: list[int]) -> None:
    """A loop in a generator, called by a loop."""

    def numbers() -> Iterator[int]:
        while not flag:
            yield 1

    for _ in numbers():
        pass


def handling(flag: list[int]) -> None:
    """While an exception is handled, which is still there afterwards."""
    try:
        raise ValueError(7)
    except ValueError:
        before = sys.exc_info()
        compute_until(lambda: flag)
        same = sys.exc_info() == before
    assert same


def comprehension(flag: list[int]) -> None:
    """A comprehension, one function less from 3.12 on."""
    while not flag:
        [i + 1 for i in range(1000)]


class Methods:
    """A body that is a method."""

    def __init__(self) -> None:
        self.flag: list[int] = []

    def compute(self) -> None:
        """A loop."""
        compute_until(lambda: self.flag)

    @staticmethod
    def call(function: Callable[[], Any]) -> Any:
        """Calls it."""
        return function()


@needs_monitoring
@pytest.mark.parametrize(
    "body", [loop, endless_for, deep, recursion, generator, handling, comprehension], ids=lambda body: body.__name__
)
def test_one_that_computes_lets_others_run(body: Callable[[list[int]], None]) -> None:
    on_one_worker(body)


@needs_monitoring
def test_a_method_is_preempted_too() -> None:
    methods = Methods()

    def main() -> None:
        computing = filar.spawn(methods.compute)
        filar.spawn(methods.flag.append, 1)
        computing.join()

    filar.run(main, preempt_ms=MS)


@needs_monitoring
def test_sleepers_wake_while_others_compute() -> None:
    def body(flag: list[int]) -> None:
        woken: list[int] = []
        for _ in range(3):
            filar.spawn(lambda: (filar.sleep(0.001), woken.append(1)))
        compute_until(lambda: len(woken) == 3)

    on_one_worker(body)


@needs_monitoring
@pytest.mark.parametrize("workers", [1, 2])
def test_several_that_compute_take_turns(workers: int) -> None:
    """Each goes on only when all others have got as far as it has."""
    rounds = [0] * 4

    def body(me: int) -> None:
        for _ in range(3):
            rounds[me] += 1
            compute_until(lambda: min(rounds) >= rounds[me])

    def main() -> None:
        for child in [filar.spawn(body, i) for i in range(4)]:
            child.join()

    filar.run(main, workers=workers, preempt_ms=MS)
    assert rounds == [3] * 4


@needs_monitoring
def test_what_was_computed_is_right() -> None:
    def body(seed: int) -> int:
        total = 0
        for i in range(30_000):
            total += (i ^ seed) % 7
        return total

    def main() -> list[int]:
        return [child.result() for child in [filar.spawn(body, i) for i in range(30)]]

    with filar.GreenRuntime(2, preempt_ms=1) as runtime:
        assert runtime.spawn(main).result() == [body(i) for i in range(30)]


@needs_monitoring
def test_preemptions_are_counted() -> None:
    with filar.GreenRuntime(preempt_ms=MS) as runtime:
        flag: list[int] = []
        computing = runtime.spawn(loop, flag)
        runtime.spawn(flag.append, 1)
        computing.join()
        assert runtime.statistics().preemptions >= 1


@needs_monitoring
def test_a_preempted_one_is_not_interrupted_by_cancel() -> None:
    """As without preemption: computing is not interrupted, the next wait is."""

    def main() -> None:
        computing: list[Any] = []

        def compute() -> str:
            computing.append(filar.current())
            compute_until(lambda: cancelled)
            compute_until(lambda: len(turns) > 3)
            return "computed"

        cancelled: list[int] = []
        turns: list[int] = []

        def take_turns() -> None:
            while len(turns) <= 3:
                turns.append(1)
                filar.yield_()

        child = filar.spawn(compute)
        filar.spawn(take_turns)
        filar.spawn(lambda: (child.cancel(), cancelled.append(1)))
        assert child.result() == "computed"

    filar.run(main, preempt_ms=MS)


# ---- it is not, where others would see what is half done -------------------------------------------------------------


def refuses(body: Callable[[Callable[[], None]], Any]) -> None:
    """`body` gets a function that computes until it has been asked; nobody else ran meanwhile, but does later."""

    def whole(flag: list[int]) -> None:
        seen: list[int] = []

        def compute() -> None:
            before = len(flag)
            compute_until(refused())
            seen.append(len(flag) - before)

        body(compute)
        assert seen, "the body did not call"
        assert not any(seen), "preempted where it must not be"
        compute_until(lambda: flag)

    def main() -> None:
        # As often as the flag is seen by somebody, it grows again.
        flag: list[int] = []
        done: list[int] = []

        def others() -> None:
            while not done:
                flag.append(1)
                filar.yield_()

        filar.spawn(others)
        try:
            whole(flag)
        finally:
            done.append(1)

    filar.run(main, preempt_ms=MS)


LOCKS: dict[str, Callable[[], Any]] = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "Condition": threading.Condition,
    "Semaphore's lock": lambda: threading.Semaphore()._cond,  # type: ignore[attr-defined]
    "the lock of logging": lambda: logging.getLogger().handlers[0].lock,
    "a queue's mutex": lambda: queue.Queue().mutex,
}


@needs_monitoring
@pytest.mark.parametrize("name", LOCKS)
def test_who_holds_a_lock_of_threading_is_not_preempted(name: str) -> None:
    logging.getLogger().addHandler(logging.NullHandler())
    lock = LOCKS[name]() or threading.RLock()

    def body(compute: Callable[[], None]) -> None:
        with lock:
            compute()
        lock.acquire()
        try:
            compute()
        finally:
            lock.release()

    refuses(body)


@needs_monitoring
def test_a_lock_that_is_held_twice_counts_until_it_is_free() -> None:
    lock = threading.RLock()

    def body(compute: Callable[[], None]) -> None:
        with lock:
            with lock:
                compute()
            compute()

    refuses(body)


@needs_monitoring
def test_a_lock_that_another_one_lets_go_of_is_free() -> None:
    """As a Condition does with the locks of those that wait."""
    lock = threading.Lock()

    def main() -> None:
        flag: list[int] = []
        lock.acquire()
        filar.spawn(lock.release).join()
        filar.spawn(flag.append, 1)
        compute_until(lambda: flag)

    filar.run(main, preempt_ms=MS)


@needs_monitoring
def test_a_lock_that_was_thrown_away_locked_holds_nobody_up() -> None:
    def body(flag: list[int]) -> None:
        for make in (threading.Lock, threading.RLock):
            make().acquire()
        compute_until(lambda: flag)

    on_one_worker(body)


@needs_monitoring
def test_a_lock_that_was_left_locked_does_not_hold_up_the_next_green_thread() -> None:
    lock = threading.Lock()

    def body(flag: list[int]) -> None:
        filar.spawn(lock.acquire).join()
        filar.spawn(compute_until, lambda: flag).join()
        compute_until(lambda: flag)

    on_one_worker(body)


class Reenters:
    """Calls itself back through C."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def __repr__(self) -> str:
        self._call()
        return "Reenters"

    def __del__(self) -> None:
        self._call()

    def __eq__(self, other: object) -> bool:
        self._call()
        return True

    __hash__ = None  # type: ignore[assignment]


class Raw(io.RawIOBase):
    """A raw stream under a BufferedWriter, which holds its lock while this writes."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Computes."""
        self._call()
        return len(data)


def collect(compute: Callable[[], None]) -> None:
    """In a finalizer that the collector calls."""
    cycle: list[Any] = [Reenters(compute)]
    cycle.append(cycle)
    del cycle
    gc.collect()


def write(compute: Callable[[], None]) -> None:
    """Below a BufferedWriter."""
    stream = io.BufferedWriter(Raw(compute), 1)
    stream.write(b"xyz")
    stream.flush()


THROUGH_C: dict[str, Callable[[Callable[[], None]], Any]] = {
    "sorted": lambda compute: sorted([1, 2], key=lambda _: compute() or 0),
    "map": lambda compute: list(map(Methods.call, [compute])),
    "sum": lambda compute: sum(compute() or 1 for _ in range(1)),
    "partial": lambda compute: functools.partial(compute)(),
    "call": lambda compute: operator.methodcaller("__call__")(compute),
    "repr": lambda compute: repr([Reenters(compute)]),
    "compare": lambda compute: [Reenters(compute)] == [Reenters(compute)],
    "finalizer": lambda compute: Reenters(compute),
    "collection": collect,
    "BufferedWriter": write,
    "exec": lambda compute: exec("compute()", {"compute": compute}),
}


@needs_monitoring
@pytest.mark.parametrize("name", THROUGH_C)
def test_with_a_c_function_in_between_it_is_not_preempted(name: str) -> None:
    refuses(THROUGH_C[name])


@needs_monitoring
def test_who_imports_is_not_preempted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "filar_computes.py").write_text("import test_green_preempt as t\nt.HOOK[0]()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    sys.modules.setdefault("test_green_preempt", sys.modules[__name__])

    def body(compute: Callable[[], None]) -> None:
        HOOK[:] = [compute]
        importlib.import_module("filar_computes")

    try:
        refuses(body)
    finally:
        sys.modules.pop("filar_computes", None)


HOOK: list[Callable[[], None]] = []


@needs_monitoring
def test_a_body_that_is_no_python_function_is_left_alone() -> None:
    """What a C function holds while it calls Python is not known: here the writer's lock."""
    called: list[int] = []

    def main() -> None:
        flag: list[int] = []

        def compute() -> None:
            before = len(flag)
            compute_until(refused())
            called.append(len(flag) - before)

        stream = io.BufferedWriter(Raw(compute), 1)
        writing = filar.spawn(stream.write, b"xyz")
        filar.spawn(flag.append, 1)
        writing.join()
        stream.flush()

    filar.run(main, preempt_ms=MS)
    assert called[0] == 0


# ---- beside others of sys.monitoring --------------------------------------------------------------------------------


@needs_monitoring
def test_trace_and_profile_functions_go_on() -> None:
    lines: list[str] = []

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code is loop.__code__:
            lines.append(event)
        return trace

    def body(flag: list[int]) -> None:
        for switch in (sys.settrace, sys.setprofile):
            del flag[:]
            filar.spawn(flag.append, 1)
            switch(trace)
            try:
                loop(flag)
            finally:
                switch(None)

    on_one_worker(body)
    assert {"call", "return"} <= set(lines)


@needs_monitoring
def test_another_tool_sees_its_own_events() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined]
    tool, seen = monitoring.COVERAGE_ID, []
    monitoring.use_tool_id(tool, "another")
    try:
        monitoring.register_callback(tool, monitoring.events.JUMP, lambda *_: seen.append(1))
        monitoring.set_local_events(tool, compute_until.__code__, monitoring.events.JUMP)
        on_one_worker(loop)
        assert monitoring.get_local_events(tool, compute_until.__code__) == monitoring.events.JUMP
    finally:
        monitoring.set_local_events(tool, compute_until.__code__, 0)
        monitoring.free_tool_id(tool)
    assert seen


@needs_monitoring
def test_nothing_is_left_switched_on() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined]
    on_one_worker(loop)
    assert [monitoring.get_tool(tool) for tool in (3, 4)] == [None, None]
    # Locks are as they were.
    before = threading.Lock.acquire if isinstance(threading.Lock, type) else None
    with threading.Lock(), threading.RLock():
        pass
    assert before is None or threading.Lock.acquire is before  # type: ignore[attr-defined]


@needs_monitoring
def test_taken_tool_ids_are_named_as_the_reason() -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined]
    for tool in (3, 4):
        monitoring.use_tool_id(tool, "another")
    try:
        with pytest.raises(filar.BusyError, match=r"tool id 3 or 4 of sys\.monitoring"):
            filar.run(int, preempt_ms=MS)
        monitoring.free_tool_id(3)
        on_one_worker(loop)
        monitoring.use_tool_id(3, "another")
    finally:
        for tool in (3, 4):
            monitoring.free_tool_id(tool)


# ---- beginning and end ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(PREEMPTS, reason="from 3.12 on it preempts")
def test_where_it_cannot_be_had_a_warning_says_why() -> None:
    reason = r"needs sys\.monitoring, which Python has from 3\.12 on"
    with pytest.warns(RuntimeWarning, match=reason) as told:
        assert filar.run(lambda: 5, preempt_ms=10) == 5
    with pytest.warns(RuntimeWarning, match=reason) as told_again:
        filar.GreenRuntime(preempt_ms=10).close()
    assert [told[0].filename, told_again[0].filename] == [__file__] * 2


def test_bad_times_are_refused() -> None:
    for wrong in (0, -1, 0.5, float("nan")):
        with pytest.raises(filar.InvalidArgumentError, match="preempt_ms"):
            filar.GreenRuntime(preempt_ms=wrong)
    with pytest.raises(ValueError, match="soon"):
        filar.GreenRuntime(preempt_ms="soon")  # type: ignore[arg-type]


@needs_monitoring
def test_runtimes_that_preempt_come_and_go() -> None:
    for _ in range(5):
        on_one_worker(loop)
    with filar.GreenRuntime(preempt_ms=MS) as one, filar.GreenRuntime(2, preempt_ms=1000) as two:
        flags: list[list[int]] = [[], []]
        computing = [runtime.spawn(loop, flag) for runtime, flag in zip((one, two), flags, strict=True)]
        for runtime, flag in zip((one, two), flags, strict=True):
            runtime.spawn(flag.append, 1)
        for child in computing:
            child.join()


@needs_monitoring
def test_the_interpreter_ends_and_forks_while_some_compute() -> None:
    done = run_program(
        """
        import filar, os, warnings
        warnings.simplefilter("ignore")
        runtime = filar.GreenRuntime(2, preempt_ms=1)
        count = [0] * 4
        def compute(i):
            while not filar.current().cancelled() and not stop:
                count[i] += 1
        stop = []
        for i in range(4):
            runtime.spawn(compute, i)
        while not all(count):
            filar.sleep(0.001)
        if (pid := os.fork()) == 0:
            flag = []
            def loops():
                filar.spawn(flag.append, 1)
                while not flag:
                    pass
            filar.run(loops, preempt_ms=1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        def ends():
            stop.append(1)
        import threading
        threading._register_atexit(ends)
        print("ok")
        """
    )
    assert done.stdout == "ok\n", done.stderr
    assert done.returncode == 0, done.stderr


@needs_monitoring
def test_subprocesses_start_from_one_that_is_preempted() -> None:
    def main() -> int:
        flag: list[int] = []
        computing = filar.spawn(compute_until, lambda: flag)
        code = filar.blocking(subprocess.call, ["true"])
        flag.append(1)
        computing.join()
        return int(code)

    assert filar.run(main, preempt_ms=MS) == 0
