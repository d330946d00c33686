"""From rows to charts: the shapes that several experiments share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from filar import chart
from filar.lab.base import Reference, Row
from filar.lab.result import Result

__all__ = ["curve", "curves", "events_note", "ranked_dots", "samples_note"]


def samples_note(rows: Iterable[Row]) -> str:
    """How many samples stand behind a chart: "301 rounds", or a range where rows differ."""
    counts = sorted({row.n for row in rows})
    if not counts:
        return ""
    return f"{counts[0]} rounds" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} rounds"


def events_note(counts: Iterable[int], noun: str) -> str:
    """How many single events stand behind the curves of a chart: "120 sleeps", or a range where they differ."""
    found = sorted(set(counts))
    if not found:
        return ""
    return f"{found[0]:,} {noun}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,} {noun}"


def ranked_dots(
    result: Result,
    metric: str,
    *,
    title: str = "",
    references: Sequence[Reference] = (),
    on: str = "",
    only: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> chart.Dots:
    """Floor, median with interval and p99 of every variant; published figures as hollow marks on the row `on`."""
    rows = [row for row in result.rows if row.metric == metric and (only is None or row.variant in only)]
    marks = [chart.Reference(value=r.value, source=r.source, label=r.label) for r in references]
    dots = [
        chart.Dot(
            label=row.variant,
            median=row.median,
            lo=row.interval.lo,
            hi=row.interval.hi,
            floor=row.min,
            p99=row.p99,
            references=marks if row.variant == on else (),
            bold=row.variant == on,
            group=(groups or {}).get(row.variant, ""),
        )
        for row in rows
    ]
    return chart.Dots(
        rows=dots,
        unit=rows[0].unit if rows else "",
        title=title or result.title,
        x_label=metric,
        n=samples_note(rows),
    )


def curve(label: str, rows: Sequence[Row], param: str, *, floor: bool = False, dashed: bool = False) -> chart.Series:
    """One line over a parameter of the rows: medians with their intervals, or floors."""
    ordered = sorted(rows, key=lambda row: row.params[param])
    return chart.Series(
        label=label,
        x=np.array([float(row.params[param]) for row in ordered]),
        y=np.array([row.min if floor else row.median for row in ordered]),
        lo=None if floor else np.array([row.interval.lo for row in ordered]),
        hi=None if floor else np.array([row.interval.hi for row in ordered]),
        dashed=dashed,
    )


def curves(
    result: Result,
    metric: str,
    param: str,
    lines: Mapping[str, Iterable[str]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    x_unit: str = "",
    x_scale: Literal["linear", "log"] = "log",
    y_scale: Literal["linear", "log"] = "log",
    marked: Sequence[chart.Marked] = (),
) -> chart.Lines:
    """Lines over `param`: `lines` maps each label to the variants whose rows belong to it."""
    chosen = {
        label: [row for row in result.rows if row.metric == metric and row.variant in set(variants)]
        for label, variants in lines.items()
    }
    rows = [row for members in chosen.values() for row in members]
    return chart.Lines(
        series=[curve(label, members, param) for label, members in chosen.items() if members],
        x_unit=x_unit,
        y_unit=rows[0].unit if rows else "",
        x_scale=x_scale,
        y_scale=y_scale,
        title=title or result.title,
        x_label=x_label or param,
        y_label=y_label or metric,
        n=samples_note(rows),
        marked=marked,
    )
