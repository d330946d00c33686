"""Pictures: small frozen descriptions (data and labels) that draw themselves as svg or with matplotlib.

    chart.Lines(series=[chart.Series("pool", x, y)], x_unit="ns", y_unit="x", title="When does a split pay?")

A chart has svg(), shows itself in a notebook, and to_matplotlib(ax) draws the same into Axes. Layers, lowest
first: text, scale (numbers to words and places), theme, figure (marks), svg, base, the kinds (rows,
curves, matrix), mpl. Nothing here knows what was measured; it needs numpy and the standard library.
"""

from .base import Badge, Chart
from .curves import Cdf, Lifetimes, Lines, Marked, Part, Samples, Series, Stack, Survival
from .matrix import Bracket, Heatmap
from .rows import (
    Arrow,
    Bars,
    BarSeries,
    Dot,
    Dots,
    Gantt,
    Interval,
    Ladder,
    Limit,
    Ratios,
    Reference,
    Strip,
)
from .scale import format_quantity, parse_quantity
from .text import text_width

__all__ = [
    "Arrow",
    "Badge",
    "BarSeries",
    "Bars",
    "Bracket",
    "Cdf",
    "Chart",
    "Dot",
    "Dots",
    "Gantt",
    "Heatmap",
    "Interval",
    "Ladder",
    "Lifetimes",
    "Limit",
    "Lines",
    "Marked",
    "Part",
    "Ratios",
    "Reference",
    "Samples",
    "Series",
    "Stack",
    "Strip",
    "Survival",
    "format_quantity",
    "parse_quantity",
    "text_width",
]
