"""A comparison as a page of its own, in the look of the report."""

from __future__ import annotations

import math
from itertools import groupby

from filar.chart import format_quantity
from filar.lab.compare import Change, Comparison
from filar.report.compare_text import counts_text, ranked, remarks
from filar.report.html import brand, document
from filar.report.markup import Markup, tag

__all__ = ["comparison_page"]

_STYLES = {"slower": "fails", "faster": "holds", "more": "when", "less": "when"}
_HEAD = ("", "before", "after", "ratio", "95 % interval", "floors", "")


def comparison_page(found: Comparison) -> str:
    """The whole page: for each of the others its changes, all rows that are the same last."""
    against = tag("p", f"Held against {found.names[0]}", class_="machine")
    head = tag("header", brand("filar compare"), tag("h1", "What changed"), against, class_="masthead")
    parts = [_part(found, index) for index in range(len(found.changes))]
    notes = [tag("p", note, class_="quiet") for note in found.notes]
    return document("filar compare", tag("main", head, tag("div", parts), tag("footer", notes), class_="page alone"))


def _part(found: Comparison, index: int) -> Markup:
    changes = ranked(found.changes[index])
    bodies = [_group(name, list(group)) for name, group in groupby(changes, lambda c: f"{c.experiment}, {c.metric}")]
    head = tag("tr", [tag("th", name, scope="col", class_="figure" if name else None) for name in _HEAD])
    table = tag("table", tag("thead", head), bodies, class_="numbers")
    return tag(
        "section",
        tag("h2", found.names[index + 1]),
        tag("p", counts_text(changes)),
        [tag("p", remark, class_="quiet") for remark in remarks(found, index)],
        tag("div", table, class_="scroll", role="region", aria_label="Changes", tabindex=0) if changes else None,
    )


def _group(name: str, changes: list[Change]) -> Markup:
    heading = tag("tr", tag("th", name, scope="rowgroup", colspan=len(_HEAD)), class_="group")
    return tag("tbody", heading, [_row(change) for change in changes])


def _row(change: Change) -> Markup:
    known = change.ratio.n > 0
    figures = (
        format_quantity(change.base, change.unit),
        format_quantity(change.other, change.unit),
        f"{change.ratio.mid:.3f}" if known else "–",
        f"{change.ratio.lo:.3f} to {change.ratio.hi:.3f}" if known else "–",
        f"{change.floor_ratio:.3f}" if math.isfinite(change.floor_ratio) else "–",
    )
    style = _STYLES.get(change.word)
    word = tag("span", change.word, class_=f"chip {style}") if style else change.word
    return tag(
        "tr",
        tag("th", change.variant, scope="row"),
        [tag("td", figure, class_="figure") for figure in figures],
        tag("td", word),
    )
