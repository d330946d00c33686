"""Servers: a green thread for each connection, limits, and an end at which nothing is lost.

`Server` takes a function of a socket; `GreenMixIn` makes the standard library's `socketserver` and `http.server` run
on green threads. What both need stands in `_Handlers` and `_BackOff`.
"""

import errno
import logging
import ssl as tls
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from filar.errors import CancelledError, DeadlineError, FilarError, WrongStateError
from filar.green import current, sleep, spawn, timeout, yield_
from filar.green import run as run_green
from filar.net._socket import adopt, create_server, socket
from filar.net._ssl import wrap_ssl
from filar.net._wait import READABLE, wait_fd
from filar.sync import Event, Semaphore

__all__ = ["GreenMixIn", "Server", "ServerStatistics", "serve"]

log = logging.getLogger("filar.net")

# What accept() says of one connection or of the network, not of the listening socket: on to the next (accept(2)).
# EOPNOTSUPP may be that, too, but a socket that cannot accept at all says the same, and for ever.
_PASSING = {
    errno.ECONNABORTED,
    errno.EPERM,
    errno.EPROTO,
    errno.ENETDOWN,
    errno.ENOPROTOOPT,
    errno.EHOSTDOWN,
    errno.ENONET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
}
# No file descriptor or no memory: the connection stays in line, and asking again at once would spin.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Connections taken at once: so many, or this part of those that are served. A burst of connections must not keep all
# handlers waiting, and thousands of handlers, of which each has its turn in between, not those who are in line: at a
# fixed number a turn ten thousand clients would wait for minutes until all of them are served.
_BURST, _BURST_PART = 64, 1 / 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 1.0  # seconds
# Connections that a server which stops takes out of the system's queue: more than it usually holds (somaxconn), and not
# without end where clients come as fast as it accepts.
_IN_LINE_MAX = 4096


class _BackOff:
    """Longer and longer pauses while accept() finds no file descriptor; one line when it begins, one when it ends."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._pause = 0.0

    def failed(self, error: OSError) -> None:
        """Waits a little. Parks."""
        if self._pause == 0.0:
            self._log.warning("cannot accept connections, trying again until it works: %s", error)
        self._pause = min(max(_FIRST_PAUSE, 2 * self._pause), _LONGEST_PAUSE)
        sleep(self._pause)

    def worked(self) -> None:
        """accept() has returned a connection."""
        if self._pause != 0.0:
            self._pause = 0.0
            self._log.info("accepting connections again")


class _Handlers:
    """The green threads of a server's connections."""

    def __init__(self) -> None:
        self.live: dict[Any, Callable[[], None]] = {}  # -> what to call when it has ended; changed by single operations
        self._burst = 0

    def start(self, ended: Callable[[], None], body: Callable[..., Any], *args: Any) -> None:
        """Spawns one; `ended` is called at its end, also if it never began."""
        green = spawn(body, *args)
        self.live[green] = ended
        green.add_done_callback(self._ended)

    def give_way(self) -> None:
        """After each start(): lets the handlers run when enough have been begun at once. Yields."""
        self._burst += 1
        if self._burst >= max(_BURST, _BURST_PART * len(self.live)):
            self._burst = 0
            yield_()

    def _ended(self, green: Any) -> None:
        green.exception()  # it was told of, or it was cancelled: nobody will join
        ended = self.live.pop(green, None)
        if ended is not None:  # else finish() came first
            ended()

    def finish(self, grace: float | None) -> int:
        """Waits until all have ended, `grace` seconds at most, and cancels the rest; how many those were. Parks."""
        cut_off = 0
        try:
            with timeout(grace):
                for green in list(self.live):
                    green._wait(None)
        except DeadlineError:
            pass
        finally:
            # Also when we are cancelled ourselves, and for what was spawned by a handler meanwhile.
            for green in list(self.live):
                cut_off += green.cancel()  # False: it has ended, only its callback has not been called yet
            for green in list(self.live):
                green._wait_shielded()
                self._ended(green)
        return cut_off


@dataclass(frozen=True)
class ServerStatistics:
    """A snapshot; all but `active` only grow."""

    active: int  # connections whose handlers run
    accepted: int
    failed: int  # handlers that raised
    broken: int  # connections lost, or out of time
    cut_off: int  # cancelled when the server stopped


class Server:
    """Serves connections, each by `handler(socket, address)` on a green thread of its own.

        server = filar.net.Server(handler, ("127.0.0.1", 8000), timeout=30)
        signal.signal(signal.SIGTERM, lambda *_: server.stop())
        server.run()

    `address`: for `create_server()`, or a socket that listens, which is then the server's. It listens once it is
    made.  `ssl`: an ssl.SSLContext; the handshake is made on the connection's green thread. `timeout`: seconds of
    each operation of a connection's socket. `lifetime`: seconds of a whole connection, so that a client that
    dribbles is cut off; a handler sets finer limits by `filar.timeout()`. `max_connections`: at a time; beyond,
    they wait in the system's queue, which is as long as `backlog` (and the system's limit, net.core.somaxconn).
    `grace`: seconds for which handlers go on after `stop()`; None: until they end. `workers`: of the runtime that
    run() makes if it is called on a kernel thread.

    A handler's socket is closed when it returns. If it raises, that is logged with its traceback (logger "filar.net",
    or `logger`) and the others go on; connections that break or run out of time are logged as INFO. When there is no
    file descriptor left, it says so once and waits until there is one.
    """

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        address: Any,
        *,
        ssl: tls.SSLContext | None = None,
        timeout: float | None = None,
        lifetime: float | None = None,
        max_connections: int = 10_000,
        grace: float | None = 30.0,
        backlog: int = 4096,
        workers: int = 1,
        logger: logging.Logger | None = None,
    ) -> None:
        self._handler, self._ssl = handler, ssl
        self._timeout, self._lifetime, self._grace = timeout, lifetime, grace
        self._workers = workers
        self._log = log if logger is None else logger
        self._room = Semaphore(max_connections)
        self._handlers = _Handlers()
        self._scope: Any = None
        self._stopping = self._started = False
        self._accepted = self._failed = self._broken = self._cut_off = 0
        if hasattr(address, "getsockname"):
            self._listener = address if isinstance(address, socket) else adopt(address)
        else:
            self._listener = create_server(address, backlog=backlog)
        self._listener.settimeout(None)
        self._address = self._listener.getsockname()

    @property
    def address(self) -> Any:
        """Where it listens, or listened: with the port that the system chose, if it was asked to."""
        return self._address

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop: a handler that serves many requests ends after the one it is at."""
        return self._stopping

    def run(self) -> None:
        """Serves until `stop()`, then lets the handlers finish. Once. Parks; on a kernel thread, blocks.

        Told to stop before, it returns at once.
        If its green thread is cancelled (Ctrl-C in `filar.run()`), so are the handlers, at once.
        """
        if current() is None:
            return run_green(self.run, workers=self._workers)
        if self._started:
            raise WrongStateError("a server runs once")
        self._started = True
        grace: float | None = 0.0
        try:
            with timeout() as scope:
                self._scope = scope
                if not self._stopping:
                    self._log.info("serving on %s", self._address)
                    self._accept_all()
            self._accept_those_in_line()
            grace = self._grace
        finally:
            self._stopping, self._scope = True, None
            # First the port: a client is refused rather than left waiting.
            self._listener.close()
            self._cut_off = self._handlers.finish(grace)
            self._log.info(
                "stopped serving on %s: %d connections, %d cut off", self._address, self._accepted, self._cut_off
            )

    def stop(self) -> None:
        """Ends `run()`: no more connections, those that are there have `grace` seconds. Does not wait.

        From any thread, and from a signal handler. Harmless again and again, and before run(): it serves nobody then.
        """
        self._stopping = True
        scope = self._scope
        if scope is not None:
            scope.cancel()
        elif not self._started:
            self._listener.close()

    def statistics(self) -> ServerStatistics:
        """A snapshot."""
        return ServerStatistics(len(self._handlers.live), self._accepted, self._failed, self._broken, self._cut_off)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.stop()

    def _accept_all(self) -> None:
        back_off = _BackOff(self._log)
        while True:
            self._room.acquire()
            try:
                sock, address = self._listener.accept()
            except BaseException as error:
                self._room.release()
                number = error.errno if isinstance(error, OSError) else None
                if number in _EXHAUSTED:
                    back_off.failed(error)  # type: ignore[arg-type]
                elif number not in _PASSING:
                    raise
                continue
            back_off.worked()
            self._accepted += 1
            self._begin(sock, address)
            self._handlers.give_way()

    def _accept_those_in_line(self) -> None:
        """Closing the listening socket would reset them, after they were told that they are connected."""
        try:
            self._listener.settimeout(0)
        except OSError:
            return  # closed: it was told to stop before it ran
        for _ in range(_IN_LINE_MAX):
            if not self._room.acquire(blocking=False):
                return
            try:
                sock, address = self._listener.accept()
            except OSError as error:
                self._room.release()
                if error.errno not in _PASSING:
                    return
                continue
            self._accepted += 1
            self._begin(sock, address)

    def _begin(self, sock: socket, address: Any) -> None:
        def ended() -> None:
            sock.close()
            self._room.release()

        try:
            self._handlers.start(ended, self._one, sock, address)
        except (FilarError, MemoryError) as error:
            ended()
            self._failed += 1
            self._log.error("no green thread for the connection from %s: %s", address, error)

    def _one(self, sock: socket, address: Any) -> None:
        try:
            with timeout(self._lifetime):
                sock.settimeout(self._timeout)
                if self._ssl is None:
                    self._handler(sock, address)
                else:
                    with wrap_ssl(self._ssl, sock, server_side=True) as secured:
                        self._handler(secured, address)
        except (ConnectionError, TimeoutError, tls.SSLError) as error:
            self._broken += 1
            self._log.info("the connection from %s broke: %s: %s", address, type(error).__name__, error)
        except CancelledError:
            self._log.info("the connection from %s was cut off", address)
            raise
        except Exception as error:
            self._failed += 1
            text = f"{type(error).__name__}: {error}"
            self._log.error("the handler of the connection from %s failed: %s", address, text, exc_info=True)
        finally:
            sock.close()


def serve(handler: Callable[[Any, Any], Any], address: Any, **options: Any) -> None:
    """`Server(handler, address, **options).run()`, for programs that end with it."""
    Server(handler, address, **options).run()


class GreenMixIn:
    """`class Server(filar.net.GreenMixIn, http.server.HTTPServer)`: a green thread for each request.

    In the place of `socketserver.ThreadingMixIn`, for servers of stream and of datagram sockets. `serve_forever()` runs
    on a green thread, or, called on a kernel thread, makes a runtime with `workers` workers. `shutdown()` ends it from
    any other thread; what runs then has `grace` seconds.
    """

    grace: float | None = 30.0
    workers = 1
    socket: Any

    def __init__(self, server_address: Any, handler: Any, bind_and_activate: bool = True) -> None:
        self._handlers = _Handlers()
        self._back_off = _BackOff(log)
        self._scope: Any = None
        self._shutting_down = False
        self._down = Event()
        self._down.set()
        super().__init__(server_address, handler, False)  # type: ignore[call-arg]
        self.socket = adopt(self.socket)
        if bind_and_activate:
            try:
                self.server_bind()  # type: ignore[attr-defined]
                self.server_activate()  # type: ignore[attr-defined]
            except BaseException:
                self.socket.close()
                raise

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Handles requests until `shutdown()`, then lets those under way finish; `service_actions()` after each.

        Parks; on a kernel thread, blocks. Nothing is polled.
        """
        if current() is None:
            return run_green(self.serve_forever, workers=self.workers)
        this: Any = self
        grace: float | None = 0.0
        self._down.clear()
        try:
            with timeout() as scope:
                self._scope = scope
                while not self._shutting_down:
                    wait_fd(self.socket.fileno(), READABLE, None)
                    this._handle_request_noblock()
                    this.service_actions()
                    self._handlers.give_way()
            grace = self.grace
        finally:
            self._scope, self._shutting_down = None, False
            self._handlers.finish(grace)
            self._down.set()
        return None

    def get_request(self) -> Any:
        """As the base class; when there is no file descriptor left, after a pause."""
        try:
            found = super().get_request()  # type: ignore[misc]
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._back_off.failed(error)
            raise
        self._back_off.worked()
        return found

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a green thread that handles the request."""
        self._handlers.start(lambda: None, self._process_on_green, request, client_address)

    def _process_on_green(self, request: Any, client_address: Any) -> None:
        this: Any = self
        try:
            this.finish_request(request, client_address)
        except Exception:
            this.handle_error(request, client_address)
        finally:
            this.shutdown_request(request)

    def shutdown(self) -> None:
        """Ends `serve_forever()` and waits until it has returned. Not from a handler: that waits for itself."""
        self._shutting_down = True  # a serve_forever() that is about to begin then ends at once
        scope = self._scope
        if scope is not None:
            scope.cancel()
        self._down.wait()
