"""Result files: JSON in and out, and one sentence for everything that can be wrong with a file.

`schema.json` beside this file describes the two kinds of object; SCHEMA.md explains them. Numbers in a file are
finite or null, samples have six significant digits, and what is too long is thinned (`thin()`).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar.errors import ResultFileError
from filar.lab import stats
from filar.lab.base import Reference, Row, Series, Table

__all__ = ["REPORT_SCHEMA", "RESULT_SCHEMA", "Fields", "dump", "number", "plain", "read", "write"]

RESULT_SCHEMA = "filar-result/1"
REPORT_SCHEMA = "filar-report/1"
DIGITS = 6
SAMPLES_MAX = 4096
POINTS_MAX = 2048


# ---- numbers and arrays ----


def number(value: float | None, digits: int = DIGITS) -> float | int | None:
    """A finite number with so many significant digits, an int where it is whole; None for NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def numbers(values: NDArray[Any]) -> list[float | int | None]:
    """`number()` of each."""
    return [number(value) for value in np.asarray(values, dtype=float).tolist()]


def plain(value: Any) -> Any:
    """`value` as JSON knows it: containers by item, numbers finite or None, all else as text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return number(value, 12)
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return str(value)


def thin(values: NDArray[np.float64], keep: int) -> NDArray[np.int64]:
    """At most `keep` indices of `values`, evenly spread, with the least and the greatest of each stretch.

    So extremes survive, which a plain every-n-th would lose, and the order stays.
    """
    n = len(values)
    if n <= keep:
        return np.arange(n)
    edges = np.linspace(0, n, keep // 2 + 1).astype(int)
    filled = np.where(np.isfinite(values), values, np.nanmedian(values) if np.isfinite(values).any() else 0.0)
    kept: set[int] = set()
    for lo, hi in itertools.pairwise(edges):
        kept |= {int(lo + np.argmin(filled[lo:hi])), int(lo + np.argmax(filled[lo:hi]))}
    return np.array(sorted(kept))


# ---- rows, series, tables, references ----


def row_to_dict(row: Row) -> dict[str, Any]:
    """A row with its summary; more than SAMPLES_MAX samples are thinned, `n` stays what it was."""
    kept = thin(row.samples, SAMPLES_MAX)
    rounds = row.round_numbers
    in_order = len(kept) == len(row.samples) and np.array_equal(rounds, np.arange(len(rounds)))
    summary = row.summary
    return {
        "variant": row.variant,
        "metric": row.metric,
        "unit": row.unit,
        **{name: number(getattr(summary, name)) for name in ("median", "lo", "hi", "min", "p99", "max")},
        "n": summary.n,
        "samples": numbers(row.samples[kept]),
        "rounds": None if in_order else rounds[kept].tolist(),
        "params": plain(dict(row.params)),
        "note": row.note,
    }


def row_from_dict(data: Any, where: str) -> Row:
    """The row, with the summary of the file: that of all samples, also of those that were thinned away."""
    fields = Fields(data, where)
    samples = fields.numbers("samples")
    rounds = fields.optional("rounds", list)
    n = fields.take("n", int)
    measured = int(np.isfinite(samples).sum())
    if n < measured:
        raise ResultFileError(f"{where}: `n` is {n}, but there are {measured} samples")
    stored = stats.Summary(
        median=fields.number("median"),
        lo=fields.number("lo"),
        hi=fields.number("hi"),
        min=fields.number("min"),
        p99=fields.number("p99"),
        max=fields.number("max"),
        n=n,
    )
    if rounds is not None and (len(rounds) != len(samples) or not all(type(r) is int for r in rounds)):
        raise ResultFileError(f"{where}: `rounds` does not fit `samples`")
    return Row(
        variant=fields.take("variant", str),
        metric=fields.take("metric", str),
        unit=fields.take("unit", str),
        samples=samples,
        params=fields.optional("params", dict) or {},
        note=fields.optional("note", str) or "",
        rounds=None if rounds is None else np.array(rounds, dtype=np.int64),
        stored=stored,
    )


def series_to_dict(series: Series) -> dict[str, Any]:
    """A series; more than POINTS_MAX points are thinned, and `points_total` says how many there were.

    A curve is thinned by y. Points with a subject belong together (the runs of a thread, the ranks of a round): of
    those the first ones are kept, whole, since a choice among them would be another story.
    """
    x, y = np.asarray(series.x, dtype=float), np.asarray(series.y, dtype=float)
    kept = thin(y, POINTS_MAX) if series.subject is None else np.arange(min(len(y), POINTS_MAX))
    return {
        "name": series.name,
        "x_unit": series.x_unit,
        "y_unit": series.y_unit,
        "x": numbers(x[kept]),
        "y": numbers(y[kept]),
        "subject": None if series.subject is None else np.asarray(series.subject)[kept].tolist(),
        "kind": None if series.kind is None else np.asarray(series.kind)[kept].tolist(),
        "points_total": series.points_total or len(y),
    }


def series_from_dict(data: Any, where: str) -> Series:
    """The series as it stands in the file."""
    fields = Fields(data, where)
    x, y = fields.numbers("x"), fields.numbers("y")
    labels = {}
    for name in ("subject", "kind"):
        found = fields.optional(name, list)
        if found is not None and (len(found) != len(x) or not all(type(item) is int for item in found)):
            raise ResultFileError(f"{where}: `{name}` does not fit `x`")
        labels[name] = None if found is None else np.array(found, dtype=np.int32)
    if len(x) != len(y):
        raise ResultFileError(f"{where}: `x` and `y` differ in length")
    total = fields.optional("points_total", int) or 0
    return Series(
        name=fields.take("name", str),
        x=x,
        y=y,
        x_unit=fields.optional("x_unit", str) or "",
        y_unit=fields.optional("y_unit", str) or "",
        subject=labels["subject"],
        kind=labels["kind"],
        points_total=total if total > len(x) else 0,
    )


def table_to_dict(table: Table) -> dict[str, Any]:
    """A table of facts; cells are text, numbers, booleans or null."""
    return {"title": table.title, "columns": list(table.columns), "rows": plain([list(row) for row in table.rows])}


def table_from_dict(data: Any, where: str) -> Table:
    """The table, every row as long as the heading."""
    fields = Fields(data, where)
    columns = tuple(str(name) for name in fields.take("columns", list))
    rows = fields.take("rows", list)
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise ResultFileError(f"{where}: a row does not fit its {len(columns)} columns")
    return Table(fields.take("title", str), columns, tuple(tuple(row) for row in rows))


def reference_to_dict(reference: Reference) -> dict[str, Any]:
    """A published figure."""
    return {
        "label": reference.label,
        "value": number(reference.value),
        "unit": reference.unit,
        "source": reference.source,
        "metric": reference.metric,
    }


def reference_from_dict(data: Any, where: str) -> Reference:
    """The published figure."""
    fields = Fields(data, where)
    return Reference(
        fields.take("label", str),
        fields.number("value"),
        fields.take("unit", str),
        fields.take("source", str),
        fields.optional("metric", str) or "",
    )


# ---- reading what others may have written ----


class Fields:
    """One JSON object, field by field; each complaint is one sentence that begins with `where`."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise ResultFileError(f"{where}: an object was expected, not {_kind(data)}")
        self._data, self.where = data, where

    def take(self, name: str, kind: type) -> Any:
        """The field, which must be there and of this kind."""
        if name not in self._data:
            raise ResultFileError(f"{self.where}: `{name}` is missing")
        value = self._data[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ResultFileError(f"{self.where}: `{name}` is {_kind(value)}")
        return value

    def optional(self, name: str, kind: type) -> Any:
        """The field, None where it is missing or null."""
        return None if self._data.get(name) is None else self.take(name, kind)

    def number(self, name: str) -> float:
        """The field as a float; NaN for null."""
        value = self._data.get(name)
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ResultFileError(f"{self.where}: `{name}` is {_kind(value)}, not a number")
        return float(value)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """The field as an array; NaN for null."""
        values = self.take(name, list)
        if not all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values):
            raise ResultFileError(f"{self.where}: `{name}` holds something that is not a number")
        return np.array([math.nan if v is None else v for v in values], dtype=float)

    def schema(self, expected: str) -> None:
        """Accepts the version that this filar writes; says what else the object is."""
        found = self._data.get("schema")
        if found == expected:
            return
        family, _, version = expected.partition("/")
        if not isinstance(found, str) or not found.startswith("filar-"):
            raise ResultFileError(f"{self.where} is not a file of filar: it has no `schema` of ours")
        other, _, number_found = found.partition("/")
        if other == family and number_found.isdigit():
            age = "a newer" if int(number_found) > int(version) else "an older"
            raise ResultFileError(f"{self.where} was written by {age} filar ({found}; this one reads {expected})")
        raise ResultFileError(f"{self.where} is {found}, not {expected}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def read(path: str | os.PathLike[str]) -> Any:
    """The JSON in a file. ResultFileError says in one sentence why there is none; OSError if it cannot be read."""
    place = Path(path)
    try:
        words = place.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ResultFileError(f"{place} is not a file of filar: it is not text") from None
    if not words.strip():
        raise ResultFileError(f"{place} is empty")
    try:
        return json.loads(words, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        if error.pos >= len(words.rstrip()) or error.msg.startswith("Unterminated"):
            raise ResultFileError(f"{place} is cut off: it ends in the middle of an object") from None
        raise ResultFileError(f"{place} is not JSON (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{place} is not a file of filar ({error})") from None


def dump(data: Any) -> str:
    """JSON text in one line; a NaN that slipped through raises ValueError instead of making a broken file."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write(path: str | os.PathLike[str], data: Any) -> Path:
    """Writes the file whole or not at all (a temporary file, then a rename) and returns its path."""
    place = Path(path)
    words = dump(data)
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(words + "\n")
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise
    return place
