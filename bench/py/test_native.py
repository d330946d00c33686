"""Native loops and kernels from Python: what a call costs, and what the workers gain over one thread and over NumPy."""

import numpy as np
import pytest

import filar
from filar import kernels
from filar._lib import ffi, lib

N = 1_000_000


@pytest.fixture(scope="module")
def pool():
    with filar.ThreadPoolExecutor() as pool:
        yield pool


@pytest.mark.parametrize("steps", [16, 1000, 1_000_000])
def test_parallel_for_call(benchmark, pool, steps):
    benchmark.group = "parallel_for-call"
    ctx = ffi.new("filar_spin *")
    kernel = filar.native.Kernel(ffi.addressof(lib, "filar_kernel_spin"))
    benchmark(lambda: pool.parallel_for(kernel, steps, ctx=ctx))


@pytest.mark.parametrize("where", ["numpy", "serial", "pool"])
@pytest.mark.parametrize("name", ["axpy", "sum", "dot", "sort", "histogram", "matmul"])
def test_kernel(benchmark, pool, name, where):
    benchmark.group = name
    rng = np.random.default_rng(1)
    x, y, square = rng.random(N), rng.random(N), rng.random((256, 256))
    data = rng.integers(0, 256, N, np.uint8)
    on = pool if where == "pool" else None
    bodies = {
        "axpy": (lambda: np.add(y, 1e-9 * x, out=y), lambda: kernels.axpy(1e-9, x, y, on)),
        "sum": (lambda: x.sum(), lambda: kernels.sum(x, on)),
        "dot": (lambda: x @ y, lambda: kernels.dot(x, y, on)),
        "sort": (lambda: np.sort(x), lambda: kernels.merge_sort(x.copy(), on)),
        "histogram": (lambda: np.bincount(data, minlength=256), lambda: kernels.histogram(data, pool=on)),
        "matmul": (lambda: square @ square, lambda: kernels.matmul(square, square, pool=on)),
    }
    benchmark(bodies[name][0 if where == "numpy" else 1])


@pytest.mark.parametrize("where", ["serial", "pool"])
@pytest.mark.parametrize("name", ["mandelbrot", "box_blur", "nqueens", "sieve", "fib"])
def test_kernel_without_numpy_twin(benchmark, pool, name, where):
    benchmark.group = name
    on = pool if where == "pool" else None
    frame = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    bodies = {
        "mandelbrot": lambda: kernels.mandelbrot(256, 256, steps_max=500, pool=on),
        "box_blur": lambda: kernels.box_blur(frame, 3, pool=on),
        "nqueens": lambda: kernels.nqueens(9, on),
        "sieve": lambda: kernels.sieve(N, on),
        "fib": lambda: kernels.fib(22, on),
    }
    benchmark(bodies[name])


@pytest.mark.parametrize("where", ["numpy", "pool"])
def test_map_array(benchmark, pool, where):
    benchmark.group = "map_array-sin"
    x, out = np.random.default_rng(1).random(N), np.empty(N)
    benchmark((lambda: np.sin(x, out=out)) if where == "numpy" else (lambda: pool.map_array(np.sin, x, out=out)))
