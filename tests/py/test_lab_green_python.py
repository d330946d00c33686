"""Python on green threads beside other models: verdicts follow the rows, every model does every order for real."""

import importlib.util
import os

import numpy as np
import pytest

from filar import lab
from filar.errors import FilarError
from filar.lab import green_python, model_choice
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Budget, Rows, Way
from filar.lab.bench import Bench
from filar.lab.green_python import (
    FILAR_CHANNEL,
    FILAR_QUEUE,
    KERNEL,
    REAL,
    THREADS_ONE_CPU,
    THREADS_SIMPLE,
    TURNS_MAX,
    Order,
    at_once,
    fitted,
    parked,
    ready,
    tasks_of,
)
from filar.lab.interpreters import Model, models
from filar.lab.model_choice import (
    ASYNCIO,
    BLOCK,
    COSTS,
    GREEN_ALL,
    GREEN_BLOCKS,
    GREEN_CALM,
    GREEN_HANDED,
    GREEN_HOG,
    GREEN_PREEMPTED,
    PY_KERNEL,
    SHORT,
    THREADS_HOG,
    WAIT,
    choice_table,
    choices,
)
from filar.lab.pymodels import (
    CHANNEL,
    CPU,
    KERNEL_STACK,
    MODELS,
    MS,
    RESIDENT,
    SPAWN,
    SWITCH,
    SWITCHES,
    WALL,
    WORK,
    WORST,
)
from filar.lab.pymodels import MEMORY as EACH
from filar.lab.pyrounds import run_rounds, timed, way_task
from once import check_once
from rows import row

EXPERIMENTS = (
    "py-switch",
    "py-spawn",
    "py-memory",
    "py-channel",
    "py-blocking",
    "py-preemption",
    "async-models",
    "which-thread",
)


def small_bench():
    return Bench(quick=True, budget=Budget(seconds=0.01, rounds_max=1, rounds_min=1))


# ---- verdicts ----


def costs(metric, kernel, ours, **options):
    """A row of kernel threads and those of filar by name."""
    return Rows(
        [
            row("kernel", metric, kernel, kind=KERNEL, **options),
            *(row(name, metric, value, kind="green threads", **options) for name, value in ours.items()),
        ]
    )


@pytest.mark.parametrize(
    ("few", "many", "word"),
    [(100, 300, HOLDS), (100, 5_000, CONDITIONAL), (9_000, 5_000, FAILS), (3_000, 3_000, UNDECIDED)],
)
@pytest.mark.parametrize(
    ("name", "metric", "variants"),
    [
        ("py-switch", SWITCH, (ready("filar", 2), ready("filar", 1_000))),
        ("py-spawn", SPAWN, (at_once("filar", 1), at_once("filar", 1_000))),
        ("py-channel", CHANNEL, (FILAR_CHANNEL, FILAR_QUEUE)),
    ],
)
def test_green_threads_are_judged_against_kernel_threads_at_their_best(name, metric, variants, few, many, word):
    verdict = lab.find(name).judge(costs(metric, 3_000, dict(zip(variants, (few, many), strict=True))))
    assert verdict.word == word
    if word == CONDITIONAL:
        assert variants[0] in verdict.condition


def test_what_is_missing_and_what_has_too_few_rounds_are_told_apart():
    judge = lab.find("py-switch").judge
    both = {ready("filar", 2): 100.0, ready("filar", 1_000): 300.0}
    few = judge(costs(SWITCH, 3_000, both, n=3))
    assert few.word == UNDECIDED
    assert "3" in few.reason
    assert "6" in few.reason
    assert "not measured" not in few.reason
    assert "kernel threads" in judge(Rows(costs(SWITCH, 3_000, both).of_metric(SWITCH)[1:])).reason
    assert "green threads" in judge(costs(SWITCH, 3_000, {})).reason


@pytest.mark.parametrize(("green", "word"), [(9_000, HOLDS), (30_000, FAILS)])
def test_much_less_memory_is_half_or_less(green, word):
    name = parked("filar", 2_000)
    rows = costs(REAL, 36_000, {name: green}, unit="B")
    verdict = lab.find("py-memory").judge(rows)
    assert verdict.word == word
    assert name in verdict.reason
    assert lab.find("py-memory").judge(Rows()).word == UNDECIDED


def test_kernel_stacks_count_for_kernel_threads_only():
    parts = [
        row("threading, 200 parked", RESIDENT, 20_000, unit="B", kind=KERNEL),
        row("threading, 200 parked", KERNEL_STACK, 16_000, unit="B", kind=KERNEL),
        row("filar, 2,000 parked", RESIDENT, 9_000, unit="B", kind="green threads"),
        row("filar, 2,000 parked", KERNEL_STACK, 500, unit="B", kind="green threads"),
    ]
    real = green_python.PyMemory.real(Rows(parts))
    assert [round(one.median) for one in real] == [36_000, 9_000]


def gaps(waits, work=None):
    rows = [row(name, WORST, value, window_ns=120 * MS) for name, value in waits.items()]
    return Rows(rows + [row(name, WORK, value, unit="1/s") for name, value in (work or {}).items()])


@pytest.mark.parametrize(("wait", "work", "word"), [(20 * MS, 300, HOLDS), (0.3 * MS, 29_000, FAILS)])
def test_one_that_blocks_is_judged_by_the_waits_and_the_work_of_the_others(wait, work, word):
    waits = {GREEN_CALM: 0.3 * MS, GREEN_BLOCKS: wait, GREEN_HANDED: 1.5 * MS}
    verdict = lab.find("py-blocking").judge(gaps(waits, {GREEN_CALM: 30_000, GREEN_BLOCKS: work}))
    assert verdict.word == word
    assert "1.5 ms" in verdict.headline
    assert lab.find("py-blocking").judge(Rows()).word == UNDECIDED


@pytest.mark.parametrize(
    ("hog", "kernel", "preempted", "calm", "word"),
    [
        (120 * MS, 38 * MS, None, 0.3 * MS, HOLDS),
        (120 * MS, 110 * MS, 40 * MS, 0.3 * MS, HOLDS),
        (120 * MS, 60 * MS, None, 0.3 * MS, UNDECIDED),
        (120 * MS, 110 * MS, None, 0.3 * MS, FAILS),
        (120 * MS, 110 * MS, None, 20 * MS, UNDECIDED),
        (30 * MS, 38 * MS, None, 0.3 * MS, FAILS),
    ],
)
def test_one_that_never_yields_is_judged_beside_what_is_preempted(hog, kernel, preempted, calm, word):
    waits = {GREEN_ALL: calm, GREEN_HOG: hog, THREADS_HOG: kernel}
    if preempted is not None:
        waits[GREEN_PREEMPTED] = preempted
    assert lab.find("py-preemption").judge(gaps(waits)).word == word


@pytest.mark.parametrize(
    ("kernel", "word"),
    [
        ({WALL: 190, CPU: 120, EACH: 40, SWITCHES: 12_000}, HOLDS),
        ({WALL: 10, CPU: 120, EACH: 40, SWITCHES: 12_000}, CONDITIONAL),
        ({WALL: 10, CPU: 4, EACH: 0.3, SWITCHES: 1}, FAILS),
    ],
)
def test_asyncio_is_judged_by_time_cpu_memory_and_switches(kernel, word):
    asyncio = {WALL: 30, CPU: 13, EACH: 1.4, SWITCHES: 5}
    rows = Rows(
        row(name, metric, found[metric], tasks=1_000)
        for name, found in ((ASYNCIO, asyncio), (PY_KERNEL, kernel))
        for metric in COSTS
    )
    verdict = lab.find("async-models").judge(rows)
    assert verdict.word == word
    assert "1,000" in verdict.headline


def job_rows(times, spread=0.02):
    return Rows(
        row(f"{job}: {kind}", WALL, value * MS, spread=spread, job=job, kind=kind)
        for job, kinds in times.items()
        for kind, value in kinds.items()
    )


def test_the_table_of_kinds_follows_the_rows():
    rows = job_rows(
        {
            WAIT: {"kernel threads": 80, "green threads": 8, "asyncio": 8.1},
            BLOCK: {"no threads": 80, "kernel threads": 6, "green threads": 7},
        }
    )
    wait, block = choices(rows)
    assert wait.as_good == ("green threads", "asyncio")
    assert (wait.then, round(wait.times)) == ("kernel threads", 10)
    assert (block.best, block.then, round(block.inline)) == ("kernel threads", "green threads", 13)
    assert lab.find("which-thread").judge(rows).word == HOLDS
    table = choice_table(rows)
    assert [line[1] for line in table.rows] == ["green threads or asyncio", "kernel threads"]


def test_one_kind_that_is_best_at_everything_refutes_the_claim_and_noise_does_not():
    best = {"green threads": 5, "kernel threads": 9}
    judge = lab.find("which-thread").judge
    assert judge(job_rows({WAIT: best, BLOCK: best})).word == FAILS
    equal = {"green threads": 5, "kernel threads": 5}
    noisy = job_rows({WAIT: equal, BLOCK: equal})
    jitter = np.random.default_rng(4)
    shaken = Rows(
        row_
        for one in noisy
        for row_ in [
            type(one)(one.variant, one.metric, one.unit, one.samples * jitter.uniform(0.5, 2, one.n), one.params)
        ]
    )
    assert judge(shaken).word == UNDECIDED
    assert judge(Rows()).word == UNDECIDED


def test_where_all_but_one_are_as_good_the_table_names_that_one():
    rows = job_rows({SHORT: {"a": 5, "b": 5, "c": 5, "d": 50}})
    (found,) = choices(rows)
    assert found.words == "any but d"
    (found,) = choices(job_rows({SHORT: {"a": 5, "b": 5, "c": 5}}))
    assert found.words == "no difference"


# ---- models ----

THERE = [name for name in ("greenlet", "gevent") if importlib.util.find_spec(name)]
GAPS = {"tasks": 3, "window_ns": 3 * MS, "block_ns": MS, "unit_steps": 50}
SCRIPT = {"tasks": 5, "sleeps": 2, "sleep_ns": 100_000}


def orders_of(name):
    """What the model is asked in any experiment, as small as it gets: order, and the metrics it answers with."""
    found = {
        "switch": ({"turns": 3, **({} if name in ("threads", "floor") else {"ready": 2})}, {SWITCH}),
        "direct": ({"turns": 3}, {SWITCH}),
        "create": ({"turns": 2, "at_once": 2}, {SPAWN}),
        "channel": ({"turns": 3}, {CHANNEL}),
        "park": ({"tasks": 3, "fork": True}, {RESIDENT, KERNEL_STACK}),
        "gaps": ({**GAPS, "trouble": "block"}, {WORST, WORK, "strip"}),
        "waiting": ({**SCRIPT, "fork": True}, {WALL, CPU, EACH, SWITCHES}),
        "callbacks": (SCRIPT, {WALL, CPU, EACH, SWITCHES}),
    }
    return {do: order for do, order in found.items() if hasattr(MODELS[name], do)}


@pytest.mark.parametrize("name", ["filar", "threads", "asyncio", "floor", *THERE])
def test_a_model_does_every_order_and_answers_in_metrics(name):
    with models([name]) as (found, notes):
        assert not notes
        for do, (order, metrics) in orders_of(name).items():
            answer = found[name].ask(do, **order)
            # On a busy machine the first thread may have ended before the last one is there to be counted.
            assert metrics - {EACH} <= set(answer) <= metrics
            assert all(np.isfinite(value).all() for key, value in answer.items() if key != "strip")
        pid = found[name]._process.pid
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


@pytest.mark.parametrize("kind", ["inline", "threads", "pool", "green", "asyncio"])
def test_every_kind_does_the_jobs_it_can(kind):
    with models(["mixed"]) as (found, notes):
        assert not notes
        ask = found["mixed"].ask
        for do, order in (
            ("compute", {"parts": 2, "steps": 100}),
            ("native", {"parts": 2, "steps": 100}),
            ("block", {"tasks": 2, "sleep_ns": 1_000}),
            ("short", {"tasks": 3, "steps": 10}),
            ("wait", {"tasks": 3, "sleep_ns": 1_000}),
            *([("handoff", {"items": 3})] if kind in ("threads", "green", "asyncio") else []),
        ):
            assert ask(do, kind=kind, **order)[WALL] > 0


def test_a_model_that_is_not_installed_or_cannot_do_an_order_is_a_sentence(monkeypatch):
    monkeypatch.setitem(MODELS, "nothing", None)  # here, not in the process: there it is an error
    with models(["nothing", "filar"]) as (found, notes):
        assert list(found) == ["filar"]
        assert "nothing: not measured" in notes[0]
        with pytest.raises(FilarError, match="no attribute 'dance'"):
            found["filar"].ask("dance")
        assert SWITCH in found["filar"].ask("switch", ready=2, turns=1)
        said: list[str] = []
        orders = [Order(f"{one}, dancing", one, "dance", per="turns") for one in ("filar", "runloom")]
        assert tasks_of(found, orders, {SWITCH: "ns"}, said, MS) == []
        assert said == ["filar, dancing: not measured, AttributeError: 'Filar' object has no attribute 'dance'."]


def test_a_missing_module_is_told_by_its_name():
    if importlib.util.find_spec("runloom_c"):
        pytest.skip("runloom is here")
    with models(["runloom"]) as (found, notes):
        assert not found
        assert notes == ["runloom: not measured, runloom is not installed."]


@pytest.mark.parametrize(
    ("each_ns", "target_ns", "turns"),
    [(150, 1_000, 3), (150, 10 * MS, 33_333), (0, 10 * MS, 1 << 17), (10 * MS, 1_000, 1)],
)
def test_an_order_is_fitted_to_the_time_it_should_take(each_ns, target_ns, turns):
    class Steady:
        """A model whose operations take what they are said to take."""

        def ask(self, do, **order):
            assert order["turns"] <= TURNS_MAX
            return {SWITCH: each_ns}

    order = Order("generator", "floor", "switch", per="turns", operations=2)
    assert fitted(Steady(), order, SWITCH, target_ns)["turns"] == turns


def test_a_model_that_says_nonsense_or_nothing_is_an_error():
    one = Model("floor")
    try:
        one.begin()
        one._process.kill()
        one._process.wait()
        with pytest.raises((FilarError, OSError)):
            one.ask("switch", turns=1)
    finally:
        one.close()


# ---- tasks of any kind, side by side ----


def test_python_calls_and_ways_in_c_take_turns_in_one_measurement():
    bench = small_bench()
    calls = []
    tasks = [timed("a call", lambda: calls.append(1), size=3), way_task(bench, Way("green", "green-yield"))]
    measured = run_rounds(bench, tasks, rounds_max=3, rounds_min=3)
    assert not measured.notes
    call, green = measured.rows.find("a call", "per call"), measured.rows.find("green", "one way")
    assert call is not None
    assert green is not None
    assert (call.n, call.unit, call.params["size"]) == (3, "ns", 3)
    assert (green.n, green.unit) == (3, "ns")
    assert len(calls) >= 4 * call.params["batch"]


def test_a_way_that_cannot_run_is_a_note_among_tasks():
    bench = small_bench()
    measured = run_rounds(bench, [way_task(bench, Way("none", "green-yield", {"ready": 0}))])
    assert len(measured.rows) == 0
    assert measured.notes[0].startswith("none: ")


def test_without_a_warm_up_the_first_round_counts():
    calls = []
    task = green_python.Task("a", lambda: calls.append(1) or {"x": 1.0}, {"x": "ns"})
    run_rounds(small_bench(), [task], warmup_rounds=0)
    assert len(calls) == 1


# ---- for real ----


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_run_for_real_and_leave_nothing(name):
    result = check_once(name)
    assert {one.unit for one in result.rows} <= {"ns", "B", "count", "1/s"}
    # Memory is a difference: where the kernel has taken pages away meanwhile it is below nothing.
    assert all(one.min >= 0 for one in result.rows if one.unit != "B")
    variants = " ".join(result.rows.variants())
    assert "filar" in variants or "green" in variants
    assert "thread" in variants
    assert THREADS_ONE_CPU in variants or name != "py-switch"
    assert THREADS_SIMPLE in variants or name != "py-channel"
    assert all(row_.params.get("kind", "x") for row_ in result.rows)
    if name in ("py-blocking", "py-preemption"):
        assert {one.name for one in result.series} == set(result.rows.variants())
    assert isinstance(lab.Result.from_dict(result.to_dict()), lab.Result)


def test_the_family_is_told_as_one():
    names = [one.name for one in lab.experiments().values() if one.family == green_python.FAMILY]
    assert names == list(EXPERIMENTS)
    assert isinstance(lab.find("which-thread"), model_choice.WhichThread)
