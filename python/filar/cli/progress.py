"""What is running, how far it is, how long it will take: a bar on a terminal, a line for each experiment elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from filar.cli.terminal import Terminal
from filar.lab.result import Result
from filar.report.tables import clean, pad, shorten
from filar.report.words import duration, look_of

__all__ = ["Progress"]

BAR_CELLS = 20
REDRAW_S = 0.1
ERASE = "\r\x1b[K"
# Below this share of the work the pace so far says little, and the planned seconds are shown.
PACE_FROM = 0.05


class Progress:
    """Follows a run of experiments on stderr; a context manager that leaves no half line behind.

    `seconds` are the planned durations of the experiments, in order; they weigh the bar.
    """

    def __init__(
        self,
        terminal: Terminal,
        names: Sequence[str],
        seconds: Sequence[float],
        *,
        shown: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal, self._names, self._seconds = terminal, list(names), list(seconds)
        self._shown, self._now = shown, now
        self._bar = shown and terminal.is_tty
        self._begun = now()
        self._drawn_at = float("-inf")
        self._index = 0
        self._name_width = max(map(len, names), default=0)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._terminal.write(ERASE)

    def begin(self, index: int) -> None:
        """Experiment number `index` begins."""
        self._index = index
        self._drawn_at = float("-inf")
        self.update(0.0, "")

    def update(self, share: float, what: str) -> None:
        """The experiment that runs has done this share of its work and is at the variant `what`."""
        if not self._bar or self._now() - self._drawn_at < REDRAW_S:
            return
        self._drawn_at = self._now()
        self._terminal.write(ERASE + self._line(share, what))

    def end(self, result: Result) -> None:
        """The experiment has ended; where there are several, that is one line that stays."""
        if len(self._names) == 1:
            return
        look = look_of(result.verdict.word)
        name = pad(shorten(result.experiment, self._name_width), self._name_width)
        words = f"{result.verdict}: {result.verdict.reason}" if result.verdict.reason else str(result.verdict)
        self.say(f"{look.sign} {name}  {words}", look.style)

    def say(self, line: str, style: str = "fails") -> None:
        """A line that stays above the bar, its first letter in a style; cut to the width of a terminal."""
        if not self._shown:
            return
        line = clean(line)
        if self._terminal.is_tty:
            line = shorten(line, self._terminal.width - 1)
        erase = ERASE if self._bar else ""
        self._terminal.write(erase + self._terminal.paint(line[:1], style) + line[1:] + "\n")

    def _line(self, share: float, what: str) -> str:
        share = min(max(share, 0.0), 1.0)
        total = sum(self._seconds) or 1.0
        done = (sum(self._seconds[: self._index]) + share * self._seconds[self._index]) / total
        full = round(done * BAR_CELLS)
        bar = "█" * full + "░" * (BAR_CELLS - full)
        left = f"  {duration(self._left(done, total))} left"
        head = f"{bar} {self._index + 1}/{len(self._names)} "
        room = self._terminal.width - len(head) - len(left) - 1
        name = self._names[self._index]
        text = shorten(clean(f"{name}: {what}" if what else name), max(room, 8))
        return head + pad(text, room) + left

    def _left(self, done: float, total: float) -> float:
        """Seconds to go, by the pace so far once there is one."""
        if done < PACE_FROM:
            return total * (1 - done)
        return (self._now() - self._begun) / done * (1 - done)
