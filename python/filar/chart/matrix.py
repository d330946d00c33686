"""A matrix of numbers as coloured cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .base import NAN, Chart, RowStack
from .figure import LABEL_SIZE, Box, Figure, Key, Mark, Row, Span
from .scale import MINUS, Scale, finite, format_quantity
from .text import text_width
from .theme import HEAT_STEPS


@dataclass(frozen=True)
class Bracket:
    """A bracket over neighbouring rows or columns, first .. last counted from 0: "socket 0"."""

    first: int
    last: int
    label: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Heatmap(Chart):
    """Numbers in cells, darker (on a dark page: brighter) for more; colours differ in lightness alone.

    values         rows by columns; NaN leaves a cell empty
    low, high      the range of the colours; NaN takes it from the data
    log            spreads the colours over orders of magnitude
    cell_unit      print the unit in each cell; otherwise only in the note that explains the colours
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]] | np.ndarray
    unit: str = ""
    low: float = NAN
    high: float = NAN
    log: bool = False
    cell_unit: bool = False
    row_brackets: Sequence[Bracket] = ()
    column_brackets: Sequence[Bracket] = ()

    def __post_init__(self) -> None:
        shape = np.shape(self.values)
        if np.size(self.values) and shape != (len(self.rows), len(self.columns)):
            raise ValueError(
                f"heatmap: values have shape {shape}, but there are {len(self.rows)} rows and "
                f"{len(self.columns)} columns"
            )

    def figure(self) -> Figure:
        """One box and, where it fits, one number for each cell."""
        table = np.asarray(self.values, dtype=float)
        known = finite(table)
        if not known.size:
            return Figure.without_data(160)
        low = self.low if math.isfinite(self.low) else float(known.min())
        high = self.high if math.isfinite(self.high) else float(known.max())
        tall = max(16.0, min(34.0, 620 / max(1, len(self.rows))))
        stack = RowStack(self.width, smallest=tall)
        stack.total = 0.0
        rows = [stack.add(label) for label in self.rows]
        left = max((text_width(t, LABEL_SIZE) for row in rows for t in row.lines), default=0) + 130
        slot = max(1.0, (self.width - left) / len(self.columns))
        columns = [Row((label,), slot * (j + 0.5), slot) for j, label in enumerate(self.columns)]
        decimals = max(0, min(2, 2 - math.floor(math.log10(np.abs(known).max() or 1.0))))
        marks: list[Mark] = []
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                value = float(table[i, j])
                tip = f"{self.rows[i]}, {self.columns[j]}: {format_quantity(value, self.unit)}"
                half, tall = slot / 2, row.size / 2
                box = (column.at - half, column.at + half, row.at - tall, row.at + tall)
                if not math.isfinite(value):
                    marks.append(Box(*box, "grid", 0.35, gap=1))
                    continue
                step = _step(value, low, high, self.log)
                text = format_quantity(value, self.unit) if self.cell_unit else f"{value:,.{decimals}f}"
                text = text.replace("-", MINUS)
                marks.append(Box(*box, f"q{step}", gap=1, title=tip, label=text, label_ink=f"k{step}"))
        notes = [f"Colour from {format_quantity(low, self.unit)} to {format_quantity(high, self.unit)}."]
        if not high > low:
            notes = []  # one value has one colour
        keys = []
        if slot < 30 and high > low and not self.log:  # no room for numbers: the colours need a legend
            bounds = [low + (high - low) * k / HEAT_STEPS for k in range(HEAT_STEPS)]
            names = [f"from {format_quantity(bound, self.unit)}" for bound in bounds]
            keys = [Key(name, f"q{k}", "box") for k, name in enumerate(names)]
        proper = np.where(np.isfinite(table), table, np.nan)
        smallest = np.unravel_index(np.nanargmin(proper), table.shape)
        largest = np.unravel_index(np.nanargmax(proper), table.shape)
        return Figure(
            x=Scale("rows", 0.0, slot * len(columns)),
            y=Scale("rows", 0.0, max(stack.total, 1.0)),
            height=stack.total,
            marks=marks,
            rows=stack.rows,
            columns=columns,
            row_spans=_spans(self.row_brackets, rows),
            column_spans=_spans(self.column_brackets, columns),
            keys=keys,
            notes=notes,
            summary=f"{len(rows)} by {len(columns)} cells; smallest {self._where(smallest)}, "
            f"largest {self._where(largest)}.",
        )

    def _where(self, index: tuple[np.intp, ...]) -> str:
        i, j = int(index[0]), int(index[1])
        value = float(np.asarray(self.values, dtype=float)[i, j])
        return f"{format_quantity(value, self.unit)} ({self.rows[i]}, {self.columns[j]})"


def _step(value: float, low: float, high: float, log: bool) -> int:
    """The colour of a value, 0 .. HEAT_STEPS - 1; all equal values get a light middle one."""
    if log and value > 0 and low > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    if high <= low:
        return 2
    share = min(max((value - low) / (high - low), 0.0), 1.0)
    return min(int(share * HEAT_STEPS), HEAT_STEPS - 1)


def _spans(brackets: Sequence[Bracket], rows: Sequence[Row]) -> list[Span]:
    spans = []
    for one in brackets:
        if 0 <= one.first <= one.last < len(rows):
            first, last = rows[one.first], rows[one.last]
            spans.append(Span(first.at - first.size / 2, last.at + last.size / 2, one.label))
    return spans
