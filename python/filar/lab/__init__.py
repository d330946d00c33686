"""The lab: experiments that measure, on this machine, what the theory says of threads.

>>> from filar import lab
>>> lab.run("kthread-create", quick=True).table()    # doctest: +SKIP
"""

from filar.lab import (
    crawling,
    creation,
    green_passing,
    green_python,
    green_waits,
    greens,
    locks,
    memory,
    model_choice,
    pools,
    predictions,
    processes,
    pythons,
    races,
    runtimes,
    scheduling,
    selfcheck,
    servers,
    sharing,
    speedups,
    switching,
    timers,
    watched,
)
from filar.lab.base import Experiment, experiments
from filar.lab.bench import Bench, ways
from filar.lab.cluster import Machines, on_cluster
from filar.lab.compare import Comparison, compare
from filar.lab.play import explore, measure
from filar.lab.report import Report, load
from filar.lab.result import Result
from filar.lab.runner import Progress, find, run, run_all

__all__ = [
    "Bench",
    "Comparison",
    "Experiment",
    "Machines",
    "Progress",
    "Report",
    "Result",
    "compare",
    "crawling",
    "creation",
    "experiments",
    "explore",
    "find",
    "green_passing",
    "green_python",
    "green_waits",
    "greens",
    "load",
    "locks",
    "measure",
    "memory",
    "model_choice",
    "on_cluster",
    "pools",
    "predictions",
    "processes",
    "pythons",
    "races",
    "run",
    "run_all",
    "runtimes",
    "scheduling",
    "selfcheck",
    "servers",
    "sharing",
    "speedups",
    "switching",
    "timers",
    "watched",
    "ways",
]
