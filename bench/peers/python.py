"""The Python side of `make bench-green-python`: the same lines for filar, greenlet, gevent, asyncio and threads.

    python python.py PEER --lines       which lines it knows
    python python.py PEER LINE          prints `LINE METRIC VALUE UNIT` for each sample

Values are per operation. Each has its CPU time beside it (`METRIC.cpu`): with one worker that is what counts.
"""

import asyncio
import collections
import contextlib
import gc
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

SAMPLES = 3
SWITCHES = 100_000
READY = 1_000
SPAWNS = 20_000
PARKED = int(os.environ.get("PEER_PARKED_PYTHON", "100000"))
HANDOFFS = 20_000
LEAVES_DEPTH = 5  # 10 ** 5 leaves


@contextlib.contextmanager
def sample(line: str, metric: str, operations: int, unit: str = "ns", scale: float = 1e9) -> Iterator[None]:
    """Prints what the block took per operation, by the clock and in CPU time."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(line, metric, wall * scale / operations, unit)
    print(line, metric + ".cpu", cpu * scale / operations, unit)


def resident() -> int:
    """Bytes of this process in memory, page tables included."""
    with open("/proc/self/status") as file:
        fields = dict(row.split(":", 1) for row in file)
    return sum(int(fields[name].split()[0]) for name in ("VmRSS", "VmPTE")) * 1024


def noop() -> None:
    """The body of what is spawned."""


class Filar:
    """Ours, one worker."""

    def __init__(self) -> None:
        import filar
        import filar.green

        self.filar = filar
        self.run = filar.run

    def y1(self) -> None:
        """Two that yield to each other."""
        self._ready("Y1", "switch", 2, SWITCHES)

    def y2(self) -> None:
        """A thousand that yield."""
        self._ready("Y2", "yield_1000", READY, SWITCHES * 2 // READY)

    def _ready(self, line: str, metric: str, count: int, turns: int) -> None:
        yield_, spawn = self.filar.yield_, self.filar.spawn

        def body() -> None:
            for _ in range(turns):
                yield_()

        def main() -> None:
            for _ in range(SAMPLES):
                children = [spawn(body) for _ in range(count)]
                with sample(line, metric, count * turns):
                    for child in children:
                        child.join()

        self.run(main)

    def y3(self) -> None:
        """One after the other."""
        spawn = self.filar.spawn

        def main() -> None:
            for _ in range(SAMPLES):
                with sample("Y3", "spawn_join", SPAWNS):
                    for _ in range(SPAWNS):
                        spawn(noop).join()

        self.run(main)

    def y4(self) -> None:
        """Parked in a sleep."""

        def main() -> None:
            warm = self.filar.spawn(noop)
            warm.join()
            gc.collect()
            before = resident()
            children = [self.filar.spawn(self.filar.sleep, None) for _ in range(PARKED)]
            self.filar.sleep(0.01)
            while not children[-1].state.startswith("parked"):
                self.filar.sleep(0.01)
            print("Y4 bytes", (resident() - before) / PARKED, "B")
            for child in children:
                child.cancel()

        self.run(main)

    def y5(self) -> None:
        """Two channels between two."""
        channel = getattr(self.filar, "Channel", None)
        if channel is None:
            print("skip Y5 no channel in this build")
            return

        def main() -> None:
            there, back = channel(), channel()

            def answer() -> None:
                for _ in range(HANDOFFS):
                    back.send(there.receive())

            for _ in range(SAMPLES):
                child = self.filar.spawn(answer)
                with sample("Y5", "handoff", 2 * HANDOFFS):
                    for i in range(HANDOFFS):
                        there.send(i)
                        back.receive()
                child.join()

        self.run(main)

    def y6(self) -> None:
        """Each node joins its ten; children run first."""
        spawn = self.filar.green.spawn_first

        def node(number: int, depth: int) -> int:
            if depth == 0:
                return number
            return sum([c.result() for c in [spawn(node, number * 10 + i, depth - 1) for i in range(10)]])

        def main() -> None:
            with sample("Y6", "skynet", 1, "ms", 1e3):
                assert node(0, LEAVES_DEPTH) == 4999950000

        for _ in range(2):
            self.run(main)

    def y7(self) -> None:
        """From the kill to the exception, in the main thread."""
        sent = [0.0]

        def interrupt() -> None:
            self.filar.sleep(0.05)
            sent[0] = time.perf_counter()
            os.kill(os.getpid(), signal.SIGINT)

        def main() -> None:
            self.filar.spawn(interrupt)
            self.filar.sleep(None)

        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        for _ in range(SAMPLES):
            try:
                self.run(main)
            except KeyboardInterrupt:
                print("Y7 interrupt", (time.perf_counter() - sent[0]) * 1e3, "ms")


class Greenlet:
    """Bare greenlets: direct switches, and a hub with a deque as frameworks have."""

    def __init__(self) -> None:
        import greenlet

        self.greenlet = greenlet

    def y1(self) -> None:
        """Two that switch to each other."""
        for _ in range(SAMPLES):
            other: Any = None

            def body() -> None:
                parent = self.greenlet.getcurrent().parent
                while True:
                    parent.switch()

            other = self.greenlet.greenlet(body)
            other.switch()
            switch = other.switch
            with sample("Y1", "switch", 2 * SWITCHES):
                for _ in range(SWITCHES):
                    switch()

    def y2(self) -> None:
        """A thousand in a ring, and through a hub."""
        turns = SWITCHES * 2 // READY
        for _ in range(SAMPLES):
            ready: collections.deque[Any] = collections.deque()
            hub = self.greenlet.getcurrent()

            def body(ready: Any = ready, hub: Any = hub) -> None:
                me = self.greenlet.getcurrent()
                for _ in range(turns):
                    ready.append(me)
                    hub.switch()

            ready.extend(self.greenlet.greenlet(body) for _ in range(READY))
            with sample("Y2", "yield_1000", READY * turns):
                while ready:
                    ready.popleft().switch()

    def y3(self) -> None:
        """Made and run to the end."""
        for _ in range(SAMPLES):
            with sample("Y3", "spawn_join", SPAWNS):
                for _ in range(SPAWNS):
                    self.greenlet.greenlet(noop).switch()

    def y4(self) -> None:
        """Switched away from."""
        parent = self.greenlet.getcurrent()
        before = resident()
        kept = [self.greenlet.greenlet(parent.switch) for _ in range(PARKED)]
        for one in kept:
            one.switch()
        print("Y4 bytes", (resident() - before) / PARKED, "B")


class Gevent:
    """gevent without patching."""

    def __init__(self) -> None:
        import gevent
        import gevent.event
        import gevent.queue

        self.gevent = gevent

    def y1(self) -> None:
        """Two that sleep(0)."""
        self._ready("Y1", "switch", 2, SWITCHES // 4)

    def y2(self) -> None:
        """A thousand that do."""
        self._ready("Y2", "yield_1000", READY, SWITCHES // 4 // READY)

    def _ready(self, line: str, metric: str, count: int, turns: int) -> None:
        sleep = self.gevent.sleep

        def body() -> None:
            for _ in range(turns):
                sleep(0)

        for _ in range(SAMPLES):
            children = [self.gevent.spawn(body) for _ in range(count)]
            with sample(line, metric, count * turns):
                self.gevent.joinall(children)

    def y3(self) -> None:
        """One after the other."""
        for _ in range(SAMPLES):
            with sample("Y3", "spawn_join", SPAWNS // 4):
                for _ in range(SPAWNS // 4):
                    self.gevent.spawn(noop).join()

    def y4(self) -> None:
        """Waiting for an event."""
        event = self.gevent.event.Event()
        before = resident()
        kept = [self.gevent.spawn(event.wait) for _ in range(PARKED)]
        self.gevent.sleep(0)
        self.gevent.sleep(0)
        print("Y4 bytes", (resident() - before) / len(kept), "B")
        os._exit(0)  # a hundred thousand would take long to wake

    def y5(self) -> None:
        """Two queues between two."""
        for _ in range(SAMPLES):
            there, back = self.gevent.queue.Queue(), self.gevent.queue.Queue()

            def answer(there: Any = there, back: Any = back) -> None:
                for _ in range(HANDOFFS):
                    back.put(there.get())

            self.gevent.spawn(answer)
            with sample("Y5", "handoff", 2 * HANDOFFS):
                for i in range(HANDOFFS):
                    there.put(i)
                    back.get()

    def y6(self) -> None:
        """Each node joins its ten."""
        spawn = self.gevent.spawn

        def node(number: int, depth: int) -> int:
            if depth == 0:
                return number
            return sum([c.get() for c in [spawn(node, number * 10 + i, depth - 1) for i in range(10)]])

        with sample("Y6", "skynet", 1, "ms", 1e3):
            assert node(0, LEAVES_DEPTH) == 4999950000


class Asyncio:
    """The event loop of the standard library."""

    def y1(self) -> None:
        """Two that sleep(0)."""
        self._ready("Y1", "switch", 2, SWITCHES // 4)

    def y2(self) -> None:
        """A thousand that do."""
        self._ready("Y2", "yield_1000", READY, SWITCHES // READY)

    def _ready(self, line: str, metric: str, count: int, turns: int) -> None:
        async def body() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        async def main() -> None:
            children = [asyncio.create_task(body()) for _ in range(count)]
            with sample(line, metric, count * turns):
                for child in children:
                    await child

        for _ in range(SAMPLES):
            asyncio.run(main())

    def y3(self) -> None:
        """One after the other."""

        async def body() -> None:
            pass

        async def main() -> None:
            with sample("Y3", "spawn_join", SPAWNS // 2):
                for _ in range(SPAWNS // 2):
                    await asyncio.create_task(body())

        for _ in range(SAMPLES):
            asyncio.run(main())

    def y4(self) -> None:
        """Waiting for an event."""

        async def main() -> None:
            event = asyncio.Event()
            before = resident()
            kept = [asyncio.create_task(event.wait()) for _ in range(PARKED)]
            await asyncio.sleep(0)
            print("Y4 bytes", (resident() - before) / PARKED, "B")
            event.set()
            await asyncio.gather(*kept)

        asyncio.run(main())

    def y5(self) -> None:
        """Two queues between two."""

        async def main() -> None:
            there: asyncio.Queue[int] = asyncio.Queue()
            back: asyncio.Queue[int] = asyncio.Queue()

            async def answer() -> None:
                for _ in range(HANDOFFS):
                    await back.put(await there.get())

            child = asyncio.create_task(answer())
            with sample("Y5", "handoff", 2 * HANDOFFS):
                for i in range(HANDOFFS):
                    await there.put(i)
                    await back.get()
            await child

        for _ in range(SAMPLES):
            asyncio.run(main())

    def y6(self) -> None:
        """Each node awaits its ten."""

        async def node(number: int, depth: int) -> int:
            if depth == 0:
                return number
            children = [asyncio.create_task(node(number * 10 + i, depth - 1)) for i in range(10)]
            return sum([await child for child in children])

        async def main() -> None:
            with sample("Y6", "skynet", 1, "ms", 1e3):
                assert await node(0, LEAVES_DEPTH) == 4999950000

        for _ in range(2):
            asyncio.run(main())


class Threads:
    """Kernel threads of the standard library."""

    def y3(self) -> None:
        """One after the other."""
        for _ in range(SAMPLES):
            with sample("Y3", "spawn_join", SPAWNS // 10):
                for _ in range(SPAWNS // 10):
                    thread = threading.Thread(target=noop)
                    thread.start()
                    thread.join()

    def y5(self) -> None:
        """Two queues between two."""
        for _ in range(SAMPLES):
            there: queue.SimpleQueue[int] = queue.SimpleQueue()
            back: queue.SimpleQueue[int] = queue.SimpleQueue()
            count = HANDOFFS // 4

            def answer(there: Any = there, back: Any = back, count: int = count) -> None:
                for _ in range(count):
                    back.put(there.get())

            threading.Thread(target=answer, daemon=True).start()
            with sample("Y5", "handoff", 2 * count):
                for i in range(count):
                    there.put(i)
                    back.get()


class Floor:
    """What Python itself takes: a generator's next(), the cheapest switch there is."""

    def y1(self) -> None:
        """next() and yield."""

        def forever() -> Iterator[None]:
            while True:
                yield

        for _ in range(SAMPLES):
            step = forever().__next__
            with sample("Y1", "switch", 2 * SWITCHES):
                for _ in range(SWITCHES):
                    step()


PEERS: dict[str, Callable[[], Any]] = {
    "filar": Filar,
    "floor": Floor,
    "greenlet": Greenlet,
    "gevent": Gevent,
    "asyncio": Asyncio,
    "threads": Threads,
}


def main(arguments: list[str]) -> int:
    """Prints the lines a peer knows (none if it is not installed), or the samples of one."""
    name, line = arguments
    kind: Any = PEERS[name]
    lines = [method.upper() for method in vars(kind) if method.startswith("y")]
    if line == "--lines":
        with contextlib.suppress(ImportError):
            kind()
            print(*lines)
        return 0
    getattr(kind(), line.lower())()
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
