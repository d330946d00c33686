"""What breaks when Python runs on stacks of its own: each hazard that is known of CPython, as a case of ours.

H1, H2 and so on are the numbers of docs/green_threads.md, "Hazards".
"""

import contextlib
import copy
import ctypes
import decimal
import faulthandler
import functools
import gc
import importlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest

import filar
import random_mix
from filar._lib import ffi, lib
from programs import run_program
from states import wait_until_parked

PY = sys.version_info


@pytest.fixture(params=[1, 3])
def workers(request: pytest.FixtureRequest) -> int:
    """On one carrier, and on several."""
    return int(request.param)


def crowd(body: Callable[[int], Any], count: int, workers: int) -> list[Any]:
    """What `count` green threads return."""

    def main() -> list[Any]:
        return [child.result() for child in [filar.spawn(body, i) for i in range(count)]]

    return list(filar.run(main, workers=workers))


# ---- H1, H2, H11: which thread state PyGILState finds ---------------------------------------------------------------


def own_state() -> bool:
    """PyGILState's state of this kernel thread is the current one."""
    api = ctypes.pythonapi
    api.PyGILState_GetThisThreadState.restype = ctypes.c_void_p
    api.PyThreadState_Get.restype = ctypes.c_void_p
    return bool(api.PyGILState_GetThisThreadState() == api.PyThreadState_Get() and api.PyGILState_Check())


def test_h1_pygilstate_finds_the_running_green_thread(workers: int) -> None:
    def body(seed: int) -> int:
        right = 0
        for i in range(30):
            right += own_state()
            if (i + seed) % 3 == 0:
                filar.sleep(0.0001)
            else:
                filar.yield_()
        return right

    assert crowd(body, 30, workers) == [30] * 30


def test_h2_callbacks_of_ctypes_find_their_green_thread(workers: int) -> None:
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    local = threading.local()

    def body(seed: int) -> bool:
        local.seed = seed

        def back(x: int) -> int:
            filar.yield_()  # parks inside a callback from C
            return x + int(local.seed)

        call = kind(back)
        for i in range(20):
            if call(i) != i + seed:
                return False
            filar.yield_()
        return True

    assert all(crowd(body, 20, workers))


def test_h2_callbacks_through_qsort_may_wait(workers: int) -> None:
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    libc = ctypes.CDLL(None)

    def body(seed: int) -> bool:
        def compare(a: Any, b: Any) -> int:
            if seed % 3 == 0:
                filar.yield_()
            return int(a[0] - b[0])

        numbers = (ctypes.c_int * 40)(*[(i * 7919 + seed) % 101 for i in range(40)])
        libc.qsort(numbers, 40, ctypes.sizeof(ctypes.c_int), kind(compare))
        return list(numbers) == sorted(numbers)

    assert all(crowd(body, 12, workers))


def test_h2_callbacks_of_cffi_may_wait(workers: int) -> None:
    ffi = cffi.FFI()

    def body(seed: int) -> bool:
        @ffi.callback("int(int)")
        def back(x: int) -> int:
            filar.sleep(0.0001)
            return x + seed

        return all(back(i) == i + seed for i in range(5))

    assert all(crowd(body, 20, workers))


def test_h2_callbacks_of_numpy_may_wait(workers: int) -> None:
    def body(seed: int) -> bool:
        def add(x: float) -> float:
            filar.yield_()
            return x + seed

        made = np.frompyfunc(add, 1, 1)(np.arange(20.0))
        with np.errstate(divide="raise"):
            filar.yield_()
            with pytest.raises(FloatingPointError):
                np.ones(3) / np.zeros(3)
        return bool((made == np.arange(20.0) + seed).all())

    assert all(crowd(body, 12, workers))


def test_h11_thread_states_are_made_and_deleted_in_thousands(workers: int) -> None:
    def main() -> None:
        for _ in range(3):  # more than a carrier keeps
            children = [filar.spawn(filar.sleep, None) for _ in range(2500)]
            wait_until_parked(*children)
            for child in children:
                child.cancel()
            for child in children:
                child.exception()

    filar.run(main, workers=workers)


# ---- H9, H10: deep recursion --------------------------------------------------------------------------------------


class Repr:
    """repr() through C and back."""

    def __repr__(self) -> str:
        return f"{[self]!r}"


class Attribute:
    """__getattr__ for ever."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "x" if len(name) < 3 else name)


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def sort_deep(_: Any = None) -> Any:
    """sorted() with a key that sorts."""
    return sorted([1, 2], key=sort_deep)


def sort_deep_and_yield(_: Any = None) -> Any:
    """The same, and it waits on the way."""
    filar.yield_()
    return sorted([1], key=sort_deep_and_yield)


def recurse(n: int) -> int:
    """Python to Python."""
    return recurse(n + 1) + 1


def partial_deep() -> Any:
    """functools.partial calls through C."""
    return functools.partial(partial_deep)()


def map_deep(_: Any = None) -> Any:
    """A generator and map in between."""
    return list(map(map_deep, [1]))


def sub_deep(_: Any = None) -> str:
    """re.sub() with a function that substitutes."""
    return re.sub("a", sub_deep, "a")


def json_hook(_: Any = None) -> Any:
    """json with a hook that parses."""
    return json.loads('{"a": 1}', object_hook=json_hook)


RECURSIONS: dict[str, Callable[[], Any]] = {
    "python": lambda: recurse(0),
    "repr": lambda: repr(Repr()),
    "repr of a list": lambda: repr(nested(100_000)),
    "json": lambda: json.dumps(nested(100_000)),
    "json hook": json_hook,
    "getattr": lambda: Attribute().a,
    "sorted": sort_deep,
    "sorted that yields": sort_deep_and_yield,
    "partial": partial_deep,
    "map": map_deep,
    "re.sub": sub_deep,
    "deepcopy": lambda: copy.deepcopy(nested(100_000)),
    "compare": lambda: nested(100_000) == nested(100_000),
    "compile": lambda: compile("(" * 100_000 + ")" * 100_000, "", "eval"),
    "ast": lambda: compile("-" * 20_000 + "1", "", "eval"),
    "isinstance": lambda: isinstance(1, functools.reduce(lambda a, _: (a,), range(100_000), (int,))),
}


@pytest.mark.parametrize("what", RECURSIONS)
def test_h9_h10_recursion_ends_in_an_error_and_not_in_a_crash(what: str) -> None:
    """In a program of its own: a crash must not take the tests along."""
    done = run_program(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import filar, test_green_hazards as cases
        def body():
            try:
                cases.RECURSIONS[{what!r}]()
            except (RecursionError, MemoryError, SyntaxError):
                return "error"
            return "no error"
        print(filar.run(lambda: [filar.spawn(body).result() for _ in range(2)]))
        """
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "error" in done.stdout


@pytest.mark.parametrize("stack_kib", [128, 256])
@pytest.mark.skipif(PY < (3, 12), reason="3.11 counts the levels of Python and C together")
def test_h9_h10_small_stacks_hold_less_and_do_not_crash(stack_kib: int) -> None:
    if stack_kib < 256 and hasattr(sys, "gettotalrefcount"):
        pytest.skip("a debug build keeps 192 KiB of each stack in reserve")
    done = run_program(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import filar, test_green_hazards as cases
        def body(what):
            try:
                cases.RECURSIONS[what]()
            except (RecursionError, MemoryError, SyntaxError):
                pass
        with filar.GreenRuntime(stack_size={stack_kib} * 1024) as runtime:
            for what in ("python", "repr", "json", "sorted", "map", "re.sub", "partial"):
                runtime.spawn(body, what).result()
        """
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_h9_recursion_of_the_usual_depth_works() -> None:
    def depth(n: int) -> int:
        return 0 if n == 0 else 1 + depth(n - 1)

    assert filar.run(depth, 900) == 900
    assert filar.run(lambda: json.loads(json.dumps(nested(60)))) == nested(60)


# ---- H13: signals -------------------------------------------------------------------------------------------------


def test_h13_signals_are_handled_while_green_threads_run() -> None:
    """Also pending calls: 3.13 and later serve both for the main thread's own state only."""
    times: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda *_: times.append(time.monotonic()))
    try:

        def compute() -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            while not times:
                filar.yield_()

        filar.run(compute)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(times) == 1


# ---- H16: what Python ties to the kernel thread -------------------------------------------------------------------


def test_h16_a_buffered_writer_reports_a_wait_inside_it() -> None:
    gate = filar.Event()

    class Raw(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            gate.wait()
            return len(data)

    def main() -> tuple[BaseException | None, BaseException | None]:
        stream = io.BufferedWriter(Raw(), 1)
        inside, second = (filar.spawn(stream.write, b"xyz") for _ in range(2))
        failure = second.exception()
        gate.set()
        found = inside.exception(), failure
        with contextlib.suppress(Exception):
            stream.close()
        return found

    first, second = filar.run(main)
    assert first is None
    assert isinstance(second, RuntimeError)


def test_h16_an_rlock_of_threading_is_the_workers_and_one_of_filar_the_green_threads() -> None:
    """Whoever waits while holding the first lets the next one in: it cannot be seen, so the documentation says so."""

    def both_in(lock: Any) -> bool:
        inside: list[int] = []
        crowded: list[bool] = []

        def body(me: int) -> None:
            with lock:
                inside.append(me)
                crowded.append(len(inside) > 1)
                filar.yield_()
                inside.remove(me)

        crowd(body, 2, 1)
        return any(crowded)

    assert both_in(threading.RLock())
    assert not both_in(filar.RLock())


def test_h16_a_plain_lock_held_across_a_wait_blocks_the_worker_and_the_dump_says_where() -> None:
    """It cannot be refused: another kernel thread might let it go. Nothing is corrupted, and where it hangs is seen."""
    lock, order = threading.Lock(), list[str]()
    where = re.compile(r"running, worker 0\n.*in wants_the_plain_lock\n.*with lock", re.DOTALL)

    def holds() -> None:
        lock.acquire()
        order.append("held")
        filar.yield_()
        order.append("went on")

    def wants_the_plain_lock() -> None:
        order.append("wants")
        with lock:
            order.append("has")

    with filar.GreenRuntime() as runtime:
        children = [runtime.spawn(holds), runtime.spawn(wants_the_plain_lock)]
        text = io.StringIO()
        while not where.search(text.getvalue()):
            time.sleep(0.001)
            runtime.dump(text)
        assert order == ["held", "wants"]
        lock.release()
        for child in children:
            child.join()
    assert order == ["held", "wants", "has", "went on"]


def test_free_threaded_builds_are_told_at_import() -> None:
    """As such a build would answer; what is refused there is refused by the extension."""
    done = run_program(
        """
        import sysconfig, warnings
        ask = sysconfig.get_config_var
        sysconfig.get_config_var = lambda name: 1 if name == "Py_GIL_DISABLED" else ask(name)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            import filar
        print([str(one.message) for one in told if "free-threaded" in str(one.message)])
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("does not support free-threaded builds") == 1, done.stdout


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="not a free-threaded build")
def test_on_a_free_threaded_build_the_gil_is_on_and_green_threads_are_refused() -> None:
    """Locks, queues and channels are guarded by it."""
    done = run_program(
        """
        import filar, sys, threading
        print(sys._is_gil_enabled())
        try:
            filar.run(int)
        except filar.NotSupportedHereError as error:
            print(error)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\ngreen threads that run Python need a build of Python with the GIL\n"
    assert "_filar" in done.stderr  # the interpreter says whom it has switched the GIL on for


@pytest.fixture
def slow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module whose import waits in the middle."""
    (tmp_path / "filar_slow_module.py").write_text("import filar\nbegun = 1\nfilar.sleep(0.01)\ndone = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield "filar_slow_module"
    sys.modules.pop("filar_slow_module", None)


def test_h16_a_wait_inside_an_import_is_refused(slow_module: str) -> None:
    """Import locks belong to kernel threads: the others of this worker would see half a module."""

    def load(_: int) -> Any:
        return importlib.import_module(slow_module).done

    def main() -> list[BaseException | None]:
        return [child.exception() for child in [filar.spawn(load, i) for i in range(2)]]

    for failure in filar.run(main):
        assert isinstance(failure, filar.WrongStateError)
        assert slow_module in str(failure)


def test_h16_imports_that_do_not_wait_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        (tmp_path / f"filar_plain_{i}.py").write_text(f"import json, decimal\nvalue = {i}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()

    def load(i: int) -> int:
        filar.yield_()
        return int(importlib.import_module(f"filar_plain_{i % 20}").value)

    assert crowd(load, 40, 3) == [i % 20 for i in range(40)]


def test_h16_sqlite_and_other_things_of_one_kernel_thread_work(workers: int) -> None:
    def body(i: int) -> int:
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("create table t (x)")
            filar.sleep(0.0005)
            connection.execute("insert into t values (?)", (i,))
            filar.yield_()
            return int(connection.execute("select x from t").fetchone()[0])

    assert crowd(body, 20, workers) == list(range(20))


# ---- H17: contexts ------------------------------------------------------------------------------------------------


def test_h17_decimal_contexts_are_the_spawners_and_then_their_own(workers: int) -> None:
    def body(i: int) -> bool:
        inherited = decimal.getcontext().prec == 50
        with decimal.localcontext() as context:
            context.prec = i + 1
            filar.yield_()
            return inherited and len(str(decimal.Decimal(1) / 3)) == i + 3

    def main() -> list[bool]:
        decimal.getcontext().prec = 50
        return [child.result() for child in [filar.spawn(body, i) for i in range(20)]]

    assert all(filar.run(main, workers=workers))


# ---- H18: looking at stacks ---------------------------------------------------------------------------------------


def test_h18_each_parked_green_thread_shows_its_frame(workers: int) -> None:
    def waits() -> None:
        filar.sleep(None)

    def calls() -> None:
        waits()

    def main() -> None:
        children = [filar.spawn(calls) for _ in range(20)]
        wait_until_parked(*children)
        for child in children:
            assert child.frame.f_code.co_name == "waits"
            assert child.frame.f_back.f_code.co_name == "calls"

    filar.run(main, workers=workers)


def test_faulthandler_walks_all_of_them(tmp_path: Path) -> None:
    def waits_here() -> None:
        filar.sleep(None)

    def main() -> None:
        child = filar.spawn(waits_here)
        wait_until_parked(child)
        with open(tmp_path / "stacks", "w") as file:
            faulthandler.dump_traceback(file, all_threads=True)

    filar.run(main)
    assert "waits_here" in (tmp_path / "stacks").read_text()


# ---- H19: errno, C++ exceptions -----------------------------------------------------------------------------------


def test_h19_errno_of_ctypes_is_each_green_threads_own(workers: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def body(i: int) -> bool:
        for _ in range(10):
            ctypes.set_errno(i + 1)
            filar.yield_()
            filar.sleep(0.0001)
            if ctypes.get_errno() != i + 1:
                return False
            libc.close(-1)
            filar.yield_()
            if ctypes.get_errno() != 9:
                return False
        return True

    assert all(crowd(body, 20, workers))


def test_h19_errno_of_cffi_is_each_green_threads_own(workers: int) -> None:
    ffi = cffi.FFI()
    ffi.cdef("int close(int);")
    libc = ffi.dlopen(None)

    def body(i: int) -> bool:
        for _ in range(10):
            ffi.errno = i + 1
            filar.yield_()
            if ffi.errno != i + 1:
                return False
            filar.sleep(0.0001)
            if ffi.errno != i + 1:
                return False
            libc.close(-1)
            filar.yield_()
            if ffi.errno != 9:
                return False
        return True

    assert all(crowd(body, 20, workers))


CXX = r"""
#include <stdexcept>
#include <string>
extern "C" int catch_and_call(int id, int (*wait)(void))
{
	try {
		throw std::runtime_error(std::to_string(id));
	} catch (const std::exception &) {
		try {
			wait();         /* others throw and catch meanwhile */
			throw;          /* again what is being handled here */
		} catch (const std::exception &again) {
			return std::stoi(again.what());
		}
	}
}
"""


def test_h19_cxx_exceptions_being_handled_are_each_green_threads_own(tmp_path: Path) -> None:
    source, library = tmp_path / "catch.cpp", tmp_path / "catch.so"
    source.write_text(CXX)
    built = subprocess.run(["g++", "-shared", "-fPIC", "-O1", source, "-o", library], capture_output=True, check=False)
    if built.returncode != 0:
        pytest.skip("no C++ compiler")
    code = ctypes.CDLL(str(library))
    kind = ctypes.CFUNCTYPE(ctypes.c_int)

    def body(i: int) -> bool:
        def wait() -> int:
            for _ in range(i % 5):
                filar.yield_()
            filar.sleep(0.0002 * (i % 3))
            return 0

        return all(code.catch_and_call(i, kind(wait)) == i for _ in range(5))

    assert all(crowd(body, 20, 1))


# ---- garbage, finalizers, generators ------------------------------------------------------------------------------


def test_collections_see_what_parked_green_threads_hold(workers: int) -> None:
    gate = filar.Event()

    def body(i: int) -> bool:
        held: list[Any] = [{"i": i}]
        held.append(held)
        gate.wait()
        if i == 0:
            gc.collect()
        return bool(held[0]["i"] == i and held[1] is held)

    def main() -> list[bool]:
        children = [filar.spawn(body, i) for i in range(30)]
        wait_until_parked(*children)
        gc.collect()
        gate.set()
        return [child.result() for child in children]

    assert all(filar.run(main, workers=workers))


def test_a_finalizer_may_wait(workers: int) -> None:
    ended = []

    class Waits:
        def __del__(self) -> None:
            filar.sleep(0.0005)
            ended.append(1)

    def body(_: int) -> None:
        thing = Waits()
        filar.yield_()
        del thing
        cycle: list[Any] = [Waits()]
        cycle.append(cycle)

    crowd(body, 10, workers)
    gc.collect()
    assert len(ended) == 20


def test_generators_move_between_green_threads(workers: int) -> None:
    def numbers() -> Iterator[int]:
        try:
            for i in range(1000):
                filar.yield_()
                yield i
        finally:
            filar.sleep(0.0001)

    def main() -> list[int]:
        shared = numbers()
        got = [filar.spawn(next, shared).result() for _ in range(20)]
        filar.spawn(shared.close).join()
        return got

    assert filar.run(main, workers=workers) == list(range(20))


def test_async_generators_are_finalised_elsewhere() -> None:
    done = run_program(
        """
        import asyncio, filar, gc
        async def numbers():
            try:
                for i in range(10):
                    yield i
            finally:
                print("closed")
        async def first(generator):
            return await generator.__anext__()
        def main():
            generator = numbers()
            print(filar.spawn(asyncio.run, first(generator)).result())
            del generator
            gc.collect()
        filar.run(main)
        """
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["0", "closed"]


# ---- H12: native green threads ------------------------------------------------------------------------------------


def test_h12_a_native_body_that_calls_python_is_told_not_to_wait() -> None:
    said: list[str] = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    held, gate = filar.Lock(), threading.Event()
    held.acquire()
    blocked = filar.KernelThread(gate.wait)
    blocked.start()
    waits: list[Callable[[], Any]] = [
        *(filar.yield_, lambda: filar.sleep(1), held.acquire, filar.Event().wait, filar.Semaphore(0).acquire),
        *(filar.Queue().get, filar.Channel().receive, lambda: filar.select(filar.Channel()), filar.Barrier(2).wait),
        blocked.join,
    ]

    def back(_: Any) -> None:
        for call in waits:
            try:
                call()
            except filar.WrongStateError as error:
                said.append(str(error))

    callback = kind(back)
    with filar.GreenRuntime() as runtime:
        runtime.spawn(filar.sleep, 0.001).join()
        runtime.spawn_native(callback).join()
    gate.set()
    blocked.join()
    assert len(said) == len(waits)
    assert all("native" in text for text in said)


def test_h12_what_a_native_body_leaves_in_a_thread_state_is_not_the_next_ones() -> None:
    """Python finds there the state of the green thread that was the last to run it on this worker: here one that has
    ended, whose state waits for the next."""
    local = threading.local()
    left: list[str] = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

    def back(_: Any) -> None:
        local.left = "by a native body"
        left.append(local.left)

    callback = kind(back)
    with filar.GreenRuntime() as runtime:
        runtime.spawn(int).join()
        runtime.spawn_native(callback).join()
        assert left == ["by a native body"]
        assert not runtime.spawn(hasattr, local, "left").result()


WAIT_AND_CALL = r"""
/* Without the interpreter lock; others run Python on this kernel thread meanwhile. */
int wait_and_call(void (*wait)(void), int (*back)(int), int times)
{
	int sum = 0;

	for (int i = 0; i < times; i++) {
		wait();
		sum += back(i);
	}
	return sum;
}
"""


def test_h12_c_code_that_waits_and_then_calls_python_finds_its_green_thread(workers: int, tmp_path: Path) -> None:
    source, library = tmp_path / "wait.c", tmp_path / "wait.so"
    source.write_text(WAIT_AND_CALL)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", source, "-o", library], check=True)
    code = ctypes.CDLL(str(library))
    wait = ctypes.c_void_p(int(ffi.cast("uintptr_t", ffi.addressof(lib, "filar_green_yield"))))
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    local = threading.local()

    def body(seed: int) -> bool:
        local.seed = seed

        def back(i: int) -> int:
            if i % 3 == 0:
                filar.yield_()
            return seed if own_state() and local.seed == seed else -1000

        return bool(code.wait_and_call(wait, kind(back), 20) == 20 * seed)

    assert all(crowd(body, 20, workers))


TEST_NAME = re.compile(r"`(test_\w+)")  # in the documentation


# ---- everything at once -------------------------------------------------------------------------------------------


def test_each_hazard_of_the_documentation_has_its_test() -> None:
    """The table names tests; each is one of ours."""
    folder = Path(__file__).parent
    page = folder.parents[1] / "docs" / "green_threads.md"
    if not page.exists():
        pytest.skip("tests without the documentation")
    rows = [line for line in page.read_text().splitlines() if re.match(r"\| H\d", line)]
    known = {
        name for path in folder.glob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    hazards: set[int] = set()
    for row in rows:
        first, *_, tests = (cell.strip() for cell in row.strip("|").split("|"))
        hazards.update(int(number) for number in re.findall(r"H(\d+)", first))
        named = TEST_NAME.findall(tests)
        assert named, row
        assert set(named) <= known, set(named) - known
    # H3 to H7 and H21: free-threaded builds.
    assert hazards == set(range(1, 24)) - {3, 4, 5, 6, 7, 21}


def test_each_of_these_runs_on_debug_builds() -> None:
    """What the table names, stands in a file that `make debug-pythons` runs, or is named there."""
    folder = Path(__file__).parent
    page, lane = folder.parents[1] / "docs" / "green_threads.md", folder.parents[1] / "tools" / "debug_pythons.sh"
    if not page.exists() or not lane.exists():
        pytest.skip("tests without the documentation or the tools")
    wanted = {name for row in page.read_text().splitlines() if row.startswith("| H") for name in TEST_NAME.findall(row)}
    run = re.findall(r"tests/py/(test_\w+\.py)(?:::(test_\w+))?", lane.read_text())
    covered = {name for _, name in run if name}
    for file, name in run:
        if not name:
            covered.update(re.findall(r"^def (test_\w+)", (folder / file).read_text(), re.M))
    assert wanted
    assert wanted <= covered, wanted - covered


@pytest.mark.parametrize("several", [1, 2, 4])
def test_a_random_mix_of_everything(several: int) -> None:
    """FILAR_STRESS_SECONDS makes it longer; the seed is printed by pytest when it fails."""
    seed = int(os.environ.get("FILAR_TEST_SEED", "0")) or time.time_ns() % 2**32
    print("FILAR_TEST_SEED", seed)
    outcome = random_mix.mix(float(os.environ.get("FILAR_STRESS_SECONDS", "1")), several, seed)
    print(outcome)
    outcome.check()
    assert outcome.green_threads > 20
