"""What all charts share: the words around the picture, and the ways to get the picture out."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import svg
from .figure import LABEL_SIZE, LABEL_WIDTH, Figure, Row
from .text import wrap

Level = Literal["ok", "warn", "bad"]
Numbers = Sequence[float] | np.ndarray

INF, NAN = math.inf, math.nan


@dataclass(frozen=True)
class Badge:
    """Under which conditions a figure was measured, drawn in its corner: quiet, noisy, not to be trusted."""

    text: str
    level: Level = "ok"

    def __post_init__(self) -> None:
        if self.level not in ("ok", "warn", "bad"):
            raise ValueError(f'badge level must be "ok", "warn" or "bad", not {self.level!r}')


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """A picture described by data and labels; frozen, and drawn only when asked for.

    title      one line above the picture: the question or the finding
    x_label    name of the horizontal axis with its unit, "create + join"
    y_label    the same for the vertical axis; it stands above the axis, not beside it
    n          how many samples stand behind it, "301 rounds"; printed as "n = 301 rounds"
    note       a sentence below the picture
    badge      the condition badge, or None
    alt        the text alternative for readers who do not see it; built from the data if empty
    width      in pixels; the picture shrinks with its page but never grows beyond
    """

    title: str = ""
    x_label: str = ""
    y_label: str = ""
    n: str = ""
    note: str = ""
    badge: Badge | None = None
    alt: str = ""
    width: int = 720

    def figure(self) -> Figure:
        """Return the marks and scales to draw; each kind defines it."""
        raise NotImplementedError

    def svg(self) -> str:
        """Return the picture as one self-contained svg element, the same text for the same data."""
        figure = self.figure()
        badge = (self.badge.text, self.badge.level) if self.badge else None
        return svg.render(
            figure,
            title=self.title,
            x_label=self.x_label,
            y_label=self.y_label,
            footer=self.footer(figure),
            badge=badge,
            alt=self.alternative(figure),
            width=self.width,
        )

    def footer(self, figure: Figure) -> str:
        """Return the words below the picture: sample count, note, and what could not be drawn."""
        count = f"n = {self.n}." if self.n else ""
        note = self.note if not self.note or self.note.endswith((".", "!", "?")) else self.note + "."
        return " ".join(part for part in (count, note, *figure.notes) if part)

    def alternative(self, figure: Figure) -> str:
        """Return the sentence for readers who do not see the picture."""
        return self.alt or figure.summary

    def to_matplotlib(self, ax: Any = None) -> Any:
        """Draw the same description into Axes (new ones if None) and return them; needs matplotlib."""
        from . import mpl

        return mpl.draw(self, ax)

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        """An img with the picture inside: notebooks strip svg from untrusted HTML, but not that."""
        data = base64.b64encode(self.svg().encode()).decode()
        label = svg.clean(f"{self.title or 'Chart'}. {self.alternative(self.figure())}")
        style = f"width:100%;max-width:{self.width}px"
        return f'<img alt="{label}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def same_length(what: str, **columns: object) -> None:
    """Raise ValueError with one sentence unless all columns that are given have the same length."""
    sizes = {name: len(column) for name, column in columns.items() if column is not None}  # type: ignore[arg-type]
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"{what}: lengths differ ({listed})")


class RowStack:
    """Lays out labelled rows from the top; positions and sizes in pixels."""

    def __init__(self, width: float, smallest: float = 24.0) -> None:
        self.rows: list[Row] = []
        self.total = 4.0
        self._smallest = smallest
        self._label_width = min(LABEL_WIDTH, 0.36 * width)
        self._group = ""

    def group(self, name: str) -> None:
        """Begin a group; its heading stands on a line of its own. A repeated name does nothing."""
        if name == self._group:
            return
        self._group = name
        if name:
            self.total += 6.0 if self.rows else 0.0
            self.rows.append(Row((name,), self.total + 10, 22.0, heading=True))
            self.total += 22.0

    def add(self, label: str, below: float = 0.0, *, bold: bool = False, value: str = "") -> Row:
        """Add a row and return it; below is extra room in pixels under its middle line."""
        lines = wrap(label, self._label_width, LABEL_SIZE, bold, lines_max=3)
        tall = max(self._smallest, 14.0 * len(lines) + 8)
        row = Row(tuple(lines), self.total + tall / 2, tall, bold=bold, value=value)
        self.rows.append(row)
        self.total += tall + below
        return row


def in_groups(names: Sequence[str]) -> list[int]:
    """Return indices so that equal names stand together, in order of first appearance."""
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    return sorted(range(len(names)), key=lambda i: (first[names[i]], i))
