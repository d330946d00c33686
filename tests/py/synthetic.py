"""Results made up from a seed: every verdict, every kind of chart, the shapes of rows that experiments have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from filar import chart
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Reference, Row, Rows, Table, Verdict
from filar.lab.report import Report
from filar.lab.result import Result

WORDS = (HOLDS, CONDITIONAL, FAILS, UNDECIDED)
HOST = {
    "cpu_model": "Example CPU @ 2.50GHz",
    "cpus_allowed": [0, 1],
    "cpus_online": 4,
    "cpu_quota": None,
    "kernel_release": "6.18.0",
    "tick_hz": 250,
    "memory_bytes": 8 * 2**30,
    "hypervisor": "KVM",
    "container": None,
    "governor": None,
    "turbo": None,
    "load_average": [0.12, 0.2, 0.3],
    "libc": "glibc 2.36",
    "python": {"version": "3.11.7", "implementation": "CPython", "gil": True},
    "filar_version": "0.1.0",
}


def samples(middle: float, n: int = 200, seed: int = 1) -> np.ndarray:
    """Skewed times, as measured ones are: a floor and a tail."""
    return middle * (0.9 + np.random.default_rng(seed).gamma(1.2, 0.12, n))


def rows(variants: Sequence[str] = ("default", "one core"), metric: str = "create+join", unit: str = "ns") -> Rows:
    return Rows([Row(name, metric, unit, samples(9_000 * 3**i, seed=i)) for i, name in enumerate(variants)])


def result(name: str = "kthread-create", word: str = HOLDS, **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "experiment": name,
        "title": f"Title of {name}",
        "family": "Creation",
        "claim": f"The claim of {name}, a sentence of the theory.",
        "claim_source": "lecture notes, chapter 1",
        "method": "One operation is this. It is compared with that. The rows mean something.",
        "verdict": Verdict(word, "9.4 µs here (9.1 to 9.8, floor 8.2)", "it is quiet" if word == CONDITIONAL else ""),
        "rows": rows(),
        "mode": "quick",
        "seed": 7,
        "references": [Reference("Skylake (Lemire 2020)", 9_000, "ns", "lemire.me/blog/2020/01/30", "create+join")],
        "tables": [
            Table("Where things are", ("thing", "address", "count"), (("stack", "0x7f", 12), ("heap", None, 3)))
        ],
        "notes": ["child on the other core: not measured, there is one CPU"],
        "host": HOST,
        "conditions": {"badge": {"level": "ok", "text": "quiet"}},
        "started": "2026-11-21T08:30:00+00:00",
        "elapsed_s": 2.5,
    }
    return Result(**{**fields, **changes})


def report(results: Sequence[Result] = (), **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "results": list(results) or [result(f"e{i}", word) for i, word in enumerate(WORDS)],
        "host": HOST,
        "mode": "quick",
        "seed": 7,
        "started": "2026-11-21T08:30:00+00:00",
        "elapsed_s": 83.0,
    }
    return Report(**{**fields, **changes})


def self_check() -> Result:
    ratio = 1 + np.random.default_rng(3).normal(0, 0.004, 200)
    return result(
        "self-check", HOLDS, family="Method", rows=Rows([Row("A against A", "pair ratio", "x", ratio)]), references=[]
    )


def charts() -> list[chart.Chart]:
    """One chart of each kind."""
    x = np.arange(1, 9)
    times = samples(9_000)
    return [
        chart.Dots(
            title="Dots",
            rows=[chart.Dot("default", 9e3, 8.8e3, 9.3e3, 8e3, 2e4, [chart.Reference(2e4, "Lemire 2020", "Rome")])],
        ),
        chart.Bars(title="Bars", groups=["a", "b"], series=[chart.BarSeries("s", [1.0, 2.0])], unit="ns"),
        chart.Ladder(title="Ladder", limits=[chart.Limit("pid_max", 32768), chart.Limit("nproc", math.inf)]),
        chart.Strip(title="Strip", rows=[chart.Ratios("A/A", times / times.mean(), 0.98, 1.02, 1.0)]),
        chart.Gantt(
            title="Gantt", intervals=[chart.Interval("cpu 0", 0, 4e6, "a"), chart.Interval("cpu 1", 0, 8e6, "b")]
        ),
        chart.Lines(
            title="Lines", series=[chart.Series("measured", x, x**0.9), chart.Series("ideal", x, x, dashed=True)]
        ),
        chart.Stack(title="Stack", x=["1k", "10k"], parts=[chart.Part("kernel", [1, 10]), chart.Part("user", [2, 9])]),
        chart.Cdf(title="Cdf", series=[chart.Samples("idle", times), chart.Samples("busy", times * 3)]),
        chart.Survival(title="Survival", series=[chart.Lifetimes("two cores", [1, 5, 9], 1, 10)]),
        chart.Heatmap(title="Heatmap", rows=["0", "1"], columns=["0", "1"], values=[[math.nan, 116], [118, math.nan]]),
    ]
