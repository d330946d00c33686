"""The machine as Python sees it: this one, and pretended ones in folders. The C tests go deeper into parsing."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from filar._machine import cpu_list, parse_cpu_list, size
from filar.errors import InvalidArgumentError
from filar.topology import Topology, topology
from machines import dual_socket, single, write
from programs import run_program


@pytest.fixture
def sockets(tmp_path: Path) -> Topology:
    return topology(root=dual_socket(tmp_path))


def test_this_machine_agrees_with_os() -> None:
    machine = topology()
    assert set(machine.allowed) == os.sched_getaffinity(os.getpid()) & set(machine.online)
    assert len(machine.online) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert 1 <= machine.usable_cpus <= len(machine.allowed)
    for policy in ("compact", "scatter"):
        assert sorted(machine.cpus_by_policy(policy)) == list(machine.allowed)
    assert set(machine.cpus_by_policy("cores")) <= set(machine.allowed)


def test_affinity_of_the_process_is_counted_in() -> None:
    code = (
        "import os; cpu = min(os.sched_getaffinity(0)); os.sched_setaffinity(0, {cpu})\n"
        "from filar.topology import topology; t = topology(); print(t.allowed == (cpu,), t.usable_cpus)"
    )
    done = run_program(code)
    assert done.stdout.split() == ["True", "1"], done.stderr


def test_packages_cores_and_siblings(sockets: Topology) -> None:
    assert [package.number for package in sockets.packages] == [0, 1]
    assert sockets.packages[0].cores[1].cpus == (1, 9)
    assert sockets.packages[1].cpus == (4, 5, 6, 7, 12, 13, 14)
    assert sockets.offline == (15,)
    assert 0 not in sockets.allowed
    assert sockets.has_smt
    assert sockets.usable_cpus == 14
    assert sockets.cpu(9).smt == 1
    assert sockets.cpu(15).core is None
    with pytest.raises(KeyError):
        sockets.cpu(99)


def test_caches_and_nodes(sockets: Topology) -> None:
    assert [cache.name for cache in sockets.caches_of(2)] == ["L1d", "L3"]
    last = [cache for cache in sockets.caches if cache.level == 3]
    assert [cache.cpus for cache in last] == [(0, 1, 8, 9), (2, 3, 10, 11), (4, 5, 12, 13), (6, 7, 14)]
    assert last[0].size_bytes == 16 << 20
    assert sockets.nodes[1].cpus == (4, 5, 6, 7, 12, 13, 14)
    assert sockets.nodes[0].memory_bytes == 1 << 30


def test_orders_for_pinning(sockets: Topology) -> None:
    # Core 0 has lost its first CPU: its second stands for it.
    assert sockets.cpus_by_policy("cores") == (8, 1, 2, 3, 4, 5, 6, 7)
    assert sockets.cpus_by_policy("compact")[:4] == (8, 1, 9, 2)
    assert sockets.cpus_by_policy("scatter")[:4] == (8, 4, 2, 6)  # package by package, cache by cache
    with pytest.raises(InvalidArgumentError, match=r"'wide'.*'compact'"):
        sockets.cpus_by_policy("wide")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError):
        sockets.cpus_by_policy([])  # type: ignore[arg-type]


def test_tree_as_text(sockets: Topology) -> None:
    lines = str(sockets).splitlines()
    assert lines[0] == "2 packages, 8 cores, 15 CPUs, 14 usable"
    assert lines[1].split() == ["package", "0", "node", "0", "with", "1", "GiB"]
    assert lines[2] == "├─ L3 16 MiB"
    assert lines[3].startswith("│  ├─ core 0: CPU 0 (not allowed) 8")
    assert "L1d 32 KiB" in lines[3]
    assert "offline: CPU 15" in lines
    assert "allowed: CPU 1-14" in lines
    assert "memory:  2 GiB, 1 GiB available" in lines
    assert all(len(line) <= 100 for line in lines)


def test_many_cores_are_one_line(tmp_path: Path) -> None:
    tree = str(topology(root=single(tmp_path, 24)))
    assert "24 cores: CPU 0-23" in tree
    assert "each L1d 32 KiB" in tree
    assert len(tree.splitlines()) < 8


def test_half_a_cpu_of_quota_leaves_one_with_a_note(tmp_path: Path) -> None:
    single(tmp_path, 4)
    write(tmp_path, "proc/self/cgroup", "0::/box")
    write(tmp_path, "proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    write(tmp_path, "sys/fs/cgroup/box/cpu.max", "50000 100000")
    write(tmp_path, "sys/fs/cgroup/box/memory.max", str(1 << 30))
    write(tmp_path, "sys/fs/cgroup/box/pids.max", "100")
    machine = topology(root=tmp_path)
    assert machine.quota_cpus == 0.5
    assert machine.usable_cpus == 1
    assert any("0.50 CPUs' worth" in note for note in machine.notes)
    text = str(machine)
    assert "quota:   0.5 CPUs (/sys/fs/cgroup/box/cpu.max)" in text
    assert "limit:   1 GiB of memory" in text
    assert "limit:   100 threads" in text


def test_without_sys_it_still_answers_and_says_how(tmp_path: Path) -> None:
    machine = topology(root=tmp_path)
    assert machine.usable_cpus == len(os.sched_getaffinity(os.getpid()))
    assert "sched_getaffinity" in machine.source
    assert any("cannot be read" in note for note in machine.notes)
    assert machine.packages[0].number is None
    assert "note:" in str(machine)
    assert machine._repr_html_()


def test_frozen_equal_hashable_and_picklable(sockets: Topology) -> None:
    copy = pickle.loads(pickle.dumps(sockets))
    assert copy == sockets
    assert hash(copy) == hash(sockets)
    assert copy.cpus_by_policy("cores") == sockets.cpus_by_policy("cores")
    with pytest.raises(AttributeError):
        sockets.usable_cpus = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        sockets.orders["compact"] = ()  # type: ignore[index]


def test_as_dict_is_json(sockets: Topology) -> None:
    plain = json.loads(json.dumps(sockets.as_dict()))
    assert plain["cpus"][9]["smt"] == 1
    assert plain["packages"][0]["cores"][1]["cpus"] == [1, 9]
    assert plain["orders"]["cores"][0] == 8


def test_html_is_self_contained_and_without_colours_of_its_own(sockets: Topology) -> None:
    html = sockets._repr_html_()
    assert html.count("<div") == html.count("</div>")
    assert "CPU 14" in html
    assert "not allowed" in html
    assert "<script" not in html
    assert "background:#" not in html


@pytest.mark.parametrize(
    ("cpus", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 5), "0-2,5"), ((7, 6), "6-7"), (range(100), "0-99")]
)
def test_cpu_lists_both_ways(cpus: tuple[int, ...], text: str) -> None:
    assert cpu_list(cpus) == text
    assert parse_cpu_list(text) == tuple(sorted(cpus))


def test_garbage_is_no_cpu_list() -> None:
    assert parse_cpu_list("a-b") == ()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (512, "512 bytes"), (49152, "48 KiB"), (1 << 20, "1 MiB"), (25_000_000_000, "23.28 GiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
