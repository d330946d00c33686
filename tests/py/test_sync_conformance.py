"""CPython's lock_tests and test_queue against our classes, from kernel threads and from green threads."""

import subprocess
from pathlib import Path

import pytest

import conformance
from programs import PYTHON

# For a machine that is many times slower.
SECONDS_MAX = 600
pytestmark = pytest.mark.timeout(SECONDS_MAX + 20)


def run(case, *workers):
    program = [PYTHON, str(Path(__file__).with_name("conformance.py")), case, *workers]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS_MAX)
    if ended.returncode == 77:
        pytest.skip(
            f"CONFORMANCE OF {case} NOT TESTED: no suite in the `test` package (Debian: libpython3.x-testsuite)"
        )
    assert ended.returncode == 0, ended.stderr
    assert "Warning -- " not in ended.stderr, ended.stderr


@pytest.mark.parametrize("case", conformance.CASES)
def test_cpythons_suite_passes_on_ours(case):
    run(case)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("case", conformance.CASES)
def test_cpythons_suite_passes_on_ours_where_all_threads_are_green(case, workers):
    if case in conformance.LEFT_OUT_ON_GREEN:
        pytest.skip(conformance.LEFT_OUT_ON_GREEN[case])
    run(case, workers)
