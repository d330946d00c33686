"""`socket`: the standard library's class, whose waits park a green thread and let a kernel thread sleep.

The file descriptor is always in non-blocking mode; blocking and timeouts are this class's. A method makes the system
call first, by the method of the C class below `socket.socket`, and waits only if that says that it would block. Only
receiving, which mostly has to wait, goes past that class.
"""

import errno
import ipaddress
import operator
import os
import socket as standard
import time
from collections.abc import Callable, Iterable
from typing import Any

from filar._lib import extension
from filar.errors import CancelledError
from filar.green import blocking, sleep
from filar.net._wait import READABLE, WRITABLE, remaining, wait_fd
from filar.waiting import close_fd, forget_fd

__all__ = ["adopt", "create_connection", "create_server", "fromfd", "getaddrinfo", "socket", "socketpair"]

# The C class, whose methods a subclass in Python does not slow down; `standard.socket` adds Python to some.
_C: Any = standard.socket.__mro__[1]
_set_blocking = _C.setblocking
_fileno, _send = _C.fileno, _C.send
_recv, _recv_into = extension.receive, extension.receive_into
_family, _type, _proto = _C.family.__get__, _C.type.__get__, _C.proto.__get__
_DONTWAIT: int = standard.MSG_DONTWAIT
# Seconds. A listening Unix socket whose queue is full says EAGAIN to those who connect, and nothing says when to come
# again.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


def _checked_timeout(value: Any) -> float | None:
    """As the standard class checks it."""
    if value is None:
        return None
    seconds = value if isinstance(value, float) else float(operator.index(value))
    if not seconds >= 0:
        raise ValueError("Timeout value out of range" if seconds < 0 else "Invalid value NaN (not a number)")
    if seconds > 2**62 / 1e9:
        raise OverflowError("timeout doesn't fit into C timeval")
    return seconds


def _is_number(host: Any) -> bool:
    """Whether an internet address needs nobody to resolve it."""
    if not isinstance(host, str) or host in ("", "<broadcast>"):
        return True
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def getaddrinfo(
    host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[tuple[Any, Any, int, str, Any]]:
    """As `socket.getaddrinfo()`. Names are resolved on a kernel thread (`filar.blocking`), numbers at once.

    Parks a green thread; there is no timeout but that of a `filar.timeout()` around it. From any thread.
    """
    if _is_number(host) and not isinstance(port, str):
        return standard.getaddrinfo(host, port, family, type, proto, flags)
    found: list[Any] = blocking(standard.getaddrinfo, host, port, family, type, proto, flags)
    return found


def _noted(error: BaseException, sent: int, total: int) -> None:
    """Says in an exception that ends a sendall() how far it came."""
    error.bytes_sent = sent  # type: ignore[attr-defined]
    error.add_note(f"{sent} of {total} bytes had been sent")


class socket(standard.socket):  # noqa: N801 (the name of the standard library's)
    """`socket.socket` for green threads: its waits park the caller. On a kernel thread the caller sleeps.

    All that is said of `socket.socket` holds, and libraries that take one take this. What differs:

    - Its file descriptor is non-blocking, whatever `gettimeout()` says; `detach()` gives it back as that says.
    - A wait ends when another thread closes the socket: OSError with EBADF.
    - A wait of a cancelled green thread raises CancelledError; that and every other exception out of `sendall()` has
      `bytes_sent`.
    - Names in addresses are resolved on a kernel thread (`getaddrinfo()` of this module).

    Any number of threads may use one socket; two that receive, or two that send in pieces, share the
    bytes between them.
    """

    __slots__ = ("_timeout",)
    _timeout: float | None

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        super().__init__(family, type, proto, fileno)
        self._timeout = _C.gettimeout(self)
        _set_blocking(self, False)
        # Whoever had the number before may have closed it without our knowing.
        extension.new_fd(_fileno(self))

    # ---- waiting --------------------------------------------------------------------------------------------------

    def settimeout(self, value: float | None, /) -> None:
        """Seconds that each operation may take; 0: it never waits; None: it waits as long as it takes."""
        if self.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._timeout = _checked_timeout(value)

    def gettimeout(self) -> float | None:
        """Seconds, or None."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """As gettimeout()."""
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:
        """True: settimeout(None), False: settimeout(0)."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether operations wait."""
        return self._timeout != 0.0

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self, events: int, deadline: float | None) -> None:
        if not wait_fd(_C.fileno(self), events, remaining(deadline)):
            raise TimeoutError("timed out")

    def _when(self, events: int, call: Callable[..., Any], *args: Any) -> Any:
        """`call(self, *args)` once it does not say that it would block."""
        deadline = self._deadline()
        while True:
            self._wait(events, deadline)
            try:
                return call(self, *args)
            except BlockingIOError:
                continue

    def _never_waits(self, flags: int) -> bool:
        return self._timeout == 0.0 or bool(flags & _DONTWAIT)

    # ---- receiving ------------------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Up to `bufsize` bytes, b"" at the end. Waits until there is something."""
        return _recv(_fileno(self), bufsize, flags, self._timeout)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As recv(), into a buffer; the number of bytes."""
        return _recv_into(_fileno(self), buffer, nbytes, flags, self._timeout)

    def _receive(self, call: Callable[..., Any], flags: int, *args: Any) -> Any:
        try:
            return call(self, *args)
        except BlockingIOError:
            if self._never_waits(flags):
                raise
        return self._when(READABLE, call, *args)

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """As recv(), with the sender's address."""
        return self._receive(_C.recvfrom, flags, bufsize, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As recv_into(), with the sender's address."""
        return self._receive(_C.recvfrom_into, flags, buffer, nbytes, flags)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        """As recv(), with ancillary data, flags and address."""
        return self._receive(_C.recvmsg, flags, bufsize, ancbufsize, flags)

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """As recvmsg(), into buffers."""
        buffers = list(buffers)  # a generator would be at its end at the second attempt
        return self._receive(_C.recvmsg_into, flags, buffers, ancbufsize, flags)

    def accept(self) -> tuple["socket", Any]:
        """(a new socket, the peer's address). Waits for a connection."""
        fd, address = self._receive(_C._accept, 0)
        try:
            return socket(_family(self), _type(self), _proto(self), fileno=fd), address
        except BaseException:
            os.close(fd)
            raise

    # ---- sending --------------------------------------------------------------------------------------------------

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Sends some of the bytes, and returns how many. Waits until there is room for one."""
        try:
            return _send(self, data, flags)
        except BlockingIOError:
            if self._never_waits(flags):
                raise
        return self._when(WRITABLE, _send, data, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Sends all bytes; the timeout is for all together.

        What ends it early, a cancelled green thread's CancelledError too, has `bytes_sent`: what the system had
        taken by then.
        """
        if self._timeout == 0.0:
            return _C.sendall(self, data, flags)
        try:
            sent = _send(self, data, flags)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            _noted(error, 0, memoryview(data).nbytes)
            raise
        if type(data) is not bytes or sent != len(data):
            self._send_rest(data, flags, sent)
        return None

    def _send_rest(self, data: Any, flags: int, sent: int) -> None:
        deadline = self._deadline()
        try:
            with memoryview(data) as given, given.cast("B") as view:
                while sent < len(view):
                    try:
                        sent += _send(self, view[sent:], flags)
                    except BlockingIOError:
                        self._wait(WRITABLE, deadline)
        except (OSError, CancelledError) as error:
            _noted(error, sent, memoryview(data).nbytes)
            raise

    def sendto(self, data: Any, *flags_address: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`: one datagram."""
        if not 1 <= len(flags_address) <= 2:
            return _C.sendto(self, data, *flags_address)
        *flags, address = flags_address
        address = self._resolved(address)
        try:
            return _C.sendto(self, data, *flags, address)
        except BlockingIOError:
            if self._never_waits(flags[0] if flags else 0):
                raise
        return self._when(WRITABLE, _C.sendto, data, *flags, address)

    def sendmsg(
        self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """As send(), of several buffers, with ancillary data."""
        buffers, ancdata = list(buffers), list(ancdata)
        try:
            return _C.sendmsg(self, buffers, ancdata, flags, address)
        except BlockingIOError:
            if self._never_waits(flags):
                raise
        return self._when(WRITABLE, _C.sendmsg, buffers, ancdata, flags, address)

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """What sendfile() of the standard class calls; the standard one would block the kernel thread."""
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        give_up = standard._GiveupOnSendfile  # type: ignore[attr-defined]
        try:
            source = file.fileno()
            size = os.fstat(source).st_size
        except (AttributeError, OSError) as error:
            raise give_up(error) from None
        if size == 0:
            return 0
        if self._timeout == 0.0:
            raise ValueError("non-blocking sockets are not supported")
        total = 0
        try:
            while count is None or total < count:
                block = min(size if count is None else count - total, 2**30)
                try:
                    sent = os.sendfile(_C.fileno(self), source, offset + total, block)
                except BlockingIOError:
                    self._wait(WRITABLE, self._deadline())
                    continue
                except OSError as error:
                    if total == 0:
                        raise give_up(error) from None
                    raise
                if sent == 0:
                    break
                total += sent
            return total
        finally:
            if total > 0 and hasattr(file, "seek"):
                file.seek(offset + total)

    # ---- connecting -----------------------------------------------------------------------------------------------

    def _resolved(self, address: Any) -> Any:
        """The address with a number in the place of a name."""
        family = _family(self)
        if family not in (standard.AF_INET, standard.AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
            return address
        if _is_number(address[0]):
            return address
        found = getaddrinfo(address[0], None, family, standard.SOCK_STREAM)[0][4]
        return (found[0], *address[1:]) if len(address) > 2 else (found[0], address[1], *found[2:])

    def bind(self, address: Any, /) -> None:
        """Gives it an address; a name is resolved first."""
        _C.bind(self, self._resolved(address))

    def connect(self, address: Any, /) -> None:
        """Connects. When it raises, the attempt may still be under way: close the socket."""
        code = self._connect(self._resolved(address))
        if code == errno.ETIMEDOUT and self._timeout is not None:
            raise TimeoutError(code, os.strerror(code))
        if code:
            raise OSError(code, os.strerror(code))

    def connect_ex(self, address: Any, /) -> int:
        """As connect(), with an errno in the place of OSError; EAGAIN when the timeout has passed."""
        try:
            return self._connect(self._resolved(address))
        except TimeoutError:
            return errno.EAGAIN

    def _connect(self, address: Any) -> int:
        deadline, pause = self._deadline(), _FIRST_PAUSE
        while True:
            code: int = _C.connect_ex(self, address)
            if self._timeout == 0.0 or code not in (errno.EINPROGRESS, errno.EAGAIN, errno.EINTR):
                return code
            if code != errno.EAGAIN:
                self._wait(WRITABLE, deadline)
                return self.getsockopt(standard.SOL_SOCKET, standard.SO_ERROR)
            left = remaining(deadline)
            if left == 0.0:
                raise TimeoutError("timed out")
            sleep(pause if left is None else min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    # ---- the end --------------------------------------------------------------------------------------------------

    def detach(self) -> int:
        """Lets go of the file descriptor, open, and as blocking as this socket was. Those who wait hear EBADF."""
        if _C.fileno(self) >= 0:
            if self._timeout is None:
                _set_blocking(self, True)
            forget_fd(_C.fileno(self))
        return super().detach()

    # These two also run while the interpreter takes modules apart: they use no globals.
    def _real_close(self, _detach: Any = _C.detach, _close: Any = close_fd) -> None:
        # Nobody may begin to wait for a number that may be another file's by then: first it is no longer ours.
        fd = _detach(self)
        if fd >= 0:
            _close(fd)

    def __del__(self, _fileno: Any = _C.fileno, _forget: Any = forget_fd, _base: Any = _C.__del__) -> None:
        # Who waits for it holds a reference, so nobody does; but the number must not be known when it comes again.
        if _fileno(self) >= 0:
            _forget(_fileno(self))
        _base(self)


# ---- making sockets ------------------------------------------------------------------------------------------------


def adopt(sock: standard.socket) -> socket:
    """Makes a standard socket one of ours: the given one is detached, its timeout stays."""
    timeout = sock.gettimeout()
    ours = socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
    ours.settimeout(timeout)
    return ours


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """A socket on a duplicate of the file descriptor, which becomes non-blocking with it."""
    return socket(family, type, proto, fileno=standard.dup(fd))


def socketpair(family: int | None = None, type: int = standard.SOCK_STREAM, proto: int = 0) -> tuple[socket, socket]:
    """Two that are connected to each other."""
    one, other = standard.socketpair(family, type, proto)
    return adopt(one), adopt(other)


_UNSET: Any = getattr(standard, "_GLOBAL_DEFAULT_TIMEOUT", object())


def create_connection(
    address: tuple[Any, Any], timeout: float | None = _UNSET, source_address: Any = None, *, all_errors: bool = False
) -> socket:
    """A connection to (host, port), whichever of its addresses answers first in their order. As the standard one.

    `timeout` in seconds is for each attempt and stays the socket's; resolving the name has none. Waits.
    """
    host, port = address
    failures: list[Exception] = []
    for family, type, proto, _, sockaddr in getaddrinfo(host, port, 0, standard.SOCK_STREAM):
        sock = None
        try:
            sock = socket(family, type, proto)
            if timeout is not _UNSET:
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(sockaddr)
            return sock
        except OSError as error:
            if not all_errors:
                failures.clear()
            failures.append(error)
            if sock is not None:
                sock.close()
        except BaseException:
            if sock is not None:
                sock.close()
            raise
    try:
        if not failures:
            raise OSError("getaddrinfo returns an empty list")
        raise ExceptionGroup("create_connection failed", failures) if all_errors else failures[0]
    finally:
        failures.clear()  # or error and frame would hold each other


def create_server(
    address: Any,
    *,
    family: int = standard.AF_INET,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket:
    """A socket that listens on the address. As the standard one; resolves a name on a kernel thread."""

    def create() -> standard.socket:
        return standard.create_server(
            address, family=family, backlog=backlog, reuse_port=reuse_port, dualstack_ipv6=dualstack_ipv6
        )

    numeric = not isinstance(address, tuple) or not address or _is_number(address[0])
    return adopt(create() if numeric else blocking(create))
