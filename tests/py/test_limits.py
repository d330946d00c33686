"""why_not(): each limit from given facts, and the real ones met in child processes of a few hundred threads."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from filar.errors import InvalidArgumentError
from filar.limits import MEMORY_PER_THREAD, Facts, WhyNot, decide, read_facts, why_not
from filar.topology import GroupLimit

MIB = 1 << 20
# A machine with every limit far away.
WIDE = Facts(
    stack_default=8 * MIB,
    cpus=2,
    maps=60,
    max_map_count=10**9,
    nproc=10**8,
    user_threads=100,
    uid=1000,
    threads_max=10**8,
    system_threads=200,
    pid_max=4_194_304,
    pids=200,
    overcommit=1,
    memory_total=1 << 50,
    memory_available=1 << 50,
)


def with_facts(**changes: object) -> Facts:
    return dataclasses.replace(WIDE, **changes)  # type: ignore[arg-type]


def binding(answer: WhyNot) -> str:
    assert answer.binding is not None
    return answer.binding.name


@pytest.mark.parametrize(
    ("changes", "name", "room", "command"),
    [
        ({"max_map_count": 65530}, "vm.max_map_count", (65530 - 60) // 2, "sysctl -w vm.max_map_count="),
        ({"max_map_count": 65530, "maps_per_thread": 3}, "vm.max_map_count", (65530 - 60) // 3, "vm.max_map_count"),
        ({"nproc": 4096}, "RLIMIT_NPROC", 3996, "ulimit -u"),
        ({"threads_max": 5000}, "kernel.threads-max", 4800, "sysctl -w kernel.threads-max="),
        ({"pid_max": 32768}, "kernel.pid_max", 32768 - 300, "sysctl -w kernel.pid_max="),
        ({"pid_max": 32768, "pids": 1000}, "kernel.pid_max", 31768, "sysctl -w kernel.pid_max="),
        ({"group_threads": GroupLimit(500, 20, "/g/pids.max")}, "pids.max of the control group", 480, "/g/pids.max"),
        ({"address_limit": 1 << 30}, "RLIMIT_AS", (1 << 30) // (8 * MIB + 4096), "ulimit -v"),
        ({"data_limit": 1 << 30, "data_used": 0}, "RLIMIT_DATA", 128, "ulimit -d"),
        (
            {"overcommit": 2, "commit_limit": 80 * MIB, "committed": 8 * MIB},
            "CommitLimit (overcommit_memory=2)",
            9,
            "vm.overcommit_memory=0",
        ),
        ({"memory_available": 100 * MEMORY_PER_THREAD}, "memory available", 100, "add memory"),
        (
            {"group_memory": GroupLimit(10 * MEMORY_PER_THREAD, None, "/g/memory.max")},
            "memory of the control group",
            10,
            "/g/memory.max",
        ),
    ],
)
def test_each_limit_can_be_the_one_that_binds(changes: dict[str, object], name: str, room: int, command: str) -> None:
    answer = decide(with_facts(**changes), 50_000)
    assert answer
    assert binding(answer) == name
    assert answer.room == room
    assert command in str(answer)
    assert name in str(answer)
    assert "50,000 more threads would stop at" in str(answer)
    assert not decide(with_facts(**changes), room)
    assert decide(with_facts(**changes), room + 1)


def test_a_stack_larger_than_the_memory_is_refused_outright() -> None:
    answer = decide(with_facts(overcommit=0, memory_total=1 << 34, swap_total=0), 1, 1 << 40)
    assert answer.room == 0
    assert "larger than memory and swap" in answer.limits[0].note
    assert "1 more thread would stop at 0" in str(answer)
    assert not decide(with_facts(overcommit=0, memory_total=1 << 34, swap_total=1 << 41), 1, 1 << 40)


def test_large_stacks_end_at_the_address_space_of_the_cpu() -> None:
    answer = decide(WIDE, 200, 1 << 40)
    assert binding(answer) == "address space of the CPU"
    assert answer.room == 127


def test_arenas_of_malloc_take_address_space_first() -> None:
    facts = with_facts(address_limit=2 << 30, arenas_left=15)
    assert decide(facts, 1000).room == ((2 << 30) - 15 * 64 * MIB) // (8 * MIB + 4096)
    assert "15 arenas" in decide(facts, 1000).limits[0].note


def test_what_is_not_bound_by_nproc_says_why() -> None:
    answer = decide(with_facts(nproc=10, nproc_escaped="root is not bound by it"), 1000)
    assert not answer
    row = next(limit for limit in answer.limits if limit.name == "RLIMIT_NPROC")
    assert row.room is None
    assert "root" in row.note


def test_every_other_limit_in_the_way_is_named_in_order() -> None:
    answer = decide(with_facts(max_map_count=65530, pid_max=32768, threads_max=40_000), 50_000)
    assert [limit.name for limit in answer.blocking] == ["kernel.pid_max", "vm.max_map_count", "kernel.threads-max"]
    text = str(answer)
    assert text.index("kernel.pid_max") < text.index("Then in the way: vm.max_map_count") < text.index("threads-max")


def test_advice_makes_enough_room() -> None:
    answer = decide(with_facts(max_map_count=65530), 50_000)
    assert answer.binding is not None
    raised = int(answer.binding.change.split("vm.max_map_count=")[1].rstrip("`"))
    assert not decide(with_facts(max_map_count=raised), 50_000)


def test_more_than_linux_can_number_is_not_advised() -> None:
    answer = decide(with_facts(pid_max=32768), 5_000_000)
    assert "4,194,304" in str(answer)
    assert "sysctl -w kernel.pid_max=" not in answer.limits[0].change


def test_facts_that_cannot_be_read_stop_nothing_and_say_so() -> None:
    answer = decide(Facts(stack_default=8 * MIB), 1000)
    assert not answer
    assert binding(answer) == "address space of the CPU"
    assert sum("cannot be read" in limit.note for limit in answer.limits) >= 4


def test_few_threads_are_stopped_by_nothing() -> None:
    answer = why_not(threads=10)
    assert not answer
    assert "Nothing stops 10 more threads" in str(answer)
    assert not why_not(0)


def test_very_many_are_stopped_here_by_a_limit_with_a_name() -> None:
    answer = why_not(threads=np.int64(10**9))
    assert answer
    assert answer.limits[0].change
    assert answer.threads == 10**9


def test_reading_nothing_at_all_works(tmp_path: Path) -> None:
    facts = read_facts(str(tmp_path))
    assert facts.max_map_count is None
    assert facts.system_threads is None
    assert str(decide(facts, 10**9))


@pytest.mark.parametrize("bad", [True, 2.5, "100", None])
def test_threads_that_are_no_number(bad: object) -> None:
    with pytest.raises(TypeError, match="threads is a whole number"):
        why_not(bad)  # type: ignore[arg-type]


def test_numbers_out_of_range() -> None:
    with pytest.raises(InvalidArgumentError, match="not -1"):
        why_not(-1)
    with pytest.raises(ValueError, match="at least 16384"):
        why_not(1, stack_size=1024)
    with pytest.raises(TypeError, match="stack_size"):
        why_not(1, stack_size=True)


def test_tables_show_the_blocking_ones() -> None:
    answer = decide(with_facts(pid_max=32768), 50_000)
    assert answer.table().splitlines()[1].startswith("> kernel.pid_max")
    html = answer._repr_html_()
    assert "▶ kernel.pid_max" in html
    assert "<script" not in html
    assert html.count("<tr>") == len(answer.limits) + 1


# ---- the real limits, met in a child ----

CHILD = """
import json, os, resource, sys, threading
from filar.limits import why_not

def report(asked):
    answer = why_not(asked)
    stop, made = threading.Event(), 0
    try:
        for made in range(asked):
            threading.Thread(target=stop.wait, daemon=True).start()
        made = asked
    except (RuntimeError, MemoryError):
        pass
    stop.set()
    print(json.dumps([made, answer.room, answer.binding.name]), flush=True)
    os._exit(0)
"""


def run_child(code: str, *arguments: str, **environment: str) -> tuple[int, int, str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + code, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    made, room, name = json.loads(done.stdout)
    return made, room, name


LIMIT_ADDRESS_SPACE = """
threading.stack_size(8 << 20)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
report(300)
"""


def test_address_space_ends_where_it_says() -> None:
    made, room, name = run_child(LIMIT_ADDRESS_SPACE, MALLOC_ARENA_MAX="1")
    assert name == "RLIMIT_AS"
    assert abs(made - room) <= 6
    assert 100 < made < 128


def test_address_space_with_the_arenas_of_malloc_ends_where_it_says() -> None:
    made, room, name = run_child(LIMIT_ADDRESS_SPACE, MALLOC_ARENA_MAX="8")
    assert name == "RLIMIT_AS"
    assert abs(made - room) <= 6
    assert made < 100


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_nproc_of_another_user_ends_where_it_says() -> None:
    # A user number of our own, so that nobody else's threads count.
    code = """
uid = 64000 + os.getpid() % 1000
os.setresuid(uid, uid, uid)
resource.setrlimit(resource.RLIMIT_NPROC, (150, 150))
report(300)
"""
    made, room, name = run_child(code)
    assert name == "RLIMIT_NPROC"
    assert made == room == 149


def writable_pids_group() -> Path | None:
    """A folder in which a control group with a pids controller can be made."""
    for folder in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        controllers = folder / "cgroup.controllers"
        if controllers.exists() and "pids" not in (folder / "cgroup.subtree_control").read_text().split():
            continue
        if (folder / "cgroup.procs").exists() and os.access(folder / "cgroup.procs", os.W_OK):
            return folder
    return None


def test_pids_of_a_control_group_end_where_it_says() -> None:
    parent = writable_pids_group()
    if parent is None:
        pytest.skip("no control group with a pids controller can be made here")
    group = parent / f"filar-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"{group} cannot be made: {error}")
    try:
        (group / "pids.max").write_text("120")
        code = """
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
report(300)
"""
        made, room, name = run_child(code, str(group))
        assert name == "pids.max of the control group"
        assert made == room == 119
    finally:
        # The child has been waited for, so the group is empty; a thread's last breath may take a moment more.
        while group.exists():
            with contextlib.suppress(OSError):
                group.rmdir()
            time.sleep(0.001)
