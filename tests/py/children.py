"""The children and threads of this process, for tests that nothing is left behind."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def children() -> set[int]:
    """Process ids of all children, ended and not reaped ones included."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue  # it has just ended
        # The name in parentheses may hold anything, parentheses too; the parent is the second field after it.
        if int(text.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


@contextmanager
def no_new_child() -> Iterator[None]:
    """No child when the block ends that was not there when it began: other tests' helpers live on (dask's)."""
    before = children()
    yield
    assert children() <= before


@contextmanager
def no_new_thread() -> Iterator[None]:
    """No thread when the block ends that was not there when it began: one of another test's may end meanwhile."""
    before = set(threading.enumerate())
    yield
    assert not set(threading.enumerate()) - before
