"""What more threads gain: verdicts follow the rows, on one CPU nothing is decided, every experiment runs for real."""

import os

import numpy as np
import pytest

from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Row, Rows
from filar.lab.fits import amdahl, usl
from filar.lab.result import Result
from filar.lab.speedups import (
    ALONE,
    FRAME,
    FREE,
    GRAINS,
    HOG,
    KERNELS,
    LOCK,
    OWN,
    PARTIES,
    PHASE,
    PINNED,
    QUIET,
    SCHEDULES,
    SERIAL_PERMILLE,
    SHAPES,
    TIME,
    speedup_curve,
    thread_counts,
)
from once import run_once
from rows import against, row

MS = 1_000_000
PARALLEL = (
    "speedup",
    "video-frames",
    "uneven-work",
    "loop-grain",
    "pool-pinning",
    "noisy-neighbour",
    "process-vs-thread-work",
)


def timed(variant, typical, metric=TIME, *, shaken=False, **params):
    """A row of times; `shaken`: its median is far above its floor, as beside other programs."""
    made = row(variant, metric, typical, **params)
    if not shaken:
        return made
    samples = np.r_[made.samples[:1], made.samples[1:] * np.linspace(1.5, 4, made.n - 1)]
    return Row(variant, metric, "ns", samples, params)


# ---- speedup ----


def kernel_rows(speedups, cores=2, counts=(1, 2, 4), shaken=False):
    one = lab.find("speedup")
    these = []
    for kernel, law in speedups.items():
        these.append(timed(one.variant(kernel, 0), 4 * MS, cores=cores, threads=1))
        for n in counts:
            gain = law(n) if callable(law) else min(n, 1.0) if n == 1 else law
            these.append(timed(one.variant(kernel, n), 4 * MS / gain, cores=cores, threads=n, shaken=shaken and n > 1))
    return Rows(these)


def all_kernels(computing, memory):
    return {name: memory if one.memory_bound else computing for name, one in KERNELS.items()}


@pytest.mark.parametrize(
    ("computing", "memory", "shaken", "word"),
    [
        (1.95, 1.9, False, HOLDS),
        (1.95, 1.2, False, CONDITIONAL),
        (1.05, 1.02, False, FAILS),
        (1.05, 1.02, True, UNDECIDED),
    ],
)
def test_speedup_is_judged_by_what_computes_and_what_waits_for_memory(computing, memory, shaken, word):
    verdict = lab.find("speedup").judge(kernel_rows(all_kernels(computing, memory), shaken=shaken))
    assert verdict.word == word
    if word == CONDITIONAL:
        assert "memory" in verdict.condition


def test_a_kernel_that_loses_far_more_than_others_could_take_is_decided():
    speedups = {**all_kernels(1.95, 1.9), "Fibonacci by forks": 0.3}
    verdict = lab.find("speedup").judge(kernel_rows(speedups, shaken=True))
    assert verdict.word == CONDITIONAL
    assert "arithmetic" in verdict.condition
    assert "Fibonacci" not in verdict.condition


def test_eight_cores_give_both_laws_in_table_chart_and_reason():
    def law(n):
        return float(usl(min(n, 8), 0.05, 0.002))

    rows = kernel_rows(all_kernels(law, law), cores=8, counts=thread_counts(8))
    one = lab.find("speedup")
    found = one.scalings(rows)["arithmetic"]
    assert found.usl is not None
    assert found.usl.values == pytest.approx((0.05, 0.002), abs=1e-3)
    line = one.table(rows).rows[0]
    assert any("contention 5 %" in str(cell) for cell in line)
    picture = speedup_curve("arithmetic", found, 8, "40 rounds").svg()
    for word in ("Amdahl", "USL", "ideal", "usable CPUs", "contention"):
        assert word in picture


def test_numbers_of_threads_grow_by_halves_and_reach_beyond_the_cores():
    assert thread_counts(1) == [1, 2]
    assert thread_counts(2) == [1, 2, 4]
    assert thread_counts(8) == [1, 2, 3, 4, 6, 8, 16]
    assert thread_counts(10) == [1, 2, 3, 4, 6, 8, 10, 20]
    assert thread_counts(200)[-3:] == [128, 192, 200]
    assert thread_counts(1000)[-2:] == [192, 256]


# ---- video-frames ----


def film_rows(gain, cores=2, shaken=False):
    one = lab.find("video-frames")
    these = []
    for permille in SERIAL_PERMILLE:
        share = permille / 1000
        for kind in (PHASE, LOCK):
            alone = MS / (1 - share)
            these.append(timed(one.variant(kind, permille, 0), alone, FRAME, cores=cores))
            divided = alone / (gain * float(amdahl(cores, share)))
            shaken_here = shaken and permille > 0
            these.append(timed(one.variant(kind, permille, cores), divided, FRAME, cores=cores, shaken=shaken_here))
    return Rows(these)


@pytest.mark.parametrize(
    ("gain", "shaken", "word"),
    [
        (0.98, False, HOLDS),
        (0.7, False, FAILS),
        (0.7, True, UNDECIDED),
        (1.3, False, FAILS),
        (0.5, False, UNDECIDED),
    ],
)
def test_a_film_is_judged_by_amdahls_law(gain, shaken, word):
    assert lab.find("video-frames").judge(film_rows(gain, shaken=shaken)).word == word


# ---- uneven-work ----


def uneven_rows(static, other=1.9, cores=2, shaken=False):
    these = []
    for shape, gain in zip(SHAPES, static, strict=True):
        these.append(timed(f"{shape}, {ALONE}", 4 * MS, cores=cores))
        for name in SCHEDULES:
            speedup = gain if name == "equal parts" else other
            these.append(timed(f"{shape}, {name}", 4 * MS / speedup, cores=cores, shaken=shaken))
    return Rows(these)


@pytest.mark.parametrize(
    ("static", "other", "shaken", "word"),
    [
        ((1.95, 1.3, 1.3), 1.9, False, CONDITIONAL),
        ((1.95, 1.9, 1.9), 1.9, False, HOLDS),
        ((1.3, 1.3, 1.3), 1.9, False, FAILS),
        ((1.3, 1.3, 1.3), 1.9, True, UNDECIDED),
        ((1.0, 1.0, 1.0), 1.0, False, UNDECIDED),
    ],
)
def test_equal_parts_are_judged_on_even_and_uneven_work(static, other, shaken, word):
    assert lab.find("uneven-work").judge(uneven_rows(static, other, shaken=shaken)).word == word


def test_more_cores_than_a_loop_has_threads_are_not_asked_for():
    assert lab.find("uneven-work").judge(uneven_rows((61, 60, 60), 62, cores=128)).word == HOLDS


# ---- loop-grain ----


def grain_rows(fine, coarse, alone=1.9):
    these = [timed(ALONE, alone * MS, cores=2), timed(OWN, MS, cores=2)]
    for place, grain in enumerate(GRAINS):
        factor = fine if place == 0 else coarse if place == len(GRAINS) - 1 else 1.0
        these.append(timed(f"pieces of {grain:,}", factor * MS, cores=2, grain=grain))
    return Rows(these)


@pytest.mark.parametrize(
    ("fine", "coarse", "alone", "word"),
    [
        (1.5, 1.9, 1.9, HOLDS),
        (1.02, 1.9, 1.9, CONDITIONAL),
        (1.02, 1.02, 1.9, FAILS),
        (1.5, 1.05, 1.9, CONDITIONAL),
        (1.5, 1.9, 1.0, UNDECIDED),
    ],
)
def test_grains_are_judged_by_both_ends_of_the_curve(fine, coarse, alone, word):
    assert lab.find("loop-grain").judge(grain_rows(fine, coarse, alone)).word == word


# ---- pinning and neighbours ----


@pytest.mark.parametrize(
    ("computing", "memory", "word"),
    [(1.2, 1.3, HOLDS), (1.0, 1.3, CONDITIONAL), (1.0, 0.9, FAILS), (1.03, 1.03, UNDECIDED)],
)
def test_pinning_is_judged_by_what_free_workers_lose(computing, memory, word):
    these = []
    for work, factor in (("computing", computing), ("over an array", memory)):
        these.append(timed(f"{work}, {PINNED}", MS, cores=2))
        these.append(against(timed(f"{work}, {FREE}", factor * MS, cores=2), word == UNDECIDED))
    assert lab.find("pool-pinning").judge(Rows(these)).word == word


@pytest.mark.parametrize(
    ("slow", "fast", "word"),
    [(40, 0, HOLDS), (25, 0, HOLDS), (0, 0, FAILS), (40, 40, UNDECIDED), (12, 0, UNDECIDED), (0, 60, FAILS)],
)
def test_rounds_that_the_kernel_spoils_count_though_the_median_does_not_see_them(slow, fast, word):
    """Of 100 rounds so many take twice or half as long on free workers; the rest are all alike."""
    factors = np.r_[np.full(slow, 2.0), np.full(fast, 0.5), np.ones(100 - slow - fast)]
    these = []
    for work in ("computing", "over an array"):
        pinned = timed(f"{work}, {PINNED}", MS, cores=2, n=100)
        free = Row(f"{work}, {FREE}", TIME, "ns", pinned.samples * factors, pinned.params)
        these += [pinned, free]
    verdict = lab.find("pool-pinning").judge(Rows(these))
    assert verdict.word == word
    assert f"{slow} %" in verdict.headline


def test_a_gain_in_some_rounds_is_called_so():
    pinned = timed(f"computing, {PINNED}", MS, cores=2, n=100)
    free = Row(f"computing, {FREE}", TIME, "ns", pinned.samples * np.r_[np.full(45, 2.0), np.ones(55)], pinned.params)
    array = [timed(f"over an array, {where}", MS, cores=2, n=100) for where in (PINNED, FREE)]
    verdict = lab.find("pool-pinning").judge(Rows([pinned, free, *array]))
    assert verdict.word == CONDITIONAL
    assert verdict.condition == "it is computing, in some rounds"


@pytest.mark.parametrize(
    ("static", "other", "word"),
    [(2.0, 1.35, CONDITIONAL), (1.35, 1.35, HOLDS), (2.5, 2.2, FAILS), (1.667, 1.667, UNDECIDED)],
)
def test_a_neighbour_is_judged_by_its_share(static, other, word):
    one = lab.find("noisy-neighbour")
    these = []
    for name in one.schedules:
        for where in (PINNED, FREE):
            factor = static if name == "equal parts" else other
            these.append(timed(f"{name}, {where}, {QUIET}", 4 * MS, cores=2))
            these.append(against(timed(f"{name}, {where}, {HOG}", factor * 4 * MS, cores=2), word == UNDECIDED))
    assert one.judge(Rows(these)).word == word


def test_the_condition_of_a_neighbour_names_the_placement_where_that_is_all():
    one = lab.find("noisy-neighbour")
    these = []
    for name in one.schedules:
        for where, factor in ((PINNED, 1.3), (FREE, 1.9)):
            these.append(timed(f"{name}, {where}, {QUIET}", 4 * MS, cores=2))
            these.append(timed(f"{name}, {where}, {HOG}", factor * 4 * MS, cores=2))
    assert one.judge(Rows(these)).condition == "the workers are pinned"


# ---- processes ----


@pytest.mark.parametrize(
    ("light", "heavy", "word"),
    [(1.5, 1.02, CONDITIONAL), (1.5, 1.5, HOLDS), (1.0, 1.0, FAILS), (1.1, 1.1, UNDECIDED)],
)
def test_processes_are_judged_by_the_work_for_each_byte(light, heavy, word):
    one = lab.find("process-vs-thread-work")
    these = []
    for passes, factor in ((1, light), (64, heavy)):
        for party in PARTIES:
            time = passes * MS * (1 if party == ALONE else 0.55 * (factor if "sent" in party else 1))
            made = timed(one.variant(party, passes), time, cores=2, passes=passes)
            these.append(against(made, word == UNDECIDED and "sent" in party))
    assert one.judge(Rows(these)).word == word


# ---- all of them ----


@pytest.mark.parametrize("name", PARALLEL)
def test_on_one_cpu_nothing_is_measured_and_nothing_decided(name, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    result = run_once(name)
    assert len(result.rows) == 0
    assert result.verdict.word == UNDECIDED
    assert "second CPU" in result.verdict.reason
    assert "second CPU" in result.notes[0]
    assert all("<svg" in one.svg() for one in lab.find(name).charts(result))


@pytest.mark.parametrize("name", PARALLEL)
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_every_experiment_runs_for_real(name):
    result: Result = run_once(name)
    assert len(result.rows)
    assert all(one.unit == "ns" and np.isfinite(one.samples).all() and one.min > 0 for one in result.rows)
    assert {one.params["cores"] for one in result.rows} == {len(os.sched_getaffinity(0))}
    charts = lab.find(name).charts(result)
    assert charts
    assert all("<svg" in one.svg() and "no data" not in one.svg() for one in charts)
