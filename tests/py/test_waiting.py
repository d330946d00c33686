"""filar.wait_readable and its kin: file descriptors waited for by Python on green and kernel threads."""

import errno
import os
import select
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import filar
from programs import run_program
from states import wait_until, wait_until_parked

EVENTS = [select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection, closed as filar wants it."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        filar.forget_fd(end.fileno()) if end.fileno() >= 0 else None
        end.close()


def on_a_green_thread(body: Callable[[], Any]) -> Any:
    """What `body` returns on a green thread of two workers."""
    return filar.run(body, workers=2)


def here(body: Callable[[], Any]) -> Any:
    """What `body` returns on this kernel thread."""
    return body()


@pytest.fixture(params=[here, on_a_green_thread])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Runs a body on either kind of thread."""
    return request.param  # type: ignore[no-any-return]


Pair = tuple[socket.socket, socket.socket]
Run = Callable[[Callable[[], Any]], Any]


def test_a_timeout_is_a_timeout_error(run: Run, pair: Pair) -> None:
    for timeout in (0, 0.001, -1):
        with pytest.raises(TimeoutError):
            run(lambda timeout=timeout: filar.wait_readable(pair[0], timeout))


def test_what_is_there_is_told_at_once_and_again(run: Run, pair: Pair) -> None:
    def body() -> None:
        assert filar.wait_writable(pair[0]) is None
        assert filar.wait_fd(pair[0], select.POLLIN | select.POLLOUT) == select.POLLOUT
        pair[1].send(b"x")
        for timeout in (None, 0):
            assert filar.wait_readable(pair[0].fileno(), timeout) is None
            assert filar.wait_fd(pair[0], select.POLLIN, timeout) == select.POLLIN
        pair[1].close()
        assert filar.wait_fd(pair[0], select.POLLRDHUP) & (select.POLLRDHUP | select.POLLHUP)

    run(body)


def test_data_ends_a_wait(run: Run, pair: Pair) -> None:
    def body() -> bytes:
        started = threading.Thread(target=pair[1].send, args=(b"hello",))
        started.start()
        filar.wait_readable(pair[0])
        started.join()
        return pair[0].recv(10)

    assert run(body) == b"hello"


def test_other_green_threads_run_meanwhile(pair: Pair) -> None:
    def reader() -> bytes:
        filar.wait_readable(pair[0])
        return pair[0].recv(10)

    def main() -> bytes:
        waiting = filar.spawn(reader)
        wait_until_parked(waiting)
        pair[1].send(b"x")
        return waiting.result()

    assert filar.run(main, workers=1) == b"x"


def test_a_number_that_is_not_open_is_an_os_error(run: Run, pair: Pair) -> None:
    fd = os.dup(0)
    os.close(fd)

    def body() -> None:
        # First an open one: the poller then has its own numbers.
        filar.wait_writable(pair[0])
        closed = os.dup(pair[0].fileno())
        os.close(closed)
        for wait in (filar.wait_readable, filar.wait_writable, filar.close_fd):
            with pytest.raises(OSError) as raised:
                wait(closed)
            assert raised.value.errno == errno.EBADF

    run(body)


def test_bad_arguments(pair: Pair) -> None:
    for bad in ("x", None, 1.5):
        with pytest.raises(TypeError):
            filar.wait_readable(bad)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            filar.forget_fd(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        filar.wait_readable(-1)
    with pytest.raises(ValueError):
        filar.wait_readable(pair[0], float("nan"))
    with pytest.raises(ValueError):
        filar.wait_fd(pair[0], select.POLLERR)
    with pytest.raises(TypeError):
        filar.wait_fd(pair[0])  # type: ignore[call-arg]


def test_a_regular_file_is_always_ready(run: Run, tmp_path: Any) -> None:
    def body() -> None:
        with open(tmp_path / "file", "w+") as file:
            for events in EVENTS:
                assert filar.wait_fd(file, events) == events
            filar.wait_readable(file)

    run(body)


def in_ppoll(thread: threading.Thread) -> bool:
    """Whether a kernel thread waits already: one that came after the close might find the number given out again."""
    number = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split()[0]
    return number == {"x86_64": "271", "aarch64": "73"}[os.uname().machine]


def test_closing_ends_the_waits_of_everybody() -> None:
    def wait(fd: int) -> int | None:
        try:
            filar.wait_readable(fd)
        except OSError as error:
            return error.errno
        return None

    def main() -> list[int | None]:
        one, other = socket.socketpair()
        fd = one.detach()
        found: list[int | None] = []
        outside = threading.Thread(target=lambda: found.append(wait(fd)))
        greens = [filar.spawn(wait, fd) for _ in range(3)]
        outside.start()
        wait_until_parked(*greens)
        wait_until(lambda: in_ppoll(outside))
        filar.close_fd(fd)
        found += [green.result() for green in greens]
        filar.blocking(outside.join)
        other.close()
        return found

    assert filar.run(main, workers=2) == [errno.EBADF] * 4


def test_a_cancelled_green_thread_stops_waiting(pair: Pair) -> None:
    def main() -> None:
        waiting = filar.spawn(filar.wait_readable, pair[0])
        wait_until_parked(waiting)
        waiting.cancel()
        with pytest.raises(filar.JoinCancelledError):
            waiting.result()
        with pytest.raises(TimeoutError), filar.timeout(0.01):
            filar.wait_readable(pair[0])

    filar.run(main, workers=1)


def test_pidfd_waits_for_a_process(run: Run) -> None:
    def body() -> int:
        child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        fd = os.pidfd_open(child.pid)
        filar.wait_readable(fd)
        filar.close_fd(fd)
        return child.wait(timeout=0) or 0

    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        pytest.skip(f"no pidfd here: {error}")
    assert run(body) == 3


PROGRAM = """
    import os, signal, threading, filar
    receiver, sender = os.pipe()

    def interrupt():
        # The main thread waits, or soon will: either way it must hear of it.
        os.kill(os.getpid(), signal.SIGINT)

    for runs in (lambda: filar.wait_readable(receiver), lambda: filar.run(lambda: filar.wait_readable(receiver))):
        timer = threading.Timer(0.1, interrupt)
        try:
            timer.start()
            runs()
        except KeyboardInterrupt:
            print("interrupted")
        timer.join()
    signal.signal(signal.SIGUSR1, lambda *_: os.write(sender, b"x"))
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    filar.wait_readable(receiver)
    print("woken by a handler")
"""


def test_signals_end_the_wait_of_the_main_thread() -> None:
    ended = run_program(PROGRAM)
    assert ended.stdout.split("\n") == ["interrupted", "interrupted", "woken by a handler", ""], ended.stderr


def test_a_child_of_a_fork_can_wait(pair: Pair) -> None:
    filar.run(lambda: filar.wait_writable(pair[0]), workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            filar.wait_readable(pair[0], timeout=0.001)
        except TimeoutError:
            os._exit(7)
        finally:
            os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
