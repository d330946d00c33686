"""What every test may rely on."""

import contextlib
import signal
import sys
from pathlib import Path

import pytest

# Programs of the tree, not of the package, are tested, too. Last: none stands before a library of its name.
sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # On a machine whose CPUs others use, an example takes as long as it takes.
    settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Ctrl-C works here and in children, also where the tests were started in the background.

    A shell starts background commands with SIGINT ignored; Python then installs no handler, and children inherit it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
