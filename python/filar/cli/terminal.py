"""What a stream can show: width, colours, letters. Text for people goes through a `Terminal`, JSON does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import TextIO

from filar.report.tables import to_ascii

__all__ = ["Terminal"]

WIDTH_MAX = 120
_STYLES = {
    "bold": "1",
    "quiet": "2",
    "holds": "32",
    "when": "33",
    "fails": "31",
    "open": "36",
    "ok": "32",
    "warn": "33",
    "bad": "31",
}
_SAMPLE = "µ×−█✓…"


class Terminal:
    """A text stream with what it is able to show: colours only on a terminal and without NO_COLOR."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        self.stream = stream
        self.is_tty = stream.isatty()
        self.colours = self.is_tty and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self.unicode = _can_write(stream, _SAMPLE)
        columns = shutil.get_terminal_size((80, 24)).columns
        self.width = max(40, min(columns, WIDTH_MAX))

    def paint(self, text: str, style: str) -> str:
        """The text in a style of `_STYLES` where there are colours."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colours and text else text

    def shown(self, text: str) -> str:
        """The text in letters that the stream can write."""
        return text if self.unicode else to_ascii(text)

    def write(self, text: str) -> None:
        """Writes and flushes. BrokenPipeError if nobody reads any more."""
        self.stream.write(self.shown(text))
        self.stream.flush()

    def line(self, text: str = "") -> None:
        """Writes one line, or several."""
        self.write(text + "\n")


def _can_write(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
