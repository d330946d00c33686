"""What every test may rely on."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Ctrl-C works here and in children, also where the tests were started in the background.

    A shell starts background commands with SIGINT ignored; Python then installs no handler, and children inherit it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
