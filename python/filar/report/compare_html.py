"""A comparison as a page of its own, in the look of the report."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby

from filar.chart import format_quantity
from filar.lab.compare import Change, Comparison
from filar.lab.result import Result
from filar.report.compare_text import READING, column_names, counts_text, ranked, remarks, settings
from filar.report.html import brand, document, shared_style
from filar.report.machine import machine_line
from filar.report.markup import Markup, tag
from filar.report.result_html import verdict_chip

__all__ = ["comparison_page"]

PICTURES_MAX_BYTES = 3_000_000
_STYLES = {"slower": "fails", "faster": "holds", "more": "when", "less": "when"}
# Rows that are the same stand behind a fold where there are more of them than this.
SAME_MAX = 12


def comparison_page(found: Comparison) -> str:
    """The whole page: machines, what changed in short, verdicts, for each of the others its changes, then pictures.

    Pictures are left out from the end where the page would become larger than a browser likes.
    """
    against = tag("p", f"Held against {found.names[0]}", class_="machine")
    title = "What changed" if found.same_machine else "Machines side by side"
    head = tag("header", brand("filar compare"), tag("h1", title), against, class_="masthead")
    parts = [_part(found, index) for index in range(len(found.changes))]
    notes = [tag("p", note, class_="quiet") for note in found.notes]
    pictures, style = shared_style(_pictures(found))
    main = tag(
        "main",
        head,
        tag("div", _machines(found), _summary(found), _verdicts(found), parts, pictures),
        tag("footer", notes),
        class_="page alone",
    )
    return document("filar compare", main, style=style)


def _machines(found: Comparison) -> Markup:
    """What each name stands for."""
    lines = [tag("div", tag("dt", name), tag("dd", _machine(side))) for name, side in _named_sides(found)]
    return tag("dl", lines, class_="facts")


def _named_sides(found: Comparison) -> Iterator[tuple[str, dict[str, Result]]]:
    return zip(found.names, found.sides, strict=True)


def _machine(side: dict[str, Result]) -> str:
    """CPU, kernel and mode, from the first of its results."""
    for one in side.values():
        return ", ".join(filter(None, (machine_line(one.host), one.host.get("kernel_release"), f"{one.mode} mode")))
    return "nothing measured"


def _summary(found: Comparison) -> Markup:
    """How many rows changed in each of the others, and how to read all that follows."""
    head = tag("tr", [tag("th", text, scope="col") for text in (f"Against {found.names[0]}", "")])
    rows = [
        tag(
            "tr",
            tag("th", tag("a", found.names[index + 1], href=f"#part-{index + 1}"), scope="row"),
            tag("td", counts_text(changes)),
        )
        for index, changes in enumerate(found.changes)
    ]
    return tag(
        "section",
        tag("h2", "In short"),
        tag("table", tag("thead", head), tag("tbody", rows), class_="numbers"),
        tag("p", READING, class_="quiet"),
    )


def _verdicts(found: Comparison) -> Markup | None:
    """Every claim that several have tested, with the verdict of each."""
    names = found.experiments()
    if not names:
        return None
    head = tag("tr", [tag("th", text, scope="col") for text in ("experiment", *found.names)])
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            [tag("td", verdict_chip(side[name].verdict.word) if name in side else "–") for side in found.sides],
        )
        for name in names
    ]
    table = tag("table", tag("thead", head), tag("tbody", rows), class_="numbers")
    return tag(
        "section",
        tag("h2", "Verdicts"),
        tag("div", table, class_="scroll", role="region", aria_label="Verdicts", tabindex=0),
    )


def _pictures(found: Comparison) -> Markup:
    """Medians side by side, a picture for each experiment, as many as fit."""
    drawn, size = [], 0
    charts = found.charts()
    for chart in charts.values():
        picture = Markup(chart.svg())
        size += len(picture.encode())
        if size > PICTURES_MAX_BYTES:
            break
        drawn.append(tag("figure", picture))
    left = len(charts) - len(drawn)
    return tag(
        "section",
        tag("h2", "Medians side by side") if drawn else None,
        drawn,
        tag("p", f"{left} more pictures would make this page too large.", class_="quiet") if left else None,
    )


def _part(found: Comparison, index: int) -> Markup:
    changes = ranked(found.changes[index])
    same = [change for change in changes if change.word == "same"]
    folded = same if len(same) > SAME_MAX else []
    shown = changes[: len(changes) - len(folded)]
    return tag(
        "section",
        tag("h2", found.names[index + 1], id=f"part-{index + 1}"),
        tag("p", counts_text(changes)),
        [tag("p", remark, class_="quiet") for remark in remarks(found, index)],
        _settings(found, index),
        _table(found, index, shown),
        tag("details", tag("summary", f"{len(folded)} rows that are the same"), _table(found, index, folded))
        if folded
        else None,
    )


def _settings(found: Comparison, index: int) -> Markup | None:
    differing = settings(found, index)
    if not differing:
        return None
    head = ("Not the same machine or settings", found.names[0], found.names[index + 1])
    rows = [tag("tr", tag("th", key, scope="row"), tag("td", was), tag("td", now)) for key, was, now in differing]
    heads = tag("thead", tag("tr", [tag("th", name, scope="col") for name in head]))
    table = tag("table", heads, tag("tbody", rows), class_="numbers")
    return tag("div", table, class_="scroll", role="region", aria_label="Settings", tabindex=0)


def _table(found: Comparison, index: int, changes: list[Change]) -> Markup | None:
    if not changes:
        return None
    names = ("", *column_names(found, index), "ratio", "95 % interval", "floors", "")
    head = tag("tr", [tag("th", name, scope="col", class_="figure" if name else None) for name in names])
    bodies = [
        _group(name, list(group), len(names))
        for name, group in groupby(changes, lambda change: f"{change.experiment}, {change.metric}")
    ]
    table = tag("table", tag("thead", head), bodies, class_="numbers")
    return tag("div", table, class_="scroll", role="region", aria_label="Changes", tabindex=0)


def _group(name: str, changes: list[Change], columns: int) -> Markup:
    heading = tag("tr", tag("th", name, scope="rowgroup", colspan=columns), class_="group")
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
