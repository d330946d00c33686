"""What lies between a kind of chart and a renderer: two scales and a list of marks in data units.

Each kind in rows.py, curves.py and matrix.py turns its data into a Figure; svg.py and mpl.py draw Figures and
know nothing about kinds. So a kind is written once and looks alike in both.

Always: the values in marks are clean (Scale.clean, Scale.clamp); NaN breaks a path and hides a point.
On a rows scale one unit is one pixel, measured from the top (y) or the left (x).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .scale import Scale

SERIES_INKS = 7
MARKERS = ("circle", "square", "triangle", "diamond", "down", "cross", "plus")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2.5", "12 4")

LABEL_SIZE = 12.0
LABEL_WIDTH = 225.0


def series_ink(index: int) -> str:
    """Return the ink of the n-th series; they repeat after seven."""
    return f"c{index % SERIES_INKS}"


def series_marker(index: int) -> str:
    """Return the marker of the n-th series, the second cue beside its ink."""
    return MARKERS[index % len(MARKERS)]


@dataclass(frozen=True, eq=False)
class Path:
    """A line through points; NaN breaks it."""

    x: np.ndarray
    y: np.ndarray
    ink: str
    dash: str = ""
    width: float = 1.8


@dataclass(frozen=True, eq=False)
class Band:
    """A filled area between two edges over x."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ink: str
    opacity: float = 0.16


@dataclass(frozen=True, eq=False)
class Points:
    """Markers; title is the tooltip of all of them."""

    x: np.ndarray
    y: np.ndarray
    ink: str
    marker: str = "circle"
    radius: float = 3.6
    hollow: bool = False
    opacity: float = 1.0
    title: str = ""


@dataclass(frozen=True)
class Box:
    """A filled rectangle; its label is printed inside if it fits; gap is the paper around it in pixels."""

    x0: float
    x1: float
    y0: float
    y1: float
    ink: str
    opacity: float = 1.0
    gap: float = 0.0
    title: str = ""
    label: str = ""
    label_ink: str = "paper"


@dataclass(frozen=True)
class Rule:
    """A straight line; cap is the length in pixels of the bars across its ends."""

    x0: float
    y0: float
    x1: float
    y1: float
    ink: str
    width: float = 1.4
    dash: str = ""
    cap: float = 0.0


@dataclass(frozen=True)
class Text:
    """A word at a point, moved by (dx, dy) pixels. anchor "auto" turns to the side where there is room."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    dx: float = 0.0
    dy: float = 0.0
    size: float = 11.0
    ink: str = "ink"
    bold: bool = False
    title: str = ""


Mark = Path | Band | Points | Box | Rule | Text


@dataclass(frozen=True)
class Key:
    """One entry of a legend. shape: "line", "point" or "box"; size is the height of a box, 0 .. 1."""

    label: str
    ink: str
    shape: str = "line"
    marker: str = ""
    dash: str = ""
    hollow: bool = False
    size: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True)
class End:
    """Where a series ends, so that its label can stand there instead of in a legend."""

    key: Key
    x: float
    y: float


@dataclass(frozen=True)
class Guide:
    """A line across the plot at one value of an axis ("x" or "y"), with a label."""

    value: float
    label: str
    axis: str = "x"
    ink: str = "ink"
    dash: str = "4 3"


@dataclass(frozen=True)
class Row:
    """One row (or column) of a rows scale: the lines of its label, its middle and its size in pixels."""

    lines: tuple[str, ...]
    at: float
    size: float
    heading: bool = False
    bold: bool = False
    value: str = ""


@dataclass(frozen=True)
class Span:
    """A bracket over neighbouring rows or columns, in pixels of a rows scale."""

    low: float
    high: float
    label: str


@dataclass(eq=False)
class Figure:
    """Everything a renderer needs beside the words that all charts share."""

    x: Scale = field(default_factory=Scale)
    y: Scale = field(default_factory=Scale)
    height: float = 300.0
    marks: list[Mark] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    columns: list[Row] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    guides: list[Guide] = field(default_factory=list)
    row_spans: list[Span] = field(default_factory=list)
    column_spans: list[Span] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    summary: str = ""
    x_grid: bool = True
    y_grid: bool = True
    row_lines: bool = False
    value_head: str = ""
    empty: bool = False

    @classmethod
    def without_data(cls, height: float, notes: Iterable[str] = ()) -> Figure:
        """A frame that says "no data"."""
        return cls(height=min(height, 160.0), notes=list(notes), summary="No data.", empty=True)
