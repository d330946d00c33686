"""Sockets of `filar.net` from kernel threads and from green threads on one and two workers; nothing is left after."""

import errno
import gc
import io
import os
import socket as standard
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import filar
import nets
from filar import net

modes = pytest.mark.parametrize("mode", nets.MODES)
BIG = os.urandom(1 << 20)


@pytest.fixture(autouse=True)
def _nothing_left():
    with nets.nothing_left():
        yield


# ---- bytes ----------------------------------------------------------------------------------------------------------


@modes
def test_a_megabyte_there_and_back(mode):
    def echo(sock):
        with sock:
            while piece := sock.recv(1 << 16):
                sock.sendall(piece)

    def body():
        ours, theirs = nets.pair()
        echoing = nets.Task(echo, theirs)
        with ours:
            sending = nets.Task(ours.sendall, BIG)
            got = bytearray(len(BIG))
            view = memoryview(got)
            while view:
                view = view[ours.recv_into(view) :]
            sending.result()
        echoing.result()
        assert got == BIG

    nets.run(mode, body)


@modes
def test_files_made_of_sockets(mode):
    def body():
        ours, theirs = nets.pair()
        with ours, theirs, ours.makefile("rwb") as here, theirs.makefile("rw", newline="\n") as there:
            reading = nets.Task(there.readline)
            here.write(b"a line\nand more")
            here.flush()
            assert reading.result() == "a line\n"
            there.write("answer\n")
            there.flush()
            assert here.readline() == b"answer\n"

    nets.run(mode, body)


@modes
def test_sendfile_and_messages(mode):
    def body():
        ours, theirs = nets.pair()
        with ours, theirs, tempfile.TemporaryFile() as file:
            file.write(BIG)
            reading = nets.Task(nets.receive_all, theirs)
            assert ours.sendfile(file, 100) == len(BIG) - 100
            assert ours.sendmsg([b"the", b" end"]) == 7
            ours.shutdown(standard.SHUT_WR)
            assert reading.result() == BIG[100:] + b"the end"

    nets.run(mode, body)


@modes
def test_datagrams_to_a_name(mode):
    def body():
        with (
            net.socket(standard.AF_INET, standard.SOCK_DGRAM) as receiver,
            net.socket(standard.AF_INET, standard.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("localhost", 0))
            receiving = nets.Task(receiver.recvfrom, 100)
            sender.sendto(b"hello", ("localhost", receiver.getsockname()[1]))
            data, address = receiving.result()
            assert data == b"hello"
            assert address == ("127.0.0.1", sender.getsockname()[1])

    nets.run(mode, body)


@modes
def test_a_name_is_resolved(mode):
    def body():
        with net.create_server(("localhost", 0)) as listener:
            connecting = nets.Task(net.create_connection, ("localhost", listener.getsockname()[1]))
            accepted, _ = listener.accept()
            with accepted, connecting.result() as sock:
                assert sock.getpeername() == listener.getsockname()
        assert net.getaddrinfo("127.0.0.1", 80)[0][4] == ("127.0.0.1", 80)
        with pytest.raises(standard.gaierror):
            net.getaddrinfo("no-such-name.invalid.", 80)

    nets.run(mode, body)


# ---- time -----------------------------------------------------------------------------------------------------------


@modes
def test_every_operation_has_the_sockets_timeout(mode):
    def body():
        ours, theirs = nets.pair()
        with ours, theirs, net.create_server(("127.0.0.1", 0)) as listener:
            for sock in (ours, listener):
                sock.settimeout(0.02)
                assert sock.gettimeout() == sock.timeout == 0.02
            for wait in (lambda: ours.recv(1), lambda: ours.recv_into(bytearray(1)), listener.accept):
                with pytest.raises(TimeoutError, match="timed out"):
                    wait()
            with pytest.raises(TimeoutError) as raised:
                ours.sendall(bytes(1 << 24))
            assert 0 < raised.value.bytes_sent < 1 << 24
            assert "bytes had been sent" in raised.value.__notes__[0]

    nets.run(mode, body)


@modes
def test_timeout_zero_never_waits(mode):
    def body():
        ours, theirs = nets.pair()
        with ours, theirs:
            ours.setblocking(False)
            assert not ours.getblocking()
            with pytest.raises(BlockingIOError):
                ours.recv(1)
            ours.setblocking(True)
            with pytest.raises(BlockingIOError):
                ours.recv(1, standard.MSG_DONTWAIT)
            for wrong, error in ((-1, ValueError), ("1", TypeError), (float("nan"), ValueError)):
                with pytest.raises(error):
                    ours.settimeout(wrong)

    nets.run(mode, body)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_timeout_scope_ends_a_wait(workers):
    def body():
        ours, theirs = net.socketpair()
        with ours, theirs:
            with pytest.raises(filar.DeadlineError), filar.timeout(0.01):
                ours.recv(1)
            theirs.sendall(b"still works")
            assert ours.recv(100) == b"still works"

    filar.run(body, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_cancelled_in_the_middle_of_a_send_says_how_much_was_sent(workers):
    def body():
        ours, theirs = net.socketpair()
        with ours, theirs:
            sending = nets.Task(ours.sendall, bytes(1 << 24))
            nets.wait_until_waiting(sending)
            sending.green.cancel()
            with pytest.raises(filar.CancelledError) as raised:
                sending.result()
            ours.shutdown(standard.SHUT_WR)
            assert len(nets.receive_all(theirs)) == raised.value.bytes_sent > 0

    filar.run(body, workers=workers)


# ---- ends -----------------------------------------------------------------------------------------------------------


@modes
def test_closing_ends_the_waits_of_others(mode):
    def body():
        ours, theirs = nets.pair()
        listener = net.create_server(("127.0.0.1", 0))
        with theirs:
            for sock, wait in ((ours, lambda: ours.recv(1)), (listener, listener.accept)):
                waiting = [nets.Task(wait) for _ in range(2)]
                for task in waiting:
                    nets.wait_until_waiting(task)
                sock.close()
                for task in waiting:
                    with pytest.raises(OSError, match=r"Errno 9") as raised:
                        task.result()
                    assert raised.value.errno == errno.EBADF
            with pytest.raises(OSError, match=r"Errno 9"):
                ours.recv(1)

    nets.run(mode, body)


@modes
def test_a_close_is_heard_and_may_be_repeated(mode):
    def body():
        ours, theirs = nets.pair()
        with theirs:
            for _ in range(3):
                ours.close()
            filar.wait_readable(theirs)
            assert theirs.recv(1) == b""

    nets.run(mode, body)


@modes
def test_a_number_that_comes_again_is_another_socket(mode):
    def body():
        numbers = set()
        for drop in (False, True, False, True, False):
            ours, theirs = net.socketpair()
            numbers.add(ours.fileno())
            receiving = nets.Task(ours.recv, 10)
            theirs.sendall(b"x")
            assert receiving.result() == b"x"
            if drop:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    receiving = ours = theirs = None
                    gc.collect()
                assert {warning.category for warning in caught} == {ResourceWarning}
            else:
                ours.close()
                theirs.close()
        assert len(numbers) < 5

    nets.run(mode, body)


@modes
def test_a_number_that_was_closed_without_a_word_is_another_socket(mode):
    def body():
        ours, theirs = net.socketpair()
        number = ours.fileno()
        receiving = nets.Task(ours.recv, 10)
        theirs.sendall(b"x")
        assert receiving.result() == b"x"  # from now on the runtime's epoll is thought to know the number
        saved = os.dup(number)
        os.close(number)
        one, other = net.socketpair()
        assert number in (one.fileno(), other.fileno())
        here, there = (one, other) if one.fileno() == number else (other, one)
        receiving = nets.Task(here.recv, 10)
        nets.wait_until_waiting(receiving)
        there.sendall(b"y")
        assert receiving.result() == b"y"
        here.close()
        there.close()
        theirs.close()
        # The number is nobody's: so the first object has it back, and closes it once.
        os.dup2(saved, number)
        os.close(saved)
        ours.close()

    nets.run(mode, body)


@modes
def test_bad_arguments_of_recv_are_those_of_the_standard_class(mode):
    def body():
        ours, theirs = net.socketpair()
        plain, end = standard.socketpair()
        with ours, theirs, plain, end:
            for sock in (ours, plain):
                with pytest.raises(ValueError, match="negative buffersize in recv"):
                    sock.recv(-1)
                with pytest.raises(ValueError, match="negative buffersize in recv_into"):
                    sock.recv_into(bytearray(1), -1)
                with pytest.raises(ValueError, match="buffer too small"):
                    sock.recv_into(bytearray(1), 2)
                for wrong in (lambda sock=sock: sock.recv("1"), lambda sock=sock: sock.recv_into(b"const")):
                    with pytest.raises(TypeError):
                        wrong()
                with pytest.raises(OverflowError):
                    sock.recv(1 << 100)
                assert sock.recv(0) == b""
                assert sock.recv_into(bytearray()) == 0

    nets.run(mode, body)


@modes
def test_one_direction_ends_the_other_goes_on(mode):
    def answer(sock):
        with sock:
            question = nets.receive_all(sock)
            sock.sendall(question.upper())

    def body():
        ours, theirs = nets.pair()
        answering = nets.Task(answer, theirs)
        with ours:
            ours.sendall(b"question")
            ours.shutdown(standard.SHUT_WR)
            with pytest.raises(BrokenPipeError):
                ours.sendall(b"more")
            assert nets.receive_all(ours) == b"QUESTION"
        answering.result()

    nets.run(mode, body)


@modes
def test_a_reset_while_receiving(mode):
    def body():
        ours, theirs = nets.pair()
        with ours:
            receiving = nets.Task(ours.recv, 1)
            nets.wait_until_waiting(receiving)
            nets.reset(theirs)
            with pytest.raises(ConnectionResetError):
                receiving.result()

    nets.run(mode, body)


@modes
def test_a_reset_while_sending(mode):
    def body():
        ours, theirs = nets.pair()
        with ours:
            sending = nets.Task(ours.sendall, bytes(1 << 24))
            theirs.recv(1)
            nets.wait_until_waiting(sending)
            nets.reset(theirs)
            with pytest.raises((ConnectionResetError, BrokenPipeError)) as raised:
                sending.result()
            assert 0 < raised.value.bytes_sent < 1 << 24

    nets.run(mode, body)


@modes
def test_a_reset_before_accept_and_nobody_there(mode):
    def body():
        with net.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
            first = net.create_connection(address)
            filar.wait_readable(listener)  # it is in the queue: one that is reset before never comes there
            nets.reset(first)
            with net.create_connection(address) as second:
                # Linux hands out the one that was reset, too.
                accepted = [listener.accept()[0], listener.accept()[0]]
                with accepted[0], accepted[1]:
                    with pytest.raises(ConnectionResetError):
                        accepted[0].recv(1)
                    second.sendall(b"x")
                    assert accepted[1].recv(1) == b"x"
        with pytest.raises(ConnectionRefusedError):
            net.create_connection(address)
        with pytest.raises(ExceptionGroup):
            net.create_connection(address, all_errors=True)
        with net.socket() as sock:
            assert sock.connect_ex(address) == errno.ECONNREFUSED

    nets.run(mode, body)


@modes
def test_a_full_queue_of_a_unix_socket_is_waited_for(mode, tmp_path):
    def body():
        path = str(tmp_path / "socket")
        with net.socket(standard.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(0)
            sockets = [net.socket(standard.AF_UNIX) for _ in range(4)]
            sockets[0].settimeout(0)
            sockets[0].connect(path)
            sockets[1].settimeout(0.01)
            with pytest.raises(TimeoutError):
                sockets[1].connect(path)
            connecting = [nets.Task(sock.connect, path) for sock in sockets[2:]]
            accepted = [listener.accept()[0] for _ in range(3)]
            for task in connecting:
                task.result()
            for sock in sockets + accepted:
                sock.close()

    nets.run(mode, body)


@modes
def test_what_is_detached_is_as_blocking_as_it_was(mode):
    def body():
        one, other = net.socketpair()
        other.settimeout(5)
        plain = [standard.socket(fileno=sock.detach()) for sock in (one, other)]
        assert [os.get_blocking(sock.fileno()) for sock in plain] == [True, False]
        with net.adopt(plain[0]) as ours, net.adopt(plain[1]) as theirs:
            assert plain[0].fileno() == -1
            receiving = nets.Task(ours.recv, 1)
            theirs.send(b"x")
            assert receiving.result() == b"x"

    nets.run(mode, body)


# ---- files and processes --------------------------------------------------------------------------------------------


def test_files_are_read_through_blocking(tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    assert filar.run(lambda: filar.blocking(Path.read_text, file)) == "text"


def sleeper():
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


@pytest.mark.parametrize("pidfd", [True, False])
@modes
def test_waiting_for_a_process(mode, pidfd, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "not here")

    if not pidfd:
        monkeypatch.setattr(os, "pidfd_open", refuse)

    def body():
        with sleeper() as process:
            with pytest.raises(filar.DeadlineError):
                filar.wait_process(process, 0.02)
            waiting = nets.Task(filar.wait_process, process)
            process.stdin.close()
            assert waiting.result() == 0
            assert filar.wait_process(process, 0) == 0
        with sleeper() as process:
            process.kill()
            assert filar.wait_process(process.pid) == -9
            process.returncode = -9
            with pytest.raises(ProcessLookupError):
                filar.wait_process(process.pid)

    nets.run(mode, body)


def test_waiting_for_a_process_that_is_no_child():
    program = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], stdout=-3, stderr=-3).pid)"

    def body():
        pid = int(subprocess.run([sys.executable, "-c", program], capture_output=True).stdout)
        with pytest.raises(filar.DeadlineError):
            filar.wait_process(pid, 0.01)
        os.kill(pid, 9)
        assert filar.wait_process(pid) is None

    filar.run(body)


def test_a_stream_of_the_standard_library_on_our_socket():
    def body():
        one, other = net.socketpair()
        with one, other, io.TextIOWrapper(io.BufferedReader(standard.SocketIO(one, "r"))) as lines:
            other.sendall(b"first\nsecond\n")
            other.shutdown(standard.SHUT_WR)
            assert list(lines) == ["first\n", "second\n"]

    filar.run(body)


def test_from_a_pool_too():
    with ThreadPoolExecutor(2) as pool:
        ours, theirs = net.socketpair()
        with ours, theirs:
            receiving = pool.submit(ours.recv, 1)
            theirs.send(b"x")
            assert receiving.result() == b"x"
