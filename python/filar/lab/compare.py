"""Two or more results or reports side by side: what is faster, slower, the same, or only in one.

Runs are not paired (they ran at other times, maybe on other machines), so the interval is a bootstrap of the ratio
of medians. It knows the spread inside each run, not the drift between them: hence the A/A noise of the reports as
a second threshold, and the ratio of the floors, which drift less, beside it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from filar.chart import format_quantity
from filar.errors import InvalidArgumentError
from filar.lab import jsonfile, stats
from filar.lab.base import Row
from filar.lab.report import Report, load
from filar.lab.result import Result
from filar.lab.table import html_table, text_table

__all__ = ["NOISE_MIN", "Change", "Comparison", "compare"]

# Without an A/A measurement, and below it in any case, a change of 1 % between two runs is nothing.
NOISE_MIN = 0.01
_ZERO = 1e-12

_HOST_KEYS = (
    "cpu_model", "machine", "cpus_online", "cpus_allowed", "cpu_quota", "smt", "governor", "turbo", "memory_bytes",
    "kernel_release", "tick_hz", "clocksource", "autogroup", "transparent_hugepages", "mitigations", "hypervisor",
    "container", "nice", "libc", "python.version", "python.implementation", "python.gil", "python.debug",
    "filar_version", "build.compiler", "build.flags", "build.commit",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One row of one experiment in the base and in one other; `word` says what happened to it."""

    experiment: str
    variant: str
    metric: str
    unit: str
    base: float
    other: float
    ratio: stats.Interval
    floor_ratio: float
    word: str

    @property
    def is_change(self) -> bool:
        """Whether it is beyond interval and noise."""
        return self.word in ("faster", "slower", "more", "less")


@dataclass
class Comparison:
    """The base against each of the others. `str()` is a table, notebooks show HTML."""

    names: list[str]
    noise: list[float]
    changes: list[list[Change]]
    verdicts: list[list[tuple[str, str, str]]]
    only_in_base: list[list[str]]
    only_in_other: list[list[str]]
    host_differences: list[dict[str, tuple[Any, Any]]]
    notes: list[str] = field(default_factory=list)

    @property
    def has_slower(self) -> bool:
        """Whether anything got slower in any of the others: a gate may ask this."""
        return any(change.word == "slower" for part in self.changes for change in part)

    def _lines(self, index: int) -> list[tuple[str, ...]]:
        lines = []
        for c in self.changes[index]:
            ratio = f"{c.ratio.mid:.3f}" if c.ratio.n else "–"
            interval = f"{c.ratio.lo:.3f} to {c.ratio.hi:.3f}" if c.ratio.n else "–"
            floor = f"{c.floor_ratio:.3f}" if math.isfinite(c.floor_ratio) else "–"
            medians = (format_quantity(value, c.unit) for value in (c.base, c.other))
            lines.append((c.experiment, c.variant, c.metric, *medians, ratio, interval, floor, c.word))
        return lines

    def _headings(self, index: int) -> tuple[str, ...]:
        names = (self.names[0], self.names[index + 1])
        return ("experiment", "variant", "metric", *names, "ratio", "95 % interval", "floors", "")

    def _remarks(self, index: int) -> list[str]:
        remarks = [f"Verdict of {name}: {was} → {now}" for name, was, now in self.verdicts[index]]
        for name, rows in ((self.names[0], self.only_in_base), (self.names[index + 1], self.only_in_other)):
            if rows[index]:
                remarks.append(f"Only in {name}: {', '.join(rows[index])}")
        differences = self.host_differences[index]
        for key, (was, now) in differences.items():
            remarks.append(f"Host: {key} {_short(was)} → {_short(now)}")
        remarks.append(f"Changes below {100 * self.noise[index]:.1f} % count as the same (A/A noise).")
        return remarks

    def __str__(self) -> str:
        parts = []
        for index in range(len(self.changes)):
            lines = self._lines(index)
            table = text_table(self._headings(index), lines, 3) if lines else "They have no row in common."
            parts.append("\n".join([table, "", *self._remarks(index)]))
        return "\n\n".join([*parts, *self.notes])

    def __repr__(self) -> str:
        counts = [sum(c.word == word for part in self.changes for c in part) for word in ("faster", "slower", "same")]
        return f"<Comparison of {' with '.join(self.names)}: {counts[0]} faster, {counts[1]} slower, {counts[2]} same>"

    def _repr_html_(self) -> str:
        parts = []
        for index in range(len(self.changes)):
            lines = self._lines(index)
            parts.append(html_table(self._headings(index), lines, 3) if lines else "<p>They have no row in common.</p>")
            parts += [f"<p>{escape(remark)}</p>" for remark in self._remarks(index)]
        return "".join([*parts, *(f"<p>{escape(note)}</p>" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """As plain data: one entry for each of the others, with its rows, what is only in one, and the hosts."""
        return {
            "schema": "filar-comparison/1",
            "base": self.names[0],
            "notes": self.notes,
            "others": [
                {
                    "name": self.names[index + 1],
                    "noise": jsonfile.number(self.noise[index]),
                    "rows": [_change_to_dict(change) for change in self.changes[index]],
                    "verdicts": [
                        {"experiment": name, "base": was, "other": now} for name, was, now in self.verdicts[index]
                    ],
                    "only_in_base": self.only_in_base[index],
                    "only_in_other": self.only_in_other[index],
                    "host_differences": jsonfile.plain(self.host_differences[index]),
                }
                for index in range(len(self.changes))
            ],
        }


def _change_to_dict(change: Change) -> dict[str, Any]:
    return {
        "experiment": change.experiment,
        "variant": change.variant,
        "metric": change.metric,
        "unit": change.unit,
        "base": jsonfile.number(change.base),
        "other": jsonfile.number(change.other),
        "ratio": jsonfile.number(change.ratio.mid),
        "lo": jsonfile.number(change.ratio.lo),
        "hi": jsonfile.number(change.ratio.hi),
        "floor_ratio": jsonfile.number(change.floor_ratio),
        "change": change.word,
    }


Comparable = Result | Report | str | os.PathLike[str]


def compare(base: Comparable, other: Comparable, *more: Comparable, names: list[str] | None = None) -> Comparison:
    """Compares results or reports, or files of them, with the first; ratios are other / base.

    ResultFileError if a file is not one of ours, InvalidArgumentError if the names do not fit.
    """
    sides = [load(side) if isinstance(side, str | os.PathLike) else side for side in (base, other, *more)]
    if not all(isinstance(side, Result | Report) for side in sides):
        raise InvalidArgumentError("compare() takes results, reports, or paths of their files")
    labels = names or _labels([base, other, *more])
    if len(labels) != len(sides):
        raise InvalidArgumentError(f"{len(sides)} things to compare need as many names, not {len(labels)}")
    found = Comparison(labels, [], [], [], [], [], [])
    for side in sides[1:]:
        _compare_two(found, sides[0], side)
    found.notes.append("Ratios are of medians of runs at different times: drift between them is not in the interval.")
    return found


def _labels(sides: list[Comparable]) -> list[str]:
    """File names where there are files, told apart by their folders, else letters."""
    paths = [os.fspath(side) if isinstance(side, str | os.PathLike) else None for side in sides]
    bases = [os.path.splitext(os.path.basename(path))[0] if path else None for path in paths]
    labels = []
    for index, (path, name) in enumerate(zip(paths, bases, strict=True)):
        if path is None or name is None:
            labels.append("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index % 26])
        else:
            labels.append(path if bases.count(name) > 1 else name)
    return labels


def _results(side: Result | Report) -> dict[str, Result]:
    return {side.experiment: side} if isinstance(side, Result) else {r.experiment: r for r in side}


def _noise(*sides: Result | Report) -> float:
    """The larger A/A error of the two, at least NOISE_MIN."""
    errors = [NOISE_MIN]
    for side in sides:
        if isinstance(side, Report):
            errors.append(float(side.self_check.get("error") or 0.0))
        else:
            errors.append(float(side.conditions.get("self_check_percent") or 0.0) / 100)
    return max(error for error in errors if math.isfinite(error))


def _compare_two(found: Comparison, base: Result | Report, other: Result | Report) -> None:
    mine, theirs = _results(base), _results(other)
    noise = _noise(base, other)
    changes: list[Change] = []
    verdicts = []
    only_base = [name for name in mine if name not in theirs]
    only_other = [name for name in theirs if name not in mine]
    for name in mine:
        if name not in theirs:
            continue
        rows, rows_there = ({(r.variant, r.metric): r for r in side[name].rows} for side in (mine, theirs))
        changes += [_change(name, row, rows_there[key], noise) for key, row in rows.items() if key in rows_there]
        only_base += [f"{name} / {v} / {m}" for v, m in rows if (v, m) not in rows_there]
        only_other += [f"{name} / {v} / {m}" for v, m in rows_there if (v, m) not in rows]
        was, now = str(mine[name].verdict), str(theirs[name].verdict)
        if was != now:
            verdicts.append((name, was, now))
    found.noise.append(noise)
    found.changes.append(changes)
    found.verdicts.append(verdicts)
    found.only_in_base.append(only_base)
    found.only_in_other.append(only_other)
    found.host_differences.append(_host_differences(base, other))


def _change(experiment: str, base: Row, other: Row, noise: float) -> Change:
    ratio = stats.NOTHING if base.unit != other.unit else stats.ratio_of_medians(other.samples, base.samples)
    floors = other.min / base.min if base.min and base.unit == other.unit else math.nan
    word = "other unit" if base.unit != other.unit else _word(ratio, base, other, noise)
    return Change(
        experiment, base.variant, base.metric, base.unit, base.median, other.median, ratio, floors, word
    )  # fmt: skip


def _word(ratio: stats.Interval, base: Row, other: Row, noise: float) -> str:
    if not ratio.n:
        # A median of 0 below: no ratio, but 0 against 0 is the same and anything else is more.
        if abs(base.median) < _ZERO and abs(other.median) < _ZERO:
            return "same"
        return "not comparable"
    if ratio.contains(1.0) or abs(ratio.mid - 1) <= noise:
        return "same"
    up = ratio.mid > 1
    if base.unit in ("ns", "us", "µs", "ms", "s"):
        return "slower" if up else "faster"
    if base.unit.endswith("/s"):
        return "faster" if up else "slower"
    return "more" if up else "less"


def _look_up(host: Mapping[str, Any], key: str) -> Any:
    value: Any = host
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _host_differences(base: Result | Report, other: Result | Report) -> dict[str, tuple[Any, Any]]:
    """What differs of that which changes timings; the mode is one of them."""
    pairs = {key: (_look_up(base.host, key), _look_up(other.host, key)) for key in _HOST_KEYS}
    pairs["mode"] = (base.mode, other.mode)
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _short(value: Any) -> str:
    words = "unknown" if value is None else str(value)
    return words if len(words) <= 60 else words[:57] + "..."
