"""Which limit would stop so many threads: `filar.why_not(threads=50_000)`.

The kernel refuses a thread with EAGAIN, whatever the reason. So every limit that counts threads, or what a
thread needs (address space, memory maps, memory), is read here and turned into "room for so many more threads";
the least room decides.

What the rooms rest on: glibc reserves a thread's stack with one mmap and splits off the guard with mprotect (two
memory maps; one since glibc 2.42 on Linux 6.13); the kernel gives each thread a process number, a kernel stack of
16 KiB and page tables; and glibc's malloc reserves 64 MiB of address space for each of the first 8 x CPUs threads
that allocate.
"""

from __future__ import annotations

import dataclasses
import operator
import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from typing import SupportsIndex

from filar._machine import bytes_field, read_int, read_text, size, status_field, task_counts
from filar._tables import Column, html_table, named_columns
from filar.errors import InvalidArgumentError
from filar.topology import GroupLimit, topology

__all__ = ["Facts", "Limit", "WhyNot", "read_facts", "why_not"]

STACK_BYTES_MIN = 16384
# Memory that one sleeping thread needs: kernel stack 16 KiB, touched pages of its own stack and thread-local
# storage, page tables. 32 to 34 KiB were measured on Linux 6.18 with glibc 2.36.
MEMORY_PER_THREAD = 34 * 1024
# alloc_pid() does not hand out the numbers below this again once it has gone round.
RESERVED_PIDS = 300
ARENA_BYTES = 64 << 20
PID_MAX_CEILING = 4_194_304
NO_GROUP_LIMIT = GroupLimit(None, None, "")
# The inode numbers of the namespaces that the kernel starts with (include/linux/proc_ns.h).
_FIRST_USER_NAMESPACE = "user:[4026531837]"
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
_CAP_SYS_ADMIN, _CAP_SYS_RESOURCE = 21, 24


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit on the threads of this process."""

    name: str
    """As the system calls it: "vm.max_map_count"."""
    value: int | None
    """In `unit`; None: no limit, or not known (see `note`)."""
    used: int | None
    """Of `value`, now; None: not known."""
    unit: str
    """"threads", "maps" or "bytes"."""
    per_thread: int
    """What one thread takes of it."""
    room: int | None
    """How many more threads fit; None: this limit stops nothing."""
    change: str
    """How to raise it."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class WhyNot:
    """The answer of `why_not()`: true when so many more threads would be refused. Print it for one sentence."""

    threads: int
    """How many more threads were asked about."""
    stack_bytes: int
    """Address space of the stack of each, guard included."""
    limits: tuple[Limit, ...]
    """Every limit that was looked at, the tightest first."""

    @property
    def binding(self) -> Limit | None:
        """The limit that would be reached first, also when the request stays below it."""
        first = self.limits[0] if self.limits else None
        return first if first is not None and first.room is not None else None

    @property
    def room(self) -> int | None:
        """How many more threads fit in all limits; None: no limit was found."""
        return None if self.binding is None else self.binding.room

    @property
    def blocking(self) -> tuple[Limit, ...]:
        """The limits that are in the way of the request, the tightest first."""
        return tuple(limit for limit in self.limits if limit.room is not None and limit.room < self.threads)

    def __bool__(self) -> bool:
        return bool(self.blocking)

    def __str__(self) -> str:
        asked = f"{self.threads:,} more {'thread' if self.threads == 1 else 'threads'}"
        if not self.blocking:
            if self.binding is None:
                return f"Nothing stops {asked}: no limit was found."
            return (
                f"Nothing stops {asked}: the nearest limit, {_value(self.binding)}, has room for {_about(self.room)}."
            )
        first, *others = self.blocking
        sentence = f"{asked} would stop at {_about(first.room)}: {_value(first)}{_reason(first)}; {first.change}"
        if others:
            also = ", ".join(f"{limit.name} (at {_about(limit.room)})" for limit in others)
            sentence += f". Then in the way: {also}"
        return sentence + "."

    def table(self) -> str:
        """All limits as text, one a line, the tightest first."""
        lines = [f"{'limit':<34} {'value':>14} {'used':>12} {'room':>14}"]
        for limit in self.limits:
            mark = ">" if limit in self.blocking else " "
            lines.append(
                f"{mark} {limit.name:<32} {_amount(limit, limit.value):>14} "
                f"{_amount(limit, limit.used):>12} {_room(limit):>14}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (
                ("▶ " if limit in self.blocking else "") + limit.name,
                _amount(limit, limit.value),
                _amount(limit, limit.used),
                _room(limit),
                limit.change,
                limit.note,
            )
            for limit in self.limits
        ]
        columns = [
            *named_columns(("limit", "value", "used", "room for threads"), 1),
            Column("how to raise it"),
            Column(""),
        ]
        return html_table(columns, rows, str(self))


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything `why_not()` decides by. None: cannot be read here."""

    stack_default: int
    """Bytes of a thread's stack when none is asked for (`ulimit -s` at the start, or 2 MiB)."""
    page: int = 4096
    cpus: int = 1
    maps_per_thread: int = 2
    maps: int | None = None
    max_map_count: int | None = None
    nproc: int | None = None
    """RLIMIT_NPROC; None: unlimited."""
    nproc_escaped: str = ""
    """Why RLIMIT_NPROC does not count for this process; "" when it does."""
    user_threads: int | None = None
    uid: int = 0
    threads_max: int | None = None
    system_threads: int | None = None
    pid_max: int | None = None
    pids: int | None = None
    """Process numbers in use in this PID namespace, as far as /proc shows them."""
    own_pid_namespace: bool = False
    address_limit: int | None = None
    """RLIMIT_AS."""
    address_used: int = 0
    data_limit: int | None = None
    """RLIMIT_DATA."""
    data_used: int = 0
    address_bits: int = 47
    overcommit: int | None = None
    commit_limit: int | None = None
    committed: int | None = None
    memory_total: int | None = None
    memory_available: int | None = None
    swap_total: int | None = None
    group_memory: GroupLimit = NO_GROUP_LIMIT
    group_threads: GroupLimit = NO_GROUP_LIMIT
    arenas_left: int = 0
    """How many arenas glibc's malloc may still make."""


def why_not(threads: SupportsIndex, stack_size: SupportsIndex | None = None) -> WhyNot:
    """Which limit would stop `threads` more threads in this process, and how to raise it.

    `stack_size` in bytes is that of each thread; None: the process's default. Reads /proc (some milliseconds,
    more where thousands of processes run); nothing is created and nothing is changed.
    """
    count = _whole("threads", threads)
    if count < 0:
        raise InvalidArgumentError(f"threads is a number of threads, not {count}")
    stack = None if stack_size is None else _whole("stack_size", stack_size)
    if stack is not None and stack < STACK_BYTES_MIN:
        raise InvalidArgumentError(f"stack_size is at least {STACK_BYTES_MIN} bytes, not {stack}")
    return decide(read_facts(), count, stack)


def decide(facts: Facts, threads: int, stack_size: int | None = None) -> WhyNot:
    """The answer for given facts."""
    usable = facts.stack_default if stack_size is None else stack_size
    stack = -(-usable // facts.page) * facts.page + facts.page  # whole pages and a guard
    found = sorted(_limits(facts, stack), key=lambda limit: (limit.room is None, limit.room or 0))
    return WhyNot(threads, stack, tuple(_advise(limit, threads) for limit in found))


def _whole(name: str, value: SupportsIndex) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is a whole number, not {value!r}") from None


# ---- the limits, each from the facts ----


def _limits(facts: Facts, stack: int) -> Iterator[Limit]:
    yield _nproc(facts)
    yield _counted("kernel.threads-max", facts.threads_max, facts.system_threads, "of the whole machine")
    yield _pid_max(facts)
    yield _group_pids(facts)
    yield _maps(facts)
    yield _space("RLIMIT_AS", facts.address_limit, facts.address_used, stack, facts, "`ulimit -v`")
    yield _space("RLIMIT_DATA", facts.data_limit, facts.data_used, stack - facts.page, facts, "`ulimit -d`")
    yield Limit(
        name="address space of the CPU",
        value=1 << facts.address_bits,
        used=facts.address_used,
        unit="bytes",
        per_thread=stack,
        room=_room_for((1 << facts.address_bits) - facts.address_used, stack),
        change="ask for smaller stacks (stack_size=)",
    )
    yield _commit(facts, stack)
    yield _memory("memory available", facts.memory_total, facts.memory_available)
    yield _group_memory(facts)


def _room_for(free: int, each: int) -> int:
    return max(0, free) // each


def _counted(name: str, value: int | None, used: int | None, note: str) -> Limit:
    room = None if value is None else max(0, value - (used or 0))
    return Limit(name, value, used, "threads", 1, room, "", note if value is not None else "cannot be read here")


def _nproc(facts: Facts) -> Limit:
    note = facts.nproc_escaped or f"all threads of user {facts.uid}"
    if facts.nproc is not None and not facts.nproc_escaped and facts.user_threads is None:
        note += "; how many there are cannot be read"
    counts = facts.nproc is not None and not facts.nproc_escaped
    return Limit(
        name="RLIMIT_NPROC",
        value=facts.nproc,
        used=facts.user_threads,
        unit="threads",
        per_thread=1,
        room=max(0, (facts.nproc or 0) - (facts.user_threads or 0)) if counts else None,
        change="",
        note=note,
    )


def _pid_max(facts: Facts) -> Limit:
    note = "of this PID namespace; those around it have limits that cannot be seen" if facts.own_pid_namespace else ""
    if facts.pid_max is None:
        return Limit("kernel.pid_max", None, facts.pids, "threads", 1, None, "", "cannot be read here")
    # The numbers below RESERVED_PIDS are used once, at the start; about as many of them are in use as the machine
    # has kernel threads, so what is lost is what is not.
    used = facts.pids or 0
    lost = max(0, RESERVED_PIDS - used)
    return Limit(
        name="kernel.pid_max",
        value=facts.pid_max,
        used=facts.pids,
        unit="threads",
        per_thread=1,
        room=max(0, facts.pid_max - used - lost),
        change="",
        note=note,
    )


def _group_pids(facts: Facts) -> Limit:
    limit = facts.group_threads
    room = None if limit.max is None else max(0, limit.max - (limit.used or 0))
    note = "no control group sets one" if limit.max is None else limit.file
    return Limit("pids.max of the control group", limit.max, limit.used, "threads", 1, room, "", note)


def _maps(facts: Facts) -> Limit:
    room = (
        None
        if facts.max_map_count is None
        else _room_for(facts.max_map_count - (facts.maps or 0), facts.maps_per_thread)
    )
    note = "cannot be read here" if facts.max_map_count is None else ""
    if facts.maps is None and not note:
        note = "the maps in use cannot be counted here"
    return Limit("vm.max_map_count", facts.max_map_count, facts.maps, "maps", facts.maps_per_thread, room, "", note)


def _space(name: str, value: int | None, used: int, each: int, facts: Facts, change: str) -> Limit:
    """A limit on address space: stacks, and the arenas that the first threads to allocate make."""
    room, note = None, ""
    if value is not None:
        free = max(0, value - used)
        # Each of the first threads makes an arena as long as there is room for one; then stacks fill the rest.
        arenas = min(facts.arenas_left, free // (each + ARENA_BYTES)) if name == "RLIMIT_AS" else 0
        room = _room_for(free - arenas * ARENA_BYTES, each)
        if arenas:
            note = f"counting {size(ARENA_BYTES)} for each of {arenas} arenas of malloc (MALLOC_ARENA_MAX)"
    return Limit(name, value, used, "bytes", each, room, f"raise it with {change} or ask for smaller stacks", note)


def _commit(facts: Facts, stack: int) -> Limit:
    """Mode 2 counts every writable byte; mode 0 refuses only a single stack beyond memory and swap."""
    each, memory = stack - facts.page, (facts.memory_total or 0) + (facts.swap_total or 0)
    if facts.overcommit == 2 and facts.commit_limit is not None:
        room = _room_for(facts.commit_limit - (facts.committed or 0), each)
        change = "set vm.overcommit_memory=0, raise vm.overcommit_ratio, or ask for smaller stacks"
        return Limit(
            "CommitLimit (overcommit_memory=2)", facts.commit_limit, facts.committed, "bytes", each, room, change
        )
    if facts.overcommit == 0 and memory and each > memory:
        change = "set vm.overcommit_memory=1 or ask for smaller stacks"
        note = "one stack is larger than memory and swap together"
        return Limit("memory and swap (overcommit_memory=0)", memory, None, "bytes", each, 0, change, note)
    note = "cannot be read here" if facts.overcommit is None else f"mode {facts.overcommit}: stacks are not counted"
    return Limit("vm.overcommit_memory", None, None, "bytes", each, None, "", note)


def _memory(name: str, total: int | None, available: int | None) -> Limit:
    each = MEMORY_PER_THREAD
    if available is None:
        return Limit(name, total, None, "bytes", each, None, "", "cannot be read here")
    used = None if total is None else total - available
    note = f"{size(each)} for a thread that sleeps; not refused but killed when it runs out"
    return Limit(name, total, used, "bytes", each, _room_for(available, each), "add memory", note)


def _group_memory(facts: Facts) -> Limit:
    limit, name = facts.group_memory, "memory of the control group"
    if limit.max is None:
        return Limit(name, None, None, "bytes", MEMORY_PER_THREAD, None, "", "no control group sets one")
    room = _room_for(limit.max - (limit.used or 0), MEMORY_PER_THREAD)
    return Limit(name, limit.max, limit.used, "bytes", MEMORY_PER_THREAD, room, f"raise {limit.file}", limit.file)


def _advise(limit: Limit, threads: int) -> Limit:
    """The limit with the command that makes room for the request."""
    if limit.room is None:
        return dataclasses.replace(limit, change="")
    if limit.change:
        return limit
    needed = (limit.used or 0) + threads * limit.per_thread
    enough = -(-needed * 11 // 10 // 1024) * 1024 + 1024  # a tenth to spare, in round numbers
    change = {
        "RLIMIT_NPROC": f"raise it with `ulimit -u {enough}` or in /etc/security/limits.conf",
        "kernel.threads-max": f"raise it with `sysctl -w kernel.threads-max={enough}`",
        "kernel.pid_max": f"raise it with `sysctl -w kernel.pid_max={min(enough + RESERVED_PIDS, PID_MAX_CEILING)}`",
        "vm.max_map_count": f"raise it with `sysctl -w vm.max_map_count={enough}`",
        "pids.max of the control group": f"raise {limit.note} (docker: --pids-limit; systemd: TasksMax=)",
    }.get(limit.name, "")
    if limit.name == "kernel.pid_max" and enough > PID_MAX_CEILING:
        change = f"no more than {PID_MAX_CEILING:,} are possible on Linux: use green threads"
    return dataclasses.replace(limit, change=change)


# ---- words ----


def _about(room: int | None) -> str:
    """An estimate is not a promise: three digits are enough."""
    if room is None:
        return "no number"
    if room < 1000:
        return f"{room}" if room < 100 else f"about {room}"
    step = 10 ** (len(str(room)) - 3)
    return f"about {room // step * step:,}"


def _amount(limit: Limit, value: int | None) -> str:
    if value is None:
        return "–"
    return size(value) if limit.unit == "bytes" else f"{value:,}"


def _room(limit: Limit) -> str:
    return "no limit" if limit.room is None else f"{limit.room:,}"


def _value(limit: Limit) -> str:
    return limit.name if limit.value is None else f"{limit.name} = {_amount(limit, limit.value)}"


def _reason(limit: Limit) -> str:
    """How the value becomes that number of threads."""
    if limit.unit == "maps":
        return f" gives {limit.per_thread} {'map' if limit.per_thread == 1 else 'maps'} a thread"
    if limit.unit == "bytes":
        return f" at {size(limit.per_thread)} a thread"
    return "" if not limit.used else f" and {limit.used:,} are in use"


# ---- reading the facts ----


def read_facts(root: str = "") -> Facts:
    """The facts of this process; `root` is put in front of /proc and /sys (limits of the process stay its own)."""
    status = read_text(f"{root}/proc/self/status")
    meminfo = read_text(f"{root}/proc/meminfo")
    machine = topology(root=root or None)
    uid = os.getuid()
    user_threads, pids = _count_threads(root, uid)
    stack_limit = _rlimit(resource.RLIMIT_STACK)
    return Facts(
        stack_default=2 << 20 if stack_limit is None else max(stack_limit, STACK_BYTES_MIN),
        page=resource.getpagesize(),
        cpus=len(machine.online) or 1,
        maps_per_thread=_maps_per_thread(),
        maps=_count_lines(f"{root}/proc/self/maps"),
        max_map_count=read_int(f"{root}/proc/sys/vm/max_map_count"),
        nproc=_rlimit(resource.RLIMIT_NPROC),
        nproc_escaped=_nproc_escape(root, status, uid),
        user_threads=user_threads,
        uid=uid,
        threads_max=read_int(f"{root}/proc/sys/kernel/threads-max"),
        system_threads=task_counts(root)[1],
        pid_max=read_int(f"{root}/proc/sys/kernel/pid_max"),
        pids=pids,
        own_pid_namespace=_namespace(root, "pid") not in (None, _FIRST_PID_NAMESPACE),
        address_limit=_rlimit(resource.RLIMIT_AS),
        address_used=bytes_field(status, "VmSize") or 0,
        data_limit=_rlimit(resource.RLIMIT_DATA),
        data_used=bytes_field(status, "VmData") or 0,
        address_bits=48 if platform.machine() == "aarch64" else 47,
        overcommit=read_int(f"{root}/proc/sys/vm/overcommit_memory"),
        commit_limit=bytes_field(meminfo, "CommitLimit"),
        committed=bytes_field(meminfo, "Committed_AS"),
        memory_total=machine.memory_bytes,
        swap_total=bytes_field(meminfo, "SwapTotal"),
        memory_available=machine.memory_available_bytes,
        group_memory=machine.memory_limit,
        group_threads=machine.threads_limit,
        arenas_left=_arenas_left(len(machine.online) or 1, status),
    )


def _rlimit(which: int) -> int | None:
    soft, _ = resource.getrlimit(which)
    return None if soft == resource.RLIM_INFINITY else soft


def _namespace(root: str, kind: str) -> str | None:
    try:
        return os.readlink(f"{root}/proc/self/ns/{kind}")
    except OSError:
        return None


def _nproc_escape(root: str, status: str | None, uid: int) -> str:
    """copy_process(): the first user namespace's root, CAP_SYS_RESOURCE and CAP_SYS_ADMIN are not counted."""
    if _namespace(root, "user") not in (None, _FIRST_USER_NAMESPACE):
        return ""
    if uid == 0:
        return "root is not bound by it"
    try:
        capabilities = int(status_field(status, "CapEff") or "0", 16)
    except ValueError:
        return ""
    if capabilities >> _CAP_SYS_RESOURCE & 1 or capabilities >> _CAP_SYS_ADMIN & 1:
        return "CAP_SYS_RESOURCE or CAP_SYS_ADMIN is not bound by it"
    return ""


def _count_threads(root: str, uid: int) -> tuple[int | None, int | None]:
    """Threads of a user, and of everybody, in this PID namespace: as far as /proc shows them."""
    try:
        names = [name for name in os.listdir(f"{root}/proc") if name.isdigit()]
    except OSError:
        return None, None
    mine = everybody = 0
    for name in names:
        status = read_text(f"{root}/proc/{name}/status")  # None: it has just ended
        threads, uids = status_field(status, "Threads"), (status_field(status, "Uid") or "").split()
        if threads is None or not threads.isdigit() or not uids:
            continue
        everybody += int(threads)
        mine += int(threads) if uids[0] == str(uid) else 0
    return mine, everybody


def _count_lines(path: str) -> int | None:
    try:
        with open(path, "rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 16), b""))
    except OSError:
        return None


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split(".")[:2]:
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits) if digits else 0)
    return tuple(numbers)


def _maps_per_thread() -> int:
    """A stack and its guard; glibc 2.42 marks the guard inside the stack's map where the kernel can."""
    library, version = platform.libc_ver()
    new_library = library == "glibc" and _version(version) >= (2, 42)
    return 1 if new_library and _version(platform.release()) >= (6, 13) else 2


def _arenas_left(cpus: int, status: str | None) -> int:
    """glibc makes up to 8 arenas a CPU, the heap among them; each thread that runs may have made one already."""
    if platform.libc_ver()[0] != "glibc":
        return 0
    asked = os.environ.get("MALLOC_ARENA_MAX", "")
    threads = status_field(status, "Threads") or ""
    most = int(asked) if asked.isdigit() and int(asked) > 0 else 8 * cpus
    return max(0, most - (int(threads) if threads.isdigit() else 1))
