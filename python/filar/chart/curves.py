"""Charts over two numeric axes: lines, stacks, distributions, survival."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .base import NAN, Chart, Numbers, same_length
from .figure import (
    DASHES,
    Band,
    Box,
    End,
    Figure,
    Guide,
    Key,
    Mark,
    Path,
    Points,
    Row,
    Rule,
    Text,
    series_ink,
    series_marker,
)
from .scale import Kind, Scale, Tick, dropped_note, fit, format_quantity, thin, tick_text


@dataclass(frozen=True, eq=False)
class Series:
    """One line of Lines: y over x, optionally an interval lo .. hi at each point.

    dashed    draws a model: dashes, no markers, in quiet ink
    whiskers  shows the interval as whiskers instead of a band
    steps     y holds until the next x: a staircase without markers; give it at most some hundred
    """

    label: str
    x: Numbers
    y: Numbers
    lo: Numbers | None = None
    hi: Numbers | None = None
    dashed: bool = False
    whiskers: bool = False
    steps: bool = False

    def __post_init__(self) -> None:
        same_length(f"series {self.label!r}", x=self.x, y=self.y, lo=self.lo, hi=self.hi)


@dataclass(frozen=True)
class Marked:
    """A line across the plot at one value of an axis, with a label: "break-even", "usable cores"."""

    value: float
    label: str
    axis: Literal["x", "y"] = "x"


QUARTERS = tuple((share, f"{share:g} %") for share in (0.0, 25.0, 50.0, 75.0, 100.0))


def _fixed(ticks: Sequence[float] | None, unit: str) -> tuple[Tick, ...] | None:
    if ticks is None:
        return None
    return tuple((float(tick), tick_text(float(tick), unit)) for tick in ticks)


def _with_ticks(scale: Scale, ticks: Sequence[float] | None) -> Scale:
    fixed = _fixed(ticks, scale.unit)
    return Scale(scale.kind, scale.low, scale.high, scale.unit, scale.zero_at, fixed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines(Chart):
    """One or more series over x, with intervals, models and marked lines.

    x_unit, y_unit    of the values (see format_quantity)
    x_scale, y_scale  "linear", "log" (decades) or "log2" (powers of two: threads, sizes)
    x_ticks           the only values to label on the x axis
    y_from_zero       begins a linear y axis at 0
    height            of the plot in pixels
    """

    series: Sequence[Series]
    x_unit: str = ""
    y_unit: str = ""
    x_scale: Kind = "linear"
    y_scale: Kind = "linear"
    x_ticks: Sequence[float] | None = None
    marked: Sequence[Marked] = ()
    y_from_zero: bool = False
    height: int = 300

    def figure(self) -> Figure:
        """Bands first, then lines, then markers; labels at the ends where they fit."""
        zero = (0.0,) if self.y_from_zero and self.y_scale == "linear" else ()
        xs = [one.x for one in self.series]
        ys = [one.y for one in self.series]
        extent = [w for one in self.series for w in (one.lo, one.hi) if w is not None]
        x_lines = [m.value for m in self.marked if m.axis == "x"]
        y_lines = [m.value for m in self.marked if m.axis == "y"]
        pad = 0.02 if any(len(one.x) > 100 for one in self.series) else 0.04
        x = _with_ticks(fit(self.x_scale, xs, [x_lines], unit=self.x_unit, pad=pad), self.x_ticks)
        y = fit(self.y_scale, ys, [*extent, y_lines], unit=self.y_unit, include=zero, pad=0.06)
        bands: list[Mark] = []
        lines: list[Mark] = []
        dots: list[Mark] = []
        ends: list[End] = []
        measured = models = 0
        for one in self.series:
            if one.dashed:
                ink, dash, marker = "c6" if models < 3 else series_ink(models), DASHES[1 + models % 6], ""
                models += 1
            else:
                ink, dash, marker = series_ink(measured), "", series_marker(measured)
                if measured >= 7:
                    dash = DASHES[measured // 7 % 7]
                measured += 1
            px, py = x.clean(one.x), y.clean(one.y)
            seen = ~np.isnan(px + py)
            if not seen.any():
                continue
            if one.lo is not None and one.hi is not None:
                bands += _interval(one, px, y, ink)
            tx, ty = (np.repeat(px, 2)[1:], np.repeat(py, 2)[:-1]) if one.steps else thin(px, py)
            lines.append(Path(tx, ty, ink, dash, 1.6 if one.dashed else 1.9))
            if marker and not one.steps and seen.sum() <= 60:
                dots.append(Points(px, py, ink, marker, 3.4, title=one.label))
            else:
                marker = ""
            last = int(np.flatnonzero(seen)[np.argmax(px[seen])])
            key = Key(one.label, ink, "line", marker, dash)
            ends.append(End(key, float(px[last]), float(py[last])))
        notes = dropped_note(x, *xs, axis="x") + dropped_note(y, *ys, axis="y")
        if not ends:
            return Figure.without_data(self.height, notes)
        return Figure(
            x=x,
            y=y,
            height=self.height,
            marks=bands + lines + dots,
            ends=ends,
            guides=[Guide(m.value, m.label, m.axis) for m in self.marked if _visible(m, x, y)],
            notes=notes,
            summary=_course(self.series, self.x_unit, self.y_unit),
        )


def _visible(mark: Marked, x: Scale, y: Scale) -> bool:
    scale = x if mark.axis == "x" else y
    return math.isfinite(mark.value) and not np.isnan(scale.clean([mark.value])[0])


def _interval(one: Series, px: np.ndarray, y: Scale, ink: str) -> list[Mark]:
    low, high = y.clamp(one.lo), y.clamp(one.hi)
    if not one.whiskers:
        return [Band(*_thin_band(px, low, high), ink)]
    return [
        Rule(a, b, a, c, ink, 1.3, cap=7)
        for a, b, c in zip(px.tolist(), low.tolist(), high.tolist(), strict=True)
        if not math.isnan(a + b + c)
    ]


def _thin_band(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join neighbours of a long band, so that each stretch keeps its widest reach."""
    if len(x) <= 400:
        return x, low, high
    parts = np.array_split(np.arange(len(x)), 200)
    with np.errstate(all="ignore"):
        return (
            np.array([x[p[0]] for p in parts]),
            np.array([np.min(low[p]) for p in parts]),
            np.array([np.max(high[p]) for p in parts]),
        )


def _course(series: Sequence[Series], x_unit: str, y_unit: str) -> str:
    """Say where each series begins and ends."""
    words = []
    for one in series:
        x, y = np.asarray(one.x, dtype=float), np.asarray(one.y, dtype=float)
        good = np.isfinite(x) & np.isfinite(y)
        if good.any():
            order = np.argsort(x[good], kind="stable")
            x, y = x[good][order], y[good][order]
            words.append(
                f"{one.label or 'the line'} goes from {format_quantity(y[0], y_unit)} at "
                f"{format_quantity(x[0], x_unit)} to {format_quantity(y[-1], y_unit)} at "
                f"{format_quantity(x[-1], x_unit)}"
            )
    if not words:
        return "No data."
    return f"{len(words)} line{'s' if len(words) > 1 else ''}: " + "; ".join(words) + "."


@dataclass(frozen=True, eq=False)
class Part:
    """One layer of a Stack: a value at each x; the first layer lies at the bottom."""

    label: str
    values: Numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack(Chart):
    """Parts of a whole over x: areas when x is numeric, bars when x holds names or style says so."""

    x: Sequence[float] | Sequence[str] | np.ndarray
    parts: Sequence[Part]
    unit: str = ""
    x_unit: str = ""
    x_scale: Kind = "linear"
    x_ticks: Sequence[float] | None = None
    style: Literal["auto", "areas", "bars"] = "auto"
    height: int = 300

    def __post_init__(self) -> None:
        for part in self.parts:
            same_length(f"stack part {part.label!r}", x=self.x, values=part.values)

    def figure(self) -> Figure:
        """Layers from the bottom up, separated by paper; what is missing or negative counts as nothing."""
        names = any(isinstance(x, str) for x in self.x)
        table = np.array([np.asarray(part.values, dtype=float) for part in self.parts], dtype=float)
        table = table.reshape(len(self.parts), len(self.x))
        bad = int((~np.isfinite(table) | (table < 0)).sum())
        notes = [f"{bad:,} value{'s' if bad > 1 else ''} missing or negative, drawn as 0."] if bad else []
        if table.size == 0 or bad == table.size:
            return Figure.without_data(self.height, notes)
        table = np.where(np.isfinite(table) & (table > 0), table, 0.0)
        tops = np.cumsum(table, axis=0)
        y = fit("linear", [tops], unit=self.unit, include=(0.0,), pad=0.06)
        bars = self.style == "bars" or names or len(self.x) == 1
        figure = self._bars(table, tops, y) if bars else self._areas(tops, y)
        figure.notes = notes + figure.notes
        whole = tops[-1]
        shares = ", ".join(
            f"{part.label} {format_quantity(table[k, int(np.argmax(whole))], self.unit)}"
            for k, part in enumerate(self.parts)
        )
        figure.summary = (
            f"{len(self.parts)} parts at {len(self.x)} places; at the largest, "
            f"{format_quantity(float(whole.max()), self.unit)} in all: {shares}."
        )
        return figure

    def _bars(self, table: np.ndarray, tops: np.ndarray, y: Scale) -> Figure:
        slot = 80.0
        labels = [x if isinstance(x, str) else format_quantity(float(x), self.x_unit) for x in self.x]
        columns = [Row((label,), slot * (i + 0.5), slot) for i, label in enumerate(labels)]
        half = min(0.36, 0.16 + 0.03 * len(labels)) * slot
        marks: list[Mark] = []
        for k, part in enumerate(self.parts):
            for i, column in enumerate(columns):
                if table[k, i] <= 0:
                    continue
                tip = f"{labels[i]}, {part.label}: {format_quantity(table[k, i], self.unit)}"
                low, high = tops[k, i] - table[k, i], tops[k, i]
                sides = (column.at - half, column.at + half, low, high)
                marks.append(Box(*sides, series_ink(k), gap=1, title=tip))
        x = Scale("rows", 0.0, slot * len(labels))
        marks += [
            Text(c.at, t, format_quantity(float(t), self.unit), "middle", dy=-5, bold=True)
            for c, t in zip(columns, tops[-1], strict=True)
        ]
        keys = [Key(part.label, series_ink(k), "box") for k, part in reversed(list(enumerate(self.parts)))]
        return Figure(x=x, y=y, height=self.height, marks=marks, columns=columns, keys=keys)

    def _areas(self, tops: np.ndarray, y: Scale) -> Figure:
        raw = np.asarray(self.x, dtype=float)
        scale = _with_ticks(fit(self.x_scale, [raw], unit=self.x_unit, pad=0.0), self.x_ticks)
        at = scale.clean(raw)
        order = np.argsort(at, kind="stable")
        order = order[~np.isnan(at[order])]
        marks: list[Mark] = []
        ends = []
        below = np.zeros(len(raw))
        if order.size < 2:
            return Figure.without_data(self.height, dropped_note(scale, raw, axis="x"))
        for k, part in enumerate(self.parts):
            x, low, high = _thin_band(at[order], below[order], tops[k][order])
            marks.append(Band(x, low, high, series_ink(k), 0.85))
            marks.append(Path(x, high, "paper", "", 1.2))
            last = order[-1]
            middle = float((below[last] + tops[k][last]) / 2)
            ends.append(End(Key(part.label, series_ink(k), "box"), float(at[last]), middle))
            below = tops[k]
        notes = dropped_note(scale, raw, axis="x")
        return Figure(x=scale, y=y, height=self.height, marks=marks, ends=ends, notes=notes)


@dataclass(frozen=True, eq=False)
class Samples:
    """One curve of a Cdf: a name and raw samples."""

    label: str
    values: Numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class Cdf(Chart):
    """Empirical distributions. Marks on a curve stand at the median, p99 and p99.9.

    mode  "percent" draws the share of samples up to x; "tail" draws the share beyond x on a log axis, so that
          p99 and p99.9 get as much room as the median
    """

    series: Sequence[Samples]
    unit: str = "ns"
    log: bool = True
    mode: Literal["percent", "tail"] = "percent"
    height: int = 300

    def figure(self) -> Figure:
        """One step curve for each set of samples."""
        everything = [one.values for one in self.series]
        x = fit("log" if self.log else "linear", everything, unit=self.unit)
        tail = self.mode == "tail"
        drawn = [_sorted(x, values) for values in everything]
        longest = max((v.size for v in drawn), default=0)
        notes = dropped_note(x, *everything)
        if not longest:
            return Figure.without_data(self.height, notes)
        floor = 10.0 ** -min(5, max(1, math.floor(math.log10(longest) + 1e-9)))
        if tail:
            lowest = 100 * floor * 0.8
            values = [100.0 / 10**k for k in range(8) if 100.0 / 10**k >= lowest]
            labels = tuple((v, f"{v:g} %") for v in values)
            y = Scale("log", lowest, 115.0, "%", fixed=labels)
        else:
            y = Scale("linear", 0.0, 104.0, "%", fixed=QUARTERS)
        lines: list[Mark] = []
        dots: list[Mark] = []
        keys: list[Key] = []
        words: list[str] = []
        for k, one in enumerate(self.series):
            samples = drawn[k]
            if not samples.size:
                continue
            ink, marker, dash = series_ink(k), series_marker(k), DASHES[0] if k < 7 else DASHES[1]
            share = np.arange(1, samples.size + 1) / samples.size
            stop = 100 * (1 - share + 1 / samples.size) if tail else 100 * share
            px, py = _thin_cdf(samples, stop)
            sx, sy = _steps(px, py, 0.0, before=tail)
            lines.append(Path(sx, y.clamp(sy), ink, dash))
            marks = [p for p, least in ((0.5, 1), (0.99, 100), (0.999, 1000)) if samples.size >= least]
            at = np.array([samples[min(samples.size - 1, math.ceil(p * samples.size) - 1)] for p in marks])
            height = np.array([100 * ((1 - p) if tail else p) for p in marks])
            dots.append(Points(at, height, ink, marker, 3.6, title=one.label))
            keys.append(Key(one.label, ink, "line", marker, dash))
            middle, most = (format_quantity(float(v), self.unit) for v in (np.median(samples), samples[-1]))
            words.append(f"{one.label or 'samples'} has median {middle} and maximum {most}")
        which = ("median, p99 and p99.9", "median and p99", "median")[(longest < 1000) + (longest < 100)]
        return Figure(
            x=x,
            y=y,
            height=self.height,
            marks=lines + dots,
            keys=keys,
            notes=[f"Marks: {which}.", *notes],
            summary=f"{len(words)} distribution{'s' if len(words) > 1 else ''}: " + "; ".join(words) + ".",
        )


def _sorted(scale: Scale, values: object) -> np.ndarray:
    """What can be drawn of some values, in rising order."""
    clean = scale.clean(values)
    return np.sort(clean[~np.isnan(clean)])


def _thin_cdf(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep about 300 points: half of them evenly, half crowded towards the tail, and both ends."""
    count = x.size
    if count <= 400:
        return x, y
    evenly = np.linspace(0, count - 1, 150).astype(int)
    tail = count - 1 - np.geomspace(1, count, 150).astype(int) + 1
    keep = np.unique(np.clip(np.concatenate([evenly, tail, [0, count - 1]]), 0, count - 1))
    return x[keep], y[keep]


def _steps(x: np.ndarray, y: np.ndarray, start: float, before: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Turn points into the corners of a staircase; before puts the drop behind each x instead of in front."""
    if not x.size:
        return x, y
    if not before:
        return np.repeat(x, 2), np.column_stack([np.concatenate([[start], y[:-1]]), y]).ravel()
    return np.repeat(x, 2), np.column_stack([y, np.concatenate([y[1:], y[-1:]])]).ravel()


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """One curve of Survival: when each run ended, and how many were still running at until."""

    label: str
    ends: Numbers
    still_running: int = 0
    until: float = NAN


@dataclass(frozen=True, kw_only=True, eq=False)
class Survival(Chart):
    """Fraction still running over time or rounds, as step curves; a plus marks runs that never ended."""

    series: Sequence[Lifetimes]
    unit: str = ""
    log: bool = True
    height: int = 280

    def figure(self) -> Figure:
        """Staircases from 100 % down."""
        ends = [one.ends for one in self.series]
        untils = [one.until for one in self.series]
        x = fit("log" if self.log else "linear", ends, [untils], unit=self.unit)
        y = Scale("linear", 0.0, 104.0, "%", fixed=QUARTERS)
        marks: list[Mark] = []
        keys: list[Key] = []
        words: list[str] = []
        for k, one in enumerate(self.series):
            at = _sorted(x, one.ends)
            whole = at.size + max(0, one.still_running)
            if not whole:
                continue
            left = 100 * (1 - np.arange(1, at.size + 1) / whole)
            end = one.until if math.isfinite(one.until) and one.until > x.low else x.high
            tx, ty = _thin_cdf(at, left)
            sx, sy = _steps(tx, ty, 100.0)
            sx, sy = np.concatenate([[x.low], sx]), np.concatenate([[100.0], sy])
            if one.still_running > 0 and end > sx[-1]:
                sx, sy = np.append(sx, end), np.append(sy, sy[-1])
            ink, marker, dash = series_ink(k), "", DASHES[k % 7]
            marks.append(Path(sx, sy, ink, dash, 2.0))
            if one.still_running > 0:
                tip = f"{one.still_running} still running"
                marks.append(Points(sx[-1:], sy[-1:], ink, "plus", 5.0, title=tip))
            keys.append(Key(one.label, ink, "line", marker, dash))
            half = math.ceil(whole / 2) - 1
            when = format_quantity(float(at[half]), self.unit) if half < at.size else "no time that was seen"
            words.append(f"{one.label or 'the runs'}: half have ended at {when}")
        notes = dropped_note(x, *ends)
        if not keys:
            return Figure.without_data(self.height, notes)
        return Figure(
            x=x,
            y=y,
            height=self.height,
            marks=marks,
            keys=keys,
            notes=notes,
            summary=f"{len(words)} curve{'s' if len(words) > 1 else ''}. " + "; ".join(words) + ".",
        )
