"""Conditions: what counts as foreign, what the clock probes say, and the badge."""

import dataclasses
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import filar
from filar.lab import conditions, host
from filar.lab.bench import SAMPLE_DTYPE
from filar.lab.conditions import Watch, badge_of, clock_levels, contamination, cpu_times, with_self_check
from filar.lab.host import host_record
from machines import dual_socket

STAT = """\
cpu  999 0 0 0 0 0 0 0 0 0
cpu0 100 10 30 5000 70 4 6 20 50 0
cpu1 200 0 0 5000 0 0 0 0 0 0
cpu10 7 0 0 0 0 0 0 0 0 0
intr 12345
"""


def test_busy_is_all_but_idle_iowait_and_steal_of_the_cpus_asked_for():
    tick = os.sysconf("SC_CLK_TCK")
    times = cpu_times(STAT, [0])
    assert times.busy_s == pytest.approx(150 / tick)  # guest time (50) is in user already
    assert times.steal_s == pytest.approx(20 / tick)
    assert cpu_times(STAT, [0, 1]).busy_s == pytest.approx(350 / tick)
    assert cpu_times(STAT, [1]).steal_s == 0
    assert cpu_times("", [0]).busy_s == 0


def make_watch(monkeypatch, stats, own, wall):
    """A watch that sees these values of /proc/stat, own CPU seconds and the clock, one after the other."""
    stats, own, wall = iter(stats), iter(own), iter(wall)
    monkeypatch.setattr(Watch, "_stat", lambda self: next(stats))
    monkeypatch.setattr(conditions, "_own_cpu_s", lambda: next(own))
    monkeypatch.setattr(conditions.time, "monotonic", lambda: next(wall))
    return Watch([0, 1])


def times(busy, steal=0.0):
    return conditions.CpuTimes(busy, steal)


def test_foreign_is_busy_without_own(monkeypatch):
    found = make_watch(monkeypatch, [times(10), times(13)], [1, 3], [0, 2]).stop()
    assert found["foreign_percent"] == pytest.approx(25)  # 1 s of 2 x 2 s
    assert found["steal_percent"] == 0


def test_steal_is_its_own_share(monkeypatch):
    found = make_watch(monkeypatch, [times(10), times(10, 0.4)], [1, 1], [0, 2]).stop()
    assert found["steal_percent"] == pytest.approx(10)
    assert found["badge"]["level"] == "bad"


def test_ticks_that_miss_own_work_are_not_negative_foreign(monkeypatch):
    assert make_watch(monkeypatch, [times(10), times(10)], [0, 1], [0, 2]).stop()["foreign_percent"] == 0


def test_too_short_a_run_has_no_share(monkeypatch):
    found = make_watch(monkeypatch, [times(10), times(11)], [0, 0], [0, 0.01]).stop()
    assert found["foreign_percent"] is None


def test_a_system_without_proc_stat_has_no_share(monkeypatch):
    found = make_watch(monkeypatch, [None, None], [0, 0], [0, 2]).stop()
    assert found["foreign_percent"] is None
    assert found["steal_percent"] is None


def test_ignored_children_are_said_to_count_as_foreign():
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert "own children counts as foreign" in Watch([0]).stop()["note"]
    finally:
        signal.signal(signal.SIGCHLD, old)
    assert "note" not in Watch([0]).stop()


def samples(before, after):
    found = np.zeros(len(before), SAMPLE_DTYPE)
    found["clock_before_ns"], found["clock_after_ns"] = before, after
    found["switches_voluntary"] = 2
    return found


def test_a_clock_that_changes_for_a_third_of_the_samples_is_seen():
    levels = clock_levels([samples([800] * 60, [800] * 60), samples([920] * 30, [920] * 30)])
    assert levels["clock_ns"] == 800
    assert levels["clock_off_percent"] == pytest.approx(33.3, abs=0.1)
    assert levels["switches_voluntary"] == 180
    assert "33 % of samples off" in badge_of(levels).text
    assert badge_of(levels).level == "warn"


def test_one_interrupt_in_a_probe_is_not_a_change_of_clock():
    levels = clock_levels([samples([800] * 100, [800] * 99 + [90_000])])
    assert levels["clock_off_percent"] == 0.5
    assert badge_of(levels).level == "ok"


def test_without_samples_there_is_no_clock():
    assert clock_levels([])["clock_ns"] is None
    assert clock_levels([samples([], [])])["clock_off_percent"] is None


@pytest.mark.parametrize("name", list(conditions.LIMITS))
def test_each_threshold_decides_alone(name):
    ok, warn = conditions.LIMITS[name]
    other = {"clock_spread_percent": 0.3, "clock_off_percent": 0.0, "foreign_percent": 0.0}
    levels = [badge_of({**other, name: value}).level for value in (ok, ok * 1.01, warn, warn * 1.01)]
    assert levels == ["ok", "warn", "warn", "bad"]


def test_the_words_of_the_badge():
    found = {"foreign_percent": 1.0, "steal_percent": 0, "clock_spread_percent": 0.4, "clock_off_percent": 0.0}
    assert badge_of(found).text == "quiet: foreign 1 %, steal 0 %, clock ±0.4 %"
    with_check = with_self_check(found, 0.003)
    assert with_check["badge"]["text"] == "quiet: foreign 1 %, steal 0 %, clock ±0.4 %, A/A 0.30 %"
    assert "A/A 1.04 %" in with_self_check(found, 0.0104)["badge"]["text"]
    assert "A/A 12 %" in with_self_check(found, 0.1234)["badge"]["text"]
    assert badge_of({}).level == "warn"
    assert badge_of({"foreign_percent": 60.0}).text == "very noisy: foreign 60 %"


def test_an_error_that_was_not_measured_is_not_shown():
    for error in (None, float("nan")):
        assert "A/A" not in with_self_check({"foreign_percent": 1.0}, error)["badge"]["text"]


def test_contamination_orders_runs():
    quiet, noisy = {"foreign_percent": 1.0, "steal_percent": None}, {"foreign_percent": 30.0, "steal_percent": 2.0}
    assert contamination(quiet) < contamination(noisy)
    assert contamination({}) == 0


def test_a_watch_over_a_real_moment():
    found = Watch(os.sched_getaffinity(0)).stop([SimpleNamespace(samples=samples([800] * 10, [801] * 10))])
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["wall_s"] >= 0
    assert found["badge"]["level"] in ("ok", "warn", "bad")


# ---- the host record ----


def test_the_host_record_names_no_person_and_no_machine():
    record = str(host_record())
    assert os.uname().nodename not in record or len(os.uname().nodename) < 4
    home = os.path.expanduser("~")
    assert home not in record or home == "/"
    assert os.getcwd() not in record


def test_the_host_record_says_what_decides_timings():
    host = host_record()
    assert host["cpus_allowed"] == sorted(os.sched_getaffinity(0))
    assert host["memory_bytes"] > 1 << 20
    assert host["kernel_release"] == os.uname().release
    assert host["build"]["compiler"]
    assert "-O" in host["build"]["flags"]
    assert host["build"]["version"] == host["filar_version"]


def test_the_host_record_says_what_the_topology_says(monkeypatch, tmp_path):
    sockets = filar.topology(root=dual_socket(tmp_path))
    monkeypatch.setattr(host, "topology", lambda: sockets)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {8, 1})
    record = host_record()
    assert (record["cpus_present"], record["cpus_online"], record["numa_nodes"]) == (16, 15, 2)
    assert record["cpus_allowed"] == [1, 8]
    assert record["caches"] == {"L1d_bytes": 32 << 10, "L3_bytes": 16 << 20}
    assert (record["memory_bytes"], record["memory_available_bytes"]) == (2 << 30, 1 << 30)
    assert record["cpu_quota"] is None
    monkeypatch.setattr(host, "topology", lambda: dataclasses.replace(sockets, quota_cpus=1.5))
    assert host_record()["cpu_quota"] == 1.5


def test_the_host_record_of_a_machine_that_tells_nothing(monkeypatch, tmp_path):
    silent = filar.topology(root=tmp_path)
    monkeypatch.setattr(host, "topology", lambda: silent)
    record = host_record()
    assert record["cpus_online"] >= 1
    assert record["caches"] == {}
    assert record["memory_bytes"] is None
