"""Sleeps and interactive loops: verdicts follow the rows; both experiments run for real."""

import os
from pathlib import Path

import numpy as np
import pytest

from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows
from once import run_once
from rows import row

MS = 1_000_000


def sleep_rows(lazy, keen, other=None, fifo=None):
    typical = "late, typical of a sample"
    these = []
    for metric in ("late", typical):
        these.append(row("50 µs, slack 50 µs", metric, lazy))
        these.append(row("50 µs, slack 1 ns", metric, keen))
    if other is not None:
        these.append(row("50 µs, slack 1 ns, 8 busy", "late", other))
    if fifo is not None:
        these.append(row("50 µs, FIFO, 8 busy", "late", fifo))
    return Rows(these)


@pytest.mark.parametrize(
    ("lazy", "keen", "other", "fifo", "word"),
    [
        (55_000, 5_000, 3.8 * MS, 9_400, HOLDS),
        (55_000, 5_000, None, None, CONDITIONAL),
        (55_000, 5_000, 9_000, 9_400, CONDITIONAL),
        (5_000, 5_000, 3.8 * MS, 9_400, CONDITIONAL),
        (5_000, 5_000, 9_000, 9_400, FAILS),
        (5_000, 5_000, None, None, FAILS),
    ],
)
def test_sleeps_are_judged_by_slack_and_priority(lazy, keen, other, fifo, word):
    assert lab.find("sleep-precision").judge(sleep_rows(lazy, keen, other, fifo)).word == word


def test_sleeps_without_the_pair_cannot_be_decided():
    assert lab.find("sleep-precision").judge(Rows([row("50 µs, slack 1 ns", "late", 5_000)])).word == UNDECIDED


def interactive_rows(thread, many, inline=50 * MS):
    return Rows(
        [
            row("inline", "tick late", inline, calculators=0, inline=1),
            row("on a thread", "tick late", thread),
            row("on 4 threads on 2 cores", "tick late", many, calculators=4),
            row("on 4 threads on 2 cores at nice 10", "tick late", 90 * MS, calculators=4, nice=10),
        ]
    )


@pytest.mark.parametrize(
    ("thread", "many", "word"),
    [
        (62_000, 70_000, HOLDS),
        (62_000, 12 * MS, CONDITIONAL),
        (40 * MS, 45 * MS, FAILS),
    ],
)
def test_a_background_thread_is_judged_against_the_inline_loop(thread, many, word):
    assert lab.find("interactive").judge(interactive_rows(thread, many)).word == word


def test_interactivity_needs_both_ways_of_calculating():
    assert lab.find("interactive").judge(Rows([row("inline", "tick late", 50 * MS)])).word == UNDECIDED


def test_sleeps_run_for_real_and_leave_policy_and_slack_alone():
    before = os.sched_getscheduler(0), Path("/proc/self/timerslack_ns").read_text()
    result = run_once("sleep-precision")
    late = result.rows.find("50 µs, slack 1 ns, busy core", "late")
    assert late is not None
    assert late.min >= 0
    assert all(each.unit == "ns" and np.isfinite(each.samples).all() for each in result.rows)
    assert all("<svg" in one.svg() for one in lab.find("sleep-precision").charts(result))
    assert before == (os.sched_getscheduler(0), Path("/proc/self/timerslack_ns").read_text())


def test_interactive_runs_for_real_and_an_inline_calculation_makes_every_tick_late():
    result = run_once("interactive")
    inline = result.rows.find("inline", "tick late")
    assert inline is not None
    # Ticks were due 1 to 100 ms after the start, and nothing is served before 100 ms: exact but for the clock.
    assert inline.max >= 98 * MS
    assert inline.median >= 45 * MS
    assert result.rows.find("no calculation", "tick late") is not None
    assert {each.unit for each in result.rows} == {"ns", "percent", "1/s"}
    assert all("<svg" in one.svg() for one in lab.find("interactive").charts(result))
