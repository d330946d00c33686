"""Rows made of two others, round by round: ratios and differences of what ran side by side."""

from __future__ import annotations

import numpy as np

from filar.lab.base import Row, Rows, paired

__all__ = ["difference_row", "ratio_row"]


def _combined(a: Row | None, b: Row | None, variant: str, metric: str, ratio: bool) -> Rows:
    if a is None or b is None:
        return Rows()
    rounds, mine, theirs = paired(a, b)
    if not len(rounds):
        return Rows()
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = mine / theirs if ratio else mine - theirs
    return Rows([Row(variant, metric, "ratio" if ratio else a.unit, samples, params=dict(a.params), rounds=rounds)])


def ratio_row(above: Row | None, below: Row | None, variant: str, metric: str = "ratio") -> Rows:
    """One row `above` / `below` with the parameters of `above`, unit "ratio"; no row where no round has both."""
    return _combined(above, below, variant, metric, ratio=True)


def difference_row(minuend: Row | None, control: Row | None, variant: str, metric: str) -> Rows:
    """One row `minuend` - `control`; noise may make a sample negative. No row where no round has both."""
    return _combined(minuend, control, variant, metric, ratio=False)
