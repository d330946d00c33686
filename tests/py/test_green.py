"""Green threads that run Python: what spawn, join, cancel, groups, scopes and runtimes promise."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import io
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import filar
import filar.aio
from filar.green import NativeGreenThread, _NoCollections
from programs import PYTHON, run_program
from states import parked, wait_until, wait_until_parked

WORKERS = [1, 2, 4]


@pytest.fixture(params=WORKERS)
def workers(request: pytest.FixtureRequest) -> int:
    """On one carrier, and on several."""
    return int(request.param)


# ---- run, spawn, join ---------------------------------------------------------------------------------------------


def test_run_returns_what_main_returns(workers: int) -> None:
    assert filar.run(lambda a, b: a + b, 1, b=2, workers=workers) == 3


def test_run_raises_what_main_raises_with_its_traceback() -> None:
    def main() -> None:
        raise KeyError("here")

    with pytest.raises(KeyError, match="here") as caught:
        filar.run(main)
    assert caught.traceback[-1].name == "main"


def test_system_exit_of_main_comes_out_of_run() -> None:
    with pytest.raises(SystemExit) as caught:
        filar.run(sys.exit, 3)
    assert caught.value.code == 3


def test_green_threads_of_one_worker_take_turns_in_order() -> None:
    order: list[str] = []

    def main() -> None:
        def step(name: str) -> None:
            for _ in range(5):
                order.append(name)
                filar.yield_()

        children = [filar.spawn(step, name) for name in "abc"]
        for child in children:
            child.join()

    filar.run(main)
    assert "".join(order) == "abc" * 5


# Turns are counted, not timed: a tick of the clock may come at any time, and then what is outside has its turn too.


@pytest.mark.parametrize("others", ["yield", "wait"])
def test_who_began_first_has_as_many_turns_as_the_others(others: str) -> None:
    """Whether those that have not begun yield later or wait: each of a thousand begins in the first round."""
    count = 1000
    turns = [0] * count
    before_the_last_begins: list[int] = []
    all_began = filar.Event()

    def body(me: int) -> None:
        while not before_the_last_begins:
            turns[me] += 1
            if me == count - 1:
                before_the_last_begins.append(max(turns))
                all_began.set()
            elif others == "wait" and me > 0:
                all_began.wait()
            else:
                filar.yield_()

    def main() -> None:
        for child in [filar.spawn(body, i) for i in range(count)]:
            child.join()

    filar.run(main)
    assert before_the_last_begins[0] <= 2


def test_those_spawned_from_outside_begin_while_others_yield() -> None:
    """Not only one of them in 61 turns of whoever yields."""
    count = 500
    inside, spawned = threading.Event(), threading.Event()
    begun: list[int] = []
    turns = [0]

    def yields() -> None:
        inside.set()
        spawned.wait()  # blocks the worker
        while len(begun) < count:
            turns[0] += 1
            filar.yield_()

    with filar.GreenRuntime() as runtime:
        yielding = runtime.spawn(yields)
        assert inside.wait(60)
        for i in range(count):
            runtime.spawn(begun.append, i)
        spawned.set()
        yielding.join()
    assert sorted(begun) == list(range(count))
    assert turns[0] < count


def test_a_sleeper_wakes_although_the_turns_of_others_are_long() -> None:
    turns: list[int] = []
    woken: list[int] = []

    def sleeps() -> None:
        filar.sleep(0.001)
        woken.append(len(turns))

    def main() -> None:
        sleeping = filar.spawn(sleeps)
        while not woken:
            end = time.monotonic() + 0.02  # longer than a tick of the kernel's clock
            while time.monotonic() < end:
                pass
            turns.append(1)
            filar.yield_()
        sleeping.join()

    filar.run(main)
    assert woken[0] <= 4


def test_a_started_green_thread_stays_on_its_kernel_thread(workers: int) -> None:
    def stay(seed: int) -> bool:
        ident, native = threading.get_ident(), threading.get_native_id()
        for i in range(200):
            if (i + seed) % 17 == 0:
                filar.sleep(0.0001)
            else:
                filar.yield_()
            if (threading.get_ident(), threading.get_native_id()) != (ident, native):
                return False
        return True

    def main() -> None:
        assert all(child.result() for child in [filar.spawn(stay, i) for i in range(40)])

    filar.run(main, workers=workers)


def test_unstarted_ones_are_stolen() -> None:
    def main() -> set[int]:
        # The spawner computes on: without a thief nothing would run before it waits.
        children = [filar.spawn(threading.get_native_id) for _ in range(50)]
        while not any(child.done() for child in children):
            pass
        return {child.result() for child in children}

    with filar.GreenRuntime(2) as runtime:
        assert runtime.spawn(main).result()
        assert runtime.statistics().stolen > 0


def test_everybody_may_join_again_and_again(workers: int) -> None:
    def main() -> None:
        child = filar.spawn(filar.sleep, 0.005)
        others = [filar.spawn(child.result) for _ in range(5)]
        assert [other.result() for other in others] == [None] * 5
        assert child.result() is None
        assert child.join() is None
        assert child.done()

    filar.run(main, workers=workers)


def test_a_failure_comes_out_of_each_join_with_the_same_traceback() -> None:
    def fail() -> None:
        raise ValueError("once")

    def main() -> None:
        child = filar.spawn(fail)
        lengths = []
        for _ in range(3):
            with pytest.raises(ValueError, match="once") as caught:
                child.join()
            lengths.append(len(caught.traceback))
        assert len(set(lengths)) == 1
        assert isinstance(child.exception(), ValueError)

    filar.run(main)


def test_a_kernel_thread_joins_too(workers: int) -> None:
    with filar.GreenRuntime(workers) as runtime:
        children = [runtime.spawn(lambda x: x * x, i) for i in range(100)]
        assert [child.result() for child in children] == [i * i for i in range(100)]


def test_a_join_that_takes_too_long_raises_a_timeout(workers: int) -> None:
    def main() -> None:
        child = filar.spawn(filar.sleep, None)
        with pytest.raises(TimeoutError):
            child.join(timeout=0.01)
        with pytest.raises(filar.DeadlineError):
            child.result(0)
        child.cancel()

    filar.run(main, workers=workers)


def test_a_green_thread_cannot_join_itself() -> None:
    def main() -> None:
        with pytest.raises(filar.DeadlockError):
            filar.current().join()

    filar.run(main)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(filar.InvalidArgumentError):
        filar.GreenRuntime(0)
    with pytest.raises(filar.InvalidArgumentError):
        filar.GreenRuntime(2000)
    with pytest.raises(filar.InvalidArgumentError, match="too small"):
        filar.GreenRuntime(stack_size=4096)
    with pytest.raises(filar.InvalidArgumentError):
        filar.GreenRuntime(pin="sideways")
    with pytest.raises(TypeError):
        filar.GreenRuntime("two")  # type: ignore[arg-type]

    def main() -> None:
        with pytest.raises(TypeError, match="callable"):
            filar.spawn(3)
        with pytest.raises(TypeError):
            filar.spawn()
        with pytest.raises(ValueError):
            filar.sleep(-1)
        with pytest.raises(ValueError):
            filar.sleep(float("nan"))
        with pytest.raises(TypeError):
            filar.sleep("1")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            filar.spawn(int).join(1, 2)
        with pytest.raises(filar.WrongStateError, match="spawn"):
            filar.run(int)

    filar.run(main)


def test_spawn_needs_a_runtime() -> None:
    with pytest.raises(filar.WrongStateError, match="no runtime here"):
        filar.spawn(int)
    assert filar.current() is None


def test_kernel_threads_may_yield_and_sleep() -> None:
    filar.yield_()
    before = time.monotonic()
    filar.sleep(0.01)
    assert time.monotonic() - before >= 0.01


def test_names_and_states_are_for_people() -> None:
    def main() -> None:
        me = filar.current()
        assert me.state == "running"
        assert me.worker == 0
        child = filar.spawn(filar.sleep, None)
        assert child.state == "not started"
        child.name = "sleeper"
        wait_until_parked(child)
        assert repr(child) == "<GreenThread sleeper parked (sleep)>"
        child.cancel()
        with pytest.raises(filar.JoinCancelledError):
            child.join()
        assert child.state == "cancelled"
        with pytest.raises(TypeError):
            child.name = 3

    filar.run(main)


def test_start_gives_a_name_and_a_stack() -> None:
    with filar.GreenRuntime() as runtime:
        green = runtime.start(lambda: filar.current().name, name="deep", stack_size=8 << 20)
        assert green.result() == "deep"


def test_done_callbacks_are_called_once() -> None:
    seen = []

    def main() -> None:
        child = filar.spawn(filar.sleep, 0.001)
        child.add_done_callback(lambda green: seen.append((green is child, green.done())))
        child.join()
        child.add_done_callback(lambda green: seen.append((green is child, True)))

    filar.run(main)
    assert seen == [(True, True)] * 2


def test_ten_thousand_spawns_leave_nothing_behind(workers: int) -> None:
    """A million with FILAR_STRESS_SECONDS of 60 or more."""
    rounds = 5000 if float(os.environ.get("FILAR_STRESS_SECONDS", "1")) >= 60 else 50
    alive = weakref.WeakSet()

    class Token:
        pass

    def body(token: Token) -> None:
        alive.add(token)

    def main() -> None:
        for _ in range(rounds):
            for child in [filar.spawn(body, Token()) for _ in range(200)]:
                child.join()

    with filar.GreenRuntime(workers) as runtime:
        runtime.spawn(main).join()
        assert runtime.statistics().stacks < 2000
    gc.collect()
    assert len(alive) == 0


def test_thousands_wait_at_once(workers: int) -> None:
    """A hundred thousand with FILAR_STRESS_SECONDS of 60 or more: with a mapping for each guard that is too many."""
    count = 100_000 if float(os.environ.get("FILAR_STRESS_SECONDS", "1")) >= 60 else 3000

    def main() -> int:
        children = [filar.spawn(filar.sleep, None) for _ in range(count)]
        wait_until_parked(*children)
        for child in children:
            child.cancel()
        return sum(isinstance(child.exception(), filar.CancelledError) for child in children)

    assert filar.run(main, workers=workers) == count


def test_those_that_have_not_started_have_no_stack() -> None:
    with filar.GreenRuntime() as runtime:

        def main() -> int:
            before = runtime.statistics().stacks
            children = [filar.spawn(int) for _ in range(1000)]
            assert {child.state for child in children} == {"not started"}
            assert runtime.statistics().stacks == before
            assert runtime.statistics().live == 1001
            return sum(child.result() for child in children)

        assert runtime.spawn(main).result() == 0


def test_one_that_gets_no_stack_says_so_to_whoever_joins_it() -> None:
    done = run_program(
        """
        import filar, resource
        told = []
        with filar.GreenRuntime() as runtime:
            runtime.spawn(int).join()
            size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, size + 2**28))
            huge = [runtime.start(int, stack_size=2**29) for _ in range(3)]
            for green in huge:
                green.add_done_callback(told.append)
            for green in huge:
                try:
                    green.join()
                except filar.LimitError as error:
                    print(type(error).__name__, "RLIMIT_AS" in str(error), green.state)
            assert runtime.spawn(int).result() == 0
        assert set(told) == set(huge)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["LimitError True failed"] * 3


def test_spawn_first_runs_the_child_before_the_spawner_goes_on(workers: int) -> None:
    def main() -> list[str]:
        order: list[str] = []

        def child() -> None:
            order.append("child")
            filar.yield_()
            order.append("child again")

        green = filar.green.spawn_first(child)
        order.append("spawner")
        green.join()
        return order

    assert filar.run(main, workers=1) == ["child", "spawner", "child again"]
    assert sorted(filar.run(main, workers=workers)) == ["child", "child again", "spawner"]


def test_a_tree_of_ten_thousand_with_children_first_needs_few_stacks() -> None:
    def node(depth: int) -> int:
        if depth == 0:
            return 1
        return sum([child.result() for child in [filar.green.spawn_first(node, depth - 1) for _ in range(10)]])

    with filar.GreenRuntime() as runtime:
        assert runtime.spawn(node, 4).result() == 10_000
        assert runtime.statistics().stacks < 500


# ---- cancelling ---------------------------------------------------------------------------------------------------


def test_cancel_ends_a_wait_and_finally_runs(workers: int) -> None:
    done = []

    def body() -> None:
        try:
            filar.sleep(None)
        finally:
            done.append("finally")

    def main() -> None:
        child = filar.spawn(body)
        wait_until_parked(child)
        assert child.cancel()
        with pytest.raises(filar.JoinCancelledError):
            child.join()
        assert child.cancelled()
        assert not child.cancel()

    filar.run(main, workers=workers)
    assert done == ["finally"]


def test_except_exception_does_not_stop_the_stopping() -> None:
    def body() -> None:
        while True:
            try:
                filar.sleep(0.001)
            except Exception:
                pytest.fail("CancelledError is no Exception")

    def main() -> None:
        child = filar.spawn(body)
        filar.sleep(0.005)
        child.cancel()
        assert isinstance(child.exception(), filar.CancelledError)

    filar.run(main)


def test_one_that_computes_is_cancelled_at_its_next_yield() -> None:
    def body() -> None:
        while True:
            filar.yield_()

    def main() -> None:
        child = filar.spawn(body)
        filar.yield_()
        child.cancel()
        assert isinstance(child.exception(), filar.CancelledError)

    filar.run(main)


def test_one_that_is_cancelled_before_it_starts_does_not_start() -> None:
    ran = []

    def main() -> None:
        child = filar.spawn(ran.append, 1)
        child.cancel()
        assert isinstance(child.exception(), filar.CancelledError)

    filar.run(main)
    assert ran == []


def test_a_cancelled_green_thread_can_finish_what_it_must() -> None:
    """Each wait raises, and what does not wait works: it can clean up, join what has ended, return a value."""

    def body() -> str:
        try:
            filar.sleep(None)
        except filar.CancelledError:
            with pytest.raises(filar.CancelledError):
                filar.sleep(1)
        return "cleaned up"

    def main() -> None:
        child = filar.spawn(body)
        wait_until_parked(child)
        child.cancel()
        assert child.result() == "cleaned up"
        assert not child.cancelled()

    filar.run(main)


def test_run_cancels_what_main_leaves_behind(workers: int) -> None:
    ended = []

    def body() -> None:
        try:
            filar.sleep(None)
        finally:
            ended.append(1)

    def main() -> None:
        children = [filar.spawn(body) for _ in range(10)]
        wait_until_parked(*children)

    filar.run(main, workers=workers)
    assert len(ended) == 10


# ---- scopes -------------------------------------------------------------------------------------------------------


def test_a_timeout_ends_the_wait_inside_with_a_timeout_error(workers: int) -> None:
    def main() -> None:
        with pytest.raises(TimeoutError, match="longer than"):
            with filar.timeout(0.01):
                filar.sleep(None)
        filar.sleep(0.001)  # no longer cancelled

    filar.run(main, workers=workers)


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    def main() -> None:
        with filar.timeout(60) as scope:
            filar.sleep(0.001)
        assert not scope.expired

    filar.run(main)


def test_of_nested_timeouts_the_one_that_expired_is_blamed() -> None:
    def main() -> None:
        with pytest.raises(filar.DeadlineError, match=r"0\.01"):  # noqa: PT012
            with filar.timeout(0.01):
                with filar.timeout(60):
                    filar.sleep(None)
        with filar.timeout(60):
            with pytest.raises(filar.DeadlineError, match=r"0\.02"):
                with filar.timeout(0.02):
                    filar.sleep(None)
            filar.sleep(0.001)

    filar.run(main)


def test_a_timeout_of_nothing_expires_at_once() -> None:
    def main() -> None:
        with pytest.raises(TimeoutError):
            with filar.timeout(0):
                filar.yield_()

    filar.run(main)


def test_cancel_from_outside_is_not_taken_for_a_timeout() -> None:
    def body() -> None:
        with filar.timeout(60):
            filar.sleep(None)

    def main() -> None:
        child = filar.spawn(body)
        wait_until_parked(child)
        child.cancel()
        assert isinstance(child.exception(), filar.CancelledError)

    filar.run(main)


def test_a_scope_is_used_once_and_on_a_green_thread() -> None:
    with pytest.raises(filar.WrongStateError):
        filar.timeout(1).__enter__()

    def main() -> None:
        scope = filar.timeout(1)
        with scope:
            pass
        with pytest.raises(filar.WrongStateError):
            scope.__enter__()

    filar.run(main)


def test_a_scope_left_by_a_generator_elsewhere_harms_nobody() -> None:
    def generator() -> Any:
        with filar.timeout(0.002):
            yield 1

    def main() -> None:
        kept = []

        def body() -> None:
            iterator = generator()
            next(iterator)
            kept.append(iterator)

        filar.spawn(body).join()
        filar.sleep(0.005)  # its time comes after its green thread has ended
        kept.clear()
        filar.sleep(0.001)

    filar.run(main)


# ---- groups -------------------------------------------------------------------------------------------------------


def test_a_group_waits_for_its_children(workers: int) -> None:
    ended = []

    def main() -> None:
        with filar.TaskGroup() as group:
            for i in range(20):
                group.spawn(lambda i=i: (filar.sleep(0.001), ended.append(i)))
        assert sorted(ended) == list(range(20))
        with pytest.raises(filar.WrongStateError):
            group.spawn(int)

    filar.run(main, workers=workers)


def test_a_failure_cancels_the_siblings_and_the_block(workers: int) -> None:
    def main() -> None:
        started = []

        def sibling() -> None:
            started.append(1)
            filar.sleep(None)

        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
            with filar.TaskGroup() as group:
                siblings = [group.spawn(sibling) for _ in range(5)]
                wait_until(lambda: len(started) == 5)
                group.spawn(lambda: 1 / 0)
                filar.sleep(None)
        assert [type(e) for e in caught.value.exceptions] == [ZeroDivisionError]
        assert all(child.cancelled() for child in siblings)
        filar.sleep(0.001)  # the block's own cancelling is over

    filar.run(main, workers=workers)


def test_the_blocks_own_failure_is_in_the_group() -> None:
    def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
            with filar.TaskGroup() as group:
                child = group.spawn(filar.sleep, None)
                raise KeyError("block")
        assert [type(e) for e in caught.value.exceptions] == [KeyError]
        assert child.cancelled()

    filar.run(main)


def test_groups_nest() -> None:
    def inner() -> None:
        with filar.TaskGroup() as group:
            group.spawn(filar.sleep, None)
            group.spawn(lambda: {}["missing"])

    def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
            with filar.TaskGroup() as group:
                group.spawn(inner)
                group.spawn(filar.sleep, None)
        assert caught.group_contains(KeyError)

    filar.run(main)


def test_a_group_cancelled_from_outside_cancels_its_children(workers: int) -> None:
    children = []

    def body() -> None:
        with filar.TaskGroup() as group:
            children.extend(group.spawn(filar.sleep, None) for _ in range(3))

    def main() -> None:
        child = filar.spawn(body)
        wait_until(lambda: len(children) == 3 and parked(child))
        child.cancel()
        assert isinstance(child.exception(), filar.CancelledError)
        assert all(one.cancelled() for one in children)

    filar.run(main, workers=workers)


def test_a_group_may_cancel_itself_quietly() -> None:
    def main() -> str:
        with filar.TaskGroup() as group:
            group.spawn(filar.sleep, None)
            group.cancel()
            filar.sleep(None)
        return "went on"

    assert filar.run(main) == "went on"


def test_keyboard_interrupt_in_a_child_comes_out_as_itself() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def main() -> None:
        with filar.TaskGroup() as group:
            group.spawn(interrupt)
            group.spawn(filar.sleep, None)

    with pytest.raises(KeyboardInterrupt):
        filar.run(main)


def test_a_group_is_not_kept_by_a_child_that_has_ended_but_not_told_it() -> None:
    """Between its end and its word to the group a child may wait, in a finalizer say: the group sees for itself.

    It once asked such a child again and again whether it had ended, without ever letting it go on.
    """
    gate = filar.Event()
    told_by: list[Any] = []
    waits: list[str] = []

    class Failure(Exception):  # noqa: N818
        @property
        def __class__(self) -> type:  # which isinstance() asks, in the child's word to its group
            told_by.append(filar.current())
            if told_by[-1] is None:  # the child: its body is over
                gate.wait()
            return Failure

    def fail() -> None:
        raise Failure

    def count_waits(frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and getattr(argument, "__name__", "") == "_wait":
            waits.append(event)
            assert len(waits) < 100, "it waits for the one that has ended, again and again"

    def main() -> None:
        sys.setprofile(count_waits)
        with pytest.raises(ExceptionGroup) as caught:
            with filar.TaskGroup() as group:
                group.spawn(fail)
        sys.setprofile(None)
        assert [type(failure) for failure in caught.value.exceptions] == [Failure]
        assert told_by[:2] == [None, filar.current()]
        gate.set()

    filar.run(main)


# ---- blocking calls -----------------------------------------------------------------------------------------------


def test_blocking_leaves_the_worker_free() -> None:
    def main() -> int:
        release = threading.Event()
        child = filar.spawn(filar.blocking, release.wait)
        wait_until_parked(child)
        ticks = [filar.yield_() for _ in range(100)]
        release.set()
        assert child.result() is True
        return len(ticks)

    assert filar.run(main) == 100


def test_blocking_brings_back_results_failures_and_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)

    def main() -> None:
        variable.set(5)
        assert filar.blocking(variable.get) == 5
        assert filar.blocking(dict, a=1) == {"a": 1}
        with pytest.raises(ZeroDivisionError):
            filar.blocking(lambda: 1 / 0)
        assert filar.blocking(filar.current) is None

    filar.run(main)
    assert filar.blocking(int, "3") == 3


def test_a_cancelled_green_thread_leaves_its_blocking_call_behind() -> None:
    def main() -> None:
        release = threading.Event()
        child = filar.spawn(filar.blocking, release.wait)
        wait_until_parked(child)
        child.cancel()
        assert isinstance(child.exception(), filar.CancelledError)
        release.set()

    filar.run(main)


@pytest.mark.parametrize("name", ["blocking", "aio.run"])
def test_no_finalizer_is_called_where_locks_of_the_kernel_thread_are_held(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits there would leave them locked, and the next to want them would block the worker for ever.

    Each object that a collection has freed leaves another one for the next, and a collection is due at almost every
    allocation: so one comes wherever it may.
    """

    async def nothing() -> None:
        pass

    def run_nothing() -> None:
        monkeypatch.setattr(filar.aio, "_shared", None)
        filar.aio.run(nothing())
        filar.aio._close_shared()

    cases: dict[str, tuple[Callable[[], Any], Any]] = {
        "blocking": (lambda: filar.blocking(int), concurrent.futures.ThreadPoolExecutor.submit),
        "aio.run": (run_nothing, filar.aio.LoopThread.__init__),
    }
    call, holder = cases[name]
    going, callers = [True], list[bool]()  # whether the holder was among them

    class Garbage:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            frame = sys._getframe().f_back
            while frame is not None and frame.f_code is not holder.__code__:
                frame = frame.f_back
            callers.append(frame is not None)
            if going[0]:
                Garbage()

    def main() -> None:
        call()  # what is made once is there
        Garbage()
        for _ in range(20):
            call()

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        filar.run(main)
    finally:
        gc.set_threshold(*before)
        going[0] = False
        gc.collect()
    assert len(callers) > 20
    assert not any(callers)


def test_collections_go_on_when_the_last_has_left_and_as_they_were() -> None:
    guard = _NoCollections()
    assert gc.isenabled()
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(guard)
    second.enter_context(guard)
    first.close()
    assert not gc.isenabled()
    second.close()
    assert gc.isenabled()
    gc.disable()
    try:
        with guard:
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


# ---- native bodies ------------------------------------------------------------------------------------------------


def test_native_bodies_run_without_python() -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    with filar.GreenRuntime(2) as runtime:
        buffer = ctypes.create_string_buffer(8)
        native = [runtime.spawn_native(libc.free, None) for _ in range(20)]
        for one in native:
            assert isinstance(one, NativeGreenThread)
            one.join()
            one.join()
        del buffer


# ---- workers that block, native bodies that compute ----------------------------------------------------------------


def test_a_spare_runs_what_stands_behind_one_that_blocks() -> None:
    released = threading.Event()
    with filar.GreenRuntime(1, spares=1, watch_ms=2) as runtime:
        blocked = runtime.spawn(released.wait, 60)
        runtime.spawn(released.set)
        assert blocked.result()
        # It is counted by the watcher, which may come to that after the spare has done its work.
        wait_until(lambda: runtime.statistics().spares_started == 1)
        found = runtime.statistics()
        assert found.workers_stuck >= 1
        assert found.workers_relieved >= found.workers_stuck


def test_without_spares_one_that_blocks_stops_all() -> None:
    inside, released = threading.Event(), threading.Event()
    order: list[str] = []

    def block() -> None:
        inside.set()
        released.wait(60)
        order.append("blocked")

    with filar.GreenRuntime(1, spares=0, watch_ms=2) as runtime:
        runtime.spawn(block)
        runtime.spawn(order.append, "behind")
        assert inside.wait(60)
        released.set()
    assert order == ["blocked", "behind"]


def test_a_native_body_that_never_ends_is_preempted(tmp_path: Path) -> None:
    import ctypes

    source, library = tmp_path / "bodies.c", tmp_path / "bodies.so"
    source.write_text(
        "void spin(void *word) { while (*(volatile int *)word == 0) ; }\n"
        "void release(void *word) { *(volatile int *)word = 1; }\n"
    )
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    code, word = ctypes.CDLL(str(library)), ctypes.create_string_buffer(8)
    with filar.GreenRuntime(1, native_preempt_ms=1) as runtime:
        spinning = runtime.spawn_native(code.spin, word, preemptible=True)
        runtime.spawn_native(code.release, word).join()
        spinning.join()
        assert runtime.statistics().preemptions >= 1


@pytest.mark.parametrize(
    "options",
    [
        {"spares": -1},
        {"spares": 1025},
        {"watch_ms": 0},
        {"watch_ms": -1},
        {"watch_ms": math.nan},
        {"native_preempt_ms": 0.01},
        {"pin": [4096]},
    ],
)
def test_bad_options_of_runtimes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(filar.NoSuchCPUError if "pin" in options else filar.InvalidArgumentError):
        filar.GreenRuntime(1, **options)


# ---- what is each green thread's own ------------------------------------------------------------------------------


def test_contexts_are_copied_from_the_spawner(workers: int) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    def child(value: int) -> tuple[str, int]:
        inherited = variable.get()
        variable.set(str(value))
        filar.sleep(0.001)
        return inherited, int(variable.get())

    def main() -> None:
        variable.set("spawner")
        children = [filar.spawn(child, i) for i in range(20)]
        assert [one.result() for one in children] == [("spawner", i) for i in range(20)]
        assert variable.get() == "spawner"

    filar.run(main, workers=workers)
    assert variable.get() == "unset"


def test_thread_locals_are_each_green_threads_own(workers: int) -> None:
    local = threading.local()

    def child(value: int) -> bool:
        fresh = not hasattr(local, "value")
        local.value = value
        filar.yield_()
        filar.sleep(0.0005)
        return fresh and local.value == value

    def main() -> None:
        # Twice, so that the second lot gets thread states that the first has used.
        for _ in range(2):
            assert all(one.result() for one in [filar.spawn(child, i) for i in range(100)])

    filar.run(main, workers=workers)


def test_an_exception_being_handled_is_each_green_threads_own() -> None:
    def child(value: int) -> bool:
        try:
            raise ValueError(value)
        except ValueError:
            filar.yield_()
            filar.sleep(0.0005)
            return sys.exc_info()[1].args == (value,)  # type: ignore[union-attr]

    def main() -> None:
        assert all(one.result() for one in [filar.spawn(child, i) for i in range(50)])
        assert sys.exc_info() == (None, None, None)

    filar.run(main)


def test_trace_and_profile_hooks_of_threading_apply() -> None:
    seen: list[str] = []

    def trace(frame: Any, event: str, arg: Any) -> None:
        seen.append(frame.f_code.co_name)

    def traced() -> None:
        filar.yield_()

    threading.settrace(trace)
    threading.setprofile(trace)
    try:
        filar.run(traced)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
        threading.setprofile(None)
    assert seen.count("traced") >= 2
    seen.clear()
    filar.run(traced)
    assert seen == []


def test_logging_works() -> None:
    stream = io.StringIO()
    logger = logging.getLogger("filar-test-green")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(stream))
    filar.run(lambda: logger.error("hello"))
    assert stream.getvalue() == "hello\n"


# ---- failures nobody looks at -------------------------------------------------------------------------------------


def test_a_failure_that_nobody_joins_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    gc.collect()  # what other tests left is not this one's to report
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_type))

    def main() -> None:
        filar.spawn(lambda: 1 / 0)
        looked_at = filar.spawn(lambda: {}["x"])
        looked_at.exception()
        filar.spawn(sys.exit, 1)
        cancelled = filar.spawn(filar.sleep, None)
        cancelled.cancel()

    filar.run(main)
    gc.collect()
    assert reported == [ZeroDivisionError]


def test_a_runtime_names_what_keeps_it_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filar.green._PATIENCE", 0.2)
    runtime = filar.GreenRuntime()
    flag = filar.Event()
    green = runtime.start(flag.wait, name="leaked")
    wait_until_parked(green)
    told: list[str] = []

    def warn(message: str, *args: Any, **kwargs: Any) -> None:
        told.append(message)
        flag.set()

    monkeypatch.setattr("filar.green.warnings.warn", warn)
    runtime.close()
    assert len(told) == 1
    assert "leaked parked (event)" in told[0]


# ---- looking ------------------------------------------------------------------------------------------------------


def test_a_dump_shows_what_each_waits_for_and_its_stack() -> None:
    text = io.StringIO()

    def waits_here() -> None:
        filar.sleep(None)

    def main() -> None:
        child = filar.spawn(waits_here)
        child.name = "waiter"
        wait_until_parked(child)
        filar.dump(text)

    filar.run(main)
    assert "waiter: parked (sleep), worker 0" in text.getvalue()
    assert "in waits_here" in text.getvalue()
    assert "1 workers" in text.getvalue()


def test_a_dump_without_runtimes_says_so() -> None:
    text = io.StringIO()
    filar.dump(text)
    assert text.getvalue() == "no green runtime\n"


def test_statistics_count() -> None:
    gate = filar.Event()
    with filar.GreenRuntime(2) as runtime:
        children = [runtime.spawn(gate.wait) for _ in range(10)]
        wait_until_parked(*children)
        gate.set()
        for child in children:
            child.join()
        found = runtime.statistics()
        assert (found.workers, found.spawned) == (2, 10)
        assert found.parks >= 10


# ---- the end ------------------------------------------------------------------------------------------------------


def test_a_closed_runtime_refuses() -> None:
    runtime = filar.GreenRuntime()
    runtime.close()
    runtime.close()
    for call in (lambda: runtime.spawn(int), runtime.statistics, runtime.cancel, runtime.__enter__):
        with pytest.raises(filar.WrongStateError, match="closed"):
            call()
    assert repr(runtime) == "<GreenRuntime closed>"


def test_a_green_thread_cannot_close_a_runtime() -> None:
    with filar.GreenRuntime() as runtime:
        green = runtime.spawn(runtime.close)
        assert isinstance(green.exception(), filar.WrongStateError)


def test_the_interpreter_ends_with_green_threads_parked_running_and_blocked() -> None:
    done = run_program(
        """
        import filar, filar.green, sys, time
        filar.green._PATIENCE = 60  # all of them end, however slow the machine
        def parked():
            try:
                filar.sleep(None)
            finally:
                print("finally")
        def running():
            while True:
                filar.yield_()
        runtime = filar.GreenRuntime(2)
        greens = [runtime.spawn(parked) for _ in range(3)] + [runtime.spawn(running) for _ in range(2)]
        greens.append(runtime.spawn(filar.blocking, time.sleep, 0.1))
        while not all(g.state.startswith("parked") or g.done() for g in greens[:3] + greens[-1:]):
            time.sleep(0.001)  # on a busy machine the blocked one may be over before it is seen
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["finally"] * 3
    assert done.stderr == ""


def test_the_interpreter_ends_although_one_never_does() -> None:
    done = run_program(
        """
        import filar, filar.green, time
        filar.green._PATIENCE = 0.3
        begun = []
        def never():
            begun.append(1)
            while True:
                try:
                    time.sleep(0.01)
                except BaseException:
                    pass
        runtime = filar.GreenRuntime()
        runtime.start(never, name="stubborn")
        while not begun:
            time.sleep(0.001)
        """
    )
    assert done.returncode == 0, done.stderr
    assert "stubborn" in done.stderr


@pytest.mark.parametrize(
    "wait",
    [
        *("green.result()", "native.join()", "runtime.close()", "filar.run(filar.sleep, None)", "filar.sleep(60)"),
        *("filar.aio.run(asyncio.sleep(60))", "filar.blocking(time.sleep, 60)"),
    ],
)
def test_ctrl_c_ends_every_wait(wait: str) -> None:
    """Those of locks, queues and channels are in test_sync_process.py, of pools in test_pool.py."""
    done = run_program(
        f"""
        import asyncio, filar, os, signal, threading, time
        from filar._lib import ffi, lib
        signal.signal(signal.SIGINT, signal.default_int_handler)
        runtime = filar.GreenRuntime()
        green = runtime.spawn(filar.sleep, None)
        native = runtime.spawn_native(ffi.addressof(lib, "filar_green_sleep_until"), 2**62)
        sent = []
        def interrupt():
            time.sleep(0.2)
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)
        try:
            # In here: it may come before the wait has begun.
            threading.Thread(target=interrupt).start()
            {wait}
        except KeyboardInterrupt:
            print(time.monotonic() - sent[0])
        runtime.close(cancel=True)
        """
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 30  # it is promised in 0.1 s; here the machine may be busy


def test_ctrl_c_ends_a_wait_in_a_terminal() -> None:
    """The key itself, on a terminal of the program's own."""
    waits = """
        import filar
        try:
            print("waits", flush=True)
            filar.run(filar.sleep, None)
        except KeyboardInterrupt:
            print("interrupted")
        """
    done = run_program(
        f"""
        import os, pty, sys
        seen = b""
        def read(terminal):
            global seen
            data = os.read(terminal, 1024)
            if b"waits" in seen + data and b"waits" not in seen:
                os.write(terminal, bytes([3]))
            seen += data
            return data
        status = pty.spawn([{PYTHON!r}, "-c", {textwrap.dedent(waits)!r}], read)
        sys.exit(os.waitstatus_to_exitcode(status))
        """
    )
    assert done.returncode == 0, done.stderr
    assert "interrupted" in done.stdout


def test_ctrl_c_ends_a_wait_in_a_notebook(tmp_path: Path) -> None:
    """As its stop button does: the kernel's process gets SIGINT."""
    manager_of = pytest.importorskip("jupyter_client").KernelManager
    pytest.importorskip("ipykernel")
    # Not by TCP: of the ports that the manager finds free, others may have taken some when the kernel begins.
    manager = manager_of(kernel_name="python3", transport="ipc", ip=str(tmp_path / "kernel"))
    manager.start_kernel(extra_arguments=["--HistoryManager.enabled=False"])
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        for wait in ("filar.run(filar.sleep, None)", "filar.Channel().receive()"):
            asked = client.execute(f"import filar; print('waits', flush=True); {wait}")
            while client.get_iopub_msg(timeout=120)["msg_type"] != "stream":
                pass
            manager.interrupt_kernel()
            answer = client.get_shell_msg(timeout=120)
            while answer["parent_header"]["msg_id"] != asked:
                answer = client.get_shell_msg(timeout=120)
            assert answer["content"]["ename"] == "KeyboardInterrupt"
        client.execute("print(filar.run(lambda: 7))")
        said = ""
        while "7" not in said:
            message = client.get_iopub_msg(timeout=120)
            said += message["content"].get("text", "")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_sys_exit_of_a_child_comes_out_of_its_join() -> None:
    def main() -> Any:
        with pytest.raises(SystemExit) as caught:
            filar.spawn(sys.exit, 4).join()
        return caught.value.code

    assert filar.run(main) == 4


def test_keyboard_interrupt_in_a_child_comes_out_of_its_join_and_harms_nobody_else() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def main() -> int:
        other = filar.spawn(filar.sleep, 0.001)
        child = filar.spawn(interrupt)
        with pytest.raises(KeyboardInterrupt):
            child.join()
        other.join()
        return 4

    assert filar.run(main) == 4
    with pytest.raises(KeyboardInterrupt):
        filar.run(interrupt)


def test_a_second_ctrl_c_leaves_green_threads_that_do_not_end() -> None:
    done = run_program(
        """
        import filar, filar.green, os, signal, threading, time
        signal.signal(signal.SIGINT, signal.default_int_handler)
        filar.green._PATIENCE = 0.2
        begun, told = [], []
        def stubborn():
            begun.append(1)
            while True:
                try:
                    filar.sleep(0.01)
                except filar.CancelledError:
                    told.append(1)
                    time.sleep(0.01)
        def interrupt():
            for seen in (begun, told):
                while not seen:
                    time.sleep(0.001)
                os.kill(os.getpid(), signal.SIGINT)
        try:
            threading.Thread(target=interrupt).start()
            filar.run(stubborn)
        except KeyboardInterrupt:
            print("out")
        """
    )
    assert done.stdout == "out\n", done.stderr
    assert "green-1" in done.stderr


def test_asyncio_runs_on_a_green_thread() -> None:
    async def coroutine() -> int:
        await asyncio.sleep(0.001)
        return 7

    def main() -> None:
        assert [one.result() for one in [filar.spawn(asyncio.run, coroutine()) for _ in range(3)]] == [7] * 3

    filar.run(main)


def test_fork_from_the_main_thread_and_from_a_green_thread() -> None:
    done = run_program(
        """
        import filar, os, sys, threading, warnings
        warnings.simplefilter("ignore")
        def child_checks(handle, runtime):
            for call in (handle.join, lambda: runtime.spawn(int), handle.cancel):
                try:
                    call()
                except filar.ForkedError:
                    pass
                else:
                    os._exit(3)
            assert filar.run(lambda: 5) == 5
            os._exit(0)
        def wait(pid):
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        runtime = filar.GreenRuntime(2)
        sleeper = runtime.spawn(filar.sleep, None)
        if (pid := os.fork()) == 0:
            child_checks(sleeper, runtime)
        wait(pid)
        def forks():
            if (pid := os.fork()) == 0:
                try:
                    filar.yield_()
                except filar.ForkedError:
                    pass
                else:
                    os._exit(4)
                child_checks(sleeper, runtime)
            wait(pid)
            if (pid := os.fork()) == 0:
                return "ends in the child"
            wait(pid)
        runtime.spawn(forks).join()
        runtime.close(cancel=True)
        print("ok")
        """
    )
    assert done.stdout == "ok\n", done.stderr


def test_signals_reach_the_main_thread_while_green_threads_compute() -> None:
    got = []
    before = signal.signal(signal.SIGUSR1, lambda *_: got.append(threading.get_ident()))
    try:

        def compute() -> None:
            os.kill(os.getpid(), signal.SIGUSR1)
            wait_until(lambda: got)

        filar.run(compute)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert got == [threading.main_thread().ident]
