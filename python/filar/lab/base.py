"""What an experiment is: a claim, a way to measure it, rows of samples, and a verdict computed from the rows.

To add one, subclass `Experiment` in a module of this folder, decorate it with `@experiment` and name the module
in `lab/__init__.py`. `ways()` says what is compared (each way is C code known by name, `filar.lab.ways()` lists
them), `judge()` turns rows into a verdict, `charts()` draws them. An experiment whose measurement is not one plan
overrides `measure()`.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import math
import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from filar._tables import Column, clean, html_table, text_table
from filar.chart import format_quantity
from filar.errors import InvalidArgumentError
from filar.lab import stats

if TYPE_CHECKING:
    from filar.lab.bench import Bench
    from filar.lab.result import Result

__all__ = [
    "CONDITIONAL",
    "FAILS",
    "FAMILIES",
    "HEADLINE_MAX",
    "HOLDS",
    "UNDECIDED",
    "Budget",
    "Claim",
    "Experiment",
    "Measured",
    "Reference",
    "Row",
    "Rows",
    "Series",
    "Table",
    "Verdict",
    "Way",
    "experiment",
    "experiments",
    "fact_text",
    "paired",
    "undecided",
]

# The order in which lists and the report tell the story.
FAMILIES = (
    "The lab",
    "Creation",
    "Memory and limits",
    "Threads and processes",
    "Switching",
    "Green threads",
    "Pools",
    "Speedup",
    "Python",
    "Python on green threads",
    "Servers",
    "Sharing",
    "Scheduling",
    "Locks and races",
)
HEADLINE_MAX = 90
HOLDS = "holds"
FAILS = "does not hold here"
CONDITIONAL = "holds only when"
UNDECIDED = "cannot be decided here"


@dataclass(frozen=True)
class Claim:
    """A sentence of the theory, in its own words, with where it is from."""

    text: str
    source: str


@dataclass(frozen=True)
class Reference:
    """A published figure to show beside the machine's own: value in `unit`, for rows of `metric`."""

    label: str
    value: float
    unit: str
    source: str
    metric: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the rows say of the claim: one of four words, for CONDITIONAL the condition, and the reason with figures.

    `headline` is the figure that decides, in at most `HEADLINE_MAX` characters: what a summary of many claims shows.
    """

    word: str
    reason: str
    condition: str = ""
    headline: str = ""

    def __post_init__(self) -> None:
        if self.word not in (HOLDS, FAILS, CONDITIONAL, UNDECIDED):
            raise ValueError(f"no verdict {self.word!r}")
        if (self.word == CONDITIONAL) != bool(self.condition):
            raise ValueError("a conditional verdict, and only that, needs its condition")
        if len(self.headline) > HEADLINE_MAX:
            # Figures decide how long it gets: a measurement of seconds is not thrown away for a long name.
            object.__setattr__(self, "headline", textwrap.shorten(self.headline, HEADLINE_MAX, placeholder=" …"))

    @property
    def brief(self) -> str:
        """The headline, or the reason of a verdict that has none."""
        return self.headline or self.reason

    def __str__(self) -> str:
        return f"{self.word} {self.condition}" if self.condition else self.word


@dataclass(frozen=True)
class Way:
    """One way in a plan: the variant's public name, the C way, its parameters by name.

    `metrics` renames the C way's metrics for the rows, or drops those mapped to None; without it all are kept.
    `batch` 0 is calibrated.
    """

    variant: str
    way: str
    params: Mapping[str, int] = field(default_factory=dict)
    batch: int = 0
    metrics: Mapping[str, str | None] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """All samples of one metric of one variant, and what they come to; times in ns unless `unit` says otherwise.

    `rounds` says of which round each sample is (without it: of round 0, 1, 2, ...), so that ratios pair what ran
    side by side even where a way skipped a round. `stored` is the summary of a row that was thinned for a file.
    """

    variant: str
    metric: str
    unit: str
    samples: NDArray[np.float64]
    params: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    rounds: NDArray[np.int64] | None = None
    stored: stats.Summary | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", np.asarray(self.samples, dtype=float).ravel())
        if self.rounds is not None and len(self.rounds) != len(self.samples):
            raise ValueError(f"{len(self.samples)} samples cannot be of {len(self.rounds)} rounds")

    @cached_property
    def summary(self) -> stats.Summary:
        """Median with its interval, floor, tail and number of samples."""
        return self.stored or stats.summarize(self.samples)

    @property
    def interval(self) -> stats.Interval:
        """Median with its 95 % sign-test interval."""
        return stats.Interval(self.summary.median, self.summary.lo, self.summary.hi, self.summary.n)

    @property
    def median(self) -> float:
        """The typical sample."""
        return self.summary.median

    @property
    def min(self) -> float:
        """The floor: what the machine can do."""
        return self.summary.min

    @property
    def max(self) -> float:
        """The worst sample."""
        return self.summary.max

    @property
    def p99(self) -> float:
        """99th percentile of the samples."""
        return self.summary.p99

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.summary.n

    @property
    def round_numbers(self) -> NDArray[np.int64]:
        """The round of each sample."""
        return np.arange(len(self.samples)) if self.rounds is None else np.asarray(self.rounds, dtype=np.int64)


def paired(a: Row, b: Row) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The rounds that both rows have, and the samples of each in them."""
    rounds, mine, theirs = np.intersect1d(a.round_numbers, b.round_numbers, return_indices=True)
    return rounds, a.samples[mine], b.samples[theirs]


def undecided(told: str, rows: Iterable[Row], needed: int = stats.N_MIN) -> Verdict:
    """The verdict of a judge that lacks rows: `told`, which says what is missing, or that there were too few rounds.

    `rows` are those that it looked among. One that is there with fewer than `needed` samples was measured, and cut
    short.
    """
    few = min((row for row in rows if row.n < needed), key=lambda row: row.n, default=None)
    if few is None:
        return Verdict(UNDECIDED, told)
    count = "1 sample" if few.n == 1 else f"{few.n} samples"
    return Verdict(UNDECIDED, f"there were too few rounds: {count} of {few.variant}, and {needed} are needed")


class Rows:
    """The rows of a measurement, with look-ups that judges and charts need."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows = list(rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __add__(self, other: Iterable[Row]) -> Rows:
        return Rows([*self._rows, *other])

    def find(self, variant: str, metric: str | None = None) -> Row | None:
        """The row, or None where it was not measured; the first metric of the variant without `metric`."""
        return next((r for r in self if r.variant == variant and metric in (None, r.metric)), None)

    def of_metric(self, metric: str) -> list[Row]:
        """All rows of one metric, in order of measurement."""
        return [row for row in self if row.metric == metric]

    def variants(self) -> list[str]:
        """Names of the variants, in order."""
        return list(dict.fromkeys(row.variant for row in self))

    def median(self, variant: str, metric: str | None = None) -> float:
        """Median of a row, NaN where it was not measured."""
        row = self.find(variant, metric)
        return row.median if row else math.nan

    def floor(self, variant: str, metric: str | None = None) -> float:
        """Minimum of a row, NaN where it was not measured."""
        row = self.find(variant, metric)
        return row.min if row else math.nan

    def ratio(self, above: str, below: str, metric: str | None = None) -> stats.Interval:
        """Median ratio of two variants, round by round; n = 0 where one was not measured or no round has both."""
        a, b = self.find(above, metric), self.find(below, metric)
        if a is None or b is None:
            return stats.NOTHING
        _, mine, theirs = paired(a, b)
        return stats.paired_ratio(mine, theirs)


@dataclass(frozen=True, eq=False)
class Series:
    """Points that belong to one curve, time line or distribution of a chart.

    `points_total` is above 0 in a series that was thinned for a file: so many points there were.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_unit: str = ""
    y_unit: str = ""
    subject: NDArray[np.int32] | None = None
    kind: NDArray[np.int32] | None = None
    points_total: int = 0


@dataclass(frozen=True)
class Table:
    """Facts that are not timings: addresses, limits, who survived. `str()` is the text, notebooks show HTML."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def text(self, width: int = 80) -> str:
        """The facts as aligned text, without the title, no wider than `width` where breaking lines can do that."""
        return text_table(self._columns(), self._cells(), width)

    def __str__(self) -> str:
        return f"{clean(self.title)}\n{self.text()}"

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._cells(), self.title)

    def _cells(self) -> list[tuple[str, ...]]:
        return [tuple(map(fact_text, row)) for row in self.rows]

    def _columns(self) -> list[Column]:
        return [
            Column(clean(head), right=self._is_numeric(index), breaks=True) for index, head in enumerate(self.columns)
        ]

    def _is_numeric(self, index: int) -> bool:
        """Whether a column holds numbers and nothing else."""
        values = [row[index] for row in self.rows if row[index] is not None]
        return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def fact_text(value: object) -> str:
    """A cell of a table of facts: numbers with commas, yes and no, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, int):
        return format_quantity(value, digits=18)
    return format_quantity(value) if isinstance(value, float) else str(value)


@dataclass
class Measured:
    """What `Experiment.measure()` gives back."""

    rows: Rows = field(default_factory=Rows)
    series: list[Series] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Budget:
    """How long and how often: seconds for all plans of the experiment together, and rounds of each."""

    seconds: float
    rounds_max: int = 300
    rounds_min: int = 7


class Experiment:
    """One claim and how to measure it. Subclasses hold constants and pure functions; they keep no state."""

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    claim: ClassVar[Claim]
    method: ClassVar[str]
    """Three sentences: what is run, how it is compared, what the rows mean."""
    references: ClassVar[tuple[Reference, ...]] = ()
    quick: ClassVar[Budget] = Budget(seconds=2.0)
    full: ClassVar[Budget] = Budget(seconds=10.0, rounds_max=600)

    def ways(self, bench: Bench) -> list[Way]:
        """The ways of the one plan of this experiment, for the machine and mode of `bench`."""
        raise NotImplementedError(f"{type(self).__name__} defines neither ways() nor measure()")

    def measure(self, bench: Bench) -> Measured:
        """Runs everything; by default the one plan of `ways()`."""
        outcome = bench.run(self.ways(bench))
        return Measured(rows=outcome.rows(), notes=outcome.notes())

    def judge(self, rows: Rows) -> Verdict:
        """The verdict, from the rows alone: other rows, another verdict."""
        raise NotImplementedError

    def charts(self, result: Result) -> list[Any]:
        """The pictures of a result (dataclasses of `filar.chart`); the first one is the main one."""
        raise NotImplementedError


_registry: dict[str, Experiment] = {}
_loaded: set[str] = set()


def _load_named() -> None:
    """Imports the files of FILAR_EXPERIMENTS, each once: their decorators make the experiments known."""
    for path in filter(None, os.environ.get("FILAR_EXPERIMENTS", "").split(os.pathsep)):
        whole = os.path.abspath(path)
        if whole in _loaded:
            continue
        before = dict(_registry)
        try:
            _import_file(whole)
        except Exception as error:
            _registry.clear()
            _registry.update(before)
            why = f"{type(error).__name__}: {error}"
            raise InvalidArgumentError(f"FILAR_EXPERIMENTS names {path}, which cannot be loaded ({why})") from error
        _loaded.add(whole)


def _import_file(path: str) -> None:
    """As a module of the name of the file, so that its functions can be pickled and its tracebacks read."""
    name = os.path.splitext(os.path.basename(path))[0]
    loader = importlib.machinery.SourceFileLoader(name, path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))  # type: ignore[arg-type]
    sys.modules.setdefault(name, module)
    loader.exec_module(module)


def experiment(kind: type[Experiment]) -> type[Experiment]:
    """Class decorator: makes the experiment known under its name. A name that is taken raises ValueError."""
    if kind.name in _registry:
        raise ValueError(f"there are two experiments named {kind.name!r}")
    _registry[kind.name] = kind()
    return kind


def experiments() -> dict[str, Experiment]:
    """All experiments by name, family by family in the order of `FAMILIES`; families not named there come last.

    Those in the files that the environment names in FILAR_EXPERIMENTS (Python files, separated as in PATH) belong to
    them. InvalidArgumentError says why such a file cannot be loaded.
    """
    _load_named()
    order = {family: place for place, family in enumerate(FAMILIES)}
    return dict(sorted(_registry.items(), key=lambda item: order.get(item[1].family, len(order))))
