"""Waits for a state, never for a time: the test's own time limit is the only clock."""

from collections.abc import Callable
from typing import Any

import filar


def wait_until(condition: Callable[[], object]) -> None:
    """Looks again and again, and lets others run meanwhile; on a kernel thread or a green one."""
    while not condition():
        filar.sleep(0.001)


def parked(green: Any) -> bool:
    """Whether it waits."""
    return bool(green.state.startswith("parked"))


def wait_until_parked(*greens: Any) -> None:
    """Until each of them waits."""
    wait_until(lambda: all(parked(green) for green in greens))
