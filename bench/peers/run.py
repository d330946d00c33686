"""Runs the peer programs interleaved, suite by suite, and writes down every value of every round.

What is wanted is in peer_goals.py; peer_judge.py forms ratios round by round; peer_page.py makes one page and one JSON
of all that has been measured on a host.

Each round takes the lines in shuffled order and, for each, the programs that know it in shuffled order, a process each:
what is compared runs within a second of each other, so that drift and neighbours hit all alike. The value of a round is
the least of the samples that a process prints. Ratios are formed within rounds and get a sign-test interval.

Lines of one worker are judged by the CPU time of the whole process, which a busy neighbour changes least and which is
the time they take where nobody else runs; lines of several workers and delays by the clock. Both are in the results.

Rounds, seconds, memory and every process are bounded; what runs when this is interrupted is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import peer_page
from peer_goals import BY_NAME, LINES, SUITES, Line, Suite, suite_of
from peer_judge import Samples, parse

from filar.lab.conditions import Watch
from filar.lab.host import host_record

ROOT = Path(__file__).resolve().parents[2]
FORMAT = 1
PROGRAM_SECONDS_MAX = 120
# Foreign CPU in a round, percent of all CPUs, above which the round is marked as noisy.
NOISY_PERCENT = 10.0
PARKED = 1_000_000
BYTES_PER_PARKED = 6500


# ---- running ----


def run_program(path: Path, arguments: Sequence[str], extra: Mapping[str, str]) -> str:
    """Its output; RuntimeError says how it failed. Killed, with what it started, on time-out and interrupt."""
    process = subprocess.Popen(
        [str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **extra},
    )
    try:
        output, errors = process.communicate(timeout=PROGRAM_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"took more than {PROGRAM_SECONDS_MAX} s") from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode != 0:
        last = errors.strip().splitlines()
        raise RuntimeError(f"ended with {process.returncode}{': ' + last[-1] if last else ''}")
    return output


def parked_here(available_bytes: int | None) -> int:
    """As many parked threads as half of the free memory holds, at most a million."""
    if available_bytes is None:
        return PARKED
    return max(1000, min(PARKED, available_bytes // 2 // BYTES_PER_PARKED))


def programs_in(folder: Path, suite: Suite) -> dict[str, list[str]]:
    """The lines that each built program knows; one that cannot even say that is named and left out."""
    found = {}
    for name in suite.programs:
        path = folder / name
        if path.is_file() and os.access(path, os.X_OK):
            try:
                found[name] = run_program(path, ["--lines"], {}).split()
            except (RuntimeError, OSError) as problem:
                print(f"  {name}: {problem}; left out", file=sys.stderr)
    return found


class Race:
    """The rounds: which program runs which line when, and what came out."""

    def __init__(self, folder: Path, programs: Mapping[str, Sequence[str]], lines: Iterable[Line], seed: int) -> None:
        self.folder, self.programs, self.lines = folder, dict(programs), list(lines)
        self.random = random.Random(seed)
        self.samples, self.notes = Samples(), dict[str, str]()
        self.rounds: list[dict[str, Any]] = []

    def _turn(self, line: Line, number: int, extra: Mapping[str, str]) -> None:
        runners = [name for name, known in self.programs.items() if line.name in known]
        self.random.shuffle(runners)
        for name in runners:
            key = f"{name} {line.name}"
            if key in self.notes:
                continue
            try:
                parsed = parse(run_program(self.folder / name, [line.name], extra))
            except (RuntimeError, ValueError) as problem:
                self.notes[key] = str(problem)
                print(f"  {key}: {problem}; left out from here on", file=sys.stderr)
                continue
            self.samples.add(name, number, parsed)
            self.notes.update({f"{name} {skipped}": reason for skipped, reason in parsed.skips.items()})

    def round(self, number: int, extra: Mapping[str, str], deadline: float) -> bool:
        """One round; False when time is up, perhaps in the middle of it."""
        lines = [line for line in self.lines if number < line.rounds_max]
        self.random.shuffle(lines)
        watch = Watch(os.sched_getaffinity(0))
        complete = True
        for line in lines:
            if time.monotonic() > deadline:
                complete = False
                break
            self._turn(line, number, extra)
        found = watch.stop()
        foreign = found["foreign_percent"]
        noisy = foreign is not None and foreign > NOISY_PERCENT
        self.rounds.append({"foreign_percent": foreign, "steal_percent": found["steal_percent"], "noisy": noisy})
        words = "not known" if foreign is None else f"{foreign:.0f} %"
        print(f"round {number + 1}: {found['wall_s']:.0f} s, foreign CPU {words}", file=sys.stderr)
        return complete


def load_into(race: Race, path: Path, code: Sequence[str]) -> dict[str, Any]:
    """The rounds of an earlier run of the same code on the same machine come first; its conditions are returned."""
    before: dict[str, Any] = json.loads(path.read_text())
    if before["commit"] != commit(code) or not same_machine(before["host"], host_record()):
        raise SystemExit(f"{path} is of other code or of another machine: it cannot be added to")
    race.rounds += before["rounds"]
    race.samples = Samples.of(before)
    conditions: dict[str, Any] = before["conditions"]
    return conditions


def same_machine(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """As far as a record without names can tell."""
    return all(one.get(key) == other.get(key) for key in ("cpu_model", "kernel_release"))


def worse(one: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any]:
    """Of the conditions of two parts, those with more foreign CPU."""
    return max([one, *([other] if other else [])], key=lambda found: found["foreign_percent"] or 0.0)


# ---- what it ran on ----


def slug(host: Mapping[str, Any]) -> str:
    """A folder name from the CPU model and the kernel's major version; nothing that names the machine."""
    model = re.sub(r"\((r|tm|c)\)|@.*|\bcpu\b|\bprocessor\b", " ", str(host["cpu_model"]).lower())
    words = re.findall(r"[a-z0-9]+", model) or ["cpu"]
    return "-".join([*words, host["machine"].replace("_", "-"), f"linux{host['kernel_release'].split('.')[0]}"])


def version_of(command: Sequence[str]) -> str | None:
    """The first line that a tool says of itself."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout.splitlines() or [""])[0].strip() or None


def package_version(package: str) -> str | None:
    """Of a Debian package, without the packaging's own part."""
    if shutil.which("dpkg-query") is None:
        return None
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout.split("-")[0] or None


def python_version_of(package: str) -> str | None:
    """Of an installed Python package."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def boost_version() -> str | None:
    """From its header, where Debian puts it."""
    with contextlib.suppress(OSError):
        found = re.search(r'BOOST_LIB_VERSION "([^"]+)"', Path("/usr/include/boost/version.hpp").read_text())
        return found.group(1).replace("_", ".") if found else None
    return None


def git(*words: str) -> subprocess.CompletedProcess[str]:
    """Of this tree."""
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)


def commit(code: Sequence[str]) -> str | None:
    """Of this tree, with a mark if what the figures depend on is changed."""
    done, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", *code)
    return done.stdout.strip() + ("+changes" if changed.stdout.strip() else "") if done.returncode == 0 else None


def up_to_date(path: Path, suite: Suite, host: Mapping[str, Any]) -> bool:
    """Whether a suite's file is of this machine, and of code that has not changed since; goals may have."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        before = json.loads(path.read_text())
        since = before["commit"] or ""
        if not re.fullmatch("[0-9a-f]+", since) or not same_machine(before["host"], host):
            return False
        not_measuring = [f":!bench/peers/{name}" for name in ("run.py", "peer_*.py")]
        return git("diff", "--quiet", since, "--", *suite.code, *not_measuring).returncode == 0
    return False


def versions(suite: Suite, programs: Iterable[str]) -> dict[str, str | None]:
    """Of the peers that were here, and of what built them."""
    here = set(programs)
    found = {
        "go": version_of(["go", "version"]) if here & {"go", "server-go"} else None,
        "boost": boost_version() if here & {"boost-context", "boost-fiber"} else None,
        "oneTBB": package_version("libtbb-dev") if "pool-tbb" in here else None,
        "pthreadpool": package_version("libpthreadpool-dev") if "pool-pthreadpool" in here else None,
        "LLVM OpenMP": package_version("libomp-dev") if "pool-llvm" in here else None,
        "Python": sys.version.split()[0] if suite.prefix in "XYN" else None,
        "compiler": version_of(["gcc", "--version"]),
    }
    for name in ("greenlet", "gevent", "uvloop", "joblib", "numba"):
        if here & {name, f"server-{name}", f"executor-{name}"}:
            found[name] = python_version_of(name)
    return found


# ---- the command ----


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Green threads, pools, executors, web servers beside their peers.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--suite", choices=sorted(SUITES), default="green", help="which lines: G, P, X, Y, S, or N")
    what.add_argument("--all", action="store_true", help="every suite whose result is not of this code and machine")
    what.add_argument("--page", action="store_true", help="measure nothing: the page and its JSON from what is there")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the programs were built")
    parser.add_argument("--rounds", type=int, default=11, help="at most (1 to 99; below 6 no 95 %% interval)")
    parser.add_argument("--seconds", type=float, help="no new line of a suite is begun after so long")
    parser.add_argument("--lines", nargs="*", choices=sorted(BY_NAME), metavar="LINE", help="only these")
    parser.add_argument("--out", type=Path, help="folder for the files (default: bench/results/<host>)")
    parser.add_argument("--seed", type=int, default=1, help="of the order")
    parser.add_argument("--add", type=Path, metavar="JSON", help="an earlier result of the same code: its rounds count")
    parser.add_argument("--print", action="store_true", dest="only_print", help="write no files")
    chosen = parser.parse_args(words)
    if not 1 <= chosen.rounds <= 99:
        parser.error("1 to 99 rounds")
    if chosen.all and (chosen.lines or chosen.add):
        parser.error("--lines and --add are for one suite")
    return chosen


def run_suite(suite: Suite, chosen: argparse.Namespace, host: Mapping[str, Any]) -> dict[str, Any] | None:
    """Runs it and judges; None, with a word on stderr, when our own program is missing."""
    folder = chosen.build / suite.folder
    programs = programs_in(folder, suite)
    if suite.ours not in programs:
        print(f"no program {folder / suite.ours}: run {suite.word}", file=sys.stderr)
        return None
    lines = [line for line in LINES if suite_of(line.name) is suite and (not chosen.lines or line.name in chosen.lines)]
    race = Race(folder, programs, lines, chosen.seed)
    extra = {"PEER_PARKED": str(parked_here(host["memory_available_bytes"]))}
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    watch, deadline = Watch(os.sched_getaffinity(0)), time.monotonic() + (chosen.seconds or suite.seconds)
    before = load_into(race, chosen.add, suite.code) if chosen.add else None
    for count in range(len(race.rounds), len(race.rounds) + chosen.rounds):
        if not race.round(count, extra, deadline):
            break
    return {
        "format": FORMAT,
        "suite": suite.name,
        "date": started[:10],
        "started": started,
        "commit": commit(suite.code),
        "host": dict(host),
        "conditions": worse(watch.stop(), before),
        "rounds": race.rounds,
        "versions": versions(suite, programs),
        "notes": race.notes,
        "units": race.samples.units,
        "samples": race.samples.values,
    }


def file_name(suite: Suite, lines: Sequence[str] | None) -> str:
    """A part is kept beside the whole suite, not in its place: "green+G12.json"."""
    return "+".join([suite.name, *(lines or ())]) + ".json"


def main(words: Sequence[str] | None = None) -> int:
    """Runs, judges, writes; 1 when our own program is missing."""
    chosen = arguments_of(words)
    host = host_record()
    folder = chosen.out or ROOT / "bench/results" / slug(host)
    suites = list(SUITES.values()) if chosen.all else [] if chosen.page else [SUITES[chosen.suite]]
    status = 0
    for suite in suites:
        path = folder / file_name(suite, chosen.lines)
        if chosen.all and up_to_date(path, suite, host):
            print(f"{suite.name}: up to date", file=sys.stderr)
            continue
        result = run_suite(suite, chosen, host)
        if result is None:
            status = 1
        elif chosen.only_print:
            print(peer_page.page(peer_page.merged({path.stem: result})))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n")
            print(f"wrote {path}", file=sys.stderr)
    written = peer_page.write(folder) if not chosen.only_print else None
    if written:
        print(f"wrote {written}", file=sys.stderr)
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
