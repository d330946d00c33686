"""The same experiments on every machine of a dask cluster: one report for each worker, to be held side by side.

    from dask.distributed import Client
    machines = filar.lab.on_cluster(Client("tcp://scheduler:8786"), ["kthread-create", "kthread-switch"], quick=True)
    print(machines.compare())

A worker of dask has threads of its own that wake up many times a second, so it does not measure in its own process:
it starts `python -m filar report`, as a user in a terminal would, and hands back what that wrote. Workers on one host
measure one after the other, hosts at the same time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filar.errors import InvalidArgumentError, NotFoundError, ResultFileError
from filar.lab.base import experiments
from filar.lab.compare import Comparison, compare, told_apart
from filar.lab.report import SELF_CHECK, Report
from filar.lab.runner import find, quick_by_default, time_limit_s

__all__ = ["Machines", "on_cluster"]

# Start of the interpreter and reading /proc on a busy machine, beyond the experiments' own limits.
_START_S = 60
_POLITE_S = 10


@dataclass
class Machines:
    """Reports by the name of their worker, in the order of the workers; `failures` says why others have none."""

    reports: dict[str, Report]
    failures: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        return iter(self.reports)

    def __len__(self) -> int:
        return len(self.reports)

    def __getitem__(self, name: str) -> Report:
        if name not in self.reports:
            why = f" ({self.failures[name]})" if name in self.failures else ""
            raise NotFoundError(f"there is no report of {name!r}{why}; there is one of {', '.join(self) or 'nobody'}")
        return self.reports[name]

    def compare(self, base: str | None = None) -> Comparison:
        """All of them held against one, the first unless named. InvalidArgumentError with fewer than two."""
        if len(self) < 2:
            raise InvalidArgumentError(f"comparing takes two reports, and there is {len(self) or 'none'}")
        first = self[base or next(iter(self))]
        names = sorted(self, key=lambda name: self.reports[name] is not first)
        return compare(*(self.reports[name] for name in names), names=names)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes a file NAME.json for each report into the folder, made if need be; OSError if it cannot."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        stems = told_apart([re.sub(r"[^A-Za-z0-9._-]+", "-", name) for name in self.reports])
        return [report.save(target / f"{stem}.json") for stem, report in zip(stems, self.reports.values(), strict=True)]

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<Machines: {', '.join(self) or 'none'}{failed}>"


def on_cluster(
    client: Any,
    names: Iterable[str] | None = None,
    *,
    quick: bool | None = None,
    seed: int = 1,
    workers: Iterable[str] | None = None,
    on_report: Callable[[str, Report], None] | None = None,
) -> Machines:
    """Runs experiments (all by default) on each worker of a `dask.distributed.Client` and blocks until all have ended.

    The workers need filar; what else they do meanwhile disturbs the figures and shows in their badges. Each measures
    in a process of its own, workers of one host in turn. `workers` limits it to those names or addresses. A worker that
    fails, or is lost, stands in `failures` with the reason, and the others go on. `quick` and `seed` are those of
    `run_all()`; `on_report(name, report)` is called as reports come in. Ctrl-C ends the measuring processes as well.

    Unknown experiments and workers raise NotFoundError before anything runs, a cluster without workers
    InvalidArgumentError.
    """
    from distributed import as_completed

    quick = quick_by_default() if quick is None else quick
    chosen = [find(name) for name in dict.fromkeys(names if names is not None else experiments())]
    if not chosen:
        raise InvalidArgumentError("on_cluster() needs at least one experiment")
    limit_s = _START_S + sum(time_limit_s(one, quick) for one in {*chosen, find(SELF_CHECK)})
    arguments = ["--quick" if quick else "--full", "--seed", str(seed), "--only", *(one.name for one in chosen)]
    people = _workers(client, workers)
    token = uuid.uuid4().hex
    found: dict[str, Report | str] = {}
    names_of: dict[Any, str] = {}

    def start(name: str) -> Any:
        """Never on another worker, never a second time: a repeated measurement would be one of another moment."""
        address = people[name]["address"]
        key = f"filar-{token}-{name}"
        future = client.submit(
            _measure, token, arguments, limit_s, key=key, workers=[address], allow_other_workers=False, retries=0
        )
        names_of[future] = name
        return future

    turns = _by_host(people)
    running = as_completed([start(turn.pop(0)) for turn in turns.values()], raise_errors=False)
    try:
        for future in running:
            name = names_of[future]
            turn = turns[people[name]["host"]]
            if turn:
                running.add(start(turn.pop(0)))
            found[name] = _outcome(future)
            if on_report is not None and isinstance(outcome := found[name], Report):
                on_report(name, outcome)
    except BaseException:
        client.cancel(list(names_of))
        client.run(_stop, token, workers=[person["address"] for person in people.values()], on_error="ignore")
        raise
    return Machines(
        {name: outcome for name in people if isinstance(outcome := found[name], Report)},
        {name: outcome for name in people if isinstance(outcome := found[name], str)},
    )


def _workers(client: Any, wanted: Iterable[str] | None) -> dict[str, dict[str, Any]]:
    """Address and host of the workers by name; a number, which dask gives where nobody gave a name, is "worker-2"."""
    known = {}
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        name = worker["name"] if isinstance(worker["name"], str) else f"worker-{worker['name']}"
        if name in known:  # one is called "worker-0", another one 0
            name = address
        known[name] = {"address": address, "host": worker["host"]}
    if not known:
        raise InvalidArgumentError("the cluster has no workers yet (client.wait_for_workers() waits for them)")
    if wanted is None:
        return dict(sorted(known.items()))
    by_any_name = {**{worker["address"]: name for name, worker in known.items()}, **{name: name for name in known}}
    chosen = list(dict.fromkeys(str(one) for one in wanted))
    missing = [one for one in chosen if one not in by_any_name]
    if missing or not chosen:
        lacks = f"no worker {', '.join(missing)}" if missing else "nothing to do without workers"
        raise NotFoundError(f"{lacks}; the cluster has {', '.join(sorted(known))}")
    return {by_any_name[one]: known[by_any_name[one]] for one in chosen}


def _by_host(people: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """The workers of each host, which take turns: side by side they would measure each other."""
    hosts: dict[str, list[str]] = {}
    for name, worker in people.items():
        hosts.setdefault(worker["host"], []).append(name)
    return hosts


def _outcome(future: Any) -> Report | str:
    """The report of a worker, or why there is none."""
    if future.status != "finished":
        error = future.exception() if future.status == "error" else "cancelled, or its worker was lost"
        return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
    text, why = future.result()
    try:
        return Report.from_dict(json.loads(text), "what the worker sent") if text else why
    except ResultFileError as error:
        return f"another version of filar? {error}"


# ---- on the worker ----

_children: dict[str, subprocess.Popen[str]] = {}


def _measure(token: str, arguments: list[str], limit_s: float) -> tuple[str, str]:
    """The text of report.json, or "" and why there is none."""
    with tempfile.TemporaryDirectory(prefix="filar-") as folder:
        command = [sys.executable, "-m", "filar", "report", "--no-progress", "--out", folder, *arguments]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        _children[token] = child
        try:
            _, complaint = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return "", f"not done after {limit_s:.0f} s"
        finally:
            _end(child)
            _children.pop(token, None)
        path = Path(folder) / "report.json"
        if child.returncode == 0 and path.exists():
            return path.read_text(encoding="utf-8"), ""
    return "", complaint.strip() or f"`filar report` ended with {child.returncode}"


def _end(child: subprocess.Popen[str]) -> None:
    """Politely first: then `filar report` puts the machine's settings back."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_POLITE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _stop(token: str) -> None:
    """Ends what `_measure()` runs on this worker; dask runs it beside that."""
    child = _children.get(token)
    if child is not None:
        child.terminate()
