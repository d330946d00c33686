"""Nothing takes the machine down: how much an experiment may take, and how everything is put back.

`Safety` is a budget: an experiment asks `bench.safety` before it makes many threads or takes much memory; the figures
are fractions of what is free now, after every limit that can be read. `restored()` stands around an experiment and
puts affinity, nice, policy, limits, timer slack, signal mask, working directory and switch interval back, whatever
happened inside, and says what it could not put back.
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

from filar.lab.host import Cgroup, meminfo, number_of

__all__ = ["Restored", "Safety", "restored"]

TASKS_SHARE = 0.5
MEMORY_SHARE = 0.4
MAPS_PER_THREAD = 2
# What the kernel and a touched stack take for each, with room to spare.
THREAD_BYTES = 64 * 1024
PROCESS_BYTES = 1024 * 1024


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
        memory_bytes = max(1 << 20, int(_memory_free() * MEMORY_SHARE))
        tasks = max(1, int(_tasks_free() * TASKS_SHARE))
        threads = min(tasks, _maps_free() // MAPS_PER_THREAD, memory_bytes // THREAD_BYTES)
        return cls(
            threads_max=max(1, threads),
            processes_max=max(1, min(tasks, memory_bytes // PROCESS_BYTES)),
            memory_bytes_max=memory_bytes,
            seconds_max=seconds_max,
        )

    def threads(self, wanted: int) -> int:
        """`wanted`, or as many as are allowed."""
        return min(wanted, self.threads_max)

    def memory(self, wanted_bytes: int) -> int:
        """`wanted_bytes`, or as many as are allowed."""
        return min(wanted_bytes, self.memory_bytes_max)


def _threads_in_system() -> int:
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 0


def _threads_of_user() -> int:
    """Threads that count against RLIMIT_NPROC: all of this user, which only a walk through /proc tells."""
    user, count = os.getuid(), 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == user:
                count += len(os.listdir(entry / "task"))
    return count


def _maps_free() -> int:
    """Half of the memory maps that this process may still make."""
    most = number_of("/proc/sys/vm/max_map_count")
    if most is None:
        return 32_768
    try:
        with open("/proc/self/maps", "rb") as file:
            used = sum(1 for _ in file)
    except OSError:
        used = 0
    return max(0, int((most - used) * TASKS_SHARE))


def _tasks_free() -> int:
    """The least that pid_max, threads-max, RLIMIT_NPROC (for others than root) and the cgroup leave free."""
    free = [32_768]
    for limit in (number_of("/proc/sys/kernel/pid_max"), number_of("/proc/sys/kernel/threads-max")):
        if limit is not None:
            free.append(limit - _threads_in_system())
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.geteuid() != 0 and processes != resource.RLIM_INFINITY:
        free.append(processes - _threads_of_user())
    room = Cgroup().pids_room()
    if room is not None:
        free.append(room)
    return max(0, min(free))


def _memory_free() -> int:
    """The least of MemAvailable and what the cgroup leaves, bytes."""
    available, room = meminfo("MemAvailable"), Cgroup().memory_room()
    return min((size for size in (available, room) if size is not None), default=1 << 28)


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
