"""What is running, how far it is, how long it will take: a bar on a terminal, a line for each experiment elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from filar._tables import clean, pad, shorten
from filar.cli.terminal import Terminal
from filar.lab.result import Result
from filar.lab.runner import Progress as Standing
from filar.report.words import duration, look_of

__all__ = ["Progress"]

BAR_CELLS = 20
REDRAW_S = 0.1
ERASE = "\r\x1b[K"


class Progress:
    """Follows a run on stderr; a context manager that leaves no half line behind.

    A stderr that cannot be written (closed, full) ends the progress, never the measurement.
    """

    def __init__(self, terminal: Terminal, *, shown: bool = True, now: Callable[[], float] = time.monotonic) -> None:
        self._terminal, self._shown, self._now = terminal, shown, now
        self._drawn_at = -float("inf")
        self._running = ""
        self._bar_stands = self._lines_stand = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._erase()
        if self._lines_stand and self._terminal.is_tty:
            self._write("\n")

    def update(self, standing: Standing) -> None:
        """Draws the bar anew, on a terminal and at most ten times a second unless another experiment has begun."""
        if not self._terminal.is_tty:
            return
        if standing.experiment == self._running and self._now() - self._drawn_at < REDRAW_S:
            return
        self._running, self._drawn_at = standing.experiment, self._now()
        self._write(ERASE + bar_line(standing, self._terminal.width))
        self._bar_stands = True

    def end(self, result: Result) -> None:
        """An experiment has ended: a line that stays."""
        look, terminal = look_of(result.verdict.word), self._terminal
        reason = f": {result.verdict.brief}" if result.verdict.brief else ""
        words = clean(f"{pad(result.experiment, 24)}  {result.verdict}{reason}")
        if terminal.is_tty:
            words = shorten(words, terminal.width - 3)
        self._erase()
        self._write(f"{terminal.paint(look.sign, look.style)} {words}\n")
        self._lines_stand = True

    def _erase(self) -> None:
        if self._bar_stands:
            self._write(ERASE)
        self._bar_stands = False

    def _write(self, text: str) -> None:
        if not self._shown:
            return
        try:
            self._terminal.write(text)
        except (OSError, ValueError):
            self._shown = False


def bar_line(standing: Standing, width: int) -> str:
    """Bar, number, what is running and the time left, in one line shorter than `width`."""
    total = standing.elapsed_s + standing.left_s
    full = round(BAR_CELLS * min(max(standing.elapsed_s / total, 0.0), 1.0)) if total > 0 else 0
    head = f"{'█' * full}{'░' * (BAR_CELLS - full)} {standing.index + 1}/{standing.count} "
    tail = f"  {duration(standing.left_s)} left"
    what = f"{standing.experiment}: {standing.variant}" if standing.variant else standing.experiment
    # Three columns stay free: the terminal writes ^C behind the bar, and what wraps cannot be erased.
    room = max(width - len(head) - len(tail) - 3, 8)
    return head + pad(shorten(clean(what), room), room) + tail
