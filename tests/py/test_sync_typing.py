"""A type checker sees what the locks, queues and channels are."""

import subprocess
import sys
from pathlib import Path

import pytest

from programs import SECONDS_MAX

USE = """
import threading
from collections.abc import Callable
import filar

lock: filar.Lock = filar.Lock()
with lock:
    held: bool = lock.acquire(timeout=1.5)
condition = filar.Condition(threading.Lock())
answer: int = condition.wait_for(lambda: 3, timeout=None)
jobs: filar.Queue[int] = filar.Queue(3)
jobs.put(1, timeout=2)
number: int = jobs.get()
urgent: filar.PriorityQueue[tuple[int, str]] = filar.PriorityQueue()
channel: filar.Channel[str] = filar.Channel(None)
for text in channel:
    text.upper()
case, value = filar.select(channel, (channel, "x"), None, timeout=1)
index: int = barrier.wait() if (barrier := filar.Barrier(2)) else 0
with filar.RWLock().write:
    pass

jobs.put("text")  # mistake
lock.acquire(timeout="soon")  # mistake
wrong: str = jobs.get()  # mistake
"""


def test_types_are_right_and_mistakes_are_found(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "use.py").write_text(USE)
    package = Path(__file__).parents[2] / "python"
    program = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path), "use.py"]
    ended = subprocess.run(
        program,
        cwd=tmp_path,
        env={"MYPYPATH": str(package), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    found = [line for line in ended.stdout.splitlines() if line.startswith("use.py")]
    mistakes = [str(number) for number, line in enumerate(USE.splitlines(), 1) if line.endswith("# mistake")]
    assert [line.split(":")[1] for line in found] == mistakes, ended.stdout + ended.stderr
