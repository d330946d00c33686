"""`SSLSocket`: the standard library's, whose waits park a green thread.

OpenSSL works on the non-blocking file descriptor and says what it wants to wait for; so no bytes are copied through
memory BIOs (`SSLStream` is for where there is no such descriptor), and everything that does not wait is the standard
class's.
"""

import contextlib
import socket as standard
import ssl
from collections.abc import Callable
from typing import Any, Self

from filar.net._socket import socket
from filar.net._wait import READABLE, WRITABLE, remaining, wait_fd
from filar.sync import Lock

__all__ = ["SSLSocket", "wrap_ssl"]


class SSLSocket(ssl.SSLSocket, socket):  # type: ignore[misc]
    """`ssl.SSLSocket` over a `filar.net.socket`; `wrap_ssl()` makes one.

    A context makes them by itself if told: `context.sslsocket_class = filar.net.SSLSocket`. One thread may read while
    another writes. A peer that goes without a close notification is the end of the data, or, with
    `suppress_ragged_eofs=False`, ssl.SSLEOFError.
    """

    _turn: Lock
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool
    _connected: bool
    _sslobj: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """The base class has no constructor: it is made here and filled by _create()."""
        self = super().__new__(cls, *args, **kwargs)
        self._turn = Lock()
        return self

    @classmethod
    def _create(cls, sock: standard.socket, *args: Any, do_handshake_on_connect: bool = True, **kwargs: Any) -> Self:
        """What `SSLContext.wrap_socket()` calls. A handshake that is cut short, by cancelling too, closes it."""
        if getattr(sock, "_sslobj", None) is not None:
            # On its file descriptor OpenSSL would speak past the TLS that is there.
            raise ValueError("the socket has TLS already: for TLS inside of TLS there is filar.net.SSLStream")
        make: Any = super()._create  # type: ignore[misc]
        self: Self = make(sock, *args, do_handshake_on_connect=False, **kwargs)
        # The base class detaches the given socket last, which makes the file descriptor as blocking as that was.
        standard.socket.setblocking(self, False)
        self.do_handshake_on_connect = do_handshake_on_connect
        if not do_handshake_on_connect or not self._connected:
            return self
        try:
            if self.gettimeout() == 0.0:
                raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
            self.do_handshake()
        except BaseException:
            self.close()
            raise
        return self

    def _until_done(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """`call(*args)`, again and again, waiting for what OpenSSL wants in between."""
        deadline, never = self._deadline(), self._timeout == 0.0
        while True:
            try:
                # OpenSSL's objects are not for two kernel threads at a time, and it lets go of the GIL.
                with self._turn:
                    return call(*args)
            except ssl.SSLWantReadError:
                if never:
                    raise
                events = READABLE
            except ssl.SSLWantWriteError:
                if never:
                    raise
                events = WRITABLE
            if not wait_fd(self.fileno(), events, remaining(deadline)):
                raise TimeoutError(f"The {what} operation timed out")

    def do_handshake(self, block: bool = False) -> None:
        """The TLS handshake; waits."""
        self._check_connected()  # type: ignore[attr-defined]
        before = self._timeout
        if before == 0.0 and block:
            self._timeout = None
        try:
            self._until_done("handshake", self._session_object().do_handshake)
        finally:
            self._timeout = before

    def _session_object(self) -> Any:
        found = self._sslobj
        if found is None:
            raise ValueError("No SSL wrapper around " + str(self))
        return found

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Up to `len` bytes, b"" at the end; waits until there is something."""
        if self._sslobj is None:
            raise ValueError("Read on closed or unwrapped SSL socket.")
        try:
            if buffer is None:
                return self._until_done("read", self._session_object().read, len)
            return self._until_done("read", self._session_object().read, len, buffer)
        except ssl.SSLError as error:
            if error.args[0] != ssl.SSL_ERROR_EOF or not self.suppress_ragged_eofs:
                raise
            return b"" if buffer is None else 0

    def write(self, data: Any) -> int:
        """Sends some of the bytes, and returns how many; waits until there is room."""
        if self._sslobj is None:
            raise ValueError("Write on closed or unwrapped SSL socket.")
        return self._until_done("write", self._session_object().write, data)

    def send(self, data: Any, flags: int = 0) -> int:
        """As write(); flags must be 0."""
        if self._sslobj is None:
            return super().send(data, flags)
        if flags != 0:
            raise ValueError(f"non-zero flags not allowed in calls to send() on {type(self)}")
        return self.write(data)

    def accept(self) -> tuple["SSLSocket", Any]:
        """A connection after its handshake, and the peer's address. Waits for both; see `serve(ssl=...)`."""
        sock, address = socket.accept(self)
        try:
            options = (self.do_handshake_on_connect, self.suppress_ragged_eofs)
            return wrap_ssl(self.context, sock, True, None, *options), address
        except BaseException:
            with contextlib.suppress(OSError):
                sock.close()
            raise

    def unwrap(self) -> socket:
        """Tells the peer that TLS ends, waits for its answer; the plain socket is this object from then on."""
        found: socket = self._until_done("shutdown", self._session_object().shutdown)
        self._sslobj = None
        return found


def wrap_ssl(
    context: ssl.SSLContext,
    sock: standard.socket,
    server_side: bool = False,
    server_hostname: str | None = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    session: ssl.SSLSession | None = None,
) -> SSLSocket:
    """TLS over a connected socket (ours or a standard one), which is detached. Waits for the handshake.

    Over anything else, TLS included, there is `SSLStream`.
    """
    return SSLSocket._create(
        sock,
        server_side=server_side,
        server_hostname=server_hostname,
        do_handshake_on_connect=do_handshake_on_connect,
        suppress_ragged_eofs=suppress_ragged_eofs,
        context=context,
        session=session,
    )
