"""Sockets for green threads: the standard library's, whose waits park the caller instead of blocking its worker."""

from filar.net._process import wait_process
from filar.net._server import GreenMixIn, Server, ServerStatistics, serve
from filar.net._socket import adopt, create_connection, create_server, fromfd, getaddrinfo, socket, socketpair
from filar.net._ssl import SSLSocket, wrap_ssl
from filar.net._stream import SSLStream

__all__ = [
    "GreenMixIn",
    "SSLSocket",
    "SSLStream",
    "Server",
    "ServerStatistics",
    "adopt",
    "create_connection",
    "create_server",
    "fromfd",
    "getaddrinfo",
    "serve",
    "socket",
    "socketpair",
    "wait_process",
    "wrap_ssl",
]
