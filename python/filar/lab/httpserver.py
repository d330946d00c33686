"""The lab's web service in Python: one handler, served by threads, a pool, green threads or asyncio.

Run as a script, in an interpreter of its own: `httpserver.py MODE [WORKERS]`. It listens on a free port of the
loopback, prints the port, and serves until its standard input ends or its parent dies. What a request asks for is what
csrc/lab/http.h says: "/work?steps=N&block_us=M" computes (the same native code), blocks, and echoes.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import queue
import re
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

BYTES_MAX = 1024
BACKLOG = 4096
BACK_OFF_S = 0.005
CONNECTIONS_MAX = 60_000
_STACK_BYTES = 256 * 1024
_NUMBER = {name: re.compile(rb"[?&]" + name + rb"=(\d+)") for name in (b"steps", b"block_us")}
_REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


# ---- the handler ----


class Request(NamedTuple):
    """What a request asks for; `length` is that of all its bytes."""

    length: int
    steps: int
    block_us: int
    echo: bytes
    keep: bool


def _number(target: bytes, name: bytes) -> int:
    found = _NUMBER[name].search(target)
    return int(found.group(1)) if found else 0


def parse(data: bytes | bytearray) -> Request | None:
    """The first request in the bytes, None if more are to come; ValueError if they are none."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) >= BYTES_MAX:
            raise ValueError("the head is too long")
        return None
    line, _, headers = bytes(data[:end]).partition(b"\r\n")
    _, target, version = line.split(b" ")
    if not target.startswith(b"/") or not version.startswith(b"HTTP/1."):
        raise ValueError(f"no request: {line!r}")
    lower = b"\r\n" + headers.lower() + b"\r\n"
    body, keep = 0, b"\r\nconnection: close\r\n" not in lower
    at = lower.find(b"\r\ncontent-length:")
    if at >= 0:
        body = int(lower[at + 17 : lower.index(b"\r\n", at + 2)])
        if not 0 <= body <= BYTES_MAX - end - 4:
            raise ValueError("the body is too long")
    if len(data) < end + 4 + body:
        return None
    echo = bytes(data[end + 4 : end + 4 + body]) or target
    return Request(end + 4 + body, _number(target, b"steps"), _number(target, b"block_us"), echo, keep)


def compute(steps: int) -> None:
    """The computing part: native, without the GIL, the same as in the servers written in C."""
    if steps > 0:
        from filar._lib import ffi, lib

        lib.filar_kernel_spin(0, (steps + 99) // 100, ffi.new("filar_spin *", {"steps": 100, "sink": ffi.NULL}))


def answer(request: Request) -> bytes:
    """The whole answer."""
    close = b"" if request.keep else b"Connection: close\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%b\r\n" % (len(request.echo), close)
    return head + request.echo


def respond(data: bytearray, block: Callable[[float], object]) -> tuple[bytes, bool]:
    """Handles every whole request at the front of `data` and removes it: the answers, and whether to stay connected."""
    out = b""
    try:
        while data and (request := parse(data)) is not None:
            del data[: request.length]
            compute(request.steps)
            if request.block_us:
                block(request.block_us / 1e6)
            out += answer(request)
            if not request.keep:
                return out, False
    except ValueError:
        return out + _REFUSED, False
    return out, True


def serve_connection(connection: Any, block: Callable[[float], object] = time.sleep) -> None:
    """Serves one client until it leaves, by calls that block whatever kind of thread this is."""
    data = bytearray()
    try:
        keep = True
        while keep and (got := connection.recv(BYTES_MAX)):
            data += got
            out, keep = respond(data, block)
            if out:
                connection.sendall(out)
    except OSError:
        pass  # the client has gone
    finally:
        connection.close()


# ---- who serves ----


def _accept(listener: socket.socket) -> socket.socket:
    """The next connection; waits a little where the process may open no more."""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            raise
        except OSError:
            time.sleep(BACK_OFF_S)
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def on_threads(listener: socket.socket, workers: int) -> None:
    """A thread for each connection."""
    while True:
        connection = _accept(listener)
        try:
            threading.Thread(target=serve_connection, args=(connection,), daemon=True).start()
        except RuntimeError:
            connection.close()
            time.sleep(BACK_OFF_S)


class _Pooled:
    """A connection of the pool: epoll's while it waits, then the queue's, then a worker's."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.data = connection, bytearray()


def on_pool(listener: socket.socket, workers: int) -> None:
    """`workers` threads and a queue of connections that have something to say, filled by a dispatcher."""
    poll, ready = select.epoll(), queue.SimpleQueue[_Pooled]()
    once = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT
    known: dict[int, _Pooled] = {}

    def forget(one: _Pooled) -> None:
        known.pop(one.connection.fileno(), None)
        one.connection.close()

    def work() -> None:
        while True:
            one = ready.get()
            try:
                got = one.connection.recv(BYTES_MAX)
                one.data += got
                out, keep = respond(one.data, time.sleep)
                if out:
                    one.connection.sendall(out)
                if got and keep:
                    poll.modify(one.connection.fileno(), once)
                else:
                    forget(one)
            except OSError:
                forget(one)

    for _ in range(workers):
        threading.Thread(target=work, daemon=True).start()
    listener.setblocking(False)
    poll.register(listener.fileno(), select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd != listener.fileno():
                if fd in known:
                    ready.put(known[fd])
                continue
            try:
                while True:
                    connection = _accept(listener)
                    connection.setblocking(True)
                    known[connection.fileno()] = _Pooled(connection)
                    poll.register(connection.fileno(), once)
            except BlockingIOError:
                pass


async def _on_streams(listener: socket.socket, block: Callable[[float], Any]) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = bytearray()
        try:
            keep = True
            while keep and (got := await reader.read(BYTES_MAX)):
                data += got
                pauses: list[float] = []
                out, keep = respond(data, pauses.append)
                for pause in pauses:
                    await block(pause)
                writer.write(out)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


async def _block_loop(seconds: float) -> None:
    time.sleep(seconds)


async def _block_thread(seconds: float) -> None:
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, seconds)


def on_asyncio(listener: socket.socket, workers: int) -> None:
    """asyncio's streams; a call that blocks is made on the loop's own thread."""
    asyncio.run(_on_streams(listener, _block_loop))


def on_asyncio_threads(listener: socket.socket, workers: int) -> None:
    """asyncio's streams; a call that blocks is made on a thread of the loop's default executor."""
    from concurrent.futures import ThreadPoolExecutor

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(workers))
        await _on_streams(listener, _block_thread)

    asyncio.run(main())


def on_green(listener: socket.socket, workers: int) -> None:
    """A green thread for each connection; a call that blocks is made on a kernel thread kept for that."""
    from filar import blocking, net

    def block(seconds: float) -> None:
        blocking(time.sleep, seconds)

    def handle(connection: Any, address: Any) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve_connection(connection, block)

    net.serve(handle, net.adopt(listener), max_connections=CONNECTIONS_MAX)


MODES: dict[str, Callable[[socket.socket, int], None]] = {
    "threads": on_threads,
    "pool": on_pool,
    "green": on_green,
    "asyncio": on_asyncio,
    "asyncio-threads": on_asyncio_threads,
}


# ---- the process ----


def _die_with_parent() -> None:
    """By the kernel's hand where it can (PR_SET_PDEATHSIG), and with the end of standard input in any case."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Serves until killed."""
    serve, workers = MODES[arguments[0]], int(arguments[1]) if len(arguments) > 1 else 8
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    _die_with_parent()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.stack_size(_STACK_BYTES)
    compute(1)  # what it imports is imported before the first client comes
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(listener.getsockname()[1], flush=True)
    serve(listener, workers)
    return 0


if __name__ == "__main__":
    from pathlib import Path

    # Where this filar is: the interpreter may know another, or none.
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    sys.exit(main(sys.argv[1:]))
