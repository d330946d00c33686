"""The recorded program as a tree, and what can be said of it without simulating: work, span, bounds of the speedup.

Always: parts stand in preorder, so whoever goes through them backwards meets children before their parents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar._lib import ffi, lib
from filar.errors import InvalidArgumentError
from filar.predicting.costs import Costs

__all__ = ["FORK", "LOOP", "PART", "SEQUENCE", "STRAND", "Bounds", "Tree"]

PART = np.dtype(
    [
        ("work_ns", np.float64),
        ("forks", np.uint64),  # of a strand: those that were too short to stand for themselves
        ("steps", np.int64),  # of a loop or a piece of one
        ("grain", np.int64),  # of a loop
        ("kind", np.int32),
        ("schedule", np.int32),
        ("threads", np.uint32),
        ("children", np.uint32),
    ]
)
assert ffi.sizeof("filar_recorded_part") == PART.itemsize

STRAND: int = lib.FILAR_RECORDED_STRAND
SEQUENCE: int = lib.FILAR_RECORDED_SEQUENCE
FORK: int = lib.FILAR_RECORDED_FORK
LOOP: int = lib.FILAR_RECORDED_LOOP
ADAPTIVE: int = lib.FILAR_SCHEDULE_ADAPTIVE

# As in csrc/pool/loop.c: a loop that would take less stays where it is; a piece lasts at least so long.
LOOP_SERIAL_NS = 10_000.0
PIECE_MIN_NS = 1_000.0


@dataclass(frozen=True)
class Bounds:
    """What the laws say of the speedup on `workers`; the simulation is to lie between."""

    workers: int
    work_law: float  # no more than the workers
    span_law: float  # no more than work over span
    greedy: float  # no less than with a greedy scheduler, burdened with what forks and steals cost (Brent)

    @property
    def upper(self) -> float:
        """The lower of the two laws."""
        return min(self.work_law, self.span_law)


class Tree:
    """Parts of a recorded program. `calls`: how often it had a worker of a pool run a part of it."""

    def __init__(self, parts: NDArray[Any], calls: int = 0) -> None:
        if parts.dtype != PART or len(parts) == 0:
            raise InvalidArgumentError("a tree is made of at least one part, in an array of filar.predicting.PART")
        self.parts = parts
        self.calls = calls
        self.children = self._link(parts["children"].tolist())
        self.kinds: list[int] = parts["kind"].tolist()
        self.works: list[float] = parts["work_ns"].tolist()
        self.steps: list[int] = parts["steps"].tolist()

    @staticmethod
    def _link(counts: list[int]) -> list[list[int]]:
        """Children of each part. InvalidArgumentError: the counts are not those of one tree."""
        children: list[list[int]] = [[] for _ in counts]
        open_parts: list[int] = []
        for index, count in enumerate(counts):
            while open_parts and len(children[open_parts[-1]]) == counts[open_parts[-1]]:
                open_parts.pop()
            if open_parts:
                children[open_parts[-1]].append(index)
            elif index > 0:
                raise InvalidArgumentError(f"the parts are not one tree: part {index} belongs to none")
            if count > 0:
                open_parts.append(index)
        if any(len(mine) != count for mine, count in zip(children, counts, strict=True)):
            raise InvalidArgumentError("the parts are not one tree: some are missing")
        return children

    @property
    def work_ns(self) -> float:
        """Of all strands: the time on one worker, without any scheduler."""
        return self.works[0]

    @cached_property
    def forks(self) -> int:
        """All of them, also those that were too short to stand for themselves."""
        return self.kinds.count(FORK) + int(self.parts["forks"].sum())

    @cached_property
    def loops(self) -> int:
        """Those that stand for themselves."""
        return self.kinds.count(LOOP)

    def _spans(self, costs: Costs | None) -> float:
        """The longest chain of strands that wait for each other; with `costs`, of what starting others takes too."""
        spans = list(self.works)
        forks = self.parts["forks"].tolist()
        for index in range(len(spans) - 1, -1, -1):
            mine = [spans[child] for child in self.children[index]]
            kind = self.kinds[index]
            if kind == STRAND:
                spans[index] += forks[index] * costs.fork_ns if costs else 0.0
            elif kind == SEQUENCE:
                spans[index] = sum(mine)
            elif kind == FORK:
                spans[index] = (
                    max(mine[0], mine[1] + costs.steal_ns) + costs.fork_ns if costs else max(mine, default=0.0)
                )
            elif kind == LOOP:
                spans[index] = self._loop_span(index, mine, costs)
        return spans[0]

    def _loop_span(self, index: int, mine: list[float], costs: Costs | None) -> float:
        """The longest step; steps of a piece that has no forks are taken as equally long."""
        if costs and self.works[index] <= LOOP_SERIAL_NS:
            return sum(mine)
        longest = 0.0
        for child, span in zip(self.children[index], mine, strict=True):
            divided = span / max(self.steps[child], 1) if self.kinds[child] == STRAND else span
            longest = max(longest, min(span, max(divided, PIECE_MIN_NS)) if costs else divided)
        return longest + (costs.loop_ns if costs else 0.0)

    @cached_property
    def span_ns(self) -> float:
        """The longest chain of strands: the time on endlessly many workers that cost nothing."""
        return self._spans(None)

    def burdened_work_ns(self, costs: Costs) -> float:
        """With what forks and calls cost."""
        return self.work_ns + self.forks * costs.fork_ns + self.calls * costs.call_ns

    def burdened_span_ns(self, costs: Costs) -> float:
        """With what forks, steals and the start of loops cost on the way."""
        return self._spans(costs) + self.calls * costs.call_ns

    @property
    def parallelism(self) -> float:
        """Work over span: no number of workers gives more."""
        return self.work_ns / self.span_ns if self.span_ns > 0 else 1.0

    def bounds(self, workers: int, costs: Costs) -> Bounds:
        """The laws of work and span, and Brent's bound with the costs of this machine."""
        burdened = self.burdened_work_ns(costs)
        speed = costs.pair_speed if workers > 1 else 1.0
        span = self.burdened_span_ns(costs) if workers > 1 else 0.0
        greedy = burdened / (burdened / (workers * speed) + span / speed) if burdened > 0 else 1.0
        return Bounds(workers, float(workers), max(self.parallelism, 1.0), greedy)
