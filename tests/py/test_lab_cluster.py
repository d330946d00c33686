"""The suite on the workers of a dask cluster: real workers in processes of their own, a real (short) experiment."""

import json

import pytest

from filar import lab, report
from filar.cli import main
from filar.errors import InvalidArgumentError, NotFoundError

pytest.importorskip("distributed", reason="distributed is not installed")

NAMES = ["kthread-create"]


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=False
    ) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with cluster.get_client() as made:
        made.wait_for_workers(2, timeout=60)
        yield made


@pytest.fixture(scope="module")
def machines(client):
    heard = []
    found = lab.on_cluster(client, NAMES, quick=True, seed=7, on_report=lambda name, _: heard.append(name))
    assert heard == list(found)  # both workers are on one host: in turn
    return found


def test_every_worker_measures(machines):
    assert list(machines) == ["worker-0", "worker-1"]
    assert not machines.failures
    for name in machines:
        assert machines[name].names() == ["self-check", *NAMES]
        assert machines[name].seed == 7
        assert machines[name]["kthread-create"].rows.find("default").n > 0


def test_two_workers_make_one_page(machines, tmp_path):
    page = report.comparison_page(machines.compare())
    assert all(name in page for name in (*machines, "kthread-create"))
    assert page.count("<svg") >= 1
    paths = machines.save(tmp_path / "out")
    assert [path.name for path in paths] == ["worker-0.json", "worker-1.json"]
    assert lab.load(paths[0]).names() == machines["worker-0"].names()
    assert lab.compare(*paths).names == ["worker-0", "worker-1"]


def test_any_may_be_the_base(machines):
    assert machines.compare("worker-1").names == ["worker-1", "worker-0"]
    with pytest.raises(NotFoundError, match="no report of 'x'"):
        machines.compare("x")
    with pytest.raises(InvalidArgumentError, match="takes two"):
        lab.Machines({"a": machines["worker-0"]}).compare()


def test_what_is_unknown_is_said_before_anything_runs(client):
    with pytest.raises(NotFoundError, match="did you mean"):
        lab.on_cluster(client, ["kthread-creat"])
    with pytest.raises(NotFoundError, match="no worker worker-9; the cluster has worker-0, worker-1"):
        lab.on_cluster(client, NAMES, workers=["worker-9"])
    with pytest.raises(InvalidArgumentError, match="at least one experiment"):
        lab.on_cluster(client, [])


def test_a_worker_that_fails_is_told_and_the_other_goes_on(client):
    def break_one(dask_worker):
        import filar.lab.cluster as module

        module.sys = type("NoPython", (), {"executable": "/no/such/python"})

    def mend(dask_worker):
        import sys

        import filar.lab.cluster as module

        module.sys = sys

    address = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
    client.run(break_one, workers=[address])
    try:
        found = lab.on_cluster(client, NAMES, quick=True)
    finally:
        client.run(mend, workers=[address])
    assert len(found) == 1
    assert len(found.failures) == 1
    assert "/no/such/python" in next(iter(found.failures.values()))
    assert "1 failed" in repr(found)


def test_the_command_writes_a_file_for_each_worker_and_one_page(cluster, client, tmp_path, capsys):
    arguments = ["cluster", cluster.scheduler_address, "--quick", "--only", *NAMES, "--out", str(tmp_path / "m")]
    assert main(arguments) == 0
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "machines.html",
        "worker-0.json",
        "worker-1.json",
    ]
    assert "worker-1: 2 results" in capsys.readouterr().err
    assert main(["cluster", cluster.scheduler_address, "--workers", "nobody"]) == 2
    assert "no worker nobody" in capsys.readouterr().err


def test_ctrl_c_ends_the_measurement_on_the_workers(client):
    def running(dask_worker):
        import filar.lab.cluster as module

        return len(module._children)

    def interrupt(name, outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.on_cluster(client, NAMES, quick=True, on_report=interrupt)
    while any(client.run(running).values()):
        pass


def test_what_is_sent_by_another_version_is_told():
    from filar.lab.cluster import _outcome

    class Sent:
        status = "finished"

        def result(self):
            return json.dumps({"schema": "filar-report/999"}), ""

    assert "another version of filar?" in _outcome(Sent())
