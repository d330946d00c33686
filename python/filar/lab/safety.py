"""Nothing takes the machine down: how much an experiment may take, and how everything is put back.

`Safety` is a budget: an experiment asks `bench.safety` before it makes many threads or takes much memory; the figures
are fractions of what is free now, after every limit that `filar.limits` can read. `restored()` stands around an
experiment and puts affinity, nice, policy, limits, timer slack, signal mask, working directory and switch interval
back, whatever happened inside, and says what it could not put back.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filar.limits import Facts, decide, read_facts

__all__ = ["Restored", "Safety", "restored"]

TASKS_SHARE = 0.5
MEMORY_SHARE = 0.4
# What the kernel and a touched stack take for each, with room to spare.
THREAD_BYTES = 64 * 1024
PROCESS_BYTES = 1024 * 1024
# Taken to be free where the system does not tell.
UNREAD_ROOM = 32_768
UNREAD_BYTES = 1 << 28


@dataclass(frozen=True)
class Safety:
    """The most an experiment may take: threads or processes, bytes, seconds."""

    threads_max: int
    processes_max: int
    memory_bytes_max: int
    seconds_max: float

    @classmethod
    def now(cls, seconds_max: float) -> Safety:
        """From what is free at this moment: half of the threads, two fifths of the memory."""
        facts = read_facts()
        memory_bytes = max(1 << 20, int(_memory_free(facts) * MEMORY_SHARE))
        threads, processes = (int(free(facts) * TASKS_SHARE) for free in (_threads_free, _processes_free))
        return cls(
            threads_max=max(1, min(threads, memory_bytes // THREAD_BYTES)),
            processes_max=max(1, min(processes, memory_bytes // PROCESS_BYTES)),
            memory_bytes_max=memory_bytes,
            seconds_max=seconds_max,
        )

    def threads(self, wanted: int) -> int:
        """`wanted`, or as many as are allowed."""
        return min(wanted, self.threads_max)

    def memory(self, wanted_bytes: int) -> int:
        """`wanted_bytes`, or as many as are allowed."""
        return min(wanted_bytes, self.memory_bytes_max)


def _unread(facts: Facts) -> list[int]:
    """A limit that the system hides may be near: then there is room for UNREAD_ROOM threads and no more."""
    return [UNREAD_ROOM] if facts.max_map_count is None or facts.pid_max is None else []


def _threads_free(facts: Facts) -> int:
    """How many threads fit in the tightest limit: numbers, memory maps, address space, memory."""
    room = decide(facts, 1).room
    return min([*_unread(facts), *([] if room is None else [room])], default=UNREAD_ROOM)


def _processes_free(facts: Facts) -> int:
    """How many processes the limits that count threads leave: the others are limits of one process."""
    rooms = [limit.room for limit in decide(facts, 1).limits if limit.unit == "threads" and limit.room is not None]
    return min([*_unread(facts), *rooms], default=UNREAD_ROOM)


def _memory_free(facts: Facts) -> int:
    """The least of what the machine has available and what control group and limits of the process leave, bytes."""
    limited = (
        (facts.group_memory.max, facts.group_memory.used),
        (facts.address_limit, facts.address_used),
        (facts.data_limit, facts.data_used),
    )
    left = [max(0, most - (used or 0)) for most, used in limited if most is not None]
    return min([*left, *([] if facts.memory_available is None else [facts.memory_available])], default=UNREAD_BYTES)


# ---- putting back ----


@dataclass
class Restored:
    """What `restored()` yields; after its end `problems` names what is not as before."""

    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Setting:
    """One setting of the calling thread or its process: how it is read and written."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


_LIMIT_NAMES = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))


def _read_limits() -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(getattr(resource, name)) for name in _LIMIT_NAMES}


def _write_limits(limits: dict[str, tuple[int, int]]) -> None:
    for name, pair in limits.items():
        if resource.getrlimit(getattr(resource, name)) != pair:
            resource.setrlimit(getattr(resource, name), pair)


def _slack_path() -> str:
    # By thread id: /proc/self would be the main thread, whoever asks.
    return f"/proc/{threading.get_native_id()}/timerslack_ns"


def _read_policy() -> tuple[int, int]:
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def _write_policy(setting: tuple[int, int]) -> None:
    os.sched_setscheduler(0, setting[0], os.sched_param(setting[1]))


# Limits come first: a lowered RLIMIT_NOFILE or RLIMIT_NICE would stop what follows.
_SETTINGS = (
    _Setting("resource limits", _read_limits, _write_limits),
    _Setting(
        "signal mask",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    ),
    _Setting("affinity", lambda: os.sched_getaffinity(0), lambda cpus: os.sched_setaffinity(0, cpus)),
    _Setting("scheduling policy", _read_policy, _write_policy),
    _Setting(
        "nice",
        lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()),
        lambda nice: os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice),
    ),
    _Setting(
        "timer slack",
        lambda: Path(_slack_path()).read_text().strip(),
        lambda slack: Path(_slack_path()).write_text(slack),
    ),
    _Setting("switch interval", sys.getswitchinterval, sys.setswitchinterval),
)


def _read(setting: _Setting) -> Any:
    """The value, or None where the kernel does not show it: then it is left alone."""
    try:
        return setting.read()
    except OSError:
        return None


def _put_back(setting: _Setting, before: Any) -> str | None:
    """A sentence if the setting is not as before."""
    if before is None or _read(setting) == before:
        return None
    try:
        setting.write(before)
    except (OSError, ValueError) as error:
        return f"{setting.name} could not be restored: {error}"
    now = _read(setting)
    return None if now == before else f"{setting.name} could not be restored: {before} before, {now} now"


@contextlib.contextmanager
def restored() -> Iterator[Restored]:
    """Puts the settings of the calling thread and its process back at the end, however that comes.

    Never raises on its own account, so that it hides no exception: look at `problems` of what it yields.
    """
    before = [(setting, _read(setting)) for setting in _SETTINGS]
    try:
        # By descriptor: it is still this folder when the name is gone or another.
        folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        folder = -1
    outcome = Restored()
    try:
        yield outcome
    finally:
        for setting, value in before:
            problem = _put_back(setting, value)
            if problem:
                outcome.problems.append(problem)
        if folder >= 0:
            try:
                os.fchdir(folder)
            except OSError as error:
                outcome.problems.append(f"the working directory could not be restored: {error}")
            os.close(folder)
