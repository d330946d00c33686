"""Draw the Figure of a chart into matplotlib Axes; matplotlib is imported only here, and only when asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .figure import Band, Box, Figure, Key, Mark, Path, Points, Rule, Text
from .text import text_width
from .theme import HEAT_FLIP, HEAT_LIGHT, LIGHT

if TYPE_CHECKING:
    from .base import Chart

_MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "down": "v",
    "cross": "x",
    "plus": "+",
    "tick": "|",
}


def _colour(ink: str) -> str:
    if ink.startswith("q"):
        return HEAT_LIGHT[int(ink[1:])]
    if ink.startswith("k"):
        return "#ffffff" if int(ink[1:]) >= HEAT_FLIP[0] else LIGHT["ink"]
    return LIGHT[ink]


def _dash(dash: str) -> Any:
    return (0, tuple(float(part) / 1.5 for part in dash.split())) if dash else "-"


def draw(chart: Chart, ax: Any = None) -> Any:
    """Draw a chart into Axes, new ones of its own size if None, and return the Axes."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as missing:
        raise ImportError("drawing with matplotlib needs it: pip install 'filar[lab]'") from missing
    figure = chart.figure()
    if ax is None:
        tall = (max(figure.height, 120.0) + 190) / 100
        _, ax = plt.subplots(figsize=(chart.width / 100, tall), layout="constrained")
    _words(chart, figure, ax)
    if figure.empty:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.text(0.5, 0.5, "no data", ha="center", va="center", transform=ax.transAxes, color=_colour("muted"))
        return ax
    _axes(figure, ax)
    for mark in figure.marks:
        _mark(mark, ax)
    for guide in figure.guides:
        line = ax.axvline if guide.axis == "x" else ax.axhline
        line(guide.value, color=_colour(guide.ink), linewidth=1, linestyle=_dash(guide.dash), zorder=1.5)
        if guide.label:
            upright = guide.axis == "x"
            ax.annotate(
                guide.label,
                (guide.value, 1) if upright else (1, guide.value),
                xycoords=ax.get_xaxis_transform() if upright else ax.get_yaxis_transform(),
                xytext=(-3, -3) if upright else (-3, 3),
                textcoords="offset points",
                fontsize=7,
                va="top" if upright else "bottom",
                ha="right",
                rotation=90 if upright else 0,
            )
    return ax


def _words(chart: Chart, figure: Figure, ax: Any) -> None:
    """Title, badge and legend stand above the plot, each on lines of its own; axis names and footer below."""
    keys = [*figure.keys, *(end.key for end in figure.ends if end.key.label)]
    above = 4.0
    if keys and not figure.empty:
        across = max(1, min(len(keys), int(90 / (8 + max(len(key.label) for key in keys)))))
        ax.legend(
            handles=[_handle(key) for key in keys],
            fontsize=8,
            frameon=False,
            loc="lower left",
            ncols=across,
            bbox_to_anchor=(0, 1),
            borderaxespad=0,
            borderpad=0.2,
        )
        above += 13.0 * -(-len(keys) // across)
    footer = chart.footer(figure)
    if chart.x_label or footer:
        ax.set_xlabel("\n".join(part for part in (chart.x_label, footer) if part), fontsize=9, wrap=True)
    if chart.y_label:
        ax.set_ylabel(chart.y_label, fontsize=9)
    if chart.badge:
        ax.annotate(
            chart.badge.text,
            (1, 1),
            xycoords="axes fraction",
            xytext=(-4, above + 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8,
            color=_colour(chart.badge.level),
            bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": _colour(chart.badge.level)},
        )
        above += 20.0
    if chart.title:
        ax.set_title(chart.title, loc="left", fontsize=11, fontweight="bold", wrap=True, pad=above)


def _axes(figure: Figure, ax: Any) -> None:
    for name, scale, rows in (("x", figure.x, figure.columns), ("y", figure.y, figure.rows)):
        axis = ax.xaxis if name == "x" else ax.yaxis
        low, high = scale.low, scale.high
        if scale.is_log:
            (ax.set_xscale if name == "x" else ax.set_yscale)("log", base=2 if scale.kind == "log2" else 10)
        if rows:
            ticks = [(row.at, "\n".join(row.lines)) for row in rows]
        else:
            ticks = scale.ticks(6)
        axis.set_ticks([at for at, _ in ticks], [label for _, label in ticks], fontsize=8)
        axis.set_ticks(scale.minor() if not rows else [], minor=True)
        axis.set_tick_params(which="minor", labelsize=0, labelcolor="none")
        if name == "x":
            ax.set_xlim(low, high)
        else:
            ax.set_ylim(*((high, low) if scale.kind == "rows" else (low, high)))
        shown = figure.x_grid if name == "x" else figure.y_grid
        if shown and not rows:
            ax.grid(True, axis=name, color=_colour("grid"), linewidth=0.8)
    for row, label in zip(figure.rows, ax.get_yticklabels(), strict=False):
        if row.bold or row.heading:
            label.set_fontweight("bold")
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _mark(mark: Mark, ax: Any) -> None:
    match mark:
        case Path():
            style = {"color": _colour(mark.ink), "linewidth": mark.width, "linestyle": _dash(mark.dash)}
            ax.plot(mark.x, mark.y, **style)
        case Band():
            shade = {"color": _colour(mark.ink), "alpha": mark.opacity, "linewidth": 0}
            ax.fill_between(mark.x, mark.low, mark.high, **shade)
        case Points():
            colour = _colour(mark.ink)
            face = "white" if mark.hollow else colour
            if mark.marker in ("cross", "plus", "tick"):
                face = colour
            size = (2 * mark.radius) ** 2 * 0.55
            style = {"marker": _MARKERS[mark.marker], "s": size, "alpha": mark.opacity, "zorder": 3}
            if mark.marker in ("cross", "plus", "tick"):
                ax.scatter(mark.x, mark.y, color=colour, **style)
            else:
                ax.scatter(mark.x, mark.y, facecolors=face, edgecolors=colour, **style)
        case Box():
            import matplotlib.patches

            corner = (min(mark.x0, mark.x1), min(mark.y0, mark.y1))
            edge = LIGHT["paper"] if mark.gap else "none"
            ax.add_patch(
                matplotlib.patches.Rectangle(
                    corner,
                    abs(mark.x1 - mark.x0),
                    abs(mark.y1 - mark.y0),
                    facecolor=_colour(mark.ink),
                    alpha=mark.opacity,
                    edgecolor=edge,
                    linewidth=0.6,
                )
            )
            if mark.label and _fits(mark, ax):
                middle = ((mark.x0 + mark.x1) / 2, (mark.y0 + mark.y1) / 2)
                ax.text(*middle, mark.label, ha="center", va="center", fontsize=8, color=_colour(mark.label_ink))
        case Rule():
            ends = np.array([mark.x0, mark.x1]), np.array([mark.y0, mark.y1])
            if not math.isnan(sum(map(float, np.concatenate(ends)))):
                style = {"color": _colour(mark.ink), "linewidth": mark.width, "linestyle": _dash(mark.dash)}
                cap = ("|" if mark.y0 == mark.y1 else "_") if mark.cap else ""
                ax.plot(*ends, marker=cap, markersize=mark.cap, **style)
        case Text():
            if not math.isnan(mark.x + mark.y):
                side = {"start": "left", "auto": "left", "middle": "center", "end": "right"}[mark.anchor]
                ax.annotate(
                    mark.text,
                    (mark.x, mark.y),
                    xytext=(mark.dx * 0.75, -mark.dy * 0.75),
                    textcoords="offset points",
                    ha=side,
                    va="baseline",
                    fontsize=mark.size * 0.7,
                    color=_colour(mark.ink),
                    fontweight="bold" if mark.bold else "normal",
                )


def _fits(box: Box, ax: Any) -> bool:
    """True if the label of a box is narrower than the box, at about 550 pixels of axis."""
    low, high = ax.get_xlim()
    wide = abs(box.x1 - box.x0) / abs(high - low) * 550
    return wide >= text_width(box.label, 11.0) and abs(box.y1 - box.y0) >= 13


def _handle(key: Key) -> Any:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colour = _colour(key.ink)
    if key.shape == "box":
        return Patch(facecolor=colour, alpha=key.opacity, label=key.label)
    return Line2D(
        [],
        [],
        color=colour,
        label=key.label,
        linestyle=_dash(key.dash) if key.shape == "line" else "none",
        marker=_MARKERS.get(key.marker, ""),
        markerfacecolor="white" if key.hollow else colour,
        markersize=5,
    )
