"""The part of the page that shows one result: claim, verdict, pictures, figures, method, raw samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from filar.chart import Badge, Chart, format_quantity
from filar.lab.base import Reference, Row, Rows, Table, fact_text
from filar.lab.result import Result
from filar.report.markup import Markup, join, prose, tag
from filar.report.words import Group, format_interval, groups_of, look_of, measured_beside, quantity, sentence

__all__ = ["Detail", "anchor", "badge_chip", "compact", "icon", "section", "verdict_chip"]

# Below this width of the window the narrow drawing of a chart is shown, with letters of the same size.
NARROW_WIDTH = 380
# A drawing larger than this is embedded once; a phone scrolls it.
TWICE_MAX_BYTES = 60_000

# Of a longer table of figures only the first group of rows, and of that so many, stand before the fold.
ROWS_SHOWN = 12

_CIRCLE = '<circle cx="8" cy="8" r="6.6"/>'
_SIGNS = {
    "holds": '<path d="M2.5 8.5l3.6 3.7L13.5 4"/>',
    "when": _CIRCLE + '<path class="full" d="M8 1.4a6.6 6.6 0 0 1 0 13.2z"/>',
    "fails": '<path d="M3.2 3.2l9.6 9.6M12.8 3.2l-9.6 9.6"/>',
    "open": '<path d="M4.6 5.4C4.6 3 6 2 8 2s3.5 1.2 3.5 3.1C11.5 7.7 8 7.6 8 10.4"/>'
    '<circle class="full" cx="8" cy="13.6" r="1.3"/>',
}
# The shapes are those of the badges inside charts.
_BADGES = {"ok": "holds", "warn": "when", "bad": "fails"}
_BADGE_SIGNS = {
    "ok": '<circle class="full" cx="8" cy="8" r="5"/>',
    "warn": '<path class="full" d="M8 2.2l6.2 11.3H1.8z"/>',
    "bad": '<path class="full" d="M3 3h10v10H3z"/>',
}


def icon(style: str) -> Markup:
    """The sign of a verdict; words stand beside it, so it is hidden from screen readers."""
    return _drawn(_SIGNS[style])


def _drawn(shape: str) -> Markup:
    return Markup(f'<svg viewBox="0 0 16 16" aria-hidden="true" focusable="false">{shape}</svg>')


def verdict_chip(word: str) -> Markup:
    """The verdict's word with its sign and colour."""
    look = look_of(word)
    return tag("span", icon(look.style), look.word, class_=f"chip {look.style}")


def badge_chip(badge: Badge) -> Markup:
    """The conditions in a few words."""
    return tag("span", _drawn(_BADGE_SIGNS[badge.level]), badge.text, class_=f"chip {_BADGES[badge.level]}")


def anchor(result: Result) -> str:
    """The id of the section of a result."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in result.experiment)


@dataclass(frozen=True)
class Detail:
    """How much of a result is shown: raw samples of each row, and whether charts are drawn for phones too."""

    samples_max: int
    narrow: bool = True


def section(result: Result, detail: Detail) -> Markup:
    """All of one experiment."""
    look = look_of(result.verdict.word)
    condition = f" {result.verdict.condition}" if result.verdict.condition else ""
    return tag(
        "section",
        tag("h3", result.title or result.experiment, id=f"{anchor(result)}-title"),
        tag("p", tag("code", result.experiment), class_="name"),
        tag("blockquote", tag("p", prose(result.claim)), tag("footer", prose(result.claim_source)), class_="claim"),
        tag(
            "div",
            tag("span", icon(look.style), look.word + condition, class_=f"chip {look.style}"),
            tag("p", prose(sentence(result.verdict.reason))) if result.verdict.reason else None,
            class_="answer",
        ),
        _pictures(result, detail.narrow),
        _published(result),
        tag("h4", "How it was measured"),
        tag("p", prose(result.method), class_="method"),
        _figures(result),
        [_facts(table) for table in result.tables],
        _notes(result),
        _conditions(result),
        _raw(result, detail.samples_max),
        class_="experiment",
        id=anchor(result),
        aria_labelledby=f"{anchor(result)}-title",
    )


# ---- pictures ----


def _pictures(result: Result, twice: bool) -> Markup:
    """All charts; one that cannot be drawn costs a sentence, not the page."""
    try:
        charts = result.charts()
    except Exception as error:
        return tag("p", f"The pictures could not be drawn ({type(error).__name__}: {error}).", class_="quiet")
    return join(_picture(chart, twice) for chart in charts)


def _picture(chart: Chart, twice: bool) -> Markup:
    try:
        wide = chart.svg()
        twice = twice and len(wide) <= TWICE_MAX_BYTES
        narrow = dataclasses.replace(chart, width=NARROW_WIDTH).svg() if twice else ""
    except Exception as error:
        return tag("p", f"A picture could not be drawn ({type(error).__name__}: {error}).", class_="quiet")
    if not narrow:
        return tag("figure", Markup(wide))
    return tag(
        "figure", tag("div", Markup(wide), class_="wide"), tag("div", Markup(narrow), class_="narrow"), class_="both"
    )


# ---- figures ----


def _scroll(name: str, table: Markup) -> Markup:
    """A table that is wider than a phone scrolls by itself; the keyboard can reach it."""
    return tag("div", table, class_="scroll", role="region", aria_label=name, tabindex=0)


def _head(names: list[tuple[str, bool]]) -> Markup:
    cells = [tag("th", name, scope="col", class_="figure" if right else None) for name, right in names]
    return tag("thead", tag("tr", cells))


def _figure(text: str) -> Markup:
    return tag("td", text, class_="figure")


def _published(result: Result) -> Markup | None:
    """Published figures beside the machine's own; None where there are none."""
    if not result.references:
        return None
    return join(
        tag("h4", "Published figures beside this machine's"),
        _scroll(
            "Published figures",
            tag(
                "table",
                _head(
                    [
                        ("Published", False),
                        ("figure", True),
                        ("here", True),
                        ("here / published", True),
                        ("source", False),
                    ]
                ),
                tag("tbody", [_reference(reference, result.rows) for reference in result.references]),
                class_="numbers",
            ),
        ),
    )


def _reference(reference: Reference, rows: Rows) -> Markup:
    row = measured_beside(reference, rows)
    same_unit = row is not None and row.unit == reference.unit and reference.value != 0
    ratio = format_quantity(row.median / reference.value, "x", 2) if row is not None and same_unit else "–"
    return tag(
        "tr",
        tag("th", reference.label, scope="row"),
        _figure(format_quantity(reference.value, reference.unit)),
        _figure(quantity(row.median, row.unit) if row is not None else "–"),
        _figure(ratio),
        tag("td", reference.source, class_="quiet"),
    )


def _figures(result: Result) -> Markup | None:
    """The table of rows; None where no row was measured."""
    if not len(result.rows):
        return None
    shown, folded = _split(groups_of(result.rows))
    name = f"Figures of {result.title}"
    rest = tag(
        "details",
        tag("summary", f"{sum(len(group.rows) for group in folded)} more rows: {_headings(folded)}"),
        _scroll(f"More figures of {result.title}", _figures_table(folded)),
        class_="more",
    )
    return join(tag("h4", "Figures"), _scroll(name, _figures_table(shown)), rest if folded else None)


def _split(groups: list[Group]) -> tuple[list[Group], list[Group]]:
    """What is shown of a long table, and what is folded: the first group holds the main metric."""
    if sum(len(group.rows) for group in groups) <= ROWS_SHOWN:
        return groups, []
    first, *others = groups
    rest = [Group(first.heading, first.rows[ROWS_SHOWN:])] if len(first.rows) > ROWS_SHOWN else []
    return [Group(first.heading, first.rows[:ROWS_SHOWN])], [*rest, *others]


def _headings(groups: list[Group]) -> str:
    names = [group.heading for group in groups]
    return ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")


def _figures_table(groups: list[Group]) -> Markup:
    columns = ["median", "95 % interval", "floor", "p99", "n"]
    bodies = []
    for group in groups:
        heading = tag("tr", tag("th", group.heading, colspan=6, scope="rowgroup"), class_="group")
        bodies.append(tag("tbody", heading, [_row(label, row) for label, row in group.rows]))
    return tag("table", _head([("", False), *[(name, True) for name in columns]]), bodies, class_="numbers")


def _row(label: str, row: Row) -> Markup:
    def shown(value: float) -> Markup:
        return _figure(quantity(value, row.unit))

    note = tag("small", f" {row.note}", class_="quiet") if row.note else None
    return tag(
        "tr",
        tag("th", label, note, scope="row"),
        shown(row.median),
        _figure(format_interval(row.interval.lo, row.interval.hi, row.unit)),
        shown(row.min),
        shown(row.p99),
        _figure(f"{row.n:,}"),
    )


def _facts(table: Table) -> Markup:
    """A table of facts that are not timings."""

    def cell(index: int, value: object) -> Markup:
        if index == 0:
            return tag("th", fact_text(value), scope="row")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return tag("td", fact_text(value), class_="figure" if number else None)

    body = [tag("tr", [cell(i, value) for i, value in enumerate(row)]) for row in table.rows]
    head = _head([(name, _is_number(table, i)) for i, name in enumerate(table.columns)])
    shown = tag("table", tag("caption", table.title), head, tag("tbody", body), class_="numbers")
    return _scroll(table.title, shown)


def _is_number(table: Table, index: int) -> bool:
    values = [row[index] for row in table.rows]
    return index > 0 and any(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


# ---- below the figures ----


def _notes(result: Result) -> Markup | None:
    if not result.notes:
        return None
    return join(
        tag("h4", "Notes"), tag("ul", [tag("li", prose(sentence(note))) for note in result.notes], class_="notes")
    )


def _conditions(result: Result) -> Markup:
    badge = result.badge
    shown = badge_chip(badge) if badge is not None else tag("span", "Conditions were not recorded.")
    took = f"{result.mode} mode, seed {result.seed}, took {result.elapsed_s:.1f} s"
    return tag("div", shown, tag("span", took), class_="conditions")


def compact(value: float) -> str:
    """A raw sample in as few letters as four significant digits allow."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def _raw(result: Result, samples_max: int) -> Markup | None:
    """All samples in order of rounds behind a fold; beyond `samples_max` a row says how many are left out."""
    if not len(result.rows):
        return None
    total = sum(len(row.samples) for row in result.rows)
    return tag(
        "details",
        tag("summary", f"Raw data: {total:,} samples in order of measurement"),
        [_raw_row(row, samples_max, compact) for row in result.rows],
    )


def _raw_row(row: Row, samples_max: int, write: Callable[[float], str]) -> Markup:
    shown = row.samples[:samples_max].tolist()
    rest = len(row.samples) - len(shown)
    unit = f", {row.unit}" if row.unit else ""
    text = " ".join(map(write, shown)) + (f" … and {rest:,} more in the JSON file" if rest else "")
    head = tag("p", tag("b", row.variant), f", {row.metric}{unit}", class_="raw-of")
    return join(head, tag("p", text, class_="raw"))
