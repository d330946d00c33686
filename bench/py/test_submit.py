"""What one call costs: a round trip, a burst, a burst whose end is waited for in the three ways there are."""

import asyncio
from concurrent import futures

BURST = 3000


def nothing():
    pass


def per_call(benchmark, calls):
    benchmark.extra_info["calls"] = calls


def test_round_trip(benchmark, executor):
    benchmark(lambda: executor.submit(nothing).result())
    per_call(benchmark, 1)


def test_burst_results(benchmark, executor):
    def burst():
        for future in [executor.submit(nothing) for _ in range(BURST)]:
            future.result()

    benchmark(burst)
    per_call(benchmark, BURST)


def test_burst_wait(benchmark, executor):
    benchmark(lambda: futures.wait([executor.submit(nothing) for _ in range(BURST)]))
    per_call(benchmark, BURST)


def test_burst_as_completed(benchmark, executor):
    def burst():
        for _ in futures.as_completed([executor.submit(nothing) for _ in range(BURST)]):
            pass

    benchmark(burst)
    per_call(benchmark, BURST)


def test_run_in_executor(benchmark, executor):
    async def calls():
        loop = asyncio.get_running_loop()
        for _ in range(100):
            await loop.run_in_executor(executor, nothing)

    benchmark(lambda: asyncio.run(calls()))
    per_call(benchmark, 100)
