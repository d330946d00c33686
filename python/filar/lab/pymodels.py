"""Models of doing many things at once in Python, as a program that does on order what experiments compare.

Run as a script: a process for each model, so that none of them finds what another left behind (event loops, patches,
memory that was freed and not given back), and so that a notebook's own event loop is in nobody's way. A line of JSON
from standard input is an order, a line of JSON the answer: metrics, or the reason why there are none. The first order
carries the module search path, since the process is started without one. It ends with its input.

A model is a class; an order names one of its methods. Those that all have do the same thing and take the same
arguments. Times are in ns by time.perf_counter_ns(), bytes are bytes.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

MS = 1_000_000
clock = time.perf_counter_ns
Metrics = dict[str, Any]

SWITCH, SPAWN, CHANNEL = "switch", "spawn+join", "one way"
WALL, CPU, MEMORY, SWITCHES = "time", "CPU time", "memory", "kernel switches"
RESIDENT, KERNEL_STACK = "resident", "kernel stack"
WORST, WORK, STRIP = "longest wait", "work of the others", "strip"
RAN, BLOCKED = 0, 1
# What ends a stretch of running in the picture; far above the turn of all others.
_GAP_NS = MS // 2


def nothing() -> None:
    """The body of what is spawned."""


def count(steps: int) -> int:
    """A Python loop: `steps` turns of some tens of nanoseconds each."""
    total = 0
    for step in range(steps):
        total += step & 7
    return total


def on_threads(threads: int, body: Callable[[], object]) -> tuple[int, int]:
    """Runs body() on so many new threads at once; the first start and the last end by their own stamps, in ns."""
    stamps: list[tuple[int, int]] = []

    def run() -> None:
        start = time.monotonic_ns()
        body()
        stamps.append((start, time.monotonic_ns()))

    if threads == 1:
        run()
    else:
        crew = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
        for one in crew:
            one.start()
        for one in crew:
            one.join()
    return min(start for start, _ in stamps), max(end for _, end in stamps)


# ---- what is read of this process ----------------------------------------------------------------------------------


def _field(path: str, name: str) -> int:
    """Bytes of a line like "VmPTE:   44 kB"; 0 where the system does not tell."""
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def memory() -> tuple[int, int]:
    """Anonymous memory with its page tables, and kernel stacks (the whole machine's: others add noise)."""
    status = "/proc/self/status"
    return _field(status, "RssAnon") + _field(status, "VmPTE"), _field("/proc/meminfo", "KernelStack")


def grown(before: tuple[int, int], tasks: int) -> Metrics:
    """What each of the tasks has taken since."""
    now = memory()
    return {RESIDENT: (now[0] - before[0]) / tasks, KERNEL_STACK: max(0, now[1] - before[1]) / tasks}


class Meter:
    """Wall and CPU time and the kernel's context switches of a block; memory where the block says `look()`."""

    def __enter__(self) -> Meter:
        self._memory = memory()
        self.found: Metrics = {}
        self._switches = self._count()
        self._cpu, self._wall = time.process_time_ns(), clock()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = clock() - self._wall, time.process_time_ns() - self._cpu
        self.found |= {WALL: wall, CPU: cpu, SWITCHES: self._count() - self._switches}

    @staticmethod
    def _count() -> int:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_nvcsw + used.ru_nivcsw

    def look(self, tasks: int) -> None:
        """While all of them wait."""
        each = grown(self._memory, tasks)
        self.found[MEMORY] = each[RESIDENT] + each[KERNEL_STACK]


class Diary:
    """What a task among others sees of its own running: the longest time between two units, and a picture."""

    def __init__(self, begin: int) -> None:
        self.begin = self.last = self.since = begin
        self.worst = self.units = 0
        self.strip: list[tuple[int, int, int]] = []

    def unit(self, work: Callable[[], object]) -> None:
        """Does a unit of work; what lies between two readings of the clock, the task did not run."""
        now = clock()
        self._gap(self.last, now)
        work()
        self.last = clock()
        self._gap(now, self.last)  # interrupted in the middle: a wait as any other
        self.units += 1

    def _gap(self, begin: int, end: int) -> None:
        self.worst = max(self.worst, end - begin)
        if end - begin > _GAP_NS:
            self._note(RAN, self.since, begin)
            self.since = end

    def blocked(self, begin: int) -> None:
        """A call that began then has just come back."""
        self._note(RAN, self.since, begin)
        self.since = self.last = clock()
        self._note(BLOCKED, begin, self.last)

    def _note(self, kind: int, begin: int, end: int) -> None:
        if end > begin:
            self.strip.append((kind, begin - self.begin, end - self.begin))

    def close(self) -> None:
        """The last stretch."""
        self._note(RAN, self.since, self.last)


def repeated(turns: int, batch: Callable[[], object]) -> int:
    """ns for `turns` batches; one before them is not counted."""
    batch()
    begin = clock()
    for _ in range(turns):
        batch()
    return clock() - begin


class Start:
    """Where tasks meet before they are measured, and the stamps: from when all are there to the last one's end."""

    def __init__(self, tasks: int) -> None:
        self.missing, self.begin, self.end = tasks, 0, 0

    def here(self) -> None:
        """One more has begun."""
        self.missing -= 1
        self.begin = clock()

    def done(self) -> None:
        """One has ended."""
        self.end = clock()

    def per_switch(self, ready: int, turns: int) -> Metrics:
        """Each has yielded `turns` times, and once more to see that all were there."""
        return {SWITCH: (self.end - self.begin) / (ready * (turns + 1))}


class Gaps:
    """Tasks that take turns at units of work for a window; the first one causes trouble."""

    def __init__(self, tasks: int, window_ns: int, block_ns: int, unit_steps: int, trouble: str) -> None:
        self.window_ns, self.block_ns, self.steps, self.trouble = window_ns, block_ns, unit_steps, trouble
        self.tasks = self.missing = tasks
        self.diaries: list[Diary] = []
        self.begin = 0

    def here(self) -> None:
        """One more has begun, and waits until none is missing; with the last one the window begins."""
        self.missing -= 1
        if not self.missing:
            self.begin = clock()
            self.diaries = [Diary(self.begin) for _ in range(self.tasks)]

    def turns(self, number: int) -> Iterator[str]:
        """The life of one task: does a unit, then yields what it wants: "block", "yield" or "nothing"."""
        diary, deadline, steps = self.diaries[number], self.begin + self.window_ns, self.steps
        trouble = self.trouble if number == 0 else ""

        def work() -> None:
            count(steps)

        while diary.last < deadline:
            diary.unit(work)
            if trouble == "block":
                begin = clock()
                yield "block"
                diary.blocked(begin)
            yield "nothing" if trouble == "hog" else "yield"
        diary.close()

    def found(self) -> Metrics:
        """Waits and work of all but the first, and the strip of everyone."""
        others = self.diaries[1:]
        return {
            WORST: [diary.worst for diary in others],
            WORK: sum(diary.units for diary in others) * 1e9 / self.window_ns,
            STRIP: [(i, *one) for i, diary in enumerate(self.diaries) for one in diary.strip],
        }


@contextmanager
def on_one_cpu(wanted: bool) -> Iterator[None]:
    """The calling thread, and those it creates, on the lowest CPU that it may use."""
    before = os.sched_getaffinity(0)
    if wanted:
        os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        if wanted:
            os.sched_setaffinity(0, before)


# ---- the models ----------------------------------------------------------------------------------------------------


class Filar:
    """Python green threads on one worker (unless an order says otherwise)."""

    def __init__(self) -> None:
        import filar

        self.filar = filar
        self.run, self.spawn = filar.run, filar.spawn

    def switch(self, ready: int, turns: int) -> Metrics:
        """So many that yield to each other."""
        yield_, spawn, start = self.filar.yield_, self.spawn, Start(ready)

        def body() -> None:
            start.here()
            while start.missing:
                yield_()
            for _ in range(turns):
                yield_()
            start.done()

        def main() -> None:
            for child in [spawn(body) for _ in range(ready)]:
                child.join()

        self.run(main)
        return start.per_switch(ready, turns)

    def create(self, turns: int, at_once: int) -> Metrics:
        """Spawned and joined, so many at once."""
        spawn = self.spawn

        def batch() -> None:
            for child in [spawn(nothing) for _ in range(at_once)]:
                child.join()

        return {SPAWN: self.run(repeated, turns, batch) / (turns * at_once)}

    def channel(self, turns: int, queue: bool = False) -> Metrics:
        """An item there and one back."""

        def main() -> int:
            if queue:
                there, back = self.filar.SimpleQueue(), self.filar.SimpleQueue()
                put, get, answer_get, answer_put = there.put, back.get, there.get, back.put
            else:
                there, back = self.filar.Channel(), self.filar.Channel()
                put, get, answer_get, answer_put = there.send, back.receive, there.receive, back.send

            def answer() -> None:
                for _ in range(turns + 1):
                    answer_put(answer_get())

            child = self.spawn(answer)
            put(0)
            get()
            begin = clock()
            for i in range(turns):
                put(i)
                get()
            taken = clock() - begin
            child.join()
            return taken

        return {CHANNEL: self.run(main) / (2 * turns)}

    def park(self, tasks: int) -> Metrics:
        """So many that sleep for ever."""

        def main() -> Metrics:
            gate = self.filar.Event()
            self.spawn(nothing).join()
            before = memory()
            children = [self.spawn(gate.wait) for _ in range(tasks)]
            while not children[-1].state.startswith("parked"):
                self.filar.yield_()
            found = grown(before, tasks)
            gate.set()
            for child in children:
                child.join()
            return found

        return self.run(main)

    def gaps(self, call: str = "plain", preempt_ms: int = 0, **how: Any) -> Metrics:
        """Turns by yield_(); what blocks is called as it is, or through blocking()."""
        gaps = Gaps(**how)
        pause, yield_ = gaps.block_ns / 1e9, self.filar.yield_

        def body(number: int) -> None:
            gaps.here()
            while gaps.missing:
                yield_()
            for want in gaps.turns(number):
                if want == "yield":
                    yield_()
                elif want == "block" and call == "plain":
                    time.sleep(pause)
                elif want == "block":
                    self.filar.blocking(time.sleep, pause)

        def main() -> None:
            for child in [self.spawn(body, number) for number in range(gaps.tasks)]:
                child.join()

        if not preempt_ms:
            self.run(main)
        else:
            options: dict[str, Any] = {"preempt_ms": preempt_ms}
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # where it cannot preempt it says so, and why
                runtime = self.filar.GreenRuntime(1, **options)
            with runtime:
                runtime.spawn(main).result()
        return gaps.found()

    def waiting(self, tasks: int, sleeps: int, sleep_ns: int) -> Metrics:
        """Each waits for an answer, again and again."""
        sleep, pause, begun = self.filar.sleep, sleep_ns / 1e9, [0]

        def body() -> None:
            begun[0] += 1
            for _ in range(sleeps):
                sleep(pause)

        def main() -> Metrics:
            with Meter() as meter:
                children = [self.spawn(body) for _ in range(tasks)]
                while begun[0] < tasks:
                    self.filar.yield_()
                meter.look(tasks)
                for child in children:
                    child.join()
            return meter.found

        return self.run(main)

    # ---- jobs of "which-thread" ----

    def jobs(self, bodies: list[Callable[[], object]], workers: int = 1) -> int:
        """All of them, a green thread each; ns."""

        def main() -> int:
            begin = clock()
            for child in [self.spawn(body) for body in bodies]:
                child.join()
            return clock() - begin

        return self.run(main, workers=workers)


class Threads:
    """Kernel threads of the standard library."""

    def switch(self, turns: int, one_cpu: bool = False) -> Metrics:
        """Two that wake each other by two locks."""
        locks, stamps = (threading.Lock(), threading.Lock()), [0, 0]
        for lock in locks:
            lock.acquire()

        def body(mine: threading.Lock, other: threading.Lock) -> None:
            for _ in range(turns + 1):
                mine.acquire()
                other.release()

        with on_one_cpu(one_cpu):
            second = threading.Thread(target=body, args=locks)
            second.start()
            locks[0].release()
            locks[1].acquire()
            stamps[0] = clock()
            for _ in range(turns):
                locks[0].release()
                locks[1].acquire()
            stamps[1] = clock()
            second.join()
        return {SWITCH: (stamps[1] - stamps[0]) / (2 * turns)}

    def create(self, turns: int, at_once: int) -> Metrics:
        """Started and joined, so many at once."""

        def batch() -> None:
            crew = [threading.Thread(target=nothing) for _ in range(at_once)]
            for thread in crew:
                thread.start()
            for thread in crew:
                thread.join()

        return {SPAWN: repeated(turns, batch) / (turns * at_once)}

    def channel(self, turns: int, simple: bool = True, one_cpu: bool = False) -> Metrics:
        """An item there and one back."""
        import queue

        kind: Any = queue.SimpleQueue if simple else queue.Queue
        there, back = kind(), kind()

        def answer() -> None:
            for _ in range(turns + 1):
                back.put(there.get())

        with on_one_cpu(one_cpu):
            thread = threading.Thread(target=answer)
            thread.start()
            there.put(0)
            back.get()
            begin = clock()
            for i in range(turns):
                there.put(i)
                back.get()
            taken = clock() - begin
            thread.join()
        return {CHANNEL: taken / (2 * turns)}

    def park(self, tasks: int) -> Metrics:
        """Waiting for an event."""
        gate, begun = threading.Event(), threading.Semaphore(0)

        def body() -> None:
            begun.release()
            gate.wait()

        before = memory()
        crew = [threading.Thread(target=body) for _ in range(tasks)]
        try:
            for thread in crew:
                thread.start()
                begun.acquire()
            found = grown(before, tasks)
        finally:
            gate.set()
            for thread in crew:
                if thread.ident is not None:
                    thread.join()
        return found

    def gaps(self, **how: Any) -> Metrics:
        """Turns as the kernel and the GIL give them: nobody yields."""
        gaps = Gaps(**how)
        pause, gate, lock = gaps.block_ns / 1e9, threading.Event(), threading.Lock()

        def body(number: int) -> None:
            with lock:
                gaps.here()
                if not gaps.missing:
                    gate.set()
            gate.wait()
            for want in gaps.turns(number):
                if want == "block":
                    time.sleep(pause)

        crew = [threading.Thread(target=body, args=(number,)) for number in range(gaps.tasks)]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        return gaps.found()

    def waiting(self, tasks: int, sleeps: int, sleep_ns: int) -> Metrics:
        """Each waits for an answer, again and again."""
        pause, ended = sleep_ns / 1e9, [False]

        def body() -> None:
            for _ in range(sleeps):
                time.sleep(pause)
            ended[0] = True

        with Meter() as meter:
            crew = [threading.Thread(target=body) for _ in range(tasks)]
            for created, thread in enumerate(crew, 1):
                thread.start()
                # The first may have waited enough before the last is there.
                if not ended[0] and (created % 20 == 0 or created == tasks):
                    meter.look(created)
            for thread in crew:
                thread.join()
        return meter.found


class Asyncio:
    """The event loop of the standard library, a task each."""

    def __init__(self) -> None:
        import asyncio

        self.asyncio = asyncio

    def switch(self, ready: int, turns: int) -> Metrics:
        """So many that sleep(0)."""
        sleep, start = self.asyncio.sleep, Start(ready)

        async def body() -> None:
            start.here()
            while start.missing:
                await sleep(0)
            for _ in range(turns):
                await sleep(0)
            start.done()

        async def main() -> None:
            for child in [self.asyncio.create_task(body()) for _ in range(ready)]:
                await child

        self.asyncio.run(main())
        return start.per_switch(ready, turns)

    def create(self, turns: int, at_once: int) -> Metrics:
        """Created and awaited, so many at once."""
        create = self.asyncio.create_task

        async def body() -> None:
            pass

        async def batch() -> None:
            for child in [create(body()) for _ in range(at_once)]:
                await child

        async def main() -> int:
            await batch()
            begin = clock()
            for _ in range(turns):
                await batch()
            return clock() - begin

        return {SPAWN: self.asyncio.run(main()) / (turns * at_once)}

    def channel(self, turns: int) -> Metrics:
        """An item there and one back."""

        async def main() -> int:
            there: Any = self.asyncio.Queue()
            back: Any = self.asyncio.Queue()

            async def answer() -> None:
                for _ in range(turns + 1):
                    await back.put(await there.get())

            child = self.asyncio.create_task(answer())
            await there.put(0)
            await back.get()
            begin = clock()
            for i in range(turns):
                await there.put(i)
                await back.get()
            taken = clock() - begin
            await child
            return taken

        return {CHANNEL: self.asyncio.run(main()) / (2 * turns)}

    def park(self, tasks: int) -> Metrics:
        """Waiting for an event."""

        async def main() -> Metrics:
            gate = self.asyncio.Event()
            before = memory()
            children = [self.asyncio.create_task(gate.wait()) for _ in range(tasks)]
            await self.asyncio.sleep(0)
            await self.asyncio.sleep(0)
            found = grown(before, tasks)
            gate.set()
            await self.asyncio.gather(*children)
            return found

        return self.asyncio.run(main())

    def gaps(self, call: str = "plain", **how: Any) -> Metrics:
        """Turns by sleep(0); what blocks is called as it is, or by to_thread()."""
        gaps = Gaps(**how)
        pause = gaps.block_ns / 1e9

        async def body(number: int) -> None:
            gaps.here()
            while gaps.missing:
                await self.asyncio.sleep(0)
            for want in gaps.turns(number):
                if want == "yield":
                    await self.asyncio.sleep(0)
                elif want == "block" and call == "plain":
                    time.sleep(pause)
                elif want == "block":
                    await self.asyncio.to_thread(time.sleep, pause)

        async def main() -> None:
            await self.asyncio.gather(*(body(number) for number in range(gaps.tasks)))

        self.asyncio.run(main())
        return gaps.found()

    def waiting(self, tasks: int, sleeps: int, sleep_ns: int) -> Metrics:
        """Each waits for an answer, again and again."""
        pause = sleep_ns / 1e9

        async def body() -> None:
            for _ in range(sleeps):
                await self.asyncio.sleep(pause)

        async def main() -> Metrics:
            with Meter() as meter:
                children = [self.asyncio.create_task(body()) for _ in range(tasks)]
                await self.asyncio.sleep(0)
                meter.look(tasks)
                await self.asyncio.gather(*children)
            return meter.found

        return self.asyncio.run(main())

    def callbacks(self, tasks: int, sleeps: int, sleep_ns: int) -> Metrics:
        """The same without coroutines: what is to be done when the answer is there, as a function."""
        pause = sleep_ns / 1e9

        async def main() -> Metrics:
            loop = self.asyncio.get_running_loop()
            left, ended = [tasks], loop.create_future()

            def answered(steps: int) -> None:
                if steps:
                    loop.call_later(pause, answered, steps - 1)
                else:
                    left[0] -= 1
                    if not left[0]:
                        ended.set_result(None)

            with Meter() as meter:
                for _ in range(tasks):
                    answered(sleeps)
                meter.look(tasks)
                await ended
            return meter.found

        return self.asyncio.run(main())

    def jobs(self, bodies: list[Callable[[], Awaitable[object]]]) -> int:
        """All of them, a task each; ns."""

        async def main() -> int:
            begin = clock()
            await self.asyncio.gather(*(body() for body in bodies))
            return clock() - begin

        return self.asyncio.run(main())


class Greenlet:
    """Bare greenlets: switches by hand, and a queue as frameworks have."""

    def __init__(self) -> None:
        import greenlet

        self.greenlet: Any = greenlet

    def direct(self, turns: int) -> Metrics:
        """Two that switch to each other by name."""
        parent = self.greenlet.getcurrent()

        def body() -> None:
            switch = parent.switch
            for _ in range(turns + 1):
                switch()

        other = self.greenlet.greenlet(body)
        switch = other.switch
        switch()
        begin = clock()
        for _ in range(turns):
            switch()
        taken = clock() - begin
        switch()
        return {SWITCH: taken / (2 * turns)}

    def switch(self, ready: int, turns: int) -> Metrics:
        """So many in a queue, as every framework has one: back to its hub, on to the next."""
        from collections import deque

        queue: deque[Any] = deque()
        start, hub = Start(ready), self.greenlet.getcurrent()

        def body() -> None:
            me = self.greenlet.getcurrent()
            start.here()
            while start.missing:
                queue.append(me)
                hub.switch()
            for _ in range(turns):
                queue.append(me)
                hub.switch()
            start.done()

        queue.extend(self.greenlet.greenlet(body) for _ in range(ready))
        while queue:
            queue.popleft().switch()
        return start.per_switch(ready, turns)

    def create(self, turns: int, at_once: int) -> Metrics:
        """Made and run to the end."""
        make = self.greenlet.greenlet

        def batch() -> None:
            for one in [make(nothing) for _ in range(at_once)]:
                one.switch()

        return {SPAWN: repeated(turns, batch) / (turns * at_once)}

    def park(self, tasks: int) -> Metrics:
        """Switched away from."""
        parent = self.greenlet.getcurrent()
        self.greenlet.greenlet(nothing).switch()
        before = memory()
        kept = [self.greenlet.greenlet(parent.switch) for _ in range(tasks)]
        for one in kept:
            one.switch()
        return grown(before, tasks)


class Gevent:
    """gevent, without patching anything."""

    def __init__(self) -> None:
        import gevent
        import gevent.event
        import gevent.queue

        self.gevent = gevent

    def switch(self, ready: int, turns: int) -> Metrics:
        """So many that sleep(0)."""
        sleep, start = self.gevent.sleep, Start(ready)

        def body() -> None:
            start.here()
            while start.missing:
                sleep(0)
            for _ in range(turns):
                sleep(0)
            start.done()

        self.gevent.joinall([self.gevent.spawn(body) for _ in range(ready)])
        return start.per_switch(ready, turns)

    def create(self, turns: int, at_once: int) -> Metrics:
        """Spawned and joined, so many at once."""
        spawn = self.gevent.spawn

        def batch() -> None:
            for one in [spawn(nothing) for _ in range(at_once)]:
                one.join()

        return {SPAWN: repeated(turns, batch) / (turns * at_once)}

    def channel(self, turns: int) -> Metrics:
        """An item there and one back."""
        there, back = self.gevent.queue.Queue(), self.gevent.queue.Queue()

        def answer() -> None:
            for _ in range(turns + 1):
                back.put(there.get())

        child = self.gevent.spawn(answer)
        there.put(0)
        back.get()
        begin = clock()
        for i in range(turns):
            there.put(i)
            back.get()
        taken = clock() - begin
        child.join()
        return {CHANNEL: taken / (2 * turns)}

    def park(self, tasks: int) -> Metrics:
        """Waiting for an event."""
        gate = self.gevent.event.Event()
        self.gevent.spawn(nothing).join()
        before = memory()
        kept = [self.gevent.spawn(gate.wait) for _ in range(tasks)]
        self.gevent.sleep(0)
        self.gevent.sleep(0)
        return grown(before, len(kept))

    def gaps(self, call: str = "plain", **how: Any) -> Metrics:
        """Turns by sleep(0); what blocks is called as it is, or on the hub's thread pool."""
        gaps = Gaps(**how)
        pause, pool = gaps.block_ns / 1e9, self.gevent.get_hub().threadpool

        def body(number: int) -> None:
            gaps.here()
            while gaps.missing:
                self.gevent.sleep(0)
            for want in gaps.turns(number):
                if want == "yield":
                    self.gevent.sleep(0)
                elif want == "block" and call == "plain":
                    time.sleep(pause)
                elif want == "block":
                    pool.apply(time.sleep, (pause,))

        self.gevent.joinall([self.gevent.spawn(body, number) for number in range(gaps.tasks)])
        return gaps.found()

    def waiting(self, tasks: int, sleeps: int, sleep_ns: int) -> Metrics:
        """Each waits for an answer, again and again."""
        pause = sleep_ns / 1e9

        def body() -> None:
            for _ in range(sleeps):
                self.gevent.sleep(pause)

        with Meter() as meter:
            children = [self.gevent.spawn(body) for _ in range(tasks)]
            self.gevent.sleep(0)
            meter.look(tasks)
            self.gevent.joinall(children)
        return meter.found


class Runloom:
    """runloom's fibers on one hub, without patching anything."""

    def __init__(self) -> None:
        import runloom_c

        self.core = runloom_c

    def switch(self, ready: int, turns: int) -> Metrics:
        """So many that yield."""
        yield_, start = self.core.sched_yield, Start(ready)

        def body() -> None:
            start.here()
            while start.missing:
                yield_()
            for _ in range(turns):
                yield_()
            start.done()

        for _ in range(ready):
            self.core.fiber(body)
        self.core.run()
        return start.per_switch(ready, turns)

    def create(self, turns: int, at_once: int) -> Metrics:
        """Made and run to the end, so many at once."""

        def batch() -> None:
            for _ in range(at_once):
                self.core.fiber(nothing)
            self.core.run()

        return {SPAWN: repeated(turns, batch) / (turns * at_once)}

    def channel(self, turns: int) -> Metrics:
        """An item there and one back."""
        there, back, taken = self.core.Chan(), self.core.Chan(), [0]

        def ask() -> None:
            begin = clock()
            for i in range(turns):
                there.send(i)
                back.recv()
            taken[0] = clock() - begin

        def answer() -> None:
            for _ in range(turns):
                there.recv()
                back.send(None)

        self.core.fiber(ask)
        self.core.fiber(answer)
        self.core.run()
        return {CHANNEL: taken[0] / (2 * turns)}


class Floor:
    """What Python itself takes: a generator's next(), the cheapest switch there is."""

    def switch(self, turns: int) -> Metrics:
        """There and back."""

        def forever() -> Iterator[None]:
            while True:
                yield

        step = forever().__next__
        begin = clock()
        for _ in range(turns):
            step()
        return {SWITCH: (clock() - begin) / (2 * turns)}


class Counter:
    """Counts on threads: the other party of experiments about processes, and about Pythons without a GIL."""

    def count(self, threads: int, steps: int) -> Metrics:
        """`steps` steps on each; first start and last end, CLOCK_MONOTONIC in ns."""
        start, end = on_threads(threads, lambda: count(steps))
        return {"start": start, "end": end}


class Mixed:
    """Jobs of "which-thread": the same bodies by every kind of thread."""

    def __init__(self) -> None:
        import filar
        from filar._lib import ffi, lib

        self.filar, self.ffi, self.lib = filar, ffi, lib
        self.green, self.loop, self.threads = Filar(), Asyncio(), Threads()

    def compute(self, kind: str, parts: int, steps: int) -> Metrics:
        """Python code, divided."""
        return self._divided(kind, parts, lambda: count(steps // parts))

    def native(self, kind: str, parts: int, steps: int) -> Metrics:
        """A native kernel that lets go of the GIL, divided."""
        spin = self.ffi.new("filar_spin *", {"steps": 100, "sink": self.ffi.NULL})
        return self._divided(kind, parts, lambda: self.lib.filar_kernel_spin(0, steps // parts, spin))

    def _divided(self, kind: str, parts: int, body: Callable[[], object]) -> Metrics:
        return {WALL: self._run(kind, [body] * parts, workers=parts)}

    def short(self, kind: str, tasks: int, steps: int) -> Metrics:
        """Many short pieces of Python code."""
        return {WALL: self._run(kind, [lambda: count(steps)] * tasks)}

    def block(self, kind: str, tasks: int, sleep_ns: int) -> Metrics:
        """Calls of a library that block the kernel thread."""
        pause = sleep_ns / 1e9

        def body() -> None:
            if kind == "green":
                self.filar.blocking(time.sleep, pause)
            else:
                time.sleep(pause)

        return {WALL: self._run(kind, [body] * tasks, workers=1, room=tasks)}

    def wait(self, kind: str, tasks: int, sleep_ns: int) -> Metrics:
        """Tasks that wait for an answer, by what their kind has for it."""
        pause = sleep_ns / 1e9
        if kind == "asyncio":
            return {WALL: self.loop.jobs([lambda: self.loop.asyncio.sleep(pause)] * tasks)}
        sleep = self.filar.sleep if kind == "green" else time.sleep
        return {WALL: self._run(kind, [lambda: sleep(pause)] * tasks, room=32)}

    def handoff(self, kind: str, items: int) -> Metrics:
        """Items to another task, each answered."""
        model: Any = {"threads": self.threads, "green": self.green, "asyncio": self.loop}[kind]
        return {WALL: 2 * items * model.channel(turns=items)[CHANNEL]}

    def _run(self, kind: str, bodies: list[Callable[[], object]], workers: int = 1, room: int | None = None) -> int:
        """All bodies by one kind; ns from the first to the last, what the kind needs (threads, loops) included."""
        if kind == "green":
            return self.green.jobs(bodies, workers)
        if kind == "asyncio":
            # In the loop where a body is short; by a helper thread where it would stop the loop.
            apart = room is not None or workers > 1
            return self.loop.jobs([self._coroutine(body, apart) for body in bodies])
        begin = clock()
        if kind == "inline":
            for body in bodies:
                body()
        elif kind == "pool":
            with self.filar.ThreadPoolExecutor(room or workers) as pool:
                for future in [pool.submit(body) for body in bodies]:
                    future.result()
        else:
            crew = [threading.Thread(target=body) for body in bodies]
            for thread in crew:
                thread.start()
            for thread in crew:
                thread.join()
        return clock() - begin

    def _coroutine(self, body: Callable[[], object], apart: bool) -> Callable[[], Awaitable[object]]:
        if apart:
            return lambda: self.loop.asyncio.to_thread(body)

        async def run() -> None:
            body()

        return run


MODELS: dict[str, Callable[[], Any]] = {
    "filar": Filar,
    "threads": Threads,
    "asyncio": Asyncio,
    "greenlet": Greenlet,
    "gevent": Gevent,
    "runloom": Runloom,
    "floor": Floor,
    "counter": Counter,
    "mixed": Mixed,
}


# ---- orders --------------------------------------------------------------------------------------------------------


def answer(model: Any, order: dict[str, Any]) -> Metrics:
    """Does one order; whatever goes wrong is an answer, too."""
    what, warm = order.pop("do"), order.pop("warm", None)
    try:
        if warm is not None:
            # Pages shared with the parent of a fork are copied when they are first written: not in the measurement.
            getattr(model, what)(**warm)
        return getattr(model, what)(**order)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__}


def in_a_fork(model: Any, order: dict[str, Any]) -> Metrics:
    """Does it in a forked child, which begins with nothing allocated by the orders before."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(answer(model, order)).encode())
        finally:
            os._exit(0)  # a hundred thousand parked tasks would take long to go
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text) if text else {"error": "the child died"}


def serve(name: str) -> None:
    """Orders in, answers out, until the input ends."""

    def tell(found: Metrics) -> None:
        print(json.dumps(found), flush=True)

    tell({})
    first = json.loads(sys.stdin.readline() or "{}")
    sys.path[:] = first.get("path", sys.path)
    try:
        model = MODELS[name]()
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {error}"})
        return
    tell({})
    # What is alive now stays; a collection in the middle of a sample would be measured with it.
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        order = json.loads(line)
        fork = order.pop("fork", False)
        tell(in_a_fork(model, order) if fork else answer(model, order))
        gc.collect()


if __name__ == "__main__":
    # Ctrl-C reaches the whole terminal; the parent decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(sys.argv[1])
