"""Programs of their own, for what would take the tests along: crashes, signals, forks, the end of the interpreter."""

import os
import subprocess
import sys
import textwrap

# Less than a test may take, so that what hangs is named here. Only a hang reaches it.
SECONDS_MAX = 280
# This interpreter; where it needs a launcher, that.
PYTHON = os.environ.get("FILAR_PYTHON", sys.executable)


def run_program(source: str, *, seconds: float = SECONDS_MAX) -> "subprocess.CompletedProcess[str]":
    """Runs Python source in a fresh interpreter."""
    return subprocess.run(
        [PYTHON, "-X", "faulthandler", "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
