"""filar.ThreadPoolExecutor beyond what CPython's own tests ask (test_pool_conformance.py)."""

import asyncio
import contextvars
import gc
import os
import signal
import sys
import threading
import time
import weakref
from concurrent import futures
from pathlib import Path

import pytest

import filar
from children import no_new_thread
from filar.pool import (
    BrokenThreadPool,
    Future,
    PoolStatistics,
    RejectedError,
    StuckError,
    ThreadPoolExecutor,
    check_cancelled,
    is_cancelled,
)
from programs import run_program
from states import wait_until


class Gate:
    """A call that says that it has begun and ends when it is let."""

    def __init__(self):
        self.begun, self.open = threading.Semaphore(0), threading.Event()

    def __call__(self, value=None):
        self.begun.release()
        assert self.open.wait(60)
        return value


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


# ---- what it is ------------------------------------------------------------------------------------------------


def test_class_and_futures_are_the_standard_ones(pool):
    assert isinstance(pool, futures.ThreadPoolExecutor)
    assert filar.ThreadPoolExecutor is ThreadPoolExecutor
    assert "ThreadPoolExecutor" in str(type(pool))
    future = pool.submit(divmod, 7, 2)
    assert isinstance(future, futures.Future)
    assert future.result() == (3, 1)
    assert pool._max_workers == 2


def test_arguments_by_position_and_name_arrive(pool):
    def capture(*args, **kwargs):
        return args, kwargs

    assert pool.submit(capture).result() == ((), {})
    assert pool.submit(capture, 1, self=2, fn=3).result() == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        pool.submit()
    with pytest.raises(TypeError):
        pool.submit(5).result()


def test_future_keeps_attributes_and_weak_references(pool):
    future = pool.submit(int)
    future.tag = "mine"
    assert future.tag == "mine"
    reference = weakref.ref(future)
    future.result()
    del future
    gc.collect()
    assert reference() is None


def test_condition_made_while_running_sees_the_end(pool, gate):
    future = pool.submit(gate, 5)
    assert gate.begun.acquire(timeout=60)
    with future._condition:
        assert future._state == "RUNNING"
        gate.open.set()
        assert future._condition.wait_for(lambda: future._state == "FINISHED", 60)
    assert future._result == 5


def test_state_does_not_change_while_somebody_holds_the_condition(pool, gate):
    future = pool.submit(gate, 5)
    assert gate.begun.acquire(timeout=60)
    with future._condition:
        gate.open.set()
        wait_until(lambda: not gate.begun.acquire(blocking=False))
        assert [future._state for _ in range(1000)] == ["RUNNING"] * 1000
    assert future.result(60) == 5


@pytest.mark.parametrize("bad", ["soon", object(), float("nan")])
def test_a_timeout_that_is_none_is_refused(pool, gate, bad):
    future = pool.submit(gate)
    with pytest.raises((TypeError, ValueError)):
        future.result(timeout=bad)
    with pytest.raises(TypeError):
        future.result(patience=1)


def test_timeouts_of_all_sizes(pool, gate):
    future = pool.submit(gate, 1)
    for timeout in (0, -1, -1e300, 1e-9, False):
        with pytest.raises(TimeoutError):
            future.result(timeout)
        with pytest.raises(TimeoutError):
            future.exception(timeout=timeout)
    gate.open.set()
    assert future.result(float("inf")) == 1
    assert future.result(1e300) == 1


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_any_exception_reaches_whoever_asks_and_no_worker_dies(pool, kind):
    def fail():
        raise kind("mine")

    for _ in range(5):
        with pytest.raises(kind, match="mine"):
            pool.submit(fail).result()
    assert pool.submit(int).result() == 0


def test_traceback_begins_in_the_call(pool):
    def fail():
        raise ValueError("here")

    exception = pool.submit(fail).exception()
    assert exception.__traceback__.tb_frame.f_code.co_name == "fail"


def test_callback_that_fails_is_logged_and_the_next_one_runs(pool, gate, caplog):
    called = []
    future = pool.submit(gate)
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(called.append)
    gate.open.set()
    future.result()
    wait_until(lambda: called == [future])
    future.add_done_callback(lambda f: 1 / 0)
    assert caplog.text.count("exception calling callback") == 2
    assert "ZeroDivisionError" in caplog.text


def test_recursion_too_deep_is_an_exception_of_the_call(pool):
    def deeper(n):
        return deeper(n + 1)

    with pytest.raises(RecursionError):
        pool.submit(deeper, 0).result()
    assert pool.submit(int).result() == 0


def test_a_million_futures_in_a_chain_are_dropped_without_recursion(pool):
    # Each result is the future before it.
    def link(before):
        return before

    last = None
    for _ in range(100_000):
        future = Future()
        future.set_result(last)
        last = future
    del future
    pool.submit(link, last).result()
    del last
    gc.collect()


def test_submitting_from_workers_and_pools_in_pools(pool):
    def nested(depth):
        if depth == 0:
            return 0
        with ThreadPoolExecutor(1) as inner:
            return 1 + inner.submit(nested, depth - 1).result()

    assert pool.submit(nested, 20).result() == 20

    done = []

    def chain(n):
        done.append(n)
        if n:
            pool.submit(chain, n - 1)

    pool.submit(chain, 5000)
    wait_until(lambda: len(done) == 5001)


def test_many_pools_leave_nothing():
    with no_new_thread():
        for _ in range(100_000):
            ThreadPoolExecutor(3)


def test_dropped_pools_end_their_threads():
    pools = [ThreadPoolExecutor(2) for _ in range(20)]
    results = [pool.submit(int) for pool in pools for _ in range(3)]
    threads = [thread for pool in pools for thread in pool._threads]
    assert threads
    del pools
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert [future.result() for future in results] == [0] * 60


def test_a_pool_in_a_cycle_is_collected():
    pool = ThreadPoolExecutor(1)
    pool.self = pool
    pool.submit(int).result()
    (thread,) = pool._threads
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    thread.join(60)
    assert not thread.is_alive()


def test_arguments_are_let_go_before_the_result_is_seen(pool):
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    future = pool.submit(lambda _: None, thing)
    del thing
    future.result()
    assert reference() is None


# ---- cancelling ------------------------------------------------------------------------------------------------


def test_cancel_of_a_running_call_is_refused_and_heard(pool):
    heard = threading.Event()

    def patient():
        assert not is_cancelled()
        heard.set()
        while not is_cancelled():
            time.sleep(0.001)
        return "stopped"

    future = pool.submit(patient)
    assert heard.wait(60)
    assert not future.cancel_requested
    assert future.cancel() is False
    assert future.cancel_requested
    assert future.result(60) == "stopped"
    assert not pool.submit(is_cancelled).result()
    assert not is_cancelled()


def test_check_cancelled_ends_the_call(pool, gate):
    def patient():
        gate.begun.release()
        while True:
            check_cancelled()
            time.sleep(0.001)

    future = pool.submit(patient)
    assert gate.begun.acquire(timeout=60)
    future.cancel()
    with pytest.raises(futures.CancelledError):
        future.result(60)
    check_cancelled()  # outside a pool: nothing


def test_cancel_before_the_call_wakes_who_waits(gate):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate)
        future = pool.submit(int)
        seen = []

        def wait_for_it():
            try:
                future.result(60)
            except futures.CancelledError as error:
                seen.append(error)

        thread = threading.Thread(target=wait_for_it)
        thread.start()
        assert future.cancel()
        thread.join(60)
        assert len(seen) == 1
        assert future.cancel()
        gate.open.set()
    assert future._state == "CANCELLED_AND_NOTIFIED"


def test_shutdown_that_cancels_tells_queued_and_running(gate):
    pool = ThreadPoolExecutor(1)

    def patient():
        gate.begun.release()
        while not is_cancelled():
            time.sleep(0.001)
        return "stopped"

    running = pool.submit(patient)
    assert gate.begun.acquire(timeout=60)
    queued = [pool.submit(int) for _ in range(5)]
    items = pool.map(abs, [-1, -2])
    pool.shutdown(cancel_futures=True)
    assert running.result() == "stopped"
    done, waiting = futures.wait(queued, timeout=60)
    assert not waiting
    assert all(future.cancelled() for future in done)
    with pytest.raises(futures.CancelledError):
        next(items)


# ---- waiting for some of several ---------------------------------------------------------------------------------


def test_what_is_not_done_is_not_counted_as_done(pool, gate):
    held, quick, failing = pool.submit(gate, 1), pool.submit(int), pool.submit(divmod, 1, 0)
    for wanted, enough in ((futures.FIRST_COMPLETED, {quick}), (futures.FIRST_EXCEPTION, {failing})):
        done, rest = futures.wait([held, quick, failing], return_when=wanted)
        assert enough <= done <= {quick, failing}
        assert held in rest
    done, rest = futures.wait([held, quick, failing], timeout=0.01)
    assert (done, rest) == ({quick, failing}, {held})
    seen = set()
    with pytest.raises(TimeoutError, match="1 \\(of 3\\) futures unfinished"):
        seen.update(futures.as_completed([held, quick, failing], timeout=0.01))
    assert seen == {quick, failing}
    gate.open.set()
    assert set(futures.as_completed([held, quick, failing])) == {held, quick, failing}


# ---- map -------------------------------------------------------------------------------------------------------


def test_map_is_a_generator_with_results_in_order(pool):
    results = pool.map(lambda x, y: x * y, range(10_000), range(10_000), chunksize=7)
    assert hasattr(results, "send")
    assert list(results) == [n * n for n in range(10_000)]
    assert list(pool.map(abs, [])) == []
    assert list(pool.map(int)) == []
    with pytest.raises(TypeError):
        pool.map(abs, 5)
    with pytest.raises(TypeError):
        pool.map(abs, [1], nonsense=1)


def test_map_ends_with_an_exception_and_cancels_the_rest(gate):
    with ThreadPoolExecutor(1) as pool:
        ran = []

        def work(n):
            if n == 1:
                raise ValueError(n)
            if n == 2:
                gate()
            ran.append(n)

        results = pool.map(work, range(5))
        assert next(results) is None
        with pytest.raises(ValueError, match="1"):
            next(results)
        assert list(results) == []
        gate.open.set()
    assert set(ran) <= {0, 2}


def test_map_whose_call_raises_stopiteration_does_not_end_silently(pool):
    def stop(n):
        raise StopIteration(n)

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(pool.map(stop, range(3)))


def test_map_that_is_not_read_runs_and_one_that_is_closed_stops(gate):
    with ThreadPoolExecutor(1) as pool:
        ran = []
        pool.map(ran.append, range(10))
        wait_until(lambda: ran == list(range(10)))

        def work(n):
            if n == 1:
                gate.begun.release()
                while not is_cancelled():
                    time.sleep(0.001)
            ran.append(n)

        ran.clear()
        results = pool.map(work, range(10))
        assert next(results) is None
        assert gate.begun.acquire(timeout=60)
        results.close()
        wait_until(lambda: ran == [0, 1])
        assert pool.submit(int).result() == 0
    assert ran == [0, 1]


def test_map_timeout_counts_from_the_call(gate):
    with ThreadPoolExecutor(1) as pool:
        results = pool.map(gate, range(2), timeout=0.05)
        with pytest.raises(TimeoutError):
            next(results)
        gate.open.set()
    with ThreadPoolExecutor(1) as pool:
        assert list(pool.map(abs, [-1], timeout=60)) == [1]


def test_first_calls_of_a_map_run_while_its_input_is_still_produced(pool):
    begun = threading.Event()

    def inputs():
        yield begun
        assert begun.wait(60)
        yield begun

    assert list(pool.map(threading.Event.set, inputs())) == [None, None]


def test_input_that_fails_raises_from_map_and_what_was_submitted_runs(pool):
    ran = []

    def inputs():
        yield from range(3)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        pool.map(ran.append, inputs())
    wait_until(lambda: sorted(ran) == [0, 1, 2])


def test_maps_and_calls_keep_their_order_on_one_worker(gate):
    with ThreadPoolExecutor(1) as pool:
        order = []
        pool.submit(gate)
        pool.submit(order.append, "a")
        pool.map(order.append, [1, 2, 3])
        pool.submit(order.append, "b")
        pool.map(order.append, [4])
        gate.open.set()
    assert order == ["a", 1, 2, 3, "b", 4]


def test_high_goes_before_normal_before_low(gate):
    order = []
    with ThreadPoolExecutor(1) as pool:
        high, low = pool.at_priority("high"), pool.at_priority("low")
        assert isinstance(high, futures.Executor)
        pool.submit(gate)
        gate.begun.acquire()
        calls = [(low, "l1"), (pool, "n1"), (high, "h1"), (low, "l2"), (pool.at_priority("normal"), "n2"), (high, "h2")]
        waiting = [executor.submit(order.append, name) for executor, name in calls]
        results = high.map(order.append, ["m1", "m2"])
        cancelled = high.submit(order.append, "never")
        assert cancelled.cancel()
        assert pool.statistics().queued == 9
        gate.open.set()
        assert list(results) == [None, None]
        futures.wait(waiting)
        assert order == ["h1", "h2", "m1", "m2", "n1", "n2", "l1", "l2"]
        with pytest.raises(ValueError, match="priority is one of"):
            pool.at_priority("urgent")


def test_low_is_not_left_waiting_for_ever():
    with ThreadPoolExecutor(1) as pool:
        high, done = pool.at_priority("high"), threading.Event()

        def again():
            if not done.is_set():
                high.submit(again)

        for _ in range(3):
            high.submit(again)
        pool.at_priority("low").submit(done.set).result()


def test_a_view_keeps_its_pool_and_shuts_it_down():
    high = ThreadPoolExecutor(2).at_priority("high")
    gc.collect()
    assert list(high.map(pow, [2, 3], [2, 2])) == [4, 9]
    assert high.submit(int).result() == 0

    async def ask():
        return await asyncio.get_running_loop().run_in_executor(high, len, "four")

    assert asyncio.run(ask()) == 4
    high.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        high.submit(int)


def test_map_of_blocking_calls_uses_all_workers():
    with ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)
        for _ in range(20):
            assert sorted(pool.map(lambda _: barrier.wait(60), range(4))) == [0, 1, 2, 3]


def test_results_of_a_map_are_let_go_when_given(pool):
    class Thing:
        pass

    for thing in pool.map(lambda _: Thing(), range(10)):
        reference = weakref.ref(thing)
        del thing
        assert reference() is None


def test_map_goes_through_an_overridden_submit():
    class Mine(ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(lambda: ("mine", fn(*args, **kwargs)))

    with Mine(2) as pool:
        assert list(pool.map(abs, [-1])) == [("mine", 1)]


def test_map_after_shutdown_is_refused():
    pool = ThreadPoolExecutor(1)
    results = pool.map(abs, [-1, -2])
    pool.shutdown()
    assert list(results) == [1, 2]
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.map(abs, [1])


@pytest.mark.skipif(sys.version_info < (3, 14), reason="map has a buffersize from 3.14 on")
def test_buffersize_is_that_of_the_running_python(pool):
    taken = []

    def inputs():
        for n in range(100):
            taken.append(n)
            yield n

    results = pool.map(abs, inputs(), buffersize=3)
    assert len(taken) == 3
    assert list(results) == list(range(100))


# ---- bounded queues --------------------------------------------------------------------------------------------


def fill(pool, gate, calls):
    """One call running, `calls` waiting."""
    pool.submit(gate)
    assert gate.begun.acquire(timeout=60)
    return [pool.submit(int) for _ in range(calls)]


def test_full_queue_rejects(gate):
    with ThreadPoolExecutor(1, queue_size=2, when_full="reject") as pool:
        fill(pool, gate, 2)
        with pytest.raises(RejectedError, match="full"):
            pool.submit(int)
        assert pool.statistics().rejected == 1
        gate.open.set()
        wait_until(lambda: pool.statistics().queued == 0)
        assert pool.submit(int).result() == 0


def test_full_queue_runs_in_the_caller(gate):
    with ThreadPoolExecutor(1, queue_size=1, when_full="run") as pool:
        fill(pool, gate, 1)
        future = pool.submit(threading.get_ident)
        assert future.done()
        assert future.result() == threading.get_ident()
        assert isinstance(pool.submit(int, "x").exception(), ValueError)
        assert pool.statistics().run_by_submitter == 2
        gate.open.set()


def test_full_queue_blocks_until_there_is_room(gate):
    with ThreadPoolExecutor(1, queue_size=1) as pool:
        fill(pool, gate, 1)
        done = []
        threads = [threading.Thread(target=lambda: done.append(pool.submit(int).result())) for _ in range(5)]
        for thread in threads:
            thread.start()
        assert not done
        gate.open.set()
        for thread in threads:
            thread.join(60)
        assert done == [0] * 5
        # Five submitters that look at once may pass the bound by what they bring, never by more.
        assert pool.statistics().longest_queue <= 6


def test_worker_never_waits_for_room_in_its_own_queue():
    with ThreadPoolExecutor(1, queue_size=1) as pool:

        def spread():
            return [pool.submit(int) for _ in range(50)]

        assert [future.result(60) for future in pool.submit(spread).result(60)] == [0] * 50


def test_shutdown_ends_a_wait_for_room(gate):
    pool = ThreadPoolExecutor(1, queue_size=1)
    fill(pool, gate, 1)
    outcome = []

    def submit():
        try:
            pool.submit(int)
        except RuntimeError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=submit)
    thread.start()
    pool.shutdown(wait=False)
    thread.join(60)
    assert outcome == ["cannot schedule new futures after shutdown"]


def test_map_into_a_bounded_queue(gate):
    with ThreadPoolExecutor(2, queue_size=3) as pool:
        assert list(pool.map(abs, range(-500, 0))) == list(range(500, 0, -1))
        assert pool.statistics().longest_queue <= 4


# ---- context, pinning, names, daemons --------------------------------------------------------------------------

variable = contextvars.ContextVar("variable", default="none")


@pytest.mark.parametrize(("context", "seen"), [("copy", "submitter"), ("empty", "none")])
def test_context_of_a_call(context, seen):
    def look_and_change():
        found = variable.get()
        variable.set("changed")
        return found

    token = variable.set("submitter")
    try:
        with ThreadPoolExecutor(1, context=context) as pool:
            assert [pool.submit(look_and_change).result() for _ in range(3)] == [seen] * 3
            assert list(pool.map(lambda _: look_and_change(), range(3))) == [seen] * 3
        assert variable.get() == "submitter"
    finally:
        variable.reset(token)


def test_context_by_default_is_as_in_the_standard_executor():
    def look_and_change():
        found = variable.get()
        variable.set("changed")
        return found

    def see(kind):
        token = variable.set("submitter")
        try:
            with kind(1) as pool:
                return [pool.submit(look_and_change).result() for _ in range(2)]
        finally:
            variable.reset(token)

    assert see(ThreadPoolExecutor) == see(futures.ThreadPoolExecutor)


def test_workers_are_pinned_in_turn():
    allowed = sorted(os.sched_getaffinity(0))
    pins = [allowed[0], allowed[-1]]
    barrier = threading.Barrier(2)

    def where(_):
        barrier.wait(60)
        return threading.current_thread().name, os.sched_getaffinity(0)

    with ThreadPoolExecutor(2, "pinned", pin=pins) as pool:
        assert dict(pool.map(where, range(2))) == {"pinned_0": {pins[0]}, "pinned_1": {pins[1]}}
    with ThreadPoolExecutor(1, pin="cores") as pool:
        assert len(pool.submit(os.sched_getaffinity, 0).result()) == 1
    with ThreadPoolExecutor(1, pin="none") as pool:
        assert pool.submit(os.sched_getaffinity, 0).result() == set(allowed)
    assert os.sched_getaffinity(0) == set(allowed)


def test_bad_options_are_refused_in_words():
    for options, kind in [
        ({"pin": "everywhere"}, ValueError),
        ({"pin": []}, ValueError),
        ({"pin": [1_000_000]}, filar.NoSuchCPUError),
        ({"pin": ["zero"]}, TypeError),
        ({"pin": 5}, ValueError),
        ({"queue_size": 0}, ValueError),
        ({"queue_size": -1}, ValueError),
        ({"queue_size": 1.5}, TypeError),
        ({"when_full": "drop"}, ValueError),
        ({"when_full": []}, ValueError),
        ({"context": "share"}, ValueError),
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"max_workers": "two"}, TypeError),
        ({"initializer": 5}, TypeError),
    ]:
        with pytest.raises(kind):
            ThreadPoolExecutor(**options)


def test_system_and_python_know_the_workers_names():
    def names():
        return threading.current_thread().name, Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text()

    with ThreadPoolExecutor(1, "reader") as pool:
        assert pool.submit(names).result() == ("reader_0", "reader_0\n")
    with ThreadPoolExecutor(1, "a name of more than fifteen bytes") as pool:
        name, of_system = pool.submit(names).result()
        assert name == "a name of more than fifteen bytes_0"
        if sys.version_info < (3, 14):
            assert of_system == name[-15:] + "\n"


def test_interpreter_does_not_wait_for_daemons_and_waits_for_others():
    script = """
import filar, time, sys
pool = filar.ThreadPoolExecutor(1, daemon={daemon})
pool.submit(print, "begun", flush=True).result()
pool.submit(lambda: (time.sleep({seconds}), print("end", flush=True)))
"""
    daemon = run_program(script.format(daemon=True, seconds=1000))
    assert (daemon.stdout, daemon.stderr, daemon.returncode) == ("begun\n", "", 0)
    other = run_program(script.format(daemon=False, seconds=0.2))
    assert (other.stdout, other.stderr, other.returncode) == ("begun\nend\n", "", 0)


def test_submit_after_the_interpreter_began_to_exit_is_refused():
    result = run_program("""
import atexit, filar
pool = filar.ThreadPoolExecutor(1)
@atexit.register
def late():
    for submit in (pool.submit, filar.ThreadPoolExecutor(1).submit):
        try:
            submit(int)
        except RuntimeError as error:
            print(error)
pool.submit(int).result()
""")
    assert result.stdout == "cannot schedule new futures after interpreter shutdown\n" * 2
    assert result.stderr == ""


# ---- initializers, threads that do not start -------------------------------------------------------------------


def test_failing_initializer_breaks_the_pool_with_all_that_wait(caplog):
    allow = threading.Event()

    def fail():
        assert allow.wait(60)
        raise ValueError("not me")

    pool = ThreadPoolExecutor(1, initializer=fail)
    waiting = [pool.submit(int) for _ in range(3)]
    items = pool.map(abs, [1, 2])
    allow.set()
    for future in waiting:
        with pytest.raises(BrokenThreadPool):
            future.result(60)
    with pytest.raises(BrokenThreadPool):
        next(items)
    with pytest.raises(BrokenThreadPool):
        pool.submit(int)
    pool.shutdown()
    assert "ValueError: not me" in caplog.text
    assert pool.statistics().threads == 0


def test_thread_that_does_not_start_loses_no_call(monkeypatch, gate):
    pool = ThreadPoolExecutor(2)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(int)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.map(abs, [1])
    assert pool.statistics().queued == 0
    assert not pool._threads
    pool.submit(gate)
    assert gate.begun.acquire(timeout=60)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        future = pool.submit(int)  # there is a worker: it will
        gate.open.set()
        assert future.result(60) == 0
    pool.shutdown()


# ---- size and the end ------------------------------------------------------------------------------------------


def test_resize_adds_and_removes_workers():
    with ThreadPoolExecutor(1) as pool:
        barrier = threading.Barrier(3)
        waiting = [pool.submit(barrier.wait, 60) for _ in range(3)]
        pool.resize(3)
        assert sorted(future.result(60) for future in waiting) == [0, 1, 2]
        pool.resize(1)
        wait_until(lambda: pool.statistics().threads == 1)
        assert [pool.submit(int).result() for _ in range(10)] == [0] * 10
        assert pool._max_workers == 1
        for bad in (0, -1):
            with pytest.raises(ValueError):
                pool.resize(bad)
        with pytest.raises(TypeError):
            pool.resize("2")


def test_statistics_count(pool):
    list(pool.map(abs, range(10)))
    pool.submit(int).result()
    wait_until(lambda: pool.statistics().completed == 11)
    found = pool.statistics()
    assert isinstance(found, PoolStatistics)
    assert (found.submitted, found.queued, found.rejected) == (11, 0, 0)
    assert 1 <= found.threads <= 2
    assert found.max_workers == 2
    assert pool._work_queue.qsize() == 0


def test_shutdown_with_a_deadline_names_the_stuck_and_shows_where(gate):
    pool = ThreadPoolExecutor(2, "stuck")
    pool.submit(gate)
    assert gate.begun.acquire(timeout=60)
    with pytest.raises(StuckError, match="stuck_0") as caught:
        pool.shutdown(timeout=0.02)
    (worker,) = caught.value.workers
    assert worker.name == "stuck_0"
    assert "assert self.open.wait(60)" in worker.stack
    assert isinstance(caught.value, TimeoutError)
    gate.open.set()
    pool.shutdown(timeout=60)


def test_shutdown_twice_and_from_a_worker(pool):
    def end():
        with pytest.raises(RuntimeError, match="cannot join current thread"):
            pool.shutdown()
        pool.shutdown(wait=False)

    pool.submit(end).result()
    pool.shutdown()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(int)


@pytest.mark.parametrize(
    "blocking",
    [
        "future.result()",
        "future.exception()",
        "futures.wait([future])",
        "list(futures.as_completed([future]))",
        "next(results)",
        "pool.shutdown()",
        "pool.submit(int)",
    ],
)
def test_ctrl_c_ends_every_wait(blocking):
    result = run_program(f"""
import filar, os, signal, threading, time
from concurrent import futures
signal.signal(signal.SIGINT, signal.default_int_handler)
gate = threading.Event()
pool = filar.ThreadPoolExecutor(1, queue_size=1 if "submit" in {blocking!r} else None)
future = pool.submit(gate.wait)
while pool.statistics().queued: pass
if "submit" in {blocking!r}: pool.submit(int)
if "results" in {blocking!r}: results = pool.map(gate.wait, [None])
def interrupt():
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)
try:
    threading.Thread(target=interrupt).start()
    {blocking}
except KeyboardInterrupt:
    print("interrupted")
gate.set()
print(future.result())
""")
    assert result.stdout == "interrupted\nTrue\n", result.stderr


def test_child_of_a_fork_hears_that_the_pool_is_not_its_own(pool, gate):
    future = pool.submit(gate, 3)
    assert gate.begun.acquire(timeout=60)
    done = pool.submit(int)
    assert done.result() == 0
    results = pool.map(gate, [1])

    def in_child():
        assert done.result() == 0
        for call in (
            lambda: pool.submit(int),
            lambda: pool.map(abs, [1]),
            lambda: future.result(),
            lambda: futures.wait([future]),
            lambda: next(results),
        ):
            with pytest.raises(filar.ForkedError):
                call()
        repr(future)
        pool._work_queue.busy()
        pool.statistics()
        pool.shutdown(cancel_futures=True)
        with ThreadPoolExecutor(2) as own:
            assert list(own.map(abs, [-1, -2])) == [1, 2]
            assert own.submit(int).result() == 0

    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            in_child()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    gate.open.set()
    assert future.result(60) == 3


def test_fork_inside_a_call(pool):
    def fork():
        child = os.fork()
        if child == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert [pool.submit(fork).result(60) for _ in range(5)] == [7] * 5


# ---- all at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"queue_size": 5}, {"queue_size": 5, "when_full": "run"}, {"context": "copy"}])
def test_many_threads_submitting_cancelling_waiting(options):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    ran = []

    def use(pool, seed):
        for n in range(150):
            future = pool.submit(ran.append, (seed, n))
            match n % 5:
                case 0:
                    future.cancel()
                case 1:
                    future.result(60)
                case 2:
                    futures.wait([future, pool.submit(int)], timeout=60)
                case 3:
                    assert list(pool.map(abs, range(-5, 0), timeout=60)) == [5, 4, 3, 2, 1]
                case 4:
                    future.add_done_callback(lambda f: f.cancelled() or f.result())

    try:
        with ThreadPoolExecutor(3, **options) as pool, futures.ThreadPoolExecutor(4) as users:
            for user in [users.submit(use, pool, seed) for seed in range(4)]:
                user.result(110)
    finally:
        sys.setswitchinterval(interval)
    # Four in five were never cancelled.
    assert len(set(ran)) == len(ran) >= 4 * 120
    found = pool.statistics()
    assert found.queued == 0
    assert found.submitted == found.completed
    assert found.threads == 0


def test_resizing_while_working():
    with ThreadPoolExecutor(1) as pool:
        results = []
        for n in range(200):
            pool.resize(1 + n % 4)
            results.append(pool.submit(int, n))
        assert [future.result(60) for future in results] == list(range(200))


# ---- green threads ---------------------------------------------------------------------------------------------


def test_green_threads_wait_for_futures_without_their_worker(pool, gate):
    order = []

    def wait_for_it(future):
        order.append(future.result())

    def main():
        future = pool.submit(gate, "result")
        waiting = [filar.spawn(wait_for_it, future) for _ in range(3)]
        results = filar.spawn(lambda: order.extend(pool.map(gate, [1, 2])))
        filar.yield_()
        order.append("first")
        gate.open.set()
        for green in [*waiting, results]:
            green.join()

    filar.run(main, workers=1)
    assert order[0] == "first"
    assert sorted(map(str, order[1:])) == ["1", "2", "result", "result", "result"]


def test_cancelled_green_thread_leaves_the_wait_and_the_future(pool, gate):
    future = pool.submit(gate, 5)

    def main():
        waiting = filar.spawn(future.result)
        filar.yield_()
        waiting.cancel()
        with pytest.raises(filar.JoinCancelledError):
            waiting.join()

    filar.run(main, workers=1)
    gate.open.set()
    assert future.result(60) == 5
