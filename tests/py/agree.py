"""Two measurements of one thing agree: taken in turn, and more often while that is not decided."""

import statistics
from collections.abc import Callable, Sequence

import pytest


def agree(ours: Callable[[], float], theirs: Callable[[], float], *, times: float, looks: Sequence[int]) -> list[float]:
    """The ratios ours / theirs of pairs, whose median must be between 1 / times and times at one of the `looks`.

    A busy machine changes between the two halves of a pair. What is not within the margin after the first look gets
    more pairs, not a wider margin. There are few looks: looking after each pair would let a bias in by chance.
    """
    ratios: list[float] = []
    for turn in range(looks[-1]):
        # Who goes first changes, so that a drift favours neither.
        if turn % 2:
            plain, own = theirs(), ours()
        else:
            own, plain = ours(), theirs()
        ratios.append(own / plain)
        if turn + 1 in looks and 1 / times <= statistics.median(ratios) <= times:
            return ratios
    pytest.fail(f"ours / theirs is {statistics.median(ratios):.2f}, of {sorted(round(r, 2) for r in ratios)}")
