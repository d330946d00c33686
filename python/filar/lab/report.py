"""A report: the results of many experiments in one run on one machine, and `load()` for both kinds of file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from filar._tables import html_table, named_columns, text_table
from filar.errors import NotFoundError, ResultFileError
from filar.lab import jsonfile
from filar.lab.result import Result

__all__ = ["Report", "load"]

SELF_CHECK = "self-check"
_COLUMNS = named_columns(("experiment", "verdict", "samples", "s"), 2)


@dataclass
class Report:
    """Results in order of measurement. Behaves as a list of them, and finds them by name."""

    results: list[Result] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    mode: str = ""
    seed: int = 0
    started: str = ""
    elapsed_s: float = 0.0
    complete: bool = True
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, name: str) -> Result:
        for result in self.results:
            if result.experiment == name:
                return result
        raise NotFoundError(f"the report has no result of {name!r}; it has {', '.join(self.names()) or 'none'}")

    def names(self) -> list[str]:
        """The experiments of which there is a result."""
        return [result.experiment for result in self.results]

    @property
    def self_check(self) -> dict[str, Any]:
        """What the A/A measurement of this run came to: error (a share of 1), verdict, reason; {} without one."""
        found = next((r for r in self.results if r.experiment == SELF_CHECK), None)
        if found is None:
            return {}
        # From the figures as files hold them, so that a report says the same before and after.
        medians = [jsonfile.number(row.median) for row in found.rows.of_metric("pair ratio")]
        errors = [abs(median - 1) for median in medians if median is not None]
        return {
            "error": jsonfile.number(max(errors)) if errors else None,
            "verdict": str(found.verdict),
            "reason": found.verdict.reason,
        }

    def merge(self, other: Report) -> Report:
        """Both reports as one; of an experiment in both, the later result stays. The host is that of `self`.

        Results carry their own host, so that reports of several machines can be merged and told apart;
        a note says when they differ.
        """
        notes = [*self.notes, *(note for note in other.notes if note not in self.notes)]
        kept = {(r.experiment, _machine(r.host)): r for r in self.results}
        for result in other.results:
            key = (result.experiment, _machine(result.host))
            if key not in kept or result.started >= kept[key].started:
                kept[key] = result
        if len({machine for _, machine in kept}) > 1:
            notes.append("The results are of different machines; each carries its own host.")
        return Report(
            results=list(kept.values()),
            host=self.host or other.host,
            mode=self.mode if self.mode == other.mode else "",
            seed=self.seed,
            started=min(filter(None, (self.started, other.started)), default=""),
            elapsed_s=self.elapsed_s + other.elapsed_s,
            complete=self.complete and other.complete,
            notes=notes,
        )

    # ---- looking at it ----

    def _lines(self) -> list[tuple[str, ...]]:
        return [
            (r.experiment, str(r.verdict), f"{sum(row.n for row in r.rows):,}", f"{r.elapsed_s:.1f}")
            for r in self.results
        ]

    def __str__(self) -> str:
        return text_table(_COLUMNS, self._lines())

    def __repr__(self) -> str:
        return f"<Report of {len(self.results)} results, {self.mode or 'mixed'} mode, {self.elapsed_s:.0f} s>"

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return html_table(_COLUMNS, self._lines()) + notes

    # ---- files ----

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `schema.json` describes ("filar-report/1")."""
        return {
            "schema": jsonfile.REPORT_SCHEMA,
            "host": jsonfile.plain(self.host),
            "mode": self.mode,
            "seed": self.seed,
            "started": self.started,
            "elapsed_s": jsonfile.number(self.elapsed_s),
            "complete": self.complete,
            "self_check": jsonfile.plain(self.self_check),
            "results": [result.to_dict() for result in self.results],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Any, where: str = "the report") -> Report:
        """The other way round; ResultFileError says in one sentence what is wrong with `data`."""
        fields = jsonfile.Fields(data, where)
        fields.schema(jsonfile.REPORT_SCHEMA)
        elapsed = fields.number("elapsed_s")
        complete = fields.optional("complete", bool)
        return cls(
            results=[
                Result.from_dict(item, f"{where}, results[{i}]") for i, item in enumerate(fields.take("results", list))
            ],
            host=fields.optional("host", dict) or {},
            mode=fields.optional("mode", str) or "",
            seed=fields.optional("seed", int) or 0,
            started=fields.optional("started", str) or "",
            elapsed_s=0.0 if math.isnan(elapsed) else elapsed,
            complete=True if complete is None else complete,
            notes=[str(note) for note in fields.optional("notes", list) or []],
        )

    def to_json(self) -> str:
        """`to_dict()` as JSON text in one line."""
        return jsonfile.dump(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes `to_dict()` as JSON, whole or not at all, and returns the path. OSError if it cannot be written."""
        return jsonfile.write(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """A saved report. ResultFileError if the file is something else, OSError if it cannot be read."""
        return cls.from_dict(jsonfile.read(path), str(path))


def _machine(host: dict[str, Any]) -> tuple[Any, ...]:
    """What tells two machines apart, as far as a record without names can."""
    return tuple(str(host.get(key)) for key in ("cpu_model", "cpus_present", "memory_bytes"))


def load(path: str | os.PathLike[str]) -> Result | Report:
    """A saved result or report, whichever the file holds. ResultFileError if it is neither."""
    data = jsonfile.read(path)
    found = data.get("schema") if isinstance(data, dict) else None
    if isinstance(found, str) and found.startswith(jsonfile.REPORT_SCHEMA.partition("/")[0]):
        return Report.from_dict(data, str(path))
    if isinstance(data, dict):
        return Result.from_dict(data, str(path))
    raise ResultFileError(f"{path} is not a file of filar: it has no `schema` of ours")
