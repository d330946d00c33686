"""The pool's scheduler on paper: a recorded tree run by any number of workers, event by event.

What is modelled, as `csrc/pool` and `csrc/sched` do it: who forks goes on with the first half and leaves the second
where the oldest is taken first; who waits for a stolen half helps its thief, looks a while, then sleeps; loops give
away the back half of the largest part and take pieces of 1 to 20 us; workers without work search for a while, then
sleep; whoever makes work wakes one sleeper if nobody searches, and that one wakes the next. What is not modelled
stands in docs/predicting.md.

Always: a worker has one event in the queue, or waits for somebody, or is idle.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from filar.errors import InvalidArgumentError
from filar.predicting.costs import Costs
from filar.predicting.tree import ADAPTIVE, FORK, LOOP, LOOP_SERIAL_NS, PIECE_MIN_NS, STRAND, Tree

__all__ = ["WORKERS_MAX", "Run", "simulate"]

WORKERS_MAX = 65_536
# As in csrc: how long a worker without work searches (sched/worker.c), how long a forker looks before it sleeps
# (pool/forks.c), how long a piece lasts at most, and what is not worth taking (pool/loop.c).
_SEARCH_NS = 20_000.0
_LOOKS_NS = 3_000.0
_PIECE_MAX_NS = 20_000.0
_WORTH_NS = PIECE_MIN_NS / 2
# A loop is divided into at most so many atoms, each as short as the shortest piece if it can be.
_ATOMS_MAX = 20_000
# A loop of more steps than this for each thread is begun alone, in growing pieces, until one has told its time.
_PROBED_STEPS = 32
_PROBE_SECOND, _PROBE_GROWTH = 4, 32
_TRUSTED_NS = 300.0
_STATIC: int = 1
_OPEN, _TAKEN, _DONE = range(3)
_SEQUENCE_FRAME, _JOIN_FRAME, _STOLEN_FRAME, _LOOP_FRAME = range(4)


@dataclass(frozen=True)
class Run:
    """What a simulated run came to."""

    workers: int
    time_ns: float
    steals: int  # forks and parts of loops that changed hands
    wakes: int  # of sleeping workers
    busy: float  # share of the workers' time in strands


@dataclass(slots=True, eq=False)
class _Fork:
    second: int
    state: int = _OPEN
    thief: _Worker | None = None
    base: int = 0  # how many forks the thief had when it began
    waiter: _Worker | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    index: int
    stack: list[list[Any]] = field(default_factory=list)
    forks: list[_Fork] = field(default_factory=list)  # not joined; those from `top` on are open
    top: int = 0
    running: _Fork | None = None  # the innermost stolen one that runs here
    debt_ns: float = 0.0  # to be paid with the next strand
    idle_since: float = 0.0
    began: float = 0.0  # the strand it is in,
    end: float = 0.0  # and until when
    version: int = 0  # of its event: older ones are void
    waits_since: float = 0.0


class _Loop:
    """A loop that several are in: atoms, and who has which of them."""

    def __init__(self, simulation: _Simulation, node: int, places: int, caller: _Worker) -> None:
        tree, self.caller, self.places = simulation.tree, caller, places
        self.schedule, self.grain = int(tree.parts["schedule"][node]), int(tree.parts["grain"][node])
        self.entered = self.inside = self.cursor = 0
        self.caller_waits, self.listed = False, True
        atom_ns = max(PIECE_MIN_NS, tree.works[node] / _ATOMS_MAX)
        self.cumulated, self.steps = [0.0], [0]  # at the end of each atom
        self.nested: dict[int, int] = {}  # atoms that are parts of their own
        for child in tree.children[node]:
            steps, ns = max(tree.steps[child], 1), simulation.ns[child]
            atoms = 1
            if tree.kinds[child] == STRAND:
                atoms = min(steps, max(1, round(ns / atom_ns)))
            else:
                self.nested[len(self.steps) - 1] = child
                ns = 0.0
            before_ns, before = self.cumulated[-1], self.steps[-1]
            self.cumulated += [before_ns + ns * (i + 1) / atoms for i in range(atoms)]
            self.steps += [before + steps * (i + 1) // atoms for i in range(atoms)]
        self.atoms = len(self.steps) - 1
        self.nested_order = sorted(self.nested)
        self.parts = [[0, 0] for _ in range(places)]
        self.known_ns = [0.0] * places
        if self.schedule == ADAPTIVE:
            self.parts[0] = [self._probed(), self.atoms]

    def _probed(self) -> int:
        """How many atoms the caller does alone, to measure a step."""
        total, done, piece, before_ns = self.steps[-1], 0, 1, 0.0
        if total <= _PROBED_STEPS * self.places or self.nested:
            return 0
        while done < total:
            done = min(done + piece, total)
            at = bisect_left(self.steps, done)
            share = (done - self.steps[at - 1]) / (self.steps[at] - self.steps[at - 1])
            now_ns = self.cumulated[at - 1] + share * (self.cumulated[at] - self.cumulated[at - 1])
            ns, before_ns = now_ns - before_ns, now_ns
            if ns >= _TRUSTED_NS and ns / piece * (total - done) > LOOP_SERIAL_NS:
                # To the nearest atom.
                return at if share > 0.5 else at - 1
            # 1, 4, 32, 1,024, ...: as longer_piece() of csrc/pool/loop.c.
            piece = next((size for size in (_PROBE_SECOND, _PROBE_GROWTH) if piece < size), piece * _PROBE_GROWTH)
        return self.atoms

    def _refill(self, place: int) -> bool:
        """Something for a part that is used up; False: nothing is left, or worth it."""
        if self.schedule == ADAPTIVE:
            largest = max(self.parts, key=lambda part: part[1] - part[0])
            left = largest[1] - largest[0]
            each_ns = self.known_ns[place] or PIECE_MIN_NS
            if left < 1 or left * each_ns < _WORTH_NS:
                return False
            middle = largest[0] + left // 2
            self.parts[place], largest[1] = [middle, largest[1]], middle
            return True
        if self.schedule == _STATIC:
            if self.cursor >= self.places:
                return False
            total = self.steps[-1]
            bounds = [bisect_left(self.steps, total * (self.cursor + more) // self.places) for more in (0, 1)]
            self.cursor += 1
        else:
            if self.cursor >= self.atoms:
                return False
            end = bisect_left(self.steps, self.steps[self.cursor] + max(self.grain, 1))
            bounds = [self.cursor, min(max(end, self.cursor + 1), self.atoms)]
            self.cursor = bounds[1]
        self.parts[place] = bounds
        return True

    def take(self, place: int) -> tuple[int, int, bool] | None:
        """The next piece, and whether its part was another's before; None: this place is done."""
        part, stolen = self.parts[place], False
        while part[0] >= part[1]:
            if not self._refill(place):
                return None
            part, stolen = self.parts[place], self.schedule == ADAPTIVE
        begin, end = part[0], part[1]
        if self.schedule == ADAPTIVE:
            end = begin + self._piece(end - begin, self.known_ns[place])
        at = bisect_left(self.nested_order, begin)
        if at < len(self.nested_order):
            # One with forks in it is a piece of its own.
            end = min(end, max(self.nested_order[at], begin + 1))
        part[0] = end
        if begin not in self.nested:
            self.known_ns[place] = (self.cumulated[end] - self.cumulated[begin]) / (end - begin)
        return begin, end, stolen

    def _piece(self, left: int, each_ns: float) -> int:
        if each_ns <= 0:
            return 1
        if self.grain > 0:
            most = min(_PIECE_MAX_NS / each_ns, self.grain * self.atoms / max(self.steps[-1], 1))
        else:
            most = _PIECE_MAX_NS / each_ns
        return int(min(max(1, min(left / 4, most), min(PIECE_MIN_NS / each_ns, most)), left))


class _Simulation:
    def __init__(self, tree: Tree, workers: int, costs: Costs, seed: int) -> None:
        self.tree, self.costs, self.random = tree, costs, random.Random(seed)
        forks = tree.parts["forks"].tolist()
        self.ns = [work + more * costs.fork_ns for work, more in zip(tree.works, forks, strict=True)]
        self.workers = [_Worker(i) for i in range(workers)]
        self.events: list[tuple[float, int, bool, int, _Worker]] = []
        self.order = 0
        # The pool was idle before: all but the one that begins are asleep.
        self.idle = [(worker, -_SEARCH_NS) for worker in self.workers[:0:-1]]
        self.arriving = 0  # woken or answering, and not yet there: nobody else is woken meanwhile
        self.open_forks: dict[_Worker, None] = {}
        self.open_loops: list[_Loop] = []
        self.computing: dict[_Worker, None] = {}
        self.steals = self.wakes = 0
        self.busy_ns = 0.0
        self.end_ns = 0.0

    # ---- time ------------------------------------------------------------------------------------------------

    def _at(self, ns: float, worker: _Worker, arrives: bool = False) -> None:
        self.order += 1
        heapq.heappush(self.events, (ns, self.order, arrives, worker.version, worker))

    def run(self) -> Run:
        first = self.workers[0]
        if not self._enter(first, 0, 0.0):
            self._advance(first, 0.0)
        while self.events:
            now, _, arrives, version, worker = heapq.heappop(self.events)
            if version != worker.version:
                continue
            if worker in self.computing:
                self._end_strand(worker, now)
            if arrives:
                self.arriving -= 1
                if not self._find(worker, now, 0.0):
                    self.idle.append((worker, now))
                    continue
            self._advance(worker, now)
        calls_ns = self.tree.calls * self.costs.call_ns if self.tree.calls else 0.0
        time_ns = self.end_ns + calls_ns
        room_ns = time_ns * len(self.workers)
        return Run(len(self.workers), time_ns, self.steals, self.wakes, self.busy_ns / room_ns if room_ns else 0.0)

    def _compute(self, worker: _Worker, now: float, ns: float) -> None:
        """The worker is in a strand from now on; slower while another one is in one too."""
        if len(self.computing) == 1:
            self._retime(now, 1 / self.costs.pair_speed)
        if self.computing:
            ns /= self.costs.pair_speed
        self.computing[worker] = None
        worker.began, worker.end = now, now + worker.debt_ns + ns
        worker.debt_ns = 0.0
        self._at(worker.end, worker)

    def _end_strand(self, worker: _Worker, now: float) -> None:
        del self.computing[worker]
        self.busy_ns += now - worker.began
        if len(self.computing) == 1:
            self._retime(now, self.costs.pair_speed)

    def _retime(self, now: float, factor: float) -> None:
        """Who was alone in a strand is no more, or the other way round: what is left takes `factor` times as long."""
        if factor == 1:
            return
        (worker,) = self.computing
        worker.version += 1
        worker.end = now + (worker.end - now) * factor
        self._at(worker.end, worker)

    # ---- waking ----------------------------------------------------------------------------------------------

    def _notify(self, now: float, wake_ns: float) -> None:
        """There is work: one who searches comes, or one who sleeps is woken."""
        if self.idle and now - self.idle[-1][1] < _SEARCH_NS:
            # The last to become idle still searches.
            worker, _ = self.idle.pop()
            self.arriving += 1
            self._at(now + self.costs.steal_ns, worker, arrives=True)
        elif self.idle and self.arriving == 0:
            worker, _ = self.idle.pop(0)
            self.arriving += 1
            self.wakes += 1
            self._at(now + wake_ns, worker, arrives=True)

    def _find(self, worker: _Worker, now: float, delay_ns: float) -> bool:
        """What a worker without work takes: a place in a loop, or the oldest fork of a random victim."""
        if self.open_loops:
            loop = self.open_loops.pop(0)
            loop.entered += 1
            loop.inside += 1
            if loop.entered + 1 < loop.places:
                self.open_loops.append(loop)
            worker.stack.append([_LOOP_FRAME, loop, loop.entered])
        elif self.open_forks:
            victims = list(self.open_forks)
            self._steal(worker, victims[self.random.randrange(len(victims))])
        else:
            return False
        worker.debt_ns += delay_ns
        if self.open_loops or self.open_forks:
            self._notify(now, self.costs.wake_ns)
        return True

    # ---- forks -----------------------------------------------------------------------------------------------

    def _enter(self, worker: _Worker, node: int, now: float) -> bool:
        """The worker begins a part; whether that takes time."""
        kind = self.tree.kinds[node]
        if kind == STRAND:
            self._compute(worker, now, self.ns[node])
            return True
        children = self.tree.children[node]
        if kind == FORK:
            fork = _Fork(children[1])
            worker.forks.append(fork)
            worker.stack.append([_JOIN_FRAME, fork])
            worker.stack.append([_SEQUENCE_FRAME, children[:1], 0])
            worker.debt_ns += self.costs.fork_ns
            self._publish(worker, now)
        elif kind == LOOP and self._is_shared(node):
            loop = _Loop(self, node, self._places(node), worker)
            worker.stack.append([_LOOP_FRAME, loop, 0])
            alone = loop.parts[0][0]
            if alone:
                self._compute(worker, now, loop.cumulated[alone])
                loop.listed = False
                return True
            self._list(loop, now)
        else:
            worker.stack.append([_SEQUENCE_FRAME, children, 0])
        return False

    def _publish(self, worker: _Worker, now: float) -> None:
        self.open_forks[worker] = None
        ran = worker.running
        if ran is not None and ran.waiter is not None and worker.top >= ran.base:
            waiter, ran.waiter = ran.waiter, None
            looks = now - waiter.waits_since < _LOOKS_NS
            self._at(now + (self.costs.steal_ns if looks else self.costs.wake_ns), waiter)
        self._notify(now, self.costs.wake_ns)

    def _steal(self, thief: _Worker, victim: _Worker) -> None:
        fork = victim.forks[victim.top]
        victim.top += 1
        if victim.top == len(victim.forks):
            del self.open_forks[victim]
        fork.state, fork.thief, fork.base = _TAKEN, thief, len(thief.forks)
        self.steals += 1
        thief.stack.append([_STOLEN_FRAME, fork, thief.running])
        thief.stack.append([_SEQUENCE_FRAME, [fork.second], 0])
        thief.running = fork

    def _drop(self, worker: _Worker) -> None:
        """The youngest fork has been joined."""
        worker.forks.pop()
        worker.top = min(worker.top, len(worker.forks))
        if worker.top == len(worker.forks):
            self.open_forks.pop(worker, None)

    def _join(self, worker: _Worker, frame: list[Any], now: float) -> bool:
        """The first half has ended; False: it waits for the second."""
        fork = frame[1]
        if fork.state == _TAKEN:
            thief = fork.thief
            if thief in self.open_forks and thief.top >= fork.base:
                self._steal(worker, thief)
                worker.debt_ns += self.costs.steal_ns
                return True
            fork.waiter, worker.waits_since = worker, now
            return False
        worker.stack.pop()
        self._drop(worker)
        if fork.state == _OPEN:
            worker.stack.append([_SEQUENCE_FRAME, [fork.second], 0])
        return True

    def _end_stolen(self, worker: _Worker, frame: list[Any], now: float) -> None:
        fork, worker.running = frame[1], frame[2]
        worker.stack.pop()
        fork.state = _DONE
        if fork.waiter is not None:
            waiter, fork.waiter = fork.waiter, None
            looks = now - waiter.waits_since < _LOOKS_NS
            self._at(now if looks else now + self.costs.return_ns, waiter)

    # ---- loops -----------------------------------------------------------------------------------------------

    def _places(self, node: int) -> int:
        threads = int(self.tree.parts["threads"][node])
        workers = min(threads, len(self.workers)) if threads else len(self.workers)
        return min(workers, max(self.tree.steps[node], 1))

    def _is_shared(self, node: int) -> bool:
        stays = int(self.tree.parts["schedule"][node]) == ADAPTIVE and self.tree.works[node] <= LOOP_SERIAL_NS
        return not stays and self._places(node) > 1

    def _list(self, loop: _Loop, now: float) -> None:
        """Helpers may come from now on."""
        self.open_loops.append(loop)
        self._notify(now, self.costs.loop_ns)

    def _loop(self, worker: _Worker, frame: list[Any], now: float) -> bool:
        """Another piece of a loop; False: it takes time, or waits for helpers."""
        loop, place = frame[1], frame[2]
        if not loop.listed:
            loop.listed = True
            self._list(loop, now)
        piece = loop.take(place)
        if piece is not None:
            begin, end, stolen = piece
            self.steals += stolen
            if begin in loop.nested:
                return not self._enter(worker, loop.nested[begin], now)
            self._compute(worker, now, loop.cumulated[end] - loop.cumulated[begin])
            return False
        if loop in self.open_loops:
            self.open_loops.remove(loop)
        if place == 0:
            if loop.inside:
                loop.caller_waits = True
                return False
            worker.stack.pop()
            return True
        worker.stack.pop()
        loop.inside -= 1
        if loop.inside == 0 and loop.caller_waits:
            self._at(now, loop.caller)
        return True

    # ---- a worker --------------------------------------------------------------------------------------------

    def _advance(self, worker: _Worker, now: float) -> None:
        """Goes on until something takes time, or there is nothing to go on with."""
        while worker.stack:
            frame = worker.stack[-1]
            kind = frame[0]
            if kind == _SEQUENCE_FRAME:
                if frame[2] == len(frame[1]):
                    worker.stack.pop()
                    continue
                frame[2] += 1
                if self._enter(worker, frame[1][frame[2] - 1], now):
                    return
            elif kind == _JOIN_FRAME:
                if not self._join(worker, frame, now):
                    return
            elif kind == _STOLEN_FRAME:
                self._end_stolen(worker, frame, now)
            elif not self._loop(worker, frame, now):
                return
        if worker.index == 0:
            self.end_ns = now
        elif self._find(worker, now, self.costs.steal_ns):
            self._advance(worker, now)
        else:
            self.idle.append((worker, now))


def simulate(tree: Tree, workers: int, costs: Costs, seed: int = 1) -> Run:
    """Runs the tree on so many workers, of which all but the first sleep at the beginning.

    The same seed, the same run: it decides from whom is stolen. Some 5 us for each part and piece.
    """
    if not 1 <= workers <= WORKERS_MAX:
        raise InvalidArgumentError(f"workers is {workers}; from 1 to {WORKERS_MAX:,} can be simulated")
    if workers > 1 and not costs.complete:
        raise InvalidArgumentError(
            "what a second worker costs is not known, as on one CPU or beside very busy programs: pass costs="
        )
    return _Simulation(tree, workers, costs, seed).run()
