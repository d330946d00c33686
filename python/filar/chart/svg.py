"""Draw a Figure as one static, self-contained svg element.

No script, no ids, no outside files, so any number of pictures may share a page. Colours are custom properties
of the class filar-chart: light by default, dark when the reader prefers it or an ancestor says
data-theme="dark", black on white in print. A page may set --filar-bg, for instance to transparent.
Text is placed by estimated widths (text.py), from the top downwards: heading, legend, plot, footer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from . import figure as fig
from .figure import Band, Box, End, Figure, Guide, Key, Mark, Path, Points, Rule, Text
from .scale import Tick
from .text import FAMILY, shorten, shorten_list, text_width, wrap
from .theme import style_sheet

MARGIN = 14.0
TICK_SIZE = 11.0
LEGEND_SIZE = 11.5
ENDS_WIDTH = 150.0
LINE = 14.0

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _n(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def clean(text: str) -> str:
    """Escape text for markup; what XML cannot hold at all becomes a replacement character."""
    return escape(_FORBIDDEN.sub("\ufffd", text))


def _tag(name: str, content: str = "", /, **attributes: object) -> str:
    """An element; underscores in attribute names become hyphens, numbers are rounded, None is left out."""
    parts = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        shown = _n(value) if isinstance(value, (int, float)) else clean(str(value))
        parts.append(f'{key.strip("_").replace("_", "-")}="{shown}"')
    head = " ".join(parts)
    return f"<{head}>{content}</{name}>" if content else f"<{head}/>"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float = TICK_SIZE,
    anchor: str = "start",
    ink: str = "ink",
    bold: bool = False,
    title: str = "",
    halo: bool = False,
) -> str:
    """A line of text; a halo of paper keeps it readable over lines."""
    return _tag(
        "text",
        _tip(title) + clean(text),
        x=x,
        y=y,
        font_size=size,
        text_anchor=anchor if anchor != "start" else None,
        font_weight="600" if bold else None,
        class_=f"{ink} on" if halo else ink,
        fill="currentColor",
    )


def _tip(title: str) -> str:
    return f"<title>{clean(title)}</title>" if title else ""


def _line(x0: float, y0: float, x1: float, y1: float, ink: str, width: float = 1.0, dash: str = "") -> str:
    return _stroke(f"M{_n(x0)} {_n(y0)}L{_n(x1)} {_n(y1)}", ink, width, dash)


def _stroke(path: str, ink: str, width: float = 1.0, dash: str = "", title: str = "") -> str:
    return _tag(
        "path",
        _tip(title),
        d=path,
        class_=ink,
        fill="none",
        stroke="currentColor",
        stroke_width=None if width == 1 else width,
        stroke_dasharray=dash or None,
    )


def _rect(x: float, y: float, w: float, h: float, ink: str, opacity: float = 1.0, title: str = "") -> str:
    return _tag(
        "rect",
        _tip(title),
        x=x,
        y=y,
        width=max(w, 0.0),
        height=max(h, 0.0),
        class_=ink,
        fill="currentColor",
        fill_opacity=None if opacity == 1 else opacity,
    )


def marker_path(marker: str, x: float, y: float, r: float) -> str:
    """The outline of a marker around a point; cross and plus are open strokes."""
    if marker == "circle":
        arc = f"a{_n(r)} {_n(r)} 0 1 0 "
        return f"M{_n(x - r)} {_n(y)}{arc}{_n(2 * r)} 0{arc}{_n(-2 * r)} 0z"
    if marker == "cross":
        d = r * 0.9
        return f"M{_n(x - d)} {_n(y - d)}l{_n(2 * d)} {_n(2 * d)}m0 {_n(-2 * d)}l{_n(-2 * d)} {_n(2 * d)}"
    if marker == "plus":
        return f"M{_n(x - r)} {_n(y)}h{_n(2 * r)}M{_n(x)} {_n(y - r)}v{_n(2 * r)}"
    if marker == "tick":
        return f"M{_n(x)} {_n(y - r)}v{_n(2 * r)}"
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "triangle": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        "down": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
        "diamond": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
    }[marker]
    return "M" + "L".join(f"{_n(x + r * dx)} {_n(y + r * dy)}" for dx, dy in corners) + "z"


OPEN_MARKERS = ("cross", "plus", "tick")


def _marker(marker: str, path: str, ink: str, *, hollow: bool = False, opacity: float = 1.0, title: str = "") -> str:
    if marker in OPEN_MARKERS:
        return _stroke(path, ink, 1.7, title=title)
    if hollow:
        inner = _tag("path", _tip(title), d=path, class_="paper", fill="currentColor")
        return inner + _stroke(path, ink, 1.6, title=title)
    faint = None if opacity == 1 else opacity
    return _tag("path", _tip(title), d=path, class_=ink, fill="currentColor", opacity=faint)


def render(
    figure: Figure,
    *,
    title: str,
    x_label: str,
    y_label: str,
    footer: str,
    badge: tuple[str, str] | None,
    alt: str,
    width: float,
) -> str:
    """Return the whole svg element. badge is (text, level)."""
    return _Page(figure, width).draw(title, x_label, y_label, footer, badge, alt)


class _Page:
    """One picture in the making: a list of elements and a cursor that moves down."""

    def __init__(self, figure: Figure, width: float) -> None:
        self.figure = figure
        self.width = max(float(width), 320.0)
        self.out: list[str] = []
        self.y = MARGIN
        self.left = self.right = self.top = self.bottom = 0.0
        self._ends_in_legend = False

    def draw(self, title: str, x_label: str, y_label: str, footer: str, badge: tuple[str, str] | None, alt: str) -> str:
        """Compose from the top: heading, legend, axis name, plot, ticks, axis name, footer."""
        figure = self.figure
        self._heading(title, badge)
        if figure.empty:
            self._no_data(x_label, y_label)
        else:
            ends = self._gutters()
            in_legend = [end.key for end in figure.ends if end.key.label] if self._ends_in_legend else []
            self._legend([*figure.keys, *in_legend])
            self._y_label(y_label)
            self._plot(ends)
            self._x_label(x_label)
        self._footer(footer)
        height = self.y + MARGIN - 4
        heat = any(isinstance(mark, Box) and mark.ink.startswith("q") for mark in figure.marks)
        shown = title or "Chart"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="filar-chart" role="img" '
            f'aria-label="{clean(f"{shown}. {alt}")}" viewBox="0 0 {_n(self.width)} {_n(height)}" '
            f'width="100%" style="max-width:{_n(self.width)}px" font-family="{FAMILY}">'
        )
        body = [
            f"<title>{clean(shown)}</title><desc>{clean(alt)}</desc>",
            f"<style>{style_sheet(heat)}</style>",
            _tag("rect", width=self.width, height=height, rx=4, class_="paper", fill="currentColor"),
            *self.out,
        ]
        return head + "\n" + "\n".join(body) + "\n</svg>"

    # Heading and footer.

    def _heading(self, title: str, badge: tuple[str, str] | None) -> None:
        room = self.width - 2 * MARGIN
        bottom = self.y
        if badge is not None:
            text, level = badge
            text = shorten_list(text, room - 30, 11.0)
            wide = text_width(text, 11.0) + 30
            x0 = self.width - MARGIN - wide
            self.out.append(
                _tag(
                    "rect",
                    x=x0,
                    y=self.y,
                    width=wide,
                    height=20,
                    rx=10,
                    class_=level,
                    fill="currentColor",
                    fill_opacity=0.1,
                    stroke="currentColor",
                    stroke_width=1,
                )
            )
            shape = {"ok": "circle", "warn": "triangle", "bad": "square"}[level]
            self.out.append(_marker(shape, marker_path(shape, x0 + 13, self.y + 10, 4), level))
            self.out.append(_text(x0 + 22, self.y + 13.8, text, size=11.0, ink=level))
            if text_width(title, 15.0, True) <= room - wide - 12 or wide < 0.3 * room:
                room -= wide + 12
                bottom = self.y + 24
            else:  # a long badge gets a line of its own, so that a long title keeps the full width
                self.y += 26
        lines = wrap(title, room, 15.0, True, lines_max=3)
        for line in lines:
            self.out.append(_text(MARGIN, self.y + 14, line, size=15.0, bold=True))
            self.y += 19
        self.y = max(self.y + (5 if lines else 0), bottom)

    def _footer(self, footer: str) -> None:
        if not footer:
            return
        self.y += 6
        for line in wrap(footer, self.width - 2 * MARGIN, TICK_SIZE):
            self.out.append(_text(MARGIN, self.y + 11, line, ink="muted"))
            self.y += LINE

    def _no_data(self, x_label: str, y_label: str) -> None:
        height = self.figure.height
        self.out.append(
            _tag(
                "rect",
                x=MARGIN,
                y=self.y,
                width=self.width - 2 * MARGIN,
                height=height,
                class_="grid",
                fill="none",
                stroke="currentColor",
            )
        )
        middle = self.y + height / 2
        self.out.append(_text(self.width / 2, middle + 4, "no data", size=13.0, anchor="middle", ink="muted"))
        self.y += height

    # Legend and labels at line ends.

    def _legend(self, keys: Sequence[Key]) -> None:
        if not keys:
            return
        x = MARGIN
        self.y += 2
        room = self.width - 2 * MARGIN
        for key in keys:
            label = shorten(key.label, room - 30, LEGEND_SIZE)
            wide = 26 + text_width(label, LEGEND_SIZE) + 18
            if x > MARGIN and x + wide - 18 > self.width - MARGIN:
                x = MARGIN
                self.y += 18
            self._key(key, x, self.y + 8)
            self.out.append(_text(x + 26, self.y + 12, label, size=LEGEND_SIZE))
            x += wide
        self.y += 22

    def _key(self, key: Key, x: float, y: float) -> None:
        """The sample of a legend entry, 20 pixels wide, centred on y."""
        if key.shape == "box":
            tall = 12 * key.size
            self.out.append(_rect(x + 4, y - tall / 2, 14, tall, key.ink, key.opacity))
            return
        if key.shape == "line":
            self.out.append(_line(x, y, x + 20, y, key.ink, 1.8, key.dash))
        if key.marker:
            path = marker_path(key.marker, x + 10, y, 3.6)
            self.out.append(_marker(key.marker, path, key.ink, hollow=key.hollow))

    def _gutters(self) -> list[tuple[End, float, list[str]]]:
        """Decide the left and right edge of the plot, and whether series are labelled at their ends."""
        figure = self.figure
        left = MARGIN
        if figure.rows:
            rows = [row for row in figure.rows if not row.heading]
            wide = [text_width(line, fig.LABEL_SIZE, row.bold) for row in rows for line in row.lines]
            left += max(wide, default=0.0) + 10
            left += max((self._span_width(span.label) for span in figure.row_spans), default=0.0)
        else:
            about = max(3, int(figure.height / 45))
            left += max((text_width(label, TICK_SIZE) for _, label in figure.y.ticks(about)), default=0.0) + 8
        right = self.width - MARGIN
        values = [text_width(row.value, TICK_SIZE) for row in figure.rows if row.value]
        if values:
            right -= max([*values, text_width(figure.value_head, TICK_SIZE)]) + 12
        guides = [
            End(Key(g.label, g.ink, "line", "", g.dash), math.nan, g.value)
            for g in figure.guides
            if g.axis == "y" and g.label
        ]
        near = all(figure.x.fraction([end.x])[0] >= 0.8 for end in figure.ends)
        placed = self._place_ends([*figure.ends, *guides]) if near and len(figure.ends) <= 8 else None
        self._ends_in_legend = placed is None
        if placed is None:
            placed = self._place_ends(guides)
        if placed:
            right -= max(text_width(line, LEGEND_SIZE) for _, _, lines in placed for line in lines) + 34
        elif not figure.columns:
            right -= 14
        for mark in figure.marks:  # words behind bars need room to the right of the plot
            if isinstance(mark, Text) and mark.anchor == "start":
                share = float(figure.x.fraction([mark.x])[0])
                room = self.width - 6 - mark.dx - text_width(mark.text, mark.size, mark.bold) - left
                right = min(right, left + room / share) if share > 0.05 else right
        self.left, self.right = left, max(right, left + 120)
        return placed or []

    def _place_ends(self, ends: Sequence[End]) -> list[tuple[End, float, list[str]]] | None:
        """Spread labels so that none overlap; the y given back is relative to the top of the plot."""
        if not ends:
            return []
        height = self.figure.height
        items = []
        for end in ends:
            at = (1 - float(self.figure.y.fraction([end.y])[0])) * height
            lines = wrap(end.key.label, ENDS_WIDTH, LEGEND_SIZE, lines_max=3)
            if not math.isnan(at) and lines:
                items.append((at, end, lines))
        items.sort(key=lambda item: item[0])
        tall = [13.0 * len(lines) + 3 for _, _, lines in items]
        if sum(tall) > height + 10:
            return None
        places = [at for at, _, _ in items]
        for _ in range(200):
            moved = False
            for i in range(len(places) - 1):
                overlap = (tall[i] + tall[i + 1]) / 2 - (places[i + 1] - places[i])
                if overlap > 0.01:
                    places[i] -= overlap / 2
                    places[i + 1] += overlap / 2
                    moved = True
            for i in range(len(places)):
                clipped = min(max(places[i], tall[i] / 2 - 6), height - tall[i] / 2 + 6)
                moved = moved or clipped != places[i]
                places[i] = clipped
            if not moved:
                break
        for i in range(1, len(places)):  # what relaxation leaves over is settled downwards
            places[i] = max(places[i], places[i - 1] + (tall[i - 1] + tall[i]) / 2)
        if any(abs(place - item[0]) > 40 for place, item in zip(places, items, strict=True)):
            return None
        return [(end, place, lines) for (_, end, lines), place in zip(items, places, strict=True)]

    # The plot.

    def _px(self, values: object) -> np.ndarray:
        figure = self.figure
        return self.left + figure.x.fraction(values) * (self.right - self.left)

    def _py(self, values: object) -> np.ndarray:
        figure = self.figure
        share = figure.y.fraction(values)
        if figure.y.kind == "rows":
            return self.top + share * (self.bottom - self.top)
        return self.bottom - share * (self.bottom - self.top)

    def _y_label(self, y_label: str) -> None:
        for line in wrap(y_label, self.width - 2 * MARGIN, 12.0):
            self.out.append(_text(MARGIN, self.y + 12, line, size=12.0, ink="muted"))
            self.y += 16
        self.y += 4

    def _plot(self, ends: Sequence[tuple[End, float, list[str]]]) -> None:
        figure = self.figure
        flags = self._flags()
        self.y += 14.0 * (1 + max((row for *_, row in flags), default=-1))
        if figure.value_head and figure.rows:
            self.out.append(_text(self.width - MARGIN, self.y + 6, figure.value_head, anchor="end", ink="muted"))
            self.y += 10
        self.top = self.y + 4
        self.bottom = self.top + figure.height
        self._y_axis()
        self._x_axis()
        self._x_guides(flags)
        for guide in figure.guides:
            if guide.axis == "y":
                y = float(self._py([guide.value])[0])
                if not math.isnan(y):
                    self.out.append(_line(self.left, y, self.right, y, guide.ink, 1.2, guide.dash))
        for mark in figure.marks:
            self._mark(mark)
        for end, place, lines in ends:
            self._end_label(end, self.top + place, lines)

    def _flags(self) -> list[tuple[Guide, float, float, str, int]]:
        """Give each vertical guide's label a row above the plot: (guide, line x, text x, text, row)."""
        guides = [g for g in self.figure.guides if g.axis == "x"]
        items = []
        for guide in guides:
            x = float(self._px([guide.value])[0])
            if not math.isnan(x) and self.left - 1 <= x <= self.right + 1:
                items.append((x, guide))
        placed: list[tuple[Guide, float, float, str, int]] = []
        boxes: list[tuple[float, float, float, int]] = []

        def clear(x: float, low: float, high: float, row: int, strict: bool) -> bool:
            """No label overlaps another and, if strict, no line crosses a label."""
            for other_low, other_high, other_x, other_row in boxes:
                if row == other_row and low < other_high + 6 and other_low < high + 6:
                    return False
                crossed = row <= other_row and low - 3 < other_x < high + 3
                if strict and (crossed or (other_row <= row and other_low - 3 < x < other_high + 3)):
                    return False
            return True

        for x, guide in sorted(items, key=lambda item: -item[0]):
            text = shorten(guide.label, self.width - 2 * MARGIN, TICK_SIZE)
            wide = text_width(text, TICK_SIZE)
            last = min(x + 5, self.width - MARGIN - wide)
            starts = [x + 5] if x + 5 <= last else []
            starts += [x - 5 - wide] if x - 5 - wide >= MARGIN else []
            starts += [last]
            tries = [(row, low, strict) for strict in (True, False) for row in range(9) for low in starts]
            row, low, _ = next((t for t in tries if clear(x, t[1], t[1] + wide, t[0], t[2])), tries[-1])
            boxes.append((low, low + wide, x, row))
            placed.append((guide, x, low, text, row))
        return placed

    def _x_guides(self, flags: Sequence[tuple[Guide, float, float, str, int]]) -> None:
        for guide, x, _, text, row in flags:
            tip = self.top - 4 - 14.0 * row - (9 if text else 0)
            self.out.append(_line(x, tip, x, self.bottom, guide.ink, 1.2, guide.dash))
        for _, _, low, text, row in flags:
            self.out.append(_text(low, self.top - 5 - 14.0 * row, text, halo=True) if text else "")

    def _y_axis(self) -> None:
        figure = self.figure
        if figure.rows:
            self._row_labels()
            return
        ticks = figure.y.ticks(max(3, int(figure.height / 45)))
        last = math.inf
        for value, label in sorted(ticks):
            y = float(self._py([value])[0])
            if figure.y_grid:
                self.out.append(_line(self.left, y, self.right, y, "grid"))
            if last - y >= 13:
                self.out.append(_text(self.left - 8, y + 3.8, label, anchor="end", ink="muted"))
                last = y
        for y in self._py(figure.y.minor()) if figure.y.minor() else []:
            self.out.append(_line(self.left - 3, y, self.left, y, "axis"))

    def _row_labels(self) -> None:
        figure = self.figure
        edge = self.left - 10
        for row in figure.rows:
            y = float(self._py([row.at])[0])
            if row.heading:
                text = shorten(" ".join(row.lines), self.right - MARGIN, fig.LABEL_SIZE, True)
                self.out.append(_text(MARGIN, y + 4, text, size=fig.LABEL_SIZE, bold=True))
                continue
            if figure.row_lines:
                self.out.append(_line(self.left, y, self.right, y, "grid"))
            first = y + 4.2 - (len(row.lines) - 1) * LINE / 2
            for i, line in enumerate(row.lines):
                at = first + i * LINE
                self.out.append(_text(edge, at, line, size=fig.LABEL_SIZE, anchor="end", bold=row.bold))
            if row.value:
                self.out.append(_text(self.width - MARGIN, y + 4, row.value, anchor="end", bold=row.bold))
        widest = max(
            (text_width(t, fig.LABEL_SIZE, r.bold) for r in figure.rows if not r.heading for t in r.lines),
            default=0.0,
        )
        for span in figure.row_spans:
            low, high = (float(v) for v in self._py([span.low, span.high]))
            x = edge - widest - 10
            path = f"M{_n(x + 5)} {_n(low + 2)}h-5V{_n(high - 2)}h5"
            self.out.append(_stroke(path, "axis"))
            lines = wrap(span.label, 84, TICK_SIZE, lines_max=max(1, int((high - low) / 13)))
            for i, line in enumerate(lines):
                at = (low + high) / 2 + 4 + (i - (len(lines) - 1) / 2) * 13
                self.out.append(_text(x - 6, at, line, anchor="end", ink="muted"))

    def _span_width(self, label: str) -> float:
        return max((text_width(line, TICK_SIZE) for line in wrap(label, 84, TICK_SIZE)), default=0.0) + 20

    def _x_ticks(self) -> tuple[list[Tick], list[Tick]]:
        """All ticks of the x axis, and those whose labels fit side by side."""
        span = self.right - self.left
        for about in (8, 6, 5, 4, 3, 2):
            ticks = self.figure.x.ticks(about)
            widths = [text_width(label, TICK_SIZE) for _, label in ticks]
            places = self._px([value for value, _ in ticks])
            edges = [(p - w / 2, p + w / 2) for p, w in zip(places, widths, strict=True)]
            if all(b[0] - a[1] >= 10 for a, b in pairwise(edges)):
                return ticks, ticks
            if self.figure.x.fixed is not None:
                break
        shown: list[Tick] = []
        last = -math.inf
        for tick, (low, high) in zip(ticks, edges, strict=True):
            if low - last >= 10 and span > 0:
                shown.append(tick)
                last = high
        return ticks, shown

    def _x_axis(self) -> None:
        figure = self.figure
        self.y = self.bottom
        if figure.columns:
            self._column_labels()
            return
        ticks, shown = self._x_ticks()
        if figure.x_grid:
            for x in self._px([value for value, _ in ticks]) if ticks else []:
                self.out.append(_line(x, self.top, x, self.bottom, "grid"))
        self.out.append(_line(self.left, self.bottom, self.right, self.bottom, "axis"))
        for x in self._px(figure.x.minor()) if figure.x.minor() else []:
            self.out.append(_line(x, self.bottom, x, self.bottom + 3, "axis"))
        for value, label in shown:
            x = float(self._px([value])[0])
            self.out.append(_line(x, self.bottom, x, self.bottom + 5, "axis"))
            half = text_width(label, TICK_SIZE) / 2
            at = min(max(x, half + 2), self.width - half - 2)
            self.out.append(_text(at, self.bottom + 17, label, anchor="middle", ink="muted"))
        if not math.isnan(figure.x.zero_at):
            at = float(self._px([figure.x.zero_at * (figure.x.zero_at / figure.x.low) ** 0.7])[0])
            self.out.append(_rect(at - 2, self.bottom - 2, 4, 4, "paper"))
            for shift in (-2, 2):
                x = at + shift
                self.out.append(_line(x - 2, self.bottom + 4, x + 2, self.bottom - 4, "axis"))
        self.y += 22

    def _column_labels(self) -> None:
        """Labels under columns, wrapped to their slot; not all of them when even that is too tight."""
        figure = self.figure
        columns = figure.columns
        scale = (self.right - self.left) / (figure.x.high - figure.x.low)
        slot = columns[0].size * scale - 6
        texts = [" ".join(column.lines) for column in columns]
        narrowest = max((text_width(w, TICK_SIZE) for text in texts for w in text.split()), default=0.0)
        every = 1
        if narrowest > slot and len(columns) > 6:
            every = math.ceil((narrowest + 6) / max(slot, 1.0))
        deepest = 1
        for i, (column, text) in enumerate(zip(columns, texts, strict=True)):
            if i % every:
                continue
            lines = wrap(text, slot if every == 1 else slot * every, TICK_SIZE, lines_max=4)
            x = float(self._px([column.at])[0])
            for k, line in enumerate(lines):
                ink = "ink" if column.bold else "muted"
                self.out.append(_text(x, self.bottom + 16 + 13 * k, line, anchor="middle", ink=ink, bold=column.bold))
            deepest = max(deepest, len(lines))
        self.out.append(_line(self.left, self.bottom, self.right, self.bottom, "axis"))
        self.y += 9 + 13 * deepest
        for span in figure.column_spans:
            low, high = (float(v) for v in self._px([span.low, span.high]))
            path = f"M{_n(low + 2)} {_n(self.y + 1)}v5H{_n(high - 2)}v-5"
            self.out.append(_stroke(path, "axis"))
            text = shorten(span.label, high - low, TICK_SIZE)
            self.out.append(_text((low + high) / 2, self.y + 19, text, anchor="middle", ink="muted"))
        self.y += 24 if figure.column_spans else 0

    def _x_label(self, x_label: str) -> None:
        middle = (self.left + self.right) / 2
        lines = wrap(x_label, self.width - 2 * MARGIN, 12.0)
        half = max((text_width(line, 12.0) for line in lines), default=0.0) / 2
        middle = min(max(middle, MARGIN + half), self.width - MARGIN - half)
        for line in lines:
            self.out.append(_text(middle, self.y + 13, line, size=12.0, anchor="middle", ink="muted"))
            self.y += 16
        self.y += 3

    def _end_label(self, end: End, y: float, lines: Sequence[str]) -> None:
        true_y = float(self._py([end.y])[0])
        start = self.right if math.isnan(end.x) else float(self._px([end.x])[0])
        x = self.right + 8
        if abs(true_y - y) > 3 or self.right - start > 6:
            corner = max(self.right, start + 5)
            path = f"M{_n(start + 5)} {_n(true_y)}L{_n(corner)} {_n(true_y)}L{_n(x)} {_n(y)}"
            self.out.append(_stroke(path, "axis"))
        self._key(end.key, x, y)
        first = y + 4 - (len(lines) - 1) * 6.5
        for i, line in enumerate(lines):
            self.out.append(_text(x + 26, first + 13 * i, line, size=LEGEND_SIZE))

    # Marks.

    def _mark(self, mark: Mark) -> None:
        match mark:
            case Path():
                self._path(mark)
            case Band():
                self._band(mark)
            case Points():
                self._points(mark)
            case Box():
                self._box(mark)
            case Rule():
                self._rule(mark)
            case Text():
                self._word(mark)

    def _path(self, mark: Path) -> None:
        x, y = self._px(mark.x), self._py(mark.y)
        parts: list[str] = []
        before: tuple[str, str] | None = None
        for px, py in zip(x.tolist(), y.tolist(), strict=True):
            if math.isnan(px + py):
                before = None
                continue
            here = (_n(px), _n(py))
            if before is None:
                parts.append(f"M{here[0]} {here[1]}")
            elif here[1] == before[1]:
                parts.append("" if here[0] == before[0] else f"H{here[0]}")
            else:
                parts.append(f"V{here[1]}" if here[0] == before[0] else f"L{here[0]} {here[1]}")
            before = here
        if parts:
            self.out.append(_stroke("".join(parts), mark.ink, mark.width, mark.dash))

    def _band(self, mark: Band) -> None:
        good = ~(np.isnan(mark.x) | np.isnan(mark.low) | np.isnan(mark.high))
        if good.sum() < 2:
            return
        x = self._px(mark.x[good])
        low, high = self._py(mark.low[good]), self._py(mark.high[good])
        there = [f"{_n(a)} {_n(b)}" for a, b in zip(x, high, strict=True)]
        back = [f"{_n(a)} {_n(b)}" for a, b in zip(x[::-1], low[::-1], strict=True)]
        path = "M" + "L".join(there + back) + "z"
        self.out.append(_tag("path", d=path, class_=mark.ink, fill="currentColor", fill_opacity=mark.opacity))

    def _points(self, mark: Points) -> None:
        places = zip(self._px(mark.x).tolist(), self._py(mark.y).tolist(), strict=True)
        pairs = [(x, y) for x, y in places if not math.isnan(x + y)]
        if len(pairs) > 20 and mark.marker == "circle":  # a cloud: round caps are shorter than circles
            dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in pairs)
            self.out.append(
                _tag(
                    "path",
                    _tip(mark.title),
                    d=dots,
                    class_=mark.ink,
                    fill="none",
                    stroke="currentColor",
                    stroke_width=2 * mark.radius,
                    stroke_linecap="round",
                    stroke_opacity=mark.opacity,
                )
            )
            return
        paths = [marker_path(mark.marker, x, y, mark.radius) for x, y in pairs]
        if paths:
            self.out.append(
                _marker(
                    mark.marker,
                    "".join(paths),
                    mark.ink,
                    hollow=mark.hollow,
                    opacity=mark.opacity,
                    title=mark.title,
                )
            )

    def _box(self, mark: Box) -> None:
        x0, x1 = sorted(float(v) for v in self._px([mark.x0, mark.x1]))
        y0, y1 = sorted(float(v) for v in self._py([mark.y0, mark.y1]))
        if math.isnan(x0 + x1 + y0 + y1):
            return
        wide, tall, half = x1 - x0, y1 - y0, mark.gap / 2
        fits = mark.label and text_width(mark.label, TICK_SIZE) + 4 <= wide and tall >= 13
        tip = "" if fits and mark.ink.startswith("q") else mark.title  # a number that is seen needs none
        low, high = (x0 + half, wide - mark.gap) if wide > 2 + mark.gap else (x0, max(wide, 0.6))
        self.out.append(_rect(low, y0 + half, high, tall - mark.gap, mark.ink, mark.opacity, tip))
        if fits:
            at = ((x0 + x1) / 2, (y0 + y1) / 2 + 3.9)
            self.out.append(_text(*at, mark.label, anchor="middle", ink=mark.label_ink))

    def _rule(self, mark: Rule) -> None:
        x0, x1 = (float(v) for v in self._px([mark.x0, mark.x1]))
        y0, y1 = (float(v) for v in self._py([mark.y0, mark.y1]))
        if math.isnan(x0 + x1 + y0 + y1):
            return
        half = mark.cap / 2
        path = f"M{_n(x0)} {_n(y0)}L{_n(x1)} {_n(y1)}"
        if half and abs(y0 - y1) < 0.01:
            path += "".join(f"M{_n(x)} {_n(y0 - half)}v{_n(mark.cap)}" for x in (x0, x1))
        elif half:
            path += "".join(f"M{_n(x0 - half)} {_n(y)}h{_n(mark.cap)}" for y in (y0, y1))
        self.out.append(_stroke(path, mark.ink, mark.width, mark.dash))

    def _word(self, mark: Text) -> None:
        x, y = float(self._px([mark.x])[0]), float(self._py([mark.y])[0])
        if math.isnan(x + y):
            return
        anchor, dx = mark.anchor, mark.dx
        wide = text_width(mark.text, mark.size, mark.bold)
        text = mark.text
        if anchor in ("auto", "start") and x + dx + wide > self.width - 4:
            if anchor == "auto" and x - dx - wide > self.left:
                anchor, dx = "end", -dx
            else:
                text = shorten(text, self.width - 4 - x - dx, mark.size, mark.bold)
        anchor = "start" if anchor == "auto" else anchor
        self.out.append(
            _text(
                x + dx,
                y + mark.dy,
                text,
                size=mark.size,
                anchor=anchor,
                ink=mark.ink,
                bold=mark.bold,
                title=mark.title,
                halo=True,
            )
        )
