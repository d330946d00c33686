"""The doctor on pretended machines: each ill has its finding, nothing missing makes it fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from filar.doctor import Diagnosis, Finding, doctor
from machines import CPU_FOLDER, dual_socket, single, write


def found(diagnosis: Diagnosis, title: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.title == title)


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    single(tmp_path, 4)
    for cpu in range(4):
        write(tmp_path, f"{CPU_FOLDER}/cpu{cpu}/cpufreq/scaling_governor", "performance")
    files = {
        f"{CPU_FOLDER}/intel_pstate/no_turbo": "1",
        "proc/cpuinfo": "flags\t\t: fpu tsc",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
        "proc/self/timerslack_ns": "50000",
        "proc/loadavg": "0.01 0.02 0.03 1/100 4711",
        "proc/sys/kernel/sched_autogroup_enabled": "0",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
        "proc/meminfo": "MemTotal: 1024 kB\nSwapTotal: 0 kB",
        "proc/sys/kernel/randomize_va_space": "0",
        "proc/sys/kernel/osrelease": "6.18.44-x",
        f"{CPU_FOLDER}/vulnerabilities/meltdown": "Not affected",
        "proc/sys/kernel/perf_event_paranoid": "2",
        "sys/bus/event_source/devices/cpu/type": "4",
        "proc/self/status": "Cpus_allowed_list:\t0-3\nCapEff:\tffffffffffffffff\nTracerPid:\t0",
    }
    for path, text in files.items():
        write(tmp_path, path, text)
    return tmp_path


def test_this_machine_gets_a_diagnosis() -> None:
    diagnosis = doctor()
    assert {"CPUs", "clock source", "Python"} <= {finding.title for finding in diagnosis.findings}
    text = str(diagnosis)
    assert diagnosis.summary in text
    assert all(len(line) < 160 for line in text.splitlines())
    assert all(finding.why for finding in diagnosis.findings if finding.level == "warn")


def test_a_healthy_machine_has_nothing_to_mend(healthy: Path) -> None:
    diagnosis = doctor(root=healthy)
    # What belongs to this very process (limits, tracing, the build of Python) is as it is.
    own = {
        "tracing",
        "Python",
        "own priority",
        "open files",
        "limit on address space",
        "limit on data",
        "limit on CPU time",
    }
    assert {finding.title for finding in diagnosis.findings if finding.level != "ok"} <= own


ILLS = [
    ("proc/self/status", "Cpus_allowed_list:\t2", "CPUs", "warn", "CPU 2 of 4"),
    ("proc/self/status", "Cpus_allowed_list:\t0-2", "CPUs", "note", "3 of 4"),
    (f"{CPU_FOLDER}/present", "0-5", "offline CPUs", "note", "4-5"),
    ("proc/cpuinfo", "flags\t\t: fpu hypervisor tsc", "virtual machine", "note", "yes"),
    ("sys/devices/virtual/dmi/id/product_name", "VirtualBox", "virtual machine", "note", "VirtualBox"),
    (f"{CPU_FOLDER}/cpu2/cpufreq/scaling_governor", "powersave", "frequency governor", "warn", "powersave"),
    (f"{CPU_FOLDER}/intel_pstate/no_turbo", "0", "turbo", "note", "on"),
    (f"{CPU_FOLDER}/cpuidle/current_driver", "intel_idle", "idle states", "note", "intel_idle"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", "clock source", "warn", "hpet"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock", "clock source", "note", "kvm"),
    ("proc/self/timerslack_ns", "5000000", "timer slack", "warn", "5000 µs"),
    ("proc/loadavg", "0.10 0 0 3/100 5", "load", "note", "2 other threads"),
    ("proc/loadavg", "9.00 0 0 1/100 5", "load", "warn", "9.00"),
    ("proc/sys/kernel/sched_autogroup_enabled", "1", "autogroup", "note", "on"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] never", "transparent huge pages", "note", "always"),
    ("proc/meminfo", "MemTotal: 1 kB\nSwapTotal: 2048 kB", "swap", "note", "2 MiB"),
    ("proc/sys/kernel/randomize_va_space", "2", "address layout", "note", "randomised"),
    ("proc/sys/kernel/osrelease", "5.10.0-44", "guard pages", "note", "Linux 5.10"),
    (f"{CPU_FOLDER}/vulnerabilities/meltdown", "Mitigation: PTI", "mitigations", "note", "meltdown"),
]


@pytest.mark.parametrize(("path", "text", "title", "level", "part"), ILLS, ids=[f"{ill[2]}-{ill[4]}" for ill in ILLS])
def test_each_ill_has_its_finding(healthy: Path, path: str, text: str, title: str, level: str, part: str) -> None:
    write(healthy, path, text)
    diagnosis = doctor(root=healthy)
    finding = found(diagnosis, title)
    assert finding.level == level
    assert part in finding.found
    assert finding.why
    assert finding.title in str(diagnosis)


def test_quota_below_the_cpus_is_to_be_mended(healthy: Path) -> None:
    write(healthy, "proc/self/cgroup", "0::/")
    write(healthy, "proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    write(healthy, "sys/fs/cgroup/cpu.max", "150000 100000")
    assert found(doctor(root=healthy), "CPU quota").level == "warn"
    write(healthy, "sys/fs/cgroup/cpu.max", "400000 100000")
    assert found(doctor(root=healthy), "CPU quota").level == "ok"


def test_smt_is_noted(tmp_path: Path) -> None:
    finding = found(doctor(root=dual_socket(tmp_path)), "SMT")
    assert finding.level == "note"
    assert "15 CPUs on 8 cores" in finding.found


def test_an_empty_machine_is_no_failure(tmp_path: Path) -> None:
    diagnosis = doctor(root=tmp_path)
    assert str(diagnosis)
    assert diagnosis._repr_html_()
    assert found(diagnosis, "clock source").level == "note"


def test_garbage_everywhere_is_no_failure(healthy: Path) -> None:
    for file in [path for path in healthy.rglob("*") if path.is_file()]:
        file.write_bytes(b"\xff\xfe: :\n[]99999999999999999999 -\n")
    assert str(doctor(root=healthy))


def test_worst_comes_first() -> None:
    findings = (Finding("note", "b", "x", "w"), Finding("ok", "c", "y"))
    assert Diagnosis(findings).worst == "note"
    assert Diagnosis(()).worst == "ok"
    assert "0 to mend, 1 to know, 1 in order" in str(Diagnosis(findings))


def test_a_debugger_is_noticed(healthy: Path) -> None:
    write(healthy, "proc/self/status", "Cpus_allowed_list:\t0-3\nTracerPid:\t77")
    diagnosis = doctor(root=healthy)
    assert "77" in found(diagnosis, "tracing").found or found(diagnosis, "tracing").found == "on in this thread"


def test_html_escapes_what_it_found(healthy: Path) -> None:
    write(healthy, f"{CPU_FOLDER}/cpuidle/current_driver", "<b>bold</b>")
    assert "<b>bold" not in doctor(root=healthy)._repr_html_()
