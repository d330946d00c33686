"""What goes wrong when threads share memory: lost updates, torn pairs, bugs that hide, deadlock; and the cures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar import chart
from filar.lab import pictures, stats
from filar.lab.base import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    UNDECIDED,
    Budget,
    Claim,
    Experiment,
    Measured,
    Row,
    Rows,
    Table,
    Verdict,
    Way,
    experiment,
    undecided,
)
from filar.lab.bench import Bench, PlanOutcome
from filar.lab.locks import NO_SECOND_CPU, two_cores
from filar.lab.result import Result
from filar.lab.stats import N_MIN

__all__ = ["Deadlock", "Heisenbug", "LostUpdate", "runs_until", "wait_cycle"]


def _where(cores: int) -> str:
    return "two cores" if cores == 2 else "one core"


def _placed(bench: Bench, cores: int) -> dict[str, int]:
    """Both threads on the driver's core, or each on its own."""
    return {"cores": cores, **two_cores(bench)}


# ---- lost updates -----------------------------------------------------------------------------------------

# Increments of each thread. On one core an update is lost only when a time slice ends inside it, so it takes many.
TWO_CORES_QUICK = (1_000, 10_000, 100_000, 1_000_000)
TWO_CORES_FULL = (*TWO_CORES_QUICK, 5_000_000)
ONE_CORE_QUICK = (1_000, 100_000, 20_000_000)
ONE_CORE_FULL = (1_000, 100_000, 1_000_000, 20_000_000)
CURES = {"atomic": "race-atomic", "mutex": "race-mutex", "per-thread counters": "race-own"}
CURE_INCREMENTS = 50_000
PAIR_READS = 50_000


@experiment
class LostUpdate(Experiment):
    """c = c + 1 by two threads: how much is lost, where, and what cures it (E27)."""

    name = "lost-update"
    title = "Updates lost between two threads"
    family = "Locks and races"
    claim = Claim(
        "A thread can be interrupted in the middle of a change; threads that change shared data without "
        "synchronisation lose updates.",
        "Lecture notes on threads: race conditions",
    )
    method = (
        "Two threads each add 1 to the same variable N times: load, add, store, three instructions. Both run on one "
        "core or each on its own, and what is missing from 2 N at the end is counted. "
        "Beside it, a pair of words that should be equal is written by one thread and read by the other: reads that "
        "find them different are torn. "
        "The cures (an atomic addition, a mutex, a counter for each thread) are counted in the same way."
    )
    quick = Budget(seconds=1.8, rounds_max=60, rounds_min=7)
    full = Budget(seconds=20.0, rounds_max=200, rounds_min=12)

    def ways(self, bench: Bench) -> list[Way]:
        """The bug by N on two cores and on one; the cures; pairs with and without a mutex."""
        sizes = {
            2: TWO_CORES_QUICK if bench.quick else TWO_CORES_FULL,
            1: ONE_CORE_QUICK if bench.quick else ONE_CORE_FULL,
        }
        found = [
            Way(f"{_where(cores)}, 2 x {n:,}", "race-plain", {"increments": n, **_placed(bench, cores)})
            for cores, counts in sizes.items()
            for n in counts
        ]
        found += [
            Way(f"{cure}, two cores", way, {"increments": CURE_INCREMENTS, **_placed(bench, 2)})
            for cure, way in CURES.items()
        ]
        found += [
            Way(words, "race-torn", {"reads": PAIR_READS, "guarded": guarded, **_placed(bench, 2)})
            for words, guarded in (("pair, two cores", 0), ("pair under a mutex, two cores", 1))
        ]
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan, and a table of what the cures counted."""
        measured = super().measure(bench)
        cured = tuple(
            (row.variant, row.n, f"{2 * CURE_INCREMENTS * row.n:,}", f"{np.sum(row.samples):,.0f}")
            for row in measured.rows.of_metric("lost updates")
            if row.variant.partition(",")[0] in CURES
        )
        guarded = measured.rows.find("pair under a mutex, two cores", "torn pairs")
        if guarded:
            reads = f"{PAIR_READS * guarded.n:,} reads"
            cured += ((guarded.variant, guarded.n, reads, f"{np.sum(guarded.samples):,.0f}"),)
        if cured:
            columns = ("cure", "runs", "updates or reads counted", "lost or torn, all runs together")
            measured.tables.append(Table("The cures, counted", columns, cured))
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Holds if updates are lost on two cores and on one, and no cure loses any."""
        worst = {place: self._worst(rows, place) for place in ("two cores", "one core")}
        cures = [row for row in rows if self._is_cure(row)]
        failed = sorted({row.variant for row in cures if row.max > 0})
        if failed:
            names = ", ".join(failed)
            return Verdict(
                FAILS, f"the cures do not cure: something was lost with {names}", headline=f"losses with {names}"
            )
        parts = [
            f"on {place} up to {row.max:.1f} % were lost in a run of {row.variant.partition(', ')[2]} "
            f"(median {row.median:.1f} %)"
            for place, row in worst.items()
            if row
        ]
        headline = "; ".join(f"up to {row.max:.1f} % gone on {place}" for place, row in worst.items() if row)
        torn = rows.find("pair, two cores", "torn")
        if torn:
            parts.append(f"{torn.median:.1f} % of unguarded pairs were torn")
        if cures:
            parts.append("the cures lost none")
        reason = "; ".join(parts)
        on_two, on_one = (row is not None and row.max > 0 for row in worst.values())
        if on_two and on_one:
            return Verdict(HOLDS, reason, headline=headline)
        if on_two:
            why = f"{reason}: on one core no slice ended inside an update"
            return Verdict(CONDITIONAL, why, "threads run on two cores", headline)
        if worst["two cores"] is None:
            return Verdict(UNDECIDED, "; ".join([NO_SECOND_CPU, *parts]), headline=headline)
        if torn and torn.max == 0:
            # Reader and writer that never once met say nothing of threads that do.
            why = "nor was a single pair read torn: the two threads hardly ran at once"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        return Verdict(FAILS, reason, headline=headline)

    @staticmethod
    def _worst(rows: Rows, place: str) -> Row | None:
        """The row of that place with the largest loss."""
        mine = [row for row in rows.of_metric("lost") if row.variant.startswith(f"{place}, 2 x")]
        return max(mine, key=lambda row: (row.median, row.max), default=None)

    @staticmethod
    def _is_cure(row: Row) -> bool:
        name = row.variant.partition(",")[0]
        return (name in CURES and row.metric == "lost updates") or (
            name == "pair under a mutex" and row.metric == "torn pairs"
        )

    def charts(self, result: Result) -> list[Any]:
        """Share lost over N, for both places and the cures."""
        lost = result.rows.of_metric("lost")
        lines = {
            "two cores": [row.variant for row in lost if row.variant.startswith("two cores, 2 x")],
            "one core": [row.variant for row in lost if row.variant.startswith("one core, 2 x")],
            "atomic, mutex or a counter each": [row.variant for row in lost if self._is_cured(row)],
        }
        drawn = pictures.curves(
            result,
            "lost",
            "increments",
            lines,
            title="Share of the updates lost",
            x_label="increments of each thread",
            y_label="lost",
            y_scale="linear",
        )
        return [dataclasses.replace(drawn, y_unit="%")]

    @staticmethod
    def _is_cured(row: Row) -> bool:
        return row.variant.partition(",")[0] in CURES


# ---- a bug that hides -------------------------------------------------------------------------------------

BUG_INCREMENTS = 1_000
LONG_SECTION_STEPS = 4_000
BLOCK = 10
SETTINGS: tuple[tuple[str, int, int], ...] = (
    ("two cores", 2, 0),
    ("one core", 1, 0),
    ("one core, longer section", 1, LONG_SECTION_STEPS),
    ("two cores, longer section", 2, LONG_SECTION_STEPS),
)
CONTROL = "two cores, atomic"
_BUG_METRICS: Mapping[str, str | None] = {"lost": None, "per increment": None}


def runs_until(failed: Sequence[bool] | NDArray[np.bool_]) -> tuple[NDArray[np.float64], int]:
    """Runs up to and with each failure, counted from the one before, and how many runs came after the last."""
    at = np.flatnonzero(np.asarray(failed, dtype=bool))
    waits = np.diff(np.concatenate([[-1], at])).astype(float)
    return waits, len(failed) - (int(at[-1]) + 1 if len(at) else 0)


def _chance(row: Row) -> stats.Interval:
    """Share of the runs in which the bug was seen."""
    return stats.share_interval(int(np.count_nonzero(row.samples > 0)), row.n)


@experiment
class Heisenbug(Experiment):
    """The same race in different settings: the chance that one run shows it (E30)."""

    name = "heisenbug"
    title = "A bug that shows only in some settings"
    family = "Locks and races"
    claim = Claim(
        "Bugs of concurrent programs appear only in certain situations and are hard to reproduce.",
        "Lecture notes on running code simultaneously",
    )
    method = (
        f"One run is two threads that each add 1 to the same variable {BUG_INCREMENTS:,} times without a guard; it has "
        "failed if anything is missing at the end. "
        "The same code runs on two cores, on one core, and with a longer way between load and store (about a "
        "microsecond); runs of all settings alternate. "
        f"The chance is the share of runs that failed; `chance per run` has one sample for {BLOCK} runs."
    )
    quick = Budget(seconds=1.8, rounds_max=300, rounds_min=40)
    full = Budget(seconds=12.0, rounds_max=1500, rounds_min=100)

    def ways(self, bench: Bench) -> list[Way]:
        """The settings, and the same with an atomic addition as the control."""
        found = [
            Way(
                words,
                "race-plain",
                {"increments": BUG_INCREMENTS, "section_steps": steps, **_placed(bench, cores)},
                metrics=_BUG_METRICS,
            )
            for words, cores, steps in SETTINGS
        ]
        params = {"increments": BUG_INCREMENTS, **_placed(bench, 2)}
        found.append(Way(CONTROL, "race-atomic", params, metrics=_BUG_METRICS))
        return found

    def measure(self, bench: Bench) -> Measured:
        """The plan, and the chance by blocks of runs as rows of their own."""
        measured = super().measure(bench)
        chances = []
        for row in measured.rows.of_metric("lost updates"):
            blocks = row.n // BLOCK
            failed = (row.samples > 0)[: blocks * BLOCK].reshape(blocks, BLOCK)
            shares = 100 * np.count_nonzero(failed, axis=1) / BLOCK
            chances.append(Row(row.variant, "chance per run", "percent", shares, params=row.params))
        measured.rows = measured.rows + chances
        return measured

    def judge(self, rows: Rows) -> Verdict:
        """Holds if one setting shows the bug in at least twice the share of runs of another."""
        seen = {row.variant: row for row in rows.of_metric("lost updates")}
        control = seen.pop(CONTROL, None)
        if control is not None and control.max > 0:
            return Verdict(FAILS, "the control, an atomic addition, lost updates: the count itself is wrong")
        chances = {words: _chance(row) for words, row in seen.items() if row.n >= N_MIN}
        if len(chances) < 2:
            return Verdict(UNDECIDED, "fewer than two settings were measured")
        most = max(chances, key=lambda words: chances[words].lo)
        least = min(chances, key=lambda words: chances[words].hi)
        often, seldom = chances[most], chances[least]
        reason = "chance that a run fails: " + ", ".join(
            f"{100 * c.mid:.0f} % on {words} ({100 * c.lo:.0f} to {100 * c.hi:.0f})"
            for words, c in {most: often, least: seldom}.items()
        )
        headline = f"seen in {100 * often.mid:.0f} % of runs ({most}) or in {100 * seldom.mid:.0f} % ({least})"
        if often.lo > 2 * seldom.hi:
            return Verdict(HOLDS, reason, headline=headline)
        if "two cores" not in chances:
            return Verdict(UNDECIDED, f"{NO_SECOND_CPU}; {reason}", headline=headline)
        if seldom.lo > 0.9:
            return Verdict(FAILS, f"{reason}: it shows everywhere", headline=headline)
        if often.hi < 0.1:
            return Verdict(UNDECIDED, f"{reason}: it was hardly seen at all", headline=headline)
        if often.hi > 2 * seldom.lo:
            return Verdict(UNDECIDED, f"{reason}: too few runs to say whether they differ", headline=headline)
        return Verdict(FAILS, f"{reason}: no setting differs from another by a factor of two", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Runs until the bug shows, all settings together; the chance of each."""
        rows = result.rows.of_metric("lost updates")
        lives = []
        for row in rows:
            waits, after = runs_until(row.samples > 0)
            lives.append(chart.Lifetimes(row.variant, waits, still_running=int(after > 0), until=float(after)))
        chances = [_chance(row) for row in rows]
        bars = chart.BarSeries(
            "chance that a run fails",
            np.array([100 * c.mid for c in chances]),
            np.array([100 * c.lo for c in chances]),
            np.array([100 * c.hi for c in chances]),
        )
        note = pictures.samples_note(rows)
        return [
            chart.Survival(
                series=lives, title="Runs until the bug shows", x_label="runs", y_label="not seen yet", n=note
            ),
            chart.Bars(
                groups=[row.variant for row in rows],
                series=[bars],
                unit="%",
                title="Chance that a run fails",
                x_label="runs with a lost update, 95 % interval",
                n=note,
            ),
        ]


# ---- deadlock ---------------------------------------------------------------------------------------------

LOCK_NAMES = ("none", "A", "B")
CHILD = "child process, killed"
_LOCKS, _THREAD = 1, 2
# The longest a run may take before it counts as "did not stop": opposite orders on one core need the end of a slice
# between two locks.
ABBA_MS, CURE_MS = 60, 10
# Fewer rounds without a deadlock show that the threads hardly ran, not that there is none.
_ROUNDS_MIN = 1_000
_NO_RETRIES: Mapping[str, str | None] = {"retries": None}


def _counted(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}" if round(number) == 1 else f"{number:,.0f} {noun}s"


def wait_cycle(holds: Mapping[int, int], wants: Mapping[int, int]) -> list[int]:
    """Threads that wait for each other in a ring, in order of waiting; empty if no ring is closed.

    `holds` and `wants` map a thread to the lock it has and the lock it waits for (0: none).
    """
    holder = {lock: thread for thread, lock in holds.items() if lock}
    for start in wants:
        path: list[int] = []
        thread: int | None = start
        while thread is not None and thread not in path:
            path.append(thread)
            thread = holder.get(wants.get(thread, 0))
        if thread is not None:
            return path[path.index(thread) :]
    return []


@experiment
class Deadlock(Experiment):
    """Rounds with two locks until both threads stop, by order of locking; a real deadlock in a child (E29)."""

    name = "deadlock"
    title = "Two locks, two threads, and nobody moves"
    family = "Locks and races"
    claim = Claim(
        "Mutexes bring the danger of deadlock: threads that each hold a lock and wait for the other's stop for ever.",
        "Lecture notes on synchronisation",
    )
    method = (
        "Two threads take two locks over and over, in opposite orders, in one order, or in opposite orders with "
        "trylock and letting go; counted are the rounds until neither can go on, or until time is up. "
        "A thread that waits longer than 2 ms looks at what the other holds and wants: only a closed cycle counts as a "
        "deadlock, so a busy machine is never taken for one. "
        "The real thing, without time limits, happens in a child process, which is watched, described and killed."
    )
    quick = Budget(seconds=1.9, rounds_max=40, rounds_min=7)
    full = Budget(seconds=20.0, rounds_max=200, rounds_min=20)

    def ways(self, bench: Bench) -> list[Way]:
        """Opposite orders, with and without work in between, and both cures, on two cores and one; the child."""
        found = []
        for cores in (2, 1):
            place, params = _where(cores), _placed(bench, cores)
            for words, steps in (("", 0), (", longer section", LONG_SECTION_STEPS)):
                abba = {**params, "section_steps": steps, "time_max_ms": ABBA_MS}
                found.append(Way(f"opposite orders, {place}{words}", "deadlock-abba", abba, metrics=_NO_RETRIES))
            cure = {**params, "time_max_ms": CURE_MS}
            found.append(Way(f"one order, {place}", "deadlock-ordered", cure, metrics=_NO_RETRIES))
            found.append(Way(f"trylock and let go, {place}", "deadlock-trylock", cure))
        dropped = {} if bench.quick else {"watch_ms": 50}
        return [*found, Way(CHILD, "deadlock-child", {"watch_ms": 5, **dropped})]

    def measure(self, bench: Bench) -> Measured:
        """The plan; the cycle of the child by round as a row; who holds what in the last child as a table."""
        outcome = bench.run(self.ways(bench))
        rows, tables, notes = outcome.rows(), [], outcome.notes()
        children = _children(outcome)
        if children:
            sizes = np.array([float(len(wait_cycle(c.holds, c.wants))) for c in children])
            rows += [Row(CHILD, "threads in the cycle", "count", sizes)]
            tables.append(children[-1].table())
            notes.append(children[-1].sentence())
        return Measured(rows=rows, tables=tables, notes=notes)

    def judge(self, rows: Rows) -> Verdict:
        """Holds if opposite orders stop and neither cure ever does."""
        runs = {row.variant: row for row in rows.of_metric("deadlock") if row.n >= N_MIN}
        abba = {words: row for words, row in runs.items() if words.startswith("opposite orders")}
        cures = {words: row for words, row in runs.items() if words not in abba}
        if not abba:
            return undecided("opposite orders of locking were not measured", rows.of_metric("deadlock"))
        stopped = {words: int(np.sum(row.samples)) for words, row in abba.items()}
        # Of each place the kind that stopped most often: with a longer section or without.
        told: dict[str, str] = {}
        for place in ("two cores", "one core"):
            mine = [words for words in stopped if place in words]
            if mine:
                told[place] = max(mine, key=lambda words: stopped[words] / abba[words].n)
        reason = "in opposite orders, " + "; ".join(
            f"{words.partition(', ')[2]}: {stopped[words]} of {abba[words].n} runs stopped{self._after(rows, words)}"
            for words in told.values()
        )
        headline = ", ".join(f"{stopped[words]} of {abba[words].n} runs ended on {p}" for p, words in told.items())
        failed = [words for words, row in cures.items() if row.max > 0]
        if failed:
            return Verdict(FAILS, f"{reason}; but the cures stopped too: {', '.join(failed)}", headline=headline)
        reason += (
            f"; no run stopped with {' or '.join(dict.fromkeys(w.partition(',')[0] for w in cures))}" if cures else ""
        )
        on_two = [count for words, count in stopped.items() if "two cores" in words]
        on_one = [count for words, count in stopped.items() if "one core" in words]
        if any(on_two) and (any(on_one) or not on_one):
            return Verdict(HOLDS, reason, headline=headline)
        if any(on_two):
            where = f"threads run on two cores (on one, not within {ABBA_MS} ms)"
            return Verdict(CONDITIONAL, reason, where, headline)
        if not on_two:
            if any(on_one):
                return Verdict(HOLDS, reason, headline=headline)
            return Verdict(UNDECIDED, f"{NO_SECOND_CPU}; {reason}", headline=headline)
        most = max((rows.median(words, "rounds") for words in abba), default=0.0)
        if not most >= _ROUNDS_MIN:
            why = f"the threads did only {_counted(most, 'round')} in the time allowed"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        return Verdict(FAILS, reason, headline=headline)

    @staticmethod
    def _after(rows: Rows, variant: str) -> str:
        """' after 153 rounds (median)', of the runs that stopped."""
        rounds, stopped = rows.find(variant, "rounds"), rows.find(variant, "deadlock")
        if rounds is None or stopped is None or len(rounds.samples) != len(stopped.samples):
            return ""
        ends = rounds.samples[stopped.samples > 0]
        return f" after {_counted(float(np.median(ends)), 'round')} (median)" if len(ends) else ""

    def charts(self, result: Result) -> list[Any]:
        """Survival curves: share of the runs still going, over rounds; the cures on all cores as one curve each."""
        curves: dict[str, list[str]] = {}
        for row in result.rows.of_metric("rounds"):
            label = row.variant if row.variant.startswith("opposite orders") else row.variant.partition(",")[0]
            curves.setdefault(label, []).append(row.variant)
        lives = [_lifetimes(result.rows, label, variants) for label, variants in curves.items()]
        return [
            chart.Survival(
                series=lives,
                title="Runs that still go on",
                x_label="rounds of both threads together",
                y_label="not stopped",
                n=pictures.samples_note(result.rows.of_metric("rounds")),
            )
        ]


def _lifetimes(rows: Rows, label: str, variants: Sequence[str]) -> chart.Lifetimes:
    """Rounds at which runs stopped, and how many never did, of all `variants` together."""
    ends: list[float] = []
    alive: list[float] = []
    for variant in variants:
        rounds, stopped = rows.find(variant, "rounds"), rows.find(variant, "deadlock")
        if rounds is None or stopped is None or len(rounds.samples) != len(stopped.samples):
            continue
        # In round k + 1 after k finished ones: also a run that stops at once has a place on the log axis.
        ends += list(rounds.samples[stopped.samples > 0] + 1)
        alive += list(rounds.samples[stopped.samples == 0] + 1)
    until = float(np.median(alive)) if alive else float("nan")
    return chart.Lifetimes(label, np.array(ends), still_running=len(alive), until=until)


class _Child:
    """One child that was killed: which thread held which lock, wanted which, and its tid."""

    def __init__(self, points: NDArray[Any]) -> None:
        locks, threads = points[points["kind"] == _LOCKS], points[points["kind"] == _THREAD]
        self.holds = {int(p["subject"]) + 1: int(p["x"]) for p in locks}
        self.wants = {int(p["subject"]) + 1: int(p["y"]) for p in locks}
        self.tids = {int(p["subject"]) + 1: int(p["x"]) for p in threads}

    def table(self) -> Table:
        """Who holds what and waits for what."""
        lines = tuple(
            (f"thread {t}", self.tids.get(t, 0), LOCK_NAMES[self.holds[t]], LOCK_NAMES[self.wants[t]])
            for t in sorted(self.holds)
        )
        return Table("The last child, before it was killed", ("thread", "tid", "holds", "waits for"), lines)

    def sentence(self) -> str:
        """The cycle in words, or that there was none."""
        cycle = wait_cycle(self.holds, self.wants)
        if not cycle:
            return "In the last child no cycle was closed."
        steps = [
            f"thread {t} (tid {self.tids.get(t, 0)}) holds {LOCK_NAMES[self.holds[t]]} and waits for "
            f"{LOCK_NAMES[self.wants[t]]}, which thread {cycle[(i + 1) % len(cycle)]} holds"
            for i, t in enumerate(cycle)
        ]
        return f"The cycle in the last child: {'; '.join(steps)}. It was killed."


def _children(outcome: PlanOutcome) -> list[_Child]:
    """The children of all rounds; none where the variant could not run."""
    if CHILD in outcome.failures:
        return []
    points = outcome.points_of(CHILD)
    return [_Child(points[points["round"] == number]) for number in np.unique(points["round"])]
