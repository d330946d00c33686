"""Processes beside threads, memory and limits: verdicts follow the rows; each experiment runs for real."""

import threading

import numpy as np
import pytest

from children import no_new_child
from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows
from once import run_once
from rows import row, rows


def judge(name, these):
    return lab.find(name).judge(these)


def create_rows(fork, vfork, spawn, thread):
    return rows(
        "create+join",
        {
            "fork, as it is": fork,
            "vfork, as it is": vfork,
            "posix_spawn, as it is": spawn,
            "thread, as it is": thread,
            "fork, + 256 MiB": fork * 20,
        },
    )


@pytest.mark.parametrize(
    ("fork", "vfork", "spawn", "thread", "word"),
    [
        (150_000, 20_000, 100_000, 10_000, HOLDS),
        (150_000, 9_000, 100_000, 10_000, CONDITIONAL),
        (5_000, 5_000, 5_000, 10_000, FAILS),
    ],
)
def test_process_creation_is_compared_with_a_thread(fork, vfork, spawn, thread, word):
    assert judge("process-create", create_rows(fork, vfork, spawn, thread)).word == word


def test_process_creation_without_fork_cannot_be_decided():
    assert judge("process-create", rows("create+join", {"thread, as it is": 10_000})).word == UNDECIDED


@pytest.mark.parametrize(("threads", "processes", "word"), [(0, 7, HOLDS), (7, 7, FAILS), (0, 6, FAILS)])
def test_isolation_counts_survivors(threads, processes, word):
    these = Rows(
        [
            row("one of eight threads crashes", "survivors", threads, unit="count", spread=0),
            row("one of eight processes crashes", "survivors", processes, unit="count", spread=0),
        ]
    )
    assert judge("process-isolation", these).word == word


@pytest.mark.parametrize(("thread", "child", "word"), [(1, 0, HOLDS), (0, 0, FAILS), (1, 1, FAILS)])
def test_address_map_follows_the_writes(thread, child, word):
    who = "everyone looks around"
    these = Rows(
        [
            row(who, "thread's write seen", thread, unit="count", spread=0),
            row(who, "child's write seen", child, unit="count", spread=0),
        ]
    )
    assert judge("address-map", these).word == word


def memory_rows(virtual, resident):
    parts = {"virtual": virtual, "resident": resident, "kernel stack": 16e3, "slab": 7e3, "page tables": 200}
    return Rows(row("default stack", metric, value, unit="B") for metric, value in parts.items())


@pytest.mark.parametrize(
    ("virtual", "resident", "word"), [(8.4e6, 8e3, CONDITIONAL), (8.4e6, 2e6, HOLDS), (3e5, 8e3, FAILS)]
)
def test_thread_memory_tells_address_space_from_memory(virtual, resident, word):
    assert judge("kthread-memory", memory_rows(virtual, resident)).word == word


@pytest.mark.parametrize(("process", "word"), [(50_000, HOLDS), (100, FAILS)])
def test_process_memory_compares_page_tables(process, word):
    these = Rows(
        [
            row("thread", "page tables", 200, unit="B"),
            row("forked process", "page tables", process, unit="B"),
        ]
    )
    assert judge("process-memory", these).word == word


@pytest.mark.parametrize(("threads_max", "word"), [(192_000, FAILS), (20_000, HOLDS)])
def test_limit_is_decided_by_the_lowest_room(threads_max, word):
    these = rows("room for threads", {"kernel.threads-max": threads_max, "kernel.pid_max": 32_700}, unit="count", n=1)
    assert judge("kthread-limit", these).word == word


@pytest.mark.parametrize(
    "name",
    ["process-create", "process-isolation", "address-map", "kthread-memory", "process-memory", "kthread-limit"],
)
def test_runs_for_real_and_leaves_no_child_behind(name):
    with no_new_child():
        result = lab.run(name, quick=True)
    assert result.rows
    assert all(np.isfinite(each.samples).all() for each in result.rows)
    assert all("<svg" in picture.svg() for picture in lab.find(name).charts(result))


def test_a_limit_in_a_child_stops_threads_with_eagain_however_many_this_process_has():
    gate = threading.Event()
    crew = [threading.Thread(target=gate.wait) for _ in range(30)]
    for thread in crew:
        thread.start()
    try:
        result = run_once("kthread-limit")
    finally:
        gate.set()
        for thread in crew:
            thread.join()
    reached = {each.variant: each for each in result.rows if each.metric == "threads"}
    space, maps = (next(row for name, row in reached.items() if part in name) for part in ("1 GiB", "maps"))
    # Of 8 MiB of stack 127 fit into 1 GiB, and a stack is two maps. The stacks of the thirty, which a child of fork
    # would use again, are not among them.
    assert 100 < space.min <= space.max < 129
    assert 400 < maps.min <= maps.max <= 500
    assert result.rows.find(space.variant, "errno").max == 11
