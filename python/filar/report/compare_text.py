"""A comparison for a terminal: how much changed, then what changed, then what one has to know to believe it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from filar._machine import cpu_list
from filar._tables import Column, cells, clean, fill, text_table
from filar.chart import format_quantity
from filar.lab.compare import Change, Comparison

__all__ = ["READING", "column_names", "comparison_text", "counts_text", "ranked", "remarks", "settings"]

READING = (
    "Ratio: the second median over the first, with its 95 % interval; floors: the same of the best samples. A time is "
    "slower or faster, anything else more or less, only beyond interval and noise."
)

# What a reader looks for first.
_ORDER = ("slower", "faster", "more", "less", "other unit", "not comparable", "same")
_NAMES_MAX = 12

Paint = Callable[[str, str], str]


def comparison_text(found: Comparison, width: int = 80, *, everything: bool = False, paint: Paint | None = None) -> str:
    """All parts of a comparison; rows that are the same are counted, and listed only with `everything`.

    `paint(text, style)` colours the counts of what became slower ("fails") and faster ("holds").
    """
    paint = paint or (lambda text, style: text)
    parts = [_part(found, index, width, everything, paint) for index in range(len(found.changes))]
    notes = "\n".join(fill(clean(note), width) for note in (READING, *found.notes))
    return "\n\n".join(part for part in [*parts, notes] if part)


def _part(found: Comparison, index: int, width: int, everything: bool, paint: Paint) -> str:
    changes = found.changes[index]
    shown = ranked(change for change in changes if everything or change.word != "same")
    title = clean(f"{found.names[index + 1]} against {found.names[0]}")
    lines = [fill(f"{title}:", width), counts_text(changes, paint)]
    if shown:
        lines += ["", text_table(_columns(found, index), list(_rows(shown)), width, indent="  ")]
    told = [fill(clean(remark), width) for remark in remarks(found, index)]
    for key, was, now in settings(found, index):
        words = (
            f"Not the same machine or settings: {key} is {was} in {found.names[0]}, {now} in {found.names[index + 1]}."
        )
        told.append(fill(clean(words), width))
    return "\n".join([*lines, "", *told])


def ranked(changes: Iterable[Change]) -> list[Change]:
    """Slower first, the same last; in each an experiment's rows together, those with the largest change first."""
    groups: dict[tuple[int, str, str], list[Change]] = {}
    for change in changes:
        rank = _ORDER.index(change.word) if change.word in _ORDER else len(_ORDER)
        groups.setdefault((rank, change.experiment, change.metric), []).append(change)
    for group in groups.values():
        group.sort(key=_size, reverse=True)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], -_size(item[1][0])))
    return [change for _, group in ordered for change in group]


def _size(change: Change) -> float:
    return abs(math.log(change.ratio.mid)) if change.ratio.n and change.ratio.mid > 0 else 0.0


def counts_text(changes: Sequence[Change], paint: Paint = lambda text, style: text) -> str:
    """How many rows became slower, faster, ...: "1 slower, 0 faster, 12 same"."""
    if not changes:
        return "no row in common"
    counts = Counter(change.word for change in changes)
    styles = {"slower": "fails", "faster": "holds"}
    words = [
        paint(f"{counts[word]} {word}", styles[word]) if word in styles and counts[word] else f"{counts[word]} {word}"
        for word in _ORDER
        if counts[word] or word in ("slower", "faster", "same")
    ]
    return ", ".join(words)


_NAME_MAX = 14


def column_names(found: Comparison, index: int) -> tuple[str, str]:
    """What stands over the medians: the two names, by their ends where they are long."""
    base, other = (
        clean(name) if cells(clean(name)) <= _NAME_MAX else "…" + clean(name)[1 - _NAME_MAX :]
        for name in (found.names[0], found.names[index + 1])
    )
    return (base, other) if base != other else ("first", "other")


def _columns(found: Comparison, index: int) -> tuple[Column, ...]:
    base, other = column_names(found, index)
    return (
        Column("", breaks=True),
        Column(base, right=True),
        Column(other, right=True),
        Column("ratio", right=True),
        Column("95 % interval", right=True),
        Column("floors", right=True),
        Column(""),
    )


def _rows(changes: Sequence[Change]) -> Iterator[tuple[str, ...] | str]:
    """A heading for each experiment and metric, then its variants."""
    last = ""
    for change in changes:
        heading = f"{change.experiment}, {change.metric}:"
        if heading != last:
            yield heading
        last = heading
        known = change.ratio.n > 0
        yield (
            change.variant,
            format_quantity(change.base, change.unit),
            format_quantity(change.other, change.unit),
            f"{change.ratio.mid:.3f}" if known else "–",
            f"{change.ratio.lo:.3f} to {change.ratio.hi:.3f}" if known else "–",
            f"{change.floor_ratio:.3f}" if math.isfinite(change.floor_ratio) else "–",
            change.word,
        )


def remarks(found: Comparison, index: int) -> Iterator[str]:
    """What one has to know to believe part `index`: noise, verdicts, what is missing."""
    names = (found.names[0], found.names[index + 1])
    yield found.threshold_words(index)
    for name, was, now in found.verdicts[index]:
        yield f"The verdict of {name}: {was} in {names[0]}, {now} in {names[1]}."
    for name, rows in zip(names, (found.only_in_base[index], found.only_in_other[index]), strict=True):
        if rows:
            more = f" and {len(rows) - _NAMES_MAX} more" if len(rows) > _NAMES_MAX else ""
            yield f"Only in {name}: {', '.join(rows[:_NAMES_MAX])}{more}."


def settings(found: Comparison, index: int) -> list[tuple[str, str, str]]:
    """What differs of machine and settings in part `index`: name, in the base, in the other."""
    return [
        (key.replace("_", " "), _short(key, was), _short(key, now))
        for key, (was, now) in found.host_differences[index].items()
    ]


def _short(key: str, value: Any) -> str:
    if key == "cpus_allowed" and isinstance(value, list) and all(isinstance(cpu, int) for cpu in value):
        value = cpu_list(value)
    words = "not recorded" if value is None else str(value)
    return words if len(words) <= 60 else words[:59] + "…"
