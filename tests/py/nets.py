"""What the tests of `filar.net` share: the same body on kernel threads and on green ones, and what must not be left."""

import contextlib
import gc
import os
import socket as standard
import ssl
import struct
import threading
from collections import Counter
from pathlib import Path

import filar
import filar.green
from filar import net

CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))
MODES = ("kernel", "green-1", "green-2")


class Task:
    """Runs a function beside the caller, on a thread of the caller's kind."""

    def __init__(self, function, *args):
        self._outcome = []
        self._function, self._args = function, args
        self.green = filar.spawn(self._run) if filar.current() is not None else None
        if self.green is None:
            self._thread = threading.Thread(target=self._run)
            self._thread.start()

    def _run(self):
        try:
            self._outcome.append((self._function(*self._args), None))
        except BaseException as error:
            self._outcome.append((None, error))

    def result(self):
        """What it returned; raises what it raised."""
        self.green.join() if self.green is not None else self._thread.join()
        [(value, error)] = self._outcome
        if error is not None:
            raise error
        return value


def run(mode, body, *args):
    """Calls the body on a thread of that kind, with a time limit that no test comes near."""
    if mode == "kernel":
        return body(*args)
    return filar.run(body, *args, workers=int(mode.partition("-")[2]))


def open_files():
    """What this process has open, but for what filar keeps to use again."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            if "eventfd" not in target and "/proc/" not in target:
                found.append(target)
    return sorted(found)


@contextlib.contextmanager
def nothing_left():
    """No file descriptor and no green thread is left after the block."""
    before = Counter(open_files())
    yield
    assert not filar.green._open
    assert not filar.green._border["_all_green"]()
    if Counter(open_files()) - before:
        gc.collect()
    assert not Counter(open_files()) - before


def pair():
    """Two connected TCP sockets."""
    with net.create_server(("127.0.0.1", 0)) as listener:
        connecting = Task(net.create_connection, listener.getsockname())
        accepted, _ = listener.accept()
        return accepted, connecting.result()


def reset(sock):
    """Closes a connection so that the peer hears a reset."""
    sock.setsockopt(standard.SOL_SOCKET, standard.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_all(sock):
    """Until the end."""
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def wait_until_waiting(task):
    """Until it is parked in a wait for a file descriptor; of a kernel thread nobody can tell: at once."""
    while task.green is not None and not ("parked" in task.green.state and "fd" in task.green.state):
        filar.yield_()


def server_context():
    """TLS as localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_context():
    """TLS that trusts localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATE)
    return context
