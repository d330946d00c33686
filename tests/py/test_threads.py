"""Kernel threads from Python: the habits of threading.Thread, every option, every end."""

import contextlib
import contextvars
import ctypes
import faulthandler
import gc
import math
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest

from children import no_new_thread
from filar import errors, threads
from filar._lib import lib
from filar.threads import KernelThread
from programs import SECONDS_MAX, run_program
from states import wait_until

ALLOWED = sorted(os.sched_getaffinity(0))
NO_SUCH_CPU = 8000


def in_python(script: str, *, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs a script in a fresh interpreter, which must end so."""
    done = run_program(script)
    assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
    return done


class Gate:
    """A body that runs until it is told to end."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        self.opened.wait()
        return "through"


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


def fail() -> None:
    raise ValueError("on purpose")


def run_to_the_end(thread: KernelThread) -> None:
    """Starts it and waits for its end without a join."""
    thread.start()
    wait_until(lambda: not thread.is_alive())


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[threading.ExceptHookArgs]:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    return seen


# ---- the habits of threading.Thread ----


def test_the_target_runs_with_its_arguments_and_its_value_is_the_result():
    thread = KernelThread(lambda a, b: (a, b), (1,), {"b": 2})
    thread.start()
    assert thread.join() is None
    assert thread.result == (1, 2)
    assert thread.exception is None
    assert not thread.is_alive()


def test_run_may_be_overridden():
    class Worker(KernelThread):
        def run(self) -> str:
            return self.name

    with Worker(name="worker") as worker:
        pass
    assert worker.result == "worker"


def test_without_a_target_it_just_ends():
    with KernelThread() as thread:
        pass
    assert thread.result is None


def test_ident_and_native_id_are_those_seen_inside():
    thread = KernelThread(lambda: (threading.get_ident(), threading.get_native_id()))
    assert (thread.ident, thread.native_id) == (None, None)
    with thread:
        pass
    assert thread.result == (thread.ident, thread.native_id)
    assert thread.native_id != threading.get_native_id()


def test_current_is_the_object_and_threading_shows_a_stand_in_of_the_right_name():
    def body() -> tuple[Any, str, bool]:
        return (
            KernelThread.current(),
            threading.current_thread().name,
            threading.current_thread() in threading.enumerate(),
        )

    with KernelThread(body, name="right-name") as thread:
        pass
    assert thread.result == (thread, "right-name", True)
    assert KernelThread.current() is None


def test_threading_forgets_the_stand_ins():
    with no_new_thread():
        for _ in range(50):
            with KernelThread(threading.current_thread):
                pass


def test_repr_says_its_state(gate):
    thread = KernelThread(gate, name="shown", daemon=True)
    assert repr(thread) == "<KernelThread(shown, initial daemon)>"
    thread.start()
    assert repr(thread) == f"<KernelThread(shown, started daemon {thread.ident})>"
    gate.opened.set()
    thread.join()
    assert repr(thread) == f"<KernelThread(shown, stopped daemon {thread.ident})>"


def test_a_second_start_is_refused_also_after_the_end(gate):
    thread = KernelThread(gate)
    thread.start()
    with pytest.raises(RuntimeError, match="only be started once"):
        thread.start()
    gate.opened.set()
    thread.join()
    with pytest.raises(RuntimeError, match="only be started once"):
        thread.start()


def test_of_many_starters_one_wins():
    ran = []
    for _ in range(50):
        thread = KernelThread(ran.append, (1,))
        outcomes = []

        def start(thread=thread, outcomes=outcomes) -> None:
            try:
                thread.start()
                outcomes.append("started")
            except RuntimeError:
                outcomes.append("refused")

        starters = [threading.Thread(target=start) for _ in range(4)]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join()
        thread.join()
        assert sorted(outcomes) == ["refused"] * 3 + ["started"]
    assert len(ran) == 50


def test_join_before_start_and_on_itself_are_refused():
    with pytest.raises(RuntimeError, match="before it is started"):
        KernelThread().join()

    def join_self() -> None:
        KernelThread.current().join()

    with pytest.raises(errors.DeadlockError, match="cannot join itself"), KernelThread(join_self):
        pass


@pytest.mark.parametrize("timeout", [0, 0.001, -5])
def test_join_with_a_timeout_returns_none_and_the_thread_goes_on(gate, timeout):
    with KernelThread(gate) as thread:
        assert thread.join(timeout) is None
        assert thread.is_alive()
        with pytest.raises(errors.WrongStateError, match="the thread runs"):
            _ = thread.result
        gate.opened.set()
    assert thread.result == "through"


@pytest.mark.parametrize("timeout", [math.inf, 1e300, 3600])
def test_a_huge_timeout_is_no_error(timeout):
    thread = KernelThread(int)
    thread.start()
    thread.join(timeout)
    assert thread.result == 0


def test_many_joiners_all_return(gate):
    thread = KernelThread(gate)
    thread.start()
    joiners = [KernelThread(thread.join) for _ in range(8)] + [threading.Thread(target=thread.join)]
    for joiner in joiners:
        joiner.start()
    gate.opened.set()
    for joiner in joiners:
        joiner.join()
        assert not joiner.is_alive()


def test_name_and_daemon_are_fixed_by_the_start(gate):
    thread = KernelThread(gate)
    thread.name, thread.daemon = "renamed", True
    thread.start()
    assert Path(f"/proc/self/task/{thread.native_id}/comm").read_text() == "renamed\n"
    with pytest.raises(RuntimeError, match="cannot set name"):
        thread.name = "again"
    with pytest.raises(RuntimeError, match="cannot set daemon"):
        thread.daemon = False
    gate.opened.set()
    thread.join()


def test_daemon_is_inherited():
    def inner() -> tuple[bool, bool]:
        return KernelThread().daemon, KernelThread(daemon=False).daemon

    for daemon in (False, True):
        with KernelThread(inner, daemon=daemon) as thread:
            pass
        assert thread.result == (daemon, False)
    assert KernelThread().daemon is False


def test_forgetting_the_constructor_of_the_base_class_is_named():
    class Forgetful(KernelThread):
        def __init__(self) -> None:
            pass

    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        Forgetful().start()


# ---- exceptions ----


def test_join_and_result_raise_what_the_body_raised_with_its_traceback(reported):
    thread = KernelThread(fail)
    thread.start()
    for look in ("join", "result", "join"):
        with pytest.raises(ValueError, match="on purpose") as caught:
            thread.join() if look == "join" else thread.result
        names = [entry.name for entry in caught.traceback]
        assert names[-1] == "fail"
        assert "_bootstrap" not in names
        assert len(names) < 8  # it does not grow from look to look
    assert thread.exception is caught.value
    del thread, caught
    gc.collect()
    assert reported == []


def test_a_with_block_raises_what_the_body_raised():
    with pytest.raises(ValueError, match="on purpose"), KernelThread(fail):
        pass


def test_an_exception_that_nobody_looked_at_is_reported_once_when_collected(reported):
    thread = KernelThread(fail, name="unlucky")
    run_to_the_end(thread)
    assert reported == []
    del thread
    gc.collect()
    (args,) = reported
    assert args.exc_type is ValueError
    assert args.thread.name == "unlucky"
    assert args.exc_traceback.tb_frame.f_code.co_name == "run"


def test_a_thread_that_nobody_holds_reports_at_its_end(reported):
    KernelThread(fail).start()
    wait_until(lambda: len(reported) == 1)


def test_looking_at_exception_is_looking(reported):
    thread = KernelThread(fail)
    run_to_the_end(thread)
    assert isinstance(thread.exception, ValueError)
    del thread
    gc.collect()
    assert reported == []


def test_a_hook_that_fails_is_shown_and_harmless(monkeypatch, capsys):
    def broken(args: object) -> None:
        raise RuntimeError("the hook itself")

    monkeypatch.setattr(threading, "excepthook", broken)
    thread = KernelThread(fail)
    run_to_the_end(thread)
    del thread
    gc.collect()
    assert "the hook itself" in capsys.readouterr().err


def test_system_exit_is_silent(reported):
    with KernelThread(sys.exit, (3,)) as thread:
        pass
    assert thread.exception is None
    del thread
    gc.collect()
    assert reported == []


def test_an_unjoined_failure_is_reported_at_exit_exactly_once():
    done = in_python("""
        import threading
        from filar.threads import KernelThread
        def fail(): raise ValueError("on purpose")
        kept = KernelThread(fail, name="kept"); kept.start()
        KernelThread(fail, name="dropped").start()
        joined = KernelThread(fail, name="joined"); joined.start()
        try: joined.join()
        except ValueError: pass
    """)
    assert done.stderr.count("Exception in thread kept") == 1
    assert done.stderr.count("Exception in thread dropped") == 1
    assert "joined" not in done.stderr


# ---- what a body finds ----


def test_the_body_runs_in_a_copy_of_the_starters_context():
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("the creator's")

    def body() -> str:
        found = variable.get()
        variable.set("the body's")
        return found

    with KernelThread(body) as thread:
        pass
    assert thread.result == "the creator's"
    assert variable.get() == "the creator's"


@pytest.mark.parametrize("kind", ["trace", "profile"])
def test_hooks_of_threading_are_honoured(kind):
    set_hook = getattr(threading, f"set{kind}")
    seen: list[str] = []

    def hook(frame: Any, event: str, argument: object) -> None:
        seen.append(frame.f_code.co_name)

    def traced() -> None:
        pass

    before = getattr(threading, f"get{kind}")()
    set_hook(hook)
    try:
        with KernelThread(traced):
            pass
    finally:
        set_hook(before)
    assert "traced" in seen


def test_thread_locals_are_the_threads_own_and_cleared_at_its_end():
    local = threading.local()
    collected = []

    class Value:
        def __del__(self) -> None:
            collected.append(threading.get_native_id())

    def body() -> None:
        local.value = Value()

    with KernelThread(body) as thread:
        pass
    assert collected == [thread.native_id]
    assert not hasattr(local, "value")


def test_current_frames_and_faulthandler_show_it(gate):
    with KernelThread(gate) as thread:
        gate.entered.wait()
        names = []
        frame = sys._current_frames()[thread.ident]
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        with tempfile.TemporaryFile("w+") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            dumped = file.read()
        gate.opened.set()
    assert "__call__" in names
    assert "_bootstrap" in names
    assert re.search(rf"Thread 0x0*{thread.ident:x}\b", dumped)
    assert "_bootstrap" in dumped


def test_a_fault_in_a_body_reaches_faulthandler():
    done = in_python(
        """
        import ctypes
        from filar.threads import KernelThread
        KernelThread(ctypes.string_at, (0,)).start()
        import time
        while True: time.sleep(1)
        """,
        expect=-signal.SIGSEGV,
    )
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "_bootstrap" in done.stderr


# ---- options ----


@pytest.mark.parametrize("pin_by", ["attribute", "parent", "self"])
def test_cpus_are_set_whoever_pins(gate, pin_by):
    with KernelThread(gate, cpu=ALLOWED[-1], pin_by=pin_by) as thread:
        assert os.sched_getaffinity(thread.native_id) == {ALLOWED[-1]}
        assert thread.cpus == {ALLOWED[-1]}
        thread.set_cpus(ALLOWED)
        assert thread.cpus == frozenset(ALLOWED)
        thread.set_cpus(ALLOWED[0])
        assert thread.cpus == {ALLOWED[0]}
        with pytest.raises(errors.NoSuchCPUError, match="8000"):
            thread.set_cpus([ALLOWED[0], NO_SUCH_CPU])
        assert thread.cpus == {ALLOWED[0]}
        gate.opened.set()
    assert thread.cpus == {ALLOWED[0]}
    assert os.sched_getaffinity(0) == set(ALLOWED)


def test_nice_and_policy_are_set_and_changed(gate):
    with KernelThread(gate, nice=5, policy="batch") as thread:
        tid = thread.native_id
        assert os.getpriority(os.PRIO_PROCESS, tid) == 5
        assert os.sched_getscheduler(tid) == os.SCHED_BATCH
        thread.set_nice(7)
        thread.set_policy("IDLE")
        assert os.getpriority(os.PRIO_PROCESS, tid) == 7
        assert os.sched_getscheduler(tid) == os.SCHED_IDLE
        gate.opened.set()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_settings_are_refused_before_the_start_and_after_the_end():
    thread = KernelThread()
    for late in (False, True):
        if late:
            thread.start()
            thread.join()
        with pytest.raises(errors.WrongStateError):
            thread.set_nice(5)
        with pytest.raises(errors.WrongStateError):
            thread.set_policy("batch")
        with pytest.raises(errors.WrongStateError):
            thread.set_cpus(ALLOWED)


def test_priority_without_permission_is_refused_by_name():
    done = in_python("""
        import os, resource
        from filar.threads import KernelThread
        for limit in (resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO):
            resource.setrlimit(limit, (0, 0))
        if os.geteuid() == 0:
            os.setuid(65534)
        for options in ({"policy": "fifo", "priority": 50}, {"policy": "rr", "priority": 1}, {"nice": -5}):
            thread = KernelThread(print, ("the body ran",), **options)
            try:
                thread.start()
            except PermissionError as error:
                print(type(error).__name__, error)
            print(thread.is_alive(), thread.native_id)
    """)
    assert "NotPermittedError the policy SCHED_FIFO with priority 50 needs CAP_SYS_NICE" in done.stdout
    assert "NotPermittedError the policy SCHED_RR with priority 1 needs CAP_SYS_NICE" in done.stdout
    assert "NotPermittedError nice -5 needs CAP_SYS_NICE" in done.stdout
    assert done.stdout.count("False None") == 3
    assert "the body ran" not in done.stdout


BAD_OPTIONS = [
    ({"cpu": NO_SUCH_CPU}, errors.NoSuchCPUError, "8000"),
    ({"cpu": -1}, errors.NoSuchCPUError, "no CPU -1"),
    ({"cpu": 2**40}, ValueError, "out of range"),
    ({"cpu": True}, TypeError, "cpu is a number, not True"),
    ({"cpu": "0"}, TypeError, "whole number, not str"),
    ({"cpus": []}, ValueError, "cpus is empty"),
    ({"cpus": [ALLOWED[0], NO_SUCH_CPU]}, errors.NoSuchCPUError, "CPU 8000 is not online"),
    ({"cpus": "01"}, TypeError, "not str"),
    ({"cpus": 1}, TypeError, "not int"),
    ({"cpu": ALLOWED[0], "cpus": ALLOWED}, ValueError, "not both"),
    ({"pin_by": "magic"}, ValueError, "one of attribute, parent, self"),
    ({"pin_by": 1}, TypeError, "not int"),
    ({"nice": 20}, ValueError, "nice is -20 to 19, not 20"),
    ({"nice": 1.5}, TypeError, "not float"),
    ({"policy": "hurry"}, ValueError, "one of other, batch, idle, fifo, rr"),
    ({"policy": "fifo"}, ValueError, "1 to 99, not 0"),
    ({"policy": "batch", "priority": 3}, ValueError, "needs the FIFO or RR policy"),
    ({"stack_size": 1024}, ValueError, "a stack of 1024 bytes is too small"),
    ({"stack_size": 65536}, ValueError, "runs Python needs at least 131072"),
    ({"stack_size": -1}, ValueError, "above zero, not -1"),
    ({"stack_size": 0}, ValueError, "above zero, not 0"),
    ({"stack_size": True}, TypeError, "not True"),
    ({"stack_size": "64k"}, TypeError, "not str"),
    ({"stack_size": 2**50}, OSError, "a thread's stack of 1125899906842624 bytes"),
    ({"stack_size": 2**70}, ValueError, "larger than the address space"),
    ({"stack": b"read-only"}, TypeError, "writable buffer"),
    ({"stack": bytearray(1024)}, ValueError, "a stack of 1024 bytes is too small"),
    ({"stack": bytearray(2**20), "stack_size": 2**21}, ValueError, "more than the 1048576 bytes"),
    ({"name": "sixteen-bytes-xx"}, ValueError, "16 bytes long; Linux keeps 15"),
    ({"name": "a\0b"}, ValueError, "zero byte"),
    ({"name": 5}, TypeError, "a name is a str"),
    ({"target": 5}, TypeError, "target is a callable, not int"),
    ({"args": 5}, TypeError, "args is a tuple, not int"),
    ({"args": "x"}, TypeError, "args is a tuple, not str"),
    ({"kwargs": [1]}, TypeError, "kwargs is a dict, not list"),
    ({"daemon": "no"}, TypeError, "daemon is True, False or None"),
]


@pytest.mark.parametrize(("options", "kind", "sentence"), BAD_OPTIONS, ids=lambda value: str(value)[:40])
def test_a_bad_option_is_one_sentence_and_no_thread(options, kind, sentence):
    tasks = len(os.listdir("/proc/self/task"))
    ran: list[int] = []
    with pytest.raises(kind, match=sentence) as caught:
        KernelThread(**({"target": ran.append, "args": (1,)} | options)).start()
    assert "\n" not in str(caught.value)
    assert ran == []
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= tasks)
    assert not any(core.handle is None for core in threads._cores)


def test_a_terabyte_of_stack_is_refused_under_an_address_space_limit():
    done = in_python("""
        import resource
        from filar.threads import KernelThread
        resource.setrlimit(resource.RLIMIT_AS, (2**38, 2**38))
        try:
            KernelThread(stack_size=2**40).start()
        except OSError as error:
            print(type(error).__name__, error)
    """)
    assert "LimitError the kernel gives no memory for a thread's stack of 1099511627776 bytes" in done.stdout


def test_a_refused_start_may_be_repeated(gate, monkeypatch):
    thread = KernelThread(gate, stack_size=2**50)
    for _ in range(2):
        with pytest.raises(OSError, match="no memory for a thread's stack"):
            thread.start()
    assert thread.native_id is None
    thread._stack_bytes = 0
    gate.opened.set()
    with thread:
        pass
    assert thread.result == "through"


def test_an_interrupt_right_after_the_creation_loses_no_thread(gate, monkeypatch):
    def interrupted(status: int) -> None:
        raise KeyboardInterrupt

    thread = KernelThread(gate)
    with monkeypatch.context() as patch:
        patch.setattr(threads, "check", interrupted)
        with pytest.raises(KeyboardInterrupt):
            thread.start()
    assert thread.is_alive()
    with pytest.raises(RuntimeError, match="only be started once"):
        thread.start()
    gate.opened.set()
    thread.join()
    assert thread.result == "through"


DEEP = """
    import json
    from filar.threads import KernelThread

    def python_only(n): return python_only(n + 1)
    def through_c(n): return max([n], key=lambda _: through_c(n + 1))
    def hungriest(n): return sorted([n], key=lambda _: hungriest(n + 1))
    def nested():
        value = []
        for _ in range(100_000): value = [value]
        try: return json.dumps(value)
        finally:
            while value: value = value[0]
    def imports():
        import decimal, email.message, xml.dom.minidom
        raise RecursionError

    for body in (lambda: python_only(0), lambda: through_c(0), lambda: hungriest(0), nested, imports):
        thread = KernelThread(body, stack_size=SIZE)
        thread.start()
        try: thread.join()
        except RecursionError: print("RecursionError")
"""


@pytest.mark.parametrize("size", [128 * 1024, 256 * 1024, 1024 * 1024, None])
def test_too_deep_recursion_on_a_small_stack_is_an_exception_not_a_crash(size):
    assert in_python(DEEP.replace("SIZE", str(size))).stdout == "RecursionError\n" * 5


def test_a_stack_of_the_callers_is_used_and_free_after_the_join():
    stack = mmap.mmap(-1, 1024 * 1024)
    untouched = bytes(stack)
    for _ in range(20):
        with KernelThread(sum, ([1, 2],), stack=stack) as thread:
            pass
        assert thread.result == 3
        assert bytes(stack) != untouched
        stack[:] = untouched


def test_a_stack_in_use_is_refused_to_a_second_thread(gate):
    stack = np.zeros(1024 * 1024, np.uint8)
    with KernelThread(gate, stack=stack):
        with pytest.raises(errors.BusyError, match="another thread still uses this stack"):
            KernelThread(stack=stack[1000:]).start()
        gate.opened.set()
    # Never joined, but ended: that is found out.
    thread = KernelThread(stack=stack)
    run_to_the_end(thread)
    with KernelThread(int, stack=stack) as other:
        pass
    assert other.result == 0


# ---- native bodies ----


class Semaphore:
    """A sem_t of libc: something that native bodies can wait on and post, without Python."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None)
        self.memory = ctypes.create_string_buffer(64)
        assert self.libc.sem_init(self.memory, 0, 0) == 0

    def post(self) -> None:
        self.libc.sem_post(self.memory)

    def value(self) -> int:
        found = ctypes.c_int()
        self.libc.sem_getvalue(self.memory, ctypes.byref(found))
        return found.value


def native_forms(semaphore: Semaphore) -> dict[str, tuple[Any, Any]]:
    function = semaphore.libc.sem_post
    address = ctypes.cast(function, ctypes.c_void_p).value
    user_ffi = cffi.FFI()
    user_ffi.cdef("int sem_post(void *);")
    user_lib = user_ffi.dlopen(None)

    class Compiled:
        """What numba's @cfunc gives."""

    compiled = Compiled()
    compiled.address = address
    memory = ctypes.addressof(semaphore.memory)
    return {
        "ctypes function, ctypes array": (function, semaphore.memory),
        "ctypes function, c_void_p": (function, ctypes.c_void_p(memory)),
        "ctypes function, POINTER": (function, ctypes.pointer(semaphore.memory)),
        "cffi function, cffi pointer": (user_ffi.addressof(user_lib, "sem_post"), user_ffi.cast("void *", memory)),
        "address, address": (address, memory),
        "object with an address, buffer": (compiled, memoryview(semaphore.memory)),
    }


@pytest.mark.parametrize("form", native_forms(Semaphore()))
def test_a_native_body_is_called_with_its_argument(form):
    semaphore = Semaphore()
    function, argument = native_forms(semaphore)[form]
    with KernelThread.native(function, argument, name="native") as thread:
        pass
    assert semaphore.value() == 1
    assert thread.result is None
    assert thread.exception is None


def test_a_native_body_takes_the_options_and_holds_no_gil():
    semaphore = Semaphore()
    with KernelThread.native(semaphore.libc.sem_wait, semaphore.memory, cpu=ALLOWED[0], nice=3) as thread:
        assert thread.is_alive()
        assert thread.cpus == {ALLOWED[0]}
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == 3
        with pytest.raises(errors.WrongStateError, match="the thread runs"):
            _ = thread.result
        semaphore.post()
    assert not thread.is_alive()


def test_a_numpy_array_is_the_argument_and_lives_as_long_as_the_thread():
    class Array(np.ndarray):
        """Unlike its base class it can be referred to weakly."""

    semaphore = Semaphore()
    array = np.frombuffer(bytearray(64), np.uint8).view(Array)
    semaphore.libc.sem_init(ctypes.c_void_p(array.ctypes.data), 0, 0)
    alive = weakref.ref(array)
    address = array.ctypes.data
    KernelThread.native(semaphore.libc.sem_wait, array).start()
    del array
    gc.collect()
    assert alive() is not None
    semaphore.libc.sem_post(ctypes.c_void_p(address))

    def is_gone() -> bool:
        threads._sweep()
        return alive() is None

    wait_until(is_gone)


@pytest.mark.parametrize(
    ("function", "argument", "kind"),
    [
        (print, None, TypeError),
        (None, None, TypeError),
        (True, None, TypeError),
        (0, None, ValueError),
        (-5, None, ValueError),
        (2**64, None, ValueError),
        (1, "text", TypeError),
        (1, 1.5, TypeError),
        (1, True, TypeError),
        (1, -1, ValueError),
    ],
)
def test_what_is_no_native_function_or_argument_is_refused(function, argument, kind):
    with pytest.raises(kind):
        KernelThread.native(function, argument)


def test_a_native_body_takes_no_target():
    with pytest.raises(TypeError, match="takes no target"):
        KernelThread.native(1, target=print)


# ---- memory ----


@pytest.mark.parametrize("body", [int, fail, sys.exit], ids=["returns", "fails", "exits"])
def test_an_ended_thread_is_freed_without_the_collector(body):
    gc.collect()
    gc.disable()
    try:
        thread = KernelThread(body)
        thread.start()
        with contextlib.suppress(ValueError):
            thread.join()
        alive = weakref.ref(thread)
        del thread
        assert alive() is None
    finally:
        gc.enable()


def test_a_running_thread_keeps_itself_alive(gate):
    thread = KernelThread(gate)
    thread.start()
    alive = weakref.ref(thread)
    gate.entered.wait()
    del thread
    gc.collect()
    assert alive() is not None
    gate.opened.set()
    wait_until(lambda: alive() is None)


def test_a_thread_that_was_never_started_is_freed():
    alive = weakref.ref(KernelThread(fail))
    gc.collect()
    assert alive() is None


def test_ten_thousand_threads_leave_no_memory_and_no_tasks():
    def churn(count: int) -> None:
        for i in range(count):
            thread = KernelThread(int)
            thread.start()
            if i % 2:
                thread.join()
            if i % 50 == 0:
                # On a busy machine the unjoined pile up, and a dict that held thousands keeps its size.
                wait_until(lambda: threads._sweep() or len(threads._cores) < 50)

    churn(500)
    threads._sweep()
    tasks = len(os.listdir("/proc/self/task"))
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        churn(10_000)
        wait_until(lambda: threads._sweep() or len(threads._cores) == 0)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100_000, f"{grown} bytes for 10,000 threads"
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= tasks)


# ---- statistics ----


def test_statistics_are_an_immutable_snapshot(gate):
    thread = KernelThread(gate, name="counted")
    assert thread.statistics() == threads.ThreadStatistics("counted", None, False, False, 0.0, None, None)
    with thread:
        gate.entered.wait()
        wait_until(lambda: (thread.statistics().switches_voluntary or 0) > 0)
        running = thread.statistics()
        gate.opened.set()
    ended = thread.statistics()
    assert (running.started, running.alive, running.tid) == (True, True, thread.native_id)
    assert running.switches_involuntary is not None
    assert (ended.started, ended.alive, ended.switches_voluntary) == (True, False, None)
    assert ended.cpu_seconds >= running.cpu_seconds > 0
    with pytest.raises(AttributeError):
        ended.tid = 5


def test_cpu_time_grows_with_work():
    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            pass

    stop = threading.Event()
    with KernelThread(work, (stop,)) as thread:
        wait_until(lambda: thread.cpu_time > 0.01)
        stop.set()


# ---- Ctrl-C ----


def test_ctrl_c_ends_a_join_and_the_thread_goes_on():
    script = """
        import threading
        from filar.threads import KernelThread
        stop = threading.Event()
        thread = KernelThread(stop.wait)
        thread.start()
        try:
            print("joining", flush=True)
            thread.join()
        except KeyboardInterrupt:
            print("interrupted", thread.is_alive(), flush=True)
        stop.set()
        thread.join()
        print("result", thread.result)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "joining\n"
        wait_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S")
        os.kill(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=SECONDS_MAX)
    finally:
        child.kill()
        child.wait()
    assert out == "interrupted True\nresult True\n", err
    assert child.returncode == 0


def test_python_signal_handlers_run_while_the_main_thread_joins():
    done = in_python("""
        import os, signal, threading
        from filar.threads import KernelThread
        handled = threading.Event()
        signal.signal(signal.SIGUSR1, lambda number, frame: handled.set())
        def body():
            os.kill(os.getpid(), signal.SIGUSR1)
            return handled.wait(30)
        thread = KernelThread(body)
        thread.start()
        thread.join()
        print(thread.result)
    """)
    assert done.stdout == "True\n"


# ---- the end of the interpreter ----


def test_exit_waits_for_threads_that_are_no_daemons_and_what_they_start():
    done = in_python("""
        import time
        from filar.threads import KernelThread
        def second():
            time.sleep(0.1)
            print("second done", flush=True)
        def first():
            time.sleep(0.1)
            KernelThread(second).start()
            print("first done", flush=True)
        KernelThread(first).start()
        print("main done", flush=True)
    """)
    assert done.stdout == "main done\nfirst done\nsecond done\n"


def test_exit_waits_for_native_threads_too():
    done = in_python("""
        import ctypes
        from filar.threads import KernelThread
        libc = ctypes.CDLL(None)
        KernelThread.native(libc.usleep, 200_000, daemon=False).start()
        import atexit
    """)
    assert done.stderr == ""


DAEMONS = {
    "computing": "def body():\n    while True: pass",
    "sleeping": "import time\ndef body():\n    while True: time.sleep(0.0001)",
    "waiting": "body = threading.Event().wait",
    "joining": "other = KernelThread(threading.Event().wait, daemon=True); other.start(); body = other.join",
    "starting threads": "def body():\n    while True:\n        with KernelThread(int): pass",
    "native": "import ctypes; body = None; native = ctypes.CDLL(None).pause",
}


@pytest.mark.parametrize("kind", DAEMONS)
def test_daemons_neither_hold_up_nor_crash_the_exit(kind):
    script = f"import threading, time\nfrom filar.threads import KernelThread\nnative = None\n{DAEMONS[kind]}\n"
    script += (
        "for _ in range(4):\n"
        "    (KernelThread.native(native, daemon=True) if native else KernelThread(body, daemon=True)).start()\n"
        "time.sleep(0.05)\n"
        "print('leaving', flush=True)\n"
    )
    for _ in range(5):
        done = in_python(script)
        assert done.stdout == "leaving\n"
        assert "Fatal" not in done.stderr


def test_ctrl_c_at_exit_gives_up_waiting():
    script = """
        import threading
        from filar.threads import KernelThread
        KernelThread(threading.Event().wait, daemon=False).start()
        print("leaving", flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "leaving\n"

        def interrupted() -> bool:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
                time.sleep(0.2)
            return child.poll() is not None

        wait_until(interrupted)
    finally:
        child.kill()
        child.communicate()


def test_no_thread_starts_after_the_last_word():
    done = in_python("""
        import atexit
        def late():
            try:
                KernelThread().start()
            except RuntimeError as error:
                print(type(error).__name__, error)
        atexit.register(late)      # runs after what was registered later
        from filar.threads import KernelThread
    """)
    assert done.stdout == "WrongStateError no new threads: the interpreter is shutting down\n"


# ---- fork ----


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_in_the_child_of_a_fork_the_threads_are_over_and_new_ones_work():
    done = in_python("""
        import os, sys, threading, warnings
        from filar.threads import KernelThread
        warnings.simplefilter("ignore")
        stop = threading.Event()
        running = KernelThread(stop.wait); running.start()
        ended = KernelThread(int); ended.start(); ended.join()
        child = os.fork()
        if child == 0:
            assert not running.is_alive()
            running.join()
            assert ended.result == 0
            assert running.cpu_time == 0 and running.statistics().alive is False
            try: running.set_nice(5)
            except RuntimeError as error: print(type(error).__name__, flush=True)
            with KernelThread(threading.get_native_id) as new: pass
            assert new.result == new.native_id
            print("child", flush=True)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert running.is_alive()
        stop.set()
        running.join()
        print("parent")
    """)
    assert done.stdout == "ForkedError\nchild\nparent\n"


def test_a_body_may_fork():
    done = in_python("""
        import os, warnings
        from filar.threads import KernelThread
        warnings.simplefilter("ignore")
        def body():
            child = os.fork()
            if child == 0:
                assert KernelThread.current() is None
                with KernelThread(int) as new: pass
                os._exit(0 if new.result == 0 else 1)
            return os.waitpid(child, 0)[1]
        with KernelThread(body) as thread: pass
        print(thread.result)
    """)
    assert done.stdout == "0\n"


def test_a_failure_before_a_fork_is_reported_by_the_parent_alone():
    done = in_python("""
        import os, warnings
        from filar.threads import KernelThread
        warnings.simplefilter("ignore")
        def fail(): raise ValueError("on purpose")
        thread = KernelThread(fail); thread.start()
        while thread.is_alive(): pass
        child = os.fork()
        if child: os.waitpid(child, 0)
    """)
    assert done.stderr.count("ValueError: on purpose") == 1


def test_multiprocessing_by_fork_works_beside_kernel_threads():
    done = in_python("""
        import multiprocessing, threading, warnings
        from filar.threads import KernelThread
        warnings.simplefilter("ignore")
        stop = threading.Event()
        with KernelThread(stop.wait):
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map(abs, [-1, -2, -3]))
            stop.set()
    """)
    assert done.stdout == "[1, 2, 3]\n"


def test_the_smallest_stacks_are_those_of_the_core():
    assert lib.FILAR_PY_STACK_BYTES_MIN == 131072
    assert lib.filar_kthread_stack_bytes_min() >= lib.FILAR_STACK_BYTES_MIN
