"""The machine: packages, cores, SMT siblings, caches, memory nodes, and what this process was given of them.

    >>> import filar
    >>> machine = filar.topology()
    >>> machine.usable_cpus                     # not os.cpu_count(): affinity and container quota counted in
    2
    >>> machine.cpus_by_policy("scatter")       # where to pin the first, second, ... thread
    (0, 1)

It is read from /sys and /proc by the C core, once per call (about a millisecond); the objects are frozen copies.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from filar import _machine
from filar._lib import check, ffi, lib, text
from filar.errors import InvalidArgumentError

__all__ = ["CPU", "Cache", "Core", "GroupLimit", "MemoryNode", "Package", "Placement", "Topology", "topology"]

Placement = Literal["compact", "scatter", "cores"]
_PLACEMENTS: Mapping[str, int] = MappingProxyType(
    {"compact": lib.FILAR_PLACE_COMPACT, "scatter": lib.FILAR_PLACE_SCATTER, "cores": lib.FILAR_PLACE_CORES}
)
_CACHE_KINDS = ("other", "data", "instruction", "unified")
# A group with more cores than this is one line of the tree instead of one line for each core.
_CORES_SHOWN_MAX = 16


@dataclass(frozen=True, slots=True)
class CPU:
    """One CPU as the kernel numbers them (a hardware thread). None: not known."""

    number: int
    package: int | None
    """Number of the socket."""
    core: int | None
    """0, 1, ... over the whole machine; None while the CPU is offline."""
    smt: int
    """Place among the online CPUs of its core: 0 for the first."""
    node: int | None
    """NUMA node."""
    last_cache: int | None
    """Lowest CPU that shares its last-level cache: equal for neighbours."""
    capacity: int | None
    """Speed relative to the machine's fastest CPU, which has 1024."""
    max_khz: int | None
    """Highest clock."""
    online: bool
    allowed: bool
    """This process may run there."""


@dataclass(frozen=True, slots=True)
class Cache:
    """One cache and the online CPUs that share it."""

    level: int
    kind: str
    """"data", "instruction", "unified" or "other"."""
    size_bytes: int | None
    line_bytes: int | None
    ways: int | None
    cpus: tuple[int, ...]

    @property
    def name(self) -> str:
        """ "L1d", "L1i", "L2", ..."""
        return f"L{self.level}" + {"data": "d", "instruction": "i"}.get(self.kind, "")


@dataclass(frozen=True, slots=True)
class MemoryNode:
    """A NUMA node: memory and the online CPUs beside it."""

    number: int
    memory_bytes: int | None
    free_bytes: int | None
    cpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Core:
    """A core and its online CPUs (two or more with SMT)."""

    number: int
    cpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Package:
    """A socket and its cores; number None when the kernel does not say."""

    number: int | None
    cores: tuple[Core, ...]

    @property
    def cpus(self) -> tuple[int, ...]:
        """The online CPUs of the socket, in order."""
        return tuple(sorted(cpu for core in self.cores for cpu in core.cpus))


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """A limit set by a control group (container): None is "none" for the maximum and "not known" for the use."""

    max: int | None
    used: int | None
    file: str
    """Where it is set; "" without one."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What `filar.topology()` found. Print it for a tree; in a notebook it shows itself."""

    packages: tuple[Package, ...]
    cpus: tuple[CPU, ...]
    """All CPUs present, also offline ones, in order of their numbers."""
    caches: tuple[Cache, ...]
    nodes: tuple[MemoryNode, ...]
    cpus_possible: int
    """How many CPUs the kernel could ever have (hot-plug)."""
    usable_cpus: int
    """How many threads can compute at once: allowed CPUs, no more than the quota, at least 1."""
    quota_cpus: float | None
    """CPU time per time that control groups give (0.5: half a CPU); None: no limit."""
    quota_file: str
    group_version: int
    """Of the control group of CPU time: 1 or 2; 0: none seen."""
    group_cpus: tuple[int, ...]
    """The cpuset of the control group; () when it sets none."""
    memory_bytes: int | None
    memory_available_bytes: int | None
    memory_limit: GroupLimit
    """Bytes."""
    threads_limit: GroupLimit
    """Threads and processes (pids.max)."""
    source: str
    """Where the CPUs were read from."""
    notes: tuple[str, ...]
    """What was missing or strange, a sentence each."""
    orders: Mapping[str, tuple[int, ...]] = field(repr=False)
    """The orders of cpus_by_policy()."""

    @property
    def online(self) -> tuple[int, ...]:
        """Numbers of the CPUs that are online."""
        return tuple(cpu.number for cpu in self.cpus if cpu.online)

    @property
    def offline(self) -> tuple[int, ...]:
        """Numbers of the CPUs that are present and switched off."""
        return tuple(cpu.number for cpu in self.cpus if not cpu.online)

    @property
    def allowed(self) -> tuple[int, ...]:
        """Numbers of the CPUs that are online and that this process may use."""
        return tuple(cpu.number for cpu in self.cpus if cpu.online and cpu.allowed)

    @property
    def cores(self) -> tuple[Core, ...]:
        """All cores with an online CPU, in order of their numbers."""
        return tuple(sorted((c for package in self.packages for c in package.cores), key=lambda c: c.number))

    @property
    def has_smt(self) -> bool:
        """Whether some core has more than one CPU online."""
        return any(len(core.cpus) > 1 for core in self.cores)

    def cpu(self, number: int) -> CPU:
        """The CPU of that number; KeyError when it is not present."""
        for cpu in self.cpus:
            if cpu.number == number:
                return cpu
        raise KeyError(number)

    def caches_of(self, number: int) -> tuple[Cache, ...]:
        """The caches that serve a CPU, by level."""
        return tuple(cache for cache in self.caches if number in cache.cpus)

    def cpus_by_policy(self, policy: Placement) -> tuple[int, ...]:
        """In which order to pin threads to the CPUs this process may use.

        "compact": neighbours first (siblings of a core, then of a cache), for threads that share data.
        "scatter": as far apart as can be (package by package, cache by cache, siblings last), for threads that
        want caches and memory bandwidth for themselves.
        "cores": one CPU of each core, the fastest cores first; shorter than the others where there is SMT.
        """
        try:
            return self.orders[policy]
        except (KeyError, TypeError):
            raise InvalidArgumentError(
                f"no placement {policy!r}: choose one of {', '.join(map(repr, get_args(Placement)))}"
            ) from None

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts and tuples, for JSON."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "orders"}
        return {name: _plain(value) for name, value in plain.items()} | {"orders": dict(self.orders)}

    def __reduce__(self) -> tuple[Any, ...]:
        """A read-only mapping cannot be pickled: hand over a plain one."""
        values = [getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "orders"]
        return _rebuild, (values, dict(self.orders))

    def __hash__(self) -> int:
        return hash((self.cpus, self.caches, self.nodes, self.usable_cpus))

    def __str__(self) -> str:
        return "\n".join([self.summary, *self._tree(), *self._facts()])

    @property
    def summary(self) -> str:
        """One line: "2 packages, 8 cores, 16 CPUs, 12 usable"."""
        count = len(self.online)
        parts = [
            _plural(len(self.packages), "package"),
            _plural(len(self.cores), "core"),
            _plural(count, "CPU"),
            "all usable" if self.usable_cpus == count else f"{self.usable_cpus} usable",
        ]
        return ", ".join(parts)

    def _facts(self) -> Iterator[str]:
        if self.offline:
            yield f"offline: CPU {_machine.cpu_list(self.offline)}"
        if self.allowed != self.online:
            yield f"allowed: CPU {_machine.cpu_list(self.allowed)}"
        if self.quota_cpus is not None:
            yield f"quota:   {self.quota_cpus:g} CPUs ({self.quota_file})"
        if self.memory_bytes is not None:
            available = self.memory_available_bytes
            rest = "" if available is None else f", {_machine.size(available)} available"
            yield f"memory:  {_machine.size(self.memory_bytes)}{rest}"
        if self.memory_limit.max is not None:
            yield f"limit:   {_machine.size(self.memory_limit.max)} of memory ({self.memory_limit.file})"
        if self.threads_limit.max is not None:
            yield f"limit:   {self.threads_limit.max:,} threads ({self.threads_limit.file})"
        yield from (f"note:    {note}" for note in self.notes)

    # ---- the tree: packages, groups that share a last-level cache or a node, cores ----

    def _tree(self) -> Iterator[str]:
        for package in self.packages:
            groups = self._groups(package)
            yield _line("", *self._package_text(package, groups))
            for index, group in enumerate(groups):
                last = index == len(groups) - 1
                if len(groups) > 1:
                    yield _line("└─ " if last else "├─ ", ", ".join(self._shared(group, package)), "")
                yield from self._core_lines(group, "" if len(groups) == 1 else "   " if last else "│  ")

    def _package_text(self, package: Package, groups: list[tuple[Core, ...]]) -> tuple[str, str]:
        """Its name, and what all of its cores share."""
        shared = self._node_texts(package.cpus)
        if len(groups) == 1:
            shared += self._shared(groups[0], package)
        return "package" if package.number is None else f"package {package.number}", ", ".join(shared)

    def _groups(self, package: Package) -> list[tuple[Core, ...]]:
        """Cores of a package by what they share beside it."""
        groups: dict[tuple[int | None, int | None], list[Core]] = {}
        for core in package.cores:
            cpu = self.cpu(core.cpus[0])
            groups.setdefault((cpu.node, cpu.last_cache), []).append(core)
        if len(groups) == len(package.cores):  # caches shared by nobody are no groups
            return [package.cores]
        return [tuple(cores) for cores in groups.values()]

    def _node_texts(self, cpus: tuple[int, ...]) -> list[str]:
        """The node that all of these are on, on a machine with several."""
        numbers = {self.cpu(cpu).node for cpu in cpus}
        if len(self.nodes) < 2 or len(numbers) != 1:
            return []
        return [
            f"node {node.number}" + ("" if node.memory_bytes is None else f" with {_machine.size(node.memory_bytes)}")
            for node in self.nodes
            if node.number in numbers
        ]

    def _shared(self, group: tuple[Core, ...], package: Package) -> list[str]:
        """What the cores of a group share and those of the package do not: a node, caches."""
        members = tuple(cpu for core in group for cpu in core.cpus)
        parts = [] if self._node_texts(package.cpus) else self._node_texts(members)
        if len(group) > 1:
            parts += [_cache_text(cache) for cache in self.caches if set(members) <= set(cache.cpus)]
        return parts

    def _core_text(self, core: Core) -> tuple[str, str]:
        marks = [f"{number}{self._mark(number)}" for number in core.cpus]
        own = [_cache_text(c) for c in self.caches_of(core.cpus[0]) if set(c.cpus) <= set(core.cpus)]
        first = self.cpu(core.cpus[0])
        if first.capacity is not None and any(cpu.capacity not in (None, first.capacity) for cpu in self.cpus):
            own.append(f"capacity {first.capacity}")
        return f"core {core.number}: CPU {' '.join(marks)}", ", ".join(own)

    def _mark(self, number: int) -> str:
        return "" if self.cpu(number).allowed else " (not allowed)"

    def _many_cores_text(self, group: tuple[Core, ...]) -> tuple[str, str]:
        cpus = [cpu for core in group for cpu in core.cpus]
        forbidden = [cpu for cpu in cpus if not self.cpu(cpu).allowed]
        note = f" (not allowed: {_machine.cpu_list(forbidden)})" if forbidden else ""
        own = self._core_text(group[0])[1]
        return f"{len(group)} cores: CPU {_machine.cpu_list(cpus)}{note}", own and f"each {own}"

    def _core_lines(self, group: tuple[Core, ...], indent: str) -> Iterator[str]:
        if len(group) > _CORES_SHOWN_MAX:
            yield _line(indent + "└─ ", *self._many_cores_text(group))
            return
        for core in group:
            branch = "└─ " if core is group[-1] else "├─ "
            yield _line(indent + branch, *self._core_text(core))

    # ---- notebooks ----

    def _repr_html_(self) -> str:
        packages = "".join(self._package_html(package) for package in self.packages)
        facts = "".join(f"<div>{_machine.escape(fact)}</div>" for fact in self._facts())
        return (
            f'<div><div style="font-weight:bold">{_machine.escape(self.summary)}</div>{packages}'
            f'<div style="font-size:90%">{facts}</div></div>'
        )

    def _package_html(self, package: Package) -> str:
        groups = self._groups(package)
        inner = []
        for group in groups:
            boxes = self._cores_html(group)
            title = ", ".join(self._shared(group, package))
            inner.append(_machine.html_box(title, boxes) if len(groups) > 1 else boxes)
        return _machine.html_box(_title(*self._package_text(package, groups)), "".join(inner))

    def _cores_html(self, group: tuple[Core, ...]) -> str:
        if len(group) > _CORES_SHOWN_MAX:
            return _machine.html_box(_title(*self._many_cores_text(group)), "")
        return "".join(self._core_html(core) for core in group)

    def _core_html(self, core: Core) -> str:
        cells = "".join(
            _machine.html_box("" if self.cpu(n).allowed else "not allowed", f"CPU {n}", dashed=not self.cpu(n).allowed)
            for n in core.cpus
        )
        return _machine.html_box(_title(f"core {core.number}", self._core_text(core)[1]), cells)


def topology(*, root: str | os.PathLike[str] | None = None) -> Topology:
    """Reads the machine anew. Never fails for a file that is missing: see `notes`.

    `root` is a folder that holds somebody else's /sys and /proc; None is this machine.
    """
    handle = ffi.new("filar_topology const **")
    check(lib.filar_topology_read(handle, ffi.NULL if root is None else os.fsencode(root)))
    try:
        return _copy(handle[0])
    finally:
        lib.filar_topology_release(handle[0])


def _copy(facts: Any) -> Topology:
    cpus = tuple(_copy_cpu(facts.cpus[index]) for index in range(facts.cpu_count))
    return Topology(
        packages=_packages(cpus),
        cpus=cpus,
        caches=tuple(_copy_cache(facts.caches[index], facts.lists) for index in range(facts.cache_count)),
        nodes=tuple(_copy_node(facts.nodes[index], facts.lists) for index in range(facts.node_count)),
        cpus_possible=facts.cpus_possible,
        usable_cpus=facts.usable_cpus,
        quota_cpus=facts.quota_cpus or None,
        quota_file=text(facts.quota_file),
        group_version=facts.group_version,
        group_cpus=_machine.parse_cpu_list(text(facts.group_cpus)),
        memory_bytes=facts.memory_bytes or None,
        memory_available_bytes=facts.memory_available_bytes or None,
        memory_limit=_copy_limit(facts.memory),
        threads_limit=_copy_limit(facts.threads),
        source=text(facts.source),
        notes=tuple(text(facts.notes).splitlines()),
        orders=_orders(facts),
    )


def _copy_cpu(cpu: Any) -> CPU:
    return CPU(
        number=cpu.cpu,
        package=_known(cpu.package),
        core=_known(cpu.core),
        smt=cpu.smt,
        node=_known(cpu.node),
        last_cache=_known(cpu.last_cache),
        capacity=cpu.capacity or None,
        max_khz=cpu.max_khz or None,
        online=cpu.online,
        allowed=cpu.allowed,
    )


def _copy_cache(cache: Any, lists: Any) -> Cache:
    return Cache(
        level=cache.level,
        kind=_CACHE_KINDS[cache.kind],
        size_bytes=cache.bytes or None,
        line_bytes=cache.line_bytes or None,
        ways=cache.ways or None,
        cpus=_copy_list(cache, lists),
    )


def _copy_node(node: Any, lists: Any) -> MemoryNode:
    return MemoryNode(node.node, node.bytes or None, node.free_bytes or None, _copy_list(node, lists))


def _copy_limit(limit: Any) -> GroupLimit:
    return GroupLimit(_known(limit.max), _known(limit.used), text(limit.file))


def _copy_list(owner: Any, lists: Any) -> tuple[int, ...]:
    return tuple(lists[owner.cpu_first + index] for index in range(owner.cpu_count))


def _known(value: int) -> int | None:
    return None if value < 0 else value


def _orders(facts: Any) -> Mapping[str, tuple[int, ...]]:
    room = facts.cpu_count
    cpus, count = ffi.new("int32_t[]", room), ffi.new("size_t *")
    orders = {}
    for name, placement in _PLACEMENTS.items():
        check(lib.filar_topology_place(facts, placement, cpus, room, count))
        orders[name] = tuple(cpus[0 : count[0]])
    return MappingProxyType(orders)


def _packages(cpus: tuple[CPU, ...]) -> tuple[Package, ...]:
    found: dict[int | None, dict[int, list[int]]] = {}
    for cpu in cpus:
        if cpu.core is not None:
            found.setdefault(cpu.package, {}).setdefault(cpu.core, []).append(cpu.number)
    return tuple(
        Package(number, tuple(Core(core, tuple(members)) for core, members in sorted(cores.items())))
        for number, cores in sorted(found.items(), key=lambda item: -1 if item[0] is None else item[0])
    )


def _rebuild(values: list[Any], orders: dict[str, tuple[int, ...]]) -> Topology:
    return Topology(*[*values, MappingProxyType(orders)])


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _title(name: str, detail: str) -> str:
    return f"{name} · {detail}" if detail else name


def _cache_text(cache: Cache) -> str:
    return cache.name if cache.size_bytes is None else f"{cache.name} {_machine.size(cache.size_bytes)}"


def _line(branch: str, name: str, detail: str) -> str:
    start = f"{branch}{name}"
    return f"{start:<34}  {detail}" if detail else start
