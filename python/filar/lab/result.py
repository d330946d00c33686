"""The result of one experiment: claim, verdict, rows with all samples, and what is needed to read them later."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar.chart import Badge, Chart, format_quantity, parse_quantity
from filar.errors import NotFoundError
from filar.lab import jsonfile
from filar.lab.base import (
    CONDITIONAL,
    FAILS,
    HEADLINE_MAX,
    HOLDS,
    Experiment,
    Reference,
    Rows,
    Series,
    Table,
    Verdict,
    experiments,
)
from filar.lab.table import ResultTable, format_interval, quantity

__all__ = ["Result"]

# Within a quarter: nobody guesses better but by luck.
_GUESSED_WELL = 1.25
_COLOURS = {"ok": "#2e7d32", "warn": "#b26a00", "bad": "#c62828"}


@dataclass
class Result:
    """What `filar.lab.run()` gives back, and `Result.load()` reads again.

    `table()`, `plot()` and `explain()` show it; `to_array()`, `to_dataframe()` and `raw` hand the samples on.
    """

    experiment: str
    title: str
    family: str
    claim: str
    claim_source: str
    method: str
    verdict: Verdict
    rows: Rows
    mode: str
    seed: int
    references: list[Reference] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    started: str = ""
    elapsed_s: float = 0.0

    # ---- looking at it ----

    @property
    def badge(self) -> Badge | None:
        """Under which conditions it was measured, for charts and pages; None if that was not recorded."""
        recorded = self.conditions.get("badge")
        if not isinstance(recorded, dict) or recorded.get("level") not in ("ok", "warn", "bad"):
            return None
        return Badge(str(recorded.get("text", "")), recorded["level"])

    def table(self) -> ResultTable:
        """The rows as text or HTML: median with interval, floor, p99, n."""
        return ResultTable(self.experiment, self.rows)

    def charts(self) -> list[Chart]:
        """All pictures of the experiment, the main one first; none where this filar does not know the experiment.

        Each carries the condition badge of this result unless the experiment gave it one of its own.
        """
        known: Experiment | None = experiments().get(self.experiment)
        if known is None or not len(self.rows) + len(self.series) + len(self.tables):
            return []
        return [self._with_badge(chart) for chart in known.charts(self)]

    def _with_badge(self, chart: Chart) -> Chart:
        return chart if chart.badge or not self.badge else dataclasses.replace(chart, badge=self.badge)

    def plot(self) -> Chart:
        """The main picture; it shows itself in a notebook, and `.to_matplotlib(ax)` draws it elsewhere.

        NotFoundError where the experiment has none or nothing was measured.
        """
        charts = self.charts()
        if not charts:
            raise NotFoundError(f"{self.experiment} has no picture: {self.verdict.reason or 'nothing was measured'}")
        return charts[0]

    def explain(self) -> str:
        """In words: which claim, whether it holds here and by how much, how that was measured, how far to trust it."""
        opening = {
            HOLDS: "It holds here",
            FAILS: "It does not hold here",
            CONDITIONAL: f"It holds only when {self.verdict.condition}",
        }.get(self.verdict.word, "It cannot be decided here")
        parts = [
            f"The claim: {_sentence(self.claim)} ({self.claim_source})",
            _sentence(": ".join(filter(None, (opening, self.verdict.reason)))),
            f"How: {_sentence(self.method)}",
            *([f"Published: {self._published()}."] if self.references else []),
            f"Trust: {self._trust()}",
            *(_sentence(note) for note in self.notes),
        ]
        return "\n".join(part.strip() for part in parts)

    def guess(self, value: float | str, variant: str, metric: str | None = None) -> str:
        """In words, how far a guess is from what was measured of a variant (of its first metric without `metric`).

        `value` is above 0, in the unit of that row or with a unit of its own: "10 µs". ValueError if it is neither;
        NotFoundError, with the names there are, if that was not measured.
        """
        row = self.rows.find(variant, metric)
        if row is None:
            names = sorted({f"{each.variant!r}, {each.metric!r}" for each in self.rows})
            raise NotFoundError(f"{self.experiment} has no {variant!r}, {metric!r}; it has {'; '.join(names)}")
        guessed = parse_quantity(value, row.unit) if isinstance(value, str) else float(value)
        if not 0 < guessed < math.inf:
            raise ValueError(f"a guess is a number above 0, not {value!r}")
        found = (
            f"it is {quantity(row.median, row.unit)} ({format_interval(row.interval.lo, row.interval.hi, row.unit)})"
        )
        factor = row.median / guessed
        if factor <= 0:
            return f"You guessed {quantity(guessed, row.unit)}; {found}."
        if max(factor, 1 / factor) < _GUESSED_WELL:
            return f"Your guess of {quantity(guessed, row.unit)} was good: {found}."
        side = "low" if factor > 1 else "high"
        off = format_quantity(max(factor, 1 / factor), digits=2)
        return f"Your guess of {quantity(guessed, row.unit)} was {off} times too {side}: {found}."

    def _published(self) -> str:
        return "; ".join(f"{r.label} {format_quantity(r.value, r.unit)}" for r in self.references)

    def _trust(self) -> str:
        counts = [row.n for row in self.rows]
        few, many = (min(counts), max(counts)) if counts else (0, 0)
        samples = f"{few:,} samples a row" if few == many else f"{few:,} to {many:,} samples a row"
        under = _sentence(self.badge.text) if self.badge else "The conditions were not recorded."
        return f"{samples}, {self.mode} mode, {self.elapsed_s:.1f} s. {under[:1].upper()}{under[1:]}"

    def __repr__(self) -> str:
        return f"<Result {self.experiment}: {self.verdict}, {len(self.rows)} rows, {self.mode}>"

    def __str__(self) -> str:
        heading = f"{self.title} ({self.experiment}): {self.verdict}\n{self.verdict.reason}"
        return "\n\n".join([heading, str(self.table()), *map(str, self.tables)])

    def _repr_html_(self) -> str:
        badge = self.badge
        mark = (
            f'<p style="color:{_COLOURS[badge.level]}">{escape(badge.text)}</p>'
            if badge is not None
            else "<p>The conditions were not recorded.</p>"
        )
        return (
            f"<h4>{escape(self.title)}</h4><p><i>{escape(self.claim)}</i></p>"
            f"<p><b>{escape(str(self.verdict))}</b>: {escape(self.verdict.reason)}</p>"
            f"{self.table()._repr_html_()}{''.join(table._repr_html_() for table in self.tables)}{mark}"
        )

    # ---- handing it on ----

    @property
    def raw(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """All samples by variant, then by metric, each in the unit of its row."""
        found: dict[str, dict[str, NDArray[np.float64]]] = {}
        for row in self.rows:
            found.setdefault(row.variant, {})[row.metric] = row.samples
        return found

    def to_array(self) -> NDArray[Any]:
        """One record for each sample: variant, metric, unit, round, value; pandas and polars take it as it is."""
        # As wide as the longest text: NumPy cuts what does not fit without a word.
        fields = [
            (name, f"U{max([1, *(len(getattr(row, name)) for row in self.rows)])}")
            for name in ("variant", "metric", "unit")
        ]
        records = np.zeros(
            sum(len(row.samples) for row in self.rows), dtype=[*fields, ("round", "i8"), ("value", "f8")]
        )
        start = 0
        for row in self.rows:
            part = records[start : start + len(row.samples)]
            part["variant"], part["metric"], part["unit"] = row.variant, row.metric, row.unit
            part["round"], part["value"] = row.round_numbers, row.samples
            start += len(row.samples)
        return records

    def to_dataframe(self) -> Any:
        """`to_array()` as a pandas DataFrame. ImportError, with what to install, where there is no pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe() needs pandas: pip install 'filar[lab]'; to_array() does not") from error
        return pandas.DataFrame(self.to_array())

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `schema.json` describes ("filar-result/1"): plain types, numbers finite or None."""
        return {
            "schema": jsonfile.RESULT_SCHEMA,
            "experiment": self.experiment,
            "title": self.title,
            "family": self.family,
            "claim": self.claim,
            "claim_source": self.claim_source,
            "verdict": str(self.verdict),
            "verdict_word": self.verdict.word,
            "verdict_reason": self.verdict.reason,
            "headline": self.verdict.headline,
            "condition": self.verdict.condition,
            "method": self.method,
            "references": [jsonfile.reference_to_dict(reference) for reference in self.references],
            "mode": self.mode,
            "seed": self.seed,
            "started": self.started,
            "elapsed_s": jsonfile.number(self.elapsed_s),
            "host": jsonfile.plain(self.host),
            "conditions": jsonfile.plain(self.conditions),
            "rows": [jsonfile.row_to_dict(row) for row in self.rows],
            "series": [jsonfile.series_to_dict(series) for series in self.series],
            "tables": [jsonfile.table_to_dict(table) for table in self.tables],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, data: Any, where: str = "the result") -> Result:
        """The other way round; ResultFileError says in one sentence what is wrong with `data`."""
        fields = jsonfile.Fields(data, where)
        fields.schema(jsonfile.RESULT_SCHEMA)
        name = fields.take("experiment", str)
        inside = f"{where}, {name}"

        def items(key: str, read: Any) -> list[Any]:
            found = fields.optional(key, list) or []
            return [read(item, f"{inside}, {key}[{i}]") for i, item in enumerate(found)]

        fields.take("rows", list)
        elapsed = fields.number("elapsed_s")
        return cls(
            experiment=name,
            title=fields.optional("title", str) or name,
            family=fields.optional("family", str) or "",
            claim=fields.take("claim", str),
            claim_source=fields.optional("claim_source", str) or "",
            method=fields.optional("method", str) or "",
            verdict=_verdict(fields),
            rows=Rows(items("rows", jsonfile.row_from_dict)),
            mode=fields.optional("mode", str) or "",
            seed=fields.optional("seed", int) or 0,
            references=items("references", jsonfile.reference_from_dict),
            series=items("series", jsonfile.series_from_dict),
            tables=items("tables", jsonfile.table_from_dict),
            notes=[str(note) for note in fields.optional("notes", list) or []],
            host=fields.optional("host", dict) or {},
            conditions=fields.optional("conditions", dict) or {},
            started=fields.optional("started", str) or "",
            elapsed_s=0.0 if math.isnan(elapsed) else elapsed,
        )

    def to_json(self) -> str:
        """`to_dict()` as JSON text in one line."""
        return jsonfile.dump(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes `to_dict()` as JSON, whole or not at all, and returns the path. OSError if it cannot be written."""
        return jsonfile.write(path, self.to_dict())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """A saved result. ResultFileError if the file is something else, OSError if it cannot be read."""
        return cls.from_dict(jsonfile.read(path), str(path))


def _verdict(fields: jsonfile.Fields) -> Verdict:
    word, condition = fields.take("verdict_word", str), fields.optional("condition", str) or ""
    try:
        return Verdict(
            word,
            fields.optional("verdict_reason", str) or "",
            condition,
            (fields.optional("headline", str) or "")[:HEADLINE_MAX],
        )
    except ValueError as error:
        raise jsonfile.ResultFileError(f"{fields.where}: {error}") from None


def _sentence(words: str) -> str:
    """With a full stop, unless it has one."""
    words = words.strip()
    return words if not words or words.endswith((".", "!", "?")) else words + "."
