"""Green threads: verdicts follow the rows; each experiment runs for real."""

import numpy as np
import pytest

from filar import lab
from filar.lab import green_waits, greens
from filar.lab.base import CONDITIONAL, FAILS, FAMILIES, HOLDS, UNDECIDED, Rows, Series
from filar.lab.bench import Bench
from once import check_once, run_once
from rows import row

MS = 1_000_000
NAMES = (
    "green-switch",
    "green-spawn",
    "green-memory",
    "green-seen-by-kernel",
    "green-scaling",
    "green-ring",
    "n1-blocking",
    "mn-blocking",
    "fairness",
    "waiters",
    "n1-share",
)


def judge(name, these):
    return lab.find(name).judge(Rows(these))


# ---- switch ----


def switch_rows(two, many, futex=900.0, n=40):
    figures = {greens.ready(2): two, greens.ready(10_000): many, greens.KERNEL_FUTEX: futex}
    return [row(variant, "one way", value, n=n) for variant, value in figures.items()]


@pytest.mark.parametrize(
    ("two", "many", "word"), [(8, 35, HOLDS), (8, 2_000, CONDITIONAL), (2_000, 3_000, FAILS), (900, 900, UNDECIDED)]
)
def test_a_green_yield_must_be_faster_however_many_are_ready(two, many, word):
    verdict = judge("green-switch", switch_rows(two, many))
    assert verdict.word == word
    assert "ns" in verdict.reason


def test_switching_is_judged_with_both_kinds_only():
    assert judge("green-switch", switch_rows(8, 35)[:2]).word == UNDECIDED
    assert judge("green-switch", switch_rows(8, 35, n=3)).word == UNDECIDED


def test_the_fastest_of_the_kernel_is_the_one_to_beat():
    these = [*switch_rows(600, 700), row(greens.KERNEL_YIELD, "one way", 500)]
    assert judge("green-switch", these).word == FAILS


# ---- spawn ----


def spawn_rows(one, fresh, kernel):
    figures = {greens.GREEN_ONE: one, "green, 2,000 at once, new stacks": fresh, greens.KERNEL_ONE: kernel}
    return [row(variant, "create+join", value) for variant, value in figures.items()]


@pytest.mark.parametrize(
    ("one", "fresh", "kernel", "word"),
    [
        (58, 2_000, 11_000, HOLDS),
        (58, 20_000, 11_000, CONDITIONAL),
        (20_000, 20_000, 11_000, FAILS),
        (11_000, 11_000, 11_000, UNDECIDED),
    ],
)
def test_spawning_must_be_cheaper_on_new_stacks_too(one, fresh, kernel, word):
    verdict = judge("green-spawn", spawn_rows(one, fresh, kernel))
    assert verdict.word == word
    assert ("new stacks" in verdict.condition) == (word == CONDITIONAL)


# ---- memory ----


def memory_rows(green, kernel, guarded=100.0):
    these = [
        row("1,000 green threads", "resident", green, unit="B", count=1_000),
        row("1,000 green threads", "guarded", guarded, unit="percent", spread=0, count=1_000),
        row("1,000 green threads", "maps", 2, unit="count", spread=0, count=1_000),
        row("500 kernel threads", "resident", kernel / 2, unit="B", count=500),
        row("500 kernel threads", "kernel stack", kernel / 2, unit="B", count=500),
        row("500 kernel threads", "slab", -3e6, unit="B", count=500),
    ]
    return Rows(these) + greens.GreenMemory.real(Rows(these))


def test_what_the_kernel_keeps_is_added_and_its_noise_is_not():
    assert memory_rows(4_100, 32_000).median("500 kernel threads", "real") == pytest.approx(32_000)


@pytest.mark.parametrize(("green", "word"), [(4_100, HOLDS), (16_000, HOLDS), (17_000, FAILS), (64_000, FAILS)])
def test_much_less_memory_is_half_or_less(green, word):
    assert judge("green-memory", memory_rows(green, 32_800)).word == word


def test_guards_are_in_the_reason():
    assert "97 %" in judge("green-memory", memory_rows(4_100, 32_000, guarded=97)).reason


# ---- what the kernel sees ----


def seen_rows(green, kernel):
    these = []
    for name, grown in (("1,000 green threads", green), ("1,000 kernel threads", kernel)):
        counts = {"tasks before": 3, "tasks with them": 3 + grown, "alive": 1_000}
        these += [row(name, metric, value, unit="count", spread=0, n=3) for metric, value in counts.items()]
    return these


@pytest.mark.parametrize(("green", "kernel", "word"), [(0, 1000, HOLDS), (1000, 1000, FAILS), (0, 10, FAILS)])
def test_only_kernel_threads_may_be_listed(green, kernel, word):
    assert judge("green-seen-by-kernel", seen_rows(green, kernel)).word == word


# ---- scaling ----


def scaling_rows(yields, tree):
    return [
        row("yields, 1 worker", "yields", 80e6, unit="1/s"),
        row("yields, 2 workers", "yields", 80e6 * yields, unit="1/s"),
        row("tree, 1 worker", "per task", 400),
        row("tree, 2 workers", "per task", 400 / tree),
    ]


@pytest.mark.parametrize(
    ("yields", "tree", "word"), [(1.8, 1.7, HOLDS), (1.8, 0.7, CONDITIONAL), (0.9, 1.6, CONDITIONAL), (1, 1, FAILS)]
)
def test_two_workers_must_do_half_as_much_again(yields, tree, word):
    assert judge("green-scaling", scaling_rows(yields, tree)).word == word


def test_scaling_cannot_be_decided_on_one_cpu():
    assert judge("green-scaling", scaling_rows(1.8, 1.8)[::2]).word == UNDECIDED


# ---- ring ----


@pytest.mark.parametrize(("green", "kernel", "word"), [(60, 3_000, HOLDS), (3_000, 60, FAILS), (60, 60, UNDECIDED)])
def test_a_step_in_the_ring_must_be_faster(green, kernel, word):
    these = [row("100 green threads", "one way", green), row("100 kernel threads", "one way", kernel)]
    assert judge("green-ring", these).word == word


# ---- blocking ----


def blocking_rows(wait, work, kernel_work=95_000.0):
    waits = {green_waits.N1_FREE: 0.1 * MS, green_waits.N1_BLOCKS: wait, green_waits.K_BLOCKS: 32 * MS}
    works = {
        green_waits.N1_FREE: 100_000.0,
        green_waits.N1_BLOCKS: work,
        green_waits.K_FREE: 80_000.0,
        green_waits.K_BLOCKS: kernel_work,
    }
    return [
        *(row(variant, green_waits.WAIT, value) for variant, value in waits.items()),
        *(row(variant, green_waits.OTHERS, value, unit="1/s") for variant, value in works.items()),
    ]


@pytest.mark.parametrize(
    ("wait", "work", "word"), [(20 * MS, 350, HOLDS), (0.13 * MS, 90_000, FAILS), (20 * MS, 90_000, FAILS)]
)
def test_one_blocks_all_if_they_wait_as_long_and_do_nothing(wait, work, word):
    verdict = judge("n1-blocking", blocking_rows(wait, work))
    assert verdict.word == word
    assert "1:1" in verdict.reason


def test_blocking_needs_both_runs():
    assert judge("n1-blocking", blocking_rows(20 * MS, 350)[:1]).word == UNDECIDED


def test_the_verdict_on_blocking_tells_what_a_spare_makes_of_it():
    spare = [
        row(green_waits.N1_HANDED, green_waits.WAIT, 0.4 * MS),
        row(green_waits.N1_HANDED, green_waits.OTHERS, 97_000.0, unit="1/s"),
    ]
    verdict = judge("n1-blocking", [*blocking_rows(20 * MS, 350), *spare])
    assert verdict.word == HOLDS
    assert "400 µs with a spare" in verdict.headline
    assert "work -3 %" in verdict.reason


def mn_rows(one, both, spared):
    name = green_waits.MnBlocking.variant
    shares = {name(2, 1, False): one, name(2, 2, False): both, name(2, 2, True): spared}
    return [
        *(row(variant, green_waits.SHARE_OF_WORK, share, unit="percent") for variant, share in shares.items()),
        *(row(variant, green_waits.WAIT, 20 * MS) for variant in shares),
    ]


@pytest.mark.parametrize(
    ("one", "both", "spared", "word"),
    [(50, 1, 95, HOLDS), (50, 1, 5, FAILS), (5, 1, 95, FAILS), (90, 80, 95, FAILS)],
)
def test_one_of_two_workers_goes_on_and_spares_restore_the_rest(one, both, spared, word):
    assert judge("mn-blocking", mn_rows(one, both, spared)).word == word


def test_blocking_on_two_workers_needs_all_three_runs():
    assert judge("mn-blocking", mn_rows(50, 1, 95)[:2]).word == UNDECIDED


# ---- fairness ----


def fairness_rows(hog, kernel):
    waits = {green_waits.GREEN_ALL: 0.1 * MS, green_waits.GREEN_HOG: hog, green_waits.KERNEL_HOG: kernel}
    return [row(variant, green_waits.WAIT, value, window_ns=120 * MS) for variant, value in waits.items()]


@pytest.mark.parametrize(
    ("hog", "kernel", "word"),
    [(120 * MS, 12 * MS, HOLDS), (120 * MS, 120 * MS, UNDECIDED), (12 * MS, 12 * MS, FAILS)],
)
def test_an_endless_task_must_stop_green_threads_and_not_kernel_threads(hog, kernel, word):
    assert judge("fairness", fairness_rows(hog, kernel)).word == word


def test_the_verdict_on_fairness_tells_of_preempted_green_threads():
    preempted = row(green_waits.GREEN_PREEMPTED, green_waits.WAIT, 7 * MS, window_ns=120 * MS)
    verdict = judge("fairness", [*fairness_rows(120 * MS, 12 * MS), preempted])
    assert "preempted green threads 7 ms" in verdict.headline


# ---- waiters ----


def waiters_rows(time, cpu, memory):
    these = []
    for kind, factor in (("green threads", (1, 1, 1)), ("kernel threads", (time, cpu, memory))):
        costs = zip(("wall", "CPU time", "memory"), (70 * MS, 6 * MS, 4_100), ("ns", "ns", "B"), factor, strict=True)
        these += [
            row(f"1,000 {kind}", metric, base * times, unit=unit, tasks=1_000) for metric, base, unit, times in costs
        ]
    return these


@pytest.mark.parametrize(
    ("factors", "word", "condition"),
    [
        ((1.8, 6, 5), HOLDS, ""),
        ((0.9, 6, 5), CONDITIONAL, "what counts is CPU time and memory"),
        ((0.9, 0.9, 0.9), FAILS, ""),
    ],
)
def test_waiters_name_what_is_better(factors, word, condition):
    verdict = judge("waiters", waiters_rows(*factors))
    assert (verdict.word, verdict.condition) == (word, condition)


# ---- share ----


@pytest.mark.parametrize(("green", "kernel", "word"), [(50, 89, HOLDS), (88, 89, FAILS), (50, 50, FAILS)])
def test_green_threads_get_one_share(green, kernel, word):
    these = [
        row("8 green threads", green_waits.SHARE, green, unit="percent"),
        row("8 kernel threads", green_waits.SHARE, kernel, unit="percent"),
    ]
    assert judge("n1-share", these).word == word


# ---- pictures ----


def test_a_strip_shows_what_ran_what_was_blocked_and_what_waited():
    ran, blocked = green_waits.RAN, green_waits.BLOCKED
    series = Series(
        "N:1, one blocks",
        np.array([0.0, 1 * MS, 21 * MS]),
        np.array([1 * MS, 21 * MS, 22.0 * MS]),
        subject=np.array([0, 0, 1], dtype=np.int32),
        kind=np.array([ran, blocked, ran], dtype=np.int32),
    )
    strip = green_waits.strip(series, 30 * MS, "sleeps")
    found = {(one.row, one.category, one.start, one.end) for one in strip.intervals}
    assert ("task 1", "blocked", 1 * MS, 21 * MS) in found
    assert ("task 2", "waits", 0.0, 21 * MS) in found
    assert ("task 2", "runs", 21 * MS, 22 * MS) in found
    assert ("task 8", "waits", 0.0, 30 * MS) in found


# ---- for real ----


def test_the_family_is_listed_after_switching():
    mine = {name for name, one in lab.experiments().items() if one.family == greens.FAMILY}
    assert mine >= set(NAMES)
    assert FAMILIES.index(greens.FAMILY) == FAMILIES.index("Switching") + 1


@pytest.mark.parametrize("name", NAMES)
def test_runs_for_real_and_leaves_nothing(name):
    result = check_once(name)
    planned = {way.variant for way in lab.find(name).ways(Bench(quick=True, budget=lab.find(name).quick))}
    assert planned == set(result.rows.variants())


def test_every_guard_of_a_parked_green_thread_refuses():
    guarded = run_once("green-memory").rows.of_metric("guarded")
    assert guarded
    assert all(one.min == 100 for one in guarded)


def test_the_strips_of_one_blocking_call_have_its_time():
    result = run_once("n1-blocking")
    blocked = next(one for one in result.series if one.name == green_waits.N1_BLOCKS)
    slept = (blocked.y - blocked.x)[blocked.kind == green_waits.BLOCKED]
    assert len(slept)
    assert (slept >= 20 * MS).all()
    assert result.rows.median(green_waits.N1_BLOCKS, green_waits.WAIT) >= 19 * MS


def others_ran_while_one_blocked(result, variant):
    """Whether a task of the round that is drawn ran while the first one was in its blocking call."""
    (drawn,) = [one for one in result.series if one.name == variant]
    of_kind = {kind: drawn.kind == kind for kind in (green_waits.RAN, green_waits.BLOCKED)}
    calls, runs = (np.c_[drawn.x, drawn.y][of_kind[kind]] for kind in (green_waits.BLOCKED, green_waits.RAN))
    return any(begin < call[1] and end > call[0] for call in calls for begin, end in runs)


def test_with_a_spare_the_others_work_while_one_blocks():
    """Without one they never do; with one they do, sooner or later: a whole window may pass without a turn for it."""
    while True:
        result = run_once("n1-blocking")
        assert not others_ran_while_one_blocked(result, green_waits.N1_BLOCKS)
        if others_ran_while_one_blocked(result, green_waits.N1_HANDED):
            break


def test_shares_of_work_are_of_the_rounds_that_both_have():
    shares = run_once("mn-blocking").rows.of_metric(green_waits.SHARE_OF_WORK)
    assert {int(one.params["blockers"]) for one in shares} == {0, 1, 2}
    assert all((one.samples >= 0).all() for one in shares)
