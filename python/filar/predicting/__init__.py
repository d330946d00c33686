"""Predicting how fast a program of forks and loops would be on any number of workers.

    with filar.predict() as p:          # runs it on this thread, and takes down its forks and loops
        filar.kernels.merge_sort(values, pool)
    p.parallelism, p.speedup(8), p.plot(), print(p.summary())

Layers, lowest first: tree (what was recorded; work, span, bounds), costs (what forks cost on this machine), simulation
(the tree on any number of workers), session (the object that users hold). `docs/predicting.md` says what is assumed,
how far it was off, and what it cannot see.
"""

from filar.predicting.costs import Costs, measure_costs
from filar.predicting.session import Prediction, predict
from filar.predicting.simulation import Run, simulate
from filar.predicting.tree import PART, Bounds, Tree

__all__ = ["PART", "Bounds", "Costs", "Prediction", "Run", "Tree", "measure_costs", "predict", "simulate"]
