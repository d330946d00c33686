"""One round of an experiment, for real: enough to see that it measures, too little to say anything of the machine."""

import os
import time

import numpy as np

from children import no_new_thread
from filar import chart, lab
from filar.lab.base import Budget
from filar.lab.bench import Bench
from filar.lab.result import Result


def run_once(name: str) -> Result:
    """The result of a single round in quick mode, without the repeat that a busy machine would cause."""
    chosen = lab.find(name)
    bench = Bench(quick=True, budget=Budget(seconds=0.05, rounds_max=max(1, min(chosen.quick.rounds_min, 2))))
    begun = time.monotonic()
    measured = chosen.measure(bench)
    return Result(
        experiment=chosen.name,
        title=chosen.title,
        family=chosen.family,
        claim=chosen.claim.text,
        claim_source=chosen.claim.source,
        method=chosen.method,
        verdict=chosen.judge(measured.rows),
        rows=measured.rows,
        mode="quick",
        seed=1,
        references=list(chosen.references),
        series=measured.series,
        tables=measured.tables,
        notes=measured.notes,
        elapsed_s=time.monotonic() - begun,
    )


def check_once(name: str) -> Result:
    """The same, checked for what all owe: rows with units, a reason, pictures, and the process as it was before."""
    affinity = os.sched_getaffinity(0)
    with no_new_thread():
        result = run_once(name)
    assert len(result.rows) > 0
    for one in result.rows:
        assert one.unit
        assert np.isfinite(one.samples).all()
    assert result.verdict.reason
    pictures = lab.find(name).charts(result)
    assert pictures
    assert all(isinstance(one, chart.Chart) and "<svg" in one.svg() for one in pictures)
    assert os.sched_getaffinity(0) == affinity
    return result
