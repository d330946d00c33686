"""Where CPUs and caches are, as far as experiments about switching and sharing need to know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from filar.topology import Topology, topology

__all__ = ["KIB", "MIB", "Place", "l2_bytes", "places_of"]

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True)
class Place:
    """Package (socket) and core of a CPU, cores counted over the whole machine; None where the system does not say."""

    package: int | None
    core: int | None

    def __str__(self) -> str:
        if self.package is None or self.core is None:
            return "place not known"
        return f"package {self.package}, core {self.core}"


def places_of(cpus: Iterable[int], machine: Topology | None = None) -> dict[int, Place]:
    """The places of CPUs, as the system tells them (a virtual machine may tell anything)."""
    known = {cpu.number: Place(cpu.package, cpu.core) for cpu in (machine or topology()).cpus}
    return {cpu: known.get(cpu, Place(None, None)) for cpu in cpus}


def l2_bytes(cpu: int, machine: Topology | None = None) -> int | None:
    """Size of the level 2 cache of a CPU; None where the system does not say."""
    caches = (machine or topology()).caches_of(cpu)
    return next((cache.size_bytes for cache in caches if cache.level == 2), None)
