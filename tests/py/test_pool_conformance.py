"""CPython's own executor tests, run against `filar.ThreadPoolExecutor` (executor_suite.py says how)."""

import logging
import unittest

import pytest

from executor_suite import LASTING, Suite, SuiteMissingError, ours_only

# None is skipped.  An entry would name the test and a reason that concerns internals of the standard class only.
SKIPPED: dict[str, str] = {}

try:
    SUITE = Suite()
    TESTS = dict(SUITE.tests())
    MISSING = ""
except SuiteMissingError as missing:
    TESTS = {}
    MISSING = str(missing)


def test_the_suite_is_here_and_whole():
    if MISSING:
        pytest.skip(MISSING)
    # 3.11 has 64, later versions more.
    assert len(TESTS) >= 60
    assert set(SKIPPED) <= set(TESTS)
    # Of test_zero_timeout and test_future_times_out each version has one.
    assert len(set(LASTING) - set(TESTS)) <= 1


@pytest.mark.parametrize("name", TESTS)
def test_cpython(name, monkeypatch):
    if name in SKIPPED:
        pytest.skip(SKIPPED[name])
    # Some tests read what the standard library logs from stderr, where it goes unless somebody listens.
    monkeypatch.setattr(logging.root, "handlers", [])
    result = unittest.TestResult()
    with ours_only() as made, SUITE.sleeping(name):
        TESTS[name].run(result)
    for _, text in result.failures + result.errors:
        pytest.fail(text, pytrace=False)
    for _, reason in result.skipped:
        pytest.skip(f"the suite's own reason: {reason}")
    assert result.testsRun == 1
    # Futures alone need no executor; everything else must have met ours.
    assert made or name.startswith("FutureTests")
