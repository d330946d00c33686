"""Signals: what Python runs on hears of them as the thread that made it does, and so do the processes it starts."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import filar

SLEEPER = ["sh", "-c", "echo here; exec sleep 600"]
SHOW_MASK = ["grep", "SigBlk", "/proc/self/status"]


def on_kernel_thread(call: Callable[[], Any]) -> Any:
    """On a KernelThread."""
    found: list[Any] = []
    thread = filar.KernelThread(lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def on_pool(call: Callable[[], Any]) -> Any:
    """As a task of a pool."""
    with filar.ThreadPoolExecutor(2) as pool:
        return pool.submit(call).result()


PLACES: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "kernel thread": on_kernel_thread,
    "green thread": lambda call: filar.run(call),
    "green thread of several workers": lambda call: filar.run(call, workers=3),
    "blocking": lambda call: filar.run(filar.blocking, call),
    "pool task": on_pool,
    "kernel thread of a green thread": lambda call: filar.run(on_kernel_thread, call),
}


def blocked() -> set[Any]:
    """The signals that the calling kernel thread has blocked."""
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


@pytest.mark.parametrize("place", PLACES)
def test_python_has_the_signals_blocked_that_its_creator_has(place: str) -> None:
    # The blocking calls' threads are kept, and would have the mask of whoever was first.
    assert PLACES[place](blocked) == blocked()
    if place == "blocking":
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        assert signal.SIGUSR2 in PLACES[place](blocked)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("place", PLACES)
def test_processes_that_it_starts_can_be_ended(place: str) -> None:
    """With SIGTERM blocked, as kernel threads of filar begin, this would not end."""

    def start_and_end() -> tuple[list[int], str]:
        codes = []
        for number in (signal.SIGTERM, signal.SIGINT):
            with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                assert process.stdout is not None
                process.stdout.readline()
                process.send_signal(number)
                try:
                    codes.append(process.wait(60))
                finally:
                    process.kill()
        return codes, subprocess.run(SHOW_MASK, capture_output=True, text=True, check=True).stdout

    assert PLACES[place](start_and_end) == (
        [-signal.SIGTERM, -signal.SIGINT],
        subprocess.run(SHOW_MASK, capture_output=True, text=True, check=True).stdout,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_that_a_worker_gets_ends_no_wait(workers: int) -> None:
    """The kernel prefers the main thread; but who is aimed at gets it, and its system calls are interrupted."""
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(threading.get_ident()))
    idents: set[int] = set()
    order: list[str] = []
    channel: Any = filar.Channel()
    over = threading.Event()

    def sleeper() -> None:
        idents.add(threading.get_ident())
        start = time.monotonic()
        filar.sleep(0.05)
        assert time.monotonic() - start >= 0.05
        order.append("slept")

    def receiver() -> int:
        idents.add(threading.get_ident())
        return sum(channel)

    def sender() -> None:
        idents.add(threading.get_ident())
        for i in range(200):
            channel.send(i)
            if i % 20 == 0:
                filar.sleep(0.001)
        channel.close()

    def bother() -> None:
        while not over.is_set():
            for ident in list(idents):
                with contextlib.suppress(ProcessLookupError):
                    signal.pthread_kill(ident, signal.SIGUSR1)
            over.wait(0.0005)

    def main() -> int:
        children = [filar.spawn(sleeper) for _ in range(5)]
        received = filar.spawn(receiver)
        filar.spawn(sender)
        filar.blocking(time.sleep, 0.02)
        for child in children:
            child.join()
        while not handled:
            filar.sleep(0.001)
        # No worker ends before nobody sends to it any more.
        over.set()
        filar.blocking(bothering.join)
        return int(received.result())

    bothering = threading.Thread(target=bother)
    bothering.start()
    try:
        assert filar.run(main, workers=workers) == sum(range(200))
    finally:
        over.set()
        bothering.join()
        signal.signal(signal.SIGUSR1, before)
    assert order == ["slept"] * 5
    assert set(handled) == {threading.main_thread().ident}


def test_a_signal_while_a_kernel_thread_waits_ends_no_wait() -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(1))
    event, lock = filar.Event(), filar.Lock()
    begun: list[int] = []
    ended: list[bool] = []

    def wait() -> None:
        begun.append(threading.get_ident())
        ended.append(event.wait())
        with lock:
            ended.append(True)

    threads = [filar.KernelThread(wait) for _ in range(3)]
    try:
        with lock:
            for thread in threads:
                thread.start()
            while len(begun) < 3:
                time.sleep(0.001)
            for _ in range(20):
                for ident in begun:
                    signal.pthread_kill(ident, signal.SIGUSR1)
            assert not ended
            event.set()
            for ident in begun:
                signal.pthread_kill(ident, signal.SIGUSR1)
        for thread in threads:
            thread.join()
    finally:
        event.set()
        signal.signal(signal.SIGUSR1, before)
    assert ended == [True] * 6
    assert handled


def test_signals_of_the_process_are_handled_by_the_main_thread() -> None:
    """Whichever thread the kernel picks."""
    handled: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(threading.get_ident()))

    def main() -> None:
        for i in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
            while len(handled) <= i:
                filar.yield_()

    try:
        filar.run(main, workers=2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert handled == [threading.main_thread().ident] * 20
