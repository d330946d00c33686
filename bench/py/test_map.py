"""What an item of a map costs, from next to nothing to some work."""

import pytest

ITEMS = 10_000


def same(x):
    return x


@pytest.mark.parametrize("function", [same, abs], ids=["python", "builtin"])
def test_map(benchmark, executor, function):
    benchmark.group += f"-{'python' if function is same else 'builtin'}"

    def read():
        for _ in executor.map(function, range(ITEMS)):
            pass

    benchmark(read)
    benchmark.extra_info["items"] = ITEMS


def test_map_two_iterables(benchmark, executor):
    benchmark(lambda: list(executor.map(max, range(ITEMS), range(ITEMS))))
    benchmark.extra_info["items"] = ITEMS


def test_make_and_drop(benchmark, executor):
    benchmark(lambda: type(executor)(2))


def test_start_use_and_shut_down(benchmark, executor):
    def life():
        with type(executor)(2) as pool:
            pool.submit(same, 1).result()

    benchmark(life)
