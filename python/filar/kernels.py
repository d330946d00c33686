"""The native kernels as functions over NumPy arrays.

Each takes `pool`: a `filar.ThreadPoolExecutor` or `filar.native.NativePool` to run on, or None to run serially on the
calling thread; the result is the same. All block without the GIL. Arrays are used where they are: of exactly the type
asked for, C-contiguous, and writable where they are written.
"""

import operator
from typing import Any

import numpy as np

from filar._lib import LOOP_DEFAULTS, check, ffi, lib
from filar.errors import InvalidArgumentError

__all__ = [
    "axpy",
    "box_blur",
    "chase",
    "dot",
    "fib",
    "gauss_blur",
    "histogram",
    "mandelbrot",
    "matmul",
    "merge_sort",
    "nqueens",
    "sieve",
    "spin",
    "sum",
]

_HISTOGRAMS = ("private", "atomic", "racy")


# ---- arguments -------------------------------------------------------------------------------------------------


def _pool(pool: Any) -> Any:
    """The filar_pool of what was given; NULL for None."""
    if pool is None:
        return ffi.NULL
    native = pool._natives() if hasattr(pool, "_natives") else pool
    try:
        return native._open()
    except AttributeError:
        raise TypeError(f"pool is an executor, a NativePool or None, not {type(pool).__name__}") from None


def _array(array: Any, dtype: Any, dimensions: int, what: str, *, writes: bool = False) -> Any:
    """A pointer to its elements that keeps it alive."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{what} is a NumPy array, not {type(array).__name__}")
    if array.dtype != dtype:
        raise InvalidArgumentError(f"{what} is of {array.dtype}; wanted is {np.dtype(dtype)}")
    if array.ndim != dimensions:
        raise InvalidArgumentError(f"{what} has {array.ndim} dimensions; wanted are {dimensions}")
    if not array.flags.c_contiguous:
        raise InvalidArgumentError(f"{what} is not C-contiguous: pass np.ascontiguousarray() of it")
    if writes and not array.flags.writeable:
        raise InvalidArgumentError(f"{what} is read-only")
    kind = {"f": "double[]", "i": "int64_t[]"}.get(array.dtype.kind, f"uint{8 * array.itemsize}_t[]")
    # from_buffer() refuses arrays without elements.
    return ffi.from_buffer(kind, array, require_writable=writes) if array.size else ffi.new(kind, 0)


def _same_shape(one: Any, other: Any, words: str) -> None:
    if one.shape != other.shape:
        raise InvalidArgumentError(f"{words} differ in shape: {one.shape} and {other.shape}")


def _apart(target: Any, *sources: Any) -> None:
    if any(np.may_share_memory(target, source) for source in sources):
        raise InvalidArgumentError("the result shares memory with what it is made from")


def _number(value: Any, what: str, least: int, most: int = 2**62) -> int:
    number = operator.index(value)
    if not least <= number <= most:
        raise InvalidArgumentError(f"{what} is {least} to {most}, not {number}")
    return number


def _run(pool: Any, name: str, n: int, ctx: Any) -> None:
    """The named kernel over [0, n)."""
    handle = _pool(pool)
    if handle == ffi.NULL:
        getattr(lib, f"filar_kernel_{name}")(0, n, ctx)
    else:
        body = ffi.addressof(lib, f"filar_kernel_{name}")
        check(lib.filar_parallel_for(handle, LOOP_DEFAULTS, 0, n, body, ctx))


# ---- vectors and matrices --------------------------------------------------------------------------------------


def axpy(a: float, x: np.ndarray, y: np.ndarray, pool: Any = None) -> np.ndarray:
    """`y += a * x` for one-dimensional float64 arrays; returns y."""
    _same_shape(x, y, "x and y")
    ctx = ffi.new("filar_axpy *")
    kept = _array(x, np.float64, 1, "x"), _array(y, np.float64, 1, "y", writes=True)
    ctx.a, ctx.x, ctx.y = float(a), *kept
    _run(pool, "axpy", y.size, ctx)
    return y


def sum(x: np.ndarray, pool: Any = None) -> float:
    """The sum of a one-dimensional float64 array, the same to the last bit for any number of workers."""
    result = ffi.new("double *")
    check(lib.filar_sum(_pool(pool), LOOP_DEFAULTS, _array(x, np.float64, 1, "x"), x.size, result))
    return float(result[0])


def dot(x: np.ndarray, y: np.ndarray, pool: Any = None) -> float:
    """The inner product of two one-dimensional float64 arrays, as exact as `sum()`."""
    _same_shape(x, y, "x and y")
    result = ffi.new("double *")
    pointers = _array(x, np.float64, 1, "x"), _array(y, np.float64, 1, "y")
    check(lib.filar_dot(_pool(pool), LOOP_DEFAULTS, *pointers, x.size, result))
    return float(result[0])


def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None, pool: Any = None) -> np.ndarray:
    """The product of two float64 matrices, in blocks."""
    pointers = _array(a, np.float64, 2, "a"), _array(b, np.float64, 2, "b")
    if a.shape[1] != b.shape[0]:
        raise InvalidArgumentError(f"a has {a.shape[1]} columns and b {b.shape[0]} rows")
    out = np.empty((a.shape[0], b.shape[1])) if out is None else out
    target = _array(out, np.float64, 2, "out", writes=True)
    if out.shape != (a.shape[0], b.shape[1]):
        raise InvalidArgumentError(f"out has the shape {out.shape}; wanted is {(a.shape[0], b.shape[1])}")
    _apart(out, a, b)
    ctx = ffi.new("filar_matmul *")
    ctx.a, ctx.b, ctx.c, ctx.inner, ctx.columns = *pointers, target, a.shape[1], b.shape[1]
    _run(pool, "matmul", a.shape[0], ctx)
    return out


def merge_sort(values: np.ndarray, pool: Any = None) -> np.ndarray:
    """Sorts a one-dimensional float64 array without NaN where it is, ascending; returns it."""
    target = _array(values, np.float64, 1, "values", writes=True)
    scratch = np.empty_like(values)
    check(
        lib.filar_merge_sort(_pool(pool), target, _array(scratch, np.float64, 1, "scratch", writes=True), values.size)
    )
    return values


# ---- pictures --------------------------------------------------------------------------------------------------


def mandelbrot(
    rows: int,
    columns: int,
    *,
    left: float = -2.0,
    top: float = -1.25,
    width: float = 2.5,
    height: float = 2.5,
    steps_max: int = 1000,
    pool: Any = None,
) -> np.ndarray:
    """How many steps each point takes to escape: a uint16 picture. Its rows differ widely in their work."""
    picture = np.empty((_number(rows, "rows", 0), _number(columns, "columns", 0)), np.uint16)
    ctx = ffi.new("filar_mandelbrot *")
    target = _array(picture, np.uint16, 2, "picture", writes=True)
    ctx.picture, ctx.rows, ctx.columns = target, *picture.shape
    ctx.left, ctx.top, ctx.width, ctx.height = float(left), float(top), float(width), float(height)
    ctx.steps_max = _number(steps_max, "steps_max", 0, 65535)
    _run(pool, "mandelbrot", picture.shape[0], ctx)
    return picture


def _blur(name: str, frame: Any, radius: int, out: Any, pool: Any) -> np.ndarray:
    if not isinstance(frame, np.ndarray) or frame.ndim not in (2, 3):
        raise TypeError("a frame is a NumPy array of rows x columns (x channels)")
    source = _array(frame, np.uint8, frame.ndim, "frame")
    out = np.empty_like(frame) if out is None else out
    target = _array(out, np.uint8, frame.ndim, "out", writes=True)
    _same_shape(frame, out, "frame and out")
    _apart(out, frame)
    ctx = ffi.new("filar_blur *")
    ctx.source, ctx.target, ctx.radius = source, target, _number(radius, "radius", 0, 127)
    ctx.rows, ctx.columns, ctx.channels = frame.shape[0], frame.shape[1], frame.shape[2] if frame.ndim == 3 else 1
    if frame.size:
        _run(pool, name, frame.shape[0], ctx)
    return out


def box_blur(frame: np.ndarray, radius: int = 1, out: np.ndarray | None = None, pool: Any = None) -> np.ndarray:
    """The mean over (2 radius + 1)² pixels of a uint8 frame, edges repeated; `radius` is 0 to 127."""
    return _blur("box_blur", frame, radius, out, pool)


def gauss_blur(frame: np.ndarray, out: np.ndarray | None = None, pool: Any = None) -> np.ndarray:
    """Weights 1 4 6 4 1 in both directions over a uint8 frame, edges repeated."""
    return _blur("gauss_blur", frame, 0, out, pool)


def histogram(data: np.ndarray, kind: str = "private", pool: Any = None) -> np.ndarray:
    """How often each byte occurs in a one-dimensional uint8 array: 256 counts.

    `kind` "private" counts apart and adds; "atomic" adds atomically; "racy" adds plainly, so that counts get lost when
    it runs in parallel: to show what a data race does.
    """
    if kind not in _HISTOGRAMS:
        raise InvalidArgumentError(f"kind is one of {', '.join(_HISTOGRAMS)}, not {kind!r}")
    counts = np.zeros(256, np.uint64)
    ctx = ffi.new("filar_histogram *")
    kept = _array(data, np.uint8, 1, "data"), _array(counts, np.uint64, 1, "counts", writes=True)
    ctx.data, ctx.counts = kept
    _run(pool, f"histogram_{kind}", data.size, ctx)
    return counts


# ---- searches and loads ----------------------------------------------------------------------------------------


def sieve(count: int, pool: Any = None) -> np.ndarray:
    """A bool array: whether i is prime, for 0 <= i < count."""
    found = np.empty(_number(count, "count", 0), np.uint8)
    check(lib.filar_sieve(_pool(pool), LOOP_DEFAULTS, _array(found, np.uint8, 1, "result", writes=True), found.size))
    return found.view(np.bool_)


def nqueens(n: int, pool: Any = None) -> int:
    """In how many ways `n` (1 to 16) queens stand on a board of n x n."""
    result = ffi.new("int64_t *")
    check(lib.filar_nqueens(_pool(pool), LOOP_DEFAULTS, _number(n, "n", 1, 16), result))
    return int(result[0])


def fib(n: int, pool: Any = None) -> int:
    """The n-th Fibonacci number (n is 0 to 50) by two calls for each, each a fork: nothing but overhead."""
    result = ffi.new("int64_t *")
    check(lib.filar_fib(_pool(pool), _number(n, "n", 0, 50), result))
    return int(result[0])


def spin(count: int, steps: int, pool: Any = None) -> None:
    """`count` times `steps` dependent multiplications: work that touches no memory."""
    ctx = ffi.new("filar_spin *")
    ctx.steps, ctx.sink = _number(steps, "steps", 0), ffi.NULL
    _run(pool, "spin", _number(count, "count", 0), ctx)


def chase(following: np.ndarray, steps: int, pool: Any = None) -> np.ndarray:
    """From each index i goes `steps` times to `following[i]`; where each ends. Memory latency and nothing else."""
    source = _array(following, np.int64, 1, "following")
    if following.size and (following.min() < 0 or following.max() >= following.size):
        raise InvalidArgumentError(f"following leads out of the array: its indices are 0 to {following.size - 1}")
    ends = np.empty_like(following)
    ctx = ffi.new("filar_chase *")
    target = _array(ends, np.int64, 1, "ends", writes=True)
    ctx.next, ctx.ends, ctx.steps = source, target, _number(steps, "steps", 0)
    _run(pool, "chase", following.size, ctx)
    return ends
