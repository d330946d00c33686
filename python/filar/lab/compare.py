"""Two or more results or reports side by side: what is faster, slower, the same, or only in one.

Runs are not paired (they ran at other times, maybe on other machines), so the interval is a bootstrap of the ratio
of medians. It knows the spread inside each run, not what came between them. Hence three more conditions: a change is
larger than the A/A noise of the reports and their drift together, and a time or rate counts as faster or slower only
if its floor, which drifts less, moved the same way.

Drift is what a loop in registers shows, which nothing but the clock of the CPU can change: that of the self-check,
that of the floors, and the clock probes beside the samples of each experiment. Between two machines, or two builds,
the loop says something else, and there is no drift.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from filar._tables import Column, html_table, named_columns, text_table
from filar.chart import Dot, Dots, format_quantity
from filar.errors import InvalidArgumentError
from filar.lab import jsonfile, stats
from filar.lab.base import Row
from filar.lab.report import Report, load
from filar.lab.result import Result

__all__ = ["NOISE_MIN", "Change", "Comparison", "compare", "told_apart"]

# Without an A/A measurement, and below it in any case, a change of 1 % between two runs is nothing.
NOISE_MIN = 0.01
_ZERO = 1e-12
# Rows that time a loop in registers: experiment and the variants of it.
_LOOPS = (("self-check", ("float loop, A", "float loop, B")), ("floors", ("1,000 additions",)))
_SAME_MACHINE = ("cpu_model", "machine", "build.compiler", "build.flags")
_TIMES = ("ns", "us", "µs", "ms", "s")

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
    """Of the best samples: the least, of rates the greatest."""
    word: str
    threshold: float = NOISE_MIN
    """A change of the median up to this share is none: noise and drift."""

    @property
    def is_change(self) -> bool:
        """Whether it is beyond interval and noise."""
        return self.word in ("faster", "slower", "more", "less")


@dataclass
class Comparison:
    """The base against each of the others. `str()` is a table, notebooks show HTML."""

    names: list[str]
    noise: list[float]
    drift: list[float]
    """How far the clock of the CPU moved from the base: 0.03 when the same loop took 3 % longer; 0 if not known."""
    changes: list[list[Change]]
    verdicts: list[list[tuple[str, str, str]]]
    only_in_base: list[list[str]]
    only_in_other: list[list[str]]
    host_differences: list[dict[str, tuple[Any, Any]]]
    notes: list[str] = field(default_factory=list)
    sides: list[dict[str, Result]] = field(default_factory=list)
    """The results themselves by experiment, of the base first."""

    @property
    def has_slower(self) -> bool:
        """Whether anything got slower in any of the others: a gate may ask this."""
        return any(change.word == "slower" for part in self.changes for change in part)

    @property
    def same_machine(self) -> bool:
        """Whether all were measured on one kind of machine, as far as a record without names can tell."""
        return not any(key in found for found in self.host_differences for key in ("cpu_model", "machine"))

    def experiments(self) -> list[str]:
        """What two sides at least have measured, in order of measurement."""
        counts = Counter(name for side in self.sides for name in side)
        return [name for name, count in counts.items() if count > 1]

    def charts(self) -> dict[str, Dots]:
        """By experiment a picture of all sides: their medians of its first metric with 95 % intervals and floors."""
        drawn = {}
        for name in self.experiments():
            first = next((row for side in self.sides if name in side for row in side[name].rows), None)
            dots = self._dots(name, first) if first is not None else []
            if first is not None and dots:
                drawn[name] = Dots(rows=dots, unit=first.unit, rank=False, title=f"{name}: {first.metric}")
        return drawn

    def _dots(self, name: str, first: Row) -> list[Dot]:
        """A group for each variant, in it a dot for each side that has it in the same unit."""
        rows = [
            (variant, label, side[name].rows.find(variant, first.metric))
            for variant in dict.fromkeys(v for side in self.sides if name in side for v in side[name].rows.variants())
            for label, side in zip(self.names, self.sides, strict=True)
            if name in side
        ]
        return [
            Dot(label, row.median, row.interval.lo, row.interval.hi, floor=row.min, group=variant)
            for variant, label, row in rows
            if row is not None and row.unit == first.unit
        ]

    def _lines(self, index: int) -> list[tuple[str, ...]]:
        lines = []
        for c in self.changes[index]:
            ratio = f"{c.ratio.mid:.3f}" if c.ratio.n else "–"
            interval = f"{c.ratio.lo:.3f} to {c.ratio.hi:.3f}" if c.ratio.n else "–"
            floor = f"{c.floor_ratio:.3f}" if math.isfinite(c.floor_ratio) else "–"
            medians = (format_quantity(value, c.unit) for value in (c.base, c.other))
            lines.append((c.experiment, c.variant, c.metric, *medians, ratio, interval, floor, c.word))
        return lines

    def _columns(self, index: int) -> list[Column]:
        names = (self.names[0], self.names[index + 1])
        return named_columns(("experiment", "variant", "metric", *names, "ratio", "95 % interval", "floors", ""), 3)

    def _remarks(self, index: int) -> list[str]:
        remarks = [f"Verdict of {name}: {was} → {now}" for name, was, now in self.verdicts[index]]
        for name, rows in ((self.names[0], self.only_in_base), (self.names[index + 1], self.only_in_other)):
            if rows[index]:
                remarks.append(f"Only in {name}: {', '.join(rows[index])}")
        differences = self.host_differences[index]
        for key, (was, now) in differences.items():
            remarks.append(f"Host: {key} {_short(was)} → {_short(now)}")
        return [*remarks, self.threshold_words(index)]

    def threshold_words(self, index: int) -> str:
        """From where on a change counts in part `index`, and why."""
        noise, drift = 100 * self.noise[index], 100 * abs(self.drift[index])
        moved = self._drift_words(index) if drift >= 0.05 else ""
        return (
            f"{moved}A change up to {noise + drift:.1f} % counts as the same (A/A noise {noise:.1f} %, drift "
            f"{drift:.1f} %, more where an experiment's own clock probes moved more); nothing is faster or slower "
            "unless its floor moved the same way."
        )

    def _drift_words(self, index: int) -> str:
        drift, longer = 100 * abs(self.drift[index]), "longer" if self.drift[index] > 0 else "less"
        return f"The clock of the CPU moved: the same loop took {drift:.1f} % {longer} than in {self.names[0]}. "

    def __str__(self) -> str:
        parts = []
        for index in range(len(self.changes)):
            lines = self._lines(index)
            table = text_table(self._columns(index), lines) if lines else "They have no row in common."
            parts.append("\n".join([table, "", *self._remarks(index)]))
        return "\n\n".join([*parts, *self.notes])

    def __repr__(self) -> str:
        counts = [sum(c.word == word for part in self.changes for c in part) for word in ("faster", "slower", "same")]
        return f"<Comparison of {' with '.join(self.names)}: {counts[0]} faster, {counts[1]} slower, {counts[2]} same>"

    def _repr_html_(self) -> str:
        parts = []
        for index in range(len(self.changes)):
            lines = self._lines(index)
            parts.append(html_table(self._columns(index), lines) if lines else "<p>They have no row in common.</p>")
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
                    "drift": jsonfile.number(self.drift[index]),
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
        "threshold": jsonfile.number(change.threshold),
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
    labels = told_apart(names or _labels([base, other, *more]))
    if len(labels) != len(sides):
        raise InvalidArgumentError(f"{len(sides)} things to compare need as many names, not {len(labels)}")
    found = Comparison(labels, [], [], [], [], [], [], [], sides=[_results(side) for side in sides])
    for side in sides[1:]:
        _compare_two(found, sides[0], side)
    found.notes.append(
        "Ratios are of medians of runs at different times: what came between them is not in the interval."
    )
    return found


def _labels(sides: list[Comparable]) -> list[str]:
    """File names where there are files, with as much of their folders as tells them apart, else letters.

    Reports are all called the same: then the folders are their names.
    """
    paths = [os.fspath(side) if isinstance(side, str | os.PathLike) else None for side in sides]
    parts = {path: (*Path(path).parts[:-1], os.path.splitext(os.path.basename(path))[0]) for path in paths if path}
    if len(parts) > 1 and len({names[-1] for names in parts.values()}) == 1 and min(map(len, parts.values())) > 1:
        parts = {path: names[:-1] for path, names in parts.items()}
    labels = []
    for index, path in enumerate(paths):
        if path:
            labels.append(_tail(parts[path], [other for name, other in parts.items() if name != path]))
        else:
            labels.append("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[index % 26] + (str(index // 26) if index >= 26 else ""))
    return labels


def _tail(parts: tuple[str, ...], others: list[tuple[str, ...]]) -> str:
    """The shortest end of a path that no other one has: "tuesday/a"."""
    length = 1
    while length < len(parts) and any(other[-length:] == parts[-length:] for other in others):
        length += 1
    return os.path.join(*parts[-length:])


def told_apart(labels: list[str]) -> list[str]:
    """The same name twice gets a number: a file beside itself, or the reports of hosts of one name."""
    taken: Counter[str] = Counter()
    found = []
    for label in labels:
        taken[label] += 1
        found.append(label if taken[label] == 1 else f"{label} ({taken[label]})")
    return found


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


def _same_machine(base: Result | Report, other: Result | Report) -> bool:
    return all(_look_up(base.host, key) == _look_up(other.host, key) for key in _SAME_MACHINE)


def _farthest(ratios: Iterable[float]) -> float:
    """Of several ratios the one that is farthest from 1, less 1; 0 of none."""
    return max((ratio - 1 for ratio in ratios if math.isfinite(ratio) and ratio > 0), key=abs, default=0.0)


def _loop_drift(base: Mapping[str, Result], other: Mapping[str, Result]) -> float:
    """By how much the loops of the self-check and the floors take longer in the other; the one that moved most."""
    ratios = []
    for name, variants in _LOOPS:
        for variant in variants if name in base and name in other else ():
            was, now = base[name].rows.find(variant), other[name].rows.find(variant)
            if was is not None and now is not None and was.median > 0:
                ratios.append(now.median / was.median)
    return _farthest(ratios)


def _clock_drift(base: Result, other: Result) -> float:
    """By how much the clock probes beside the samples of one experiment take longer in the other."""
    was, now = (side.conditions.get("clock_ns") for side in (base, other))
    if not isinstance(was, int | float) or not isinstance(now, int | float) or was <= 0:
        return 0.0
    return _farthest([now / was])


def _compare_two(found: Comparison, base: Result | Report, other: Result | Report) -> None:
    mine, theirs = _results(base), _results(other)
    noise, same_machine = _noise(base, other), _same_machine(base, other)
    drift = _loop_drift(mine, theirs) if same_machine else 0.0
    changes: list[Change] = []
    verdicts = []
    only_base = [name for name in mine if name not in theirs]
    only_other = [name for name in theirs if name not in mine]
    for name in mine:
        if name not in theirs:
            continue
        rows, rows_there = ({(r.variant, r.metric): r for r in side[name].rows} for side in (mine, theirs))
        clock = _clock_drift(mine[name], theirs[name]) if same_machine else 0.0
        threshold = noise + max(abs(drift), abs(clock))
        changes += [_change(name, row, rows_there[key], threshold) for key, row in rows.items() if key in rows_there]
        only_base += [f"{name} / {v} / {m}" for v, m in rows if (v, m) not in rows_there]
        only_other += [f"{name} / {v} / {m}" for v, m in rows_there if (v, m) not in rows]
        was, now = str(mine[name].verdict), str(theirs[name].verdict)
        if was != now:
            verdicts.append((name, was, now))
    found.noise.append(noise)
    found.drift.append(drift)
    found.changes.append(changes)
    found.verdicts.append(verdicts)
    found.only_in_base.append(only_base)
    found.only_in_other.append(only_other)
    found.host_differences.append(_host_differences(base, other))


def _is_rate(unit: str) -> bool:
    return unit.endswith("/s")


def _best(row: Row) -> float:
    """The sample that disturbance spoilt least."""
    return float(np.nanmax(row.samples)) if _is_rate(row.unit) and row.n else row.min


def _change(experiment: str, base: Row, other: Row, threshold: float) -> Change:
    same_unit = base.unit == other.unit
    ratio = stats.ratio_of_medians(other.samples, base.samples) if same_unit else stats.NOTHING
    floors = _best(other) / _best(base) if same_unit and _best(base) else math.nan
    word = _word(ratio, floors, base, other, threshold) if same_unit else "other unit"
    return Change(
        experiment, base.variant, base.metric, base.unit, base.median, other.median, ratio, floors, word, threshold
    )


def _word(ratio: stats.Interval, floors: float, base: Row, other: Row, threshold: float) -> str:
    if not ratio.n:
        # A median of 0 below: no ratio, but 0 against 0 is the same and anything else is more.
        if abs(base.median) < _ZERO and abs(other.median) < _ZERO:
            return "same"
        return "not comparable"
    if ratio.contains(1.0) or abs(ratio.mid - 1) <= threshold:
        return "same"
    up = ratio.mid > 1
    if base.unit not in _TIMES and not _is_rate(base.unit):
        return "more" if up else "less"
    if math.isfinite(floors) and not (floors > 1 if up else floors < 1):
        return "same"
    return "faster" if up == _is_rate(base.unit) else "slower"


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
