"""A result as a table of its rows: text in a terminal, HTML in a notebook; how figures of rows are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from filar._tables import Column, html_table, named_columns, text_table
from filar.chart import format_quantity
from filar.lab.base import Row, Rows

__all__ = ["Group", "ResultTable", "format_interval", "groups_of", "quantity"]

_FIGURES = ("median", "95 % interval", "floor", "p99", "n")
_COLUMNS = named_columns(("variant", "metric", *_FIGURES), 2)


def quantity(value: float, unit: str) -> str:
    """A figure of a row: three digits, of ratios four, since 0.9978 says more than 1."""
    return format_quantity(value, unit, 4 if unit == "ratio" else 3)


def format_interval(lo: float, hi: float, unit: str) -> str:
    """Both ends of an interval; their unit stands once if they share it: "9.68 to 10.4 µs"."""
    first, last = quantity(lo, unit), quantity(hi, unit)
    if first == last:
        return first
    head, _, tail = first.partition(" ")
    if tail and last.endswith(" " + tail):
        first = head
    return f"{first} to {last}"


@dataclass(frozen=True)
class Group:
    """Rows under one heading, each with the label that tells it from the others."""

    heading: str
    rows: list[tuple[str, Row]]


def groups_of(rows: Rows) -> list[Group]:
    """Rows side by side that a reader compares: by metric, or by variant if there are more metrics than variants."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if len(metrics) <= max(len(rows.variants()), 1):
        return [Group(metric, [(row.variant, row) for row in rows if row.metric == metric]) for metric in metrics]
    return [
        Group(variant, [(row.metric, row) for row in rows if row.variant == variant]) for variant in rows.variants()
    ]


def _figures(row: Row) -> tuple[str, ...]:
    """The cells that follow the names of a row."""
    median, floor, tail = (quantity(value, row.unit) for value in (row.median, row.min, row.p99))
    return (median, format_interval(row.interval.lo, row.interval.hi, row.unit), floor, tail, f"{row.n:,}")


@dataclass(frozen=True)
class ResultTable:
    """Rows of a result to be looked at; `str()` is the text, notebooks show HTML."""

    title: str
    rows: Rows

    def text(self, width: int = 80) -> str:
        """Typical value with its interval, floor, tail, number of samples: group by group, `width` columns wide."""
        columns = [Column("", breaks=True), *(Column(head, right=True) for head in _FIGURES)]
        lines: list[Sequence[object] | str] = []
        for group in groups_of(self.rows):
            lines += [f"{group.heading}:", *((label, *_figures(row)) for label, row in group.rows)]
        return text_table(columns, lines, width, indent="  ")

    def __str__(self) -> str:
        return self.text(width=100)

    def __repr__(self) -> str:
        return f"<ResultTable {self.title!r}, {len(self.rows)} rows; print() shows it>"

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, [(row.variant, row.metric, *_figures(row)) for row in self.rows])
