"""filar.kernels: what plain NumPy or arithmetic says, serial and on every pool; bad arrays are refused."""

import numpy as np
import pytest

import filar
from filar import kernels
from filar.native import NativePool
from filar.pool import ThreadPoolExecutor

RNG = np.random.default_rng(7)


@pytest.fixture(params=["serial", 1, 2, "executor"])
def pool(request):
    """Where it runs."""
    if request.param == "serial":
        yield None
    elif request.param == "executor":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    else:
        with NativePool(request.param) as pool:
            yield pool


@pytest.mark.parametrize("n", [0, 1, 1000, 100_003])
def test_vectors(pool, n):
    x, y = RNG.random(n), RNG.random(n)
    expected = y + 2.5 * x
    assert kernels.axpy(2.5, x, y, pool) is y
    np.testing.assert_allclose(y, expected)
    assert kernels.sum(x, pool) == pytest.approx(x.sum())
    assert kernels.sum(x, pool) == kernels.sum(x)
    assert kernels.dot(x, y, pool) == kernels.dot(x, y) == pytest.approx(x @ y)
    assert (kernels.merge_sort(x.copy(), pool) == np.sort(x)).all()


@pytest.mark.parametrize("shape", [(0, 3, 4), (1, 1, 1), (37, 41, 43), (130, 64, 70)])
def test_matmul(pool, shape):
    a, b = RNG.random(shape[:2]), RNG.random(shape[1:])
    np.testing.assert_allclose(kernels.matmul(a, b, pool=pool), a @ b)
    out = np.full((shape[0], shape[2]), np.nan)
    assert kernels.matmul(a, b, out, pool) is out
    np.testing.assert_allclose(out, a @ b)


def test_mandelbrot(pool):
    picture = kernels.mandelbrot(60, 80, steps_max=50, pool=pool)
    assert (picture == kernels.mandelbrot(60, 80, steps_max=50)).all()
    assert (picture.dtype, picture.shape) == (np.uint16, (60, 80))
    assert picture.max() == 50
    assert picture.min() < 5
    assert kernels.mandelbrot(0, 5, pool=pool).shape == (0, 5)


@pytest.mark.parametrize("shape", [(33, 47), (20, 30, 3), (1, 1), (0, 4)])
@pytest.mark.parametrize("radius", [0, 1, 4])
def test_blurs(pool, shape, radius):
    frame = RNG.integers(0, 256, shape, np.uint8)
    blurred = kernels.box_blur(frame, radius, pool=pool)
    if frame.size:
        edges = [(radius, radius), (radius, radius), *[(0, 0)] * (frame.ndim - 2)]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(frame, edges, "edge"), (2 * radius + 1, 2 * radius + 1), (0, 1)
        )
        assert np.abs(windows.mean((-1, -2)) - blurred).max() <= 1
    assert (kernels.gauss_blur(frame, pool=pool) == kernels.gauss_blur(frame)).all()
    out = np.empty_like(frame)
    assert kernels.box_blur(frame, radius, out, pool) is out
    assert (out == blurred).all()


@pytest.mark.parametrize("kind", ["private", "atomic"])
def test_histogram(pool, kind):
    data = RNG.integers(0, 256, 100_000, np.uint8)
    assert (kernels.histogram(data, kind, pool) == np.bincount(data, minlength=256)).all()
    assert (kernels.histogram(data, "racy") == np.bincount(data, minlength=256)).all()
    assert kernels.histogram(data, "racy", pool).sum() <= data.size


def test_searches(pool):
    primes = [n for n in range(1000) if n > 1 and all(n % d for d in range(2, n))]
    assert np.flatnonzero(kernels.sieve(1000, pool)).tolist() == primes
    assert kernels.sieve(0, pool).size == 0
    assert kernels.sieve(10**6, pool).sum() == 78_498
    assert [kernels.nqueens(n, pool) for n in range(1, 10)] == [1, 0, 0, 2, 10, 4, 40, 92, 352]
    assert [kernels.fib(n, pool) for n in range(15)] == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377]


def test_loads(pool):
    kernels.spin(100, 100, pool)
    following = RNG.permutation(5000)
    expected = np.arange(5000)
    for _ in range(7):
        expected = following[expected]
    assert (kernels.chase(following, 7, pool) == expected).all()
    assert (kernels.chase(following, 0, pool) == np.arange(5000)).all()


def test_bad_arrays_and_numbers_are_refused_in_words():
    x, frozen, frame = np.ones(4), np.ones(4), np.ones((4, 4), np.uint8)
    frozen.flags.writeable = False
    for call, words in [
        (lambda: kernels.axpy(1, x, np.ones(5)), "differ in shape"),
        (lambda: kernels.axpy(1, x, frozen), "read-only"),
        (lambda: kernels.axpy(1, x.astype(np.float32), x), "float32"),
        (lambda: kernels.sum(np.ones(8)[::2]), "C-contiguous"),
        (lambda: kernels.sum(np.ones((2, 2))), "dimensions"),
        (lambda: kernels.dot(x, np.ones(5)), "differ in shape"),
        (lambda: kernels.matmul(np.ones((2, 3)), np.ones((2, 3))), "columns"),
        (lambda: kernels.matmul(np.ones((2, 3)), np.ones((3, 2)), np.ones((3, 3))), "shape"),
        (lambda: (lambda a: kernels.matmul(a, a, a))(np.ones((2, 2))), "shares memory"),
        (lambda: kernels.box_blur(frame, out=frame), "shares memory"),
        (lambda: kernels.box_blur(frame, 128), "radius"),
        (lambda: kernels.box_blur(frame, -1), "radius"),
        (lambda: kernels.box_blur(frame.astype(float)), "float64"),
        (lambda: kernels.histogram(np.zeros(4, np.uint8), "wild"), "kind"),
        (lambda: kernels.mandelbrot(-1, 4), "rows"),
        (lambda: kernels.mandelbrot(4, 4, steps_max=70_000), "steps_max"),
        (lambda: kernels.sieve(-1), "count"),
        (lambda: kernels.nqueens(17), "n is"),
        (lambda: kernels.fib(51), "n is"),
        (lambda: kernels.spin(-1, 1), "count"),
        (lambda: kernels.chase(np.array([5]), 1), "out of the array"),
        (lambda: kernels.chase(np.array([-1]), 1), "out of the array"),
        (lambda: kernels.merge_sort(frozen), "read-only"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    for call in (
        lambda: kernels.sum([1.0]),
        lambda: kernels.sum(x, pool=5),
        lambda: kernels.box_blur([1]),
        lambda: kernels.sieve(1.5),
    ):
        with pytest.raises(TypeError):
            call()
    gone = NativePool(1)
    gone.shutdown()
    with pytest.raises(filar.WrongStateError):
        kernels.sum(x, gone)
