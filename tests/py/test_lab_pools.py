"""Pools: verdicts follow the rows, Erlang's formula is right, every experiment runs for real."""

import math

import numpy as np
import pytest

from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows
from filar.lab.pools import (
    ALONE,
    BLOCKED,
    BLOCKING,
    COMPUTING,
    DISPATCHER,
    FREE,
    IN_SYSTEM,
    LATENCY,
    LOAD,
    MODEL,
    PER_CALL,
    PINNED,
    SERVED,
    SERVICE,
    SHARED,
    STEALING,
    TEXTBOOK,
    THREAD_EACH,
    TO_START,
    WAIT,
    erlang_wait,
)
from once import run_once
from rows import against, row

MS, US = 1_000_000, 1_000


# ---- task-overhead ----


@pytest.mark.parametrize(
    ("thread", "book", "ours", "word"),
    [
        (10_000, 200, 50, HOLDS),
        (10_000, 9_000, 50, CONDITIONAL),
        (10_000, 9_000, 8_000, FAILS),
        (10_000, 200, 5_000, UNDECIDED),
    ],
)
def test_a_task_is_judged_against_a_thread(thread, book, ours, word):
    threads = against(row(THREAD_EACH, PER_CALL, thread), word == UNDECIDED)
    rows = Rows([threads, row(TEXTBOOK, PER_CALL, book), row(STEALING, PER_CALL, ours)])
    assert lab.find("task-overhead").judge(rows).word == word


def test_a_task_without_threads_beside_it_cannot_be_judged():
    assert lab.find("task-overhead").judge(Rows([row(STEALING, PER_CALL, 50)])).word == UNDECIDED


# ---- thread-per-task ----


def length_rows(ratios, undecided):
    one = lab.find("thread-per-task")
    these = []
    for steps, ratio in ratios.items():
        cost = steps + 100
        these.append(row(one.variant(ALONE, steps), PER_CALL, max(steps, 3), spread=0, steps=steps))
        these.append(row(one.variant(STEALING, steps), PER_CALL, cost, steps=steps))
        these.append(against(row(one.variant(THREAD_EACH, steps), PER_CALL, cost * ratio, steps=steps), undecided))
    return Rows(these)


@pytest.mark.parametrize(
    ("ratios", "word"),
    [
        ({0: 100, 10_000: 2.0, 100_000: 1.1}, CONDITIONAL),
        ({0: 100, 10_000: 5.0, 100_000: 3.0}, HOLDS),
        ({0: 0.9, 10_000: 1.0}, FAILS),
        ({0: 1.5, 10_000: 1.0}, UNDECIDED),
        ({0: 100}, UNDECIDED),
    ],
)
def test_a_thread_each_is_judged_by_the_length_of_the_task(ratios, word):
    verdict = lab.find("thread-per-task").judge(length_rows(ratios, word == UNDECIDED))
    assert verdict.word == word
    if word == CONDITIONAL:
        assert "100 µs" in verdict.condition


# ---- task-latency ----


def latency_rows(book, ours, undecided, thread=10_000):
    these = []
    for metric in (TO_START, "to start, typical of a sample"):
        for idle in ("hot", "after 1 ms idle"):
            these.append(against(row(f"{THREAD_EACH}, {idle}", metric, thread), undecided))
        for idle, (a, b) in {"hot": (book[0], ours[0]), "after 1 ms idle": (book[1], ours[1])}.items():
            these.append(row(f"{TEXTBOOK}, {idle}", metric, a))
            these.append(row(f"{STEALING}, {idle}", metric, b))
    return Rows(these)


@pytest.mark.parametrize(
    ("book", "ours", "word"),
    [
        ((5_000, 6_000), (500, 6_000), HOLDS),
        ((20_000, 40_000), (500, 40_000), CONDITIONAL),
        ((20_000, 40_000), (20_000, 40_000), FAILS),
        ((10_000, 10_000), (10_000, 10_000), UNDECIDED),
    ],
)
def test_the_start_of_a_task_is_judged_hot_and_idle(book, ours, word):
    assert lab.find("task-latency").judge(latency_rows(book, ours, word == UNDECIDED)).word == word


def test_the_condition_of_a_sooner_start_names_pools_and_states():
    verdict = lab.find("task-latency").judge(latency_rows((2_000, 5_000), (1_000, 60_000), False))
    assert verdict.condition == "the pool is the textbook's (hot or after 1 ms idle) or filar's (hot)"


# ---- pool-size ----


def size_rows(computing, blocking, cores=2):
    these = []
    for profile, rates in ((COMPUTING, computing), (BLOCKING, blocking)):
        for workers, rate in rates.items():
            params = {"workers": workers, "cores": cores, "profile": profile, "clients": 32, "window_ns": 100 * MS}
            variant = f"{profile}, {workers} workers"
            these.append(row(variant, SERVED, rate, unit="1/s", **params))
            these.append(row(variant, LATENCY, 32e9 / rate, **params))
            these.append(row(variant, IN_SYSTEM, 31.5, unit="count", **params))
    return Rows(these)


@pytest.mark.parametrize(
    ("computing", "blocking", "word"),
    [
        ({1: 20e3, 2: 40e3, 32: 38e3}, {1: 900, 2: 1800, 32: 28e3}, CONDITIONAL),
        ({1: 20e3, 2: 40e3, 32: 38e3}, {1: 900, 2: 910, 32: 900}, HOLDS),
        ({1: 20e3, 2: 40e3, 32: 80e3}, {1: 900, 2: 1800, 32: 28e3}, FAILS),
        ({1: 20e3, 2: 40e3, 32: 38e3}, {1: 900, 2: 1800, 32: 9e3}, UNDECIDED),
    ],
)
def test_the_size_of_a_pool_is_judged_by_what_its_tasks_do(computing, blocking, word):
    verdict = lab.find("pool-size").judge(size_rows(computing, blocking))
    assert verdict.word == word
    assert "Little's law" in verdict.reason


def test_little_counts_only_windows_that_hold_many_latencies():
    rows = size_rows({1: 20e3, 2: 40e3}, {1: 100, 2: 200})
    assert lab.find("pool-size").little(rows).n == 2
    assert lab.find("pool-size").judge(Rows()).word == UNDECIDED


# ---- pool-blocking ----


def blocking_rows(shares, undecided):
    these = []
    for kind, share in shares.items():
        these.append(row(f"{kind}, {FREE}", SERVED, 10_000, unit="1/s"))
        these.append(against(row(f"{kind}, {BLOCKED}", SERVED, 10_000 * share, unit="1/s"), undecided))
    return Rows(these)


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ({TEXTBOOK: 0.75, SHARED: 0.75, STEALING: 0.75, PINNED: 0.1}, CONDITIONAL),
        ({TEXTBOOK: 0.75, SHARED: 0.75, STEALING: 0.75, PINNED: 0.74}, HOLDS),
        ({TEXTBOOK: 0.1, SHARED: 0.1, STEALING: 0.1, PINNED: 0.1}, FAILS),
        ({TEXTBOOK: 0.5625, SHARED: 0.75}, UNDECIDED),
        ({SHARED: 0.75}, UNDECIDED),
    ],
)
def test_a_blocked_worker_is_judged_by_what_is_still_served(shares, word):
    assert lab.find("pool-blocking").judge(blocking_rows(shares, word == UNDECIDED)).word == word


# ---- pool-queue ----


def test_erlangs_formula_agrees_with_known_cases():
    # One server: M/M/1 waits load / (1 - load) service times.
    for load in (0.1, 0.5, 0.9):
        assert erlang_wait(load, 1, 100.0) == pytest.approx(100 * load / (1 - load))
    # Two servers have a closed form, load^2 / (1 - load^2).
    assert erlang_wait(0.6, 2, 100.0) == pytest.approx(100 * 0.36 / (1 - 0.36))
    assert erlang_wait(0.0, 4, 100.0) == 0
    assert math.isinf(erlang_wait(1.0, 4, 100.0))
    assert erlang_wait(0.8, 200, 100.0) < erlang_wait(0.8, 4, 100.0) < erlang_wait(0.9, 4, 100.0)


def queue_rows(waits, spread=0.1):
    these = []
    for load, wait in waits.items():
        variant = f"load {load:.0f} %"
        these.append(row(variant, WAIT, wait, spread=spread, workers=4))
        these.append(row(variant, LOAD, load / 100, unit="ratio", workers=4))
        these.append(row(variant, SERVICE, 500 * US, workers=4))
    rows = Rows(these)
    return rows + lab.find("pool-queue").model(rows)


@pytest.mark.parametrize(
    ("waits", "spread", "word"),
    [
        ({30: 20 * US, 60: 60 * US, 90: 900 * US}, 0.1, HOLDS),
        ({30: 20 * US, 60: 20 * US, 90: 19 * US}, 0.1, FAILS),
        ({30: 20 * US, 90: 30 * US}, 0.9, UNDECIDED),
        ({30: 20 * US}, 0.1, UNDECIDED),
    ],
)
def test_waiting_is_judged_by_how_it_grows_with_the_load(waits, spread, word):
    verdict = lab.find("pool-queue").judge(queue_rows(waits, spread))
    assert verdict.word == word


def test_the_model_is_given_the_loads_that_were_measured():
    rows = queue_rows({50: 60 * US})
    expected = erlang_wait(0.5, 4, 500 * US)
    assert rows.median("load 50 %", MODEL) == pytest.approx(expected, rel=0.05)


# ---- dispatcher ----


@pytest.mark.parametrize(
    ("empty", "middle", "full", "word"),
    [
        (5.0, 1.3, 1.02, CONDITIONAL),
        (1.05, 1.0, 1.0, HOLDS),
        (5.0, 3.0, 2.0, FAILS),
        (1.25, 1.25, 1.25, UNDECIDED),
    ],
)
def test_a_dispatcher_is_judged_by_what_it_adds(empty, middle, full, word):
    one = lab.find("dispatcher")
    these = []
    for steps, ratio in ((0, empty), (5_000, middle), (50_000, full)):
        these.append(row(one.variant(ALONE, steps), PER_CALL, 2 * steps, spread=0))
        these.append(row(one.variant(TEXTBOOK, steps), PER_CALL, 1000 + steps))
        mine = row(one.variant(DISPATCHER, steps), PER_CALL, (1000 + steps) * ratio)
        these.append(against(mine, word == UNDECIDED))
        these.append(row(one.variant(STEALING, steps), PER_CALL, 100 + steps))
    verdict = one.judge(Rows(these))
    assert verdict.word == word
    if word == CONDITIONAL:
        assert "100 µs" in verdict.condition


# ---- for real ----

EXPECTED = {
    "task-overhead": (PER_CALL, "ns"),
    "thread-per-task": (PER_CALL, "ns"),
    "task-latency": (TO_START, "ns"),
    "pool-size": (SERVED, "1/s"),
    "pool-blocking": (SERVED, "1/s"),
    "pool-queue": (WAIT, "ns"),
    "dispatcher": (PER_CALL, "ns"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_experiment_on_pools_runs_for_real(name):
    result = run_once(name)
    metric, unit = EXPECTED[name]
    rows = result.rows.of_metric(metric)
    assert rows
    assert not result.notes
    assert all(one.unit == unit and np.isfinite(one.samples).all() for one in rows)
    charts = lab.find(name).charts(result)
    assert charts
    assert all("<svg" in one.svg() and "no data" not in one.svg() for one in charts)


def test_a_single_blocked_worker_serves_nobody_for_real():
    free = 0.0
    while free == 0:  # a short window may pass without a turn for the worker
        rows = run_once("pool-blocking").rows
        assert rows.find(f"one worker, {BLOCKED}", SERVED).max == 0
        free = rows.find(f"one worker, {FREE}", SERVED).max
