"""Runs: whatever an experiment does, there is a result, the process is as before, and Ctrl-C ends cleanly."""

import dataclasses
import json
import os
import resource
import signal
import sys
import threading
import time
from typing import ClassVar

import pytest

from filar import lab
from filar.errors import LimitError, NotFoundError
from filar.lab import base, runner, safety
from filar.lab.base import FAILS, HOLDS, UNDECIDED, Budget, Claim, Experiment, Measured, Verdict, Way
from filar.lab.safety import Safety, restored
from filar.lab.selfcheck import RATIO, WORK, SelfCheck, self_check_error
from filar.limits import Facts, why_not
from filar.topology import GroupLimit
from rows import row


class MadeUp(Experiment):
    """The least an experiment can be; tests replace what they are about."""

    name = "made-up"
    title = "Made up"
    family = "Tests"
    claim = Claim("Spinning takes time.", "common knowledge")
    method = "One. Two. Three."
    # Time enough for all rounds, and a ratio that no other program turns round.
    quick: ClassVar = Budget(seconds=10, rounds_max=8)
    full: ClassVar = Budget(seconds=10, rounds_max=16)

    def ways(self, bench):
        return [Way("a", "spin", {"steps": 100}), Way("b", "spin", {"steps": 20_000})]

    def judge(self, rows):
        return Verdict(HOLDS if rows.median("a") < rows.median("b") else FAILS, "as seen")

    def charts(self, result):
        return []


@pytest.fixture
def registry(monkeypatch):
    """Registers experiments of a test, and only these."""
    monkeypatch.setattr(base, "_registry", {})

    def register(*kinds):
        for kind in kinds:
            base.experiment(kind)

    return register


def made_up(number=0, **members):
    """A made-up experiment with other members."""
    return type("Changed", (MadeUp,), {"name": f"made-up-{number}", **members})


def test_a_run_has_everything(registry):
    registry(MadeUp)
    seen = []
    found = lab.run("made-up", quick=True, on_progress=seen.append)
    assert found.verdict.word == HOLDS
    assert found.rows.variants() == ["a", "b"]
    assert found.mode == "quick"
    assert found.host["cpus_allowed"]
    assert found.badge is not None
    assert found.conditions["clock_ns"] > 0
    assert all(row.n == 8 for row in found.rows)
    assert seen[-1].share == 1
    assert [p.experiment for p in seen] == ["made-up"] * len(seen)
    assert [p.share for p in seen] == sorted(p.share for p in seen)
    assert all(p.left_s >= 0 and p.count == 1 and p.index == 0 for p in seen)


def test_full_is_the_default_unless_the_environment_asks_for_quick(registry, monkeypatch):
    registry(MadeUp)
    monkeypatch.delenv("FILAR_LAB_QUICK", raising=False)
    assert lab.run("made-up").mode == "full"
    monkeypatch.setenv("FILAR_LAB_QUICK", "1")
    assert lab.run("made-up").mode == "quick"
    assert lab.run("made-up", quick=False).mode == "full"
    monkeypatch.setenv("FILAR_LAB_QUICK", "0")
    assert lab.run("made-up").mode == "full"


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(NotFoundError, match="did you mean kthread-create"):
        lab.run("kthread-craete")
    with pytest.raises(NotFoundError, match="no experiment 'zzz'"):
        lab.run_all(["kthread-create", "zzz"])


def refuse(self, bench):
    raise LimitError("the cgroup allows 3 threads")


def stumble(self, bench):
    return 1 // 0


def test_an_experiment_that_cannot_run_is_an_undecided_result(registry):
    registry(made_up(measure=refuse))
    found = lab.run("made-up-0", quick=True)
    assert found.verdict.word == UNDECIDED
    assert found.verdict.reason == "the cgroup allows 3 threads"
    assert json.loads(found.to_json())["rows"] == []


def test_a_fault_of_ours_is_raised_from_run_and_told_by_run_all(registry):
    registry(made_up(0, measure=stumble), made_up(1))
    with pytest.raises(ZeroDivisionError):
        lab.run("made-up-0", quick=True)
    report = lab.run_all(quick=True)
    assert report["made-up-0"].verdict.word == UNDECIDED
    assert "ZeroDivisionError in test_runner.py" in report["made-up-0"].verdict.reason
    assert os.path.dirname(__file__) not in report["made-up-0"].to_json()
    assert report["made-up-1"].verdict.word == HOLDS


def test_a_judge_that_stumbles_does_not_cost_the_rows(registry):
    registry(made_up(judge=lambda self, rows: rows.find("nobody").median))
    found = lab.run("made-up-0", quick=True)
    assert found.verdict.word == UNDECIDED
    assert len(found.rows) == 2
    assert any("AttributeError" in note for note in found.notes)


def test_a_way_that_does_not_exist_is_told(registry):
    registry(made_up(ways=lambda self, bench: [Way("a", "no-such-way")]))
    assert "no-such-way" in lab.run("made-up-0", quick=True).verdict.reason


def test_ctrl_c_ends_a_report_with_what_is_there(registry):
    def interrupt(self, bench):
        signal.raise_signal(signal.SIGINT)
        return Experiment.measure(self, bench)

    registry(made_up(0), made_up(1, measure=interrupt), made_up(2))
    told = []
    report = lab.run_all(quick=True, on_result=lambda result: told.append(result.experiment))
    assert report.names() == ["made-up-0"] == told
    assert not report.complete
    assert report.elapsed_s > 0
    assert "Interrupted during made-up-1: 1 of 3" in report.notes[0]


def test_ctrl_c_during_a_plan_stops_it_and_raises(registry):
    def interrupted_plan(self, bench):
        killer = threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT))
        killer.start()
        try:
            bench.run(self.ways(bench), seconds=60, rounds_max=10**8)
        finally:
            killer.join()

    registry(made_up(measure=interrupted_plan))
    with pytest.raises(KeyboardInterrupt):
        lab.run("made-up-0", quick=True)


def test_the_time_limit_cuts_a_plan_and_keeps_its_samples(registry, monkeypatch):
    limits = {"made-up-0": 3600.0, "made-up-1": 0.1}
    monkeypatch.setattr(runner, "time_limit_s", lambda experiment, quick: limits[experiment.name])

    def too_much(self, bench):
        def end_the_time(done, _):
            if done > 0:  # something has been measured, however long that took
                bench.deadline = time.monotonic()

        bench.on_progress = end_the_time
        first = bench.run(self.ways(bench), seconds=3600, rounds_max=10**8)
        return Measured(first.rows())

    def twice_too_much(self, bench):
        too_much(self, bench)
        return too_much(self, bench)

    registry(made_up(0, measure=too_much), made_up(1, measure=twice_too_much))
    cut = lab.run("made-up-0", quick=True)
    assert cut.rows.find("a").n > 0
    assert any("time limit cut" in note for note in cut.notes)
    assert "time limit" in lab.run("made-up-1", quick=True).verdict.reason


def watch_levels(monkeypatch, *foreign):
    """Makes the conditions of one attempt after the other have this foreign share."""
    shares = iter(foreign)

    def stop(self, outcomes=()):
        found = {"foreign_percent": next(shares)}
        badge = runner.conditions_of_run.badge_of(found)
        return {**found, "badge": {"level": badge.level, "text": badge.text}}

    monkeypatch.setattr(runner.conditions_of_run.Watch, "stop", stop)


def counting(attempts):
    def measure(self, bench):
        attempts.append(1)
        return Measured(notes=[f"attempt {len(attempts)}"])

    return made_up(measure=measure, judge=lambda self, rows: Verdict(HOLDS, "r"))


@pytest.mark.parametrize(
    ("foreign", "attempts", "kept"),
    [((1.0,), 1, 1), ((10.0,), 1, 1), ((80.0, 2.0), 2, 2), ((50.0, 90.0), 2, 1), ((90.0, 80.0, 70.0), 2, 2)],
)
def test_a_spoilt_measurement_is_repeated_once_and_the_cleaner_kept(registry, monkeypatch, foreign, attempts, kept):
    watch_levels(monkeypatch, *foreign)
    made = []
    registry(counting(made))
    found = lab.run("made-up-0", quick=True)
    assert len(made) == attempts
    assert found.notes[0] == f"attempt {kept}"
    assert found.conditions["foreign_percent"] == foreign[kept - 1]
    assert any("Measured twice" in note for note in found.notes) == (attempts == 2)


def test_a_report_repeats_only_so_often(registry, monkeypatch):
    watch_levels(monkeypatch, *[90.0] * 40)
    made = []
    kinds = [type("C", (counting(made),), {"name": f"made-up-{i}"}) for i in range(6)]
    registry(*kinds)
    lab.run_all(quick=True)
    assert len(made) == 6 + runner.RETRIES_QUICK


def test_the_self_check_comes_first_and_its_error_stands_in_every_badge(registry):
    registry(MadeUp, SelfCheck)
    report = lab.run_all(quick=True)
    assert report.names() == ["self-check", "made-up"]
    assert report.self_check["error"] >= 0
    assert report["made-up"].conditions["self_check_percent"] is not None
    assert "A/A" in report["made-up"].badge.text
    assert "A/A" in lab.run("made-up", quick=True, self_check=True).badge.text


# ---- the self-check's verdict ----


def ratio_rows(**typical):
    return base.Rows(row(work, RATIO, typical.get(work.split()[0], 1.0), unit="ratio", spread=0.004) for work in WORK)


def test_the_self_check_holds_only_for_ratios_near_one():
    check = SelfCheck()
    assert check.judge(ratio_rows()).word == HOLDS
    assert check.judge(ratio_rows(float=1.05)).word == FAILS
    assert "A and B differ (float loop)" in check.judge(ratio_rows(float=1.05)).reason
    assert check.judge(ratio_rows(float=0.9)).word == FAILS
    assert check.judge(base.Rows()).word == UNDECIDED
    assert self_check_error(ratio_rows(futex=0.97)) == pytest.approx(0.03)


def test_a_bias_that_its_interval_excludes_fails_even_if_small():
    rows = base.Rows(row(work, RATIO, 1.006, unit="ratio", spread=0.0001) for work in WORK)
    assert SelfCheck().judge(rows).word == FAILS


# ---- putting back ----


def settings():
    """What a run must leave as it was."""
    return (
        os.sched_getaffinity(0),
        os.getpriority(os.PRIO_PROCESS, threading.get_native_id()),
        os.sched_getscheduler(0),
        safety._read_limits(),
        open(safety._slack_path()).read(),
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        os.getcwd(),
        sys.getswitchinterval(),
    )


def mess_up(directory):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with open(safety._slack_path(), "w") as file:
        file.write("123456")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.chdir(directory)
    sys.setswitchinterval(0.123)
    if os.geteuid() == 0:  # others may not go back
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 7)


def test_an_experiment_that_messes_everything_up_and_raises_leaves_the_process_as_before(registry, tmp_path):
    def messy(self, bench):
        mess_up(tmp_path)
        raise LimitError("and then it failed")

    registry(made_up(measure=messy))
    before = settings()
    found = lab.run("made-up-0", quick=True)
    assert settings() == before
    assert found.verdict.reason == "and then it failed"
    assert "not_restored" not in found.conditions


def test_the_mess_is_a_mess(tmp_path):
    before = settings()
    with restored() as outcome:
        mess_up(tmp_path)
        during = settings()
        os.rmdir(tmp_path)  # and the folder it is in is gone
    assert settings() == before
    assert outcome.problems == []
    assert sum(a != b for a, b in zip(before, during, strict=True)) >= len(before) - 2


def test_what_cannot_be_put_back_is_named():
    class StubbornError(Exception):
        pass

    def never(_):
        raise PermissionError("not permitted")

    setting = safety._Setting("the weather", iter(["sunny", "rain", "rain"]).__next__, never)
    value = safety._read(setting)
    assert safety._put_back(setting, value) == "the weather could not be restored: not permitted"
    ignored = safety._Setting("the tide", iter(["high", "low", "low"]).__next__, lambda _: None)
    value = safety._read(ignored)
    assert safety._put_back(ignored, value) == "the tide could not be restored: high before, low now"
    with pytest.raises(StubbornError), restored():
        raise StubbornError


# ---- the safety budget ----


# Every limit but memory far away.
WIDE = Facts(
    stack_default=8 << 20,
    max_map_count=10**9,
    pid_max=10**7,
    threads_max=10**7,
    maps_per_thread=2,
    memory_total=1 << 40,
    memory_available=10 << 30,
    overcommit=1,
)


def budget_with(monkeypatch, **changes):
    monkeypatch.setattr(safety, "read_facts", lambda: dataclasses.replace(WIDE, **changes))
    return Safety.now(seconds_max=9)


def test_the_budget_is_a_fraction_of_what_is_free(monkeypatch):
    budget = budget_with(monkeypatch, threads_max=1200, system_threads=200, max_map_count=660, maps=60)
    assert budget.threads_max == 150  # half of 300: two maps each
    assert budget.processes_max == 500
    assert budget.memory_bytes_max == int((10 << 30) * safety.MEMORY_SHARE)
    assert budget.seconds_max == 9
    assert (budget.threads(100), budget.threads(5000)) == (100, 150)
    assert budget_with(monkeypatch, memory_available=5 << 20).threads_max == 32
    nothing = budget_with(monkeypatch, threads_max=100, system_threads=200)
    assert (nothing.threads_max, nothing.processes_max) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "threads", "processes"),
    [
        ({"nproc": 500, "user_threads": 480}, 10, 10),
        ({"pid_max": 5000, "pids": 400}, 2300, 2300),
        ({"group_threads": GroupLimit(120, 20, "pids.max")}, 50, 50),
        # A limit of one process: others may have as many again.
        ({"address_limit": 1 << 30, "address_used": 1 << 29}, 31, 204),
    ],
)
def test_the_budget_obeys_each_limit(monkeypatch, changes, threads, processes):
    budget = budget_with(monkeypatch, **changes)
    assert (budget.threads_max, budget.processes_max) == (threads, processes)


def test_a_limit_on_processes_that_does_not_bind_is_none(monkeypatch):
    free = budget_with(monkeypatch)
    assert budget_with(monkeypatch, nproc=500, user_threads=480, nproc_escaped="root is not bound by it") == free


def test_memory_of_the_budget_is_what_the_tightest_limit_leaves(monkeypatch):
    group = GroupLimit(1 << 30, 1 << 29, "memory.max")
    assert budget_with(monkeypatch, group_memory=group).memory_bytes_max == int((1 << 29) * safety.MEMORY_SHARE)
    unread = budget_with(monkeypatch, memory_available=None)
    assert unread.memory_bytes_max == int(safety.UNREAD_BYTES * safety.MEMORY_SHARE)


def test_a_machine_that_hides_its_limits_is_taken_for_a_small_one(monkeypatch):
    assert budget_with(monkeypatch, max_map_count=None).threads_max == safety.UNREAD_ROOM // 2
    assert budget_with(monkeypatch, pid_max=None, threads_max=None).threads_max == safety.UNREAD_ROOM // 2


def test_the_budget_of_this_machine_is_below_every_limit():
    budget, answer = Safety.now(1), why_not(1)
    assert 1 <= budget.threads_max <= answer.room
    assert 1 << 20 <= budget.memory_bytes_max <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_progress_estimates_what_is_left(registry):
    registry(made_up(0), made_up(1), made_up(2))
    seen = []
    lab.run_all(quick=True, on_progress=seen.append)
    first, last = seen[0], seen[-1]
    assert (first.index, first.count, last.index) == (0, 3, 2)
    assert first.left_s > last.left_s == 0
    assert time.monotonic() > last.elapsed_s > 0
