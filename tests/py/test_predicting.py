"""Predicting: the arithmetic of trees, the simulation on trees whose answer is known, recordings, verdicts."""

import math
import os
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import filar
from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Row, Rows
from filar.lab.predictions import _ABOUT, _PART, _STEPS, CHOSEN, COSTS, SUBTRACTED, WORK, costs_of, tree_of
from filar.lab.result import Result
from filar.lab.speedups import TIME
from filar.native import NativePool
from filar.predicting import PART, Costs, Tree, measure_costs, simulate
from filar.predicting.tree import FORK, LOOP, SEQUENCE, STRAND
from once import run_once
from rows import row

SEED = random.SystemRandom().randrange(2**32)
FREE = Costs(0, 0, 0, 0, 0, 0)
DEAR = Costs(fork_ns=5, steal_ns=500, wake_ns=5_000, return_ns=4_000, loop_ns=6_000, call_ns=20_000)
STATIC, DYNAMIC = 1, 2


# ---- trees made by hand ----


def strand(ns, forks=0, steps=0):
    return [(ns, forks, steps, 0, STRAND, 0, 0, 0)]


def parent(kind, children, **fields):
    work = sum(child[0][0] for child in children)
    head = (
        work, 0, fields.get("steps", 0), fields.get("grain", 0), kind,
        fields.get("schedule", 0), fields.get("threads", 0), len(children),
    )  # fmt: skip
    return [head, *(part for child in children for part in child)]


def sequence(*children):
    return parent(SEQUENCE, children)


def fork(first, second):
    return parent(FORK, (first, second))


def loop(*pieces, steps=1, **fields):
    """Pieces of as many steps each; a piece that is a tree keeps its own."""
    these = [[(*piece[0][:2], steps, *piece[0][3:]), *piece[1:]] for piece in pieces]
    return parent(LOOP, these, steps=steps * len(pieces), **fields)


def tree(parts, calls=0):
    return Tree(np.array(parts, PART), calls)


def balanced(depth, ns):
    return strand(ns) if depth == 0 else fork(balanced(depth - 1, ns), balanced(depth - 1, ns))


def drawn(dice, depth):
    """Any program: its tree."""
    kind = dice.randrange(4) if depth else 0
    if kind == 0:
        return strand(dice.choice([0, 10, 3_000, 40_000]), dice.randrange(3))
    if kind == 1:
        return fork(drawn(dice, depth - 1), drawn(dice, depth - 1))
    if kind == 2:
        return sequence(*(drawn(dice, depth - 1) for _ in range(dice.randrange(1, 5))))
    pieces = [drawn(dice, depth - 1) for _ in range(dice.randrange(1, 6))]
    fields = {"schedule": dice.randrange(3), "grain": dice.randrange(4), "threads": dice.randrange(4)}
    return loop(*pieces, steps=dice.randrange(1, 9), **fields)


# ---- work, span, bounds ----


def test_work_and_span_of_a_fork_are_sum_and_longest():
    one = tree(sequence(strand(10), fork(strand(30), strand(20)), strand(5)))
    assert (one.work_ns, one.span_ns, one.forks) == (65, 45, 1)
    assert one.parallelism == pytest.approx(65 / 45)


def test_the_span_of_a_loop_is_its_longest_step():
    even = tree(loop(strand(100), strand(100), steps=10))
    assert (even.work_ns, even.span_ns, even.loops) == (200, 10, 1)
    nested = tree(loop(strand(100), fork(strand(70), strand(60)), steps=10))
    assert nested.span_ns == 70


def test_a_chain_has_no_parallelism_and_a_balanced_tree_as_much_as_leaves():
    assert tree(sequence(*[strand(7)] * 50)).parallelism == 1
    assert tree(balanced(6, 1_000)).parallelism == 64
    assert tree(strand(0)).parallelism == 1


def test_burdens_are_added_where_they_fall():
    one = tree(fork(strand(30_000), strand(30_000, forks=4)), calls=2)
    assert one.forks == 5
    assert one.burdened_work_ns(DEAR) == 60_000 + 5 * 5 + 2 * 20_000
    assert one.burdened_span_ns(DEAR) == 30_000 + 4 * 5 + 500 + 5 + 2 * 20_000
    short = tree(loop(strand(4_000), strand(4_000), steps=4))
    assert short.burdened_span_ns(DEAR) == 8_000, "a loop that is not worth a helper stays where it is"
    longer = tree(loop(strand(40_000), strand(40_000), steps=4))
    assert longer.burdened_span_ns(DEAR) == 10_000 + 6_000


def test_bounds_obey_the_laws():
    one = tree(balanced(5, 10_000))
    for workers in (1, 2, 8, 1024):
        bounds = one.bounds(workers, FREE)
        assert bounds.work_law == workers
        assert bounds.upper == min(workers, 32)
        assert bounds.greedy <= bounds.upper + 1e-9
    assert one.bounds(1, DEAR).greedy == pytest.approx(1)
    assert one.bounds(8, DEAR).greedy < one.bounds(8, FREE).greedy


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [(1.0, 0, 0, 0, SEQUENCE, 0, 0, 2), (1.0, 0, 0, 0, STRAND, 0, 0, 0)],
        [(1.0, 0, 0, 0, STRAND, 0, 0, 0), (1.0, 0, 0, 0, STRAND, 0, 0, 0)],
    ],
)
def test_parts_that_are_no_tree_are_refused(parts):
    with pytest.raises(filar.InvalidArgumentError):
        tree(parts)
    with pytest.raises(filar.InvalidArgumentError):
        Tree(np.zeros(3))


# ---- the simulation ----


def gain(one, workers, costs=FREE, seed=1):
    return simulate(one, 1, costs, seed).time_ns / simulate(one, workers, costs, seed).time_ns


@pytest.mark.parametrize("workers", [1, 2, 7, 1024])
def test_a_chain_gains_nothing(workers):
    one = tree(sequence(*[strand(1_000)] * 20))
    assert simulate(one, workers, DEAR).time_ns == pytest.approx(20_000)


def test_one_worker_takes_the_work_and_what_forks_and_calls_cost():
    one = tree(sequence(strand(100, forks=3), balanced(4, 1_000), loop(strand(50_000), steps=9)), calls=1)
    assert simulate(one, 1, DEAR).time_ns == pytest.approx(one.burdened_work_ns(DEAR))
    run = simulate(one, 1, DEAR)
    assert (run.steals, run.wakes) == (0, 0)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_as_many_equal_tasks_as_workers_gain_as_many_times_without_costs(depth):
    one = tree(balanced(depth, 1e6))
    assert gain(one, 2**depth) == pytest.approx(2**depth)
    costly = gain(one, 2**depth, DEAR)
    assert 0.8 * 2**depth < costly < 2**depth


def test_two_equal_halves_lose_exactly_what_waking_the_other_worker_costs():
    one = tree(fork(strand(1e6), strand(1e6)))
    assert simulate(one, 2, DEAR).time_ns == pytest.approx(1e6 + DEAR.wake_ns + DEAR.return_ns)


def test_a_forker_that_looks_still_need_not_be_woken():
    one = tree(fork(strand(1e6), strand(1e6 - DEAR.wake_ns + 1_000)))
    assert simulate(one, 2, DEAR).time_ns == pytest.approx(1e6 + 1_000)


def test_an_even_loop_is_divided_evenly():
    one = tree(loop(*[strand(20_000)] * 100, steps=10))
    assert gain(one, 4) == pytest.approx(4, rel=0.02)
    assert gain(one, 4, DEAR) == pytest.approx(4, rel=0.15)
    assert gain(tree(loop(*[strand(20_000)] * 100, steps=10, threads=2)), 4) == pytest.approx(2, rel=0.02)


def test_a_loop_whose_first_step_is_nothing_is_begun_alone():
    """As in the queens' loop: its first step tells nothing, so four more are done before a helper is called."""
    pieces = [strand(0), *[strand(10_000)] * 120]
    assert gain(tree(loop(*pieces)), 2) == pytest.approx(120 / (4 + 116 / 2), rel=0.01)


def test_equal_parts_of_an_uneven_loop_wait_for_the_longest():
    pieces = [strand(100_000), strand(100_000), *[strand(10_000)] * 2]
    assert gain(tree(loop(*pieces, schedule=STATIC)), 2) == pytest.approx(220 / 200)
    assert gain(tree(loop(*pieces, schedule=DYNAMIC, grain=1)), 2) == pytest.approx(2, rel=0.01)


def test_a_short_loop_stays_where_it_is():
    run = simulate(tree(loop(strand(4_000), strand(4_000))), 8, DEAR)
    assert (run.time_ns, run.wakes) == (pytest.approx(8_000), 0)


def test_workers_that_slow_each_other_down_gain_less():
    slow = Costs(0, 0, 0, 0, 0, 0, pair_speed=0.6)
    assert gain(tree(balanced(1, 1e6)), 2, slow) == pytest.approx(1.2)
    assert gain(tree(strand(1e6)), 2, slow) == 1


def test_any_tree_is_run_whole_by_any_number_of_workers():
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    for _ in range(150):
        one = tree(drawn(dice, 5), calls=dice.randrange(2))
        for workers in (1, 2, 3, 17):
            for costs in (FREE, DEAR):
                run = simulate(one, workers, costs, dice.randrange(1000))
                work = one.work_ns + one.forks * costs.fork_ns
                assert run.time_ns >= work / workers - 1e-6
                assert run.time_ns >= one.span_ns - 1e-6
                assert run.busy <= 1 + 1e-9
                if workers == 1:
                    assert run.time_ns == pytest.approx(one.burdened_work_ns(costs))


def test_a_run_is_repeated_by_its_seed_and_differs_by_it():
    one = tree(balanced(9, 3_000))
    assert simulate(one, 8, DEAR, 5) == simulate(one, 8, DEAR, 5)
    assert len({simulate(one, 8, DEAR, seed).time_ns for seed in range(8)}) > 1


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(filar.InvalidArgumentError, match="workers"):
        simulate(tree(strand(1)), 0, FREE)
    unknown = Costs(1, math.nan, math.nan, math.nan, math.nan, 1, math.nan)
    assert simulate(tree(strand(1)), 1, unknown).time_ns == 1
    with pytest.raises(filar.InvalidArgumentError, match="one CPU"):
        simulate(tree(strand(1)), 2, unknown)
    with pytest.raises(filar.InvalidArgumentError, match="steal_ns"):
        Costs(0, -1, 0, 0, 0, 0)


# ---- recordings ----


@pytest.fixture
def pool():
    with NativePool(2) as native:
        yield native


def test_a_kernel_is_recorded_and_predicted(pool):
    prediction = filar.predict(DEAR)
    values = np.random.default_rng(1).normal(size=1 << 15)
    expected = np.sort(values)
    for _ in range(2):
        mine = values.copy()
        with prediction:
            filar.kernels.merge_sort(mine, pool)
        assert (mine == expected).all()
    assert prediction.recordings == 2
    assert prediction.tree.forks >= 7
    assert prediction.totals.calls == 1
    assert prediction.work_ns >= prediction.span_ns > 0
    assert 1 <= prediction.parallelism <= 16
    assert prediction.speedup(1) == 1
    assert prediction.speedup(4) <= min(4, prediction.parallelism) * 1.001
    assert "parallelism" in prediction.summary()
    assert "<svg" in prediction.plot({1: 2.0, 2: 1.1}).svg()
    assert "<table" in prediction._repr_html_()


def test_a_loop_is_recorded_on_this_thread(pool):
    with filar.predict(DEAR, grain=1e-9) as prediction:
        filar.kernels.mandelbrot(64, 64, pool=pool)
        assert filar.kernels.nqueens(7, pool=pool) == 40
    assert prediction.totals.loops == 2
    assert pool.statistics().helpers == 0
    steps = [int(part["steps"]) for part in prediction.tree.parts if part["kind"] == LOOP]
    assert sorted(steps) == [49, 64]


def test_forks_that_are_too_fine_are_counted_and_told(pool):
    with filar.predict(DEAR) as prediction:
        assert filar.kernels.fib(18, pool=pool) == 2584
    assert prediction.tree.forks == 4180
    assert 0 <= prediction.totals.probe_share < 1
    with filar.predict(DEAR, parts=64) as small:
        assert filar.kernels.fib(18, pool=pool) == 2584
    assert len(small.tree.parts) <= 64
    assert small.tree.forks == 4180


def test_without_a_pool_kernels_are_their_serial_twins():
    with filar.predict(DEAR) as prediction:
        filar.kernels.fib(15)
    assert prediction.tree.forks == 0
    assert prediction.speedup(64) == pytest.approx(1)


def test_misuse_is_told(pool):
    prediction = filar.predict(DEAR)
    assert "nothing" in repr(prediction)
    for what in ("tree", "totals", "work_ns"):
        with pytest.raises(filar.WrongStateError, match="nothing has been recorded"):
            getattr(prediction, what)
    with pytest.raises(filar.WrongStateError):
        prediction.stop()
    with prediction:
        assert "being recorded" in repr(prediction)
        with pytest.raises(filar.WrongStateError):
            prediction.start()
        with pytest.raises(filar.BusyError):
            filar.predict().start()
        with ThreadPoolExecutor(1) as others, pytest.raises(filar.WrongStateError, match="by the thread that started"):
            others.submit(prediction.stop).result()
    with pytest.raises(filar.InvalidArgumentError, match="measured"):
        prediction.plot({2: 1.0})
    for wrong in ({"grain": 0}, {"grain": math.nan}):
        with pytest.raises(filar.InvalidArgumentError):
            filar.predict(**wrong)
    with pytest.raises(filar.InvalidArgumentError, match="parts_max"):
        filar.predict(parts=3).start()


def test_what_the_block_raises_is_raised_and_the_recording_kept():
    prediction = filar.predict(DEAR)
    with pytest.raises(KeyError), prediction:
        raise KeyError("no")
    assert prediction.recordings == 1


def test_on_a_green_thread_nothing_is_recorded():
    def body():
        with pytest.raises(filar.WrongStateError):
            filar.predict().start()
        return True

    assert filar.run(body)


def test_costs_are_measured_once():
    costs = measure_costs(0.02)
    assert costs.fork_ns >= 0
    if len(os.sched_getaffinity(0)) < 2:
        assert not costs.complete
    if costs.complete:
        assert measure_costs(0.02) is costs


# ---- the experiment ----

EXPERIMENT = lab.find("predicted-speedup")


def judged_rows(speedups, predicted=None, cores=2, taken=0.01, n=40, shaken=()):
    """`speedups` measured; `predicted`, or the same; shares `taken` off by calibration."""
    these = []
    for kernel, measured in speedups.items():
        foretold = (predicted or {}).get(kernel, measured)
        for workers, time in ((1, 4e6), (2, 4e6 / measured)):
            variant = EXPERIMENT.on(kernel, workers)
            made = row(variant, TIME, time, n=n, cores=cores)
            if kernel in shaken and workers == 2:
                made = Row(variant, TIME, "ns", np.r_[made.samples[:1], made.samples[1:] * 2], made.params)
            these.append(made)
            these.append(row(variant, "predicted time", 4e6 if workers == 1 else 4e6 / foretold, n=3, spread=0))
        recorded = EXPERIMENT.variant(kernel, "recorded")
        these.append(row(recorded, WORK, 4e6 * (1 - taken), cores=cores))
        these.append(row(recorded, SUBTRACTED, 4e6 * taken, cores=cores))
    return Rows(these)


SIX = dict.fromkeys(CHOSEN[:6], 1.9)


@pytest.mark.parametrize(
    ("predicted", "word"),
    [
        ({}, HOLDS),
        ({CHOSEN[0]: 1.9 * 1.13}, HOLDS),
        ({CHOSEN[0]: 1.9 * 1.3}, CONDITIONAL),
        (dict.fromkeys(CHOSEN, 1.2), FAILS),
    ],
)
def test_the_verdict_follows_the_error(predicted, word):
    verdict = EXPERIMENT.judge(judged_rows(SIX, predicted))
    assert verdict.word == word, verdict.reason
    if word == CONDITIONAL:
        assert CHOSEN[0] not in verdict.condition
        assert CHOSEN[1] in verdict.condition
    assert "at best" in verdict.headline
    assert "typically" in verdict.headline


def test_best_and_typical_rounds_are_both_told():
    verdict = EXPERIMENT.judge(judged_rows(SIX, shaken=CHOSEN[:2]))
    assert verdict.word == CONDITIONAL
    assert verdict.condition == f"the best rounds count, not the typical ones (of {CHOSEN[0]}, {CHOSEN[1]})"
    assert "0% at best" in verdict.headline
    assert "+100% typically" in verdict.headline
    one = EXPERIMENT.judged(judged_rows(SIX, shaken=CHOSEN[:1]))[CHOSEN[0]]
    assert (one.is_good, one.is_typical) == (True, False)


def test_nothing_is_decided_without_enough():
    assert EXPERIMENT.judge(judged_rows(SIX, cores=1)).word == UNDECIDED
    assert EXPERIMENT.judge(Rows()).word == UNDECIDED
    assert EXPERIMENT.judge(judged_rows(dict.fromkeys(CHOSEN[:4], 1.9))).word == UNDECIDED
    assert "too few rounds" in EXPERIMENT.judge(judged_rows(SIX, n=3)).reason
    fine = EXPERIMENT.judge(judged_rows(SIX, taken=0.5))
    assert fine.word == UNDECIDED
    assert "too finely" in fine.reason
    wrong = {CHOSEN[0]: 1.9 * 1.3}
    noisy = EXPERIMENT.judge(judged_rows(SIX, wrong, shaken=CHOSEN[:1]))
    assert noisy.word == UNDECIDED
    assert "a core each" in noisy.reason


def points(*trees):
    """Trees as the C lab records them."""
    kinds = np.dtype([("kind", "i4"), ("subject", "i4"), ("x", "f8"), ("y", "f8")])
    found = []
    for parts in trees:
        found.append((_ABOUT, 1, len(parts), 2_000.0))
        for part in parts:
            found.append((_PART, part[4], part[0], part[1]))
            found.append((_STEPS, part[7], part[2], 0))
    return np.array(found, kinds)


def test_the_last_tree_among_the_points_is_taken():
    first, last = sequence(strand(9), strand(1)), loop(strand(4, forks=2), strand(3), steps=5)
    found = tree_of(points(first, last))
    assert (found.work_ns, found.loops, found.forks, found.calls) == (7, 1, 2, 1)
    assert found.steps == [10, 5, 5]
    assert tree_of(points(first, last)[:-1]) is None
    assert tree_of(points()) is None


def test_costs_come_from_the_rows():
    figures = {"fork": -1, "steal": 2, "wake": 3, "return": 4, "loop": 5, "call": 6, "pair speed": 1.01}
    made = Rows([row(COSTS, name, value, spread=0) for name, value in figures.items()])
    assert costs_of(made) == Costs(0, 2, 3, 4, 5, 6, 1)
    assert costs_of(Rows(list(made)[1:])) is None


def test_it_runs_and_says_what_it_assumed():
    result = run_once("predicted-speedup")
    if len(os.sched_getaffinity(0)) < 2:
        assert result.verdict.word == UNDECIDED
        return
    assert not [note for note in result.notes if "not measured" in note]
    judged = EXPERIMENT.judged(result.rows)
    if any("could not be measured" in note for note in result.notes):
        # Beside very busy programs the other worker may never come in time.
        assert (judged, result.verdict.word) == ({}, UNDECIDED)
        return
    assert len(judged) >= 5
    # One round on a busy machine says nothing but that there is a figure.
    assert all(0 < one.predicted < math.inf for one in judged.values())
    assert any("Assumed" in note for note in result.notes)
    assert len(result.tables[0].rows) == len(judged)
    pictures = Result.from_dict(result.to_dict()).charts()
    assert len(pictures) == 1 + len(judged)
    assert all("<svg" in one.svg() and "no data" not in one.svg() for one in pictures)
