"""The host record: what decides timings on this machine, and nothing that names it or its user.

Everything is read from /proc, /sys and the interpreter; what a kernel or container does not show is None. No host
name, no user, no path stands in the record, so that results can be published as they are.
"""

from __future__ import annotations

import gzip
import os
import platform
import re
import resource
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

from filar._lib import lib, text

__all__ = ["Cgroup", "host_record"]

_CPU = Path("/sys/devices/system/cpu")
_PROC = Path("/proc")


def words_of(path: str | os.PathLike[str]) -> str | None:
    """The text of a small file without the newline at its end; None where it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def number_of(path: str | os.PathLike[str]) -> int | None:
    """The integer in a small file; None where there is none ("max" included)."""
    words = words_of(path)
    return int(words) if words is not None and re.fullmatch(r"-?\d+", words) else None


def switch_of(path: str | os.PathLike[str]) -> bool | None:
    """Whether a file holds something other than 0; None where there is no number."""
    found = number_of(path)
    return None if found is None else found != 0


def bracketed(path: str | os.PathLike[str]) -> str | None:
    """The choice in force in a file like "always [madvise] never"."""
    words = words_of(path)
    found = re.search(r"\[([^]]+)\]", words or "")
    return found.group(1) if found else words


def size_of_list(words: str | None) -> int | None:
    """How many numbers a kernel list such as "0-3,8" names."""
    if not words or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", words):
        return None
    ends = [part.partition("-") for part in words.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def meminfo(key: str) -> int | None:
    """A line of /proc/meminfo, bytes."""
    found = re.search(rf"^{key}:\s+(\d+) kB", words_of(_PROC / "meminfo") or "", re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


class Cgroup:
    """The limits of the control groups this process is in: the tightest from its own group up to the root."""

    def __init__(self, root: Path = Path("/sys/fs/cgroup"), membership: str | None = None) -> None:
        self._root = root
        words = membership if membership is not None else words_of("/proc/self/cgroup") or ""
        self._lines = [line.split(":", 2) for line in words.splitlines() if line.count(":") >= 2]

    def _folders(self, controller: str) -> list[Path]:
        """Of this controller (v1) or of the one hierarchy (v2), innermost first."""
        for number, names, path in self._lines:
            if controller in names.split(","):
                base = self._root / controller
            elif number == "0" and not names and (self._root / "cgroup.controllers").exists():
                base = self._root
            else:
                continue
            inner = base / path.lstrip("/")
            # Inside a container the path may be that of the host, and only the root is mounted.
            return [folder for folder in [inner, *inner.parents] if folder.is_relative_to(base) and folder.is_dir()]
        return []

    def cpu_quota(self) -> float | None:
        """How many CPUs' worth of time the group gets; None without a quota."""
        found = []
        for folder in self._folders("cpu"):
            quota, period = (words_of(folder / "cpu.max") or "max").partition(" ")[::2]
            if not quota.isdigit():
                quota = str(number_of(folder / "cpu.cfs_quota_us") or -1)
                period = str(number_of(folder / "cpu.cfs_period_us") or 100_000)
            if quota.isdigit() and int(quota) > 0 and period.isdigit():
                found.append(int(quota) / int(period))
        return min(found, default=None)

    def _room(self, controller: str, pairs: tuple[tuple[str, str], ...]) -> int | None:
        """Smallest (limit - used) over the groups; None without a limit."""
        found = []
        for folder in self._folders(controller):
            for limit_name, used_name in pairs:
                limit, used = number_of(folder / limit_name), number_of(folder / used_name)
                # v1 writes "no limit" as a number near 2**63.
                if limit is not None and used is not None and limit < 2**60:
                    found.append(max(0, limit - used))
        return min(found, default=None)

    def memory_room(self) -> int | None:
        """Bytes the group may still take."""
        return self._room(
            "memory", (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
        )

    def pids_room(self) -> int | None:
        """Threads and processes the group may still make."""
        return self._room("pids", (("pids.max", "pids.current"),))


def _cpu_model() -> str | None:
    words = words_of(_PROC / "cpuinfo") or ""
    for key in ("model name", "Model", "Processor", "CPU part"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", words, re.MULTILINE)
        if found:
            return " ".join(found.group(1).split())
    return platform.processor() or None


def _caches(cpu: int) -> dict[str, int]:
    found = {}
    for index in sorted((_CPU / f"cpu{cpu}" / "cache").glob("index*")):
        level, kind = number_of(index / "level"), words_of(index / "type") or ""
        size = re.fullmatch(r"(\d+)([KM]?)", words_of(index / "size") or "")
        if level and size:
            suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
            found[f"L{level}{suffix}_bytes"] = int(size.group(1)) * {"": 1, "K": 1 << 10, "M": 1 << 20}[size.group(2)]
    return found


def _turbo() -> bool | None:
    no_turbo = number_of(_CPU / "intel_pstate" / "no_turbo")
    if no_turbo is not None:
        return no_turbo == 0
    return switch_of(_CPU / "cpufreq" / "boost")


def _mitigations() -> dict[str, str]:
    """Weaknesses this CPU has, with what the kernel does about each."""
    folder = _CPU / "vulnerabilities"
    found = {path.name: words_of(path) or "" for path in sorted(folder.glob("*"))} if folder.is_dir() else {}
    return {name: words for name, words in found.items() if words and words != "Not affected"}


def _hypervisor() -> str | None:
    """Its name, "yes" where only its presence shows, None on bare metal as far as can be seen."""
    sources = words_of("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    vendor = words_of("/sys/class/dmi/id/sys_vendor") or ""
    signs = {"kvm": "KVM", "xen": "Xen", "hyperv": "Hyper-V", "qemu": "QEMU", "vmware": "VMware", "amazon ec2": "EC2"}
    for sign, name in signs.items():
        if sign in f"{sources} {vendor} {words_of('/sys/hypervisor/type') or ''}".lower():
            return name
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", words_of(_PROC / "cpuinfo") or "", re.MULTILINE)
    return "yes" if flags else None


def _container() -> str | None:
    for path, name in (("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman")):
        if os.path.exists(path):
            return name
    groups = words_of("/proc/1/cgroup") or ""
    found = re.search(r"kubepods|docker|containerd|lxc|libpod", groups)
    return found.group(0) if found else os.environ.get("container")  # noqa: SIM112 (systemd spells it so)


def _tick_hz() -> int | None:
    """CONFIG_HZ, where the kernel's configuration can be read."""
    try:
        words = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode(errors="replace")
    except (OSError, EOFError, gzip.BadGzipFile):
        words = words_of(f"/boot/config-{platform.release()}") or ""
    found = re.search(r"^CONFIG_HZ=(\d+)$", words, re.MULTILINE)
    return int(found.group(1)) if found else None


def _python() -> dict[str, Any]:
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "gil": bool(gil),
        "free_threaded_build": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "debug": hasattr(sys, "gettotalrefcount"),
        "switch_interval_s": sys.getswitchinterval(),
    }


def _build() -> dict[str, str]:
    build = lib.filar_build_info()
    return {name: text(getattr(build, name)) for name in ("version", "compiler", "flags", "commit")}


def _filar_version() -> str:
    try:
        return metadata.version("filar")
    except metadata.PackageNotFoundError:
        return text(lib.filar_build_info().version)


def _libc() -> str | None:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or None
    except (ValueError, OSError):
        return " ".join(platform.libc_ver()).strip() or None


def host_record() -> dict[str, Any]:
    """The machine and the software as JSON-able data. Reads some thirty small files; some milliseconds."""
    allowed = sorted(os.sched_getaffinity(0))
    kernel = os.uname()
    return {
        "cpu_model": _cpu_model(),
        "machine": kernel.machine,
        "cpus_present": size_of_list(words_of(_CPU / "present")),
        "cpus_online": size_of_list(words_of(_CPU / "online")) or os.cpu_count(),
        "cpus_allowed": allowed,
        "cpu_quota": Cgroup().cpu_quota(),
        "smt": switch_of(_CPU / "smt" / "active"),
        "caches": _caches(allowed[0]),
        "numa_nodes": size_of_list(words_of("/sys/devices/system/node/online")),
        "governor": words_of(_CPU / f"cpu{allowed[0]}" / "cpufreq" / "scaling_governor"),
        "turbo": _turbo(),
        "memory_bytes": meminfo("MemTotal"),
        "memory_available_bytes": meminfo("MemAvailable"),
        "swap_bytes": meminfo("SwapTotal"),
        "page_bytes": resource.getpagesize(),
        "kernel_release": kernel.release,
        "kernel_version": kernel.version,
        "tick_hz": _tick_hz(),
        "clocksource": words_of("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "autogroup": switch_of("/proc/sys/kernel/sched_autogroup_enabled"),
        "transparent_hugepages": bracketed("/sys/kernel/mm/transparent_hugepage/enabled"),
        "mitigations": _mitigations(),
        "hypervisor": _hypervisor(),
        "container": _container(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "libc": _libc(),
        "python": _python(),
        "filar_version": _filar_version(),
        "build": _build(),
    }
