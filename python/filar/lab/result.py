"""The result of one experiment: claim, verdict, rows with all samples, and what is needed to read them later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from filar.lab.base import Rows, Series, Table, Verdict

__all__ = ["Result"]


@dataclass
class Result:
    """What `filar.lab.run()` gives back."""

    experiment: str
    title: str
    family: str
    claim: str
    claim_source: str
    method: str
    verdict: Verdict
    rows: Rows
    mode: str
    seed: int
    series: list[Series] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    elapsed_s: float = 0.0
