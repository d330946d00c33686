"""Slices, parallelism, order, shares: verdicts follow the rows; each experiment runs for real."""

import os

import numpy as np
import pytest

from children import no_new_child
from filar import lab
from filar.lab import scheduling
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows, Series
from once import check_once, run_once
from rows import row

MS = 1_000_000


def judge(name, these):
    return lab.find(name).judge(Rows(these))


# ---- time-slice ----


def slice_rows(turns, run=4 * MS, wait=4 * MS):
    return [
        row("1 thread", "turns per thread", 1, unit="count", threads=1),
        row("2 threads", "run", run, threads=2),
        row("2 threads", "wait", wait, threads=2),
        row("2 threads", "turns per thread", turns, unit="count", threads=2),
        row("2 threads", "tick", 4 * MS, spread=0, threads=2),
        row("2 threads", "base slice", 1.4 * MS, spread=0, threads=2),
    ]


def test_turns_of_two_threads_show_preemption_and_name_slice_tick_and_base_slice():
    verdict = judge("time-slice", slice_rows(turns=12))
    assert verdict.word == HOLDS
    for figure in ("4 ms", "1.00 ticks", "1.4 ms"):
        assert figure in verdict.reason


def test_a_thread_that_kept_the_core_is_no_preemption():
    assert judge("time-slice", slice_rows(turns=1)).word == FAILS


def test_slices_need_two_threads():
    assert judge("time-slice", [row("1 thread", "turns per thread", 1, threads=1)]).word == UNDECIDED


# ---- parallelism ----


def parallel_rows(one, full, more, cores=2, taken=0.0):
    at_once = {1: one, 2: full, 8: more}
    return [
        *(
            row(scheduling.threads_words(k), "running at once", value, unit="count", spread=0, threads=k, cores=cores)
            for k, value in at_once.items()
        ),
        *(
            row(scheduling.threads_words(k), "throughput", value * 1e6, unit="1/s", threads=k, cores=cores)
            for k, value in at_once.items()
        ),
        row("other programs", "CPU taken", taken, unit="percent", n=1, spread=0, cores=cores),
    ]


@pytest.mark.parametrize(
    ("one", "full", "more", "taken", "word"),
    [
        (0.99, 1.97, 1.98, 1, HOLDS),
        (0.99, 1.3, 1.5, 10, CONDITIONAL),
        (0.99, 1.0, 1.0, 2, FAILS),
        (0.99, 1.0, 1.0, 50, UNDECIDED),
        (0.45, 0.6, 0.6, 80, UNDECIDED),
    ],
)
def test_parallelism_counts_threads_at_one_instant(one, full, more, taken, word):
    assert judge("parallelism", parallel_rows(one, full, more, taken=taken)).word == word


def test_parallelism_cannot_be_decided_on_one_cpu():
    assert judge("parallelism", parallel_rows(0.99, 0.99, 0.99, cores=1)).word == UNDECIDED


# ---- order ----


def order_rows(orders, share, cores=2):
    return [
        row("unpinned", "in order", share, unit="percent", spread=0, cores=cores),
        row("unpinned", "orders seen", orders, unit="count", n=1, spread=0, cores=cores),
        row("unpinned", "runs", 1000, unit="count", n=1, spread=0, cores=cores),
    ]


@pytest.mark.parametrize(
    ("orders", "share", "cores", "word"), [(76, 51, 2, HOLDS), (1, 100, 2, FAILS), (1, 100, 1, UNDECIDED)]
)
def test_order_is_judged_by_the_orders_seen(orders, share, cores, word):
    assert judge("run-order", order_rows(orders, share, cores)).word == word


# ---- the kernel's list ----


@pytest.mark.parametrize(("listed", "pids", "word"), [(1000, 1, HOLDS), (1, 1, FAILS), (1000, 2, FAILS)])
def test_the_list_must_hold_every_thread_under_one_pid(listed, pids, word):
    counts = {
        "tasks before": 2,
        "tasks with them": 2 + listed,
        "different tids": 1000,
        "different pids": pids,
        "tids listed": listed,
    }
    these = [row("1,000 kernel threads", m, v, unit="count", spread=0, threads=1000) for m, v in counts.items()]
    assert judge("seen-by-kernel", these).word == word


# ---- shares ----


def share_rows(variant, share, **params):
    return [
        row(variant, "share of A", share, unit="percent", spread=0, n=3, **params),
        row(variant, "CPU of A", share * MS, spread=0, n=3, **params),
        row(variant, "CPU of B", (100 - share) * MS, spread=0, n=3, **params),
    ]


def cpu_share_rows(same, sessions, groups=None):
    these = []
    for kind, share in ((0, same), (1, sessions), (2, groups)):
        if share is not None:
            these += share_rows(f"k = 4, {kind}", share, threads=4, apart=kind)
    return these


@pytest.mark.parametrize(
    ("same", "sessions", "groups", "word"),
    [
        (80, 50.4, 50.3, CONDITIONAL),
        (80, 80, None, HOLDS),
        (80, None, None, HOLDS),
        (80, 80, 50, CONDITIONAL),
        (50, 50, None, FAILS),
        (None, 50, None, UNDECIDED),
    ],
)
def test_the_share_by_threads_depends_on_session_and_group(same, sessions, groups, word):
    assert judge("cpu-share", cpu_share_rows(same, sessions, groups)).word == word


def test_the_weight_table_gives_the_documented_shares():
    assert scheduling.nice_model(0) == 50
    assert round(scheduling.nice_model(1), 1) == 44.5
    assert round(scheduling.nice_model(19), 1) == 1.4
    assert round(scheduling.nice_model(-20), 1) == 98.9
    assert len(scheduling.NICE_WEIGHTS) == 40


def nice_rows(shares, across=None):
    these = []
    for nice, share in shares.items():
        these += share_rows(f"nice {nice}", share, nice=nice, window_ns=200 * MS, tick_ns=4 * MS)
    if across is not None:
        these += share_rows("nice 10, own sessions", across, nice=10, apart=1, window_ns=200 * MS, tick_ns=4 * MS)
    return these


@pytest.mark.parametrize(
    ("shares", "across", "word"),
    [
        ({0: 50, 5: 24.8, 10: 9.9}, 46.7, CONDITIONAL),
        ({0: 50, 5: 24.8, 10: 9.9}, 9.7, HOLDS),
        ({0: 50, 5: 24.8, 10: 9.9}, None, HOLDS),
        ({0: 50, 5: 24.8, 10: 9.9}, 30, HOLDS),  # too disturbed to tell: does not count
        ({0: 50, 5: 50, 10: 50}, 50, FAILS),
        ({0: 50}, None, UNDECIDED),
    ],
)
def test_nice_is_compared_with_the_weight_table(shares, across, word):
    assert judge("nice-share", nice_rows(shares, across)).word == word


def test_a_low_share_is_pooled_over_the_rounds():
    these = Rows(share_rows("nice 19", 1.5, nice=19))
    assert scheduling.pooled_share(these, "nice 19") == pytest.approx(1.5)
    assert np.isnan(scheduling.pooled_share(these, "nice 5"))


# ---- pictures ----


def test_the_gantt_of_threads_shows_runs_and_waits_between_them():
    ticks = np.array([0.0, 4.0, 8.0]) * MS
    runs = Series("runs of 2 threads", ticks, ticks + 4 * MS, "ns", "ns", np.array([0, 1, 0]), np.array([1, 1, 1]))
    drawn = scheduling.gantt(runs, by="thread", title="", span_ns=100 * MS)
    waits = [
        (one.row, one.start, one.end) for one in drawn.intervals if one.category == "waits" and one.end > one.start
    ]
    assert waits == [("thread 2", 0.0, 4.0 * MS), ("thread 1", 4.0 * MS, 8.0 * MS)]
    by_core = scheduling.gantt(runs, by="core", title="", span_ns=100 * MS)
    assert {one.row for one in by_core.intervals} == {"CPU 1"}
    assert {one.category for one in by_core.intervals} == {"thread 1", "thread 2"}


def test_the_least_disturbed_round_is_drawn():
    points = np.zeros(3, dtype=[("round", "u4"), ("x", "f8"), ("y", "f8")])
    points["round"], points["y"] = [0, 1, 1], [5, 4, 3]
    assert set(scheduling.least_disturbed_round(points)["round"]) == {1}
    assert len(scheduling.least_disturbed_round(points[:0])) == 0


# ---- for real ----

VARIANTS = {
    "time-slice": {"1 thread", "2 threads", "4 threads"},
    "parallelism": {"1 thread", "2 threads"},
    "run-order": {"unpinned", "pinned to one core"},
    "seen-by-kernel": set(),
    "cpu-share": {"k = 1, same session", "k = 8, own sessions"},
    "nice-share": {"nice 0", "nice 19", "BATCH", "IDLE", "nice 10, own sessions"},
}


def settings():
    return os.getpriority(os.PRIO_PROCESS, 0), os.getsid(0)


@pytest.mark.parametrize("name", VARIANTS)
def test_runs_for_real_and_leaves_the_process_as_it_was(name):
    before = settings()
    with no_new_child():
        result = check_once(name)
    assert VARIANTS[name] <= set(result.rows.variants()), result.notes
    assert all(each.n for each in result.rows)
    assert all(0 <= each.min <= each.max <= 100 for each in result.rows if each.unit == "percent")
    assert {each.unit for each in result.rows} <= {"ns", "count", "percent", "1/s"}
    assert settings() == before


def test_every_thread_is_seen_by_the_kernel_here():
    result = run_once("seen-by-kernel")
    assert result.verdict.word == HOLDS
    assert result.tables[0].columns == ("what", "count")
