"""Other interpreters as helpers of a measurement: processes of this Python, and free-threaded ones at hand."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filar.errors import FilarError
from filar.lab import pyworker

__all__ = ["Helper", "Interpreter", "free_threaded", "gil_is_on", "interpreters"]

FREE_THREADED = ("python3.15t", "python3.14t", "python3.13t")
PATIENCE_S = 20.0


def gil_is_on() -> bool:
    """Whether this interpreter runs one thread's Python code at a time."""
    ask = getattr(sys, "_is_gil_enabled", None)
    return True if ask is None else bool(ask())


def free_threaded() -> str | None:
    """A free-threaded Python on the search path (or under pyenv), or None."""
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    for name in FREE_THREADED:
        found = [shutil.which(name), *sorted(str(path) for root in roots for path in root.glob(f"*/bin/{name}"))]
        for path in found:
            if path and _is_free(path):
                return path
    return None


def _is_free(path: str) -> bool:
    """Whether it starts, and without a GIL: a shim of another tool may have the name."""
    ask = "import sys; print(sys._is_gil_enabled())"
    try:
        told = subprocess.run([path, "-I", "-c", ask], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.stdout.strip() == "False"


class Helper:
    """A process that answers on its standard output in lines, and ends at the latest with this object."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def close(self) -> None:
        """Ends and reaps the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What a dead process did not read is still in the buffer.
                with suppress(OSError):
                    stream.close()

    def read_line(self) -> str:
        """Blocks for its next line, for a while; FilarError without one."""
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + PATIENCE_S
            while not selector.select(max(0.0, min(0.1, deadline - time.monotonic()))):
                if time.monotonic() > deadline:
                    raise FilarError("the other interpreter does not answer")
        line = stdout.readline()
        if not line:
            raise FilarError("the other interpreter has ended")
        return line


class Interpreter(Helper):
    """A process that runs `pyworker`; ends with its standard input, so it cannot outlive this one."""

    def __init__(self, path: str) -> None:
        super().__init__([path, "-I", "-S", str(Path(pyworker.__file__))])
        try:
            self.read_line()
        except BaseException:
            self.close()
            raise

    def order(self, threads: int, steps: int) -> None:
        """Begins `steps` steps on each of so many threads; returns at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{threads} {steps}\n")
        self._process.stdin.flush()

    def stamps(self) -> tuple[int, int]:
        """Blocks until the order is done: first start and last end, CLOCK_MONOTONIC in ns."""
        start, end = map(int, self.read_line().split())
        return start, end


@contextmanager
def interpreters(path: str, count: int) -> Iterator[list[Interpreter]]:
    """`count` processes that wait for orders; they end with the block."""
    if not path:
        raise FilarError("this Python does not know its own program (sys.executable is empty)")
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            one = Interpreter(path)
            stack.callback(one.close)
            made.append(one)
        yield made
