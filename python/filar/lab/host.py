"""The host record: what decides timings on this machine, and nothing that names it or its user.

CPUs, caches, memory and quota are those of `filar.topology()`; the rest is read from /proc, /sys and the interpreter.
What a kernel or container does not show is None. No host name, no user, no path stands in the record, so that results
can be published as they are.
"""

from __future__ import annotations

import gzip
import os
import platform
import re
import resource
import sys
import sysconfig
from pathlib import Path
from typing import Any

import filar
from filar._lib import lib, text
from filar._machine import bytes_field, chosen, read_int, read_text
from filar.topology import Topology, topology

__all__ = ["host_record", "switch_of"]

_CPU = Path("/sys/devices/system/cpu")
_PROC = Path("/proc")


def switch_of(path: str | os.PathLike[str]) -> bool | None:
    """Whether a file holds something other than 0; None where there is no number."""
    found = read_int(path)
    return None if found is None else found != 0


def _cpu_model() -> str | None:
    words = read_text(_PROC / "cpuinfo") or ""
    for key in ("model name", "Model", "Processor", "CPU part"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", words, re.MULTILINE)
        if found:
            return " ".join(found.group(1).split())
    return platform.processor() or None


def _caches(machine: Topology, cpu: int) -> dict[str, int]:
    """The sizes of the caches that serve a CPU, where the system tells them."""
    sizes = ((f"{cache.name}_bytes", cache.size_bytes) for cache in machine.caches_of(cpu))
    return {name: size for name, size in sizes if size is not None}


def _turbo() -> bool | None:
    no_turbo = read_int(_CPU / "intel_pstate" / "no_turbo")
    if no_turbo is not None:
        return no_turbo == 0
    return switch_of(_CPU / "cpufreq" / "boost")


def _mitigations() -> dict[str, str]:
    """Weaknesses this CPU has, with what the kernel does about each."""
    folder = _CPU / "vulnerabilities"
    found = {path.name: read_text(path) or "" for path in sorted(folder.glob("*"))} if folder.is_dir() else {}
    return {name: words for name, words in found.items() if words and words != "Not affected"}


def _hypervisor() -> str | None:
    """Its name, "yes" where only its presence shows, None on bare metal as far as can be seen."""
    sources = read_text("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    vendor = read_text("/sys/class/dmi/id/sys_vendor") or ""
    signs = {"kvm": "KVM", "xen": "Xen", "hyperv": "Hyper-V", "qemu": "QEMU", "vmware": "VMware", "amazon ec2": "EC2"}
    for sign, name in signs.items():
        if sign in f"{sources} {vendor} {read_text('/sys/hypervisor/type') or ''}".lower():
            return name
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", read_text(_PROC / "cpuinfo") or "", re.MULTILINE)
    return "yes" if flags else None


def _container() -> str | None:
    for path, name in (("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman")):
        if os.path.exists(path):
            return name
    groups = read_text("/proc/1/cgroup") or ""
    found = re.search(r"kubepods|docker|containerd|lxc|libpod", groups)
    return found.group(0) if found else os.environ.get("container")  # noqa: SIM112 (systemd spells it so)


def _tick_hz() -> int | None:
    """CONFIG_HZ, where the kernel's configuration can be read."""
    try:
        words = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode(errors="replace")
    except (OSError, EOFError, gzip.BadGzipFile):
        words = read_text(f"/boot/config-{platform.release()}") or ""
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


def _libc() -> str | None:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or None
    except (ValueError, OSError):
        return " ".join(platform.libc_ver()).strip() or None


def host_record() -> dict[str, Any]:
    """The machine and the software as JSON-able data. Reads some thirty small files; some milliseconds."""
    allowed = sorted(os.sched_getaffinity(0))
    kernel = os.uname()
    machine = topology()
    return {
        "cpu_model": _cpu_model(),
        "machine": kernel.machine,
        "cpus_present": len(machine.cpus) or None,
        "cpus_online": len(machine.online) or os.cpu_count(),
        "cpus_allowed": allowed,
        "cpu_quota": machine.quota_cpus,
        "smt": switch_of(_CPU / "smt" / "active"),
        "caches": _caches(machine, allowed[0]),
        "numa_nodes": len(machine.nodes) or None,
        "governor": read_text(_CPU / f"cpu{allowed[0]}" / "cpufreq" / "scaling_governor"),
        "turbo": _turbo(),
        "memory_bytes": machine.memory_bytes,
        "memory_available_bytes": machine.memory_available_bytes,
        "swap_bytes": bytes_field(read_text(_PROC / "meminfo"), "SwapTotal"),
        "page_bytes": resource.getpagesize(),
        "kernel_release": kernel.release,
        "kernel_version": kernel.version,
        "tick_hz": _tick_hz(),
        "clocksource": read_text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "autogroup": switch_of("/proc/sys/kernel/sched_autogroup_enabled"),
        "transparent_hugepages": chosen(read_text("/sys/kernel/mm/transparent_hugepage/enabled")),
        "mitigations": _mitigations(),
        "hypervisor": _hypervisor(),
        "container": _container(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "libc": _libc(),
        "python": _python(),
        "filar_version": filar.__version__,
        "build": _build(),
    }
