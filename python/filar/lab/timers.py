"""How late things happen: sleeps that end, and a loop that must answer while the program calculates."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from filar import chart
from filar.lab import pictures
from filar.lab.base import (
    CONDITIONAL,
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
    undecided,
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.result import Result
from filar.lab.scheduling import FAMILY, MS, NOTES, busy_cpu, ns
from filar.lab.stats import N_MIN

US = 1000
SLEEPS = {"50 µs": 50 * US, "1 ms": MS}
BATCH = 20
# The larger slack must make a sleep surely this many times as late.
_SLACK_COUNTS = 1.1


def _single_events(outcome: PlanOutcome, metric: str) -> list[Row]:
    """One row a variant of every point: the tail is that of single events, not of batches."""
    found = []
    for way in outcome.ways:
        points = outcome.points_of(way.variant)
        if len(points):
            rounds = points["round"].astype(np.int64)
            found.append(Row(way.variant, metric, "ns", points["y"], dict(way.params), way.note, rounds))
    return found


@experiment
class SleepPrecision(Experiment):
    """Lateness of sleeps by timer slack, load and policy (E38)."""

    name = "sleep-precision"
    title = "How late a sleeping thread wakes"
    family = FAMILY
    claim = Claim(
        "Timer slack, priority and load decide how late a sleeping thread runs again: scheduling can be influenced.",
        NOTES,
    )
    references: ClassVar = (Reference("default timer slack", 50_000, "ns", "prctl(2), PR_SET_TIMERSLACK", "late"),)
    method = (
        "A thread pinned to one core sleeps 50 µs or 1 ms, twenty times a sample, and notes how late each sleep ended. "
        "Slack, FIFO priority and busy threads on the same core are set inside the sample and end with it; all "
        "variants run in every round, in shuffled order. "
        "Distributions are of single sleeps; ratios are of the medians of a sample, round by round."
    )
    quick = Budget(seconds=2.0, rounds_max=40, rounds_min=6)
    full = Budget(seconds=12.0, rounds_max=200, rounds_min=12)

    conditions: ClassVar[dict[str, dict[str, int]]] = {
        "slack 50 µs": {"slack_ns": 50_000},
        "slack 1 ns": {"slack_ns": 1},
        "slack 1 ns, busy core": {"slack_ns": 1, "busy": 1},
        "slack 1 ns, 8 busy": {"slack_ns": 1, "busy": 8},
        "FIFO": {"slack_ns": 1, "fifo": 1},
        "FIFO, 8 busy": {"slack_ns": 1, "fifo": 1, "busy": 8},
    }

    def ways(self, bench: Bench) -> list[Way]:
        """Every condition with both lengths of sleep."""
        return [
            Way(
                f"{words}, {condition}",
                "sleep",
                {"sleep_ns": length, "cpu": busy_cpu(bench), **params},
                batch=BATCH,
                metrics={"late": "late, typical of a sample", "worst late": None},
            )
            for words, length in SLEEPS.items()
            for condition, params in self.conditions.items()
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan; single sleeps first, the medians of samples for ratios after them."""
        outcome = bench.run(self.ways(bench))
        return Measured(rows=Rows(_single_events(outcome, "late")) + outcome.rows(), notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """Holds if less slack wakes sooner and a real-time priority shortens the tail on a busy core."""
        typical = "late, typical of a sample"
        slack = rows.ratio("50 µs, slack 50 µs", "50 µs, slack 1 ns", typical)
        if slack.n < N_MIN:
            return undecided("sleeps with and without slack were not both measured", rows.of_metric(typical))
        lazy, keen = rows.find("50 µs, slack 50 µs", "late"), rows.find("50 µs, slack 1 ns", "late")
        plain, fifo = rows.find("50 µs, slack 1 ns, 8 busy", "late"), rows.find("50 µs, FIFO, 8 busy", "late")
        if lazy is None or keen is None:
            return Verdict(UNDECIDED, "single sleeps were not recorded")
        reason = (
            f"a sleep of 50 µs ends {ns(lazy.median)} late with 50 µs of slack and {ns(keen.median)} with 1 ns: "
            f"{slack.mid:.1f} times ({slack.lo:.1f} to {slack.hi:.1f})"
        )
        headline = f"{ns(lazy.median)} late with 50 µs of slack, {ns(keen.median)} with 1 ns"
        slack_counts = slack.lo > _SLACK_COUNTS
        # Where even the least slack ends later than the larger one, other programs decide, not the slack.
        noisy = not slack_counts and (slack.hi > _SLACK_COUNTS or keen.median > 50 * US)
        why = "too noisy to say whether slack counts"
        if plain is None or fifo is None:
            reason += "; FIFO is not permitted here"
            if noisy:
                return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
            if not slack_counts:
                return Verdict(FAILS, reason, headline=headline)
            where = "it is the slack that is changed; priority could not be tested"
            return Verdict(CONDITIONAL, reason, where, headline)
        reason += f"; with 8 busy threads on the core p99 is {ns(plain.p99)}, with FIFO priority {ns(fifo.p99)}"
        if noisy:
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        priority_counts = plain.p99 >= 2 * fifo.p99
        if slack_counts and priority_counts:
            return Verdict(HOLDS, reason, headline=headline)
        if slack_counts or priority_counts:
            where = f"it is the {'slack' if slack_counts else 'priority'} that is changed"
            return Verdict(CONDITIONAL, reason, where, headline)
        return Verdict(FAILS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """A distribution for each length of sleep, with all conditions."""
        return [
            chart.Cdf(
                series=[
                    chart.Samples(row.variant.removeprefix(f"{words}, "), np.maximum(row.samples, 100.0))
                    for row in result.rows.of_metric("late")
                    if row.variant.startswith(f"{words}, ")
                ],
                unit="ns",
                mode="tail",
                title=f"How late a sleep of {words} ends",
                x_label="late by",
                n=f"{min((r.n for r in result.rows.of_metric('late')), default=0):,} sleeps or more",
            )
            for words in SLEEPS
        ]


@experiment
class Interactive(Experiment):
    """How late a loop answers while the program calculates (E37)."""

    name = "interactive"
    title = "Staying interactive while calculating"
    family = FAMILY
    claim = Claim("Calculations on background threads keep a program interactive.", NOTES)
    method = (
        "A loop, as of a notebook or a window, has something to do every millisecond for 100 ms; a calculation of the "
        "same 100 ms runs in the loop itself, on a thread, at nice 10, pinned to another core, or on more threads "
        "than there are cores. "
        "All run in every round, in shuffled order; each tick notes how late it was served. "
        "Ticks are single events; the calculation done meanwhile is counted too."
    )
    quick = Budget(seconds=2.3, rounds_max=10, rounds_min=2)
    full = Budget(seconds=12.0, rounds_max=40, rounds_min=6)

    def ways(self, bench: Bench) -> list[Way]:
        """From nothing beside the loop to twice as many calculating threads as cores."""
        cores = len(bench.cpus)
        many = f"{2 * cores} threads on {cores} core{'s' if cores > 1 else ''}"
        plans: list[tuple[str, dict[str, int]]] = [
            ("no calculation", {"calculators": 0}),
            ("inline", {"calculators": 0, "inline": 1}),
            ("on a thread", {}),
            ("on a thread at nice 10", {"nice": 10}),
        ]
        if bench.other_cpu is not None:
            apart = {"loop_cpu": bench.cpu, "calculator_cpu": bench.other_cpu}
            plans.append(("on a thread pinned to another core", apart))
        plans += [
            (f"on {many}", {"calculators": 2 * cores}),
            (f"on {many} at nice 10", {"calculators": 2 * cores, "nice": 10}),
        ]
        names = {"tick late": None, "worst tick late": None}
        return [Way(variant, "interactive", params, metrics=names) for variant, params in plans]

    def measure(self, bench: Bench) -> Measured:
        """The plan; ticks as single events, shares of late ticks and the calculation done by round."""
        outcome = bench.run(self.ways(bench), warmup_rounds=0)
        return Measured(rows=Rows(_single_events(outcome, "tick late")) + outcome.rows(), notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """A background thread keeps the loop alive if its p99 stays below a tenth of the inline loop's median."""
        inline, thread = rows.find("inline", "tick late"), rows.find("on a thread", "tick late")
        if inline is None or thread is None:
            return Verdict(UNDECIDED, "the calculation inline and on a thread were not both measured")
        bound = inline.median / 10
        many = [
            row
            for row in rows.of_metric("tick late")
            if row.params.get("calculators", 1) > 1 and not row.params.get("nice", 0)
        ]
        calm = rows.find("no calculation", "tick late")
        worst = max(many, key=lambda row: row.p99, default=None)
        reason = (
            f"a tick is late by {ns(inline.median)} with the calculation inline and by {ns(thread.median)} on a "
            f"thread (p99 {ns(thread.p99)})"
        )
        headline = f"ticks {ns(inline.median)} late inline, {ns(thread.median)} beside a thread"
        if calm is not None and calm.p99 > bound and thread.p99 > bound:
            why = f"without any calculation p99 is {ns(calm.p99)}: other programs delay the loop"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        if thread.p99 > bound and thread.median > bound:
            return Verdict(FAILS, reason, headline=headline)
        if thread.p99 > bound:
            where = "a core is free: now and then the loop waited for its turn"
            return Verdict(CONDITIONAL, reason, where, headline)
        if worst is not None:
            reason += f", {ns(worst.median)} {worst.variant} (p99 {ns(worst.p99)})"
        if worst is not None and worst.p99 > bound:
            return Verdict(CONDITIONAL, reason, "no more threads calculate than there are cores", headline)
        return Verdict(HOLDS, reason, headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Distribution of lateness; what the calculation got done meanwhile."""
        rows = result.rows.of_metric("tick late")
        work = [row for row in result.rows.of_metric("calculation") if row.max > 0]
        late = chart.Cdf(
            series=[chart.Samples(row.variant, np.maximum(row.samples, 100.0)) for row in rows],
            unit="ns",
            title="How late a 1 ms tick is served",
            x_label="late by",
            n=f"{min((r.n for r in rows), default=0):,} ticks or more",
        )
        done = chart.Bars(
            groups=[row.variant for row in work],
            series=[chart.BarSeries("calculation", [row.median for row in work])],
            unit="1/s",
            title="What the calculation got done meanwhile",
            x_label="units of the calculation a second",
            n=pictures.samples_note(work),
        )
        return [late, done]
