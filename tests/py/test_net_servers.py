"""Servers of `filar.net`: limits, trouble, ends; `socketserver` and `http.server` on green threads."""

import contextlib
import gc
import http.client
import http.server
import itertools
import logging
import os
import resource
import signal
import socket as standard
import socketserver
import ssl
import subprocess
import sys
import threading

import pytest

import filar
import nets
from filar import net
from filar.net import _server

on_workers = pytest.mark.parametrize("workers", [1, 2])


@pytest.fixture(autouse=True)
def _nothing_left():
    with nets.nothing_left():
        yield


def echo(sock, address):
    while piece := sock.recv(1 << 16):
        sock.sendall(piece)


class Serving:
    """A server on a green thread beside the caller; stopped and waited for at the end of the block."""

    def __init__(self, handler, **options):
        self.server = net.Server(handler, ("127.0.0.1", 0), **options)
        self.address = self.server.address

    def __enter__(self):
        self.green = filar.spawn(self.server.run)
        return self

    def __exit__(self, *_):
        self.server.stop()
        self.green.join()


def ask(address, question=b"question"):
    with net.create_connection(address) as sock:
        sock.sendall(question)
        sock.shutdown(standard.SHUT_WR)
        return nets.receive_all(sock)


def records(caplog, level):
    # Ours: other libraries' threads may log meanwhile.
    return [one.getMessage() for one in caplog.records if one.levelno == level and one.name.startswith("filar")]


@on_workers
def test_each_connection_has_a_green_thread(workers):
    def body():
        with Serving(echo) as serving:
            asking = [filar.spawn(ask, serving.address, b"%d" % i) for i in range(200)]
            assert [green.result() for green in asking] == [b"%d" % i for i in range(200)]
        assert serving.server.statistics() == net.ServerStatistics(0, 200, 0, 0, 0)
        with pytest.raises(ConnectionRefusedError):
            ask(serving.address)
        with pytest.raises(filar.WrongStateError):
            serving.server.run()

    filar.run(body, workers=workers)


@on_workers
def test_a_handler_that_raises_is_one_line_and_the_others_go_on(workers, caplog):
    caplog.set_level(logging.INFO)

    def handler(sock, address):
        if sock.recv(100) == b"bad":
            raise ValueError("this is\nbad")
        sock.sendall(b"good")

    def body():
        with Serving(handler) as serving:
            with net.create_connection(serving.address) as open_meanwhile:
                assert ask(serving.address, b"bad") == b""
                assert ask(serving.address, b"good") == b"good"
                nets.reset(net.create_connection(serving.address))
                open_meanwhile.sendall(b"good")
                assert open_meanwhile.recv(100) == b"good"
        assert serving.server.statistics() == net.ServerStatistics(0, 4, 1, 1, 0)

    filar.run(body, workers=workers)
    [line] = records(caplog, logging.ERROR)
    assert "the handler of the connection from ('127.0.0.1'" in line
    assert "ValueError: this is" in line
    assert [True for line in records(caplog, logging.INFO) if "broke: ConnectionResetError" in line] == [True]


@on_workers
def test_no_more_connections_at_a_time_than_allowed(workers):
    now, most = [], []

    def handler(sock, address):
        now.append(address)
        most.append(len(now))
        echo(sock, address)
        now.remove(address)

    def body():
        with Serving(handler, max_connections=3) as serving:
            for green in [filar.spawn(ask, serving.address) for _ in range(30)]:
                assert green.result() == b"question"

    filar.run(body, workers=workers)
    assert max(most) <= 3
    assert len(most) == 30


@on_workers
def test_at_the_limit_of_file_descriptors_it_waits_says_so_once_and_goes_on(workers, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        filar.sleep(seconds)

    monkeypatch.setattr(_server, "sleep", pause)
    gc.collect()  # what is closed while there is to be no file descriptor makes room for a connection

    def body():
        server = net.Server(echo, ("127.0.0.1", 0))
        clients = [net.create_connection(server.address) for _ in range(3)]
        assert not standard.socketpair()[0].close()  # and the runtime's epoll is there: the clients have waited
        attempts = []
        server._listener = Counting(server._listener.accept, server._listener, attempts)
        green = None
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), before[1]))
        try:
            holes = fill_holes()
            green = filar.spawn(server.run)
            while len(pauses) < 4:
                filar.sleep(0.001)
            # Before each attempt but the first a pause, twice as long as the one before.
            assert pauses[:4] == [0.01, 0.02, 0.04, 0.08]
            assert len(attempts) <= len(pauses) + 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for fd in holes:
                os.close(fd)
        for sock in clients:
            sock.sendall(b"late")
            assert sock.recv(100) == b"late"
            sock.close()
        server.stop()
        green.join()

    filar.run(body, workers=workers)
    [line] = records(caplog, logging.WARNING)
    assert "cannot accept connections, trying again" in line
    assert "Too many open files" in line
    assert [line for line in records(caplog, logging.INFO) if "again" in line] == ["accepting connections again"]


class Counting:
    """A listening socket whose accepts are counted."""

    def __init__(self, accept, sock, attempts):
        self._accept, self._sock, self._attempts = accept, sock, attempts

    def accept(self):
        self._attempts.append(1)
        return self._accept()

    def __getattr__(self, name):
        return getattr(self._sock, name)


def fill_holes():
    holes = []
    try:
        while True:
            holes.append(os.dup(0))
    except OSError:
        return holes


@on_workers
def test_stop_lets_handlers_finish_and_takes_who_stands_in_line(workers):
    release = filar.Event()

    def handler(sock, address):
        question = sock.recv(100)
        release.wait()
        sock.sendall(question.upper())

    def body():
        with Serving(handler, max_connections=3) as serving:
            asking = [filar.spawn(ask, serving.address) for _ in range(2)]
            while serving.server.statistics().active < 2:
                filar.sleep(0.001)
            late = net.create_connection(serving.address)
            serving.server.stop()
            assert serving.server.stopping
            late.sendall(b"late")
            release.set()
            assert [green.result() for green in asking] == [b"QUESTION"] * 2
            assert late.recv(100) == b"LATE"
            late.close()
        assert serving.server.statistics() == net.ServerStatistics(0, 3, 0, 0, 0)

    filar.run(body, workers=workers)


@on_workers
def test_what_does_not_finish_in_time_is_cut_off(workers, caplog):
    caplog.set_level(logging.INFO)

    def body():
        with Serving(echo, grace=0.02) as serving:
            sock = net.create_connection(serving.address)
            while serving.server.statistics().active < 1:
                filar.sleep(0.001)
        assert sock.recv(1) == b""
        sock.close()
        assert serving.server.statistics() == net.ServerStatistics(0, 1, 0, 0, 1)

    filar.run(body, workers=workers)
    assert "1 connections, 1 cut off" in records(caplog, logging.INFO)[-1]


@on_workers
def test_clients_that_dribble_are_cut_off_and_others_served(workers):
    def dribble(address):
        with net.create_connection(address) as sock:
            try:
                while True:
                    sock.sendall(b".")
                    sock.settimeout(0.005)
                    try:
                        if sock.recv(1) == b"":
                            return True
                    except TimeoutError:
                        continue
            except ConnectionError:
                return True

    begun = []

    def handler(sock, address):
        begun.append(address)
        line = b""
        while not line.endswith(b"\n"):
            line += sock.recv(1)
        sock.sendall(line)

    def body():
        with Serving(handler, timeout=30) as serving:
            # A connection's is what it is when its handler begins. The one that is served has no end: it must not be
            # out of time where others use the CPUs.
            serving.server._lifetime = 0.3
            slow = [filar.spawn(dribble, serving.address) for _ in range(20)]
            while len(begun) < 20:
                filar.sleep(0.001)
            serving.server._lifetime = None
            assert ask(serving.address, b"a line\n") == b"a line\n"
            assert all(green.result() for green in slow)
        assert serving.server.statistics().broken == 20

    filar.run(body, workers=workers)


@on_workers
def test_a_client_that_says_nothing_hits_the_operations_timeout(workers):
    def body():
        with Serving(echo, timeout=0.02) as serving, net.create_connection(serving.address) as sock:
            assert sock.recv(1) == b""
            assert serving.server.statistics().broken == 1

    filar.run(body, workers=workers)


def test_ten_thousand_connections_opened_and_dropped():
    opened = itertools.count()

    def drop(server, count):
        for number in range(count):
            before = next(opened)
            # A queue that is full loses those that are reset before there is room.
            while before - server.statistics().accepted > 100:
                filar.sleep(0.001)
            sock = net.create_connection(server.address)
            if number % 2:
                sock.sendall(b"x")
            nets.reset(sock)

    def body():
        with Serving(echo, backlog=1024) as serving:
            for green in [filar.spawn(drop, serving.server, 500) for _ in range(20)]:
                green.join()
        found = serving.server.statistics()
        assert found.accepted == 10_000
        assert found.failed == found.cut_off == found.active == 0

    filar.run(body, workers=2)


@pytest.mark.parametrize(("live", "burst"), [(0, 64), (256, 64), (10_000, 2_500)])
def test_so_many_are_accepted_at_once_that_nobody_waits_in_line_for_many_turns(live, burst, monkeypatch):
    handlers, turns = _server._Handlers(), []
    handlers.live = dict.fromkeys(range(live))
    monkeypatch.setattr(_server, "yield_", lambda: turns.append(1))
    for _ in range(3 * burst):
        handlers.give_way()
    assert len(turns) == 3


@on_workers
def test_a_thousand_connections_dropped_at_once(workers):
    many = 1_000

    def body():
        needed = len(os.listdir("/proc/self/fd")) + 2 * many + 50
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        if before[1] != resource.RLIM_INFINITY and before[1] < needed:
            pytest.skip(f"at most {before[1]} file descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(needed, before[0]), before[1]))
        try:
            with Serving(echo, backlog=many) as serving:
                clients = [net.create_connection(serving.address) for _ in range(many)]
                while serving.server.statistics().active < many:
                    filar.sleep(0.001)
                for number, sock in enumerate(clients):
                    sock.sendall(b"x" if number % 2 else b"")
                for sock in clients:
                    nets.reset(sock)
                while serving.server.statistics().active:
                    filar.sleep(0.001)
            found = serving.server.statistics()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert found.accepted == many
        assert found.failed == found.cut_off == 0

    filar.run(body, workers=workers)


def test_a_socket_that_cannot_accept_ends_it():
    for kind in (standard.SOCK_DGRAM, standard.SOCK_STREAM):
        deaf = standard.socket(standard.AF_INET, kind)
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r"not supported|Invalid argument"):
            net.Server(echo, deaf).run()


@on_workers
def test_tls_and_a_client_that_does_not_speak_it(workers):
    def body():
        with Serving(echo, ssl=nets.server_context()) as serving:
            with net.create_connection(serving.address) as plain:
                plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    nets.receive_all(plain)
            raw = net.create_connection(serving.address)
            with net.wrap_ssl(nets.client_context(), raw, server_hostname="localhost") as sock:
                sock.sendall(b"secret")
                assert sock.recv(100) == b"secret"
        assert serving.server.statistics().broken == 1

    filar.run(body, workers=workers)


def test_stopped_before_it_ran_and_on_a_socket_of_the_standard_library():
    with net.Server(echo, standard.create_server(("127.0.0.1", 0))):
        pass

    server = net.Server(echo, ("127.0.0.1", 0))
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(server.address)
    server.run()
    assert server.statistics() == net.ServerStatistics(0, 0, 0, 0, 0)
    with pytest.raises(filar.WrongStateError):
        server.run()


class EndedGreen:
    """A green thread whose body has ended and whose callbacks are still to be called."""

    def add_done_callback(self, callback):
        self.call_back = lambda: callback(self)

    def exception(self):
        return None

    def cancel(self):
        return False

    def _wait(self, timeout):
        pass

    def _wait_shielded(self):
        pass


@pytest.mark.parametrize("grace", [0, None])
def test_who_has_ended_is_not_cut_off_and_is_gone_though_its_callback_comes_later(grace, monkeypatch):
    """Hunts a server that ends on one worker between the end of a handler and its callback on another."""
    handlers, green, ended = _server._Handlers(), EndedGreen(), []
    monkeypatch.setattr(_server, "spawn", lambda body: green)
    handlers.start(lambda: ended.append(True), print)
    assert filar.run(handlers.finish, grace) == 0
    assert not handlers.live
    green.call_back()
    assert ended == [True]


def test_run_on_a_kernel_thread_makes_a_runtime():
    server = net.Server(echo, ("127.0.0.1", 0))
    running = threading.Thread(target=server.run)
    running.start()
    assert ask(server.address) == b"question"
    server.stop()
    running.join()


def test_ctrl_c_ends_it_and_its_handlers():
    server = net.Server(echo, ("127.0.0.1", 0))

    def interrupt():
        with net.create_connection(server.address) as sock:
            sock.sendall(b"x")
            sock.recv(1)
            os.kill(os.getpid(), signal.SIGINT)
            nets.receive_all(sock)

    client = threading.Thread(target=interrupt)
    client.start()
    with pytest.raises(KeyboardInterrupt):
        server.run()
    client.join()
    assert server.statistics().active == 0


TERMINATED = """
import logging, signal, sys
from filar import net

def handler(sock, address):
    with sock.makefile("rb") as lines:
        while line := lines.readline():
            sock.sendall(line.upper())
            if server.stopping:
                break

logging.basicConfig(level=logging.INFO)
server = net.Server(handler, ("127.0.0.1", 0), timeout=30, workers=int(sys.argv[1]))
signal.signal(signal.SIGTERM, lambda *_: server.stop())
print(server.address[1], flush=True)
server.run()
print(server.statistics().accepted, flush=True)
"""


@on_workers
def test_sigterm_during_load_loses_nothing(workers):
    """Every question on a connection that the server has taken gets its answer, also those asked after the signal."""
    command = [sys.executable, "-c", TERMINATED, str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = ("127.0.0.1", int(process.stdout.readline()))
        answered, told = [], []

        def client(number):
            while True:
                try:
                    with net.create_connection(address) as sock, sock.makefile("rb") as lines:
                        sock.sendall(b"question\n")
                        answered.append(lines.readline())
                except ConnectionRefusedError:
                    return
                except ConnectionError:
                    # It came into the queue in the very moment in which the port was closed, and is reset: while it
                    # is made, or later.
                    continue
                # Once: a second one might meet an interpreter that is past its handlers.
                if number == 0 and len(answered) > 100 and not told:
                    told.append(process.terminate())

        def body():
            with filar.TaskGroup() as group:
                for number in range(8):
                    group.spawn(client, number)

        filar.run(body)
        rest, log = process.communicate()
    assert process.returncode == 0, log
    assert set(answered) == {b"QUESTION\n"}
    assert int(rest) == len(answered)
    assert f"stopped serving on {address}: {len(answered)} connections, 0 cut off" in log
    assert "Traceback" not in log


# ---- the standard library's servers -------------------------------------------------------------------------------


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/bad":
            raise ValueError("bad page")
        body = f"{self.path}\n".encode() * 1000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class WebServer(net.GreenMixIn, http.server.HTTPServer):
    errors = 0
    request_queue_size = 128

    def handle_error(self, request, client_address):
        self.errors += 1


@on_workers
def test_http_server_and_http_client_on_green_threads(workers):
    def get(port, path):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = net.create_connection(("127.0.0.1", port))
        try:
            for _ in range(3):
                connection.request("GET", path)
                assert connection.getresponse().read() == f"{path}\n".encode() * 1000
        finally:
            connection.close()

    def body():
        with WebServer(("127.0.0.1", 0), Page) as server:
            serving = filar.spawn(server.serve_forever)
            with filar.TaskGroup() as group:
                for number in range(20):
                    group.spawn(get, server.server_port, f"/{number}")
            with pytest.raises(http.client.RemoteDisconnected):
                get(server.server_port, "/bad")
            server.shutdown()
            serving.join()
            assert server.errors == 1

    filar.run(body, workers=workers)


def test_http_server_from_a_kernel_thread_and_clients_on_others():
    with WebServer(("127.0.0.1", 0), Page) as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        connection.request("GET", "/x")
        assert connection.getresponse().read() == b"/x\n" * 1000
        connection.close()
        server.shutdown()
        running.join()


@on_workers
def test_socketserver_with_datagrams(workers):
    class Answer(socketserver.DatagramRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.read().upper())

    class Datagrams(net.GreenMixIn, socketserver.UDPServer):
        pass

    def body():
        with Datagrams(("127.0.0.1", 0), Answer) as server, net.socket(standard.AF_INET, standard.SOCK_DGRAM) as sock:
            serving = filar.spawn(server.serve_forever)
            for number in range(20):
                sock.sendto(b"x%d" % number, server.server_address)
                assert sock.recv(100) == b"X%d" % number
            server.shutdown()
            serving.join()

    filar.run(body, workers=workers)


@on_workers
def test_https_by_http_client(workers):
    def handler(sock, address):
        with sock.makefile("rb") as lines:
            while lines.readline().strip():
                pass
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")

    def body():
        with Serving(handler, ssl=nets.server_context()) as serving:
            host, port = serving.address
            connection = http.client.HTTPSConnection(host, port, context=nets.client_context())
            plain = net.create_connection((host, port))
            connection.sock = net.wrap_ssl(nets.client_context(), plain, server_hostname=host)
            assert isinstance(connection.sock, ssl.SSLSocket)
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hello\n"
            connection.close()

    filar.run(body, workers=workers)
