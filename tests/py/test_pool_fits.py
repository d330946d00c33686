"""What programs do with an executor: asyncio, dask, joblib, and the threads of BLAS and OpenMP."""

import asyncio
import ctypes
import functools
import importlib.util
import threading
import time
import types

import numpy as np
import pytest

import filar
from filar.pool import ThreadPoolExecutor, is_cancelled


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed")


# ---- asyncio ---------------------------------------------------------------------------------------------------


def test_run_in_executor_and_default_executor():
    async def main(pool):
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, divmod, 7, 2) == (3, 1)
        loop.set_default_executor(pool)
        name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert name.startswith("aio_")
        assert await asyncio.to_thread(divmod, 9, 2) == (4, 1)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 1, 0)
        return await asyncio.gather(*(loop.run_in_executor(None, int, n) for n in range(200)))

    with ThreadPoolExecutor(2, "aio") as pool:
        assert asyncio.run(main(pool)) == list(range(200))


def test_wrap_future_and_cancelling_a_task_that_waits_for_a_call():
    async def main(pool):
        assert await asyncio.wrap_future(pool.submit(int, "5")) == 5
        begun, heard = threading.Event(), threading.Event()

        def patient():
            begun.set()
            while not is_cancelled():
                begun.wait(0.001)
            heard.set()

        waiting = asyncio.ensure_future(asyncio.wrap_future(pool.submit(patient)))
        await asyncio.to_thread(begun.wait, 60)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(heard.wait, 60)

    with ThreadPoolExecutor(2) as pool:
        asyncio.run(main(pool))


# ---- dask ------------------------------------------------------------------------------------------------------


@needs("dask")
def test_dask_runs_on_the_pool():
    import dask

    @dask.delayed
    def where(n):
        return n, threading.current_thread().name

    with ThreadPoolExecutor(2, "dask") as pool:
        for options in ({"pool": pool}, {"scheduler": pool}):
            with dask.config.set(**options):
                results = dask.compute(*[where(n) for n in range(50)])
            assert [n for n, _ in results] == list(range(50))
            assert all(name.startswith("dask_") for _, name in results)
            with dask.config.set(**options), pytest.raises(ZeroDivisionError):
                dask.compute(dask.delayed(divmod)(1, 0))


# ---- joblib ----------------------------------------------------------------------------------------------------


@pytest.fixture
def parallel():
    joblib = pytest.importorskip("joblib")
    filar.joblib.register()
    config = getattr(joblib, "parallel_config", joblib.parallel_backend)
    with config("filar"):
        yield functools.partial(joblib.Parallel, n_jobs=2)


def where(n):
    return n, threading.current_thread().name


@needs("joblib")
def test_joblib_runs_on_the_pool(parallel):
    from joblib import delayed

    results = parallel()(delayed(where)(n) for n in range(300))
    assert [n for n, _ in results] == list(range(300))
    assert all(name.startswith("joblib-0_") for _, name in results)
    with pytest.raises(ZeroDivisionError):
        parallel()(delayed(divmod)(1, n) for n in (1, 0, 1))
    assert parallel(batch_size=10)(delayed(abs)(-n) for n in range(100)) == list(range(100))
    with parallel() as region:
        assert [sum(region(delayed(abs)(-n) for n in range(10))) for _ in range(20)] == [45] * 20


@needs("joblib")
def test_joblib_waits_without_polling(parallel, monkeypatch):
    from joblib import delayed

    def refuse(seconds):
        raise AssertionError(f"joblib polls every {seconds} s")

    gate = threading.Event()
    # Joblib's name of the module, not the module: other libraries' threads may sleep.
    monkeypatch.setattr("joblib.parallel.time", types.SimpleNamespace(**{**vars(time), "sleep": refuse}))
    timer = threading.Timer(0.05, gate.set)
    timer.start()
    assert parallel()(delayed(gate.wait)(60) for _ in range(2)) == [True, True]


@needs("joblib")
def test_joblib_nested_regions_and_generators(parallel):
    import joblib
    from joblib import Parallel, delayed

    def outer(n):
        return Parallel(n_jobs=2)(delayed(where)(n) for _ in range(5))

    for n, inner in enumerate(parallel()(delayed(outer)(n) for n in range(4))):
        assert [number for number, _ in inner] == [n] * 5
        assert all(name.startswith("joblib-1_") for _, name in inner)
    if tuple(map(int, joblib.__version__.split(".")[:2])) >= (1, 4):
        results = parallel(return_as="generator")(delayed(abs)(-n) for n in range(50))
        assert list(results) == list(range(50))
        results = parallel(return_as="generator_unordered")(delayed(abs)(-n) for n in range(50))
        assert sorted(results) == list(range(50))


@needs("joblib")
def test_joblib_timeout(parallel):
    from joblib import delayed

    gate = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            parallel(timeout=0.02)(delayed(gate.wait)(60) for _ in range(2))
    finally:
        gate.set()


# ---- threads of BLAS and OpenMP --------------------------------------------------------------------------------


def blas_threads():
    import threadpoolctl

    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


@needs("threadpoolctl")
def test_blas_and_openmp_share_one_budget_with_the_workers():
    np.ones((2, 2)) @ np.ones((2, 2))
    before = blas_threads()
    if not before:
        pytest.skip("NumPy came without a BLAS library that threadpoolctl knows")
    with ThreadPoolExecutor(2, native_threads=1) as pool:
        assert pool.submit(blas_threads).result() == {1}
        with ThreadPoolExecutor(1, native_threads=2) as other:
            assert other.submit(blas_threads).result() == {1}
        assert pool.submit(blas_threads).result() == {1}
    assert blas_threads() == before
    with ThreadPoolExecutor(1000, native_threads="share") as pool:
        assert pool.submit(blas_threads).result() == {1}
    assert blas_threads() == before


@needs("threadpoolctl")
def test_openmp_is_limited_for_the_workers_alone():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("no OpenMP runtime here")

    def openmp():
        return [lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == "openmp"]

    before = openmp()
    other = max(before) + 1
    with ThreadPoolExecutor(1, native_threads=other) as pool:
        assert set(pool.submit(openmp).result()) == {other}
        assert openmp() == before


@pytest.mark.parametrize("bad", [0, -1, "all", 1.5])
def test_bad_budgets_are_refused(bad):
    with pytest.raises((TypeError, ValueError)):
        ThreadPoolExecutor(1, native_threads=bad)


def test_without_threadpoolctl_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "threadpoolctl", None)
    with pytest.raises(ImportError, match="pip install threadpoolctl"):
        ThreadPoolExecutor(1, native_threads=1)
