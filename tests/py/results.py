"""Made-up results for tests of files, comparisons and pages."""

from typing import Any

import numpy as np

from filar.lab.base import HOLDS, Reference, Row, Rows, Series, Table, Verdict
from filar.lab.result import Result


def result(experiment: str = "made-up", rows: Rows | None = None, **changes: Any) -> Result:
    """A result with something in every field; `changes` replace fields."""
    samples = np.random.default_rng(5).lognormal(9, 0.2, 50)
    fields: dict[str, Any] = {
        "experiment": experiment,
        "title": "A made-up experiment",
        "family": "Tests",
        "claim": "Things cost time.",
        "claim_source": "common knowledge",
        "method": "One. Two. Three.",
        "verdict": Verdict(HOLDS, "8.1 µs here (7.7 to 8.6)"),
        "rows": rows
        or Rows(
            [
                Row("default", "create+join", "ns", samples, {"steps": 3}, "a note"),
                Row("other", "create+join", "ns", samples * 2, rounds=np.arange(1, 51)),
            ]
        ),
        "mode": "quick",
        "seed": 1,
        "references": [Reference("Somebody 1999", 9000, "ns", "example.org", "create+join")],
        "series": [Series("gaps", np.arange(5.0), np.arange(5.0) ** 2, "ms", "us", np.arange(5), np.zeros(5, int))],
        "tables": [Table("Facts", ("what", "how many"), (("threads", 3), ("alive", True), ("share", 0.5)))],
        "notes": ["One variant could not run"],
        "host": {"cpu_model": "Test CPU", "cpus_allowed": [0, 1], "python": {"version": "3.11.7"}},
        "conditions": {"badge": {"level": "ok", "text": "quiet: foreign 1 %"}},
        "started": "2026-11-21T08:00:00+00:00",
        "elapsed_s": 1.25,
    }
    return Result(**{**fields, **changes})
