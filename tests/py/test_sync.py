"""Locks, conditions and counters: what the standard suites (test_sync_conformance.py) do not ask."""

import copy
import doctest
import gc
import pickle
import random
import sys
import threading
import time
import weakref

import pytest

import filar
import filar.queue
import filar.sync
from states import wait_until

LOCKS = [filar.Lock, filar.RLock]
MADE = {
    "Lock": filar.Lock,
    "RLock": filar.RLock,
    "Condition": filar.Condition,
    "Semaphore": filar.Semaphore,
    "BoundedSemaphore": filar.BoundedSemaphore,
    "Event": filar.Event,
    "Latch": lambda: filar.Latch(1),
    "WaitGroup": filar.WaitGroup,
    "RWLock": filar.RWLock,
    "Barrier": lambda: filar.Barrier(2),
    "Queue": filar.Queue,
    "LifoQueue": filar.LifoQueue,
    "PriorityQueue": filar.PriorityQueue,
    "SimpleQueue": filar.SimpleQueue,
    "Channel": filar.Channel,
}


def run_threads(*bodies):
    """Runs the bodies at once; raises the first failure of any."""
    failures = []

    def guarded(body):
        try:
            body()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# ---- examples ----


@pytest.mark.parametrize("name", [*MADE, "select"])
def test_examples_of_the_docstrings_are_true(name):
    thing = getattr(filar, name)
    tests = doctest.DocTestFinder(recurse=False).find(thing, name, globs=dict(vars(filar)))
    assert sum(len(test.examples) for test in tests) > 0
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL | doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("name", MADE)
def test_every_public_method_says_what_it_does(name):
    kind = getattr(filar, name)
    public = [method for method in dir(kind) if not method.startswith("_")]
    assert kind.__doc__
    assert [method for method in public if not getattr(kind, method).__doc__ and method != "maxsize"] == []


# ---- objects as Python knows them ----


@pytest.mark.parametrize("name", MADE)
def test_cannot_be_pickled_or_copied(name):
    made = MADE[name]()
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"pickle|copy"):
            attempt(made)


@pytest.mark.parametrize("name", MADE)
def test_weak_references_end_with_the_object(name):
    made = MADE[name]()
    weak = weakref.ref(made)
    assert weak() is made
    del made
    gc.collect()
    assert weak() is None


@pytest.mark.parametrize("name", MADE)
def test_a_subclass_adds_arguments_and_attributes(name):
    kind = getattr(filar, name)
    needs = {"Latch": (1,), "Barrier": (2,)}.get(name, ())

    class Sub(kind):
        def __init__(self, label):
            super().__init__(*needs)
            self.label = label
            self.me = self

    weak = weakref.ref(made := Sub("mine"))
    assert made.label == "mine"
    assert isinstance(made, kind)
    del made
    gc.collect()
    assert weak() is None


@pytest.mark.parametrize(
    "kind", [filar.Lock, filar.RLock, filar.Event, filar.WaitGroup, filar.SimpleQueue, filar.RWLock]
)
def test_arguments_that_mean_nothing_are_refused(kind):
    with pytest.raises(TypeError, match="no arguments"):
        kind(1)


@pytest.mark.parametrize("name", MADE)
def test_a_million_made_and_dropped_leave_nothing(name):
    def resident():
        # Counted page by page: the figure of statm lags behind by some pages for each CPU and thread.
        with open("/proc/self/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith("Rss:")) * 1024

    count = 100_000 if name in ("Lock", "SimpleQueue", "Channel", "Queue") else 20_000
    make = MADE[name]
    for _ in range(1000):
        make()
    gc.collect()
    before = resident()
    for _ in range(count):
        make()
    gc.collect()
    # Each is some 100 bytes or more: had they stayed, that would be several times as much.
    assert resident() - before < count * 20


# ---- arguments ----


@pytest.mark.parametrize("kind", LOCKS)
def test_wrong_arguments_of_acquire_are_named(kind):
    lock = kind()
    with pytest.raises(TypeError, match="'sleep'"):
        lock.acquire(sleep=1)
    with pytest.raises(TypeError, match="multiple values for argument 'blocking'"):
        lock.acquire(True, blocking=True)
    with pytest.raises(TypeError, match="at most 2"):
        lock.acquire(True, 1, 2)
    with pytest.raises(TypeError):
        lock.acquire(timeout="1")
    with pytest.raises(ValueError, match="NaN"):
        lock.acquire(timeout=float("nan"))
    assert not lock.locked()


def test_a_wait_for_nan_leaves_nobody_in_a_conditions_queue():
    condition, inside, woken = filar.Condition(), [], []
    with condition:
        with pytest.raises(ValueError, match="NaN"):
            condition.wait(float("nan"))
        with pytest.raises(ValueError, match="NaN"):
            condition.wait_for(lambda: False, float("nan"))

    def waits():
        with condition:
            inside.append(True)
            woken.append(condition.wait())

    def notifies_one():
        while True:
            with condition:
                if inside:
                    condition.notify()
                    return
            time.sleep(0.001)

    run_threads(waits, notifies_one)
    assert woken == [True]


def test_counts_out_of_range_are_refused_and_change_nothing():
    with pytest.raises(ValueError, match="semaphore initial value must be >= 0"):
        filar.Semaphore(-1)
    with pytest.raises(ValueError, match="not 1152921504606846976"):
        filar.Semaphore(2**60)
    with pytest.raises(TypeError):
        filar.Semaphore(1.5)
    with pytest.raises(ValueError, match="n must be >= 1"):
        filar.Semaphore().release(0)
    with pytest.raises(ValueError, match="count must be >= 0"):
        filar.Latch(-1)
    latch = filar.Latch(2)
    with pytest.raises(filar.WrongStateError, match="3 cannot arrive"):
        latch.count_down(3)
    assert latch.missing == 2
    group = filar.WaitGroup()
    with pytest.raises(filar.WrongStateError):
        group.done()


@pytest.mark.parametrize("timeout", [0, -1, 1e-9, 0.001])
def test_short_timeouts_end_without_having_taken_anything(timeout):
    event, semaphore, latch = filar.Event(), filar.Semaphore(0), filar.Latch(1)
    assert event.wait(timeout) is False
    assert semaphore.acquire(timeout=timeout) is False
    assert latch.wait(timeout) is False
    assert semaphore._value == 0


@pytest.mark.parametrize("timeout", [1e12, float("inf")])
def test_a_timeout_beyond_all_time_is_none(timeout):
    event = filar.Event()
    run_threads(lambda: event.wait(timeout), event.set)


# ---- locks ----


def test_an_rlock_belongs_to_its_thread():
    lock = filar.RLock()
    lock.acquire()
    lock.acquire()

    def other():
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.001)
        with pytest.raises(filar.WrongStateError, match="cannot unlock it"):
            lock.release()
        assert not lock._is_owned()

    run_threads(other)
    lock.release()
    assert lock._is_owned()
    assert "count=1" in repr(lock)
    lock.release()
    assert not lock.locked()


@pytest.mark.parametrize("with_main_thread", [False, True])
def test_a_circle_of_rlocks_is_found_and_named(with_main_thread):
    first, second = filar.RLock(), filar.RLock()
    both = threading.Barrier(2)
    found = []

    def body(one, other):
        with one:
            both.wait()
            try:
                with other:
                    pass
            except filar.DeadlockError as error:
                found.append(str(error))

    bodies = [lambda: body(first, second), lambda: body(second, first)]
    if with_main_thread:
        thread = threading.Thread(target=bodies[0])
        thread.start()
        bodies[1]()
        thread.join()
    else:
        run_threads(*bodies)
    # One of the two closes the circle and hears of it; it lets go, and the other one gets its lock.
    assert len(found) == 1
    assert found[0].count("kernel thread") >= 2
    assert not first.locked()
    assert not second.locked()


def test_a_lock_released_by_another_thread_wakes_its_waiter():
    lock = filar.Lock()
    lock.acquire()
    taken = []
    waiter = threading.Thread(target=lambda: taken.append(lock.acquire()))
    waiter.start()
    run_threads(lock.release)
    waiter.join()
    assert taken == [True]
    assert lock.locked()
    lock.release()
    with pytest.raises(RuntimeError, match="release unlocked lock"):
        lock.release()


@pytest.mark.parametrize("kind", [*LOCKS, filar.Semaphore, lambda: filar.RWLock().write])
def test_stress_one_at_a_time(kind):
    """Hunts two holders at once: between a release, a newcomer and one that was woken."""
    lock, inside, entered = kind(), [], []

    def body(seed):
        chance = random.Random(seed)
        for _ in range(400):
            how = chance.randrange(3)
            if how == 0:
                lock.acquire()
            elif (how == 1 and not lock.acquire(timeout=chance.random() / 1000)) or (
                how == 2 and not lock.acquire(blocking=False)
            ):
                continue
            inside.append(seed)
            assert inside == [seed]
            if chance.random() < 0.2:
                time.sleep(0)
            assert inside.pop() == seed
            entered.append(seed)
            lock.release()

    run_threads(*[lambda seed=seed: body(seed) for seed in range(6)])
    assert inside == []
    assert len(entered) >= 6 * 100


def test_stress_readers_together_a_writer_alone():
    lock, readers, writers, most = filar.RWLock(), [], [], [0]

    def read(seed):
        for _ in range(300):
            with lock.read:
                readers.append(seed)
                assert not writers
                most[0] = max(most[0], len(readers))
                time.sleep(0)
                readers.remove(seed)

    def write(seed):
        for _ in range(100):
            with lock.write:
                writers.append(seed)
                assert writers == [seed]
                assert not readers
                writers.pop()

    run_threads(*[lambda seed=seed: read(seed) for seed in range(4)], lambda: write(8), lambda: write(9))
    assert not lock.read.locked()
    assert not lock.write.locked()
    assert repr(lock).endswith("readers=0, writers=0>")


def test_a_writer_that_asks_itself_hears_of_it():
    lock = filar.RWLock()
    with lock.write:
        assert lock.write.locked()
        for side in (lock.read, lock.write):
            with pytest.raises(filar.DeadlockError, match="would wait for itself"):
                side.acquire()
    with pytest.raises(filar.WrongStateError):
        lock.write.release()
    with pytest.raises(filar.WrongStateError):
        lock.read.release()


def test_a_side_keeps_its_lock_alive():
    side = filar.RWLock().read
    gc.collect()
    with side:
        assert side.locked()
    with pytest.raises(TypeError):
        type(side)()


# ---- conditions ----


def test_a_notification_wakes_exactly_as_many_as_it_says():
    condition, woken = filar.Condition(filar.Lock()), []

    def body():
        with condition:
            condition.wait()
            woken.append(1)

    threads = [threading.Thread(target=body) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: repr(condition).endswith(", 5)>"))
    for count in (2, 0, -1):
        with condition:
            condition.notify(count)
    wait_until(lambda: len(woken) == 2)
    assert repr(condition).endswith(", 3)>")
    with condition:
        condition.notify_all()
    for thread in threads:
        thread.join()
    assert len(woken) == 5


def test_a_condition_refuses_who_does_not_hold_the_lock():
    condition = filar.Condition()
    for refused in (condition.wait, condition.notify, condition.notify_all, lambda: condition.wait_for(lambda: False)):
        with pytest.raises(RuntimeError, match="un-acquired lock"):
            refused()


def test_a_wait_gives_back_an_rlock_as_deep_as_it_was():
    lock = filar.RLock()
    condition = filar.Condition(lock)
    with lock, lock, lock:
        assert condition.wait(0.001) is False
        assert lock._recursion_count() == 3
    assert not lock.locked()


class _Stubborn:
    """A lock that cannot be let go of."""

    def acquire(self, *_):
        return False

    def release(self):
        raise OSError("stuck")


def test_a_lock_that_fails_leaves_nobody_in_the_queue():
    condition = filar.Condition(_Stubborn())
    with pytest.raises(OSError, match="stuck"):
        condition.wait()
    assert repr(condition).endswith(", 0)>")
    with pytest.raises(AttributeError):
        filar.Condition(object()).wait()


def test_stress_each_notification_is_somebodys():
    """Hunts a lost notification: a token given under the lock is taken, however waits end."""
    condition, tokens, taken = filar.Condition(), [], []
    total = 600

    def take(seed):
        chance = random.Random(seed)
        while True:
            with condition:
                while not tokens:
                    condition.wait(chance.random() / 500 if chance.random() < 0.5 else None)
                token = tokens.pop()
                if token is None:
                    return
                taken.append(token)

    def give():
        for token in range(total):
            with condition:
                tokens.append(token)
                condition.notify()
        for _ in range(4):
            with condition:
                tokens.insert(0, None)
                condition.notify()

    run_threads(*[lambda seed=seed: take(seed) for seed in range(4)], give)
    assert sorted(taken) == list(range(total))


# ---- counters ----


def test_stress_a_semaphore_lets_in_so_many():
    semaphore, inside, most = filar.BoundedSemaphore(3), [], [0]

    def body(seed):
        chance = random.Random(seed)
        for _ in range(200):
            if semaphore.acquire(timeout=chance.random() / 200):
                inside.append(seed)
                most[0] = max(most[0], len(inside))
                time.sleep(0)
                inside.remove(seed)
                semaphore.release()

    run_threads(*[lambda seed=seed: body(seed) for seed in range(8)])
    assert 0 < most[0] <= 3
    assert semaphore._value == 3
    with pytest.raises(ValueError, match="too many times"):
        semaphore.release()


def test_several_units_wake_several():
    semaphore = filar.Semaphore(0)
    threads = [threading.Thread(target=semaphore.acquire) for _ in range(4)]
    for thread in threads:
        thread.start()
    semaphore.release(n=5)
    for thread in threads:
        thread.join()
    assert semaphore._value == 1


def test_latch_and_waitgroup_open_for_all_at_once():
    latch, group, order = filar.Latch(3), filar.WaitGroup(), []
    group.add(4)

    def body():
        latch.wait()
        order.append("open")
        group.done()

    threads = [threading.Thread(target=body) for _ in range(4)]
    for thread in threads:
        thread.start()
    latch.count_down(2)
    assert order == []
    latch.count_down()
    assert group.wait(timeout=60)
    assert order == ["open"] * 4
    for thread in threads:
        thread.join()
    group.add()
    assert not group.wait(timeout=0)


def test_what_threads_wait_for_cannot_begin_anew():
    semaphore, latch, queue, channel = filar.Semaphore(0), filar.Latch(1), filar.Queue(), filar.Channel()
    threads = [threading.Thread(target=wait) for wait in (semaphore.acquire, latch.wait, queue.get, channel.receive)]
    for thread in threads:
        thread.start()
    for again in (
        lambda: semaphore.__init__(0),
        lambda: latch.__init__(1),
        queue.__init__,
        lambda: channel.__init__(2),
    ):
        wait_until(lambda again=again: _is_refused(again))
    semaphore.release()
    latch.count_down()
    queue.put(1)
    channel.send(1)
    for thread in threads:
        thread.join()


def _is_refused(again):
    try:
        again()
    except RuntimeError:
        return True
    return False


# ---- barriers ----


def test_stress_a_barrier_keeps_its_rounds_apart():
    parties, rounds = 4, 100
    barrier, seen = filar.Barrier(parties), [[] for _ in range(rounds)]

    def body():
        for place in range(rounds):
            seen[place].append(barrier.wait())
            # Everybody is in this round: nobody can be two rounds ahead.
            assert all(len(later) == 0 for later in seen[place + 2 :])

    run_threads(*[body] * parties)
    assert all(sorted(indices) == list(range(parties)) for indices in seen)


def test_an_action_that_fails_breaks_the_barrier_for_all():
    def fail():
        raise ZeroDivisionError

    barrier = filar.Barrier(2, action=fail)
    outcomes = []

    def body():
        try:
            barrier.wait()
        except (ZeroDivisionError, filar.BrokenBarrierError) as error:
            outcomes.append(type(error))

    run_threads(body, body)
    assert sorted(kind.__name__ for kind in outcomes) == ["BrokenBarrierError", "ZeroDivisionError"]
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken
    assert "waiters=0/2" in repr(barrier)


def test_a_barrier_that_one_leaves_breaks_for_those_who_wait_and_those_who_come():
    barrier, outcomes = filar.Barrier(3), []

    def body():
        with pytest.raises(filar.BrokenBarrierError):
            barrier.wait()
        outcomes.append("broken")

    thread = threading.Thread(target=body)
    thread.start()
    wait_until(lambda: barrier.n_waiting == 1)
    assert "waiters=1/3" in repr(barrier)
    with pytest.raises(filar.BrokenBarrierError):
        barrier.wait(0.001)
    thread.join()
    body()
    assert outcomes == ["broken"] * 2
    assert repr(barrier).endswith(": broken>")
    with pytest.raises(filar.BrokenBarrierError):
        filar.Barrier(2, timeout=0.001).wait()


def test_what_is_here_says_where_it_is_from():
    for name in MADE:
        assert getattr(filar, name).__module__ == "filar"
    assert sys.getrefcount(filar.Lock) > 1
