"""CPython's own tests of executors and futures, turned on ours.

They are loaded from where a Python installation keeps them, never copied: the running Python's `test` package if it
has them, else Debian's `libpython3.N-testsuite`, else those of the nearest other version here. The suite names
the standard class in three ways, and each is redirected, so that no test passes without having met our class:

- `executor_type` of its mixin;
- `futures.ThreadPoolExecutor`, `Future` in its modules;
- scripts for a child Python, which get a line in front.

And the standard class's constructor fails, here and in the children, while a test runs.

Some of its tests take a call that sleeps for a second for one that is still running when they look: on a busy machine
they may look later. There it runs until the test shuts its executor down (`LASTING`).
"""

import concurrent.futures
import contextlib
import importlib
import sys
import threading
import time
import types
import unittest
from collections.abc import Iterator
from concurrent.futures import _base
from pathlib import Path
from typing import Any
from unittest import mock

import filar
from filar.pool import Future

# By the module they are in from 3.12 on; before, all are in one.
CLASSES = {
    "test_thread_pool": ["ThreadPoolExecutorTest"],
    "test_shutdown": ["ThreadPoolShutdownTest"],
    "test_init": ["ThreadPoolInitializerTest", "ThreadPoolFailingInitializerTest"],
    "test_wait": ["ThreadPoolWaitTests"],
    "test_as_completed": ["ThreadPoolAsCompletedTest"],
    "test_future": ["FutureTests"],
}
NAME = "test_concurrent_futures"
# Test -> calls that sleep for so many seconds, or longer, are to be still running when it looks.
LASTING = {
    "ThreadPoolWaitTests.test_first_completed": 1.5,
    "ThreadPoolWaitTests.test_first_completed_some_already_completed": 1.5,
    "ThreadPoolWaitTests.test_first_exception": 3,
    "ThreadPoolWaitTests.test_first_exception_some_already_complete": 1.5,
    "ThreadPoolWaitTests.test_first_exception_one_already_failed": 2,
    "ThreadPoolWaitTests.test_timeout": 0.1,
    "ThreadPoolAsCompletedTest.test_zero_timeout": 0.1,
    "ThreadPoolAsCompletedTest.test_future_times_out": 0.1,
    "ThreadPoolExecutorTest.test_map_timeout": 0.1,
    "ThreadPoolShutdownTest.test_cancel_futures": 0.1,
}
# What the suite asks of a Python that is newer than the one it was written for, and the other way round.
SUPPORT = {
    "Py_GIL_DISABLED": False,
    "requires_gil_enabled": lambda reason: lambda test: test,
}

# What a child script is preceded by: our class under the standard name.
PRELUDE = """
import sys, test
test.__path__.extend({folders!r})
import concurrent.futures, concurrent.futures.thread, filar
def refuse(*_, **__): raise AssertionError("the standard ThreadPoolExecutor was used")
concurrent.futures.thread.ThreadPoolExecutor.__init__ = refuse
concurrent.futures.ThreadPoolExecutor = filar.ThreadPoolExecutor
"""


class SuiteMissingError(Exception):
    """No CPython here has its executor tests installed; the message says how to get them."""


def _holds_suite(folder: Path) -> bool:
    return (folder / f"{NAME}.py").exists() or (folder / NAME / "test_thread_pool.py").exists()


def _distance(folder: Path) -> tuple[int, int, str]:
    """Nearest first; of two equally near the older one: later suites want helpers that only later Pythons have."""
    minor = int(folder.parent.name.removeprefix("python3."))
    return abs(minor - sys.version_info.minor), minor, str(folder)


def find_folder() -> Path:
    """The `test` folder that has the suite, of the running Python or of the nearest version."""
    import test

    for own in test.__path__:
        if _holds_suite(Path(own)):
            return Path(own)
    roots = [Path("/usr/lib"), Path(sys.base_prefix).parent.parent / "versions", Path.home() / ".pyenv/versions"]
    found = {
        folder.resolve()
        for root in roots
        for pattern in ("python3.1*/test", "*/lib/python3.1*/test")
        for folder in root.glob(pattern)
        if _holds_suite(folder)
    }
    if not found:
        raise SuiteMissingError(
            f"CPython's executor tests are nowhere here: `apt-get install libpython3.{sys.version_info.minor}"
            "-testsuite` (Debian) or a Python that was installed with its tests"
        )
    return min(found, key=_distance)


class _Futures(types.ModuleType):
    """`concurrent.futures` with our executor in it."""

    ThreadPoolExecutor = filar.ThreadPoolExecutor

    def __getattr__(self, name: str) -> Any:
        return getattr(concurrent.futures, name)


class Suite:
    """The suite's modules, turned on our classes."""

    def __init__(self) -> None:
        import test
        from test import support

        self.folder = find_folder()
        if str(self.folder) not in test.__path__:
            test.__path__.append(str(self.folder))
        for name, value in SUPPORT.items():
            if not hasattr(support, name):
                setattr(support, name, value)
        if (self.folder / NAME).is_dir():
            names = [*CLASSES, "util", "executor"]
            self._modules = {name: importlib.import_module(f"test.{NAME}.{name}") for name in names}
        else:
            whole = importlib.import_module(f"test.{NAME}")
            self._modules = dict.fromkeys([*CLASSES, "util"], whole)
        self._redirect()

    def _redirect(self) -> None:
        proxy = _Futures("futures")
        folders = [str(self.folder)]
        for module in self._modules.values():
            if hasattr(module, "futures"):
                module.futures = proxy
            if hasattr(module, "Future"):
                module.Future = Future
            if hasattr(module, "assert_python_ok") and not hasattr(module.assert_python_ok, "redirected"):
                module.assert_python_ok = _redirected(module.assert_python_ok, PRELUDE.format(folders=folders))
        self._modules["util"].ThreadPoolMixin.executor_type = filar.ThreadPoolExecutor
        for name, value in vars(self._modules["util"]).items():
            if isinstance(value, _base.Future):
                self._replace(name, _same(value))

    def _replace(self, name: str, future: Future) -> None:
        """The suite's ready-made futures, which it imports by name, as ours."""
        for module in self._modules.values():
            if hasattr(module, name):
                setattr(module, name, future)

    @contextlib.contextmanager
    def sleeping(self, name: str) -> Iterator[None]:
        """While that test runs, calls that sleep end when the test has looked, if it needs that (`LASTING`)."""
        least, over, shut_down = LASTING.get(name), threading.Event(), filar.ThreadPoolExecutor.shutdown
        if least is None:
            yield
            return

        def sleep(seconds: float) -> None:
            if seconds < least:
                time.sleep(seconds)
            else:
                over.wait()

        def shutdown(self: Any, wait: bool = True, **options: Any) -> None:
            shut_down(self, wait=False, **options)
            over.set()
            shut_down(self, wait=wait)

        clock = types.SimpleNamespace(**{**vars(time), "sleep": sleep})
        with contextlib.ExitStack() as stack:
            stack.enter_context(mock.patch.object(filar.ThreadPoolExecutor, "shutdown", shutdown))
            for module in set(self._modules.values()):
                if hasattr(module, "time"):
                    stack.enter_context(mock.patch.object(module, "time", clock))
            yield

    def tests(self) -> Iterator[tuple[str, unittest.TestCase]]:
        """Each test with its name."""
        for module, classes in CLASSES.items():
            for name in classes:
                found = getattr(self._modules[module], name)
                for method in unittest.defaultTestLoader.getTestCaseNames(found):
                    yield f"{name}.{method}", found(method)


def _same(standard: Any) -> Future:
    """Our future in the state of a standard one."""
    future = Future()
    future._state = standard._state
    future._exception = standard._exception
    if standard._exception is None:
        future._result = standard._result
    return future


def _redirected(assert_python_ok: Any, prelude: str) -> Any:
    def with_prelude(*arguments: str, **environment: str) -> Any:
        option, script = arguments
        assert option == "-c"
        return assert_python_ok("-c", f"{prelude}\n{script}", **environment)

    with_prelude.redirected = True  # type: ignore[attr-defined]
    return with_prelude


@contextlib.contextmanager
def ours_only() -> Iterator[list[Any]]:
    """The standard constructor fails meanwhile; yields the list of our executors and futures that were made."""
    made: list[Any] = []
    original = filar.ThreadPoolExecutor.__init__

    def noted(self: Any, *arguments: Any, **options: Any) -> None:
        made.append(type(self))
        original(self, *arguments, **options)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the standard ThreadPoolExecutor was used")

    with (
        mock.patch.object(filar.ThreadPoolExecutor, "__init__", noted),
        mock.patch.object(concurrent.futures.thread.ThreadPoolExecutor, "__init__", refuse),
    ):
        yield made
