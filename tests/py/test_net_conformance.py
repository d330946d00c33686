"""CPython's test_socket on the sockets of `filar.net`: what is run stands in socket_suite.py."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = str(Path(__file__).with_name("socket_suite.py"))
MODES = {"kernel threads": [], "green threads, one worker": ["1"], "green threads, two workers": ["2"]}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """All three at once: the suite sleeps most of the time. Its files lie where it runs, and stay if it is killed."""
    with contextlib.ExitStack() as stack:
        started = {}
        for mode, arguments in MODES.items():
            command, folder = [sys.executable, SUITE, *arguments], tmp_path_factory.mktemp("suite")
            process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            started[mode] = stack.enter_context(process)
            stack.callback(process.kill)
        yield started


@pytest.mark.timeout(960)
@pytest.mark.parametrize("mode", MODES)
def test_cpythons_test_socket_passes_on_ours(mode, running):
    output, _ = running[mode].communicate()
    if running[mode].returncode == 77:
        pytest.skip("SOCKETS NOT TESTED: no test_socket in the `test` package (Debian: libpython3.x-testsuite)")
    assert running[mode].returncode == 0, output
    assert "Warning -- " not in output, output
