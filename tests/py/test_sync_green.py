"""Locks, queues and channels between green threads, and between green and kernel threads."""

import contextlib
import gc
import random
import sys
import threading
import time

import pytest

import filar
from states import wait_until_parked
from test_sync import run_threads

WORKERS = [1, 2]


def on_green(workers, body, *args):
    return filar.run(body, *args, workers=workers)


class Thing:
    """Something whose references can be counted."""


@pytest.mark.parametrize("workers", WORKERS)
def test_an_rlock_belongs_to_a_green_thread_not_to_its_worker(workers):
    lock, log, tried = filar.RLock(), [], []

    def other():
        assert not lock._is_owned()
        assert not lock.acquire(blocking=False)
        with pytest.raises(filar.WrongStateError, match="green thread"):
            lock.release()
        tried.append(True)
        with lock:
            log.append("other")

    def main():
        with lock, lock:
            green = filar.spawn(other)
            while not tried and not green.done():
                filar.yield_()
            log.append("main")
        green.join()

    on_green(workers, main)
    assert log == ["main", "other"]


def test_a_circle_of_green_threads_is_found_and_named():
    first, second, ready, found = filar.RLock(), filar.RLock(), filar.Barrier(2), []

    def body(one, other):
        with one:
            ready.wait()
            try:
                with other:
                    pass
            except filar.DeadlockError as error:
                found.append(str(error))

    def main():
        with filar.TaskGroup() as group:
            group.spawn(body, first, second)
            group.spawn(body, second, first)

    on_green(1, main)
    assert len(found) == 1
    assert found[0].count("green thread") >= 2


def test_a_circle_across_green_and_kernel_threads_is_found():
    first, second, ready, found = filar.RLock(), filar.RLock(), filar.Barrier(2), []

    def body(one, other):
        with one:
            ready.wait()
            try:
                with other:
                    pass
            except filar.DeadlockError as error:
                found.append(str(error))

    run_threads(lambda: body(first, second), lambda: on_green(1, body, second, first))
    assert len(found) == 1
    assert "green thread" in found[0]
    assert "kernel thread" in found[0]


def test_a_wait_leaves_the_worker_to_others():
    """On one worker: whoever waits for something parks, and what wakes it runs there."""
    done = []

    def main():
        condition = filar.Condition()
        event, latch, group, semaphore = filar.Event(), filar.Latch(1), filar.WaitGroup(), filar.Semaphore(0)
        rwlock, barrier, queue, full, jobs, channel, late = (
            filar.RWLock(),
            filar.Barrier(2),
            filar.PriorityQueue(),
            filar.Queue(1),
            filar.Queue(),
            filar.Channel(),
            filar.Channel(),
        )
        group.add()
        full.put(0)
        jobs.put(0)
        rwlock.write.acquire()

        def with_condition():
            with condition:
                assert condition.wait(60)

        waits = [
            event.wait,
            latch.wait,
            group.wait,
            semaphore.acquire,
            rwlock.read.acquire,
            barrier.wait,
            queue.get,
            lambda: full.put(1),
            jobs.join,
            channel.receive,
            lambda: filar.select(late),
            with_condition,
        ]
        greens = [filar.spawn(lambda wait=wait: done.append(wait())) for wait in waits]
        wait_until_parked(*greens)
        assert done == []
        event.set()
        latch.count_down()
        group.done()
        semaphore.release()
        rwlock.write.release()
        barrier.wait()
        queue.put(1)
        full.get()
        jobs.get()
        jobs.task_done()
        channel.send(1)
        filar.select((late, 1))
        with condition:
            condition.notify_all()
        for green in greens:
            green.join()
        return len(waits)

    assert on_green(1, main) == len(done)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_cancelled_wait_takes_nothing_and_loses_nothing(workers):
    def main():
        lock, semaphore, queue, full, channel = (
            filar.Lock(),
            filar.Semaphore(0),
            filar.Queue(),
            filar.Queue(1),
            filar.Channel(),
        )
        condition, thing = filar.Condition(), Thing()
        lock.acquire()
        full.put(0)

        def with_condition():
            with condition:
                try:
                    condition.wait()
                finally:
                    assert condition._is_owned()

        before = sys.getrefcount(thing)
        waits = [lock.acquire, semaphore.acquire, queue.get, lambda: full.put(thing), lambda: channel.send(thing),
                 channel.receive, lambda: filar.select(channel, (filar.Channel(), thing)), with_condition]  # fmt: skip
        # One at a time: a sender and a receiver would find each other.
        for wait in waits:
            green = filar.spawn(wait)
            wait_until_parked(green)
            green.cancel()
            with pytest.raises(filar.JoinCancelledError):
                green.join()
        del green, wait, waits
        gc.collect()
        assert sys.getrefcount(thing) == before
        lock.release()
        assert lock.acquire(blocking=False)
        assert (semaphore._value, queue.qsize(), full.qsize(), full.unfinished_tasks) == (0, 0, 1, 1)
        assert repr(condition).endswith(", 0)>")
        with pytest.raises(filar.BusyError):
            channel.receive_nowait()

    on_green(workers, main)


def test_a_timeout_scope_ends_a_wait():
    def main():
        queue = filar.Queue()
        with pytest.raises(TimeoutError):
            with filar.timeout(0.01):
                queue.get()
        queue.put(1)
        assert queue.get() == 1

    on_green(1, main)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("make", [lambda: filar.Queue(2), lambda: filar.LifoQueue(2), filar.SimpleQueue])
def test_stress_green_and_kernel_threads_share_a_queue(workers, make):
    queue, total, got = make(), 400, []

    def produce(base):
        for n in range(total):
            queue.put(base + n)

    def consume():
        while True:
            item = queue.get()
            if item is None:
                return
            got.append(item)

    def greens(*bodies):
        with filar.TaskGroup() as group:
            for body, *args in bodies:
                group.spawn(body, *args)

    def producers():
        run_threads(
            lambda: on_green(workers, greens, (produce, 0), (produce, 1000)),
            lambda: produce(2000),
            lambda: produce(3000),
        )

    consumers = threading.Thread(
        target=run_threads, args=(lambda: on_green(workers, greens, (consume,), (consume,)), consume, consume)
    )
    consumers.start()
    producers()
    while queue.qsize():
        time.sleep(0.001)
    for _ in range(4):
        queue.put(None)
    consumers.join()
    assert sorted(got) == sorted(base + n for base in (0, 1000, 2000, 3000) for n in range(total))


@pytest.mark.parametrize("workers", WORKERS)
def test_stress_random_mix_of_green_and_kernel_threads(workers):
    """Locks, channels, select, cancels and timeouts at once; what is sent is received or comes back."""
    channels, lock, rlock = [filar.Channel(size) for size in (0, 1, 4)], filar.Lock(), filar.RLock()
    inside, sent, got, stop = [], [], [], []

    def step(chance, who):
        what = chance.randrange(6)
        if what == 0:
            with lock:
                inside.append(who)
                assert inside == [who]
                filar.yield_() if chance.random() < 0.3 else None
                assert inside.pop() == who
        elif what == 1:
            with rlock, rlock:
                assert rlock._recursion_count() == 2
        elif what == 2:
            item = (who, chance.random())
            try:
                filar.select(*[(channel, item) for channel in chance.sample(channels, 2)], timeout=0.001)
                sent.append(item)
            except filar.DeadlineError:
                pass
        elif what == 3:
            with contextlib.suppress(filar.DeadlineError):
                got.append(filar.select(*chance.sample(channels, 3), timeout=0.001).value)
        elif what == 4:
            item = (who, chance.random())
            try:
                channels[1].send(item, timeout=0.0005)
                sent.append(item)
            except filar.DeadlineError:
                pass
        else:
            filar.yield_()

    def body(seed):
        chance = random.Random(seed)
        for _ in range(300):
            step(chance, seed)

    def bystander():
        # Waits, and is cancelled in whatever it does.
        chance = random.Random(1)
        while not stop:
            with contextlib.suppress(filar.DeadlineError):
                got.append(chance.choice(channels).receive(timeout=0.001))
            with lock:
                filar.sleep(0.0001)

    def main():
        victim = filar.spawn(bystander)
        with filar.TaskGroup() as group:
            for seed in range(6):
                group.spawn(body, seed)
        victim.cancel()
        with pytest.raises(filar.JoinCancelledError):
            victim.join()

    run_threads(lambda: on_green(workers, main), lambda: body(100), lambda: body(101))
    for channel in channels:
        channel.close()
        got.extend(channel)
    assert sorted(got) == sorted(sent)
    assert not lock.locked()
    assert not rlock.locked()


@pytest.mark.parametrize("workers", WORKERS)
def test_an_event_that_is_cleared_at_once_has_woken_all(workers):
    def main():
        event, woken = filar.Event(), []
        greens = [filar.spawn(lambda: woken.append(event.wait())) for _ in range(5)]
        wait_until_parked(*greens)
        event.set()
        event.clear()
        for green in greens:
            green.join()
        assert woken == [True] * 5
        assert not event.is_set()

    on_green(workers, main)


def test_ten_thousand_green_threads_wait_for_one_event():
    def main():
        event, latch = filar.Event(), filar.Latch(10_000)

        def body():
            event.wait()
            latch.count_down()

        greens = [filar.spawn(body) for _ in range(10_000)]
        filar.yield_()
        event.set()
        latch.wait()
        for green in greens:
            green.join()
        return latch.missing

    assert on_green(2, main) == 0


def test_threads_of_a_pool_wait_like_any_other():
    channel = filar.Channel()
    with filar.ThreadPoolExecutor(2) as pool:
        received = pool.submit(list, channel)
        pool.submit(lambda: ([channel.send(n) for n in range(100)], channel.close())).result()
        assert received.result() == list(range(100))
