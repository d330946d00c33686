"""From records to lives: who existed from when to when, in which state, on which worker, woken by whom.

One pass over the records in order of time. Each kind of record is one method; a record about something that was
never heard of before (it was there before the trace, or its beginning was overwritten) begins its life.

A green thread that leaves its worker is seen twice: the next one's "run" ends its time, and the "park", "yield" or
"end" that follows on the same kernel thread says where it went. In between its state is LEFT.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filar.watching.records import EVENT, EVENT_NAMES, WAIT_NAMES, texts

__all__ = ["STATES", "Life", "Lives", "Span", "Wake"]

EXECUTE = "execute"
READY = "ready"  # runnable, waits for its worker
PREEMPTED = "preempted"  # the same, and it did not ask for it
SYNCHRONISE = "synchronise"  # waits for another thread: lock, queue, join
IO = "I/O"
SLEEP = "sleep"
GIL = "GIL"  # waits for the interpreter lock
BLOCKED = "blocked call"  # in the kernel or a foreign library, between blocking() and its end
IDLE = "no work"  # a worker that has none

ELSEWHERE = "not waiting in filar"  # a kernel thread that is no worker: it runs, or the kernel knows what it waits for

STATES = (EXECUTE, READY, PREEMPTED, SYNCHRONISE, IO, SLEEP, GIL, BLOCKED, IDLE, ELSEWHERE)
_LEFT = "left"

_WOKEN, _TIMED_OUT, _CANCELLED, _POSTED, _EARLY = range(5)
_HOW = ("woken", "timed out", "cancelled", "woken", "woken")
_NUMBER_MASK = (1 << 48) - 1


def _state_of_wait(why: str) -> str:
    """By the name that the C core gives to a wait."""
    if why == "sleep":
        return SLEEP
    return IO if why.endswith("fd") else SYNCHRONISE


class Span(NamedTuple):
    """One stretch of a life: [start_ns, end_ns) on CLOCK_MONOTONIC."""

    state: str
    start_ns: int
    end_ns: int
    why: str = ""  # what it waited for
    worker: int = 0  # where it ran; 0: on none


@dataclass(eq=False)
class Life:
    """A kernel thread, a green thread, or a call of a pool or executor."""

    kind: str  # "kernel thread", "green thread", "call"
    number: int  # the kernel's id; the number in its runtime; which call
    name: str = ""
    born_ns: int = 0
    ended_ns: int | None = None  # None: not before the trace did
    spawned_by: Life | None = None
    spans: list[Span] = field(default_factory=list)
    label: str = ""  # unique in its trace

    def time_in(self, state: str) -> int:
        """Nanoseconds in that state."""
        return sum(span.end_ns - span.start_ns for span in self.spans if span.state == state)

    def workers(self) -> list[int]:
        """The workers it ran on, in order, without repetition in a row."""
        places = [span.worker for span in self.spans if span.state == EXECUTE and span.worker]
        return [place for i, place in enumerate(places) if i == 0 or places[i - 1] != place]

    def __repr__(self) -> str:
        return f"<{self.kind} {self.label or self.name!r}: {len(self.spans)} spans>"


class Wake(NamedTuple):
    """Somebody made a waiting thread ready."""

    time_ns: int
    by: Life | None  # None: a timer, or whoever is not known
    whom: Life
    how: str  # "woken", "timed out", "cancelled"


@dataclass(eq=False)
class _Open:
    """The span that a life is in."""

    life: Life
    state: str
    since: int
    why: str = ""
    worker: int = 0

    def change(self, state: str, t: int, why: str = "", worker: int = 0) -> None:
        if self.state != _LEFT and t > self.since:
            self.life.spans.append(Span(self.state, self.since, t, self.why, self.worker))
        self.state, self.since, self.why, self.worker = state, t, why, worker


class Lives:
    """What the records of a trace say, from `start_ns` to `end_ns`.

    `all` in order of birth; `wakes` in order of time; `worker_names` by place, and `asleep` of each.
    """

    def __init__(
        self, events: NDArray[Any], start_ns: int, end_ns: int, thread_names: Mapping[int, str] | None = None
    ) -> None:
        self.start_ns, self.end_ns = start_ns, end_ns
        self.all: list[Life] = []
        self.wakes: list[Wake] = []
        self.asleep: dict[int, list[Span]] = defaultdict(list)
        self.worker_threads: dict[int, int] = {}
        self.waiting_calls: list[tuple[int, int]] = []  # (time, +1 or -1)
        self._place_of: dict[int, int] = {}
        self._open: dict[Any, _Open] = {}
        self._on_worker: dict[int, _Open] = {}
        self._on_thread: dict[int, list[_Open]] = defaultdict(list)  # calls, the innermost last
        self._preempted: set[int] = set()
        self._woken_early: dict[int, Life | None] = {}
        self._submitted: dict[Any, deque[_Open]] = defaultdict(deque)
        self._unparked: dict[int, Life] = {}
        self._just_ended: dict[int, Life] = {}  # by kernel thread: its last record was this end
        self._names = {event: texts(events, event) for event in ("green-name", "thread-name")}
        self._names["thread-name"].update(thread_names or {})
        self._task_names: dict[int, str] = {}  # in order of time: an address may be another task's later
        self._calls = 0
        self._pass(events)
        self._close()
        self._label()

    # ---- the pass ----------------------------------------------------------------------------------------------

    def _pass(self, events: NDArray[Any]) -> None:
        handlers: list[Callable[..., None] | None] = [
            getattr(self, "_" + name.replace("-", "_"), None) for name in EVENT_NAMES
        ]
        end = EVENT["green-end"]
        names = ("event", "time_ns", "subject", "object", "argument", "thread")
        columns = [events[name].tolist() for name in names]
        for event, t, subject, about, argument, thread in zip(*columns, strict=True):
            handler = handlers[event] if event < len(handlers) else None
            if handler is not None:
                handler(t, subject, about, argument, thread)
            if event != end:
                self._just_ended.pop(thread, None)

    def _close(self) -> None:
        for waiting in self._submitted.values():
            for one in waiting:
                one.change(_LEFT, self.end_ns)
        for one in self._open.values():
            one.change(_LEFT, self.end_ns)
        for one in [call for calls in self._on_thread.values() for call in calls]:
            one.change(_LEFT, self.end_ns)
        for spans in self.asleep.values():
            if spans and spans[-1].end_ns == 0:
                spans[-1] = spans[-1]._replace(end_ns=self.end_ns)
        workers = {*self.worker_threads.values(), *(-place for place in self.places() if place < 0)}
        for life in self.of_kind("kernel thread"):
            if life.number not in workers:
                life.spans = [s._replace(state=ELSEWHERE) if s.state == EXECUTE else s for s in life.spans]
        self.all = [life for life in self.all if life.spans or life.ended_ns is not None]
        self.all.sort(key=lambda life: life.born_ns)

    def _label(self) -> None:
        """Names are what users read, so they must tell lives apart."""
        count: dict[str, int] = defaultdict(int)
        for life in self.all:
            life.name = life.name or f"{life.kind} {life.number}"
            count[life.name] += 1
        seen: dict[str, int] = defaultdict(int)
        for life in self.all:
            seen[life.name] += 1
            life.label = life.name if count[life.name] == 1 else f"{life.name} #{seen[life.name]}"

    def _born(self, kind: str, number: int, t: int, name: str = "") -> Life:
        life = Life(kind, number, name, t)
        self.all.append(life)
        return life

    # ---- kernel threads ----------------------------------------------------------------------------------------

    def _thread(self, tid: int, t: int) -> _Open:
        one = self._open.get(("thread", tid))
        if one is None:
            name = self._names["thread-name"].get(tid, f"thread {tid}")
            one = _Open(self._born("kernel thread", tid, t, name), EXECUTE, t)
            self._open["thread", tid] = one
        return one

    def _thread_name(self, t: int, tid: int, _word: int, at: int, _thread: int) -> None:
        if at == 0:
            self._thread(tid, t)

    def _kthread_exit(self, t: int, _subject: int, _object: int, _argument: int, tid: int) -> None:
        one = self._thread(tid, t)
        one.change(_LEFT, t)
        one.life.ended_ns = t
        del self._open["thread", tid]

    def _park(self, t: int, _address: int, _object: int, reason: int, tid: int) -> None:
        why = WAIT_NAMES[reason] if 0 < reason < len(WAIT_NAMES) else ""
        state = _state_of_wait(why)
        self._thread(tid, t).change(state, t, why)
        if self._on_thread[tid]:
            self._on_thread[tid][-1].change(state, t, why, self._on_thread[tid][-1].worker)

    def _park_end(self, t: int, address: int, _object: int, _status: int, tid: int) -> None:
        one = self._thread(tid, t)
        one.change(EXECUTE, t)
        by = self._unparked.pop(address, None)
        if by is not None:
            self.wakes.append(Wake(t, by, one.life, "woken"))
        if self._on_thread[tid]:
            self._on_thread[tid][-1].change(EXECUTE, t, "", self._on_thread[tid][-1].worker)

    def _unpark(self, t: int, address: int, _object: int, _argument: int, tid: int) -> None:
        self._unparked[address] = self._who(tid, t)

    def _who(self, tid: int, t: int) -> Life:
        """What runs on that kernel thread: a call, a green thread, or nothing but itself."""
        if self._on_thread[tid]:
            return self._on_thread[tid][-1].life
        running = self._on_worker.get(self._place_of.get(tid, 0))
        return running.life if running is not None else self._thread(tid, t).life

    # ---- workers -----------------------------------------------------------------------------------------------

    def _seat(self, place: int, tid: int) -> None:
        self.worker_threads[place] = tid
        self._place_of[tid] = place

    def _worker_sleep(self, t: int, _subject: int, _object: int, place: int, tid: int) -> None:
        self._seat(place, tid)
        self._thread(tid, t).change(IDLE, t)
        self._leave(place, t)
        self.asleep[place].append(Span(IDLE, t, 0))

    def _worker_wake(self, t: int, _subject: int, _object: int, place: int, tid: int) -> None:
        self._seat(place, tid)
        self._thread(tid, t).change(EXECUTE, t)
        if self.asleep[place] and self.asleep[place][-1].end_ns == 0:
            self.asleep[place][-1] = self.asleep[place][-1]._replace(end_ns=t)

    def _blocking_begin(self, t: int, _subject: int, _object: int, place: int, tid: int) -> None:
        self._blocks(BLOCKED, t, place, tid)

    def _blocking_end(self, t: int, _subject: int, _object: int, place: int, tid: int) -> None:
        self._blocks(EXECUTE, t, place, tid)

    def _blocks(self, state: str, t: int, place: int, tid: int) -> None:
        self._thread(tid, t).change(state, t)
        running = self._on_thread[tid][-1] if self._on_thread[tid] else self._on_worker.get(place)
        if running is not None:
            running.change(state, t, "", place)

    # ---- green threads -----------------------------------------------------------------------------------------

    def _green(self, key: int, t: int, state: str = EXECUTE) -> _Open:
        one = self._open.get(key)
        if one is None:
            number = key & _NUMBER_MASK
            name = self._names["green-name"].get(key, f"green {number}")
            one = self._open[key] = _Open(self._born("green thread", number, t, name), state, t)
        return one

    def _known(self, key: int) -> Life | None:
        one = self._open.get(key) if key else None
        return one.life if one is not None else None

    def _leave(self, place: int, t: int) -> None:
        before = self._on_worker.pop(place, None)
        if before is not None and before.state in (EXECUTE, GIL, BLOCKED):
            before.change(_LEFT, t)

    def _off(self, key: int, t: int) -> tuple[_Open, int]:
        """It has left its worker: from when on."""
        one = self._green(key, t)
        since = one.since if one.state == _LEFT else t
        if self._on_worker.get(one.worker) is one:
            del self._on_worker[one.worker]
        return one, since

    def _green_spawn(self, t: int, key: int, by: int, _place: int, tid: int) -> None:
        self._open.pop(key, None)
        one = self._green(key, t, READY)
        one.life.spawned_by = self._known(by) or self._who(tid, t)

    def _green_run(self, t: int, key: int, _queued: int, place: int, tid: int) -> None:
        self._seat(place, tid)
        one = self._green(key, t, READY)
        if self._on_worker.get(place) is not one:
            self._leave(place, t)
        one.change(EXECUTE, t, "", place)
        self._on_worker[place] = one

    def _green_park(self, t: int, key: int, _object: int, reason: int, _tid: int) -> None:
        one, since = self._off(key, t)
        why = WAIT_NAMES[reason] if reason < len(WAIT_NAMES) else ""
        one.change(_state_of_wait(why), since, why)

    def _green_yield(self, _t: int, key: int, _object: int, _place: int, _tid: int) -> None:
        one, since = self._off(key, _t)
        one.change(PREEMPTED if key in self._preempted else READY, since)
        self._preempted.discard(key)

    def _green_preempt(self, _t: int, key: int, _object: int, _place: int, _tid: int) -> None:
        self._preempted.add(key)

    def _green_wake(self, t: int, key: int, by: int, how: int, tid: int) -> None:
        one = self._green(key, t, SYNCHRONISE)
        waker: Life | None = None
        if how in (_WOKEN, _POSTED):
            # A joiner is woken on the next one's stack, by the one that has just ended.
            waker = self._just_ended.get(tid) or self._known(by) or self._who(tid, t)
        if how == _EARLY:
            waker = self._woken_early.pop(key, None)
        elif one.state in (EXECUTE, GIL, BLOCKED, _LEFT):
            self._woken_early[key] = waker
            return
        if one.state not in (READY, PREEMPTED):
            one.change(READY, t)
            self.wakes.append(Wake(t, waker if how != _TIMED_OUT else None, one.life, _HOW[how]))

    def _green_end(self, t: int, key: int, _object: int, _place: int, tid: int) -> None:
        one, since = self._off(key, t)
        one.change(_LEFT, since)
        one.life.ended_ns = since
        self._just_ended[tid] = one.life
        self._open.pop(key, None)

    def _gil_wait(self, t: int, key: int, _object: int, _argument: int, _tid: int) -> None:
        one = self._open.get(key)
        if one is not None and one.state == EXECUTE:
            one.change(GIL, t, "GIL", one.worker)

    def _gil_held(self, t: int, key: int, _object: int, _argument: int, _tid: int) -> None:
        one = self._open.get(key)
        if one is not None and one.state == GIL:
            one.change(EXECUTE, t, "", one.worker)

    # ---- calls -------------------------------------------------------------------------------------------------

    def _submit(self, key: Any, t: int, name: str) -> _Open:
        self._calls += 1
        one = _Open(self._born("call", self._calls, t, name), READY, t)
        self.waiting_calls.append((t, 1))
        self._submitted[key].append(one)
        return one

    def _begin(self, key: Any, t: int, name: str, place: int, tid: int) -> None:
        """Whoever runs it was perhaps in another: a worker helps while it waits."""
        if place:
            self._seat(place, tid)
        waiting = self._submitted.get(key)
        if waiting:
            one = waiting.popleft()
            self.waiting_calls.append((t, -1))
        else:
            self._calls += 1
            one = _Open(self._born("call", self._calls, t, name), READY, t)
        one.life.name = name or one.life.name
        if self._on_thread[tid]:
            outer = self._on_thread[tid][-1]
            outer.change(SYNCHRONISE, t, "what it helps with", outer.worker)
        one.change(EXECUTE, t, "", place or -tid)
        self._on_thread[tid].append(one)

    def _finish(self, t: int, tid: int) -> None:
        if not self._on_thread[tid]:
            return
        one = self._on_thread[tid].pop()
        one.change(_LEFT, t)
        one.life.ended_ns = t
        if self._on_thread[tid]:
            outer = self._on_thread[tid][-1]
            outer.change(EXECUTE, t, "", outer.worker)

    def _call_submit(self, t: int, argument: int, body: int, _place: int, tid: int) -> None:
        self._submit((argument, body), t, f"call {body:#x}").life.spawned_by = self._who(tid, t)

    def _call_run(self, t: int, argument: int, body: int, place: int, tid: int) -> None:
        self._begin((argument, body), t, f"call {body:#x}", place, tid)

    def _call_end(self, t: int, _subject: int, _object: int, _place: int, tid: int) -> None:
        self._finish(t, tid)

    def _fork_run(self, t: int, _argument: int, body: int, place: int, tid: int) -> None:
        self._begin(None, t, f"fork {body:#x}", place, tid)

    def _loop_run(self, t: int, _loop: int, body: int, place: int, tid: int) -> None:
        self._begin(None, t, f"loop {body:#x}", place, tid)

    _fork_end = _loop_end = _call_end

    def _task_submit(self, t: int, task: int, _object: int, _argument: int, tid: int) -> None:
        self._submit(task, t, "").life.spawned_by = self._who(tid, t)

    def _task_run(self, t: int, task: int, _item: int, _argument: int, tid: int) -> None:
        self._begin(task, t, self._task_names.get(task, ""), 0, tid)

    _task_end = _call_end

    def _task_name(self, _t: int, task: int, word: int, at: int, _tid: int) -> None:
        raw = word.to_bytes(8, "little").rstrip(b"\0").decode(errors="replace")
        self._task_names[task] = raw if at == 0 else self._task_names.get(task, "") + raw

    # ---- looking -----------------------------------------------------------------------------------------------

    def of_kind(self, kind: str) -> list[Life]:
        """All of "kernel thread", "green thread" or "call"."""
        return [life for life in self.all if life.kind == kind]

    @cached_property
    def _thread_labels(self) -> dict[int, str]:
        return {life.number: life.label for life in self.of_kind("kernel thread")}

    def places(self) -> list[int]:
        """Workers that ran something or slept, in order: of runtimes and pools, then threads of executors."""
        return sorted(self._stays.keys() | self.asleep.keys(), key=lambda place: (place < 0, abs(place)))

    @cached_property
    def _stays(self) -> dict[int, list[tuple[Life, Span]]]:
        found: dict[int, list[tuple[Life, Span]]] = defaultdict(list)
        for life in self.all:
            if life.kind != "kernel thread":
                for span in life.spans:
                    if span.worker:
                        found[span.worker].append((life, span))
        return found

    def place_name(self, place: int) -> str:
        """The worker's kernel thread by name."""
        tid = -place if place < 0 else self.worker_threads.get(place, 0)
        return self._thread_labels.get(tid, f"worker {place & 0xFFFF}")

    def on_place(self, place: int) -> Iterator[tuple[Life, Span]]:
        """What ran there: green threads and calls."""
        return ((life, span) for life, span in self._stays.get(place, []) if span.state in (EXECUTE, BLOCKED, GIL))

    def count_over_time(self, states: Iterable[str], kind: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How many of that kind are in these states: times in ns, and the count from each on."""
        chosen = set(states)
        spans = [span for life in self.of_kind(kind) for span in life.spans if span.state in chosen]
        times = np.array([span.start_ns for span in spans] + [span.end_ns for span in spans], float)
        steps = np.array([1] * len(spans) + [-1] * len(spans), float)
        order = np.lexsort((steps, times))  # who leaves before who comes
        return times[order], np.cumsum(steps[order])

    def latencies_ns(self) -> NDArray[np.float64]:
        """From each wake of a green thread to its running."""
        woken: dict[int, list[int]] = defaultdict(list)
        for wake in self.wakes:
            woken[id(wake.whom)].append(wake.time_ns)
        found = []
        for life in self.of_kind("green thread"):
            times = np.array(woken.get(id(life), []), np.int64)
            starts = np.array([span.start_ns for span in life.spans if span.state == EXECUTE], np.int64)
            at = np.searchsorted(starts, times)
            seen = at < len(starts)
            found.append(starts[at[seen]] - times[seen])
        return np.concatenate(found).astype(float) if found else np.zeros(0)
