"""CPython's own test_socket, with the sockets of `filar.net` in the place of the standard library's.

The suite is that of the Python that runs (`test.test_socket`; Debian keeps it in libpython3.x-testsuite). `CASES` lists
the classes taken from it; what does not apply is left out, each with its reason: nothing else is. Run as a program,
`socket_suite.py` runs them on kernel threads, `socket_suite.py WORKERS` on green threads: the tests and all their
threads. A test that has made no socket of ours has tested nothing, and fails.
"""

import concurrent.futures.thread  # noqa: F401 (filar.blocking() is to have real threads)
import fcntl
import importlib
import os
import signal
import sys
import types
import unittest
from typing import Any

import conformance
import filar
from filar import net

# fmt: off
CASES = [
    "GeneralModuleTests", "BasicTCPTest", "BasicUDPTest", "SendmsgUDPTest", "RecvmsgUDPTest",
    "SendmsgTCPTest", "RecvmsgTCPTest", "RecvmsgIntoTCPTest",
    "RecvmsgIntoSCMRightsStreamTest", "InterruptedRecvTimeoutTest", "InterruptedSendTimeoutTest", "TCPCloserTest",
    "BasicSocketPairTest", "NonBlockingTCPTests", "FileObjectClassTestCase", "UnbufferedFileObjectClassTestCase",
    "SmallBufferedFileObjectClassTestCase",
    "NetworkConnectionNoServer", "NetworkConnectionAttributesTest",
    "NetworkConnectionBehaviourTest", "TCPTimeoutTest", "UDPTimeoutTest", "TestLinuxAbstractNamespace",
    "TestUnixDomain", "BufferIOTest", "ContextManagersTest", "InheritanceTest", "NonblockConstantTest",
    "SendfileUsingSendTest", "SendfileUsingSendfileTest", "CreateServerTest", "CreateServerFunctionalTest",
    "SendRecvFdsTests",
]
# fmt: on
# Of GeneralModuleTests, which tests mostly functions that make no socket.
# fmt: off
GENERAL = [
    "test_repr", "test_weakref", "testSendtoErrors", "testDefaultTimeout", "testSockName", "testGetSockOpt",
    "testSetSockOpt", "testSendAfterClose", "testCloseException", "testNewAttributes", "test_getsockaddrarg",
    "test_sendall_interrupted", "test_sendall_interrupted_with_timeout", "test_dealloc_warn",
    "test_name_closed_socketio", "test_unusable_closed_socketio", "test_socket_close", "test_makefile_mode",
    "test_makefile_invalid_mode", "test_pickle", "test_listen_backlog", "test_listen_backlog_overflow",
    "test_str_for_enums", "test_socket_consistent_sock_type", "test_unknown_socket_family_repr",
    "test__sendfile_use_sendfile", "test_socket_fileno",
]
# fmt: on
# Class or Class.test -> why it says nothing about ours.
LEFT_OUT: dict[str, str] = {
    "NonBlockingTCPTests.testSetBlocking": "looks at O_NONBLOCK of the file descriptor, which ours always has",
    "NonBlockingTCPTests.testSetBlocking_overflow": "likewise",
    "NonblockConstantTest.test_SOCK_NONBLOCK": "likewise",
    "NetworkConnectionNoServer.test_create_connection_timeout": "puts another class in the place of socket.socket",
    "NetworkConnectionBehaviourTest": "believes one second to end before another thread's three",
    "TCPCloserTest": "its client closes after a second, come what may; ours: test_net_sockets.py",
    "GeneralModuleTests.test_sendall_interrupted_with_timeout": "sleeps for three seconds; its sibling for one",
    "SendfileUsingSendTest.testWithTimeoutTriggeredSend": "sleeps for a second; is run for sendfile()",
    **{
        f"{kind}FileObjectClassTestCase.testReadAfterTimeout": "sleeps for a second; is run for FileObjectClassTestCase"
        for kind in ("Unbuffered", "LineBuffered", "SmallBuffered", "UnicodeRead", "UnicodeWrite", "UnicodeReadWrite")
    },
}
_SIGNALS = "signal handlers are set and run in the main thread, which runs no green threads"
LEFT_OUT_ON_GREEN: dict[str, str] = {
    "GeneralModuleTests.test_sendall_interrupted": _SIGNALS,
    "InterruptedRecvTimeoutTest": _SIGNALS,
    "InterruptedSendTimeoutTest": _SIGNALS,
    "TCPTimeoutTest.testInterruptedTimeout": _SIGNALS,
}

made = 0


def count_sockets() -> None:
    """From here on `made` is the number of our sockets so far."""
    initialize = net.socket.__init__

    def counting(self: net.socket, *args: Any, **kwargs: Any) -> None:
        global made
        made += 1
        initialize(self, *args, **kwargs)

    net.socket.__init__ = counting  # type: ignore[method-assign]


def shim() -> types.ModuleType:
    """What the suite finds as `socket`."""
    import socket as standard

    module = types.ModuleType("socket")
    module.__dict__.update(standard.__dict__)
    for name in ("socket", "create_connection", "create_server", "socketpair", "fromfd", "getaddrinfo"):
        setattr(module, name, getattr(net, name))
    return module


class Result(unittest.TextTestResult):
    """Fails a test that made no socket of ours."""

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.made_before = made
        super().startTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        if made == self.made_before:
            self.addFailure(test, (AssertionError, AssertionError("no socket of filar.net was made"), None))
        else:
            super().addSuccess(test)


def tests_of(suite: types.ModuleType, case: str, left_out: dict[str, str]) -> list[unittest.TestCase]:
    """Those of one class, without what is left out."""
    kind = getattr(suite, case, None)
    if kind is None:
        return []  # this version has no such class
    names = unittest.defaultTestLoader.getTestCaseNames(kind)
    if case == "GeneralModuleTests":
        names = [name for name in names if name in GENERAL]
    return [kind(name) for name in names if case not in left_out and f"{case}.{name}" not in left_out]


def one_process_at_a_time(kind: type[unittest.TestCase]) -> None:
    """The tests of `kind` bind names that are the same in each process, and seen by all."""

    def lock() -> None:
        # Of a folder that all processes share, other checkouts' and other Pythons' included.
        folder = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        kind.addClassCleanup(os.close, folder)
        fcntl.flock(folder, fcntl.LOCK_EX)

    kind.setUpClass = lock  # type: ignore[method-assign]


def be_patient(suite: Any) -> None:
    """What the suite gives a thread a second or five for may take as long as it takes."""
    event = suite.threading.Event
    patient = type("Event", (event,), {"wait": lambda self, timeout=None: event.wait(self)})
    suite.threading = types.SimpleNamespace(**{**vars(suite.threading), "Event": patient})

    def check_interrupted(self: Any, func: Any, *args: Any) -> None:
        # As checkInterruptedSend(): the alarm may come before the call.
        try:
            with self.assertRaises(ZeroDivisionError):  # noqa: PT027 (the suite's own)
                self.setAlarm(self.alarm_time)
                func(*args)
        finally:
            self.setAlarm(0)

    suite.InterruptedRecvTimeoutTest.checkInterruptedRecv = check_interrupted


def parking_select(readers: list[Any], writers: list[Any], others: list[Any], timeout: float) -> Any:
    """What the tests want of select.select(): that one thing is readable."""
    [reader], [], [] = readers, writers, others
    filar.wait_readable(reader, timeout)
    return readers, [], []


def run(left_out: dict[str, str], on_green: bool) -> int:
    """0: all passed, 1: not, 77: this Python does not have the suite."""
    try:
        suite = importlib.import_module("test.test_socket")
    except ImportError:
        return 77
    count_sockets()
    suite.socket = shim()  # type: ignore[attr-defined]
    one_process_at_a_time(suite.TestLinuxAbstractNamespace)
    be_patient(suite)
    if on_green:
        suite.select = types.SimpleNamespace(select=parking_select)  # type: ignore[attr-defined]
        # The thread that resolves names is there before the tests count threads.
        filar.blocking(int)
    tests = unittest.TestSuite(test for case in CASES for test in tests_of(suite, case, left_out))
    result = unittest.TextTestRunner(verbosity=2, resultclass=Result).run(tests)
    return 0 if result.wasSuccessful() and result.testsRun > 150 + len(result.skipped) else 1


def main(workers: int = 0) -> int:
    """On kernel threads (workers 0) or on a runtime with so many workers."""
    # What hangs shows where, and ends.
    signal.alarm(900)
    import faulthandler

    faulthandler.dump_traceback_later(800)
    conformance.be_patient()
    if workers == 0:
        return run(LEFT_OUT, False)
    conformance.use_green_threads()

    def on_green() -> int:
        result = run({**LEFT_OUT, **LEFT_OUT_ON_GREEN}, True)
        assert result == 77 or conformance.spawned, "no test has started a green thread"
        return result

    return int(filar.run(on_green, workers=workers))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
