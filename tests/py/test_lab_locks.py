"""Locks, races and deadlock: verdicts follow the rows; each experiment runs for real."""

import dataclasses
import functools
import os

import numpy as np
import pytest

from filar import lab
from filar.lab import races, stats
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Budget, Row, Rows
from filar.lab.bench import Bench
from filar.lab.locks import KINDS, THREADS
from filar.lab.races import BLOCK, CHILD, runs_until, wait_cycle
from filar.lab.safety import Safety
from rows import row, rows

NAMES = ["mutex-cost", "contention-crawl", "false-sharing", "lost-update", "heisenbug", "deadlock"]


def judge(name, these):
    return lab.find(name).judge(Rows(these))


def exact(variant, metric, value, unit="count", n=40, **params):
    """A row whose samples are all the same."""
    return Row(variant, metric, unit, np.full(n, float(value)), params=params)


# ---- mutex-cost ----


def cost_rows(plain=1.0, alone=20.0, contended=80.0):
    typical = {"plain, uncontended": plain, "pthread, uncontended": alone}
    if contended is not None:
        typical["pthread, contended"] = contended
    return [*rows("per operation", typical)]


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({}, HOLDS),
        ({"alone": 0.5, "contended": 80.0}, CONDITIONAL),
        ({"contended": 10.0}, CONDITIONAL),
        ({"alone": 0.5, "contended": 0.4}, FAILS),
        ({"contended": None}, UNDECIDED),
    ],
)
def test_a_lock_must_cost_more_than_the_step_and_more_when_contended(figures, word):
    assert judge("mutex-cost", cost_rows(**figures)).word == word


def test_mutex_cost_says_the_condition_that_is_left():
    assert "compete" in judge("mutex-cost", cost_rows(alone=0.5, contended=80.0)).condition
    assert "no lock" in judge("mutex-cost", cost_rows(contended=10.0)).condition


def test_a_guard_that_loses_updates_fails_whatever_it_costs():
    leaking = [*cost_rows(), exact("ticket, contended", "lost", 0.01, "percent")]
    assert judge("mutex-cost", leaking).word == FAILS
    assert "ticket" in judge("mutex-cost", leaking).reason
    unguarded = [*cost_rows(), exact("plain, contended", "lost", 40, "percent")]
    assert judge("mutex-cost", unguarded).word == HOLDS
    assert "40 %" in judge("mutex-cost", unguarded).reason


def test_mutex_cost_without_rows_or_with_few_cannot_be_decided():
    assert judge("mutex-cost", []).word == UNDECIDED
    few = rows("per operation", {"plain, uncontended": 1, "pthread, uncontended": 20, "pthread, contended": 80}, n=3)
    assert judge("mutex-cost", few).word == UNDECIDED


# ---- contention-crawl ----


def crawl_rows(two, most, **options):
    return [
        row("2 threads", "hand-overs", two, unit="1/s", threads=2, **options),
        row("64 threads", "hand-overs", most, unit="1/s", threads=64, **options),
    ]


@pytest.mark.parametrize(("two", "most", "word"), [(5e6, 4e5, HOLDS), (5e6, 4e6, FAILS), (5e6, 9e6, FAILS)])
def test_crawl_is_less_than_half_of_the_hand_overs(two, most, word):
    assert judge("contention-crawl", crawl_rows(two, most)).word == word


def test_crawl_is_undecided_across_the_threshold_and_without_two_threads():
    assert judge("contention-crawl", crawl_rows(1e6, 5e5, spread=0.0)).word == FAILS
    noisy = [crawl_rows(1e6, 1)[0], Row("64 threads", "hand-overs", "1/s", np.tile([3e5, 8e5], 20), {"threads": 64})]
    assert judge("contention-crawl", noisy).word == UNDECIDED
    assert judge("contention-crawl", crawl_rows(1e6, 1e5)[1:]).word == UNDECIDED
    assert judge("contention-crawl", crawl_rows(1e6, 1e5, n=4)).word == UNDECIDED


# ---- false-sharing ----


def sharing_rows(atomic=16.0, plain=3.0, padded_atomic=4.0, padded_plain=1.0):
    return rows(
        "per operation",
        {
            "atomic, same line": atomic,
            "atomic, padded": padded_atomic,
            "plain, same line": plain,
            "plain, padded": padded_plain,
        },
    )


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({}, HOLDS),
        ({"plain": 1.05}, CONDITIONAL),
        ({"atomic": 4.1}, CONDITIONAL),
        ({"atomic": 4.1, "plain": 1.05}, FAILS),
    ],
)
def test_false_sharing_needs_both_kinds_of_step_to_be_slower(figures, word):
    assert judge("false-sharing", sharing_rows(**figures)).word == word


def test_false_sharing_names_the_kind_of_step_that_shows_it():
    assert "atomic" in judge("false-sharing", sharing_rows(plain=1.05)).condition
    assert "plain" in judge("false-sharing", sharing_rows(atomic=4.1)).condition


def test_false_sharing_on_one_cpu_cannot_be_decided():
    verdict = judge("false-sharing", rows("per operation", {"atomic, one thread": 6, "plain, one thread": 1}))
    assert verdict.word == UNDECIDED
    assert "one CPU" in verdict.reason


# ---- lost-update ----


def update_rows(two=40.0, one=30.0, cure=0, torn=0):
    found = [
        exact("atomic, two cores", "lost updates", cure),
        exact("pair under a mutex, two cores", "torn pairs", torn),
    ]
    for place, lost in (("two cores", two), ("one core", one)):
        if lost is not None:
            found.append(exact(f"{place}, 2 x 1,000", "lost", 0, "percent", increments=1_000))
            found.append(exact(f"{place}, 2 x 1,000,000", "lost", lost, "percent", increments=1_000_000))
    return found


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({}, HOLDS),
        ({"one": 0.0}, CONDITIONAL),
        ({"two": 0.0, "one": 0.0}, FAILS),
        ({"cure": 1}, FAILS),
        ({"torn": 1}, FAILS),
        ({"two": None, "one": 0.0}, UNDECIDED),
        ({"two": None, "one": None}, UNDECIDED),
    ],
)
def test_lost_update_counts_both_places_and_the_cures(figures, word):
    assert judge("lost-update", update_rows(**figures)).word == word


def test_a_cure_that_loses_is_named():
    assert "atomic" in judge("lost-update", update_rows(cure=1)).reason
    assert "pair under a mutex" in judge("lost-update", update_rows(torn=1)).reason


def test_one_lost_update_in_one_run_is_enough():
    rare = np.zeros(40)
    rare[17] = 0.1
    these = [*update_rows(two=40.0, one=None), Row("one core, 2 x 1,000", "lost", "percent", rare)]
    assert judge("lost-update", these).word == HOLDS


# ---- heisenbug ----


def bug_row(setting, failed, runs=200):
    return Row(setting, "lost updates", "count", np.r_[np.full(failed, 7.0), np.zeros(runs - failed)])


@pytest.mark.parametrize(
    ("failed", "word"),
    [
        ({"two cores": 180, "one core": 0}, HOLDS),
        ({"two cores": 180, "one core": 60}, HOLDS),
        ({"two cores": 199, "one core": 198}, FAILS),
        ({"two cores": 100, "one core": 95}, FAILS),
        ({"two cores": 1, "one core": 0}, UNDECIDED),
        ({"one core": 0, "one core, longer section": 90}, HOLDS),
        ({"one core": 0, "one core, longer section": 1}, UNDECIDED),
        ({"one core": 0}, UNDECIDED),
    ],
)
def test_a_heisenbug_shows_in_one_setting_and_hides_in_another(failed, word):
    assert judge("heisenbug", [bug_row(setting, count) for setting, count in failed.items()]).word == word


def test_a_control_that_fails_spoils_the_verdict():
    these = [bug_row("two cores", 180), bug_row("one core", 0), bug_row(races.CONTROL, 1)]
    assert judge("heisenbug", these).word == FAILS


def test_runs_until_counts_from_one_failure_to_the_next():
    waits, after = runs_until([False, False, True, True, False])
    assert waits.tolist() == [3, 1]
    assert after == 1
    waits, after = runs_until([False] * 4)
    assert len(waits) == 0
    assert after == 4


@pytest.mark.parametrize(
    ("hits", "runs", "lo", "hi"), [(0, 100, 0, 0.037), (50, 100, 0.404, 0.596), (100, 100, 0.963, 1)]
)
def test_share_interval_is_wilsons(hits, runs, lo, hi):
    share = stats.share_interval(hits, runs)
    assert share.mid == hits / runs
    assert (share.lo, share.hi) == (pytest.approx(lo, abs=1e-3), pytest.approx(hi, abs=1e-3))
    assert stats.share_interval(0, 0).n == 0


# ---- deadlock ----


def lock_rows(two=1.0, one=1.0, order=0.0, trylock=0.0):
    stopped = {"opposite orders, two cores": two, "opposite orders, one core": one}
    cured = {"one order, two cores": order, "trylock and let go, two cores": trylock}
    found = []
    for variant, share in {**stopped, **cured}.items():
        if share is not None:
            ends = (np.arange(40) < 40 * share).astype(float)
            found.append(Row(variant, "deadlock", "ratio", ends))
            found.append(Row(variant, "rounds", "count", np.where(ends > 0, 100.0, 50_000.0)))
    return found


@pytest.mark.parametrize(
    ("figures", "word"),
    [
        ({}, HOLDS),
        ({"two": 0.1, "one": 0.1}, HOLDS),
        ({"one": 0.0}, CONDITIONAL),
        ({"two": 0.0, "one": 0.0}, FAILS),
        ({"order": 0.05}, FAILS),
        ({"trylock": 0.05}, FAILS),
        ({"two": None, "one": 0.0}, UNDECIDED),
        ({"two": None}, HOLDS),
        ({"two": None, "one": None}, UNDECIDED),
    ],
)
def test_deadlock_counts_runs_that_stopped_and_cures_that_did_not(figures, word):
    assert judge("deadlock", lock_rows(**figures)).word == word


def test_deadlock_tells_the_median_of_the_runs_that_stopped():
    assert "after 100 rounds" in judge("deadlock", lock_rows(two=0.5)).reason
    assert "one order" in judge("deadlock", lock_rows(order=0.05)).reason


@pytest.mark.parametrize(
    ("holds", "wants", "cycle"),
    [
        ({1: 1, 2: 2}, {1: 2, 2: 1}, [1, 2]),
        ({1: 1, 2: 2, 3: 3}, {1: 2, 2: 3, 3: 1}, [1, 2, 3]),
        ({1: 1, 2: 2, 3: 3}, {3: 1, 1: 2, 2: 1}, [1, 2]),
        ({1: 1, 2: 2}, {1: 2, 2: 0}, []),
        ({1: 1, 2: 0}, {1: 2, 2: 1}, []),
        ({1: 1}, {1: 1}, [1]),
        ({}, {}, []),
    ],
)
def test_a_cycle_is_found_only_when_the_ring_is_closed(holds, wants, cycle):
    assert sorted(wait_cycle(holds, wants)) == sorted(cycle)


# ---- for real ----

two_cpus = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")


@functools.cache
def result_of(name):
    """One quick run of each, shared by the tests that look at it."""
    return lab.run(name, quick=True)


@pytest.mark.parametrize("name", NAMES)
def test_runs_for_real(name):
    result = result_of(name)
    assert len(result.rows)
    for each in result.rows:
        assert np.isfinite(each.samples).all()
        assert each.metric == "lost" or (each.samples >= 0).all()
        assert each.unit in ("ns", "ratio", "percent", "count", "1/s")
    pictures = lab.find(name).charts(result)
    assert pictures
    assert all("<svg" in picture.svg() for picture in pictures)


def test_mutex_cost_has_the_public_words():
    bench = Bench(quick=True, budget=lab.find("mutex-cost").quick)
    variants = {way.variant for way in lab.find("mutex-cost").ways(bench)}
    for kind in ("pthread", "spin", "ticket", "mcs"):
        assert {f"{kind}, uncontended", f"{kind}, contended"} <= variants
    assert len(variants) == 2 * len(KINDS)


def test_guards_lose_nothing():
    for each in result_of("mutex-cost").rows.of_metric("lost"):
        if not each.variant.startswith("plain, contended"):
            assert each.max == 0, each.variant


def test_crawl_stays_within_the_safety_budget():
    found = lab.find("contention-crawl")
    tight = dataclasses.replace(Safety.now(seconds_max=10), threads_max=10)
    ways = found.ways(Bench(quick=True, budget=found.quick, safety=tight))
    assert [way.params["threads"] for way in ways] == [count for count in THREADS if count <= 10]


def test_the_child_is_described_and_the_cures_never_stop():
    result = result_of("deadlock")
    cycle = result.rows.find(CHILD, "threads in the cycle")
    assert cycle is not None
    assert (cycle.samples == 2).all()
    assert any("holds A and waits for B" in note and "holds B and waits for A" in note for note in result.notes)
    assert {line[2:] for line in result.tables[0].rows} == {("A", "B"), ("B", "A")}
    for each in result.rows.of_metric("deadlock"):
        if not each.variant.startswith("opposite"):
            assert each.max == 0


@two_cpus
def test_the_cures_of_lost_update_are_counted():
    lines = result_of("lost-update").tables[0].rows
    assert len(lines) == 4
    for name, runs, counted, lost in lines:
        assert lost == "0", name
        assert runs > 0
        assert counted


def test_heisenbug_has_one_sample_for_a_block_of_runs():
    result = result_of("heisenbug")
    runs, chance = (result.rows.find("one core", metric) for metric in ("lost updates", "chance per run"))
    assert chance.n == runs.n // BLOCK
    assert set(np.unique(chance.samples)) <= set(np.arange(0, 101, 100 / BLOCK))


@pytest.fixture
def one_cpu():
    """The process may use one CPU only, as in a container that was given one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield min(before)
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("name", NAMES)
def test_with_one_cpu_nothing_hangs_and_what_is_missing_is_said(name, one_cpu):
    found = lab.find(name)
    bench = Bench(quick=True, budget=Budget(seconds=0.2, rounds_max=8), cpus=(one_cpu,))
    measured = found.measure(bench)
    verdict = found.judge(measured.rows)
    gone = {words for words in measured.rows.variants() if "two cores" in words or words.endswith(", contended")}
    assert not gone
    assert len(measured.rows)
    if name != "contention-crawl":
        assert any("needs two CPUs" in note for note in measured.notes)
    if name in ("mutex-cost", "false-sharing"):
        assert verdict.word == UNDECIDED
        assert "one CPU" in verdict.reason
