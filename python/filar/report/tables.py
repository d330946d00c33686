"""Text for terminals: small distributions, and the ASCII form of everything; tables are those of `filar._tables`.

All functions write Unicode; `to_ascii` replaces sign by sign without changing the width, so whoever prints decides
once, by the encoding of the stream.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import numpy as np

from filar._tables import GAP, Column, cells, clean, fill, pad, shorten, text_table
from filar.chart import format_quantity
from filar.lab.base import Row

__all__ = [
    "Column",
    "cells",
    "clean",
    "distribution",
    "fill",
    "pad",
    "shorten",
    "text_table",
    "to_ascii",
]

LEVELS = " ▁▂▃▄▅▆▇█"
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
