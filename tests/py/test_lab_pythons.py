"""Python on threads: verdicts follow the rows; both experiments and their helpers run for real."""

import os
import sys
import time

import numpy as np
import pytest

from filar import lab
from filar.errors import FilarError
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Budget, Rows
from filar.lab.bench import Bench
from filar.lab.interpreters import Interpreter, free_threaded, interpreters
from filar.lab.pyrounds import Task, run_rounds
from filar.lab.pythons import (
    CALM,
    INLINE,
    LATE,
    NATIVE_THREADS,
    NUMPY_THREADS,
    ONE_BY_ONE,
    OURS,
    OWN_THREAD,
    PER_CALL,
    PROCESS,
    PYTHON_THREADS,
    STANDARD,
    THREAD,
    THREAD_NUMPY,
    TIME,
    variant,
    worker_counts,
)
from once import check_once
from rows import row

MS = 1_000_000


def gil_rows(python, native, cores=2):
    these = []
    for kind, speedup in ((PYTHON_THREADS, python), (NATIVE_THREADS, native)):
        for n, one in ((1, 1.0), (cores, speedup)):
            these.append(row(variant(kind, n), TIME, 20 * MS / one, kind=kind, workers=n, cores=cores))
    return Rows(these)


@pytest.mark.parametrize(
    ("python", "native", "word"),
    [
        (1.0, 1.95, CONDITIONAL),
        (1.95, 1.95, HOLDS),
        (1.0, 1.0, UNDECIDED),
        (1.35, 1.95, UNDECIDED),
        (0.8, 1.9, CONDITIONAL),
    ],
)
def test_python_code_is_judged_beside_code_that_needs_no_gil(python, native, word):
    verdict = lab.find("gil").judge(gil_rows(python, native))
    assert verdict.word == word
    assert f"{python:.2f}" in verdict.reason


def test_without_a_second_cpu_the_gil_cannot_be_judged():
    verdict = lab.find("gil").judge(gil_rows(1.0, 1.0, cores=1))
    assert verdict.word == UNDECIDED
    assert "one CPU" in verdict.reason
    assert lab.find("gil").judge(Rows()).word == UNDECIDED


def late_rows(thread, native, process=0.1 * MS, calm=0.08 * MS):
    return Rows(
        [
            row(CALM, LATE, calm),
            row(INLINE, LATE, 30 * MS),
            row(THREAD, LATE, thread),
            row(THREAD_NUMPY, LATE, native),
            row(PROCESS, LATE, process),
        ]
    )


@pytest.mark.parametrize(
    ("thread", "native", "process", "calm", "word"),
    [
        (5 * MS, 0.1 * MS, 0.1 * MS, 0.1 * MS, CONDITIONAL),
        (0.1 * MS, 0.1 * MS, 0.1 * MS, 0.1 * MS, HOLDS),
        (5 * MS, 5 * MS, 5 * MS, 0.1 * MS, FAILS),
        (5 * MS, 5 * MS, 5 * MS, 6 * MS, UNDECIDED),
    ],
)
def test_a_python_thread_in_the_background_is_judged_against_the_inline_loop(thread, native, process, calm, word):
    assert lab.find("python-interactive").judge(late_rows(thread, native, process, calm)).word == word


def test_interactivity_needs_both_ways_of_calculating():
    assert lab.find("python-interactive").judge(Rows([row(INLINE, LATE, 30 * MS)])).word == UNDECIDED


def test_numbers_of_workers_reach_the_cores_and_beyond():
    assert worker_counts(1) == [1, 2]
    assert worker_counts(2) == [1, 2, 4]
    assert worker_counts(6) == [1, 2, 4, 6, 12]
    assert worker_counts(8) == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(
    ("standard", "ours", "word"),
    [(20_000, 5_000, HOLDS), (60_000, 5_000, CONDITIONAL), (60_000, 55_000, FAILS), (50_000, 50_000, UNDECIDED)],
)
def test_executors_are_judged_against_a_thread_each(standard, ours, word):
    thread = row(f"{OWN_THREAD}, {ONE_BY_ONE}", PER_CALL, 100_000, spread=0.2)
    rows = Rows(
        [thread, row(f"{STANDARD}, {ONE_BY_ONE}", PER_CALL, standard), row(f"{OURS}, {ONE_BY_ONE}", PER_CALL, ours)]
    )
    verdict = lab.find("python-executor").judge(rows)
    assert verdict.word == word
    assert STANDARD in verdict.reason


# ---- rounds of Python ----


def small_bench(**budget):
    return Bench(quick=True, budget=Budget(**{"seconds": 0.05, "rounds_max": 5, "rounds_min": 5, **budget}))


def test_every_task_runs_once_a_round_in_changing_order_and_the_first_round_is_dropped():
    calls = []
    tasks = [Task(name, lambda name=name: calls.append(name) or {"x": 1.0}, {"x": "ns"}) for name in "abcd"]
    rows = run_rounds(small_bench(rounds_max=8, rounds_min=8), tasks).rows
    rounds = ["".join(calls[i : i + 4]) for i in range(0, len(calls), 4)]
    assert len(rounds) == 9
    assert all(sorted(one) == list("abcd") for one in rounds)
    assert len(set(rounds)) > 1
    assert [one.n for one in rows] == [8] * 4


def test_arrays_are_single_events_of_their_round():
    rows = run_rounds(small_bench(), [Task("a", lambda: {"late": np.arange(3.0)}, {"late": "ns"})]).rows
    (one,) = rows
    assert one.n == 15
    assert one.round_numbers.tolist() == sorted(list(range(5)) * 3)


def test_a_task_that_fails_is_a_note_and_the_others_go_on():
    def broken():
        raise FilarError("no such luck")

    measured = run_rounds(
        small_bench(), [Task("bad", broken, {"x": "ns"}), Task("good", lambda: {"x": 1.0}, {"x": "ns"})]
    )
    assert measured.notes == ["bad: no such luck"]
    assert measured.rows.variants() == ["good"]


def test_the_deadline_of_an_experiment_ends_the_rounds():
    bench = small_bench(seconds=60.0, rounds_max=1000)
    bench.deadline = time.monotonic() - 1
    assert len(run_rounds(bench, [Task("a", lambda: {"x": 1.0}, {"x": "ns"})]).rows) == 0
    assert "time limit" in bench.notes[0]


# ---- helpers ----


def test_an_interpreter_does_what_it_is_told_and_is_reaped():
    with interpreters(sys.executable, 2) as helpers:
        pids = [one._process.pid for one in helpers]
        for one in helpers:
            one.order(2, 1000)
        for one in helpers:
            start, end = one.stamps()
            assert start <= end <= time.monotonic_ns()
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)


def test_an_interpreter_that_dies_or_never_was_is_an_error():
    helper = Interpreter(sys.executable)
    helper._process.kill()
    helper._process.wait()
    with pytest.raises(FilarError):
        helper.stamps()
    with pytest.raises(OSError):
        helper.order(1, 1)
    helper.close()
    with pytest.raises(FilarError), interpreters("", 1):
        pass
    with pytest.raises((FilarError, OSError)):
        Interpreter("/bin/true")


def test_only_a_python_without_a_gil_is_taken_for_one(tmp_path, monkeypatch):
    fake = tmp_path / "python3.14t"
    fake.write_text("#!/bin/sh\necho True\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert free_threaded() is None
    fake.write_text("#!/bin/sh\necho False\n")
    assert free_threaded() == str(fake)


# ---- for real ----


def test_gil_runs_for_real_and_leaves_no_thread_or_process():
    result = check_once("gil")
    cores = len(os.sched_getaffinity(0))
    assert {variant(PYTHON_THREADS, 1), variant(NUMPY_THREADS, 2 * cores)} <= set(result.rows.variants())
    assert all(one.unit == "ns" and (one.samples > 0).all() for one in result.rows)
    assert any("GIL" in note for note in result.notes)


def test_python_interactive_runs_for_real_and_puts_the_switch_interval_back():
    before = sys.getswitchinterval()
    result = check_once("python-interactive")
    assert sys.getswitchinterval() == before
    inline = result.rows.find(INLINE, LATE)
    assert inline is not None
    # Ticks were due 1 to 60 ms after the start and none is served before 60 ms.
    assert inline.max >= 58 * MS
    assert all(one.unit == "ns" for one in result.rows)


def test_executors_run_for_real_and_leave_no_thread():
    result = check_once("python-executor")
    assert len(result.rows) == 7
    assert all(one.unit == "ns" and one.min > 0 for one in result.rows)
