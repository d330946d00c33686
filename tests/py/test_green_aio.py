"""asyncio beside green threads, both ways."""

import asyncio
import contextvars
import threading
from typing import Any

import pytest

import filar
from filar import aio


async def double(x: int) -> int:
    """Takes a moment."""
    await asyncio.sleep(0.001)
    return 2 * x


def test_a_coroutine_awaits_green_threads() -> None:
    async def main(runtime: Any) -> list[int]:
        greens = [runtime.spawn(lambda i=i: (filar.sleep(0.001), i)[1]) for i in range(10)]
        first = await greens[0]
        return [first, *await asyncio.gather(*(aio.wrap(green) for green in greens[1:]))]

    with filar.GreenRuntime(2) as runtime:
        assert asyncio.run(main(runtime)) == list(range(10))


def test_a_coroutine_awaits_futures_of_a_pool() -> None:
    async def main(pool: filar.ThreadPoolExecutor) -> list[int]:
        futures = [pool.submit(pow, i, 2) for i in range(10)]
        return await asyncio.gather(*(aio.wrap(future) for future in futures))

    with filar.ThreadPoolExecutor(2) as pool:
        assert asyncio.run(main(pool)) == [i * i for i in range(10)]


def test_failures_and_cancelling_cross_to_asyncio() -> None:
    async def main(runtime: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            await runtime.spawn(lambda: 1 / 0)
        cancelled = runtime.spawn(filar.sleep, None)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        waits = runtime.spawn(filar.sleep, None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.wrap(waits), 0.01)
        while not waits.done():
            await asyncio.sleep(0.001)
        assert waits.cancelled()
        with pytest.raises(RuntimeError):
            await runtime.spawn(next, iter(()))

    with filar.GreenRuntime() as runtime:
        asyncio.run(main(runtime))


def test_a_green_thread_runs_a_coroutine_and_leaves_its_worker_free() -> None:
    def main() -> None:
        children = [filar.spawn(aio.run, double(i)) for i in range(20)]
        assert [child.result() for child in children] == [2 * i for i in range(20)]

    filar.run(main)
    assert aio.run(double(4)) == 8


def test_failures_come_back_from_coroutines() -> None:
    async def fail() -> None:
        raise KeyError("coroutine")

    def main() -> None:
        with pytest.raises(KeyError, match="coroutine"):
            aio.run(fail())

    filar.run(main)


def test_a_cancelled_green_thread_cancels_its_coroutine() -> None:
    events: list[str] = []

    async def waits() -> None:
        events.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    def main() -> None:
        child = filar.spawn(aio.run, waits())
        while not events:
            filar.sleep(0.001)
        child.cancel()
        assert isinstance(child.exception(), filar.CancelledError)
        while len(events) < 2:
            filar.sleep(0.001)

    filar.run(main)
    assert events == ["begun", "cancelled"]


def test_a_coroutine_has_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def read() -> int:
        return variable.get()

    def main() -> int:
        variable.set(3)
        return int(aio.run(read()))

    assert filar.run(main) == 3


def test_a_loop_thread_ends_with_its_block() -> None:
    with aio.LoopThread("own") as loop:
        assert loop.run(double(1)) == 2
        forgotten = loop.submit(asyncio.sleep(60))
    assert forgotten.done()
    assert not any(thread.name == "own" for thread in threading.enumerate())
    with pytest.raises(filar.WrongStateError):
        loop.submit(double(1))


def test_a_loop_thread_does_not_wait_for_itself() -> None:
    with aio.LoopThread() as loop:

        async def again() -> None:
            with pytest.raises(filar.WrongStateError):
                loop.run(double(1))

        loop.run(again())


def test_a_coroutine_may_wait_for_green_threads_that_wait_for_coroutines() -> None:
    async def outer(depth: int, runtime: Any) -> int:
        if depth == 0:
            return 0
        return 1 + int(await runtime.spawn(aio.run, outer(depth - 1, runtime)))

    with filar.GreenRuntime() as runtime:
        assert runtime.spawn(aio.run, outer(5, runtime)).result() == 5
