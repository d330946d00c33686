"""Colours, and the style sheet that turns them into light, dark and print.

The series colours follow Okabe and Ito, darkened for white paper and lightened for dark, so that colour-blind
readers can tell them apart; a marker, a dash or a height is always the second cue. Heat goes from near the
paper to far from it, in lightness alone.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "muted": "#5b6470",
    "grid": "#e4e7eb",
    "axis": "#9aa3ad",
    "ok": "#00734f",
    "warn": "#8a5a00",
    "bad": "#b3261e",
    "c0": "#0072b2",
    "c1": "#d55e00",
    "c2": "#009e73",
    "c3": "#b0508a",
    "c4": "#c98700",
    "c5": "#3f9bd0",
    "c6": "#5f6368",
}
DARK = {
    "paper": "#16191d",
    "ink": "#e6e9ed",
    "muted": "#a3acb7",
    "grid": "#2b3138",
    "axis": "#68727d",
    "ok": "#3fd0a0",
    "warn": "#f0b84a",
    "bad": "#ff8a80",
    "c0": "#4fa8e0",
    "c1": "#ff8440",
    "c2": "#2fc79a",
    "c3": "#e08fc0",
    "c4": "#eab030",
    "c5": "#9ad4f5",
    "c6": "#a8adb3",
}
HEAT_LIGHT = ("#f0f5fa", "#d3e2f0", "#afcbe3", "#7faed3", "#5797c8", "#1f67a3", "#0b3f6e")
HEAT_DARK = ("#1e2a36", "#22405c", "#285a82", "#2f709e", "#539bc9", "#8abfe0", "#c9e3f4")
HEAT_STEPS = len(HEAT_LIGHT)
HEAT_FLIP = (5, 4)  # the first step whose number is printed in the other ink, light and dark


def _theme(heat: bool) -> tuple[dict[str, str], dict[str, str]]:
    light, dark = dict(LIGHT), dict(DARK)
    if heat:
        for step in range(HEAT_STEPS):
            light[f"q{step}"], dark[f"q{step}"] = HEAT_LIGHT[step], HEAT_DARK[step]
            light[f"k{step}"] = "#ffffff" if step >= HEAT_FLIP[0] else "#1b1f24"
            dark[f"k{step}"] = "#10141a" if step >= HEAT_FLIP[1] else "#f2f5f8"
    return light, dark


def style_sheet(heat: bool) -> str:
    """The style sheet; each colour stands twice: a viewer without custom properties shows the light one."""
    light, dark = _theme(heat)
    me = ".filar-chart"

    def block(selector: str, colours: dict[str, str], paper: str = "") -> str:
        lines = [f"--filar-{name}:{value}" for name, value in colours.items() if name != "paper"]
        lines.append(f"--filar-paper:{paper or 'var(--filar-bg,' + colours['paper'] + ')'}")
        return f"{selector}{{{';'.join(lines)}}}"

    printed = {**light, "ink": "#000000", "muted": "#333333"}
    rules = [
        block(me, light),
        f"@media (prefers-color-scheme:dark){{{block(me, dark)}}}",
        block(f"[data-theme=light] {me},[data-md-color-scheme=default] {me}", light),
        block(f"[data-theme=dark] {me},[data-jp-theme-light=false] {me},[data-md-color-scheme=slate] {me}", dark),
        f"@media print{{{block(me * 3, printed, '#ffffff')}}}",
    ]
    rules += [f"{me} .{name}{{color:{value};color:var(--filar-{name})}}" for name, value in light.items()]
    halo = f"{me} .on{{paint-order:stroke;stroke:var(--filar-paper);stroke-width:3px;stroke-linejoin:round}}"
    return "\n".join([*rules, f"@supports (paint-order:stroke){{{halo}}}"])
