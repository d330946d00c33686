#!/usr/bin/env python3
"""Runs the stress tests of every protocol for a long time, in several builds, several at once.

Each protocol gets its time in each variant: its tests are run one after the other, again and again,
each run with a seed of its own, until the time is over or one fails.  Every run's seed and output
stand in build/hunt/<protocol>-<variant>.log; a table ends the hunt, and build/hunt/summary.txt keeps it.

    make hunt                          10 minutes for each protocol and variant
    make hunt HUNT="--seconds 60 --only park,idle --variants hard --jobs 2"

Nothing outlives the hunt: programs that hang end by their own time limit, and Ctrl-C ends all of them.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# protocol -> (program, test) pairs; a test of "" means all of the program's.
PROTOCOLS: dict[str, list[tuple[str, str]]] = {
    "deque": [("stress_runq", "")],
    "inject": [("stress_inject", ""), ("stress_idle", "no_work_is_left_while_workers_sleep")],
    "idle": [
        ("stress_idle", "no_work_is_left_while_workers_sleep"),
        ("stress_idle", "a_worker_that_is_busy_holds_up_nothing_it_has_made"),
        ("stress_idle", "as_many_pieces_as_workers_run_at_the_same_time"),
        ("stress_eventcount", ""),
    ],
    "park": [
        ("stress_park", "each_wake_that_was_claimed_ends_exactly_one_wait"),
        ("stress_park", "one_that_yields_is_continued_from_where_it_yielded"),
        ("stress_parker", ""),
    ],
    "join": [("stress_park", "join_and_end_meet_in_any_order")],
    "deadline": [
        ("stress_idle", "no_deadline_is_slept_through"),
        ("stress_park", "each_wake_that_was_claimed_ends_exactly_one_wait"),
    ],
    "cancel": [
        ("stress_park", "a_cancel_at_any_moment_ends_the_wait"),
        ("stress_block_locks", "mutex_waiters_cancelled_at_any_moment_leave_it_usable"),
        ("stress_block_chan", "chan_items_are_not_given_to_the_cancelled"),
    ],
    "shutdown": [("stress_park", "shutdown_notices_the_last_end_at_any_moment")],
    "waitq": [
        ("stress_block_locks", "event_sets_are_never_lost"),
        ("stress_block_locks", "event_may_be_freed_as_soon_as_the_wait_for_it_ends"),
        ("stress_block_groups", "latch_and_once_in_many_short_rounds"),
        ("stress_block_groups", "barrier_rounds_are_kept_apart"),
        ("stress_block_groups", "waitgroup_wait_ends_with_the_last_job"),
    ],
    "mutex": [("stress_block_locks", "mutex_excludes_and_loses_nobody"), ("stress_locks", "")],
    "cond": [("stress_block_locks", "cond_signals_reach_somebody_who_waits")],
    "rwlock": [("stress_block_groups", "rwlock_keeps_writers_alone_and_loses_nobody")],
    "semaphore": [("stress_block_locks", "semaphore_keeps_all_its_units")],
    "channel": [
        ("stress_block_chan", "chan_items_arrive_once_and_in_order"),
        ("stress_block_chan", "chan_close_at_any_moment_ends_all_and_loses_nothing"),
    ],
    "select": [
        ("stress_block_chan", "select_does_exactly_one_case"),
        ("stress_block_chan", "select_wakes_are_never_lost"),
    ],
    "stacks": [("stress_stacks", "")],
    "fork": [("stress_fork", "")],
    "kthread": [("stress_kthread", "")],
    "blocking": [("stress_blocking", "")],
    "pinned": [("stress_pinned", "")],
    "pool": [("stress_pool", "")],
    "poller": [("stress_io", "")],
}


@dataclass
class Hunt:
    """One protocol in one variant."""

    protocol: str
    variant: str
    runs: int = 0
    seconds: float = 0.0
    first_seed: int = 0
    last_seed: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return ROOT / "build" / "hunt" / f"{self.protocol}-{self.variant}.log"

    def row(self) -> str:
        result = "ok" if self.runs and not self.failures else "FAILED" if self.failures else "did not run"
        seeds = f"{self.first_seed}..{self.last_seed}"
        effort = f"{self.seconds:8.0f} s {self.runs:7} runs"
        return f"{self.protocol:<10} {self.variant:<6} {effort}  seeds {seeds:<24} {result}"


class Hunters:
    """Runs hunts, `jobs` at a time; ends all of them on Ctrl-C."""

    def __init__(self, hunts: list[Hunt], seconds: float, slice_seconds: float, jobs: int, seed: int) -> None:
        self.waiting = list(hunts)
        self.seconds = seconds
        self.slice_seconds = slice_seconds
        self.jobs = jobs
        self.seed = seed
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.running: set[subprocess.Popen[bytes]] = set()

    def run_once(self, hunt: Hunt, program: str, test: str, seed: int) -> bool:
        """One run of one test program; its output goes to the hunt's log."""
        command = ["nice", "-n", "15", str(ROOT / "build" / hunt.variant / program), *([test] if test else [])]
        environment = dict(os.environ)
        environment.update(
            FILAR_TEST_SEED=str(seed),
            FILAR_HARD_SEED=str(seed),
            FILAR_STRESS_SECONDS=str(self.slice_seconds),
            FILAR_TEST_SECONDS="300",
        )
        with hunt.log.open("ab") as log:
            log.write(f"--- seed {seed}: {program} {test}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            with self.lock:
                self.running.add(process)
            try:
                # A program's tests have their own limit; this is the net below it.
                code = process.wait(timeout=1200 + 20 * self.slice_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            with self.lock:
                self.running.discard(process)
        return code == 0 or self.stopping.is_set()

    def hunt(self, hunt: Hunt) -> None:
        """All of a hunt's time, or until something fails."""
        begin = time.monotonic()
        hunt.log.parent.mkdir(parents=True, exist_ok=True)
        hunt.log.write_bytes(b"")
        hunt.first_seed = self.seed
        while not self.stopping.is_set() and not hunt.failures:
            program, test = PROTOCOLS[hunt.protocol][hunt.runs % len(PROTOCOLS[hunt.protocol])]
            hunt.last_seed = self.seed + hunt.runs
            if not self.run_once(hunt, program, test, hunt.last_seed):
                seeds = f"FILAR_TEST_SEED={hunt.last_seed} FILAR_HARD_SEED={hunt.last_seed}"
                hunt.failures.append(f"{seeds} {program} {test}")
            hunt.runs += 1
            hunt.seconds = time.monotonic() - begin
            if hunt.seconds >= self.seconds and hunt.runs >= len(PROTOCOLS[hunt.protocol]):
                break
        print(hunt.row(), flush=True)

    def work(self) -> None:
        while not self.stopping.is_set():
            with self.lock:
                if not self.waiting:
                    return
                hunt = self.waiting.pop(0)
            self.hunt(hunt)

    def run(self) -> None:
        """Blocks until every hunt is over."""
        threads = [threading.Thread(target=self.work) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self.stopping.set()
            with self.lock:
                for process in self.running:
                    os.killpg(process.pid, signal.SIGTERM)
            for thread in threads:
                thread.join()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="for each protocol and variant (default 600)")
    parser.add_argument("--slice", type=float, default=5, help="seconds of one run, about (default 5)")
    parser.add_argument("--variants", default="tsan,hard", help="builds (default tsan,hard)")
    parser.add_argument("--only", default=",".join(PROTOCOLS), help="protocols (default: all)")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="at once (default: two a CPU)")
    parser.add_argument("--seed", type=int, default=None, help="of the first run (default: drawn)")
    options = parser.parse_args(arguments)
    options.protocols = options.only.split(",")
    options.builds = options.variants.split(",")
    unknown = [name for name in options.protocols if name not in PROTOCOLS]
    if unknown:
        parser.error(f"no such protocol: {', '.join(unknown)}; there are {', '.join(PROTOCOLS)}")
    if not 0 < options.seconds <= 86400 or not 0 < options.slice <= 600 or options.jobs < 1:
        parser.error("seconds are from 0 to a day, slices up to ten minutes, jobs at least one")
    return options


def forgotten() -> list[str]:
    """Stress programs that no protocol names."""
    named = {program for tests in PROTOCOLS.values() for program, _ in tests}
    return sorted(path.stem for path in (ROOT / "tests" / "c").glob("stress_*.c") if path.stem not in named)


def build(options: argparse.Namespace) -> None:
    programs = {program for protocol in options.protocols for program, _ in PROTOCOLS[protocol]}
    targets = [f"build/{variant}/{program}" for variant in options.builds for program in sorted(programs)]
    subprocess.run(["make", "-s", "-j2", *targets], cwd=ROOT, check=True)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if forgotten():
        print(f"in no protocol of tools/hunt.py: {', '.join(forgotten())}")
        return 1
    build(options)
    seed = options.seed if options.seed is not None else random.randrange(1, 1 << 31)
    hunts = [Hunt(protocol, variant) for protocol in options.protocols for variant in options.builds]
    hours = len(hunts) * options.seconds / options.jobs / 3600
    plan = f"{len(hunts)} hunts of {options.seconds:.0f} s, {options.jobs} at once: about {hours:.1f} h"
    print(f"{plan}; seed {seed}", flush=True)
    Hunters(hunts, options.seconds, options.slice, options.jobs, seed).run()
    lines = ["", "protocol   variant", *(hunt.row() for hunt in hunts)]
    for hunt in hunts:
        lines += [f"  again: {failure}   ({hunt.log.relative_to(ROOT)})" for failure in hunt.failures]
    text = "\n".join(lines)
    print(text)
    (ROOT / "build" / "hunt" / "summary.txt").write_text(text + "\n")
    return 0 if all(hunt.runs and not hunt.failures for hunt in hunts) else 1


if __name__ == "__main__":
    sys.exit(main())
