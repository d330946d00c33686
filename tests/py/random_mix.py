"""A random mix of all that green threads do, for as long as wanted; and what it leaves behind.

    python tests/py/random_mix.py --seconds 600 --workers 1 2 4 --seed 7

runs it on so many workers, one after the other, and says what it took and how memory went. Anything wrong is an
exception or an AssertionError: a body that fails otherwise than it should, a lock that two hold, an item that is
lost, a thread state that is left over, memory that grows. `make mix` does it on every Python.
"""

import argparse
import contextlib
import ctypes
import decimal
import gc
import itertools
import json
import os
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import filar
from filar.green import _no_collections

PREEMPTS = sys.version_info >= (3, 12)
BATCH = 20  # green threads that are alive at a time, without those that they spawn
BATCHES_MIN = 3  # however short the time
DEPTH = 4
# Growth is judged where there was time for it: less is what an allocator takes to settle.
SECONDS_JUDGED = 20
GROWTH_ALLOWED = 1.15
BYTES_ALLOWED = 4 * 2**20


class ExpectedError(Exception):
    """What bodies of the mix may fail with."""


@dataclass
class Outcome:
    """What a mix did; memory in bytes, at moments when nothing but its main green thread was alive."""

    workers: int
    seed: int
    green_threads: int = 0
    preemptions: int = 0
    resident: list[tuple[float, int]] = field(default_factory=list)  # seconds since the start, bytes
    states_before: int = 0
    states_after: int = 0
    unexpected: list[str] = field(default_factory=list)

    def quarter(self, number: int) -> int:
        """The most memory in that quarter of the time, 1 to 4."""
        end = self.resident[-1][0] or 1.0
        found = [size for moment, size in self.resident if (number - 1) / 4 <= moment / end <= number / 4]
        return max(found, default=self.resident[-1][1])

    def check(self) -> None:
        """AssertionError if something is left behind."""
        assert not self.unexpected, self.unexpected
        more = self.states_after - self.states_before
        assert more <= 0, f"{more} thread states are left over"
        if self.resident[-1][0] < SECONDS_JUDGED:
            return
        early, late = self.quarter(2), self.quarter(4)
        assert late < early * GROWTH_ALLOWED + BYTES_ALLOWED, f"memory grew from {early} to {late} bytes"

    def __str__(self) -> str:
        sizes = ", ".join(f"{self.quarter(number) / 2**20:.1f}" for number in (1, 2, 3, 4))
        return (
            f"{self.workers} workers, seed {self.seed}: {self.green_threads} green threads, "
            f"{self.preemptions} preemptions, MiB in each quarter {sizes}, "
            f"thread states {self.states_before} before, {self.states_after} after"
        )


def resident_bytes() -> int:
    """Of this process, now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def thread_states() -> int:
    """How many the interpreter has, less one for each thread of `filar.blocking()`, which are kept."""
    api = ctypes.pythonapi
    for function in (api.PyInterpreterState_Get, api.PyInterpreterState_ThreadHead, api.PyThreadState_Next):
        function.restype = ctypes.c_void_p
    count, state = 0, api.PyInterpreterState_ThreadHead(ctypes.c_void_p(api.PyInterpreterState_Get()))
    while state:
        count += 1
        state = api.PyThreadState_Next(ctypes.c_void_p(state))
    return count - sum(thread.name.startswith("filar-blocking") for thread in threading.enumerate())


def few_or_many(draw: random.Random) -> int:
    """Turns of a loop: as a rule some microseconds, now and then longer than a turn of the worker may take."""
    return draw.randrange(50_000 if draw.random() < 0.05 else 500)


class Mix:
    """What the bodies share."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._channel: Any = filar.Channel(4)
        self._lock = filar.Lock()
        self._plain_lock = threading.Lock()
        self._taking = filar.Lock()
        self._inside = 0
        self._sent = itertools.count()
        self._received: set[int] = set()
        self._total = 0

    def body(self, seed: float, depth: int) -> int:
        """A few random steps."""
        self._outcome.green_threads += 1
        draw = random.Random(seed)
        steps = [getattr(self, name) for name in dir(Mix) if name.startswith("step_")]
        for _ in range(draw.randrange(1, 12)):
            draw.choice(steps)(draw, depth)
        return depth

    # ---- the steps ----

    def step_yield(self, draw: random.Random, depth: int) -> None:
        """Several: it is what green threads do most."""
        for _ in range(draw.randrange(1, 5)):
            filar.yield_()

    def step_sleep(self, draw: random.Random, depth: int) -> None:
        """A short sleep, or one that a scope ends."""
        if draw.random() < 0.5:
            filar.sleep(draw.random() / 2000)
            return
        with contextlib.suppress(TimeoutError), filar.timeout(draw.random() / 2000):
            filar.sleep(draw.random() / 1000)

    def step_spawn(self, draw: random.Random, depth: int) -> None:
        """Children, some of them cancelled, all joined; now and then one that nobody joins."""
        if depth >= DEPTH:
            return
        start = filar.green.spawn_first if draw.random() < 0.3 else filar.spawn
        children = [start(self.body, draw.random(), depth + 1) for _ in range(draw.randrange(4))]
        for child in children:
            if draw.random() < 0.3:
                child.cancel()
        for child in children[draw.random() < 0.1 :]:
            child.exception()

    def step_group(self, draw: random.Random, depth: int) -> None:
        """Siblings: the first failure cancels the others."""
        if depth >= DEPTH:
            return
        with contextlib.suppress(ExceptionGroup), filar.TaskGroup() as group:
            for _ in range(draw.randrange(4)):
                group.spawn(self.body, draw.random(), depth + 1)

    def step_channel(self, draw: random.Random, depth: int) -> None:
        """Each item comes out once."""
        with contextlib.suppress(TimeoutError), filar.timeout(0.001):
            if draw.random() < 0.5:
                self._channel.send(next(self._sent))
            else:
                self._take(self._channel.receive())

    def _take(self, item: int) -> None:
        with self._taking:
            assert item not in self._received, f"item {item} came twice"
            self._received.add(item)
            if len(self._received) > 1000:
                self._received.remove(min(self._received))

    def step_lock(self, draw: random.Random, depth: int) -> None:
        """One at a time, also if who is inside waits, or is cancelled there."""
        with self._lock:
            self._inside += 1
            try:
                assert self._inside == 1, "two hold one lock"
                filar.yield_()
            finally:
                self._inside -= 1

    def step_plain_lock(self, draw: random.Random, depth: int) -> None:
        """Whoever computes while it holds it is not preempted: the next one would block the worker for ever."""
        # Nor must a finalizer wait there that an automatic collection happens to call (step_collect).
        with _no_collections, self._plain_lock:
            before = self._total
            for _ in range(few_or_many(draw)):
                self._total += 1
            self._total = before + 1

    def step_compute(self, draw: random.Random, depth: int) -> None:
        """For longer than a turn may take."""
        total = 0
        for i in range(few_or_many(draw)):
            total += i & 1

    def step_blocking(self, draw: random.Random, depth: int) -> None:
        """A call on a kernel thread kept for that."""
        filar.blocking(time.sleep, draw.random() / 5000)

    def step_collect(self, draw: random.Random, depth: int) -> None:
        """A cycle with a finalizer that waits, and a collection."""

        class Waits:
            def __del__(self) -> None:
                with contextlib.suppress(filar.CancelledError):
                    filar.yield_()

        cycle: list[Any] = [Waits()]
        cycle.append(cycle)
        del cycle
        gc.collect(draw.choice([0, 0, 0, 1]))

    def step_fail(self, draw: random.Random, depth: int) -> None:
        """The end of this body, sometimes."""
        if draw.random() < 0.4:
            raise ExpectedError

    def step_deep(self, draw: random.Random, depth: int) -> None:
        """Through C and back."""
        nested: list[Any] = []
        for _ in range(20):
            nested = [nested]
        assert json.loads(json.dumps(nested)) == nested
        assert sorted([3, 1, 2], key=lambda item: (filar.yield_(), item)[1]) == [1, 2, 3]

    def step_context(self, draw: random.Random, depth: int) -> None:
        """Its own decimal context, over a yield."""
        with decimal.localcontext() as context:
            context.prec = 5
            filar.yield_()
            assert decimal.getcontext().prec == 5


def mix(seconds: float, workers: int, seed: int, preempt_ms: float | None = 1.0 if PREEMPTS else None) -> Outcome:
    """Runs it for so long; the outcome is not checked yet."""
    outcome = Outcome(workers, seed)
    shared, draw, start = Mix(outcome), random.Random(seed), time.monotonic()

    def one_batch() -> None:
        children = [filar.spawn(shared.body, draw.random(), 0) for _ in range(BATCH)]
        for child in children:
            failure = child.exception()
            if failure is not None and not isinstance(failure, (ExpectedError, filar.CancelledError)):
                outcome.unexpected.append(repr(failure))

    def main() -> None:
        for batch in itertools.count():
            if batch >= BATCHES_MIN and time.monotonic() - start >= seconds:
                break
            one_batch()
            if not outcome.resident or time.monotonic() - start - outcome.resident[-1][0] > seconds / 200:
                gc.collect()
                outcome.resident.append((time.monotonic() - start, resident_bytes()))
        gc.collect()
        outcome.resident.append((time.monotonic() - start, resident_bytes()))

    def unraisable(told: Any) -> None:
        # Failures of those that nobody joined are part of it.
        if not isinstance(told.exc_value, (ExpectedError, filar.CancelledError)):
            outcome.unexpected.append(f"{told.exc_value!r} in {told.object!r}")

    gc.collect()  # what was there before is not part of it
    before, sys.unraisablehook = sys.unraisablehook, unraisable
    outcome.states_before = thread_states()
    try:
        with filar.GreenRuntime(workers, preempt_ms=preempt_ms) as runtime:
            runtime.spawn(main).result()
            outcome.preemptions = runtime.statistics().preemptions
        gc.collect()
        outcome.states_after = thread_states()
    finally:
        sys.unraisablehook = before
    return outcome


def run_all() -> None:
    """As a program: says each outcome, and ends with 1 if one of them is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600, help="for all numbers of workers together")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {'with' if hasattr(sys, 'gettotalrefcount') else 'without'} assertions")
    for workers in options.workers:
        outcome = mix(options.seconds / len(options.workers), workers, options.seed)
        print(outcome, flush=True)
        outcome.check()
    print("nothing is left behind")


if __name__ == "__main__":
    run_all()
