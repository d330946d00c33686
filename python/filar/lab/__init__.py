"""The lab: experiments that measure, on this machine, what the theory says of threads.

>>> from filar import lab
>>> lab.run("kthread-create", quick=True).table()    # doctest: +SKIP
"""

import datetime
import difflib
import time
from collections.abc import Callable

from filar.errors import NotFoundError
from filar.lab import creation
from filar.lab.base import Experiment, experiments
from filar.lab.bench import Bench, ways
from filar.lab.report import Report, load
from filar.lab.result import Result

__all__ = ["Experiment", "Report", "Result", "creation", "experiments", "find", "load", "run", "ways"]


def find(name: str) -> Experiment:
    """The experiment of that name; NotFoundError, with the nearest names, if there is none."""
    known = experiments()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `filar list` shows all"
    raise NotFoundError(f"there is no experiment {name!r}{hint}")


def run(
    name: str, *, quick: bool = False, seed: int = 1, on_progress: Callable[[float, str], None] | None = None
) -> Result:
    """Runs one experiment and blocks until it has ended: seconds in quick mode, up to a minute in full mode.

    Ctrl-C stops it cleanly (threads joined, settings restored) and raises KeyboardInterrupt.
    """
    chosen = find(name)
    bench = Bench(quick=quick, budget=chosen.quick if quick else chosen.full, seed=seed, on_progress=on_progress)
    started, begun = datetime.datetime.now(datetime.UTC), time.monotonic()
    measured = chosen.measure(bench)
    return Result(
        experiment=chosen.name,
        title=chosen.title,
        family=chosen.family,
        claim=chosen.claim.text,
        claim_source=chosen.claim.source,
        method=chosen.method,
        verdict=chosen.judge(measured.rows),
        references=list(chosen.references),
        rows=measured.rows,
        series=measured.series,
        tables=measured.tables,
        notes=measured.notes,
        mode="quick" if quick else "full",
        seed=seed,
        started=started.isoformat(timespec="seconds"),
        elapsed_s=time.monotonic() - begun,
    )
