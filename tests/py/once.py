"""One round of an experiment, for real: enough to see that it measures, too little to say anything of the machine."""

import time

from filar import lab
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
