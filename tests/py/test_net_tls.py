"""TLS over `filar.net`: `ssl`, `http.client` and certificates, from kernel threads and from green threads."""

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
