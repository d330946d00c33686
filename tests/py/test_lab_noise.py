"""A figure that other work spoilt decides nothing: each judge says so from the rows, and has a headline for it."""

import numpy as np
import pytest

from filar import lab
from filar.lab import scheduling, sharing, stats, switching
from filar.lab.base import CONDITIONAL, FAILS, HEADLINE_MAX, HOLDS, UNDECIDED, Row, Rows
from rows import row

MS = 1_000_000
MIB = 1024 * 1024


def wide(variant, metric, low, high, unit="ns", **params):
    """A row whose interval reaches from `low` to `high`, in pairs that make ratios as wide."""
    return Row(variant, metric, unit, np.tile([low, high], 20).astype(float), params)


def spoilt(variant, metric, typical, floor, unit="ns", **params):
    """A row with one undisturbed sample."""
    return Row(variant, metric, unit, np.r_[floor, np.full(39, float(typical))], params)


def judged(name, these):
    verdict = lab.find(name).judge(Rows(these))
    assert 0 < len(verdict.headline) <= HEADLINE_MAX, verdict
    assert not verdict.headline.endswith((".", "…"))
    assert not verdict.reason.endswith(".")
    assert len(verdict.reason) < 300
    assert verdict.headline not in lab.find(name).claim.text
    return verdict


def switch(futex, user, across=None):
    these = [row("swapcontext, one thread", "one way", user), futex]
    return these + ([across] if across is not None else [])


def share(variant, value, got=100.0, **params):
    cpu = 200 * MS * got / 100
    return [
        row(variant, "share of A", value, unit="percent", spread=0, n=3, window_ns=200 * MS, **params),
        row(variant, "CPU of A", cpu * value / 100, spread=0, n=3, window_ns=200 * MS, **params),
        row(variant, "CPU of B", cpu * (1 - value / 100), spread=0, n=3, window_ns=200 * MS, **params),
    ]


def shares_by_threads(same, sessions, got_same=100.0, got_sessions=100.0):
    return [
        *share("k = 4, same session", same, got_same, threads=4, apart=0),
        *share("k = 4, own sessions", sessions, got_sessions, threads=4, apart=1),
    ]


def shares_by_nice(values, got=100.0):
    return [each for nice, value in values.items() for each in share(f"nice {nice}", value, got, nice=nice)]


def slices(turns, got):
    return [
        row("2 threads", "turns per thread", turns, unit="count", threads=2),
        row("2 threads", "run", 4 * MS, threads=2),
        row("2 threads", "wait", 4 * MS, threads=2),
        row("2 threads", scheduling.CORE_GOT, got, unit="percent", threads=2),
    ]


def at_once(one, full, more, taken, quota=None):
    these = [
        row(scheduling.threads_words(k), "running at once", value, unit="count", spread=0, threads=k, cores=2)
        for k, value in {1: one, 2: full, 8: more}.items()
    ]
    these.append(row("other programs", "CPU taken", taken, unit="percent", n=1, spread=0))
    if quota is not None:
        these.append(row("this process", "CPU quota", quota, unit="count", n=1, spread=0))
    return these


def crawl(base, top, alone=200):
    return [
        row("1 thread", "work", alone * MS, threads=1, mode=0, cores=2),
        row("2 threads", "work", base * MS, threads=2, mode=0, cores=2),
        row("4,096 threads", "work", top * MS, threads=4096, mode=0, cores=2),
    ]


def latency(few, many, kept=1.0):
    return [
        row("nothing else", "tick late", 60_000, hogs=0),
        row("256 busy threads", "tick late", 70_000, hogs=256),
        row("2 busy threads", "longest wait", few * MS, hogs=2),
        row("256 busy threads", "longest wait", many * MS, hogs=256),
        row("2 busy threads", "throughput", 4e6, unit="1/s", hogs=2),
        row("256 busy threads", "throughput", kept * 4e6, unit="1/s", hogs=256),
    ]


def sleeps(lazy, keen, plain=4 * MS, fifo=9_000):
    return [
        *(row("50 µs, slack 50 µs", metric, lazy) for metric in ("late", "late, typical of a sample")),
        *(row("50 µs, slack 1 ns", metric, keen) for metric in ("late", "late, typical of a sample")),
        row("50 µs, slack 1 ns, 8 busy", "late", plain),
        row("50 µs, FIFO, 8 busy", "late", fifo),
    ]


def ticks(calm, thread):
    return [
        row("no calculation", "tick late", calm, calculators=0),
        row("inline", "tick late", 50 * MS, calculators=0, inline=1),
        row("on a thread", "tick late", thread),
    ]


def lock(both, own_both):
    return [
        row("plain, uncontended", "per operation", 1),
        row("pthread, uncontended", "per operation", 20),
        both,
        row("per-thread counter, 1 thread", "per operation", 1),
        row("per-thread counter, 2 threads", "per operation", own_both),
    ]


def lines(atomic, plain, alone=6.0, padded=3.0):
    return [
        row("atomic, one thread", "per operation", alone),
        row("atomic, same line", "per operation", atomic),
        row("atomic, padded", "per operation", padded),
        plain,
        row("plain, padded", "per operation", 1),
    ]


def handing(shared, pipe):
    figures = {sharing.POINTER: (100_000, 100_000), sharing.SHARED: shared, sharing.PIPE: pipe}
    figures[sharing.SOCKET] = (500_000, 500_000)
    return [
        wide(f"{kind}, two cores, 1 MiB", "round trip", *ends, bytes=MIB) for kind, ends in figures.items()
    ]  # fmt: skip


def creating(vfork):
    return [
        row("thread, as it is", "create+join", 10_000),
        row("fork, as it is", "create+join", 150_000),
        wide("vfork, as it is", "create+join", *vfork),
    ]


def reusing(far):
    return [
        row("create, hot", "round trip", 10_000),
        row("reuse on one core, hot", "round trip", 2_000),
        wide("reuse on another core, hot", "round trip", *far),
    ]


def splitting(spinning):
    figures = {"new thread, 1 µs": 0.1, "new thread, 1 ms": 0.9, "spinning thread, 1 ms": spinning}
    return [
        row(variant, "speedup", value, unit="ratio", work_ns=1_000 if variant.endswith("µs") else MS)
        for variant, value in figures.items()
    ]


def ratios(low, high):
    return [
        wide("process / thread, futex, nothing touched", "ratio", low, high, "ratio"),
        row("thread / thread (A/A), futex, nothing touched", "ratio", 1.0, unit="ratio"),
    ]


def moves(bare, loaded):
    return [
        wide("cost of moving, 0 B", "difference", *bare, touch_bytes=0),
        wide("cost of moving, 1 MiB", "difference", *loaded, touch_bytes=MIB),
    ]


def turns(direct):
    return [
        wide("0 B each", switching.SWITCH, *direct, touch_bytes=0),
        row("1 MiB each", switching.SWITCH, 2_000, touch_bytes=MIB),
        row("0 B each", switching.REFILL, 1, touch_bytes=0),
        row("1 MiB each", switching.REFILL, 17_000, touch_bytes=MIB),
    ]


def checked(low, high):
    return [
        wide("float loop", "pair ratio", low, high, "ratio"),
        row("create+join", "pair ratio", 1.0, unit="ratio", spread=0.001),
        row("futex wake", "pair ratio", 1.0, unit="ratio", spread=0.001),
    ]


def bugs(often, seldom, runs):
    return [
        Row(setting, "lost updates", "count", np.r_[np.ones(count), np.zeros(runs - count)])
        for setting, count in (("two cores", often), ("one core", seldom))
    ]


def abba(rounds):
    return [
        Row("opposite orders, two cores", metric, "count", np.full(40, value))
        for metric, value in (("deadlock", 0.0), ("rounds", float(rounds)))
    ]


def updates(torn):
    return [
        row("two cores, 2 x 1,000", "lost", 0.0, unit="percent"),
        row("pair, two cores", "torn", torn, unit="percent"),
    ]


@pytest.mark.parametrize(
    ("name", "these", "word"),
    [
        ("floors", [row("system call", "per call", 90), row("clock reading", "per call", 20)], HOLDS),
        ("floors", [row("system call", "per call", 900), row("clock reading", "per call", 20)], FAILS),
        ("floors", [spoilt("system call", "per call", 900, 90), row("clock reading", "per call", 20)], UNDECIDED),
        ("self-check", checked(0.999, 1.001), HOLDS),
        ("self-check", checked(0.9, 1.2), UNDECIDED),
        ("self-check", checked(1.1, 1.2), FAILS),
        ("kthread-create", [row("default", "create+join", 90_000)], FAILS),
        ("kthread-create", [spoilt("default", "create+join", 90_000, 9_000)], UNDECIDED),
        ("thread-reuse", reusing((15_000, 20_000)), CONDITIONAL),
        ("thread-reuse", reusing((5_000, 20_000)), UNDECIDED),
        ("grain-size", splitting(1.9), FAILS),
        ("grain-size", splitting(0.97), UNDECIDED),
        ("process-create", creating((9_000, 9_100)), CONDITIONAL),
        ("process-create", creating((5_000, 30_000)), UNDECIDED),
        ("sharing-cost", handing((90_000, 95_000), (1_000_000, 1_100_000)), CONDITIONAL),
        ("sharing-cost", handing((90_000, 150_000), (1_000_000, 1_100_000)), UNDECIDED),
        ("sharing-cost", handing((90_000, 95_000), (50_000, 1_100_000)), UNDECIDED),
        ("sharing-cost", handing((90_000, 95_000), (50_000, 60_000)), FAILS),
        ("kthread-switch", switch(row("futex, one core", "one way", 50_000), 200), FAILS),
        ("kthread-switch", switch(spoilt("futex, one core", "one way", 50_000, 1_500), 200), UNDECIDED),
        ("kthread-switch", switch(wide("futex, one core", "one way", 1_000, 1_400), 1_200), UNDECIDED),
        (
            "kthread-switch",
            switch(row("futex, one core", "one way", 1_500), 200, wide("futex, two cores", "one way", 2_000, 90_000)),
            UNDECIDED,
        ),
        ("thread-vs-process-switch", ratios(1.1, 1.2), FAILS),
        ("thread-vs-process-switch", ratios(1.1, 2.5), UNDECIDED),
        ("switch-working-set", turns((700, 750)), CONDITIONAL),
        ("switch-working-set", turns((-700, 1_500)), UNDECIDED),
        ("pin-effect", moves((10_000, 11_000), (90_000, 99_000)), HOLDS),
        ("pin-effect", moves((10_000, 11_000), (9_000, 90_000)), UNDECIDED),
        ("pin-effect", moves((-10_000, 11_000), (9_000, 90_000)), UNDECIDED),
        ("core-latency", [row("CPU 0 to CPU 1", "one way", 900, cpu=0, peer_cpu=1)], FAILS),
        ("core-latency", [spoilt("CPU 0 to CPU 1", "one way", 900, 116, cpu=0, peer_cpu=1)], UNDECIDED),
        ("time-slice", slices(turns=12, got=99), HOLDS),
        ("time-slice", slices(turns=1, got=99), FAILS),
        ("time-slice", slices(turns=1, got=20), UNDECIDED),
        ("parallelism", at_once(0.99, 1.97, 1.98, taken=60), HOLDS),
        ("parallelism", at_once(0.99, 1.0, 1.0, taken=2), FAILS),
        ("parallelism", at_once(0.99, 1.0, 1.0, taken=2, quota=1), UNDECIDED),
        ("parallelism", at_once(0.99, 1.3, 1.3, taken=50), UNDECIDED),
        ("parallelism", at_once(0.6, 0.9, 0.9, taken=50), UNDECIDED),
        ("cpu-share", shares_by_threads(80, 50), CONDITIONAL),
        ("cpu-share", shares_by_threads(50, 50), FAILS),
        ("cpu-share", shares_by_threads(50, 50, got_same=30), UNDECIDED),
        ("cpu-share", shares_by_threads(80, 50, got_sessions=30), UNDECIDED),
        ("cpu-share", shares_by_threads(80, 65), UNDECIDED),
        ("nice-share", shares_by_nice({0: 50, 5: 24.8, 10: 9.9}), HOLDS),
        ("nice-share", shares_by_nice({0: 50, 5: 50, 10: 50}), FAILS),
        ("nice-share", shares_by_nice({0: 50, 5: 50, 10: 50}, got=30), UNDECIDED),
        ("nice-share", shares_by_nice({0: 50, 5: 24.8, 10: 9.9}, got=30), UNDECIDED),
        ("crawl", crawl(base=100, top=124), FAILS),
        ("crawl", crawl(base=190, top=210), UNDECIDED),
        ("crawl-latency", latency(few=1.3, many=2), FAILS),
        ("crawl-latency", latency(few=40, many=80), UNDECIDED),
        ("crawl-latency", latency(few=40, many=1_000), CONDITIONAL),
        ("crawl-latency", latency(few=40, many=1_000, kept=0.3), UNDECIDED),
        ("sleep-precision", sleeps(55_000, 5_000), HOLDS),
        ("sleep-precision", sleeps(800_000, 800_000), UNDECIDED),
        ("sleep-precision", sleeps(5_000, 5_000, fifo=4 * MS), FAILS),
        ("interactive", ticks(calm=60_000, thread=40 * MS), FAILS),
        ("interactive", ticks(calm=30 * MS, thread=40 * MS), UNDECIDED),
        ("mutex-cost", lock(row("pthread, contended", "per operation", 80), 0.5), HOLDS),
        ("mutex-cost", lock(row("pthread, contended", "per operation", 15), 0.5), CONDITIONAL),
        ("mutex-cost", lock(row("pthread, contended", "per operation", 15), 1.0), UNDECIDED),
        ("mutex-cost", lock(wide("pthread, contended", "per operation", 15, 30), 0.5), UNDECIDED),
        ("false-sharing", lines(16, row("plain, same line", "per operation", 1.05)), CONDITIONAL),
        ("false-sharing", lines(16, wide("plain, same line", "per operation", 1.05, 1.5)), UNDECIDED),
        ("false-sharing", lines(6, row("plain, same line", "per operation", 1.0), padded=6.0), UNDECIDED),
        ("false-sharing", lines(3, row("plain, same line", "per operation", 1.0), padded=3.0), FAILS),
        ("lost-update", updates(torn=2), FAILS),
        ("lost-update", updates(torn=0), UNDECIDED),
        ("heisenbug", bugs(100, 95, runs=200), FAILS),
        ("heisenbug", bugs(7, 3, runs=10), UNDECIDED),
        ("deadlock", abba(rounds=50_000), FAILS),
        ("deadlock", abba(rounds=20), UNDECIDED),
    ],
)
def test_what_other_work_spoilt_decides_nothing(name, these, word):
    assert judged(name, these).word == word


def test_a_share_says_how_much_of_the_core_its_processes_got():
    these = Rows(share("nice 10", 10, got=40, nice=10))
    assert scheduling.got_percent(these, "nice 10") == pytest.approx(40)
    assert scheduling.got_percent(Rows(share("nice 10", 10, nice=10)[:2]), "nice 10") == 100
    fine, coarse = (
        scheduling.resolution(Rows(share("nice 10", 10, got=got)), share("nice 10", 10)[0], 4 * MS) for got in (100, 25)
    )
    assert coarse == pytest.approx(4 * fine)


def test_two_claims_have_two_sentences():
    texts = [one.claim.text for one in lab.experiments().values()]
    assert len(set(texts)) == len(texts)


def test_tiled_samples_are_as_wide_as_they_look():
    interval = stats.median_interval(wide("a", "m", 1, 2).samples)
    assert (interval.lo, interval.hi) == (1, 2)


# ---- cut short ----


@pytest.mark.parametrize(
    ("name", "variants", "metric"),
    [
        ("kthread-create", ["default", "one core"], "create+join"),
        ("thread-reuse", ["create, hot", "reuse on one core, hot"], "round trip"),
        ("green-switch", ["green yield, 2 ready", "kernel threads, futex"], "one way"),
        ("green-spawn", ["green, one at a time", "kernel, one at a time"], "create+join"),
        ("mutex-cost", ["pthread, uncontended", "plain, uncontended"], "per operation"),
        ("kthread-switch", ["futex, one core", "swapcontext, one thread"], "one way"),
        ("process-create", ["fork, as it is", "thread, as it is"], "create+join"),
        ("waiters", ["1,000 green threads", "1,000 kernel threads"], "wall"),
        ("floors", ["system call", "clock reading"], "per call"),
    ],
)
def test_too_few_rounds_are_not_called_missing(name, variants, metric):
    judge = lab.find(name).judge
    few = judge(Rows(row(variant, metric, 1000.0, n=3, tasks=1_000) for variant in variants))
    assert few.word == UNDECIDED
    assert "too few rounds: 3 samples" in few.reason
    missing = judge(Rows([row(variants[1], metric, 1000.0, tasks=1_000)]))
    assert missing.word == UNDECIDED
    assert "not" in missing.reason
    assert "too few" not in missing.reason
