"""What processes do to things that threads wait for: Ctrl-C, fork, the end of the interpreter."""

import contextlib
import os
import signal
import subprocess
import threading
import time

import pytest

import filar
from programs import PYTHON
from states import wait_until
from test_sync import run_threads

WAITS = {
    "Lock": "lock = filar.Lock(); lock.acquire(); wait = lock.acquire",
    "Lock with a timeout": "lock = filar.Lock(); lock.acquire(); wait = lambda: lock.acquire(timeout=600)",
    "RLock": "lock = filar.RLock(); elsewhere(lock.acquire); wait = lock.acquire",
    "Condition": "condition = filar.Condition(); condition.acquire(); wait = condition.wait",
    "Condition.wait_for": "c = filar.Condition(); c.acquire(); wait = lambda: c.wait_for(lambda: False)",
    "Semaphore": "wait = filar.Semaphore(0).acquire",
    "Event": "wait = filar.Event().wait",
    "Barrier": "wait = filar.Barrier(2).wait",
    "Latch": "wait = filar.Latch(1).wait",
    "WaitGroup": "group = filar.WaitGroup(); group.add(); wait = group.wait",
    "RWLock.read": "lock = filar.RWLock(); elsewhere(lock.write.acquire); wait = lock.read.acquire",
    "RWLock.write": "lock = filar.RWLock(); elsewhere(lock.write.acquire); wait = lock.write.acquire",
    "SimpleQueue.get": "wait = filar.SimpleQueue().get",
    "Queue.get": "wait = filar.Queue().get",
    "Queue.put": "q = filar.Queue(1); q.put(1); wait = lambda: q.put(2)",
    "Queue.join": "q = filar.Queue(1); q.put(1); wait = q.join",
    "PriorityQueue.get": "wait = filar.PriorityQueue().get",
    "Channel.send": "wait = lambda: filar.Channel().send(1)",
    "Channel.receive": "wait = filar.Channel().receive",
    "for item in Channel": "wait = lambda: list(filar.Channel())",
    "select": "wait = lambda: filar.select(filar.Channel(), (filar.Channel(), 1))",
    "select of nothing": "wait = lambda: filar.select(None, timeout=600)",
}

PROGRAM = """
import threading, filar
def elsewhere(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
{waits}
try:
    print("waiting", flush=True)
    wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def start(program):
    return subprocess.Popen([PYTHON, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """Its outcome; one that hangs is killed and fails."""
    try:
        out, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, errors


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_the_wait(name):
    process = start(PROGRAM.format(waits=WAITS[name]))
    assert process.stdout.readline() == "waiting\n"
    # At once: also a signal that comes before the thread sleeps must end the wait.
    process.send_signal(signal.SIGINT)
    returncode, out, errors = finish(process)
    assert (returncode, out) == (0, "interrupted\n"), errors


def test_a_thread_that_is_not_the_main_one_goes_on_waiting():
    """A signal that the kernel gives to another thread interrupts its sleep; nothing comes of it."""
    rung, got, lock = [], [], filar.Lock()
    previous = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    lock.acquire()
    thread = threading.Thread(target=lambda: got.append(lock.acquire(timeout=600)))
    thread.start()
    try:
        for _ in range(20):
            signal.pthread_kill(thread.ident, signal.SIGALRM)
            time.sleep(0.001)
        assert got == []
    finally:
        # The handler stays until the thread has ended: a signal may have found it asleep and still wait for it, and
        # without a handler it would end the process.
        lock.release()
        thread.join()
        signal.signal(signal.SIGALRM, previous)
    assert got == [True]
    assert rung


# ---- the end of the interpreter ----

AT_EXIT = """
import threading, filar
def wait(call, *args):
    threading.Thread(target=call, args=args, daemon=True).start()
queue, event, channel, lock = filar.Queue(), filar.Event(), filar.Channel(), filar.Lock()
lock.acquire()
condition = filar.Condition()
def poll():
    while True:
        try:
            queue.get(timeout=0.0005)
        except Exception:
            pass
        lock.acquire(timeout=0.0005)
def with_condition():
    while True:
        with condition:
            condition.wait(0.0005)
for _ in range(4):
    wait(poll)
    wait(queue.get)
    wait(event.wait)
    wait(channel.receive)
    wait(lambda: filar.select(channel, (channel, 1), None))
    wait(lock.acquire)
    wait(with_condition)
class Late:
    def __init__(self):
        self.things = queue, event, lock
    def __del__(self):
        for n in range(20):
            self.things[0].put(n)
        self.things[1].set()
        self.things[2].release()
late = Late()
late.me = late
print("ending", flush=True)
"""


@pytest.mark.parametrize("round_", range(5))
def test_the_interpreter_ends_while_threads_wait(round_):
    """Daemon threads wait, with and without deadlines, and finalizers wake them while it shuts down."""
    returncode, out, errors = finish(start(AT_EXIT))
    assert (returncode, out) == (0, "ending\n"), errors
    assert errors == ""


def test_the_interpreter_waits_for_threads_that_are_woken():
    program = """
import threading, time, filar
queue = filar.Queue()
threading.Thread(target=lambda: print(queue.get(), flush=True)).start()
threading.Thread(target=lambda: (time.sleep(0.05), queue.put("woken"))).start()
"""
    assert finish(start(program))[:2] == (0, "woken\n")


# ---- fork ----


def in_child(body):
    """Runs the body in a forked child; its exit status says whether it passed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(30)
            body()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0


pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def test_a_child_forgets_those_who_waited_in_the_parent():
    """What waits in the parent is not woken, given items or waited for in the child; the parent goes on."""
    queue, channel, event, semaphore, latch = (
        filar.Queue(),
        filar.Channel(),
        filar.Event(),
        filar.Semaphore(0),
        filar.Latch(1),
    )
    condition, lock, rwlock, group, jobs = (
        filar.Condition(filar.Lock()),
        filar.Lock(),
        filar.RWLock(),
        filar.WaitGroup(),
        filar.Queue(),
    )
    lock.acquire()
    rwlock.write.acquire()
    group.add()
    jobs.put(1)
    done = []

    def with_condition():
        with condition:
            condition.wait()

    waits = [queue.get, channel.receive, event.wait, semaphore.acquire, latch.wait, with_condition, lock.acquire,
             rwlock.read.acquire, group.wait, jobs.join]  # fmt: skip
    threads = [threading.Thread(target=lambda wait=wait: (wait(), done.append(wait))) for wait in waits]
    for thread in threads:
        thread.start()
    # Only its notification would be missed by one that comes later; the others as a rule wait by then, too.
    wait_until(lambda: repr(condition).endswith(", 1)>"))
    time.sleep(0.05)

    def body():
        queue.put("mine")
        assert queue.get_nowait() == "mine"
        with pytest.raises(filar.BusyError):
            channel.send_nowait(1)
        event.set()
        semaphore.release()
        assert semaphore.acquire(blocking=False)
        latch.count_down()
        lock.release()
        assert lock.acquire(blocking=False)
        assert repr(condition).endswith(", 0)>")
        with condition:
            condition.notify_all()
        rwlock.write.release()
        with rwlock.write:
            pass
        group.done()
        jobs.get()
        jobs.task_done()
        jobs.join()
        # And threads of the child's own work as ever.
        run_threads(lambda: queue.put("again"), lambda: _check(queue.get() == "again"))
        run_threads(lambda: channel.send(2), lambda: _check(channel.receive() == 2))

    for _ in range(3):
        in_child(body)
    assert done == []
    queue.put(1)
    channel.send(1)
    event.set()
    semaphore.release()
    latch.count_down()
    lock.release()
    rwlock.write.release()
    group.done()
    jobs.get()
    jobs.task_done()
    with condition:
        condition.notify()
    for thread in threads:
        thread.join()
    assert len(done) == len(waits)


def _check(fact):
    assert fact


def test_a_child_begins_anew_what_is_told_to():
    lock, rlock, event, condition = filar.Lock(), filar.RLock(), filar.Event(), filar.Condition()
    lock.acquire()
    event.set()
    run_threads(rlock.acquire)
    run_threads(condition.acquire)

    def body():
        for thing in (lock, rlock, event, condition):
            thing._at_fork_reinit()
        assert lock.acquire(blocking=False)
        assert rlock.acquire(blocking=False)
        assert condition.acquire(blocking=False)
        assert event.is_set()

    in_child(body)
    assert lock.locked()


def test_the_child_of_a_fork_holds_what_the_forking_thread_held():
    rlock = filar.RLock()
    with rlock:
        in_child(lambda: (_check(rlock._is_owned()), rlock.release(), _check(not rlock.locked())))
        assert rlock._is_owned()


def test_a_fork_from_another_thread_leaves_ctrl_c_working():
    """In the child the thread that forked is the main one: signals end its waits."""

    def wait():
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        filar.Event().wait()

    def interrupted_wait():
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            wait()

    run_threads(lambda: in_child(interrupted_wait))


def test_stress_forks_while_threads_hand_items_over():
    """Hunts an object that was being changed at the moment of the fork: none may be."""
    queue, channel, lock, stop = filar.Queue(3), filar.Channel(), filar.Lock(), []

    def body(call):
        while not stop:
            call()

    def locked():
        with lock:
            pass

    def try_receive():
        with contextlib.suppress(filar.DeadlineError):
            channel.receive(timeout=0.001)

    def try_send():
        with contextlib.suppress(filar.DeadlineError):
            filar.select((channel, 1), timeout=0.001)

    def put():
        with contextlib.suppress(filar.Full):
            queue.put(1, timeout=0.001)

    def get():
        with contextlib.suppress(filar.Empty):
            queue.get(timeout=0.001)

    threads = [
        threading.Thread(target=body, args=(call,)) for call in (put, get, locked, locked, try_receive, try_send)
    ]
    for thread in threads:
        thread.start()

    def child():
        while queue.qsize():
            queue.get_nowait()
        for n in range(3):
            queue.put_nowait(n)
        assert [queue.get_nowait() for _ in range(3)] == [0, 1, 2]
        run_threads(lambda: channel.send(1), lambda: _check(channel.receive() == 1))

    try:
        for _ in range(20):
            in_child(child)
    finally:
        stop.append(True)
        for thread in threads:
            thread.join()
