"""What an experiment may know of the machine."""

import pytest

from filar.lab import bench as module
from filar.lab.base import Budget
from filar.lab.bench import Bench
from filar.topology import topology
from machines import dual_socket


@pytest.mark.parametrize(("cpus", "other"), [((1, 9, 10), 10), ((1, 2), 2), ((1, 9), 9), ((1,), None)])
def test_the_other_cpu_is_of_another_core_where_there_is_one(tmp_path, monkeypatch, cpus, other):
    there = topology(root=dual_socket(tmp_path))  # 1 and 9 are siblings of one core
    monkeypatch.setattr(module, "topology", lambda: there)
    assert Bench(quick=True, budget=Budget(1), cpus=cpus).other_cpu == other


def test_without_topology_the_other_cpu_is_the_next(tmp_path, monkeypatch):
    there = topology(root=tmp_path)
    monkeypatch.setattr(module, "topology", lambda: there)
    assert Bench(quick=True, budget=Budget(1), cpus=(3, 5)).other_cpu == 5
