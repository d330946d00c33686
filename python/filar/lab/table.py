"""A result as a table of its rows: aligned text in a terminal, HTML in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from filar.chart import format_quantity
from filar.lab.base import Row, Rows

__all__ = ["ResultTable", "text_table"]

HEADINGS = ("variant", "metric", "median", "95 % interval", "floor", "p99", "n")
_LEFT = 2
_CELL = "padding:2px 10px 2px 0;white-space:nowrap;text-align:"


def text_table(headings: tuple[str, ...], lines: list[tuple[str, ...]], left: int) -> str:
    """Columns aligned by width, the first `left` of them to the left, under a rule."""
    widths = [max(len(line[i]) for line in [headings, *lines]) for i in range(len(headings))]

    def aligned(line: tuple[str, ...]) -> str:
        cells = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return "\n".join([aligned(headings), "  ".join("-" * width for width in widths), *map(aligned, lines)])


def html_table(headings: tuple[str, ...], lines: list[tuple[str, ...]], left: int) -> str:
    """The same as an HTML table, with styles in place: notebooks drop style sheets of untrusted cells."""

    def line(cells: tuple[str, ...], tag: str) -> str:
        sides = ("left" if i < left else "right" for i in range(len(cells)))
        inner = "".join(
            f'<{tag} style="{_CELL}{side}">{escape(cell)}</{tag}>' for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(line(cells, "td") for cells in lines)
    return f"<table><thead>{line(headings, 'th')}</thead><tbody>{body}</tbody></table>"


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
        return text_table(HEADINGS, [_cells(row) for row in self.rows], _LEFT)

    def __repr__(self) -> str:
        return f"<ResultTable {self.title!r}, {len(self.rows)} rows; print() shows it>"

    def _repr_html_(self) -> str:
        return html_table(HEADINGS, [_cells(row) for row in self.rows], _LEFT)
