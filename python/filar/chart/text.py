"""Estimate how wide text will be, so that it can be wrapped, placed and kept apart without a font engine.

The widths are those of Helvetica (Arial and Liberation Sans share them), in thousandths of the font size.
They are an estimate: a reader's browser may pick another face, so layout leaves a little air.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

FAMILY = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"
BOLD_FACTOR = 1.07
ELLIPSIS = "…"

_WIDTHS = {
    character: width
    for width, characters in {
        190: "'",
        222: "ijl’‘",
        260: "|",
        278: " \u00a0!,./:;I[\\]ft·",
        333: "()-`r{}“”²",
        355: '"',
        390: "*°",
        470: "^",
        500: "Jcksvxyz",
        556: "#$0123456789?L_abdeghnopqu–≤≥≈±",
        584: "+<=>~µμ×−",
        611: "FTZ",
        667: "&ABEKPSVXY",
        722: "CDHNRUw∞",
        778: "GOQ",
        833: "Mm",
        889: "%",
        944: "W",
        1000: "—…→@",
    }.items()
    for character in characters
}


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = 12.0, bold: bool = False) -> float:
    """Return the estimated width of one line of text in pixels at a font size in pixels."""
    units = 0
    for character in text:
        known = _WIDTHS.get(character)
        if known is None:
            known = 1000 if unicodedata.east_asian_width(character) in "WF" else 620
        units += known
    return units * size * (BOLD_FACTOR if bold else 1.0) / 1000


def shorten(text: str, width: float, size: float = 12.0, bold: bool = False) -> str:
    """Return the text cut with an ellipsis so that it fits into a width in pixels."""
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(text + ELLIPSIS, size, bold) > width:
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def shorten_list(text: str, width: float, size: float = 12.0) -> str:
    """Return the text without its last parts ("a, b, c") so that it fits; half a figure would be a wrong one.

    Only a first part that is too wide by itself is cut.
    """
    if text_width(text, size) <= width:
        return text
    parts = text.split(", ")
    while len(parts) > 1:
        parts.pop()
        shown = ", ".join([*parts, ELLIPSIS])
        if text_width(shown, size) <= width:
            return shown
    return shorten(text, width, size)


def wrap(text: str, width: float, size: float = 12.0, bold: bool = False, lines_max: int = 0) -> list[str]:
    """Break text at spaces into lines no wider than a width in pixels; an overlong word is broken too.

    Few lines are made about equally long. With lines_max the rest is cut with an ellipsis. Empty text
    gives no lines.
    """
    lines = _fill(text, width, size, bold)
    if lines_max and len(lines) > lines_max:
        rest = " ".join(lines[lines_max - 1 :])
        return [*lines[: lines_max - 1], shorten(rest, width, size, bold)]
    if 1 < len(lines) <= 3:
        widest = max(text_width(word, size, bold) for word in text.split())
        for share in (0.5, 0.6, 0.7, 0.8, 0.9):
            even = _fill(text, width * share, size, bold) if widest <= width * share else []
            if len(even) == len(lines):
                return even
    return lines


def _fill(text: str, width: float, size: float, bold: bool) -> list[str]:
    """Fill line after line."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        while text_width(word, size, bold) > width and len(word) > 1:
            if line:
                lines.append(line)
                line = ""
            cut = len(word) - 1
            while cut > 1 and text_width(word[:cut], size, bold) > width:
                cut -= 1
            lines.append(word[:cut])
            word = word[cut:]
        joined = f"{line} {word}" if line else word
        if line and text_width(joined, size, bold) > width:
            lines.append(line)
            line = word
        else:
            line = joined
    if line:
        lines.append(line)
    return lines
