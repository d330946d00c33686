"""Processes beside threads, memory and limits: verdicts follow the rows; each experiment runs for real."""

import os
import subprocess
import sys

import numpy as np
import pytest

from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows
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
    result = lab.run(name, quick=True)
    assert result.rows
    assert all(np.isfinite(each.samples).all() for each in result.rows)
    assert all("<svg" in picture.svg() for picture in lab.find(name).charts(result))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_limit_in_a_child_stops_threads_with_eagain(tmp_path):
    # In a process without other threads: a child of fork reuses the stacks of those its parent had.
    saved = tmp_path / "limit.json"
    program = f"from filar import lab; lab.run('kthread-limit', quick=True).save({str(saved)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
    result = lab.load(saved)
    reached = [each for each in result.rows if each.metric == "threads" and each.variant.startswith("1 GiB")]
    assert reached, result.notes
    assert 50 < reached[0].median < 140
    assert result.rows.find(reached[0].variant, "errno").max == 11
