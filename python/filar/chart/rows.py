"""Charts whose vertical axis is a list of names: dots, bars, limits, ratios, time lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .base import INF, NAN, Chart, Numbers, RowStack, in_groups, same_length
from .figure import (
    Box,
    Figure,
    Guide,
    Key,
    Mark,
    Points,
    Row,
    Rule,
    Text,
    series_ink,
)
from .scale import KNOWN_UNITS, Scale, dropped_note, finite, fit, format_quantity, format_ticks
from .text import text_width


def _rows_scale(total: float) -> Scale:
    return Scale("rows", 0.0, max(total, 1.0))


@dataclass(frozen=True)
class Reference:
    """A published figure shown as a hollow mark: its value, where it stands (tooltip) and a short label."""

    value: float
    source: str
    label: str = ""


@dataclass(frozen=True, eq=False)
class Dot:
    """One row of Dots: a median with its interval lo .. hi, optionally the floor (minimum) and p99."""

    label: str
    median: float
    lo: float = NAN
    hi: float = NAN
    floor: float = NAN
    p99: float = NAN
    references: Sequence[Reference] = ()
    group: str = ""
    bold: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Dots(Chart):
    """Ranked dots: one row per thing, cheapest first, on a log axis unless told otherwise.

    unit  of all values (see format_quantity)
    rank  sort the rows by median within their group; False keeps the given order
    """

    rows: Sequence[Dot]
    unit: str = "ns"
    log: bool = True
    rank: bool = True

    def figure(self) -> Figure:
        """Rows of floor, interval and median; published figures on lines of their own below."""
        rows = [self.rows[i] for i in in_groups([row.group for row in self.rows])]
        if self.rank:
            place = {row.group: i for i, row in reversed(list(enumerate(rows)))}
            rows.sort(key=lambda r: (place[r.group], math.isnan(r.median), r.median))
        cited = [ref.value for row in rows for ref in row.references]
        medians = [row.median for row in rows]
        scale = fit(
            "log" if self.log else "linear",
            [medians, [r.floor for r in rows], [r.p99 for r in rows], cited],
            [[r.lo for r in rows], [r.hi for r in rows]],
            unit=self.unit,
        )
        if not finite(scale.clean(medians), scale.clean(cited)).size:
            return Figure.without_data(160)
        stack = RowStack(self.width)
        marks: list[Mark] = []
        for row in rows:
            stack.group(row.group)
            value = format_quantity(row.median, self.unit)
            at = stack.add(row.label, 15.0 * len(row.references), bold=row.bold, value=value).at
            marks += _dot_marks(row, at, scale)
            for k, ref in enumerate(row.references):
                y = at + 16.0 + 15.0 * k
                x = float(scale.clean([ref.value])[0])
                tip = f"{ref.source}: {format_quantity(ref.value, self.unit)}"
                marks.append(Points(np.array([x]), np.array([y]), "c1", "diamond", hollow=True, title=tip))
                text = f"{format_quantity(ref.value, self.unit)}, {ref.label or ref.source}"
                marks.append(Text(x, y, text, "auto", dx=9, dy=3.6, size=10.5, ink="muted", title=tip))
        keys = [Key("median", "c0", "point", "circle")]
        if finite([r.lo for r in rows]).size:
            keys[0] = Key("median with interval", "c0", "line", "circle")
        if finite([r.floor for r in rows]).size:
            keys.append(Key("floor (minimum)", "c0", "point", "tick"))
        if finite([r.p99 for r in rows]).size:
            keys.append(Key("p99", "c6", "point", "cross"))
        if cited:
            keys.append(Key("published elsewhere", "c1", "point", "diamond", hollow=True))
        return Figure(
            x=scale,
            y=_rows_scale(stack.total),
            height=stack.total,
            marks=marks,
            rows=stack.rows,
            keys=keys if len(keys) > 1 else [],
            notes=dropped_note(scale, finite(medians), finite(cited)),
            summary=_ranking([(row.label, row.median) for row in rows], self.unit, "median"),
            row_lines=True,
            value_head="median",
        )


def _dot_marks(row: Dot, y: float, scale: Scale) -> list[Mark]:
    marks: list[Mark] = []
    median, floor, p99 = (float(v) for v in scale.clean([row.median, row.floor, row.p99]))
    left = floor if not math.isnan(floor) else median
    right = p99 if not math.isnan(p99) else median
    if left < right:
        marks.append(Rule(left, y, right, y, "c0", 1.0))
    if not math.isnan(row.lo + row.hi + median):
        low, high = (float(v) for v in scale.clamp([row.lo, row.hi]))
        marks.append(Rule(low, y, high, y, "c0", 4.5))
    at = np.array([y])
    if not math.isnan(floor):
        marks.append(Points(np.array([floor]), at, "c0", "tick", 5.0, title=f"{row.label}: floor"))
    if not math.isnan(p99):
        marks.append(Points(np.array([p99]), at, "c6", "cross", 3.2, title=f"{row.label}: p99"))
    marks.append(Points(np.array([median]), at, "c0", "circle", 4.4, title=row.label))
    return marks


def _ranking(pairs: Sequence[tuple[str, float]], unit: str, what: str) -> str:
    """Say which row is smallest and which largest."""
    known = sorted((value, label) for label, value in pairs if math.isfinite(value))
    if not known:
        return "No data."
    (low, first), (high, last) = known[0], known[-1]
    if len(known) == 1:
        return f"One row: {first}, {what} {format_quantity(low, unit)}."
    return (
        f"{len(known)} rows, from {first} ({what} {format_quantity(low, unit)}) "
        f"to {last} ({format_quantity(high, unit)})."
    )


@dataclass(frozen=True, eq=False)
class BarSeries:
    """One colour of Bars: a value for each group, optionally with whiskers lo .. hi."""

    label: str
    values: Numbers
    lo: Numbers | None = None
    hi: Numbers | None = None

    def __post_init__(self) -> None:
        same_length(f"bars {self.label!r}", values=self.values, lo=self.lo, hi=self.hi)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bars(Chart):
    """Grouped bars: one group per name in groups, one bar per series in each.

    horizontal  True lays the bars flat, which leaves room for long names
    values      print each value at the end of its bar (upright ones only where there is room)
    height      of the plot in pixels, for upright bars only
    """

    groups: Sequence[str]
    series: Sequence[BarSeries]
    unit: str = ""
    log: bool = False
    horizontal: bool = True
    values: bool = True
    height: int = 280

    def __post_init__(self) -> None:
        for one in self.series:
            same_length(f"bars {one.label!r}", groups=self.groups, values=one.values)

    def figure(self) -> Figure:
        """Bars from the axis, whiskers over them, values behind."""
        cut = self._whiskers_end()
        scale = fit(
            "log" if self.log else "linear",
            [one.values for one in self.series],
            [np.minimum(w, cut) for one in self.series for w in (one.lo, one.hi) if w is not None],
            unit=self.unit,
            include=() if self.log else (0.0,),
        )
        if self.log and math.isnan(scale.zero_at):
            scale = Scale(scale.kind, scale.low / 1.5, scale.high, self.unit)
        if not finite(*[scale.clean(one.values) for one in self.series]).size or not len(self.groups):
            return Figure.without_data(160, dropped_note(scale, *[one.values for one in self.series]))
        thick, gap = (13.0 if len(self.series) > 1 else 15.0), 3.0
        block = len(self.series) * thick + (len(self.series) - 1) * gap
        if self.horizontal:
            stack = RowStack(self.width, smallest=block + 14)
            rows = [stack.add(name) for name in self.groups]
            other, total = _rows_scale(stack.total), stack.total
        else:
            slot = block + 30
            rows = [Row((name,), slot * (i + 0.5), slot) for i, name in enumerate(self.groups)]
            other, total = _rows_scale(slot * len(rows)), float(self.height)
        base = scale.low if self.log else 0.0
        marks: list[Mark] = []
        room = (self.width - 90) * (thick + gap) / max(other.high, 1.0) if not self.horizontal else INF
        word = self.unit if self.horizontal or self.unit in KNOWN_UNITS else ""
        texts = [[format_quantity(float(v), word) for v in one.values] for one in self.series]
        widest = max((text_width(text, 10.5) for row in texts for text in row), default=0.0)
        for k, one in enumerate(self.series):
            lows = scale.clamp(one.lo) if one.lo is not None else np.full(len(rows), np.nan)
            highs = scale.clamp(one.hi) if one.hi is not None else np.full(len(rows), np.nan)
            for i, value in enumerate(scale.clean(one.values)):
                at = rows[i].at - block / 2 + k * (thick + gap)
                text = format_quantity(float(one.values[i]), self.unit)
                tip = f"{self.groups[i]}, {one.label}: {text}"
                tips = [v for v in (value, highs[i]) if not math.isnan(v)]
                if not tips:
                    continue
                tip_at = max([*tips, base])
                marks += _bar(self.horizontal, base, float(value), at, thick, series_ink(k), tip)
                if not math.isnan(lows[i] + highs[i]):
                    marks.append(_whisker(self.horizontal, lows[i], highs[i], at + thick / 2))
                if self.values and widest <= room:
                    middle = at + thick / 2
                    marks.append(_bar_value(self.horizontal, tip_at, middle, texts[k][i]))
        keys = [Key(one.label, series_ink(k), "box") for k, one in enumerate(self.series)]
        pairs = [
            (f"{name}, {one.label}".strip(", "), float(one.values[i]))
            for one in self.series
            for i, name in enumerate(self.groups)
        ]
        figure = Figure(
            marks=marks,
            height=total,
            keys=keys if len(keys) > 1 else [],
            notes=[
                *dropped_note(scale, *[finite(one.values) for one in self.series]),
                *([] if math.isinf(cut) else [f"Whiskers are cut at {format_quantity(cut, self.unit)}."]),
            ],
            summary=_ranking(pairs, self.unit, "value").replace("rows", "bars"),
        )
        if self.horizontal:
            figure.x, figure.y, figure.rows = scale, other, stack.rows
        else:
            figure.x, figure.y, figure.columns = other, scale, rows
        return figure

    def _whiskers_end(self) -> float:
        """Where whiskers end that would leave no room for the bars: those of a spoilt measurement, on a linear axis."""
        largest = float(np.max(finite(*[one.values for one in self.series]), initial=0.0))
        widest = float(np.max(finite(*[one.hi for one in self.series if one.hi is not None]), initial=0.0))
        return INF if self.log or widest <= 4 * largest or largest <= 0 else 2 * largest


def _bar(flat: bool, base: float, value: float, at: float, thick: float, ink: str, tip: str) -> list[Mark]:
    if math.isnan(value):
        return []
    if flat:
        return [Box(base, value, at, at + thick, ink, title=tip)]
    return [Box(at, at + thick, base, value, ink, title=tip)]


def _whisker(flat: bool, low: float, high: float, at: float) -> Rule:
    if flat:
        return Rule(low, at, high, at, "ink", 1.2, cap=6)
    return Rule(at, low, at, high, "ink", 1.2, cap=6)


def _bar_value(flat: bool, tip: float, at: float, text: str) -> Text:
    """The value behind the end of a bar; that of a negative bar stands behind the zero line."""
    if flat:
        return Text(tip, at, text, "start", dx=6, dy=3.6, size=10.5)
    return Text(at, tip, text, "middle", dy=-5, size=10.5)


@dataclass(frozen=True)
class Limit:
    """One rung of a Ladder; math.inf means that there is no such limit. note is a short remark."""

    label: str
    value: float
    note: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder(Chart):
    """Named limits as bars on a log axis; the lowest binds and is highlighted.

    asked  draws a line at what was asked for, now at what is in use
    binds  the label of the limit that binds, if it is not simply the lowest
    """

    limits: Sequence[Limit]
    unit: str = ""
    asked: float = NAN
    now: float = NAN
    binds: str = ""

    def figure(self) -> Figure:
        """Bars in rising order with whole numbers behind them."""
        ranked = sorted(self.limits, key=lambda limit: (math.isnan(limit.value), limit.value))
        known = [limit.value for limit in ranked if math.isfinite(limit.value)]
        lines = [v for v in (self.asked, self.now) if math.isfinite(v) and v > 0]
        scale = fit("log", [known, lines], unit=self.unit)
        if math.isnan(scale.zero_at):
            scale = Scale("log", scale.low / 2, scale.high, self.unit)
        if not ranked or (not known and not any(math.isinf(limit.value) for limit in ranked)):
            return Figure.without_data(160)
        lowest = next((limit.label for limit in ranked if math.isfinite(limit.value)), "")
        binding = self.binds or lowest
        stack = RowStack(self.width, smallest=26)
        marks: list[Mark] = []
        for limit in ranked:
            binds = limit.label == binding
            row = stack.add(limit.label, bold=binds)
            text = "no limit" if math.isinf(limit.value) else format_quantity(limit.value, self.unit, 9)
            text = ", ".join(filter(None, (text, limit.note, "binds" if binds else "")))
            end = scale.high if math.isinf(limit.value) else float(scale.clean([limit.value])[0])
            ink, opacity = ("c1", 1.0) if binds else ("c6", 0.25 if math.isinf(limit.value) else 0.6)
            if not math.isnan(end):
                marks.append(Box(scale.low, end, row.at - 7, row.at + 7, ink, opacity, title=limit.label))
                marks.append(Text(end, row.at, text, "start", dx=6, dy=3.8, bold=binds))
        guides = []
        for value, name in ((self.asked, "asked for"), (self.now, "in use now")):
            if math.isfinite(value) and value > 0:
                guides.append(Guide(value, f"{name}: {format_quantity(value, self.unit, 9)}", "x"))
        bound = next((limit for limit in ranked if limit.label == binding), None)
        words = f"{len(ranked)} limits"
        if bound is not None:
            words += f"; {bound.label} binds at {format_quantity(bound.value, self.unit, 9)}"
        return Figure(
            x=scale,
            y=_rows_scale(stack.total),
            height=stack.total,
            marks=marks,
            rows=stack.rows,
            guides=guides,
            notes=dropped_note(scale, [v for v in known if v != 0]),
            summary=words + ".",
        )


@dataclass(frozen=True, eq=False)
class Ratios:
    """One row of a Strip: paired ratios, one a round, and the interval lo .. hi of their median."""

    label: str
    values: Numbers
    lo: float = NAN
    hi: float = NAN
    median: float = NAN


@dataclass(frozen=True, kw_only=True, eq=False)
class Strip(Chart):
    """Paired ratios as jittered points around 1, with median and interval.

    log    None chooses a log axis when the ratios spread over more than a factor of three
    equal  the value that means "no difference"
    """

    rows: Sequence[Ratios]
    log: bool | None = None
    equal: float = 1.0

    def figure(self) -> Figure:
        """A cloud of points per row, jittered by a fixed sequence, the extremes kept (at the ends, if far away)."""
        every = finite(*[row.values for row in self.rows])
        least, most = _in_sight(every, [w for row in self.rows for w in (row.lo, row.hi, self.equal)])
        values = np.clip(every, least, most)
        positive = values[values > 0]
        log = self.log
        if log is None:
            log = bool(positive.size == values.size and positive.size and positive.max() > 3 * positive.min())
        scale = fit(
            "log" if log else "linear",
            [values, [self.equal]],
            [[row.lo for row in self.rows], [row.hi for row in self.rows]],
            unit="x",
        )
        if not values.size:
            return Figure.without_data(160)
        stack = RowStack(self.width, smallest=40)
        marks: list[Mark] = []
        middles = []
        for row in self.rows:
            clean = np.sort(scale.clean(np.clip(row.values, least, most)))
            clean = clean[~np.isnan(clean)]
            given = finite(row.values)
            middle = row.median
            if math.isnan(middle) and given.size:
                middle = float(np.median(given))
            middles.append((row.label, middle))
            at = stack.add(row.label, value=_with_interval(middle, row.lo, row.hi)).at
            if clean.size > 400:
                clean = clean[np.unique(np.linspace(0, clean.size - 1, 400).astype(int))]
            jitter = np.array([_van_der_corput(i) for i in range(clean.size)])
            marks.append(Points(clean, at + (jitter - 0.5) * 24, "c0", "circle", 1.8, opacity=0.45))
            if not math.isnan(row.lo + row.hi):
                low, high = (float(v) for v in scale.clamp([row.lo, row.hi]))
                marks.append(Rule(low, at, high, at, "ink", 2.6, cap=9))
            marks.append(Points(scale.clean([middle]), np.array([at]), "c1", "diamond", 5.0, title=row.label))
        return Figure(
            x=scale,
            y=_rows_scale(stack.total),
            height=stack.total,
            marks=marks,
            rows=stack.rows,
            guides=[Guide(self.equal, "no difference" if self.equal == 1 else "", "x", dash="")],
            keys=[
                Key("one round", "c0", "point", "circle"),
                Key("median with interval", "c1", "point", "diamond"),
            ],
            notes=[*dropped_note(scale, values), *_outside_note(every, least, most)],
            summary=_ranking(middles, "x", "median ratio"),
            value_head="median (interval)" if any(math.isfinite(row.lo) for row in self.rows) else "median",
        )


def _in_sight(values: np.ndarray, wanted: Sequence[float]) -> tuple[float, float]:
    """The part of an axis that shows what most ratios are: all of them, unless they spread over a factor of 100.

    Then a few that others spoilt would leave no room for the rest: what is farther from the middle 96 in a hundred than
    these spread lies outside, but never what is `wanted`.
    """
    if not values.size or values.min() <= 0 or values.max() <= 100 * values.min():
        return -INF, INF
    low, high = np.quantile(values, (0.02, 0.98))
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        spread = high / low
        shown = [max(low / spread, values.min()), min(high * spread, values.max()), *finite(wanted)]
    return float(min(shown)), float(max(shown))


def _outside_note(values: np.ndarray, least: float, most: float) -> list[str]:
    outside = int(np.sum((values < least) | (values > most)))
    return [f"{outside:,} of {values.size:,} points lie beyond the axis and stand at its ends."] if outside else []


def _with_interval(middle: float, low: float, high: float) -> str:
    if math.isnan(middle):
        return format_quantity(middle)
    text = f"{middle:.3f}"
    return text if math.isnan(low + high) else f"{text} ({low:.3f}–{high:.3f})"


def _van_der_corput(i: int) -> float:
    """The i-th number of a sequence that fills 0 .. 1 evenly: the bits of i, mirrored."""
    return int(f"{i % 256:08b}"[::-1], 2) / 256


@dataclass(frozen=True)
class Interval:
    """One stretch of time on one row of a Gantt, in the unit of the chart."""

    row: str
    start: float
    end: float
    category: str = ""


@dataclass(frozen=True)
class Arrow:
    """From one row of a Gantt at a time to another row at a time, such as a wake-up from waker to woken."""

    from_row: str
    start: float
    to_row: str
    end: float
    title: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gantt(Chart):
    """Who ran where and when: a row per core or thread, an interval per stretch, coloured by category.

    rows        the names from top to bottom; empty takes them from the intervals
    groups      a heading for each row, the same length as rows; empty for none
    categories  the order of the legend and its colours; one without intervals keeps its colour, and is not in the
                legend; empty takes it from the intervals
    heights     how tall a category's bars are, 0 .. 1; up to four differ unless given, so that states can be
                told apart without colour; with more all are tall, and named inside where there is room
    inks        the ink of a category ("c0" to "c6"), so that it is the same in several pictures; else by its place
    grid        draws a line every so much time, such as a tick of 4 ms
    arrows      over the bars; rows that are not shown have none
    """

    intervals: Sequence[Interval]
    rows: Sequence[str] = ()
    groups: Sequence[str] = ()
    categories: Sequence[str] = ()
    unit: str = "ns"
    heights: Mapping[str, float] = field(default_factory=dict)
    inks: Mapping[str, str] = field(default_factory=dict)
    grid: float = NAN
    arrows: Sequence[Arrow] = ()

    def __post_init__(self) -> None:
        if self.groups:
            same_length("gantt", rows=self.rows, groups=self.groups)

    def figure(self) -> Figure:
        """Boxes on rows; categories differ in colour and in height, and slivers on one row are joined."""
        good = [i for i in self.intervals if math.isfinite(i.start + i.end) and i.end >= i.start]
        lost = len(self.intervals) - len(good)
        notes = [f"{lost:,} without a proper start and end not drawn."] if lost else []
        if not good:
            return Figure.without_data(160, notes)
        names = list(self.rows) or list(dict.fromkeys(i.row for i in good))
        known = list(dict.fromkeys([*self.categories, *(i.category for i in good)]))
        kinds = [kind for kind in known if any(i.category == kind for i in good)]
        low, high = min(i.start for i in good), max(i.end for i in good)
        high = high if high > low else low + 1.0
        scale = Scale("linear", low, high, self.unit)
        stack = RowStack(self.width, smallest=22 if len(names) > 12 else 26)
        places: dict[str, Row] = {}
        for k, name in enumerate(names):
            stack.group(self.groups[k] if self.groups else "")
            places[name] = stack.add(name)
        usual = (1.0, 0.5, 0.75, 0.25) if len(known) <= 4 else (1.0,) * len(known)
        heights = {kind: 16 * self.heights.get(kind, usual[k]) for k, kind in enumerate(known)}
        inks = {kind: self.inks.get(kind, series_ink(k)) for k, kind in enumerate(known)}
        marks: list[Mark] = []
        count = int((high - low) / self.grid) if self.grid > 0 else 0
        if 0 < count <= 200:
            first = math.ceil(low / self.grid)
            grid = [k * self.grid for k in range(first, first + count + 1) if low <= k * self.grid <= high]
            marks += [Rule(x, 0.0, x, stack.total, "grid", 1.0) for x in grid]
            named = grid[:: max(1, math.ceil(len(grid) / 11))]
            ticks = tuple(zip(named, format_ticks(named, self.unit), strict=True))
            scale = Scale("linear", low, high, self.unit, fixed=ticks)
            notes.append(f"Grid: {format_quantity(self.grid, self.unit)}.")
        for one in _joined(good, (high - low) / 1400):
            row = places.get(one.row)
            if row is None:
                continue
            half = heights[one.category] / 2
            length = format_quantity(one.end - one.start, self.unit)
            tip = f"{one.row}: {one.category} {length}".replace("  ", " ")
            sides = (one.start, one.end, row.at - half, row.at + half)
            marks.append(Box(*sides, inks[one.category], gap=1, title=tip, label=one.category))
        marks += self._arrow_marks(places)
        keys = [Key(kind, inks[kind], "box", size=heights[kind] / 16) for kind in kinds if kind]
        busy = {kind: sum(i.end - i.start for i in good if i.category == kind) for kind in kinds}
        most = max(busy, key=lambda kind: busy[kind])
        return Figure(
            x=scale,
            y=_rows_scale(stack.total),
            height=stack.total,
            marks=marks,
            rows=stack.rows,
            keys=keys if len(keys) > 1 else [],
            notes=notes,
            summary=f"{len(names)} rows over {format_quantity(high - low, self.unit)}, {len(good):,} "
            + (f"intervals; most of the time is {most}." if most else "intervals."),
            x_grid=not 0 < count <= 200,
            row_lines=True,
        )

    def _arrow_marks(self, places: Mapping[str, Row]) -> list[Mark]:
        """A thin line from row to row, with a head that points to where it ends."""
        marks: list[Mark] = []
        for arrow in self.arrows:
            one, other = places.get(arrow.from_row), places.get(arrow.to_row)
            if one is None or other is None or one is other:
                continue
            down = other.at > one.at
            edge = other.at + (-9 if down else 9)
            marks.append(Rule(arrow.start, one.at, arrow.end, edge, "muted", 0.9))
            tip = f"{arrow.from_row} to {arrow.to_row}: {arrow.title}".rstrip(": ")
            head = (np.array([arrow.end]), np.array([float(edge)]))
            marks.append(Points(*head, "muted", "down" if down else "triangle", 3.0, title=tip))
        return marks


def _joined(intervals: Sequence[Interval], sliver: float) -> list[Interval]:
    """Join intervals of one row and category that are both shorter, and nearer, than can be seen."""
    out: list[Interval] = []
    last: dict[str, int] = {}
    for one in sorted(intervals, key=lambda i: (i.row, i.start)):
        k = last.get(one.row)
        if k is not None:
            before = out[k]
            small = one.end - one.start < sliver or before.end - before.start < sliver
            if before.category == one.category and small and one.start - before.end < sliver:
                out[k] = Interval(one.row, before.start, max(before.end, one.end), one.category)
                continue
        last[one.row] = len(out)
        out.append(one)
    return out
