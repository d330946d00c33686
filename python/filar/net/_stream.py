"""`SSLStream`: TLS over what is no socket of the system, or is TLS already.

OpenSSL works on two memory BIOs; what it wants to send or to read goes through methods of what is below.
"""

import contextlib
import socket as standard
import ssl
from collections.abc import Callable
from typing import Any, Self

from filar.sync import Lock

__all__ = ["SSLStream"]

# Of the transport, at a time: a TLS record is no longer.
_PIECE = 16 * 1024 + 256


class SSLStream:
    """TLS over anything with `recv(bytes)`, `sendall(data)` and `close()`: what waits is theirs.

        tunnel = net.wrap_ssl(context, net.create_connection(proxy), server_hostname=name)   # TLS to a proxy
        ...                                                                                  # CONNECT
        inner = net.SSLStream(context, tunnel, server_hostname=host)                         # TLS inside of it

    Made when the handshake is done; one that is cut short closes the transport. It has what libraries use of a
    socket: one thread may read while another writes; timeouts are the transport's, for each of its operations. A
    transport that ends without a close notification is the end of the data, or, with `suppress_ragged_eofs=False`,
    ssl.SSLEOFError. For a socket of the system itself, `wrap_ssl()` is faster.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        transport: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        suppress_ragged_eofs: bool = True,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.context, self.transport = context, transport
        self.suppress_ragged_eofs = suppress_ragged_eofs
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname, session)
        self._turn, self._sending = Lock(), Lock()
        self._closed, self._io_refs = False, 0
        try:
            self._until_done(self._object.do_handshake)
        except BaseException:
            self.close()
            raise

    # ---- between OpenSSL and the transport ------------------------------------------------------------------------

    def _until_done(self, call: Callable[..., Any], *args: Any) -> Any:
        """`call(*args)`, again and again, with what it wants from the transport in between."""
        while True:
            try:
                # OpenSSL's objects are not for two kernel threads at a time, and it lets go of the GIL.
                with self._turn:
                    done = call(*args)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                # An alert for the peer; it may have gone.
                with contextlib.suppress(OSError):
                    self._flush()
                raise
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        """Sends what OpenSSL has made. Who finds somebody at it leaves it to them: a reader must not wait for that."""
        while self._outgoing.pending and self._sending.acquire(blocking=False):
            try:
                while data := self._outgoing.read():
                    self.transport.sendall(data)
            finally:
                self._sending.release()

    def _fill(self) -> None:
        """Waits for bytes of the peer, or its end."""
        data = self.transport.recv(_PIECE)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    # ---- as a socket ----------------------------------------------------------------------------------------------

    def _read(self, *args: Any) -> Any:
        """None: the end."""
        if self._closed and self._io_refs <= 0:
            raise ValueError("Read on closed or unwrapped SSL socket.")
        try:
            return self._until_done(self._object.read, *args)
        except ssl.SSLZeroReturnError:
            return None
        except ssl.SSLError as error:
            if error.args[0] != ssl.SSL_ERROR_EOF or not self.suppress_ragged_eofs:
                raise
            return None

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        """Up to `bufsize` bytes, b"" at the end; waits until there is something. Flags must be 0."""
        _no_flags(flags)
        got: bytes | None = self._read(bufsize) if bufsize else b""
        return got or b""

    read = recv

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As recv(), into a buffer; the number of bytes."""
        _no_flags(flags)
        with memoryview(buffer) as view, view.cast("B") as room:
            return (self._read(nbytes or len(room), room) or 0) if len(room) else 0

    def send(self, data: Any, flags: int = 0) -> int:
        """Sends all bytes, and returns how many those were; waits until the transport has taken them."""
        self.sendall(data, flags)
        return memoryview(data).nbytes

    write = send

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Sends all bytes."""
        _no_flags(flags)
        if self._closed:
            raise ValueError("Write on closed or unwrapped SSL socket.")
        with memoryview(data) as given, given.cast("B") as view:
            done = 0
            while done < len(view):
                done += self._until_done(self._object.write, view[done:])

    makefile: Any = standard.socket.makefile

    def fileno(self) -> int:
        """The transport's: to tell that there may be something, not that there is (`pending()`)."""
        return int(self.transport.fileno())

    def settimeout(self, value: float | None, /) -> None:
        """The transport's."""
        self.transport.settimeout(value)

    def gettimeout(self) -> float | None:
        """The transport's."""
        found: float | None = self.transport.gettimeout()
        return found

    # ---- of TLS ---------------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        """What is asked about the connection (`version()`, `cipher()`, `getpeercert()`, ...), of `ssl.SSLObject`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._object, name)

    # ---- the end --------------------------------------------------------------------------------------------------

    def unwrap(self) -> Any:
        """Tells the peer that TLS ends, and waits for its answer; the transport, which stays open."""
        self._until_done(self._object.unwrap)
        self._closed = True
        return self.transport

    def close(self) -> None:
        """Closes the transport once no file made of this is open any more."""
        self._closed = True
        if self._io_refs <= 0:
            self.transport.close()

    def _decref_socketios(self) -> None:
        """What a file made of this calls when it is closed."""
        self._io_refs -= 1
        if self._closed:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_flags(flags: int) -> None:
    if flags != 0:
        raise ValueError("non-zero flags are not allowed on TLS")
