"""From what programs print to verdicts: samples by program, metric and round, and goals held against them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from peer_goals import BY_NAME, Goal, suite_of

from filar.lab import stats

# Fewer have no sign-test interval at 95 %.  Memory is no matter of luck: two rounds do.
ROUNDS_MIN = 6
HOLDS, MISSED, NOT_DECIDED, NOT_MEASURED = "holds", "missed", "not decided", "not measured"


@dataclass(frozen=True)
class Parsed:
    """What a program printed: samples by metric with their unit, and lines it skips with the reason."""

    samples: dict[str, list[float]]
    units: dict[str, str]
    skips: dict[str, str]


def parse(text: str) -> Parsed:
    """Reads `LINE METRIC VALUE UNIT` and `skip LINE REASON`; ValueError names a line that is neither."""
    found = Parsed({}, {}, {})
    for row in text.splitlines():
        words = row.split()
        if len(words) >= 2 and words[0] == "skip":
            found.skips[words[1]] = " ".join(words[2:])
        elif len(words) == 4 and words[0] in BY_NAME:
            key = f"{words[0]}.{words[1]}"
            found.samples.setdefault(key, []).append(float(words[2]))
            found.units[key] = words[3]
        elif words:
            raise ValueError(f"a program printed {row!r}: neither a sample nor a skip")
    return found


class Samples:
    """The value of each program, metric and round; a round without one is left out."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[int, float]]] = {}
        self.units: dict[str, str] = {}

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Samples:
        """Those of a result file, whose rounds are text as all keys of JSON."""
        found = cls()
        found.units = dict(result["units"])
        for program, metrics in result["samples"].items():
            found.values[program] = {
                key: {int(number): value for number, value in values.items()} for key, values in metrics.items()
            }
        return found

    def add(self, program: str, number: int, parsed: Parsed) -> None:
        """The least of the samples counts: noise only adds."""
        for key, samples in parsed.samples.items():
            self.values.setdefault(program, {}).setdefault(key, {})[number] = min(samples)
        self.units.update(parsed.units)

    def metrics(self, line: str) -> list[str]:
        """What anybody has measured of a line, in the order of first sight, "NAME.cpu" not counted apart."""
        keys = [key for values in self.values.values() for key in values if key.startswith(f"{line}.")]
        return list(dict.fromkeys(key.removeprefix(f"{line}.").removesuffix(".cpu") for key in keys))

    def by_cpu(self, line: str, metric: str) -> bool:
        """Whether the CPU time counts: the line is judged by it, and it was measured."""
        return BY_NAME[line].cpu and any(f"{line}.{metric}.cpu" in values for values in self.values.values())

    def series(self, program: str, line: str, metric: str) -> dict[int, float]:
        """By round; CPU time where the line is judged by it and it was measured."""
        metrics = self.values.get(program, {})
        if BY_NAME[line].cpu and f"{line}.{metric}.cpu" in metrics:
            return metrics[f"{line}.{metric}.cpu"]
        return metrics.get(f"{line}.{metric}", {})

    def ratio(self, line: str, metric: str, peer: str, peer_metric: str | None = None) -> stats.Interval:
        """Ours over the peer's, formed within rounds; NOTHING where no round has both.

        What is a difference can come out at 0 or below: over such a figure there is no ratio.
        """
        ours = self.series(suite_of(line).ours, line, metric)
        theirs = self.series(peer, line, peer_metric or metric)
        both = sorted(number for number in set(ours) & set(theirs) if theirs[number] > 0)
        return stats.paired_ratio([ours[i] for i in both], [theirs[i] for i in both])


def enough(line: str, rounds: int) -> bool:
    """Whether so many rounds can decide anything about a line."""
    return rounds >= ROUNDS_MIN or (rounds > 0 and BY_NAME[line].rounds_max < ROUNDS_MIN)


@dataclass(frozen=True)
class Verdict:
    """Whether a goal is met: "holds", "missed", "not decided" or "not measured"; the figures are the ratio's."""

    goal: Goal
    word: str
    mid: float
    lo: float
    hi: float
    n: int
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the files."""
        return {
            **asdict(self.goal),
            "goal": self.goal.text,
            "word": self.word,
            **interval_json(stats.Interval(self.mid, self.lo, self.hi, self.n)),
            "reason": self.reason,
        }


def judge(goal: Goal, samples: Samples, notes: Mapping[str, str] | None = None) -> Verdict:
    """By the interval of the ratio (or of the value): all of it on one side of the limit, or not decided.

    `notes` say by "PROGRAM LINE" why a program has left out a line.
    """
    ours = suite_of(goal.line).ours
    if goal.peer is None:
        interval = stats.median_interval(list(samples.series(ours, goal.line, goal.metric).values()))
    else:
        interval = samples.ratio(goal.line, goal.metric, goal.peer, goal.peer_metric)
    figures = (interval.mid, interval.lo, interval.hi, interval.n)
    if not interval.n:
        return Verdict(goal, NOT_MEASURED, *figures, _absence(goal, samples, notes or {}))
    if not enough(goal.line, interval.n):
        return Verdict(goal, NOT_DECIDED, *figures, f"fewer than {ROUNDS_MIN} rounds")
    word = HOLDS if interval.hi <= goal.limit else MISSED if interval.lo > goal.limit else NOT_DECIDED
    return Verdict(goal, word, *figures)


def _absence(goal: Goal, samples: Samples, notes: Mapping[str, str]) -> str:
    """Whose figure is missing, and why if that was said."""
    ours = suite_of(goal.line).ours
    who = ours if goal.peer is None or not samples.series(ours, goal.line, goal.metric) else goal.peer
    return f"{who}: {notes.get(f'{who} {goal.line}', 'no figure')}"


def rounded(value: float) -> float | None:
    """Six digits; JSON has no NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def interval_json(interval: stats.Interval) -> dict[str, Any]:
    """For the files."""
    return {"mid": rounded(interval.mid), "lo": rounded(interval.lo), "hi": rounded(interval.hi), "n": interval.n}
