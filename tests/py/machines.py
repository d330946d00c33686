"""Pretended machines for tests: folders with a few files of /sys and /proc."""

from __future__ import annotations

from pathlib import Path

CPU_FOLDER = "sys/devices/system/cpu"


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n")


def add_cpu(root: Path, cpu: int, package: int, siblings: str, caches: dict[str, tuple[str, str]]) -> None:
    """`caches`: level and kind ("1 Data") to size and list of CPUs."""
    base = f"{CPU_FOLDER}/cpu{cpu}"
    write(root, f"{base}/topology/physical_package_id", str(package))
    write(root, f"{base}/topology/thread_siblings_list", siblings)
    for index, (name, (amount, shared)) in enumerate(caches.items()):
        level, kind = name.split()
        for key, text in {"level": level, "type": kind, "size": amount, "shared_cpu_list": shared}.items():
            write(root, f"{base}/cache/index{index}/{key}", text)


def dual_socket(root: Path) -> Path:
    """Two sockets with two L3 each, two cores with two siblings to an L3; CPU 15 is offline, 0 is forbidden."""
    write(root, f"{CPU_FOLDER}/present", "0-15")
    write(root, f"{CPU_FOLDER}/online", "0-14")
    write(root, "proc/self/status", "Cpus_allowed_list:\t1-15")
    for cpu in range(15):
        core = cpu % 8
        siblings = f"{core},{core + 8}" if core != 7 else "7"
        group = core // 2 * 2
        shared = f"{group},{group + 1},{group + 8},{group + 9}"
        add_cpu(root, cpu, core // 4, siblings, {"1 Data": ("32K", siblings), "3 Unified": ("16M", shared)})
    write(root, "sys/devices/system/node/online", "0-1")
    for node, cpus in enumerate(("0-3,8-11", "4-7,12-15")):
        write(root, f"sys/devices/system/node/node{node}/cpulist", cpus)
        write(root, f"sys/devices/system/node/node{node}/meminfo", f"Node {node} MemTotal: 1048576 kB")
    write(root, "proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB")
    return root


def single(root: Path, cores: int) -> Path:
    write(root, f"{CPU_FOLDER}/online", f"0-{cores - 1}")
    write(root, "proc/self/status", f"Cpus_allowed_list:\t0-{cores - 1}")
    for cpu in range(cores):
        add_cpu(root, cpu, 0, str(cpu), {"1 Data": ("32K", str(cpu)), "2 Unified": ("1M", f"0-{cores - 1}")})
    return root
