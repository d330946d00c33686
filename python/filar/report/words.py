"""What the page and the terminal say alike: words and signs of verdicts, intervals, groups of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Reference, Row, Rows, Verdict
from filar.lab.table import Group, format_interval, groups_of, quantity

__all__ = [
    "VERDICTS",
    "Group",
    "VerdictLook",
    "duration",
    "format_interval",
    "groups_of",
    "look_of",
    "measured_beside",
    "quantity",
    "sentence",
    "tally",
]


@dataclass(frozen=True)
class VerdictLook:
    """How one of the four verdicts is shown: `style` is a CSS class and a colour name of the terminal."""

    word: str
    short: str
    style: str
    sign: str
    meaning: str


VERDICTS = (
    VerdictLook(HOLDS, "hold here", "holds", "✓", "What was measured agrees with the claim."),
    VerdictLook(
        CONDITIONAL, "hold on a condition", "when", "◐", "True here under the condition that follows it, not otherwise."
    ),
    VerdictLook(FAILS, "do not hold here", "fails", "✗", "What was measured contradicts the claim, on this machine."),
    VerdictLook(
        UNDECIDED,
        "cannot be decided here",
        "open",
        "?",
        "Something needed was missing, too noisy or not permitted; the reason says what.",
    ),
)


def look_of(word: str) -> VerdictLook:
    """The look of a verdict's word; that of "cannot be decided" for a word from a newer version."""
    return next((look for look in VERDICTS if look.word == word), VERDICTS[-1])


def tally(verdicts: Iterable[Verdict]) -> list[tuple[VerdictLook, int]]:
    """How often each verdict was given, in the fixed order, those that never were included."""
    counts = Counter(look_of(verdict.word).word for verdict in verdicts)
    return [(look, counts[look.word]) for look in VERDICTS]


def measured_beside(reference: Reference, rows: Rows) -> Row | None:
    """The row that a published figure can be held against: the first of its metric, or None."""
    return next((row for row in rows if reference.metric and row.metric == reference.metric), None)


def duration(seconds: float) -> str:
    """A time for people: "48 s", "2 min 5 s"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def sentence(text: str) -> str:
    """With a capital at the beginning and a full stop at the end, as reasons are written without."""
    text = text.strip()
    head = text.split(maxsplit=1)[0].rstrip(":,;").replace("-", "") if text else ""
    # Names of limits, calls and variables stay as they are.
    if head.isalpha() and head.islower() and (len(head) > 1 or head == "a"):
        text = text[0].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?")) else text + "."
