"""One uncontended use of each thing to wait on: ours beside the standard library's (`make bench`)."""

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

import filar

ROUND = 1000


def take_and_give(lock: Any) -> None:
    for _ in range(ROUND):
        with lock:
            pass


def put_and_get(items: Any) -> None:
    for _ in range(ROUND):
        items.put(None)
        items.get()


def wait_for_set(event: Any) -> None:
    event.set()
    for _ in range(ROUND):
        event.wait()


USES: list[tuple[str, Callable[[Any], None], Callable[[], Any], Callable[[], Any]]] = [
    ("Lock", take_and_give, threading.Lock, filar.Lock),
    ("RLock", take_and_give, threading.RLock, filar.RLock),
    ("Semaphore", take_and_give, threading.Semaphore, filar.Semaphore),
    ("Event", wait_for_set, threading.Event, filar.Event),
    ("SimpleQueue", put_and_get, queue.SimpleQueue, filar.SimpleQueue),
    ("Queue", put_and_get, queue.Queue, filar.Queue),
    ("PriorityQueue", put_and_get, queue.PriorityQueue, filar.PriorityQueue),
]


@pytest.mark.parametrize("whose", ["standard", "filar"])
@pytest.mark.parametrize("name", [use[0] for use in USES])
def test_use(benchmark: Any, name: str, whose: str) -> None:
    _, use, standard, ours = next(one for one in USES if one[0] == name)
    benchmark.group = name
    benchmark.extra_info["operations"] = ROUND
    benchmark(use, standard() if whose == "standard" else ours())
