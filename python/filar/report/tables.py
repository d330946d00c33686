"""Text for terminals: tables that know how wide characters are, small distributions, and their ASCII form.

All functions write Unicode; `to_ascii` replaces sign by sign without changing the width, so whoever prints decides
once, by the encoding of the stream.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filar.chart import format_quantity
from filar.lab.base import Row, Rows, Table
from filar.report.words import format_interval, groups_of, quantity

__all__ = [
    "Column",
    "cells",
    "clean",
    "distribution",
    "facts_table",
    "fill",
    "pad",
    "rows_table",
    "shorten",
    "table",
    "to_ascii",
]

LEVELS = " ▁▂▃▄▅▆▇█"
GAP = "  "
_ASCII = str.maketrans(
    {
        **dict(zip(LEVELS, " .,:;=+*#", strict=True)),
        **dict.fromkeys("─–—−", "-"),
        **dict.fromkeys("‘’", "'"),
        **dict.fromkeys("“”", '"'),
        **dict(zip("│├└┌┐┘┤┬┴┼", "|||++++++++", strict=False)),
        **dict(zip("µμ×…·•≈±≤≥→✓✗◐░∞\u00a0", "uux~.*~~<>>+x~-8 ", strict=True)),
    }
)


def to_ascii(text: str) -> str:
    """The text in ASCII, as wide as before; a sign without a likeness becomes "?"."""
    plain = text.translate(_ASCII)
    if plain.isascii():
        return plain
    plain = "".join(c if c.isascii() else (unicodedata.normalize("NFKD", c)[:1] or "?") for c in plain)
    return plain.encode("ascii", "replace").decode()


def clean(text: object) -> str:
    """One line without control characters: a name from a foreign file shall not move the reader's cursor."""
    line = " ".join(str(text).splitlines())
    return "".join(" " if c == "\t" else c if unicodedata.category(c)[0] != "C" else "�" for c in line)


def cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, width: int, right: bool = False) -> str:
    """The text with blanks up to `width` columns, before it if `right`."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def shorten(text: str, width: int) -> str:
    """The text cut with an ellipsis to at most `width` columns."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return (text.rstrip() + "…") if width > 0 else ""


def fill(text: str, width: int, indent: str = "") -> str:
    """A paragraph broken at blanks into lines of at most `width` columns."""
    return "\n".join(indent + line for line in _break(text, max(width - cells(indent), 8)))


def _break(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and cells(line) + 1 + cells(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
        while cells(line) > width:  # a word longer than the line
            cut = len(line)
            while cells(line[:cut]) > width:
                cut -= 1
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line or not lines else lines


@dataclass(frozen=True)
class Column:
    """A column: its head, whether it is flush right, whether it is broken into lines where the table is too wide."""

    head: str
    right: bool = False
    breaks: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[object] | str], width: int = 80, indent: str = "") -> str:
    """A table no wider than `width` where its breaking columns allow that.

    A row that is a str is a heading: it begins at the left, all other rows after `indent`.
    """
    lines = [[clean(cell) for cell in row] for row in rows if not isinstance(row, str)]
    heads = [column.head for column in columns]
    wide = [max(cells(text) for text in texts) for texts in zip(heads, *lines, strict=True)]
    _squeeze(wide, columns, width - cells(indent))
    out = [indent + _line(heads, wide, columns), indent + GAP.join("─" * size for size in wide)]
    for row in rows:
        if isinstance(row, str):
            out.append(clean(row))
            continue
        parts = [
            _break(clean(cell), size) if column.breaks else [clean(cell)]
            for cell, size, column in zip(row, wide, columns, strict=True)
        ]
        for i in range(max(map(len, parts))):
            out.append(indent + _line([part[i] if i < len(part) else "" for part in parts], wide, columns))
    return "\n".join(out)


def _squeeze(wide: list[int], columns: Sequence[Column], width: int) -> None:
    """Narrows the widest breaking column, again and again, until the table fits or all of them are at 12."""
    while sum(wide) + len(GAP) * (len(wide) - 1) > width:
        breaking = [i for i, column in enumerate(columns) if column.breaks and wide[i] > max(12, cells(column.head))]
        if not breaking:
            return
        wide[max(breaking, key=lambda i: wide[i])] -= 1


def _line(texts: Sequence[str], wide: Sequence[int], columns: Sequence[Column]) -> str:
    padded = (pad(text, size, column.right) for text, size, column in zip(texts, wide, columns, strict=True))
    return GAP.join(padded).rstrip()


def rows_table(rows: Rows, width: int = 80) -> str:
    """The rows of a result: typical value with its interval, floor, tail, number of samples."""
    columns = [
        Column("", breaks=True),
        Column("median", right=True),
        Column("95 % interval", right=True),
        Column("floor", right=True),
        Column("p99", right=True),
        Column("n", right=True),
    ]
    lines: list[Sequence[object] | str] = []
    for group in groups_of(rows):
        lines += [f"{group.heading}:"]
        for label, row in group.rows:
            shown = [quantity(value, row.unit) for value in (row.median, row.min, row.p99)]
            interval = format_interval(row.interval.lo, row.interval.hi, row.unit)
            lines.append((label, shown[0], interval, *shown[1:], f"{row.n:,}"))
    return table(columns, lines, width, indent="  ")


def facts_table(facts: Table, width: int = 80) -> str:
    """A table of facts that are not timings."""
    columns = [Column(clean(head), right=_numeric(facts, i), breaks=True) for i, head in enumerate(facts.columns)]
    return table(columns, [tuple(map(fact_text, row)) for row in facts.rows], width)


def _numeric(facts: Table, index: int) -> bool:
    values = [row[index] for row in facts.rows if row[index] is not None]
    return bool(values) and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def fact_text(value: object) -> str:
    """A cell of a table of facts: numbers with commas, yes and no, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, int):
        return format_quantity(value, digits=18)
    return format_quantity(value) if isinstance(value, float) else str(value)


def distribution(rows: Sequence[Row], width: int = 80) -> str:
    """Histograms of rows of one metric over one axis, a line each; the axis is logarithmic where that helps.

    Samples above the highest 99th percentile are counted in the last column, so that one outlier does not flatten
    all others.
    """
    rows = [row for row in rows if row.n and math.isfinite(row.min)]
    if not rows:
        return ""
    low = min(row.min for row in rows)
    high = max(row.p99 for row in rows)
    if not high > low:
        return ""
    name = min(max(cells(clean(row.variant)) for row in rows), width // 3)
    columns = max(min(width - name - len(GAP), 60), 10)
    log = low > 0 and high / low > 8
    edges = np.geomspace(low, high, columns + 1) if log else np.linspace(low, high, columns + 1)
    lines = []
    for row in rows:
        inside = np.clip(row.samples[np.isfinite(row.samples)], low, high)
        counts, _ = np.histogram(inside, edges)
        tops = np.ceil(counts / max(counts.max(), 1) * (len(LEVELS) - 1)).astype(int)
        bars = "".join(LEVELS[top] for top in tops)
        lines.append((pad(shorten(clean(row.variant), name), name) + GAP + bars).rstrip())
    unit = rows[0].unit
    ends = [format_quantity(low, unit), format_quantity(high, unit) + (" and more, log axis" if log else " and more")]
    rule = "─" * max(columns - cells(ends[0]) - cells(ends[1]) - 2, 1)
    lines.append(" " * name + GAP + f"{ends[0]} {rule} {ends[1]}")
    return "\n".join(lines)
