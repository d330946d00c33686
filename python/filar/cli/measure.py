"""Runs experiments for a command: with progress, to the end or until Ctrl-C, keeping what has finished."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from filar import lab
from filar.cli.progress import Progress
from filar.cli.terminal import Terminal
from filar.errors import FilarError
from filar.lab.base import Experiment
from filar.lab.report import Report

__all__ = ["Outcome", "measure"]

# Set-up, calibration and the conditions' probes come on top of the seconds that an experiment plans.
OVERHEAD_S = 0.5


@dataclass
class Outcome:
    """What was measured, of how much, and whether Ctrl-C ended it."""

    report: Report
    planned: int
    failed: int = 0
    interrupted: bool = False


def measure(chosen: Sequence[Experiment], arguments: argparse.Namespace) -> Outcome:
    """Runs the experiments one after the other and blocks until the last has ended or Ctrl-C comes."""
    quick, seed = bool(arguments.quick), int(arguments.seed)
    begun = time.monotonic()
    made = Report(
        mode="quick" if quick else "full",
        seed=seed,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    outcome = Outcome(made, planned=len(chosen))
    seconds = [(one.quick if quick else one.full).seconds + OVERHEAD_S for one in chosen]
    shown = not arguments.no_progress
    try:
        with Progress(Terminal(sys.stderr), [one.name for one in chosen], seconds, shown=shown) as progress:
            for index, one in enumerate(chosen):
                progress.begin(index)
                try:
                    result = lab.run(one.name, quick=quick, seed=seed, on_progress=progress.update)
                except Exception as error:  # the other experiments are worth having whatever one of them does
                    outcome.failed += 1
                    made.notes.append(f"{one.name} was not measured: {_in_words(error)}")
                    progress.say(f"! {made.notes[-1]}")
                    continue
                made.results.append(result)
                progress.end(result)
    except KeyboardInterrupt:
        outcome.interrupted = True
        made.complete = False
    made.host = made.results[0].host if made.results else {}
    made.elapsed_s = time.monotonic() - begun
    return outcome


def _in_words(error: Exception) -> str:
    """Our errors are sentences; of others the kind is said as well."""
    return str(error) if isinstance(error, FilarError) else f"{type(error).__name__}: {error}"
