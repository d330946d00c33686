"""Lives to charts: workers by time, threads by state with wake-up arrows, what waits to run, CPUs of kernel threads."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar.chart import Arrow, Chart, Gantt, Interval, Lines, Series
from filar.watching.lives import (
    BLOCKED,
    ELSEWHERE,
    EXECUTE,
    GIL,
    IDLE,
    IO,
    PREEMPTED,
    READY,
    SLEEP,
    STATES,
    SYNCHRONISE,
    Life,
    Lives,
)

__all__ = ["KINDS", "TracePlot", "draw"]

# Where more happens than can be seen, a row is cut into so many pieces, each drawn as what took most of it.
_PIECES = 480
_SPANS_FEW = 400
_ARROWS_MAX = 64
_NAMES_MAX = 6

# The same everywhere: execution is full and green, waiting is low; each state its own height and ink.
_INKS = {
    EXECUTE: "c2",
    READY: "c4",
    PREEMPTED: "c1",
    SYNCHRONISE: "c3",
    IO: "c0",
    SLEEP: "c5",
    GIL: "c1",
    BLOCKED: "c0",
    IDLE: "c6",
    ELSEWHERE: "c6",
}
_HEIGHTS = {
    EXECUTE: 1.0,
    READY: 0.45,
    PREEMPTED: 0.7,
    SYNCHRONISE: 0.2,
    IO: 0.3,
    SLEEP: 0.12,
    GIL: 0.55,
    BLOCKED: 0.8,
    IDLE: 0.08,
    ELSEWHERE: 0.6,
}
_NOBODY = "no work"


@dataclass(frozen=True)
class TracePlot:
    """Pictures of a trace, one below the other: shows itself in a notebook; `save()` writes a file."""

    charts: tuple[Chart, ...]
    title: str = "trace"

    def svg(self) -> str:
        """The only picture as svg; ValueError if there are several."""
        if len(self.charts) != 1:
            raise ValueError(
                f'{len(self.charts)} pictures: ask for one, as in plot("workers"), or save() them as .html'
            )
        return self.charts[0].svg()

    def html(self) -> str:
        """A page of its own, for light and dark."""
        body = "\n".join(f"<figure>{chart.svg()}</figure>" for chart in self.charts)
        style = (
            ":root{color-scheme:light dark}body{font:14px system-ui,sans-serif;max-width:60rem;margin:1.5rem auto;"
            "padding:0 1rem;background:#fff;color:#1b1f24}figure{margin:0 0 1.5rem}svg{max-width:100%;height:auto}"
            "@media(prefers-color-scheme:dark){body{background:#16191d;color:#e6e9ed}}"
        )
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f"<style>{style}</style>\n{body}\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Writes .html (all) or .svg (one picture); returns the path."""
        path = Path(path)
        if path.suffix not in (".html", ".svg"):
            raise ValueError(f'a picture is saved as .html or .svg, not as "{path.suffix}"')
        path.write_text(self.svg() if path.suffix == ".svg" else self.html())
        return path

    def _repr_html_(self) -> str:
        return "\n".join(chart._repr_html_() for chart in self.charts)


@dataclass(frozen=True)
class Window:
    """What is drawn: lives, records, and from when to when."""

    lives: Lives
    events: NDArray[Any]
    low_ns: int
    high_ns: int
    rows: int
    arrows: bool

    def at(self, ns: float) -> float:
        """Nanoseconds from the beginning of the trace."""
        return min(max(ns, self.low_ns), self.high_ns) - self.lives.start_ns

    def sees(self, start_ns: float, end_ns: float) -> bool:
        """Whether any of it is inside."""
        return end_ns > self.low_ns and start_ns < self.high_ns


# ---- rows ------------------------------------------------------------------------------------------------------


def _row(window: Window, name: str, stretches: list[tuple[str, int, int]]) -> list[Interval]:
    """Categories over time; too many of them are reduced to what took most of each piece."""
    inside = [one for one in stretches if window.sees(one[1], one[2])]
    if len(inside) > _SPANS_FEW:
        return _reduced(window, name, inside)
    return [Interval(name, window.at(start), window.at(end), category) for category, start, end in inside]


def _reduced(window: Window, name: str, stretches: list[tuple[str, int, int]]) -> list[Interval]:
    kinds = sorted({category for category, _, _ in stretches})
    shares = np.zeros((len(kinds), _PIECES))
    width = (window.high_ns - window.low_ns) / _PIECES
    for category, start, end in stretches:
        low = (max(start, window.low_ns) - window.low_ns) / width
        high = (min(end, window.high_ns) - window.low_ns) / width
        first, last, k = int(low), min(int(high), _PIECES - 1), kinds.index(category)
        if first >= _PIECES:
            continue
        if first == last:
            shares[k, first] += high - low
            continue
        shares[k, first] += first + 1 - low
        shares[k, first + 1 : last] += 1
        shares[k, last] += high - last
    most = np.where(shares.sum(axis=0) > 0.02, shares.argmax(axis=0), -1)
    edges = np.flatnonzero(np.diff(most, prepend=-2, append=-2))
    out = []
    for begin, end in pairwise(edges.tolist()):
        if most[begin] >= 0:
            low_ns, high_ns = (window.at(window.low_ns + edge * width) for edge in (begin, end))
            out.append(Interval(name, low_ns, high_ns, kinds[most[begin]]))
    return out


_REDUCED = "Where more happens than can be drawn, what took most of the time is shown."


def _note(parts: Iterable[str]) -> str:
    return " ".join(part for part in parts if part)


# ---- workers by time -------------------------------------------------------------------------------------------


def _family(life: Life) -> str:
    """A name without the numbers that tell siblings apart."""
    return re.sub(r"[\s#_-]*\d+$", "", life.name) or life.name


def _categories(window: Window, stays: dict[int, list[tuple[Life, int, int]]]) -> Callable[[Life], str]:
    """What a worker's stretch is called: each by its own name if they are few, else by family."""
    time: dict[str, int] = defaultdict(int)
    own: dict[str, int] = defaultdict(int)
    for stay in stays.values():
        for life, start, end in stay:
            time[_family(life)] += end - start
            own[life.label] += end - start
    if len(own) <= _NAMES_MAX:
        return lambda life: life.label
    named = set(sorted(time, key=lambda name: -time[name])[:_NAMES_MAX])
    return lambda life: _family(life) if _family(life) in named else "others"


def workers(window: Window) -> Chart:
    """A row for each worker: what ran there."""
    lives = window.lives
    places = lives.places()
    shown = places[: window.rows]
    stays = {
        place: [
            (life, span.start_ns, span.end_ns)
            for life, span in lives.on_place(place)
            if window.sees(span.start_ns, span.end_ns)
        ]
        for place in shown
    }
    name_of = _categories(window, stays)
    intervals: list[Interval] = []
    busy: dict[str, float] = {}
    for place in shown:
        stretches = [(name_of(life), start, end) for life, start, end in stays[place]]
        busy[lives.place_name(place)] = sum(
            min(end, window.high_ns) - max(start, window.low_ns) for _, start, end in stretches
        )
        stretches += [(_NOBODY, span.start_ns, span.end_ns) for span in lives.asleep[place]]
        intervals += _row(window, lives.place_name(place), stretches)
    kinds = sorted({one.category for one in intervals}, key=lambda kind: (kind == _NOBODY, kind == "others", kind))
    length = window.high_ns - window.low_ns
    shares = [f"{name} {busy[name] / length:.0%}" for name in list(busy)[:8]]
    return Gantt(
        title="What ran on each worker",
        x_label="time",
        intervals=intervals,
        rows=[lives.place_name(place) for place in shown],
        categories=kinds,
        heights={kind: 0.1 if kind == _NOBODY else 1.0 for kind in kinds},
        inks={_NOBODY: "c6", "others": "c6"},
        note=_note(
            (
                f"Busy: {', '.join(shares)}." if shares else "",
                f"{len(places) - len(shown)} more workers are not shown." if len(places) > len(shown) else "",
                _REDUCED if any(len(stay) > _SPANS_FEW for stay in stays.values()) else "",
            )
        ),
        alt=f"{len(shown)} workers over {length / 1e6:.3g} ms. Busy: {', '.join(shares) or 'none'}.",
    )


# ---- threads by state ------------------------------------------------------------------------------------------


def _chosen(window: Window) -> list[Life]:
    """Those that ran longest in the window, in order of birth, kernel threads last."""
    alive = [life for life in window.lives.all if any(window.sees(s.start_ns, s.end_ns) for s in life.spans)]
    groups = {kind: [life for life in alive if life.kind == kind] for kind in ("green thread", "call", "kernel thread")}
    # Green threads and calls are what was asked for; kernel threads get a share of the rows.
    room = {"kernel thread": min(len(groups["kernel thread"]), max(window.rows // 3, 1))}
    left = window.rows - room["kernel thread"]
    room["green thread"] = min(len(groups["green thread"]), left)
    room["call"] = min(len(groups["call"]), left - room["green thread"])

    def ran(life: Life) -> int:
        return sum(
            min(span.end_ns, window.high_ns) - max(span.start_ns, window.low_ns)
            for span in life.spans
            if span.state == EXECUTE and window.sees(span.start_ns, span.end_ns)
        )

    rows: list[Life] = []
    for kind, group in groups.items():
        longest = {id(life) for life in sorted(group, key=ran, reverse=True)[: room[kind]]}
        rows += [life for life in group if id(life) in longest]
    return rows


def _arrows(window: Window, rows: Sequence[Life]) -> tuple[list[Arrow], int]:
    """Wake-ups between rows that are shown, unless there are too many; and how many there are."""
    shown = {id(life) for life in rows}
    found = [
        Arrow(wake.by.label, window.at(wake.time_ns), wake.whom.label, window.at(wake.time_ns), wake.how)
        for wake in window.lives.wakes
        if wake.by is not None
        and wake.by is not wake.whom
        and id(wake.by) in shown
        and id(wake.whom) in shown
        and window.sees(wake.time_ns, wake.time_ns + 1)
    ]
    return (found if window.arrows and len(found) <= _ARROWS_MAX else []), len(found)


def threads(window: Window) -> Chart:
    """A row for each green thread, call and kernel thread: the state it was in, and who woke whom."""
    rows = _chosen(window)
    alive = sum(1 for life in window.lives.all if any(window.sees(s.start_ns, s.end_ns) for s in life.spans))
    intervals: list[Interval] = []
    for life in rows:
        stretches = [(span.state, span.start_ns, span.end_ns) for span in life.spans]
        intervals += _row(window, life.label, stretches)
    arrows, wakes = _arrows(window, rows)
    kinds = {one.category for one in intervals}
    heads = {"green thread": "green threads", "call": "calls", "kernel thread": "kernel threads"}
    return Gantt(
        title="What each thread was doing",
        x_label="time",
        intervals=intervals,
        rows=[life.label for life in rows],
        groups=[heads[life.kind] for life in rows],
        categories=[state for state in STATES if state in kinds],
        heights=_HEIGHTS,
        inks=_INKS,
        arrows=arrows,
        note=_note(
            (
                f"Arrows: the {len(arrows)} wake-ups between these rows, from waker to woken." if arrows else "",
                f"{wakes:,} wake-ups between these rows are too many to draw: choose a shorter time by start and end."
                if window.arrows and wakes > len(arrows)
                else "",
                f"{len(rows)} of {alive:,} are shown, those that ran longest." if alive > len(rows) else "",
                _REDUCED if any(len(life.spans) > _SPANS_FEW for life in rows) else "",
            )
        ),
    )


# ---- what waits to run -----------------------------------------------------------------------------------------


def _steps(window: Window, times: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[Any, Any]:
    """A staircase inside the window; of very many steps the highest of each piece."""
    before = int(np.searchsorted(times, window.low_ns, side="right"))
    inside = (times > window.low_ns) & (times <= window.high_ns)
    first = counts[before - 1] if before > 0 else 0.0
    x = np.concatenate([[window.low_ns], times[inside], [window.high_ns]])
    y = np.concatenate([[first], counts[inside]])
    y = np.append(y, y[-1])
    if len(y) > _SPANS_FEW:
        edges = np.linspace(window.low_ns, window.high_ns, _PIECES + 1)
        piece = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, _PIECES)
        highest = np.full(_PIECES + 1, -np.inf)
        np.maximum.at(highest, piece, y)
        last = np.zeros(_PIECES + 1, int)
        last[piece] = np.arange(len(y))
        # A piece in which nothing changes keeps what was there at the end of the one before.
        standing = y[np.maximum.accumulate(last)]
        y, x = np.where(np.isfinite(highest), highest, standing), edges
    return x - window.lives.start_ns, y


def queue(window: Window) -> Chart:
    """How many are ready and how many run, over time."""
    lives = window.lives
    series = []
    for label, states, kind in (
        ("ready", (READY, PREEMPTED), "green thread"),
        ("running", (EXECUTE, BLOCKED, GIL), "green thread"),
        ("calls waiting", (READY,), "call"),
        ("calls running", (EXECUTE, BLOCKED), "call"),
    ):
        times, counts = lives.count_over_time(states, kind)
        if len(times):
            x, y = _steps(window, times, counts)
            series.append(Series(label, x, y, steps=True))
    return Lines(
        title="What waits to run",
        x_label="time",
        y_label="how many",
        series=series,
        x_unit="ns",
        y_from_zero=True,
        height=150,
        note="Ready: runnable, on some queue." if series else "No green threads and no calls.",
    )


# ---- CPUs ------------------------------------------------------------------------------------------------------


def cpus(window: Window) -> Chart:
    """A row for each kernel thread: on which CPU it wrote its records."""
    intervals: list[Interval] = []
    names: list[str] = []
    moves = 0
    for life in window.lives.of_kind("kernel thread")[: window.rows]:
        own = window.events[window.events["thread"] == life.number]
        if len(own) == 0:
            continue
        changed = np.flatnonzero(np.diff(own["cpu"], prepend=own["cpu"][0] - 1))
        moves += len(changed) - 1
        ends = np.append(own["time_ns"][changed[1:]], own["time_ns"][-1])
        stretches = [
            (f"CPU {own['cpu'][at]}", int(own["time_ns"][at]), int(end)) for at, end in zip(changed, ends, strict=True)
        ]
        names.append(life.label)
        intervals += _row(window, life.label, stretches)
    kinds = sorted({one.category for one in intervals}, key=lambda kind: int(kind[4:]))
    return Gantt(
        title="Where each kernel thread was",
        x_label="time",
        intervals=intervals,
        rows=names,
        categories=kinds,
        note=f"{moves:,} migrations seen: the CPU of one record differs from that of the next.",
    )


KINDS: dict[str, Callable[[Window], Chart]] = {"workers": workers, "threads": threads, "queue": queue, "cpus": cpus}


def draw(window: Window, what: Sequence[str], title: str) -> TracePlot:
    """The pictures asked for."""
    return TracePlot(tuple(KINDS[kind](window) for kind in what), title)
