"""Runs experiments: one, or all of them into a report, whatever happens on the way.

Around each stand the settings of the process (`safety.restored`), a watch over the conditions, and a time limit. An
experiment that fails is a result that says why; Ctrl-C ends a report early with what is there.
"""

from __future__ import annotations

import datetime
import difflib
import os
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filar.errors import FilarError, NotFoundError
from filar.lab import conditions as conditions_of_run
from filar.lab.base import UNDECIDED, Experiment, Measured, Verdict, experiments
from filar.lab.bench import Bench
from filar.lab.host import host_record
from filar.lab.report import SELF_CHECK, Report
from filar.lab.result import Result
from filar.lab.safety import Safety, restored
from filar.lab.selfcheck import self_check_error

__all__ = ["Progress", "find", "run", "run_all"]

# Repeats in a quieter moment: of one experiment, and in a whole report.
RETRIES_OF_ONE = 1
RETRIES_QUICK = 3
RETRIES_FULL = 8


@dataclass(frozen=True)
class Progress:
    """Where a run stands. `share` is 0 to 1 of this experiment; `left_s` an estimate for all that is left."""

    experiment: str
    index: int
    count: int
    share: float
    variant: str
    elapsed_s: float
    left_s: float


OnProgress = Callable[[Progress], None]


def find(name: str) -> Experiment:
    """The experiment of that name; NotFoundError, with the nearest names, if there is none."""
    known = experiments()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `filar list` shows all"
    raise NotFoundError(f"there is no experiment {name!r}{hint}")


def quick_by_default() -> bool:
    """Whether the environment asks for quick mode (FILAR_LAB_QUICK=1), as the tests of notebooks do."""
    return os.environ.get("FILAR_LAB_QUICK", "") not in ("", "0")


def run(
    name: str,
    *,
    quick: bool | None = None,
    seed: int = 1,
    on_progress: OnProgress | None = None,
    self_check: bool = False,
) -> Result:
    """Runs one experiment and blocks until it has ended: seconds in quick mode, up to a minute in full mode.

    `quick` None is full mode, unless FILAR_LAB_QUICK=1 is in the environment. With `self_check` the A/A measurement
    runs first, and its error stands in the badge. A measurement spoilt by others is repeated once, and the cleaner
    one is kept. Where the experiment cannot run here the verdict says so and why. Ctrl-C stops it cleanly (threads
    joined, settings restored) and raises KeyboardInterrupt.
    """
    chosen = find(name)
    session = _Session(quick, seed, on_progress, retries=RETRIES_OF_ONE)
    if self_check and name != SELF_CHECK:
        session.expect([find(SELF_CHECK), chosen])
        session.run(find(SELF_CHECK))
    else:
        session.expect([chosen])
    return session.run(chosen)


def run_all(
    names: Iterable[str] | None = None,
    *,
    quick: bool | None = None,
    seed: int = 1,
    on_progress: OnProgress | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> Report:
    """Runs experiments (all by default) into a report, the A/A self-check first, and blocks until all have ended.

    One that fails, also by a fault of ours, is a result "cannot be decided here" with the reason. Ctrl-C ends the
    report early: it is returned with what has been measured, `complete` is False. Unknown names raise NotFoundError
    before anything runs. `on_result` is called after each experiment.
    """
    wanted = [find(name) for name in dict.fromkeys(names)] if names is not None else list(experiments().values())
    check = experiments().get(SELF_CHECK)
    chosen = [*([check] if check else []), *(e for e in wanted if e is not check)]
    session = _Session(quick, seed, on_progress, retries=RETRIES_QUICK if _is_quick(quick) else RETRIES_FULL)
    session.expect(chosen)
    report = Report(host=session.host, mode=session.mode, seed=seed, started=_now())
    for experiment in chosen:
        try:
            report.results.append(session.run(experiment, swallow=True))
            if on_result is not None:
                on_result(report.results[-1])
        except KeyboardInterrupt:
            report.complete = False
            report.notes.append(
                f"Interrupted during {experiment.name}: {len(report)} of {len(chosen)} experiments were measured."
            )
            break
        finally:
            report.elapsed_s = session.elapsed_s
    return report


def _is_quick(quick: bool | None) -> bool:
    return quick_by_default() if quick is None else quick


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def time_limit_s(experiment: Experiment, quick: bool) -> float:
    """When an experiment is cut short: far above its budget, which set-up and a busy machine may overrun."""
    return 15 + 4 * _budget(experiment, quick).seconds


def _budget(experiment: Experiment, quick: bool) -> Any:
    return experiment.quick if quick else experiment.full


class _Session:
    """What the experiments of one run share: mode, host, self-check, retries left, progress."""

    def __init__(self, quick: bool | None, seed: int, on_progress: OnProgress | None, retries: int) -> None:
        self.quick, self.seed, self.retries_left = _is_quick(quick), seed, retries
        self.mode = "quick" if self.quick else "full"
        self.host = host_record()
        self.self_check_error: float | None = None
        self._on_progress = on_progress
        self._begun = time.monotonic()
        self._expected: list[Experiment] = []
        self._done = 0
        self._share = 0.0  # of the running experiment; a repeat does not take it back

    @property
    def elapsed_s(self) -> float:
        """Since the start of the run."""
        return time.monotonic() - self._begun

    def expect(self, chosen: list[Experiment]) -> None:
        """Names what will run, for progress."""
        self._expected = chosen

    def run(self, experiment: Experiment, *, swallow: bool = False) -> Result:
        """One experiment, repeated once if others spoilt it and a retry is left.

        Trouble from outside (FilarError, OSError) becomes an undecided result; with `swallow` so does a fault of ours.
        """
        started, begun = _now(), time.monotonic()
        self._share = 0.0
        measured, conditions = self._attempt(experiment, swallow)
        badge = conditions.get("badge", {})
        if self.retries_left > 0 and badge.get("level") == "bad" and isinstance(measured, Measured):
            self.retries_left -= 1
            again, conditions_again = self._attempt(experiment, swallow)
            first, second = (conditions_of_run.contamination(c) for c in (conditions, conditions_again))
            kept = "second" if second < first and isinstance(again, Measured) else "first"
            if kept == "second" and isinstance(again, Measured):
                measured, conditions = again, conditions_again
            measured.notes.append(f"Measured twice, since the machine was {badge['text']}; the {kept} run is shown.")
        self._done += 1
        result = self._result(experiment, measured, conditions, started, time.monotonic() - begun)
        if experiment.name == SELF_CHECK:
            self.self_check_error = self_check_error(result.rows)
        self._tell(experiment, 1.0, "")
        return result

    def _attempt(self, experiment: Experiment, swallow: bool) -> tuple[Measured | str, dict[str, Any]]:
        """Measures once. What comes back is the measurement, or the reason why there is none."""
        limit_s = time_limit_s(experiment, self.quick)
        begun = time.monotonic()
        self._tell(experiment, 0.0, "")

        def on_progress(share: float, variant: str) -> None:
            # Several plans count from 0 each; time does not.
            spent = (time.monotonic() - begun) / self._expected_s(experiment)
            self._tell(experiment, min(0.99, max(spent, share if len(bench.outcomes) == 0 else 0.0)), variant)

        bench = Bench(
            quick=self.quick,
            budget=_budget(experiment, self.quick),
            seed=self.seed,
            on_progress=on_progress if self._on_progress else None,
            safety=Safety.now(seconds_max=limit_s),
            deadline=begun + limit_s,
        )
        watch = conditions_of_run.Watch(bench.cpus)
        measured: Measured | str
        with restored() as settings:
            try:
                measured = experiment.measure(bench)
                measured.notes += bench.notes
            except (FilarError, OSError, MemoryError) as error:
                measured = str(error) or type(error).__name__
            except Exception as error:
                if not swallow:
                    raise
                measured = _fault(error)
        conditions = conditions_of_run.with_self_check(watch.stop(bench.outcomes), self.self_check_error)
        if settings.problems:
            conditions["not_restored"] = settings.problems
        return measured, conditions

    def _result(
        self,
        experiment: Experiment,
        measured: Measured | str,
        conditions: dict[str, Any],
        started: str,
        elapsed_s: float,
    ) -> Result:
        if isinstance(measured, str):
            found, verdict = Measured(), Verdict(UNDECIDED, measured)
        else:
            found = measured
            verdict = self._judge(experiment, found)
        problems = [f"Not as before: {problem}." for problem in conditions.get("not_restored", [])]
        return Result(
            experiment=experiment.name,
            title=experiment.title,
            family=experiment.family,
            claim=experiment.claim.text,
            claim_source=experiment.claim.source,
            method=experiment.method,
            verdict=verdict,
            references=list(experiment.references),
            rows=found.rows,
            series=found.series,
            tables=found.tables,
            notes=[*found.notes, *problems],
            mode=self.mode,
            seed=self.seed,
            host=self.host,
            conditions=conditions,
            started=started,
            elapsed_s=elapsed_s,
        )

    @staticmethod
    def _judge(experiment: Experiment, found: Measured) -> Verdict:
        """A judge that stumbles over its rows must not cost the rows."""
        try:
            return experiment.judge(found.rows)
        except Exception as error:
            found.notes.append(_fault(error))
            return Verdict(UNDECIDED, "the rows could not be judged; see the notes")

    def _expected_s(self, experiment: Experiment) -> float:
        """Budget plus set-up and calibration, as a guess for the progress bar."""
        return 1.2 * float(_budget(experiment, self.quick).seconds) + 0.5

    def _tell(self, experiment: Experiment, share: float, variant: str) -> None:
        if self._on_progress is None:
            return
        share = self._share = max(self._share, share)
        index = next((i for i, e in enumerate(self._expected) if e is experiment), 0)
        ahead = sum(self._expected_s(e) for e in self._expected[index + 1 :])
        left_s = ahead + (1 - share) * self._expected_s(experiment)
        progress = Progress(experiment.name, index, len(self._expected), share, variant, self.elapsed_s, left_s)
        self._on_progress(progress)


def _fault(error: Exception) -> str:
    """A fault of ours in one sentence: what, and where, without the machine's paths."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"it stopped with {type(error).__name__}{where}: {error}"
