"""Both executors under the same names, so that a group of the table holds one pair."""

from concurrent import futures

import pytest

import filar

WORKERS = 2
KINDS = {"standard": futures.ThreadPoolExecutor, "filar": filar.ThreadPoolExecutor}


@pytest.fixture(params=KINDS)
def executor(request, benchmark):
    """An executor with two workers, both started."""
    benchmark.group = request.node.name.split("[")[0].removeprefix("test_")
    with KINDS[request.param](WORKERS) as executor:
        futures.wait([executor.submit(sum, range(10_000)) for _ in range(50)])
        yield executor
