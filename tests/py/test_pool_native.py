"""Native work: whose functions may be kernels, what is checked of them and of arrays, loops, reductions, ufuncs."""

import array
import ctypes
import gc
import mmap
import os
import shutil
import signal
import subprocess
import threading
import time
import weakref

import cffi
import numpy as np
import pytest

import filar
from filar.native import Kernel, NativePool
from filar.pool import ThreadPoolExecutor
from states import wait_until

SOURCE = """
#include <stdint.h>
void twice(int64_t begin, int64_t end, void *ctx)
{
	for (int64_t i = begin; i < end; i++)
		((double *)ctx)[i] *= 2;
}
struct axpy { double *y; const double *x; double a; int64_t offset; };
void axpy(int64_t begin, int64_t end, void *ctx)
{
	struct axpy *s = ctx;
	for (int64_t i = begin; i < end; i++)
		s->y[i] += s->a * s->x[i] + (double)s->offset;
}
void sum(int64_t begin, int64_t end, void *ctx, void *partial)
{
	for (int64_t i = begin; i < end; i++)
		*(double *)partial += ((const double *)ctx)[i];
}
void add(void *into, const void *from, void *ctx)
{
	*(double *)into += *(const double *)from;
}
void until(int64_t begin, int64_t end, void *ctx)
{
	while (__atomic_load_n((int64_t *)ctx, __ATOMIC_ACQUIRE) == 0)
		;
}
void begun(int64_t begin, int64_t end, void *ctx)
{
	__atomic_store_n((int64_t *)ctx + 1, 1, __ATOMIC_RELEASE);
	until(begin, end, ctx);
}
void mark(int64_t begin, int64_t end, void *ctx)
{
	for (int64_t i = begin; i < end; i++)
		__atomic_fetch_add((int64_t *)ctx, 1, __ATOMIC_RELAXED);
}
int wrong(double x)
{
	return (int)x;
}
"""
DECLARATIONS = """
void twice(int64_t, int64_t, void *);
void axpy(int64_t, int64_t, void *);
void sum(int64_t, int64_t, void *, void *);
void add(void *, const void *, void *);
void until(int64_t, int64_t, void *);
void begun(int64_t, int64_t, void *);
void mark(int64_t, int64_t, void *);
int wrong(double);
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The path of SOURCE as a shared library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernels.c").write_text(SOURCE)
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", folder / "kernels.so", folder / "kernels.c"], check=True)
    return str(folder / "kernels.so")


@pytest.fixture(scope="module")
def native(library):
    """Its functions, as cffi has them."""
    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    return ffi.dlopen(library)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def ctypes_function(library, declared=True):
    function = ctypes.CDLL(library).twice
    if declared:
        function.restype = None
        function.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return function


# ---- whose functions -------------------------------------------------------------------------------------------


def doubles(pool, kernel):
    for n in (0, 1, 7, 100_000):
        array = np.arange(float(n))
        pool.parallel_for(kernel, n, ctx=array)
        assert (array == 2 * np.arange(float(n))).all()


def test_kernel_from_cffi(pool, native):
    doubles(pool, native.twice)


@pytest.mark.parametrize("declared", [True, False])
def test_kernel_from_ctypes(pool, library, declared):
    doubles(pool, ctypes_function(library, declared))


def test_kernel_from_an_address(pool, library):
    address = ctypes.cast(ctypes_function(library), ctypes.c_void_p).value
    doubles(pool, address)
    doubles(pool, Kernel(address))
    doubles(pool, cffi.FFI().cast("void *", address))


def test_kernel_from_numba(pool):
    numba = pytest.importorskip("numba")

    @numba.cfunc("void(int64, int64, CPointer(float64))")
    def twice(begin, end, ctx):
        for i in range(begin, end):
            ctx[i] *= 2

    doubles(pool, twice)
    doubles(pool, twice.ctypes)


def test_kernel_from_scipy(pool, library, native):
    scipy = pytest.importorskip("scipy")
    doubles(pool, scipy.LowLevelCallable(ctypes_function(library)))
    doubles(pool, scipy.LowLevelCallable(native.twice))
    array = np.arange(5.0)
    data = ctypes.cast(array.ctypes.data, ctypes.c_void_p)
    pool.parallel_for(scipy.LowLevelCallable(ctypes_function(library), data), 5)
    assert (array == 2 * np.arange(5.0)).all()


def test_wrong_signatures_are_named(pool, library, native):
    array = np.ones(4)
    with pytest.raises(ValueError, match=r"the kernel is int \(double\); wanted is void \(int64_t, int64_t, void \*\)"):
        pool.parallel_for(native.wrong, 4, ctx=array)
    with pytest.raises(ValueError, match="wanted is"):
        pool.parallel_for(native.sum, 4, ctx=array)
    declared = ctypes.CDLL(library).wrong
    declared.argtypes = [ctypes.c_double]
    with pytest.raises(ValueError, match="c_double"):
        pool.parallel_for(declared, 4, ctx=array)
    narrow = ctypes_function(library)
    narrow.argtypes = [ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p]
    with pytest.raises(ValueError, match="c_int"):
        pool.parallel_for(narrow, 4, ctx=array)
    scipy = pytest.importorskip("scipy")
    with pytest.raises(ValueError, match="wanted is"):
        pool.parallel_for(scipy.LowLevelCallable(native.wrong), 4, ctx=array)
    numba = pytest.importorskip("numba")
    with pytest.raises(ValueError, match="float64"):
        pool.parallel_for(numba.cfunc("float64(float64)")(lambda x: x), 4, ctx=array)
    with pytest.raises(ValueError, match="wanted is"):
        pool.parallel_for(Kernel(native.add, filar.native.COMBINE), 4, ctx=array)
    assert (array == 1).all()


def test_what_is_no_kernel_is_refused(pool):
    for bad in (0, -1, 2**64):
        with pytest.raises(ValueError, match="not the address of a function"):
            pool.parallel_for(bad, 4)
    for bad in (None, "f", 1.5, True, len, lambda b, e, c: None, cffi.FFI().new("int *")):
        with pytest.raises(TypeError):
            pool.parallel_for(bad, 4)
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(lambda b, e, c: None)
    with pytest.raises(TypeError, match="calls back into Python"):
        pool.parallel_for(callback, 4)


# ---- arrays ----------------------------------------------------------------------------------------------------


def test_arrays_that_a_kernel_must_not_get(pool, native):
    array = np.ones((4, 4))
    for bad, words in [(array[:, ::2], "C-contiguous"), (array.T[::-1], "C-contiguous"), (array[::-1], "C-contiguous")]:
        with pytest.raises(ValueError, match=words):
            pool.parallel_for(native.twice, 4, ctx=bad)
    array.flags.writeable = False
    for bad in (array, bytes(64), (array, 1.0)):
        with pytest.raises((TypeError, ValueError), match=r"read-only|writable"):
            pool.parallel_for(native.twice, 4, ctx=bad)
    with pytest.raises(TypeError, match="Python objects"):
        pool.parallel_for(native.twice, 4, ctx=np.array([None]))
    for bad in ("text", 1.5, True, [1.0], object(), -1, (None,), (2**64,)):
        with pytest.raises((TypeError, ValueError)):
            pool.parallel_for(native.twice, 4, ctx=bad)
    assert (array == 1).all()


def test_numbers_of_a_loop_are_checked(pool, native):
    array = np.ones(4)
    for options in (
        {"n": -1}, {"n": 2**63}, {"n": 1.5}, {"n": "4"}, {"n": True}, {"n": None},
        {"n": 4, "grain": 0}, {"n": 4, "grain": -1}, {"n": 4, "grain": 1.5},
        {"n": 4, "threads": 0}, {"n": 4, "schedule": "guided"}, {"n": 4, "begin": -1},
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError)):
            pool.parallel_for(native.twice, ctx=array, **options)
    assert (array == 1).all()
    pool.parallel_for(native.twice, 4, ctx=array, begin=9)
    pool.parallel_for(native.twice, 4, ctx=array, begin=2)
    assert array.tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("schedule", ["adaptive", "static", "dynamic"])
@pytest.mark.parametrize("grain", [None, 1, 1000])
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_every_step_is_done_once(pool, native, schedule, grain, threads):
    array = np.ones(20_000)
    pool.parallel_for(native.twice, array.size, grain, array, schedule=schedule, threads=threads)
    assert (array == 2).all()


def test_a_tuple_becomes_slots(pool, native):
    y, x = np.zeros(1000), np.arange(1000.0)
    pool.parallel_for(native.axpy, 1000, ctx=(y, x, 3.0, -2))
    assert (y == 3 * x - 2).all()
    x.flags.writeable = False
    with pytest.raises(ValueError, match=r"ctx\[1\] is read-only"):
        pool.parallel_for(native.axpy, 1000, ctx=(y, x, 3.0, -2))
    pool.parallel_for(native.axpy, 1000, ctx=(y, x, 3.0, -2), writes=False)
    assert (y == 6 * x - 4).all()


def test_arrays_stay_alive_while_they_are_used(pool, native):
    """The only references are the call's own."""
    gate, flag = threading.Event(), np.zeros(1, np.int64)
    reference = weakref.ref(flag)
    blocked = [pool.submit(gate.wait, 60) for _ in range(2)]
    future = pool.submit_native(native.until, 0, 1, (flag, 1.0)[0])
    address = flag.ctypes.data
    del flag
    gc.collect()
    assert reference() is not None
    ctypes.c_int64.from_address(address).value = 1
    gate.set()
    assert future.result(60) is None
    assert all(future.result(60) for future in blocked)
    del future
    gc.collect()
    assert reference() is None


def byte_of(memory, index):
    return memoryview(memory).cast("B")[index]


@pytest.mark.parametrize("how", ["loop", "call"])
@pytest.mark.parametrize(
    ("make", "take_away"),
    [
        (lambda: bytearray(16), bytearray.clear),
        (lambda: array.array("q", [0, 0]), array.array.pop),
        (lambda: mmap.mmap(-1, 4096), mmap.mmap.close),
    ],
    ids=["bytearray", "array", "mmap"],
)
def test_memory_that_a_kernel_uses_cannot_be_taken_away(pool, native, how, make, take_away):
    """Whoever tries is told that it is in use; afterwards it is the owner's again."""
    memory = make()
    if how == "loop":
        future = pool.submit(pool.parallel_for, native.begun, 1, ctx=memory)
    else:
        future = pool.submit_native(native.begun, 0, 1, memory)
    while byte_of(memory, 8) == 0:
        time.sleep(0)
    with pytest.raises(BufferError):
        take_away(memory)
    memoryview(memory).cast("B")[0] = 1
    assert future.result(60) is None
    del future
    gc.collect()
    take_away(memory)


def test_submit_native_runs_without_the_gil(native):
    flag = np.zeros(1, np.int64)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit_native(native.until, 0, 1, flag)
        while not future.running():
            pass
        flag[0] = 1  # with the GIL, while the kernel spins
        assert future.result(60) is None
        with pytest.raises(ValueError, match=r"C-contiguous"):
            pool.submit_native(native.until, 0, 1, np.zeros((2, 2), np.int64)[:, 0])
        with pytest.raises(ValueError):
            pool.submit_native(native.until, -1, 1, flag)


# ---- loops that end early, reductions --------------------------------------------------------------------------


def test_timeout_ends_a_loop_between_pieces(pool, native):
    flag, timeout = np.zeros(2, np.int64), 0.01

    def end_the_first_pieces():
        # When the time of the loop is over: it began before its first piece did.
        while not flag[1]:
            time.sleep(0.001)
        time.sleep(timeout)
        flag[0] = 1

    thread = threading.Thread(target=end_the_first_pieces)
    thread.start()
    with pytest.raises(filar.DeadlineError):
        pool.parallel_for(native.begun, 1000, 1, flag, timeout=timeout, schedule="dynamic")
    flag[1] = 1  # the time may have passed before the first piece
    thread.join()
    pool.parallel_for(native.until, 1000, 1, flag, timeout=60)
    pool.parallel_for(native.until, 1000, 1, flag, timeout=float("inf"))


@pytest.mark.parametrize(
    "options", [{}, {"threads": 1}, {"schedule": "dynamic"}, {"schedule": "static", "grain": 64}], ids=str
)
def test_signal_handlers_run_between_pieces_and_may_end_the_loop(pool, native, options):
    class StopError(Exception):
        pass

    steps, heard, enough = np.zeros(1, np.int64), [], 2**40  # days

    def handler(*_):
        heard.append(int(steps[0]))
        if len(heard) == 3:
            raise StopError
        os.kill(os.getpid(), signal.SIGUSR1)

    def begin():
        while not steps[0]:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=begin)
    thread.start()
    try:
        with pytest.raises(StopError):
            pool.parallel_for(native.mark, enough, ctx=steps, **options)
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    # It went on after a handler that did not raise, and nothing runs any more.
    assert 0 < heard[0] <= heard[1] <= heard[2] <= steps[0] < enough
    last = int(steps[0])
    pool.parallel_for(native.mark, 10, ctx=steps)
    assert steps[0] == last + 10


def test_ctrl_c_ends_a_kernel_of_filars_own(pool):
    from filar._lib import ffi, lib

    ctx = ffi.new("filar_spin *", {"steps": 1000})
    timer = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted_loop():
        timer.start()
        pool.parallel_for(ffi.addressof(lib, "filar_kernel_spin"), 2**40, ctx=ctx)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted_loop()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_reduction_is_the_same_for_any_number_of_threads(pool, native):
    values = np.random.default_rng(1).random(200_000)
    results = {
        pool.parallel_reduce(native.sum, native.add, values.size, 0.0, ctx=values, threads=threads).tobytes()
        for threads in (None, 1, 2)
        for _ in range(5)
    }
    assert len(results) == 1
    (total,) = np.frombuffer(results.pop())
    assert total == pytest.approx(values.sum())
    assert pool.parallel_reduce(native.sum, native.add, 0, 5.0, ctx=values) == 5.0
    values.flags.writeable = False
    assert pool.parallel_reduce(native.sum, native.add, 10, 0.0, ctx=values) == pytest.approx(values[:10].sum())
    with pytest.raises(ValueError, match="empty"):
        pool.parallel_reduce(native.sum, native.add, 10, np.empty(0), ctx=values)
    with pytest.raises(ValueError, match="wanted is"):
        pool.parallel_reduce(native.twice, native.add, 10, 0.0, ctx=values)
    with pytest.raises(ValueError, match="wanted is"):
        pool.parallel_reduce(native.sum, native.sum, 10, 0.0, ctx=values)


# ---- ufuncs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grain", [None, 1, 7, 10**9])
def test_map_array_is_the_ufunc(pool, grain):
    a = np.random.default_rng(2).random((300, 500))
    assert (pool.map_array(np.sqrt, a, grain=grain) == np.sqrt(a)).all()
    out = np.empty_like(a, order="F")
    assert pool.map_array(np.hypot, a, a[0], out=out, grain=grain) is out
    assert (out == np.hypot(a, a[0])).all()
    assert pool.map_array(np.less, a, 0.5, grain=grain).dtype == bool
    assert pool.map_array(np.add, np.int8(1), 2, grain=grain) == 3
    b = a.copy()
    pool.map_array(np.negative, b, out=b, grain=grain)
    assert (b == -a).all()
    # What one piece writes another reads: then there is one piece.
    c = a.copy()
    pool.map_array(np.add, c[:-1], 1.0, out=c[1:], grain=grain)
    assert (c[1:] == a[:-1] + 1).all()


def test_map_array_refuses_in_words(pool):
    a = np.ones(10)
    frozen = np.ones(10)
    frozen.flags.writeable = False
    for call, kind in [
        (lambda: pool.map_array(abs, a), TypeError),
        (lambda: pool.map_array(np.modf, a), ValueError),
        (lambda: pool.map_array(np.matmul, a, a), ValueError),
        (lambda: pool.map_array(np.add, a), TypeError),
        (lambda: pool.map_array(np.sqrt, a, out=[0] * 10), TypeError),
        (lambda: pool.map_array(np.sqrt, a, out=np.empty(9)), ValueError),
        (lambda: pool.map_array(np.sqrt, a, out=frozen), ValueError),
        (lambda: pool.map_array(np.sqrt, a, out=np.empty(10, np.int64)), TypeError),
        (lambda: pool.map_array(np.sqrt, a, out=np.empty(10, np.int64), grain=2), TypeError),
        (lambda: pool.map_array(np.add, a, np.ones(3)), ValueError),
        (lambda: pool.map_array(np.sqrt, a, grain=0), ValueError),
    ]:
        with pytest.raises(kind):
            call()


# ---- the native pool -------------------------------------------------------------------------------------------


def test_native_pool_counts_resizes_and_ends(native):
    with NativePool(2, name="mine") as pool:
        array = np.ones(1_000_000)
        for _ in range(20):
            pool.parallel_for(native.twice, array.size, 1000, array, schedule="dynamic")
        assert (array == 2.0**20).all()
        assert pool.statistics().workers == 2
        pool.resize(1)
        assert pool.statistics().workers == 1
        with pytest.raises(ValueError):
            pool.resize(0)
    pool.shutdown()
    for use in (lambda: pool.parallel_for(native.twice, 1, ctx=array), pool.statistics):
        with pytest.raises(filar.WrongStateError, match="shut down"):
            use()
    for bad in ({"workers": 0}, {"workers": -1}, {"workers": 10**6}, {"cpus": [10**6]}, {"cpus": [-1]}):
        with pytest.raises(ValueError):
            NativePool(**bad)


def test_executor_that_is_shut_down_runs_no_loops(native):
    pool = ThreadPoolExecutor(1)
    array = np.ones(4)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.parallel_for(native.twice, 4, ctx=array)
    pool = ThreadPoolExecutor(1)
    pool.parallel_for(native.twice, 4, ctx=array)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.parallel_for(native.twice, 4, ctx=array)


def test_many_native_pools_leave_no_thread(native):
    array = np.ones(100_000)
    before = len(os.listdir("/proc/self/task"))
    for _ in range(50):
        NativePool(2).parallel_for(native.twice, array.size, 100, np.ones_like(array), schedule="dynamic")
    gc.collect()
    # A thread that has been joined is on this list until the kernel has put it away.
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= before)


def test_loops_from_many_threads_and_from_workers(native):
    def use(n):
        array = np.ones(5000)
        for _ in range(20):
            pool.parallel_for(native.twice, array.size, 50, array, schedule="dynamic")
        return (array == 2.0**20).all()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(40)))


def test_child_of_a_fork_has_no_native_workers(pool, native):
    array = np.ones(100_000)
    pool.parallel_for(native.twice, array.size, 10, array, schedule="dynamic")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)
            with pytest.raises(filar.ForkedError):
                pool.parallel_for(native.twice, array.size, 10, array, schedule="dynamic")
            pool.shutdown()
            with NativePool(2) as own:
                own.parallel_for(native.twice, array.size, 10, array, schedule="dynamic")
            status = 0 if (array == 4).all() else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert (array == 2).all()
