"""Where CPUs and caches are, as far as experiments about switching and sharing need to know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from filar.lab.host import number_of, words_of

__all__ = ["KIB", "MIB", "Place", "l2_bytes", "place_of"]

KIB = 1024
MIB = 1024 * 1024

_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Place:
    """Package (socket) and core of a CPU; None where the system does not say."""

    package: int | None
    core: int | None

    def __str__(self) -> str:
        if self.package is None or self.core is None:
            return "place not known"
        return f"package {self.package}, core {self.core}"


def place_of(cpu: int, root: Path = _CPUS) -> Place:
    """The place of a CPU, as the system tells it (a virtual machine may tell anything)."""
    folder = root / f"cpu{cpu}" / "topology"
    return Place(number_of(folder / "physical_package_id"), number_of(folder / "core_id"))


def l2_bytes(cpu: int, root: Path = _CPUS) -> int | None:
    """Size of the level 2 cache of a CPU; None where the system does not say."""
    for index in sorted((root / f"cpu{cpu}" / "cache").glob("index*")):
        size = re.fullmatch(r"(\d+)([KM]?)", words_of(index / "size") or "")
        if number_of(index / "level") == 2 and size is not None:
            return int(size.group(1)) * {"": 1, "K": KIB, "M": MIB}[size.group(2)]
    return None
