"""A result as a table of its rows: aligned text in a terminal, HTML in a notebook."""

from __future__ import annotations

from dataclasses import dataclass

from filar._tables import html_table, named_columns, text_table
from filar.chart import format_quantity
from filar.lab.base import Row, Rows

__all__ = ["ResultTable"]

_COLUMNS = named_columns(("variant", "metric", "median", "95 % interval", "floor", "p99", "n"), 2)


def _cells(row: Row) -> tuple[str, ...]:
    def quantity(value: float) -> str:
        # A ratio of 0.9978 says more than "1": four digits, and no unit.
        return format_quantity(value, "", 4) if row.unit == "ratio" else format_quantity(value, row.unit)

    interval = f"{quantity(row.interval.lo)} to {quantity(row.interval.hi)}"
    return (
        row.variant,
        row.metric,
        quantity(row.median),
        interval,
        quantity(row.min),
        quantity(row.p99),
        f"{row.n:,}",
    )


@dataclass(frozen=True)
class ResultTable:
    """Rows of a result to be looked at; `str()` is the text, notebooks show HTML."""

    title: str
    rows: Rows

    def __str__(self) -> str:
        return text_table(_COLUMNS, [_cells(row) for row in self.rows])

    def __repr__(self) -> str:
        return f"<ResultTable {self.title!r}, {len(self.rows)} rows; print() shows it>"

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, [_cells(row) for row in self.rows])
