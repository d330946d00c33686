"""Queues: what test_queue of the standard library (test_sync_conformance.py) does not ask."""

import gc
import itertools
import queue
import random
import signal
import sys
import threading
import time
import weakref

import pytest

import filar
from states import wait_until
from test_sync import run_threads

QUEUES = [filar.Queue, filar.LifoQueue, filar.PriorityQueue, filar.SimpleQueue]
BOUNDED = QUEUES[:3]


class Thing:
    """Something that can be referred to weakly, and ordered."""

    def __lt__(self, other):
        return id(self) < id(other)


# ---- references ----


@pytest.mark.parametrize("kind", QUEUES)
def test_an_item_has_one_owner_after_another(kind):
    items, thing = kind(), Thing()
    before = sys.getrefcount(thing)
    items.put(thing)
    assert sys.getrefcount(thing) == before + 1
    assert items.get() is thing
    assert sys.getrefcount(thing) == before


@pytest.mark.parametrize("kind", BOUNDED)
def test_what_was_not_put_stays_the_callers(kind):
    items, thing = kind(1), Thing()
    items.put(Thing())
    before = sys.getrefcount(thing)
    with pytest.raises(queue.Full):
        items.put_nowait(thing)
    with pytest.raises(queue.Full):
        items.put(thing, timeout=0.001)
    items.shutdown()
    with pytest.raises(filar.ShutDown):
        items.put(thing)
    assert sys.getrefcount(thing) == before
    assert items.unfinished_tasks == 1


@pytest.mark.parametrize("kind", QUEUES)
@pytest.mark.parametrize("end", ["drop", "shutdown", "cycle"])
def test_items_left_over_are_let_go_of(kind, end):
    items = kind()
    things = [weakref.ref(thing) for thing in [Thing(), Thing(), Thing()] if items.put(thing) is None]
    if end == "shutdown":
        if kind is filar.SimpleQueue:
            return
        items.shutdown(immediate=True)
    elif end == "cycle":
        items.put(items) if kind is not filar.PriorityQueue else setattr(items, "me", items)
        del items
    else:
        del items
    gc.collect()
    assert [thing() for thing in things] == [None] * 3


@pytest.mark.parametrize("kind", [filar.Queue, filar.SimpleQueue, lambda: filar.Channel(None)])
def test_a_queue_in_itself_is_collected(kind):
    first, second = kind(), kind()
    put = "send" if hasattr(first, "send") else "put"
    getattr(first, put)(second)
    getattr(second, put)([first])
    weak = weakref.ref(first), weakref.ref(second)
    del first, second
    gc.collect()
    assert [end() for end in weak] == [None, None]


def test_a_finalizer_may_put_into_the_queue_that_drops_it():
    items = filar.Queue()

    class Restless:
        left = 5

        def __del__(self):
            if Restless.left:
                Restless.left -= 1
                items.put(Restless())

    items.put(Restless())
    items.__init__(7)
    assert Restless.left == 0
    assert (items.qsize(), items.maxsize, items.unfinished_tasks) == (0, 7, 0)


# ---- shapes ----


def test_the_exceptions_are_those_of_the_queue_module():
    with pytest.raises(queue.Empty):
        filar.SimpleQueue().get(timeout=0)
    with pytest.raises(queue.Empty):
        filar.LifoQueue().get_nowait()
    full = filar.Queue(1)
    full.put(1)
    with pytest.raises(queue.Full):
        full.put(2, block=False)
    if sys.version_info >= (3, 13):
        assert filar.ShutDown is queue.ShutDown


@pytest.mark.parametrize("kind", BOUNDED)
def test_the_last_items_of_a_queue_that_was_shut_down_can_be_got(kind):
    items = kind(3)
    items.put(1)
    items.put(2)
    items.shutdown()
    items.shutdown()
    assert items.is_shutdown
    assert sorted([items.get(), items.get()]) == [1, 2]
    with pytest.raises(filar.ShutDown):
        items.get()
    assert items.unfinished_tasks == 2
    items.task_done()
    items.task_done()
    items.join()
    with pytest.raises(ValueError, match="too many times"):
        items.task_done()


@pytest.mark.parametrize("kind", BOUNDED)
@pytest.mark.parametrize("immediate", [False, True])
def test_a_shutdown_wakes_all_that_wait(kind, immediate):
    full, empty, outcomes = kind(1), kind(), []
    full.put(0)

    def wait(call):
        try:
            call()
        except filar.ShutDown:
            outcomes.append("shut down")

    threads = [
        threading.Thread(target=wait, args=(call,))
        for call in [lambda: full.put(1), lambda: full.put(2, timeout=600), empty.get, lambda: empty.get(timeout=600)]
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.01)
    full.shutdown(immediate)
    empty.shutdown(immediate)
    for thread in threads:
        thread.join()
    assert outcomes == ["shut down"] * 4
    assert full.qsize() == (0 if immediate else 1)


def test_a_subclass_with_hooks_is_asked_also_through_super():
    class Odd(filar.Queue):
        def _put(self, item):
            super()._put(item * 2)

        def put(self, item, *args, **kwargs):
            super().put(item + 1, *args, **kwargs)

    odd = Odd(2)
    odd.put(1)
    odd.put(2, timeout=1)
    assert (odd.full(), odd.qsize(), odd.empty(), odd.unfinished_tasks) == (True, 2, False, 2)
    assert [odd.get(), odd.get_nowait()] == [4, 6]
    with odd.mutex:
        assert not odd.queue


def test_a_subclass_with_hooks_that_was_never_begun_says_so():
    class Unbegun(filar.PriorityQueue):
        def __init__(self):
            pass

    with pytest.raises(AttributeError, match="mutex"):
        Unbegun().put(1)


def test_a_subclass_without_hooks_stays_fast():
    class Named(filar.Queue):
        pass

    named = Named(1)
    named.put_nowait(1)
    assert not hasattr(named, "mutex")
    assert named.full()


def test_an_order_that_fails_leaves_the_queue_as_usable_as_the_standard_one():
    items = filar.PriorityQueue()
    items.put(1)
    with pytest.raises(TypeError):
        items.put("a")
    assert items.mutex.locked() is False
    assert items.get() == 1


def test_generic_aliases_work():
    assert filar.Queue[int](3).maxsize == 3
    assert filar.Channel[int](3).capacity == 3
    assert filar.SimpleQueue[int]().empty()


# ---- many at once ----


@pytest.mark.parametrize("kind", QUEUES)
@pytest.mark.parametrize("size", [0, 1, 7])
def test_stress_every_item_comes_out_once(kind, size):
    """Hunts items lost or doubled between a hand-over, a timeout and a wait that ends."""
    items = kind() if kind is filar.SimpleQueue else kind(size)
    total, producers, consumers = 300, 3, 3
    numbers, got = itertools.count(), []
    limit = total * producers

    def produce(seed):
        chance = random.Random(seed)
        for _ in range(total):
            number = next(numbers)
            while True:
                try:
                    items.put(number, timeout=chance.choice([None, 0, 0.0005]))
                    break
                except queue.Full:
                    continue

    def consume(seed):
        chance = random.Random(seed)
        while True:
            try:
                number = items.get(timeout=chance.choice([0.0005, 0, 0.05]))
            except queue.Empty:
                if len(got) >= limit:
                    return
                continue
            got.append(number)
            if kind is not filar.SimpleQueue:
                items.task_done()

    run_threads(
        *[lambda seed=seed: produce(seed) for seed in range(producers)],
        *[lambda seed=seed: consume(seed + 100) for seed in range(consumers)],
    )
    assert sorted(got) == list(range(limit))
    if kind is not filar.SimpleQueue:
        items.join()
        assert items.unfinished_tasks == 0


def test_one_producer_and_one_consumer_keep_the_order():
    items, got = filar.Queue(3), []

    def consume():
        got.extend(iter(items.get, None))

    run_threads(consume, lambda: [items.put(n) for n in [*range(2000), None]])
    assert got == list(range(2000))


def test_join_ends_when_the_last_is_done():
    items, done = filar.Queue(), []
    for n in range(20):
        items.put(n)

    def work():
        while True:
            try:
                item = items.get_nowait()
            except queue.Empty:
                return
            done.append(item)
            items.task_done()

    run_threads(work, work, lambda: (items.join(), done.append("joined")))
    assert done[-1] == "joined"
    assert len(done) == 21


# ---- signals ----


def test_stress_signals_lose_no_item():
    """A timer interrupts the waits of the main thread; its handler puts and gets on its own account."""
    items, asides, total = filar.Queue(2), filar.SimpleQueue(), 1500
    rung = itertools.count()

    def ring(*_):
        next(rung)
        asides.put("rung")
        assert asides.get() == "rung"

    previous = signal.signal(signal.SIGALRM, ring)
    producer = threading.Thread(target=lambda: [items.put(n) for n in range(total)])
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        producer.start()
        got = []
        while len(got) < total:
            got.append(items.get())
            if len(got) % 100 == 0:
                time.sleep(0.002)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    producer.join()
    assert got == list(range(total))
    assert next(rung) > 0


WAITS = """
    Lock RLock Semaphore Event Condition Queue.get Queue.put Queue.join LifoQueue.get Channel.send Channel.receive
    select Barrier RWLock Latch WaitGroup
"""


class RungError(Exception):
    """What a handler raises."""


@pytest.mark.parametrize("name", WAITS.split())
def test_an_exception_of_a_handler_ends_the_wait_and_takes_nothing(name):
    """Every kind of wait, in the main thread, again and again; afterwards the object works as before."""
    wait, works = _waits()[name]

    def raise_it(*_):
        raise RungError

    def rung_while_waiting():
        signal.setitimer(signal.ITIMER_REAL, 0.002)
        wait()

    previous = signal.signal(signal.SIGALRM, raise_it)
    try:
        for _ in range(5):
            with pytest.raises(RungError):
                rung_while_waiting()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    works()


def _waits():
    """Name -> (a call that waits for ever, a check that nothing was taken and all still works)."""
    lock, rlock, semaphore, event, condition = filar.Lock(), filar.RLock(), filar.Semaphore(0), filar.Event(), None
    condition = filar.Condition()
    lock.acquire()
    run_threads(rlock.acquire)
    empty, full, lifo = filar.Queue(), filar.Queue(1), filar.LifoQueue()
    full.put(0)
    channel, other = filar.Channel(), filar.Channel()
    barrier, rwlock, latch, group = filar.Barrier(2), filar.RWLock(), filar.Latch(1), filar.WaitGroup()
    run_threads(rwlock.write.acquire)
    group.add()

    def hand_over(items):
        run_threads(lambda: items.put(1), lambda: _expect(items.get(), 1))

    def with_condition():
        with condition:
            condition.wait()

    return {
        "Lock": (lock.acquire, lambda: (lock.release(), _expect(lock.acquire(False), True))),
        "RLock": (rlock.acquire, lambda: _expect(rlock._is_owned(), False)),
        "Semaphore": (semaphore.acquire, lambda: (semaphore.release(), _expect(semaphore._value, 1))),
        "Event": (event.wait, lambda: (event.set(), _expect(event.wait(), True))),
        "Condition": (with_condition, lambda: _expect(repr(condition).endswith(", 0)>"), True)),
        "Queue.get": (empty.get, lambda: hand_over(empty)),
        "Queue.put": (lambda: full.put(1), lambda: _expect((full.qsize(), full.unfinished_tasks), (1, 1))),
        "Queue.join": (full.join, lambda: (full.task_done(), full.join())),
        "LifoQueue.get": (lifo.get, lambda: hand_over(lifo)),
        "Channel.send": (
            lambda: channel.send(1),
            lambda: run_threads(lambda: channel.send(2), lambda: _expect(channel.receive(), 2)),
        ),
        "Channel.receive": (
            channel.receive,
            lambda: run_threads(lambda: channel.send(2), lambda: _expect(channel.receive(), 2)),
        ),
        "select": (
            lambda: filar.select(channel, (other, 1)),
            lambda: run_threads(lambda: channel.send(2), lambda: _expect(filar.select(channel, other), (0, 2))),
        ),
        "Barrier": (
            lambda: (barrier.reset(), barrier.wait()),
            lambda: (barrier.reset(), run_threads(barrier.wait, barrier.wait)),
        ),
        "RWLock": (rwlock.read.acquire, lambda: _expect(rwlock.write.locked(), True)),
        "Latch": (latch.wait, lambda: (latch.count_down(), _expect(latch.wait(), True))),
        "WaitGroup": (group.wait, lambda: (group.done(), _expect(group.wait(), True))),
    }


def _expect(found, wanted):
    assert found == wanted


@pytest.mark.parametrize("name", WAITS.split())
def test_a_signal_that_interrupts_no_sleep_is_looked_for(name):
    """It came to another thread, or just before the main one slept: its handler runs, soon enough, all the same."""
    wait, works = _waits()[name]
    gate = threading.Lock()

    def raise_it(_number, _frame):
        raise RungError

    def ring():
        with gate:
            signal.raise_signal(signal.SIGALRM)

    def rung_while_waiting():
        # One call of C: the handler runs after it, and in no other code of the standard library.
        gate.release()
        wait()

    gate.acquire()
    ringer = threading.Thread(target=ring)
    ringer.start()
    previous = signal.signal(signal.SIGALRM, raise_it)
    try:
        with pytest.raises(RungError):
            rung_while_waiting()
        ringer.join()
    finally:
        signal.signal(signal.SIGALRM, previous)
    works()


def test_a_handler_may_take_the_lock_that_it_interrupts_a_wait_for():
    lock, taken, rung = filar.Lock(), [], threading.Event()
    lock.acquire()

    def handler(*_):
        rung.set()
        with lock:
            taken.append("handler")

    def ring():
        # Held meanwhile: main waits for it, or soon will.  Nobody lets go before the handler has begun.
        time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)
        rung.wait()
        time.sleep(0.01)
        lock.release()

    previous = signal.signal(signal.SIGALRM, handler)
    ringer = threading.Thread(target=ring)
    try:
        ringer.start()
        with lock:
            taken.append("main")
    finally:
        signal.signal(signal.SIGALRM, previous)
    ringer.join()
    assert taken == ["handler", "main"]


def test_a_handler_hears_a_condition_that_stays_in_the_queue():
    """A notification that comes while the handler runs is not missed."""
    condition, notified = filar.Condition(), []

    def notify(*_):
        with condition:
            condition.notify()
        notified.append(1)

    def ring():
        wait_until(lambda: repr(condition).endswith(", 1)>"))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    previous = signal.signal(signal.SIGALRM, lambda *_: run_threads(notify))
    ringer = threading.Thread(target=ring)
    try:
        ringer.start()
        with condition:
            assert condition.wait()
    finally:
        signal.signal(signal.SIGALRM, previous)
    ringer.join()
    assert notified == [1]
    wait_until(lambda: not condition._is_owned())
