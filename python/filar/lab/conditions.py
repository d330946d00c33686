"""Conditions as data: how quiet the machine was while an experiment ran, and the badge that says so.

A `Watch` stands around the measurement. It compares the CPU time that the allowed CPUs were busy (/proc/stat) with
what this process and its reaped children used (getrusage): the rest is foreign. Children that nobody waits for
(SIGCHLD ignored) are foreign by that count, and a note says so. The clock probes that the C lab takes before and
after every sample show whether the host changed its clock.

Thresholds of the badge, first the limit of "ok", then that of "warn":

    foreign CPU     5 %    25 %    of the time of the allowed CPUs
    steal           1 %     5 %    likewise: taken by the hypervisor
    clock          10 %    50 %    of the samples with a clock more than 3 % off the typical one
    A/A error       1 %     5 %    |ratio - 1| of the same work measured as A and as B in this report

Ticks count in steps of 10 ms, so a run below 0.2 s has no foreign share.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filar._machine import task_counts
from filar.chart import Badge
from filar.lab.jsonfile import number

__all__ = ["LIMITS", "Watch", "badge_of", "contamination", "with_self_check"]

LIMITS: Mapping[str, tuple[float, float]] = {
    "foreign_percent": (5.0, 25.0),
    "steal_percent": (1.0, 5.0),
    "clock_off_percent": (10.0, 50.0),
    "self_check_percent": (1.0, 5.0),
}
CLOCK_OFF = 0.03
_WALL_MIN_S = 0.2
# Name, label and form of each share in the badge; A/A as exact as in the verdict of the self-check.
_SHARES = (
    ("foreign_percent", "foreign", ".2g"),
    ("steal_percent", "steal", ".2g"),
    ("self_check_percent", "A/A", ".2f"),
)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds that the allowed CPUs have been busy and stolen since boot."""

    busy_s: float
    steal_s: float


def cpu_times(stat: str, cpus: Iterable[int]) -> CpuTimes:
    """From the text of /proc/stat, summed over `cpus`. Time of guests is already in that of users."""
    wanted = {f"cpu{cpu}" for cpu in cpus}
    busy = steal = 0
    for line in stat.splitlines():
        name, *fields = line.split()
        if name in wanted and len(fields) >= 7:
            user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
            busy += user + nice + system + irq + softirq
            steal += int(fields[7]) if len(fields) > 7 else 0
    return CpuTimes(busy / _TICKS_PER_S, steal / _TICKS_PER_S)


def _own_cpu_s() -> float:
    """CPU time of this process and of its children that have been waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _temperature_c() -> float | None:
    """The hottest sensor that the kernel shows."""
    found = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            found.append(int(path.read_text()) / 1000)
        except (OSError, ValueError):
            continue
    return max((value for value in found if 0 < value < 150), default=None)


class Watch:
    """Reads counters when made and again in `stop()`. Cheap: a few small files each time."""

    def __init__(self, cpus: Iterable[int]) -> None:
        self._cpus = tuple(cpus)
        self._times, self._own_s, self._wall_s = self._stat(), _own_cpu_s(), time.monotonic()
        self._load, self._runnable = os.getloadavg()[0], task_counts()[0]

    def _stat(self) -> CpuTimes | None:
        try:
            return cpu_times(Path("/proc/stat").read_text(), self._cpus)
        except OSError:
            return None

    def stop(self, outcomes: Iterable[Any] = ()) -> dict[str, Any]:
        """What happened since the start; `outcomes` are the plans that ran (their samples hold the clock probes)."""
        wall_s = time.monotonic() - self._wall_s
        own_s = _own_cpu_s() - self._own_s
        found: dict[str, Any] = {
            "wall_s": number(wall_s),
            "own_cpu_s": number(own_s),
            "cpus": len(self._cpus),
            **self._foreign(wall_s, own_s),
            "load_average_before": round(self._load, 2),
            "load_average_after": round(os.getloadavg()[0], 2),
            "runnable_before": self._runnable,
            "runnable_after": task_counts()[0],
            "temperature_c": _temperature_c(),
            **clock_levels([outcome.samples for outcome in outcomes]),
        }
        if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            found["note"] = "SIGCHLD is ignored: CPU time of own children counts as foreign"
        badge = badge_of(found)
        return {**found, "badge": {"level": badge.level, "text": badge.text}}

    def _foreign(self, wall_s: float, own_s: float) -> dict[str, Any]:
        now = self._stat()
        if now is None or self._times is None or wall_s < _WALL_MIN_S or not self._cpus:
            return {"foreign_percent": None, "steal_percent": None}
        room_s = wall_s * len(self._cpus)
        foreign_s = max(0.0, now.busy_s - self._times.busy_s - own_s)
        steal_s = max(0.0, now.steal_s - self._times.steal_s)
        return {
            "foreign_percent": number(min(100.0, 100 * foreign_s / room_s), 3),
            "steal_percent": number(min(100.0, 100 * steal_s / room_s), 3),
        }


def clock_levels(samples: list[Any]) -> dict[str, Any]:
    """What the clock probes and the counted switches of all samples say."""
    samples = [part for part in samples if len(part)]
    if not samples:
        return {"clock_ns": None, "clock_floor_ns": None, "clock_spread_percent": None, "clock_off_percent": None}
    probes = np.concatenate([part[name] for part in samples for name in ("clock_before_ns", "clock_after_ns")])
    typical = float(np.median(probes))
    low, high = np.percentile(probes, [10, 90])
    off = np.abs(probes / typical - 1) > CLOCK_OFF
    return {
        "clock_ns": number(typical, 4),
        "clock_floor_ns": number(float(probes.min()), 4),
        "clock_spread_percent": number(50 * float(high - low) / typical, 2),
        "clock_off_percent": number(100 * float(off.mean()), 3),
        "switches_voluntary": int(sum(part["switches_voluntary"].sum() for part in samples)),
        "switches_involuntary": int(sum(part["switches_involuntary"].sum() for part in samples)),
    }


def with_self_check(conditions: Mapping[str, Any], error: float | None) -> dict[str, Any]:
    """The same conditions with the A/A error of the report (a share of 1), and the badge that follows."""
    percent = None if error is None or not math.isfinite(error) else number(100 * error, 4)
    found = {**conditions, "self_check_percent": percent}
    badge = badge_of(found)
    return {**found, "badge": {"level": badge.level, "text": badge.text}}


def _level(name: str, value: float) -> int:
    ok, warn = LIMITS[name]
    return 0 if value <= ok else 1 if value <= warn else 2


def badge_of(conditions: Mapping[str, Any]) -> Badge:
    """The worst of what was measured decides; what was not measured is not judged."""
    words, worst = [], 0
    for name, label, form in _SHARES:
        value = conditions.get(name)
        if value is not None:
            worst = max(worst, _level(name, value))
            words.append(f"{label} {value:{form if value < 10 else '.0f'}} %")
    spread, off = conditions.get("clock_spread_percent"), conditions.get("clock_off_percent")
    if spread is not None and off is not None:
        worst = max(worst, _level("clock_off_percent", off))
        changes = f", {off:.0f} % of samples off" if off > LIMITS["clock_off_percent"][0] else ""
        words.insert(2 if len(words) > 1 else len(words), f"clock ±{spread:.2g} %{changes}")
    if not words:
        return Badge("conditions not known", "warn")
    name = ("quiet", "noisy", "very noisy")[worst]
    return Badge(f"{name}: {', '.join(words)}", ("ok", "warn", "bad")[worst])


def contamination(conditions: Mapping[str, Any]) -> float:
    """One number to choose the cleaner of two runs by: each share over the limit up to which it is fine."""
    return sum((conditions.get(name) or 0.0) / limit for name, (limit, _) in LIMITS.items())
