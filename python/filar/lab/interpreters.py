"""Other interpreters as helpers of a measurement: processes of this Python, and free-threaded ones at hand."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filar.errors import FilarError
from filar.lab import pymodels

__all__ = ["Helper", "Interpreter", "Model", "free_threaded", "gil_is_on", "interpreters", "models"]

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
    """A process that answers line by line; ends with its standard input, so it cannot outlive this one."""

    def __init__(self, command: Sequence[str]) -> None:
        if not command[0]:
            raise FilarError("this Python does not know its own program (sys.executable is empty)")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )

    def close(self) -> None:
        """Ends and reaps the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                # What a dead process did not read is still in the buffer.
                with suppress(OSError):
                    stream.close()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
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


class Model(Helper):
    """A process that runs one model of `pymodels`; `path` is the interpreter, this one by default."""

    def __init__(self, name: str, path: str = sys.executable) -> None:
        super().__init__([path, "-I", "-S", str(Path(pymodels.__file__)), name])
        self.name = name

    def begin(self, search: Iterable[object] = ()) -> None:
        """Blocks until it has imported what it needs; FilarError says what is missing.

        `search` are the folders where it finds modules, like sys.path; without them, those of its standard library.
        """
        self._answer()
        folders = [folder for folder in search if isinstance(folder, str)]
        self._write(json.dumps({"path": folders} if folders else {}))
        self._answer()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Does one order and blocks until it is done. FilarError where the model could not do it."""
        self.tell(do, **order)
        return self._answer()

    def tell(self, do: str, **order: Any) -> None:
        """Begins an order; returns at once."""
        self._write(json.dumps({"do": do, **order}))

    def _answer(self) -> dict[str, Any]:
        line = self._read()
        try:
            found = json.loads(line)
        except ValueError:
            raise FilarError(f"the other program says {line[:40]!r}") from None
        if "error" in found:
            raise FilarError(found["error"])
        return dict(found)


class Interpreter(Model):
    """A process that counts on threads."""

    def __init__(self, path: str) -> None:
        super().__init__("counter", path)
        try:
            self.begin()
        except BaseException:
            self.close()
            raise

    def order(self, threads: int, steps: int) -> None:
        """Begins `steps` steps on each of so many threads; returns at once."""
        self.tell("count", threads=threads, steps=steps)

    def stamps(self) -> tuple[int, int]:
        """Blocks until the order is done: first start and last end, CLOCK_MONOTONIC in ns."""
        found = self._answer()
        return found["start"], found["end"]


@contextmanager
def models(names: Iterable[str]) -> Iterator[tuple[dict[str, Model], list[str]]]:
    """A process for each of these models that can run here, and a sentence for each that cannot."""
    found, notes = dict[str, Model](), list[str]()
    with ExitStack() as stack:
        # All start at once and import side by side.
        for name in dict.fromkeys(names):
            try:
                one = Model(name)
            except (FilarError, OSError) as error:
                notes.append(f"{name}: not measured, {error}.")
                continue
            stack.callback(one.close)
            found[name] = one
        for name, one in list(found.items()):
            try:
                one.begin(sys.path)
            except (FilarError, OSError) as error:
                del found[name]
                notes.append(f"{name}: not measured, {_missing(name, str(error))}.")
        yield found, notes


def _missing(name: str, error: str) -> str:
    """Most of the time it is simply not there."""
    return f"{name} is not installed" if error.startswith("ModuleNotFoundError") else error


@contextmanager
def interpreters(path: str, count: int) -> Iterator[list[Interpreter]]:
    """`count` processes that wait for orders; they end with the block."""
    with ExitStack() as stack:
        made = []
        for _ in range(count):
            one = Interpreter(path)
            stack.callback(one.close)
            made.append(one)
        yield made
