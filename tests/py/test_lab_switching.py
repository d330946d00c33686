"""Switching, moving and core to core: verdicts follow the rows; each experiment runs for real."""

import os
import signal

import numpy as np
import pytest

from children import no_new_child
from filar import lab
from filar.lab import derived, places, switching
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Row, Rows
from filar.lab.bench import Bench
from filar.topology import topology
from machines import CPU_FOLDER, add_cpu, write
from nets import nothing_left
from rows import row, rows

MIB = 1024 * 1024


def judge(name, these):
    return lab.find(name).judge(these)


def two_cpus():
    return len(os.sched_getaffinity(0)) > 1


# ---- kthread-switch ----


@pytest.mark.parametrize(
    ("futex", "across", "user", "word"),
    [
        (1_500, 3_000, 200, HOLDS),
        (1_500, None, 200, HOLDS),
        (1_500, 30_000, 200, CONDITIONAL),
        (50_000, 60_000, 200, FAILS),
        (100, 200, 20, FAILS),
        (1_500, 3_000, 1_600, FAILS),
        (None, 3_000, 200, UNDECIDED),
    ],
)
def test_a_switch_is_compared_with_the_published_range_and_with_user_space(futex, across, user, word):
    typical = {"futex, one core": futex, "futex, two cores": across, "swapcontext, one thread": user}
    these = rows("one way", {variant: value for variant, value in typical.items() if value is not None})
    assert judge("kthread-switch", these).word == word


def test_the_reason_of_a_switch_quotes_this_machine():
    these = rows("one way", {"futex, one core": 1_500, "swapcontext, one thread": 200})
    reason = judge("kthread-switch", these).reason
    assert "1.5 µs" in reason
    assert "across cores not measured" in reason


def test_two_samples_decide_nothing():
    these = rows("one way", {"futex, one core": 1_500, "swapcontext, one thread": 200}, n=2)
    assert judge("kthread-switch", these).word == UNDECIDED


# ---- thread-vs-process-switch ----


def ratio_rows(processes, control=1.0):
    found = [row(f"process / thread, {name}", "ratio", value, unit="ratio") for name, value in processes.items()]
    found.append(row("thread / thread (A/A), futex, nothing touched", "ratio", control, unit="ratio"))
    return Rows(found)


@pytest.mark.parametrize(
    ("bare", "loaded", "control", "word"),
    [
        (1.1, 1.17, 1.0, FAILS),
        (2.0, 3.0, 1.0, HOLDS),
        (1.1, 2.5, 1.0, CONDITIONAL),
        (1.1, 1.17, 1.1, UNDECIDED),
        (2.0, 3.0, 0.9, UNDECIDED),
    ],
)
def test_much_faster_is_decided_by_the_ratios_and_their_control(bare, loaded, control, word):
    these = ratio_rows({"futex, nothing touched": bare, "futex, 512 pages": loaded}, control)
    verdict = judge("thread-vs-process-switch", these)
    assert verdict.word == word
    if word == CONDITIONAL:
        assert verdict.condition == "it is futex, 512 pages"


def test_without_a_control_the_ratio_proves_nothing():
    these = Rows([row("process / thread, futex, nothing touched", "ratio", 1.1, unit="ratio")])
    assert judge("thread-vs-process-switch", these).word == UNDECIDED


def test_ratios_pair_processes_with_threads_of_the_same_kind():
    these = rows(
        "round trip",
        {
            "futex, threads, 64 pages": 1_000,
            "futex, processes, 64 pages": 1_200,
            "pipe, threads, 64 pages": 3_000,
            "pipe, processes, 64 pages": 3_000,
        },
    )
    found = switching.ThreadVsProcessSwitch.ratios(these)
    assert found.median("process / thread, futex, 64 pages") == pytest.approx(1.2)
    assert found.median("process / thread, pipe, 64 pages") == pytest.approx(1.0)


# ---- switch-working-set ----


def working_set_rows(turns):
    """(bytes, alone, two buffers, switching) of each working set, with the differences the experiment adds."""
    found = Rows()
    for size, alone, control, kernel in turns:
        for metric, value in (
            (switching.ALONE, alone),
            (switching.CONTROL, control),
            (switching.KERNEL, kernel),
        ):
            found += [row(f"{size} B each", metric, value, spread=0.001, touch_bytes=size, process=0)]
    return found + switching.SwitchWorkingSet.differences(found)


@pytest.mark.parametrize(
    ("largest", "word"),
    [
        ((MIB, 20_000, 45_000, 46_000), CONDITIONAL),
        ((MIB, 20_000, 20_100, 21_000), HOLDS),
        ((MIB, 20_000, 20_800, 22_000), UNDECIDED),
    ],
)
def test_the_refill_is_weighed_against_the_switch(largest, word):
    these = working_set_rows([(0, 1, 1, 801), (32_768, 300, 350, 1_200), largest])
    assert judge("switch-working-set", these).word == word


def test_the_condition_names_the_largest_set_that_fits():
    these = working_set_rows([(0, 1, 1, 801), (32_768, 300, 350, 1_200), (MIB, 20_000, 45_000, 46_000)])
    assert "32 KiB" in judge("switch-working-set", these).condition


def test_a_switch_without_its_control_is_not_judged():
    assert judge("switch-working-set", rows(switching.KERNEL, {"0 B each": 900}, touch_bytes=0)).word == UNDECIDED


def test_differences_are_control_subtractions():
    these = working_set_rows([(0, 1, 1, 801), (MIB, 20_000, 45_000, 46_000)])
    assert these.median(f"{MIB} B each", switching.SWITCH) == pytest.approx(1_000, rel=0.01)
    assert these.median(f"{MIB} B each", switching.REFILL) == pytest.approx(25_000, rel=0.01)


def test_working_sets_reach_the_whole_cache():
    for quick in (True, False):
        sizes = switching.working_sets(2 * MIB, quick)
        assert sizes[0] == 0
        assert sizes[-1] == 2 * MIB
        assert sizes == sorted(sizes)
        assert max(switching.working_sets(16 * MIB, quick)) == switching.WORKING_SET_MAX


# ---- pin-effect ----


def move_rows(bare, loaded, spread=0.02):
    return Rows(
        [
            row("cost of moving, 0 B", "difference", bare, spread=spread, touch_bytes=0),
            row("cost of moving, 1 MiB", "difference", loaded, spread=spread, touch_bytes=MIB),
        ]
    )


@pytest.mark.parametrize(
    ("bare", "loaded", "word"), [(11_000, 100_000, HOLDS), (11_000, 11_000, CONDITIONAL), (-100, -100, FAILS)]
)
def test_moving_costs_more_with_data(bare, loaded, word):
    assert judge("pin-effect", move_rows(bare, loaded)).word == word


def test_one_cpu_cannot_decide_what_a_move_costs():
    staying = rows("per turn", {"staying, 0 B": 300, "staying, 1 MiB": 20_000}, touch_bytes=0)
    assert judge("pin-effect", staying).word == UNDECIDED


# ---- core-latency ----


def pair_rows(*values):
    return Rows(
        [row(f"CPU 0 to CPU {i}", "one way", value, cpu=0, peer_cpu=i) for i, value in enumerate(values, start=1)]
    )


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((50, 120), HOLDS),
        ((120,), HOLDS),
        ((50, 900), CONDITIONAL),
        ((900, 1_000), FAILS),
        ((), UNDECIDED),
    ],
)
def test_a_cache_line_is_judged_by_all_pairs(values, word):
    assert judge("core-latency", pair_rows(*values)).word == word


def test_a_far_pair_looks_like_another_socket():
    notes = switching.CoreLatency.neighbourhood(pair_rows(50, 51, 140))
    assert "another socket" in notes[0]
    assert "CPU 0 to CPU 3" in notes[0]
    assert "CPU 0 to CPU 1" not in notes[0]
    assert "near one another" in switching.CoreLatency.neighbourhood(pair_rows(50, 51))[0]
    assert switching.CoreLatency.neighbourhood(Rows()) == []


def test_the_heat_map_is_symmetric():
    result = type("Result", (), {"rows": pair_rows(50, 140), "title": "x"})()
    heat = lab.find("core-latency").charts(result)[0]
    table = np.asarray(heat.values)
    assert table.shape == (3, 3)
    assert table[0, 2] == table[2, 0] == pytest.approx(140)
    assert np.isnan(np.diag(table)).all()


def test_many_cores_are_sampled_evenly_and_the_pairs_fit_one_plan():
    assert switching.pick_cores((0, 3, 5), 16) == (0, 3, 5)
    chosen = switching.pick_cores(tuple(range(192)), 16)
    assert len(set(chosen)) == 16
    assert chosen[0] == 0
    assert chosen[-1] == 191
    for quick in (True, False):
        bench = Bench(quick=quick, budget=switching.CoreLatency.quick, cpus=tuple(range(192)))
        assert len(lab.find("core-latency").ways(bench)) <= 256


@pytest.mark.parametrize("name", ["kthread-switch", "pin-effect", "core-latency", "sharing-cost"])
def test_one_cpu_is_a_note_and_not_an_error(name):
    chosen = lab.find(name)
    only = min(os.sched_getaffinity(0))
    bench = Bench(quick=True, budget=switching.Budget(seconds=0.2, rounds_max=7, rounds_min=7), cpus=(only,))
    measured = chosen.measure(bench)
    assert not any("two cores" in each.variant or "moving" in each.variant for each in measured.rows)
    assert any("one CPU" in note or "may use one" in note for note in measured.notes)
    if name in ("pin-effect", "core-latency"):
        assert chosen.judge(measured.rows).word == UNDECIDED


# ---- the helpers ----


def test_derived_rows_pair_by_round():
    a = Row("a", "m", "ns", np.array([10.0, 20.0, 30.0]), rounds=np.array([0, 1, 3]))
    b = Row("b", "m", "ns", np.array([5.0, 5.0, 6.0]), rounds=np.array([0, 2, 3]))
    ratio = next(iter(derived.ratio_row(a, b, "a / b")))
    assert ratio.samples.tolist() == [2.0, 5.0]
    assert ratio.round_numbers.tolist() == [0, 3]
    difference = next(iter(derived.difference_row(a, b, "a", "a - b")))
    assert difference.samples.tolist() == [5.0, 24.0]
    assert len(derived.ratio_row(a, None, "none")) == 0
    lonely = Row("c", "m", "ns", np.array([1.0]), rounds=np.array([9]))
    assert len(derived.difference_row(a, lonely, "none", "m")) == 0


def test_places_are_those_of_the_topology(tmp_path):
    for cpu, package in ((0, 0), (1, 1)):
        add_cpu(tmp_path, cpu, package, str(cpu), {"1 Data": ("48K", str(cpu)), "2 Unified": ("2048K", str(cpu))})
    write(tmp_path, f"{CPU_FOLDER}/online", "0-1")
    machine = topology(root=tmp_path)
    assert places.l2_bytes(1, machine) == 2 * MIB
    assert [str(place) for place in places.places_of([1, 4], machine).values()] == [
        "package 1, core 1",
        "place not known",
    ]
    assert places.l2_bytes(4, machine) is None


# ---- for real ----

EXPECTED = {
    "kthread-switch": {
        "futex, one core",
        "pipe, one core",
        "eventfd, one core",
        "semaphore, one core",
        "mutex and condition variable, one core",
        "futex between processes",
        "swapcontext, one thread",
    },
    "thread-vs-process-switch": {
        "futex, threads, nothing touched",
        "futex, processes, 512 pages",
        "process / thread, pipe, 512 pages",
        "thread / thread (A/A), futex, nothing touched",
    },
    "switch-working-set": {"0 B each"},
    "pin-effect": {"staying, 0 B"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_runs_for_real_and_leaves_no_child_behind(name):
    with no_new_child(), nothing_left():
        result = lab.run(name, quick=True)
    assert EXPECTED[name] <= set(result.rows.variants())
    assert all(np.isfinite(each.samples).all() for each in result.rows)
    times = [each for each in result.rows if each.metric in ("one way", "round trip", "per turn")]
    assert all(each.unit == "ns" and each.min > 0 for each in times)
    pictures = lab.find(name).charts(result)
    assert pictures
    assert all("<svg" in picture.svg() for picture in pictures)


@pytest.mark.skipif(not two_cpus(), reason="it takes two CPUs")
def test_two_cores_are_measured_where_there_are_two():
    variants = lab.run("kthread-switch", quick=True).rows.variants()
    assert {"futex, two cores", "pipe, two cores", "futex, unpinned"} <= set(variants)
    assert "moving, 0 B" in lab.run("pin-effect", quick=True).rows.variants()


@pytest.mark.skipif(not two_cpus(), reason="it takes two CPUs")
def test_core_latency_runs_for_real():
    result = lab.run("core-latency", quick=True)
    # A crowded machine may interrupt every burst: then there is no row, and the verdict says so.
    if not len(result.rows):
        assert result.verdict.word == UNDECIDED
        return
    assert all(each.unit == "ns" and each.min > 0 for each in result.rows)
    assert all("<svg" in picture.svg() for picture in lab.find("core-latency").charts(result))


def test_ctrl_c_ends_processes_in_the_middle():
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    with no_new_child(), pytest.raises(KeyboardInterrupt):
        lab.run("thread-vs-process-switch", quick=True, on_progress=interrupt)


def test_affinity_is_as_before():
    before = os.sched_getaffinity(0)
    lab.run("pin-effect", quick=True)
    assert os.sched_getaffinity(0) == before
