"""asyncio beside green threads, both ways."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

import filar
from filar import aio
from states import wait_until


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
    late = double(1)
    with pytest.raises(filar.WrongStateError):
        loop.submit(late)
    assert inspect.getcoroutinestate(late) == inspect.CORO_CLOSED
    loop.close()


def test_a_loop_thread_does_not_wait_for_itself() -> None:
    with aio.LoopThread() as loop:

        async def again() -> None:
            with pytest.raises(filar.WrongStateError):
                loop.run(double(1))
            with pytest.raises(filar.WrongStateError):
                loop.close()

        loop.run(again())
        assert loop.run(double(1)) == 2


# ---- submit() and cancel() while the loop ends ---------------------------------------------------------------------


class Held:
    """A place at which another thread stops until it may go on."""

    def __init__(self) -> None:
        self.reached, self.may_go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.may_go.wait(60)


def told_to_stop(loop: aio.LoopThread) -> tuple[threading.Thread, threading.Event]:
    """Another thread that closes it, and an event: it has told the loop to stop."""
    told, tell = threading.Event(), loop.loop.call_soon_threadsafe

    def spied(*args: Any, **kwargs: Any) -> Any:
        try:
            return tell(*args, **kwargs)
        finally:
            told.set()

    loop.loop.call_soon_threadsafe = spied  # type: ignore[method-assign]
    closer = threading.Thread(target=loop.close)
    closer.start()
    return closer, told


def begun(loop: aio.LoopThread, when_cancelled: Callable[[], None]) -> Any:
    """The outcome of a coroutine that waits, and calls this when it is cancelled."""
    begins = threading.Event()

    async def waits() -> None:
        begins.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            when_cancelled()
            for _ in range(10):  # its clean-up takes the loop some turns
                await asyncio.sleep(0)
            raise

    outcome = loop.submit(waits())
    assert begins.wait(60)
    return outcome


def held_before_it_stops(loop: aio.LoopThread, held: Held) -> None:
    loop.loop.call_soon_threadsafe(held)
    assert held.reached.wait(60)


def held_by_what_it_cancels(loop: aio.LoopThread, held: Held) -> None:
    begun(loop, held)


def held_by_a_generator_that_ends(loop: aio.LoopThread, held: Held) -> None:
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            held()

    async def first() -> int:
        loop.kept = numbers()  # type: ignore[attr-defined]
        return await anext(loop.kept)  # type: ignore[attr-defined]

    assert loop.run(first()) == 1


def held_before_it_is_closed(loop: aio.LoopThread, held: Held) -> None:
    close = loop.loop.close

    def after_that() -> None:
        held()
        close()

    loop.loop.close = after_that  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "hold",
    [held_before_it_stops, held_by_what_it_cancels, held_by_a_generator_that_ends, held_before_it_is_closed],
)
def test_what_is_submitted_while_the_loop_ends_is_done_when_it_has(hold: Callable[..., None]) -> None:
    loop, held = aio.LoopThread(), Held()
    hold(loop, held)
    closer, told = told_to_stop(loop)
    assert told.wait(60)
    assert held.reached.wait(60)
    coroutine = asyncio.sleep(3600)
    outcome = loop.submit(coroutine)
    held.may_go.set()
    closer.join()
    assert outcome.done()
    assert isinstance(outcome.exception(), asyncio.CancelledError)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_what_is_cancelled_may_need_the_loop_for_its_clean_up() -> None:
    """And what it begins is cancelled in turn, for which it need not wait: it would wait for ever."""
    came: list[Any] = []
    loop = aio.LoopThread()

    async def lingers() -> None:
        came.append("begun")
        try:
            await asyncio.sleep(3600)
        finally:
            try:
                await aio.wrap(loop.submit(refused()))
            except asyncio.CancelledError:
                came.append("refused")

    async def refused() -> None:
        came.append("never")

    async def cleans_up() -> None:
        begins.set()
        try:
            await asyncio.sleep(3600)
        finally:
            came.append(await aio.wrap(loop.submit(double(2))))
            lingering = loop.submit(lingers())
            while "begun" not in came:
                await asyncio.sleep(0)
            came.append(lingering)

    begins = threading.Event()
    loop.submit(cleans_up())
    assert begins.wait(60)
    loop.close()
    four, begun_late, lingering, told = came
    assert (four, begun_late, told) == (4, "begun", "refused")
    assert isinstance(lingering.exception(), asyncio.CancelledError)


def ends_as_it_hears(loop: aio.LoopThread, answer: bool) -> None:
    """What the loop is told next finds it closed; or finds it open, and is forgotten by a loop that closes then."""
    tell = loop.loop.call_soon_threadsafe

    def ends(*args: Any, **kwargs: Any) -> Any:
        loop.loop.call_soon_threadsafe = tell  # type: ignore[method-assign]
        loop.close()
        return tell(*args, **kwargs) if answer else None

    loop.loop.call_soon_threadsafe = ends  # type: ignore[method-assign]


def test_submit_says_so_if_the_loop_is_closed_as_it_hears_of_it() -> None:
    loop, coroutine = aio.LoopThread(), double(1)
    ends_as_it_hears(loop, True)
    with pytest.raises(filar.WrongStateError):
        loop.submit(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_what_a_closing_loop_forgets_is_done_all_the_same() -> None:
    loop, coroutine = aio.LoopThread(), double(1)
    ends_as_it_hears(loop, False)
    outcome = loop.submit(coroutine)
    assert outcome.done()
    assert isinstance(outcome.exception(), asyncio.CancelledError)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


def test_cancelling_what_runs_in_a_loop_that_is_closed_as_it_hears_of_it() -> None:
    loop = aio.LoopThread()
    outcome = begun(loop, lambda: None)
    ends_as_it_hears(loop, True)
    assert not outcome.cancel()
    assert isinstance(outcome.exception(), asyncio.CancelledError)


def test_a_second_close_does_not_disturb_the_first_one() -> None:
    loop, held = aio.LoopThread(), Held()
    outcome = begun(loop, held)
    first, _ = told_to_stop(loop)
    assert held.reached.wait(60)
    second, told = told_to_stop(loop)
    assert told.wait(60)
    held.may_go.set()
    first.join()
    second.join()
    assert loop.loop.is_closed()
    assert isinstance(outcome.exception(), asyncio.CancelledError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_coroutine_that_leaves_by_systemexit_leaves_no_outcome_behind() -> None:
    def leave() -> None:
        raise SystemExit(3)

    staying = threading.Event()

    async def stays() -> None:
        staying.set()
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    loop = aio.LoopThread()
    leaves, stubborn = begun(loop, leave), loop.submit(stays())
    assert staying.wait(60)
    loop.close()
    assert loop.loop.is_closed()
    assert isinstance(leaves.exception(), SystemExit)
    assert isinstance(stubborn.exception(), asyncio.CancelledError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_run_has_another_loop_after_a_coroutine_has_ended_its_own() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def own_loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    ended = aio.run(own_loop())
    with pytest.raises(SystemExit):
        aio.run(leave())
    wait_until(ended.is_closed)
    assert aio.run(double(4)) == 8


def test_cancelling_reaches_a_coroutine_that_is_about_to_begin() -> None:
    held = Held()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        held()
        return asyncio.Task(coroutine, loop=loop, **options)

    with aio.LoopThread() as loop:
        loop.loop.set_task_factory(factory)  # type: ignore[arg-type]
        outcome = loop.submit(asyncio.sleep(3600))
        assert held.reached.wait(60)
        assert outcome.cancel()
        held.may_go.set()
        assert isinstance(outcome.exception(60), asyncio.CancelledError)


def test_what_cannot_be_begun_says_so() -> None:
    def factory(*_: Any, **__: Any) -> Any:
        raise OSError("no tasks here")

    with aio.LoopThread() as loop:
        with pytest.raises(TypeError, match="a coroutine is needed, not int"):
            loop.submit(3)  # type: ignore[arg-type]
        loop.loop.set_task_factory(factory)
        with pytest.raises(OSError, match="no tasks here"):
            loop.run(double(1))
        loop.loop.set_task_factory(None)


def test_a_coroutine_may_wait_for_green_threads_that_wait_for_coroutines() -> None:
    async def outer(depth: int, runtime: Any) -> int:
        if depth == 0:
            return 0
        return 1 + int(await runtime.spawn(aio.run, outer(depth - 1, runtime)))

    with filar.GreenRuntime() as runtime:
        assert runtime.spawn(aio.run, outer(5, runtime)).result() == 5
