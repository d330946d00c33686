"""Made-up rows for tests of verdicts: the figures are the test's, only their shape is real."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from filar.lab.base import Row, Rows


def row(
    variant: str, metric: str, typical: float, *, unit: str = "ns", n: int = 40, spread: float = 0.02, **params: Any
) -> Row:
    """A row whose median is `typical`, with `n` samples spread evenly by +-`spread`."""
    return Row(variant, metric, unit, typical * np.linspace(1 - spread, 1 + spread, n), params=params)


def rows(metric: str, typical: Mapping[str, float], **options: Any) -> Rows:
    """One row for each variant."""
    return Rows(row(variant, metric, value, **options) for variant, value in typical.items())


def against(made: Row, undecided: bool) -> Row:
    """For a verdict that must stay open: the rounds of this row run the other way round, so that ratios spread."""
    if not undecided:
        return made
    middle = float(np.median(made.samples))
    return Row(made.variant, made.metric, made.unit, middle + 10 * (middle - made.samples), made.params)
