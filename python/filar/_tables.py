"""Tables: aligned text that knows how wide characters are, and HTML for notebooks, from the same columns and rows.

Text is Unicode; whoever prints it decides about the encoding. HTML carries its styles in place, since notebooks drop
style sheets of untrusted cells, and no colour of its own, so that it is right on light and on dark pages.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = [
    "GAP",
    "Column",
    "break_lines",
    "cells",
    "clean",
    "facts_html",
    "facts_text",
    "fill",
    "html_table",
    "named_columns",
    "pad",
    "shorten",
    "text_table",
]

GAP = "  "
_RULE = "1px solid rgba(128,128,128,.45)"
_CELL = f"vertical-align:top;padding:.2em .8em .2em 0;border-bottom:{_RULE}"
_CAPTION = "text-align:left;font-weight:bold;padding:.3em 0;caption-side:top;color:inherit"
# Texts up to this long stay on one line of a notebook.
_WHOLE_MAX = 18


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
    return "\n".join(indent + line for line in break_lines(text, max(width - cells(indent), 8)))


def break_lines(text: str, width: int) -> list[str]:
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


def text_table(
    columns: Sequence[Column], rows: Sequence[Sequence[object] | str], width: int = 80, indent: str = ""
) -> str:
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
            break_lines(clean(cell), size) if column.breaks else [clean(cell)]
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


def named_columns(heads: Iterable[str], left: int) -> list[Column]:
    """Columns of these heads, all but the first `left` of them flush right."""
    return [Column(head, right=index >= left) for index, head in enumerate(heads)]


def html_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A small table for a notebook; heads and cells are escaped."""
    head = "".join(_html_cell("th", column.head, column) for column in columns)
    body = "".join(
        f"<tr>{''.join(_html_cell('td', cell, column) for cell, column in zip(row, columns, strict=True))}</tr>"
        for row in rows
    )
    title = f'<caption style="{_CAPTION}">{escape(caption)}</caption>' if caption else ""
    return (
        f'<table style="border-collapse:collapse;background:none">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _html_cell(name: str, content: object, column: Column) -> str:
    text = str(content)
    whole = ";white-space:nowrap" if column.right or len(text) <= _WHOLE_MAX else ""
    side = "right" if column.right else "left"
    return f'<{name} style="text-align:{side};{_CELL}{whole}">{escape(text)}</{name}>'


# The width of the names in a list of facts.
_NAME = 24


def facts_text(facts: Iterable[tuple[str, str]]) -> str:
    """Names and what is to be said of each, a line a fact."""
    return "\n".join(f"{name:<{_NAME}}{value}" for name, value in facts)


def facts_html(facts: Iterable[tuple[str, str]]) -> str:
    """The same for a notebook."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    return f'<table style="text-align:left;border-collapse:collapse">{rows}</table>'
