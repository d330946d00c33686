"""TLS over `filar.net`: `ssl`, `http.client` and certificates, from kernel threads and from green threads."""

import contextlib
import http.client
import ssl

import pytest

import filar
import nets
from filar import net

modes = pytest.mark.parametrize("mode", nets.MODES)
BIG = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def _nothing_left():
    with nets.nothing_left():
        yield


def secured_pair(**options):
    """(server's side, client's side) after the handshake."""
    ours, theirs = nets.pair()
    serving = nets.Task(net.wrap_ssl, nets.server_context(), ours, True)
    client = net.wrap_ssl(nets.client_context(), theirs, server_hostname="localhost", **options)
    return serving.result(), client


@modes
def test_a_megabyte_both_ways_at_once(mode):
    def body():
        server, client = secured_pair()
        with server, client:
            assert client.version()
            assert client.getpeercert()["subject"]
            tasks = [nets.Task(sock.sendall, BIG) for sock in (server, client)]
            for sock in (server, client):
                got = bytearray()
                while len(got) < len(BIG):
                    got += sock.recv(1 << 16)
                assert got == BIG
            for task in tasks:
                task.result()

    nets.run(mode, body)


@modes
def test_the_end_with_notice_and_without(mode):
    def body():
        server, client = secured_pair()
        unwrapping = nets.Task(server.unwrap)
        with client:
            assert client.recv(1) == b""
            client.unwrap()
        unwrapping.result()
        with server:
            assert server.recv(1) == b""
        for ragged in (True, False):
            server, client = secured_pair(suppress_ragged_eofs=ragged)
            receiving = nets.Task(client.recv, 1)
            server.close()
            with client:
                if ragged:
                    assert receiving.result() == b""
                else:
                    with pytest.raises(ssl.SSLEOFError):
                        receiving.result()

    nets.run(mode, body)


@modes
def test_a_handshake_that_fails_or_takes_too_long_closes_the_socket(mode):
    def body():
        ours, theirs = nets.pair()
        serving = nets.Task(net.wrap_ssl, nets.server_context(), ours, True)
        with pytest.raises(ssl.SSLCertVerificationError):
            net.wrap_ssl(ssl.create_default_context(), theirs, server_hostname="localhost")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            serving.result()
        ours, theirs = nets.pair()
        with theirs:
            ours.settimeout(0.02)
            with pytest.raises(TimeoutError, match="handshake"):
                net.wrap_ssl(nets.server_context(), ours, True)
            assert theirs.recv(1 << 16) == b""

    nets.run(mode, body)


@modes
def test_a_reset_in_the_handshake_and_after_it(mode):
    def body():
        ours, theirs = nets.pair()
        serving = nets.Task(net.wrap_ssl, nets.server_context(), ours, True)
        nets.reset(theirs)
        with pytest.raises(ConnectionResetError):
            serving.result()
        server, client = secured_pair()
        with server:
            receiving = nets.Task(server.recv, 1)
            nets.reset(client)
            # By the standard class's rules: some versions of Python take it for the end of the data.
            with contextlib.suppress(ConnectionResetError):
                assert receiving.result() == b""
            with pytest.raises((ConnectionError, ssl.SSLError)):
                server.sendall(BIG)

    nets.run(mode, body)


# ---- over what is no socket -----------------------------------------------------------------------------------------


class Wrapped:
    """What a library may hand over in the place of a socket: it has no file descriptor."""

    def __init__(self, sock):
        self.sock = sock

    def recv(self, count):
        return self.sock.recv(count)

    def sendall(self, data):
        self.sock.sendall(data)

    def close(self):
        self.sock.close()


def streams(outer, **options):
    """TLS over the two ends of what `outer` returns."""
    below, above = outer()
    serving = nets.Task(lambda: net.SSLStream(nets.server_context(), below, server_side=True))
    client = net.SSLStream(nets.client_context(), above, server_hostname="localhost", **options)
    return serving.result(), client


def wrapped_pair():
    return tuple(map(Wrapped, nets.pair()))


@modes
@pytest.mark.parametrize("outer", [wrapped_pair, secured_pair])
def test_tls_over_an_object_and_inside_of_tls(mode, outer):
    def body():
        server, client = streams(outer)
        with server, client:
            assert client.version()
            assert client.getpeercert()["subject"]
            tasks = [nets.Task(sock.sendall, BIG) for sock in (server, client)]
            for sock in (server, client):
                got = bytearray(len(BIG))
                view = memoryview(got)
                while view:
                    view = view[sock.recv_into(view, min(len(view), 50_000)) :]
                assert got == BIG
            for task in tasks:
                task.result()
            with server.makefile("wb") as writer:
                writer.write(b"a line\n")
            with client.makefile("rb") as lines:
                client.close()  # as http.client does: the file is still to be read
                assert lines.readline() == b"a line\n"
            assert server.recv(1) == b""

    nets.run(mode, body)


@modes
def test_the_end_of_tls_over_an_object(mode):
    def body():
        server, client = streams(wrapped_pair)
        unwrapping = nets.Task(server.unwrap)
        assert client.recv(1) == b""
        plain, end = client.unwrap(), unwrapping.result()
        plain.sendall(b"in the clear")
        assert end.recv(100) == b"in the clear"
        with pytest.raises(ValueError, match="closed or unwrapped"):
            client.sendall(b"x")
        plain.close()
        end.close()
        for ragged in (True, False):
            server, client = streams(wrapped_pair, suppress_ragged_eofs=ragged)
            server.close()
            with client:
                if ragged:
                    assert client.recv(1) == b""
                else:
                    with pytest.raises(ssl.SSLEOFError):
                        client.recv(1)

    nets.run(mode, body)


@modes
def test_a_handshake_over_an_object_that_fails_closes_it(mode):
    def body():
        below, above = wrapped_pair()
        serving = nets.Task(lambda: net.SSLStream(nets.server_context(), below, server_side=True))
        with pytest.raises(ssl.SSLCertVerificationError):
            net.SSLStream(ssl.create_default_context(), above, server_hostname="localhost")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            serving.result()

    nets.run(mode, body)


def test_tls_on_the_descriptor_of_tls_is_refused():
    server, client = secured_pair()
    with server, client, pytest.raises(ValueError, match="SSLStream"):
        net.wrap_ssl(nets.client_context(), client, server_hostname="localhost")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cancelled_handshake_closes_the_socket(workers):
    def body():
        ours, theirs = nets.pair()
        with theirs:
            serving = nets.Task(net.wrap_ssl, nets.server_context(), ours, True)
            nets.wait_until_waiting(serving)
            serving.green.cancel()
            with pytest.raises(filar.CancelledError):
                serving.result()
            assert theirs.recv(1) == b""

    filar.run(body, workers=workers)


@modes
def test_timeouts_and_non_blocking_reads(mode):
    def body():
        server, client = secured_pair()
        with server, client:
            client.settimeout(0.02)
            with pytest.raises(TimeoutError, match="read operation timed out"):
                client.recv(1)
            client.settimeout(0)
            with pytest.raises(ssl.SSLWantReadError):
                client.recv(1)

    nets.run(mode, body)


@modes
def test_accept_of_a_listener_with_tls_and_http_client_over_a_context_that_makes_ours(mode):
    def serve(listener):
        sock, _ = listener.accept()
        with sock, sock.makefile("rb") as lines:
            while lines.readline().strip():
                pass
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")

    def body():
        with net.wrap_ssl(nets.server_context(), net.create_server(("127.0.0.1", 0)), True) as listener:
            serving = nets.Task(serve, listener)
            host, port = listener.getsockname()
            context = nets.client_context()
            context.sslsocket_class = net.SSLSocket
            connection = http.client.HTTPSConnection(host, port, context=context)
            connection._create_connection = net.create_connection
            connection.request("GET", "/")
            assert isinstance(connection.sock, net.SSLSocket)
            assert connection.getresponse().read() == b"hello\n"
            connection.close()
            serving.result()

    nets.run(mode, body)
