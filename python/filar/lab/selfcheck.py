"""The lab measured by itself: the same thing against itself, and the floors everything else stands on."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from filar import chart
from filar.lab.base import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Budget,
    Claim,
    Experiment,
    Measured,
    Reference,
    Row,
    Rows,
    Verdict,
    Way,
    experiment,
    paired,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.pictures import ranked_dots, samples_note
from filar.lab.result import Result
from filar.lab.stats import N_MIN

__all__ = ["ERROR_MAX", "Floors", "SelfCheck"]

# The median pair ratio of the same work may be off by this much; interleaved plans reach 0.5 % on a shared machine.
ERROR_MAX = 0.01
# An interval that misses 1 by less than this is a rounding of the clock, not a bias.
MISS_MAX = 0.002
WORK = {
    "float loop": ("spin", {"steps": 1000}),
    "create+join": ("kthread-create", {}),
    "futex wake": ("futex-wake", {}),
}
RATIO = "pair ratio"
# Twice the upper end of the published range.
CALL_MAX_NS = 200.0
CALL = "per call"


@experiment
class SelfCheck(Experiment):
    """A/A: three kinds of work, each twice in every round."""

    name = "self-check"
    title = "The same thing against itself"
    family = "The lab"
    claim = Claim(
        "The same work, measured as A and as B, takes the same time.",
        "the lab's own check; a report whose A/A ratio misses 1 proves nothing by its other ratios",
    )
    method = (
        "Three kinds of work (a loop in registers, creation and join of a thread, a futex call) stand twice in one "
        "plan, which runs all six in shuffled rounds. The ratio of the two is formed round by round. Their median and "
        "its interval are the error of the method on this machine at this moment."
    )

    def ways(self, bench: Bench) -> list[Way]:
        """Each work as A and as B."""
        return [
            Way(f"{work}, {side}", way, params, metrics=_first_metric(way))
            for work, (way, params) in WORK.items()
            for side in "AB"
        ]

    def measure(self, bench: Bench) -> Measured:
        """One plan, and beside its rows one of ratios for each kind of work."""
        outcome = bench.run(self.ways(bench))
        rows = outcome.rows()
        return Measured(rows=rows + ratio_rows(rows), notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Holds if every median ratio is within 1 % of 1 and its interval reaches 1 (to 0.2 %).

        An interval that reaches 1 around a median that is off shows noise; one that misses 1, an error of the method.
        """
        found = [row for row in rows.of_metric(RATIO) if row.n >= N_MIN]
        if len(found) < len(WORK):
            missing = [work for work in WORK if work not in {row.variant for row in found}]
            return Verdict(UNDECIDED, f"not measured: {', '.join(missing)}")
        worst = max(found, key=lambda row: abs(row.median - 1))
        figures = "; ".join(f"{row.variant} {_percent(row)}" for row in found)
        spoilt = [row for row in found if not is_sound(row)]
        headline = f"{100 * abs(worst.median - 1):.2f} % off at most ({worst.variant})"
        if not spoilt:
            return Verdict(
                HOLDS, f"A/B error {figures}: differences above {_error(worst):.1f} % are real", headline=headline
            )
        names = ", ".join(row.variant for row in spoilt)
        biased = any(not _reaches_one(row) for row in spoilt)
        return Verdict(
            FAILS if biased else UNDECIDED,
            f"{'A and B differ' if biased else 'too noisy'} ({names}): A/B error {figures}; small differences in this "
            "report mean nothing",
            headline=headline,
        )

    def charts(self, result: Result) -> list[Any]:
        """The ratios with their intervals, against 1."""
        rows = [row for row in result.rows.of_metric(RATIO) if row.n]
        if not rows:
            return []
        return [
            chart.Strip(
                rows=[
                    chart.Ratios(row.variant, row.samples, row.interval.lo, row.interval.hi, row.median) for row in rows
                ],
                title="The same work as A and as B",
                x_label="A / B, median of pairs",
                n=samples_note(rows),
            )
        ]


def _first_metric(way: str) -> dict[str, str | None]:
    """Only the whole time: creation has two more metrics that say nothing new here."""
    return {"create call": None, "first instruction": None} if way == "kthread-create" else {}


def ratio_rows(rows: Rows) -> Rows:
    """For each kind of work a row of the ratios A/B, one for each round that has both."""
    found = []
    for work in WORK:
        a, b = rows.find(f"{work}, A"), rows.find(f"{work}, B")
        if a is None or b is None:
            continue
        rounds, mine, theirs = paired(a, b)
        found.append(Row(work, RATIO, "ratio", mine / theirs, rounds=rounds))
    return Rows(found)


def is_sound(row: Row) -> bool:
    """Whether an A/A ratio is near enough to 1, and its interval reaches it."""
    return abs(row.median - 1) <= ERROR_MAX and _reaches_one(row)


def _reaches_one(row: Row) -> bool:
    return row.interval.lo - MISS_MAX <= 1 <= row.interval.hi + MISS_MAX


def self_check_error(rows: Rows) -> float:
    """The largest |ratio - 1|; NaN where nothing was measured."""
    return max((abs(row.median - 1) for row in rows.of_metric(RATIO)), default=math.nan)


def _error(row: Row) -> float:
    return max(0.1, 100 * max(abs(row.interval.lo - 1), abs(row.interval.hi - 1)))


def _percent(row: Row) -> str:
    lo, mid, hi = (100 * (value - 1) for value in (row.interval.lo, row.median, row.interval.hi))
    return f"{mid:+.2f} % ({lo:+.2f} to {hi:+.2f})"


@experiment
class Floors(Experiment):
    """What nothing on this machine can go below."""

    name = "floors"
    title = "The floors of this machine"
    family = "The lab"
    claim = Claim(
        "Entering the kernel costs about 50 to 100 ns, and reading the clock less.",
        "Tsuna 2010, blog.tsunanet.net: 52 to 105 ns a system call; lmbench `lat_syscall null` measures the same",
    )
    method = (
        "Each way is the smallest operation of its kind, in batches of about 0.2 ms. All run in every round, in "
        "shuffled order, on one pinned thread. The floor (minimum) is what the machine can do, the median what it does."
    )
    references: ClassVar = (
        Reference("Tsuna 2010, least", 52, "ns", "blog.tsunanet.net", CALL),
        Reference("Tsuna 2010, most", 105, "ns", "blog.tsunanet.net", CALL),
        Reference("lmbench null, 2-core VM", 92.9, "ns", "lat_syscall, run for this project", CALL),
    )
    quick: ClassVar = Budget(seconds=1.0)
    full: ClassVar = Budget(seconds=4.0, rounds_max=600)

    def ways(self, bench: Bench) -> list[Way]:
        """One of each."""
        return [
            Way("system call", "syscall"),
            Way("clock reading", "clock", metrics={"per reading": CALL}),
            Way("sched_yield, alone", "yield"),
            Way("futex wake, nobody waits", "futex-wake"),
            Way("page fault, 4 KiB", "page-fault", metrics={"per page": CALL}),
            Way("1,000 additions", "spin", {"steps": 1000}, metrics={"time": CALL}),
        ]

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the typical system call is at most 200 ns, twice the published range, and the clock is cheaper."""
        call, clock = rows.find("system call"), rows.find("clock reading")
        if call is None or clock is None or min(call.n, clock.n) < N_MIN:
            return undecided("system call or clock was not measured", rows)
        reason = (
            f"a system call takes {call.median:.0f} ns here ({call.interval.lo:.0f} to {call.interval.hi:.0f}, floor "
            f"{call.min:.0f}), a reading of the clock {clock.median:.1f} ns"
        )
        headline = f"{call.median:.0f} ns a system call, {clock.median:.1f} ns a reading of the clock"
        if call.median > CALL_MAX_NS >= call.min:
            why = f"only the floor is below {CALL_MAX_NS:.0f} ns, so other work disturbed the rest"
            return Verdict(UNDECIDED, f"{reason}: {why}", headline=headline)
        return Verdict(
            HOLDS if call.median <= CALL_MAX_NS and clock.median < call.median else FAILS, reason, headline=headline
        )

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots on a log axis, published figures hollow beside them."""
        if not result.rows.of_metric(CALL):
            return []
        return [ranked_dots(result, CALL, title=self.title, references=result.references, on="system call")]
