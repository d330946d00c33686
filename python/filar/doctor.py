"""What this machine lacks for good measurements: `print(filar.doctor())`.

Each check looks at one thing and returns a finding: what was found, why it matters, what to do about it. A file
that is missing makes a check silent or honest about it, never fail; nothing on the machine is changed.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import sysconfig
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from filar._lib import ffi, lib, text
from filar._machine import bytes_field, chosen, cpu_list, read_int, read_text, size, status_field
from filar._tables import html_table, named_columns
from filar.topology import Topology, topology

__all__ = ["Diagnosis", "Finding", "doctor"]

Level = Literal["ok", "note", "warn"]
_LEVELS: tuple[Level, ...] = ("warn", "note", "ok")
_MARKS = {"warn": "!", "note": "·", "ok": "✓"}
# A normal process should get this niceness and these priorities only with permission.
_CAP_SYS_NICE = 23
_DEFAULT_SLACK_NS = 50_000
_MANY_FILES = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    title: str
    found: str
    why: str = ""
    """Why it matters for measurements; "" when all is well."""
    do: str = ""
    """What to do about it; "" when there is nothing to do."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `filar.doctor()` found, worst first. Print it; in a notebook it shows itself."""

    findings: tuple[Finding, ...]

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """The findings of one level: "warn", "note" or "ok"."""
        return tuple(finding for finding in self.findings if finding.level == level)

    @property
    def worst(self) -> Level:
        """The most serious level that occurs."""
        return next((level for level in _LEVELS if self.of_level(level)), "ok")

    @property
    def summary(self) -> str:
        """One line: how many findings of each kind."""
        warn, note, ok = (len(self.of_level(level)) for level in _LEVELS)
        return f"{warn} to mend, {note} to know, {ok} in order"

    def __str__(self) -> str:
        lines = [self.summary]
        for finding in (*self.of_level("warn"), *self.of_level("note")):
            lines += ["", f"{_MARKS[finding.level]} {finding.title}: {finding.found}"]
            lines += [
                textwrap.fill(part, 100, initial_indent="  ", subsequent_indent="  ")
                for part in (finding.why, finding.do and f"→ {finding.do}")
                if part
            ]
        if self.of_level("ok"):
            lines.append("")
            lines += [f"{_MARKS['ok']} {finding.title}: {finding.found}" for finding in self.of_level("ok")]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (f"{_MARKS[finding.level]} {finding.title}", finding.found, finding.why, finding.do)
            for level in _LEVELS
            for finding in self.of_level(level)
        ]
        heads = ("", "found", "why it matters", "what to do")
        return html_table(named_columns(heads, len(heads)), rows, self.summary)


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the checks look at; `root` is put in front of /proc and /sys."""

    root: str
    topology: Topology

    def text(self, path: str) -> str | None:
        return read_text(self.root + path)

    def number(self, path: str) -> int | None:
        return read_int(self.root + path)

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root + path)


def doctor(*, root: str | os.PathLike[str] | None = None) -> Diagnosis:
    """Looks at everything that spoils measurements of threads. Takes some milliseconds; needs no permission.

    `root` is a folder that holds somebody else's /sys and /proc; None is this machine.
    """
    machine = _Machine("" if root is None else os.fspath(root), topology(root=root))
    findings = [finding for check in _CHECKS for finding in check(machine)]
    return Diagnosis(tuple(sorted(findings, key=lambda finding: _LEVELS.index(finding.level))))


# ---- CPUs ----


def _check_cpus(machine: _Machine) -> list[Finding]:
    top = machine.topology
    if len(top.allowed) == 1:
        where = f"CPU {top.allowed[0]} of {len(top.online)}" if len(top.online) > 1 else "one CPU"
        do = "start the process without taskset or cpuset" if len(top.online) > 1 else ""
        why = "Nothing runs at the same time: speed-ups, contention and core-to-core figures cannot be measured."
        return [Finding("warn", "CPUs", where, why, do)]
    if top.allowed != top.online:
        found = f"{len(top.allowed)} of {len(top.online)} ({cpu_list(top.allowed)})"
        why = "Affinity or a cpuset leaves out CPUs; os.cpu_count() does not say so."
        return [Finding("note", "CPUs", found, why, "use filar.topology().usable_cpus to size pools")]
    return [Finding("ok", "CPUs", f"{len(top.allowed)} ({cpu_list(top.allowed)}), all allowed")]


def _check_offline(machine: _Machine) -> list[Finding]:
    off = machine.topology.offline
    if not off:
        return []
    why = "CPUs that are switched off are missing from scaling curves."
    return [Finding("note", "offline CPUs", cpu_list(off), why, "echo 1 > /sys/devices/system/cpu/cpuN/online")]


def _check_quota(machine: _Machine) -> list[Finding]:
    top = machine.topology
    if top.quota_cpus is None:
        return [Finding("ok", "CPU quota", "none")]
    found = f"{top.quota_cpus:g} CPUs' worth of time on {len(top.allowed)} CPUs ({top.quota_file})"
    if top.quota_cpus >= len(top.allowed):
        return [Finding("ok", "CPU quota", found)]
    why = (
        "Once the quota of a period (100 ms as a rule) is used up, all threads stand still until the next: "
        "latencies gain a tail of tens of milliseconds and scaling ends early."
    )
    return [Finding("warn", "CPU quota", found, why, "run outside the container, or raise its CPU limit")]


def _check_smt(machine: _Machine) -> list[Finding]:
    top = machine.topology
    if not top.has_smt:
        return [Finding("ok", "SMT", "no core has two CPUs in use")]
    found = f"{len(top.online)} CPUs on {len(top.cores)} cores"
    why = "Two threads on one core share its units: each is slower, by 10 to 50 %, depending on the other."
    return [Finding("note", "SMT", found, why, 'pin with cpus_by_policy("cores") to keep cores apart')]


def _check_virtual(machine: _Machine) -> list[Finding]:
    info = machine.text("/proc/cpuinfo") or ""
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", info, re.MULTILINE)
    product = machine.text("/sys/devices/virtual/dmi/id/product_name") or ""
    named = re.search(r"KVM|VMware|VirtualBox|Virtual Machine|HVM|Compute Engine|QEMU", product)
    kind = machine.text("/sys/hypervisor/type")
    if not (flags or named or kind):
        return [Finding("ok", "virtual machine", "no sign of one")]
    found = "yes" + (f" ({product or kind})" if product or kind else "")
    why = "The host takes CPUs away unseen and changes their clock; interrupts and idle exits cost several times more."
    do = "compare ways inside one run only; look at steal time and the clock probe in each result"
    return [Finding("note", "virtual machine", found, why, do)]


def _check_frequency(machine: _Machine) -> list[Finding]:
    base = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    governors = {machine.text(base.format(cpu)) for cpu in machine.topology.allowed} - {None}
    findings = []
    if governors == {"performance"}:
        findings.append(Finding("ok", "frequency governor", "performance"))
    elif governors:
        why = "The clock follows the load: the first milliseconds of a measurement run slower than the rest."
        do = "cpupower frequency-set -g performance"
        findings.append(Finding("warn", "frequency governor", ", ".join(sorted(map(str, governors))), why, do))
    else:
        why = "Whether and how the clock changes is up to the host or the firmware."
        findings.append(Finding("note", "frequency governor", "not visible", why, "trust the clock probe in results"))
    return findings + _check_turbo(machine)


def _check_turbo(machine: _Machine) -> list[Finding]:
    no_turbo = machine.number("/sys/devices/system/cpu/intel_pstate/no_turbo")
    boost = machine.number("/sys/devices/system/cpu/cpufreq/boost")
    if no_turbo is None and boost is None:
        return []
    if no_turbo == 1 or boost == 0:
        return [Finding("ok", "turbo", "off")]
    why = "The highest clock depends on how many cores are busy and how warm they are."
    do = "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo, or 0 > .../cpufreq/boost"
    return [Finding("note", "turbo", "on", why, do)]


def _check_idle(machine: _Machine) -> list[Finding]:
    driver = machine.text("/sys/devices/system/cpu/cpuidle/current_driver")
    if driver in (None, "", "none"):
        return []
    why = "A CPU that was idle wakes with a delay of up to hundreds of microseconds, and finds cold caches."
    do = "hold /dev/cpu_dma_latency at 0 while measuring wake-ups, or compare with idle=poll"
    return [Finding("note", "idle states", f"driver {driver}", why, do)]


# ---- clocks ----


def _check_clock(machine: _Machine) -> list[Finding]:
    folder = "/sys/devices/system/clocksource/clocksource0"
    source = machine.text(f"{folder}/current_clocksource")
    if source is None:
        return [
            Finding("note", "clock source", "not visible", "Whether reading time needs a system call is not known.")
        ]
    cost = ""
    if not machine.root:
        info = ffi.new("filar_clock_info *")
        lib.filar_clock_describe(info)
        cost = f", {info.read_ns:.0f} ns a reading; short stamps: {text(info.source)}, {info.tick_read_ns:.0f} ns"
    if source in ("tsc", "arch_sys_counter"):
        return [Finding("ok", "clock source", source + cost)]
    if source in ("kvm-clock", "hyperv_clocksource_tsc_page"):
        why = "Read without a system call, but steered by the host: short stamps cannot use the CPU's counter."
        return [Finding("note", "clock source", source + cost, why, f"echo tsc > {folder}/current_clocksource")]
    why = "Each reading of the clock is a system call or a slow device: some 1,000 ns instead of 20."
    return [Finding("warn", "clock source", source + cost, why, f"echo tsc > {folder}/current_clocksource, if offered")]


def _check_slack(machine: _Machine) -> list[Finding]:
    slack = machine.number("/proc/self/timerslack_ns")
    if slack is None:
        return []
    found = f"{slack / 1000:g} µs"
    if slack <= _DEFAULT_SLACK_NS:
        return [Finding("ok", "timer slack", f"{found}: sleeps end up to that much late")]
    why = "Sleeps and time-outs end later than they must, to save wake-ups."
    return [Finding("warn", "timer slack", found, why, "echo 50000 > /proc/self/timerslack_ns")]


# ---- who else is there ----


def _check_load(machine: _Machine) -> list[Finding]:
    fields = (machine.text("/proc/loadavg") or "").split()
    if len(fields) < 4:
        return []
    running = fields[3].partition("/")[0]
    others = int(running) - 1 if running.isdigit() else 0  # one of them is this process
    cpus = machine.topology.usable_cpus
    found = f"{fields[0]} over the last minute, {max(0, others)} other threads running or ready now"
    if others < 1 and _number(fields[0]) < 0.5 * cpus:
        return [Finding("ok", "load", found)]
    why = "Other work takes CPU time, caches and memory bandwidth from what is measured."
    level: Level = "warn" if others >= cpus or _number(fields[0]) >= cpus else "note"
    return [Finding(level, "load", found, why, "stop other work, or wait until it is done")]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return 0.0


def _check_autogroup(machine: _Machine) -> list[Finding]:
    if machine.number("/proc/sys/kernel/sched_autogroup_enabled") != 1:
        return []
    why = (
        "The scheduler shares CPU time between sessions first and between threads second: nice has no effect "
        "against programs of another terminal."
    )
    return [Finding("note", "autogroup", "on", why, "sysctl -w kernel.sched_autogroup_enabled=0")]


# ---- memory ----


def _check_huge_pages(machine: _Machine) -> list[Finding]:
    setting = chosen(machine.text("/sys/kernel/mm/transparent_hugepage/enabled"))
    if setting is None:
        return []
    if setting != "always":
        return [Finding("ok", "transparent huge pages", setting)]
    why = "Large buffers and heaps may get 2 MiB pages or not, from run to run: memory figures jump."
    do = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
    return [Finding("note", "transparent huge pages", "always", why, do)]


def _check_swap(machine: _Machine) -> list[Finding]:
    total = bytes_field(machine.text("/proc/meminfo"), "SwapTotal")
    if total is None:
        return []
    if total == 0:
        return [Finding("ok", "swap", "none")]
    why = "When memory runs short, page faults take milliseconds instead of a microsecond."
    return [Finding("note", "swap", size(total), why, "swapoff -a while measuring memory")]


def _check_random_layout(machine: _Machine) -> list[Finding]:
    level = machine.number("/proc/sys/kernel/randomize_va_space")
    if level is None or level == 0:
        return [Finding("ok", "address layout", "not randomised" if level == 0 else "not visible")]
    why = "Each process gets other addresses, hence other cache conflicts: some runs differ by a few per cent."
    do = "run several processes and compare, or setarch -R"
    return [Finding("note", "address layout", "randomised", why, do)]


def _check_guard(machine: _Machine) -> list[Finding]:
    release = machine.text("/proc/sys/kernel/osrelease") or platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers is None:
        return []
    if (int(numbers[1]), int(numbers[2])) >= (6, 13):
        return [Finding("ok", "guard pages", f"Linux {numbers[0]} has MADV_GUARD_INSTALL")]
    why = "Each guarded stack takes two memory maps, so vm.max_map_count ends at some 32,700 of them."
    return [Finding("note", "guard pages", f"Linux {numbers[0]} has no MADV_GUARD_INSTALL", why, "Linux 6.13 or later")]


# ---- the kernel ----


def _check_mitigations(machine: _Machine) -> list[Finding]:
    folder = f"{machine.root}/sys/devices/system/cpu/vulnerabilities"
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    active = [name for name in names if (read_text(f"{folder}/{name}") or "").startswith("Mitigation")]
    if not active:
        return [Finding("ok", "mitigations", "none active")]
    why = "They make system calls and switches between processes dearer (not those between threads of one)."
    return [Finding("note", "mitigations", ", ".join(active), why, "record them; compare only with the same set")]


def _check_perf(machine: _Machine) -> list[Finding]:
    paranoid = machine.number("/proc/sys/kernel/perf_event_paranoid")
    if paranoid is None:
        return [Finding("note", "perf", "not in this kernel", "Cache misses and branch misses cannot be counted.")]
    hardware = any(
        machine.exists(f"/sys/bus/event_source/devices/{name}") for name in ("cpu", "cpu_core", "armv8_pmuv3_0")
    )
    if not hardware:
        why = "Cache misses and branch misses cannot be counted here, only estimated."
        return [Finding("note", "perf", "no hardware counters (usual in virtual machines)", why)]
    if paranoid <= 2 or os.geteuid() == 0:
        return [Finding("ok", "perf", f"hardware counters, perf_event_paranoid = {paranoid}")]
    why = "Counting one's own events is forbidden."
    return [Finding("note", "perf", f"perf_event_paranoid = {paranoid}", why, "sysctl -w kernel.perf_event_paranoid=2")]


# ---- what this process may do ----


def _capable(machine: _Machine, capability: int) -> bool:
    word = status_field(machine.text("/proc/self/status"), "CapEff") or "0"
    try:
        return bool(int(word, 16) >> capability & 1)
    except ValueError:
        return False


def _check_permissions(machine: _Machine) -> list[Finding]:
    if _capable(machine, _CAP_SYS_NICE):
        return [Finding("ok", "priorities", "real time and negative nice are permitted")]
    real_time = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    nice = 20 - resource.getrlimit(resource.RLIMIT_NICE)[0]
    lacking = [name for name, lacks in (("real time", real_time == 0), ("negative nice", nice >= 0)) if lacks]
    if not lacking:
        return [Finding("ok", "priorities", "real time and negative nice are permitted")]
    why = "Experiments with priorities can show only what is permitted."
    do = "CAP_SYS_NICE, or rtprio and nice in /etc/security/limits.conf"
    return [Finding("note", "priorities", f"no permission for {' or '.join(lacking)}", why, do)]


def _check_own_priority(machine: _Machine) -> list[Finding]:
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    policy = {os.SCHED_FIFO: "FIFO", os.SCHED_RR: "RR", os.SCHED_BATCH: "BATCH", os.SCHED_IDLE: "IDLE"}
    name = policy.get(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK)
    if nice == 0 and name is None:
        return [Finding("ok", "own priority", "nice 0, the default policy")]
    why = "All that is measured inherits it: waits are shorter or longer than those of a plain process."
    found = f"nice {nice}" + (f", policy {name}" if name else "")
    return [Finding("note", "own priority", found, why, "start it without nice and chrt")]


def _check_limits(machine: _Machine) -> list[Finding]:
    findings = []
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY and files < _MANY_FILES:
        why = "Experiments with thousands of sockets or pipes stop early."
        findings.append(Finding("note", "open files", f"{files:,} (ulimit -n)", why, "ulimit -n 20000"))
    for which, name, letter in (
        (resource.RLIMIT_AS, "address space", "v"),
        (resource.RLIMIT_DATA, "data", "d"),
        (resource.RLIMIT_CPU, "CPU time", "t"),
    ):
        soft = resource.getrlimit(which)[0]
        if soft != resource.RLIM_INFINITY:
            amount = f"{soft:,} s" if which == resource.RLIMIT_CPU else size(soft)
            why = "Threads or long measurements are refused or ended by it; filar.why_not() counts it in."
            findings.append(
                Finding("note", f"limit on {name}", f"{amount} (ulimit -{letter})", why, f"ulimit -{letter} unlimited")
            )
    return findings or [Finding("ok", "limits", "none that is in the way (filar.why_not() counts threads)")]


# ---- Python ----


def _check_python(machine: _Machine) -> list[Finding]:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    if bool(sysconfig.get_config_var("Py_DEBUG")) or hasattr(sys, "gettotalrefcount"):
        why = "A debug build runs Python code several times slower; what C code costs stays right."
        return [Finding("warn", "Python", f"{found}, debug build", why, "use a release build")]
    gil = getattr(sys, "_is_gil_enabled", None)
    free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if not free:
        return [Finding("ok", "Python", f"{found}, with the GIL")]
    if gil is not None and gil():
        why = "A free-threaded build in which an extension has switched the GIL on again."
        return [
            Finding("warn", "Python", f"{found}, free-threaded, GIL on", why, "PYTHON_GIL=0, or drop the extension")
        ]
    return [Finding("note", "Python", f"{found}, free-threaded", "Figures with the GIL come from another build.")]


def _check_tracing(machine: _Machine) -> list[Finding]:
    if sys.gettrace() is not None or sys.getprofile() is not None:
        why = "A tracer (debugger, coverage) runs at each line or call of Python code."
        return [Finding("warn", "tracing", "on in this thread", why, "measure without debugger and coverage")]
    tracer = status_field(machine.text("/proc/self/status"), "TracerPid")
    if tracer not in (None, "0"):
        why = "Each system call stops twice for the tracer."
        return [
            Finding("warn", "tracing", f"this process is traced by {tracer}", why, "measure without strace and gdb")
        ]
    return []


def _check_notes(machine: _Machine) -> list[Finding]:
    return [Finding("note", "topology", note) for note in machine.topology.notes]


_CHECKS: tuple[Callable[[_Machine], list[Finding]], ...] = (
    _check_cpus,
    _check_offline,
    _check_quota,
    _check_smt,
    _check_virtual,
    _check_frequency,
    _check_idle,
    _check_clock,
    _check_slack,
    _check_load,
    _check_autogroup,
    _check_huge_pages,
    _check_swap,
    _check_random_layout,
    _check_guard,
    _check_mitigations,
    _check_perf,
    _check_permissions,
    _check_own_priority,
    _check_limits,
    _check_python,
    _check_tracing,
    _check_notes,
)
