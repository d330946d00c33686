"""Runs experiments for a command, with progress on stderr, to the end or until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from filar import lab
from filar.cli.progress import Progress
from filar.cli.terminal import Terminal
from filar.lab.report import Report
from filar.lab.result import Result

__all__ = ["measure_many", "measure_one"]


def measure_many(names: Sequence[str] | None, arguments: argparse.Namespace) -> Report:
    """The A/A check and these experiments (None: all). After Ctrl-C `complete` is False and the finished are there."""
    with Progress(Terminal(sys.stderr), shown=not arguments.no_progress) as progress:
        return lab.run_all(
            names,
            quick=arguments.quick,
            seed=arguments.seed,
            on_progress=progress.update,
            on_result=progress.end,
        )


def measure_one(name: str, arguments: argparse.Namespace) -> Result:
    """One experiment; KeyboardInterrupt goes on to the caller, since nothing is finished then."""
    with Progress(Terminal(sys.stderr), shown=not arguments.no_progress) as progress:
        return lab.run(name, quick=arguments.quick, seed=arguments.seed, on_progress=progress.update)
