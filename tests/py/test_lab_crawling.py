"""Crawling: verdicts follow the rows; both experiments run for real."""

import numpy as np
import pytest

from filar import lab
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows
from filar.lab.bench import Bench
from filar.lab.crawling import MODES
from filar.lab.safety import Safety
from once import run_once
from rows import row

MS = 1_000_000


def crawl_rows(plain, yields=1.0, lock=1.0, working_set=1.0, most=4096):
    these = [row("1 thread", "work", 200 * MS, threads=1, mode=0, cores=2)]
    for (mode, code), ratio in zip(MODES.items(), (plain, yields, lock, working_set), strict=True):
        for threads, factor in ((2, 1.0), (most, ratio)):
            name = f"{threads:,} threads" + ("" if mode == "plain" else f", {mode}")
            these.append(row(name, "work", 100 * MS * factor, threads=threads, mode=code, cores=2))
            these.append(row(name, "creation", 30_000 * threads, threads=threads, mode=code, cores=2))
    return Rows(these)


@pytest.mark.parametrize(
    ("plain", "yields", "lock", "word", "condition"),
    [
        (1.24, 1.2, 1.1, FAILS, ""),
        (1.24, 3.4, 3.3, CONDITIONAL, "they yield often or they share a lock"),
        (1.24, 3.4, 1.2, CONDITIONAL, "they yield often"),
        (2.3, 2.4, 1.2, CONDITIONAL, "each thread has less than about 62.2 µs of work"),
        (2.3, 3.4, 1.2, CONDITIONAL, "each thread has less than about 62.2 µs of work or they yield often"),
        (30.0, 30.0, 30.0, HOLDS, ""),
    ],
)
def test_crawling_depends_on_the_kind_of_work(plain, yields, lock, word, condition):
    verdict = lab.find("crawl").judge(crawl_rows(plain, yields, lock))
    assert (verdict.word, verdict.condition) == (word, condition)
    assert f"{plain:.2f} times" in verdict.reason


def test_crawling_is_not_decided_by_a_few_hundred_threads():
    assert lab.find("crawl").judge(crawl_rows(4.0, most=512)).word == UNDECIDED


def latency_rows(work, wait, late):
    few, many = "2 busy threads", "256 busy threads"
    return Rows(
        [
            row("nothing else", "tick late", 60_000, hogs=0),
            row(few, "tick late", 60_000, hogs=2),
            row(many, "tick late", late, hogs=256),
            row(few, "longest wait", 1.3 * MS, hogs=2),
            row(many, "longest wait", wait, hogs=256),
            row(few, "throughput", 4e6, unit="1/s", hogs=2),
            row(many, "throughput", 4e6 * work, unit="1/s", hogs=256),
        ]
    )


@pytest.mark.parametrize(
    ("work", "wait", "late", "word", "about"),
    [
        (0.98, 1216 * MS, 3 * MS, CONDITIONAL, "waiting counts"),
        (0.98, 2 * MS, 779 * MS, CONDITIONAL, "waiting counts"),
        (0.2, 1216 * MS, 779 * MS, HOLDS, ""),
        (0.2, 2 * MS, 70_000, CONDITIONAL, "total work done counts"),
        (0.98, 2 * MS, 70_000, FAILS, ""),
    ],
)
def test_latency_and_throughput_are_judged_apart(work, wait, late, word, about):
    verdict = lab.find("crawl-latency").judge(latency_rows(work, wait, late))
    assert verdict.word == word
    assert about in verdict.condition


def test_latency_needs_more_than_one_number_of_threads():
    assert lab.find("crawl-latency").judge(Rows([row("2 busy threads", "longest wait", 1, hogs=2)])).word == UNDECIDED


@pytest.mark.parametrize("name", ["crawl", "crawl-latency"])
@pytest.mark.parametrize("quick", [True, False])
def test_no_more_threads_and_memory_than_are_safe(name, quick):
    experiment = lab.find(name)
    safety = Safety.now(seconds_max=10)
    tight = type(safety)(**{**vars(safety), "threads_max": 100, "memory_bytes_max": 1 << 20})
    ways = experiment.ways(Bench(quick=quick, budget=experiment.quick, safety=tight))
    assert ways
    assert max(way.params.get("threads", way.params.get("hogs", 0)) for way in ways) <= 100
    assert sum(way.params.get("working_bytes", 0) > 0 and way.params["threads"] > 64 for way in ways) == 0
    assert len({way.variant for way in ways}) == len(ways)


def test_crawl_runs_for_real():
    result = run_once("crawl")
    assert {"work", "creation", "join"} == {each.metric for each in result.rows}
    assert all(each.unit == "ns" and np.isfinite(each.samples).all() and each.min > 0 for each in result.rows)
    if result.verdict.word == UNDECIDED:
        # Too few threads were safe here, or other programs held the cores: either is said.
        assert any("safely" in note for note in result.notes) or "cores were not free" in result.verdict.reason
    assert all("<svg" in one.svg() for one in lab.find("crawl").charts(result))


def test_crawl_latency_runs_for_real():
    result = run_once("crawl-latency")
    waits = result.rows.find("64 busy threads", "longest wait")
    assert waits is not None
    assert waits.n % 64 == 0
    assert waits.min > 0
    assert {"tick late", "longest wait", "throughput", "control back late"} == {each.metric for each in result.rows}
    assert all(np.isfinite(each.samples).all() for each in result.rows)
    assert all("<svg" in one.svg() for one in lab.find("crawl-latency").charts(result))
