"""CPython's lock_tests and test_queue against our classes, from kernel threads."""

import subprocess
import sys
from pathlib import Path

import pytest

import conformance


@pytest.mark.parametrize("case", conformance.CASES)
def test_cpythons_suite_passes_on_ours(case):
    program = [sys.executable, str(Path(__file__).with_name("conformance.py")), case]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=100)
    if ended.returncode == 77:
        pytest.skip(
            f"CONFORMANCE OF {case} NOT TESTED: no suite in the `test` package (Debian: libpython3.x-testsuite)"
        )
    assert ended.returncode == 0, ended.stderr
    assert "Warning -- " not in ended.stderr, ended.stderr
