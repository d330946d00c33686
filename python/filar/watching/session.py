"""The trace that users hold: taken between start() and stop(), then looked at."""

from __future__ import annotations

import html
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from filar._lib import check, ffi, lib, now_ns
from filar._tables import facts_html, facts_text
from filar.chart import format_quantity
from filar.errors import InvalidArgumentError, WrongStateError
from filar.watching import kernel, perfetto, pictures
from filar.watching.lives import EXECUTE, Life, Lives
from filar.watching.records import EVENT, EVENT_NAMES, RECORD, collect

__all__ = ["Trace", "TraceStatistics", "trace"]

_PICTURES = ("workers", "threads", "queue")


@dataclass(frozen=True)
class TraceStatistics:
    """What a trace holds."""

    duration_ns: int
    records: int  # kept
    overwritten: int  # lost: newer ones took their place
    left_out: int  # lost: their threads got no ring
    kernel_threads: int
    green_threads: int
    calls: int  # of pools and executors
    switches: int  # times a green thread began to run
    wakes: int
    steals: int
    preemptions: int  # of green threads
    migrations: int  # of kernel threads between two of their records
    latency_median_ns: float  # from a green thread's wake to its running; NaN without any
    latency_p99_ns: float


class Trace:
    """Records of kernel threads, workers, green threads and calls; a context manager that begins and ends them.

    One trace at a time in a process. `records_per_thread`: a kernel thread keeps its newest so many (48 bytes each);
    `memory`: bytes of all of them together. A record costs its thread some 50 ns; threads of other kinds
    (`threading.Thread`) are seen where they use filar's locks, queues and executors.

    Everything but start() and stop() also works while the trace is being taken, on what there is so far.
    """

    def __init__(self, records_per_thread: int = 16_384, memory: int = 64 << 20) -> None:
        self._options = ffi.new("filar_trace_options *")
        self._options.records_per_thread = records_per_thread
        self._options.bytes_max = memory
        self._events: NDArray[Any] | None = None
        self._totals: Any = None
        self._pid = 0
        self._marks: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._before: dict[int, kernel.KernelTotals] = {}
        self._kernel: dict[int, kernel.KernelTotals] = {}

    # ---- taking it ---------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begins; BusyError if another trace is being taken. A trace is taken once."""
        if self._pid:
            raise WrongStateError("a trace is taken once: make another one")
        self._before = kernel.read()
        check(lib.filar_trace_start(self._options))
        self._pid = os.getpid()
        return self

    def stop(self) -> None:
        """Ends and keeps what was recorded; nothing to do if it has ended. Copies some 100 MB a second."""
        if not self._is_running:
            return
        check(lib.filar_trace_stop())
        self._events, self._totals = collect()
        self._kernel = kernel.difference(self._before, kernel.read())
        self._note_names()
        check(lib.filar_trace_clear())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def mark(self, text: str) -> None:
        """A record of your own, shown in Perfetto and in the data: "second phase"."""
        if self._is_running:
            self._marks[len(self._marks) + 1] = text
            lib.filar_trace_mark(len(self._marks), 0)

    @property
    def _is_running(self) -> bool:
        # The child of a fork has the object, and no trace.
        return self._pid == os.getpid() and self._events is None

    def _note_names(self) -> None:
        """Python's names of its threads: the kernel knows the first 15 bytes, if any."""
        for thread in threading.enumerate():
            if thread.native_id is not None:
                self._names[thread.native_id] = thread.name

    def _read(self) -> tuple[NDArray[Any], Any]:
        if not self._pid:
            raise WrongStateError("the trace has not been started: with filar.trace() as t: ...")
        if self._events is not None:
            return self._events, self._totals
        if not self._is_running:
            raise WrongStateError("the trace was being taken by the parent process")
        self._note_names()
        return collect()

    # ---- looking at it -----------------------------------------------------------------------------------------

    @property
    def events(self) -> NDArray[Any]:
        """The records in order of time: fields time_ns, subject, object, argument, thread, event, cpu, sequence.

        `event` is an index of `event_names`; what the other fields mean for each stands in docs/watching.md.
        """
        return self._read()[0]

    @property
    def event_names(self) -> tuple[str, ...]:
        """The name of each number in events["event"]."""
        return EVENT_NAMES

    @property
    def start_ns(self) -> int:
        """When it began, on CLOCK_MONOTONIC."""
        return int(self._read()[1].started_ns)

    @property
    def end_ns(self) -> int:
        """When it ended; now, while it is being taken."""
        return int(self._read()[1].stopped_ns) or now_ns()

    @property
    def complete_from_ns(self) -> int:
        """From here on nothing is missing: before, some thread's records were overwritten."""
        return _complete_from(*self._read())

    @cached_property
    def _final_lives(self) -> Lives:
        return self._make_lives()

    def _make_lives(self) -> Lives:
        events, totals = self._read()
        begin = _complete_from(events, totals)
        end = int(totals.stopped_ns) or now_ns()
        lives = Lives(events[events["time_ns"] >= begin], begin, end, self._names)
        lives.start_ns = int(totals.started_ns)
        return lives

    @property
    def lives(self) -> Lives:
        """What the records say: who lived from when to when, in which state; and the wake-ups."""
        return self._final_lives if self._events is not None else self._make_lives()

    @property
    def threads(self) -> list[Life]:
        """Kernel threads, green threads and calls, in order of birth."""
        return self.lives.all

    @property
    def kernel_totals(self) -> Mapping[int, kernel.KernelTotals]:
        """By the kernel's thread id: switches, migrations and waiting for a CPU, as the kernel counted them."""
        return self._kernel

    def statistics(self) -> TraceStatistics:
        """Counts of what is in it, and how long woken green threads waited for their worker."""
        events, totals = self._read()
        lives = self.lives
        kinds = np.bincount(events["event"], minlength=len(EVENT_NAMES))
        latencies = lives.latencies_ns()
        return TraceStatistics(
            duration_ns=self.end_ns - self.start_ns,
            records=len(events),
            overwritten=int(totals.overwritten),
            left_out=int(totals.left_out),
            kernel_threads=len(lives.of_kind("kernel thread")),
            green_threads=len(lives.of_kind("green thread")),
            calls=len(lives.of_kind("call")),
            switches=int(kinds[EVENT["green-run"]]),
            wakes=len(lives.wakes),
            steals=int(kinds[EVENT["steal"]]),
            preemptions=int(kinds[EVENT["green-preempt"]]),
            migrations=_migrations(events),
            latency_median_ns=float(np.median(latencies)) if len(latencies) else float("nan"),
            latency_p99_ns=float(np.percentile(latencies, 99)) if len(latencies) else float("nan"),
        )

    def to_dataframe(self) -> Any:
        """The records as a pandas DataFrame, with names for numbers and seconds from the beginning; needs pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_dataframe() needs pandas (pip install pandas); events is a NumPy array") from error
        events, totals = self._read()
        frame = pandas.DataFrame({name: events[name] for name in RECORD.names or ()})
        frame.insert(0, "time_s", (events["time_ns"] - int(totals.started_ns)) / 1e9)
        frame["event"] = np.array(EVENT_NAMES)[events["event"]]
        return frame

    def to_perfetto(self, path: str | os.PathLike[str]) -> Path:
        """Writes Chrome's trace event format, for ui.perfetto.dev; compressed if the name ends in .gz."""
        events = self.events
        about = {"records": len(events), "overwritten": int(self._read()[1].overwritten), "python": sys.version}
        return perfetto.write(os.fspath(path), perfetto.trace_events(self.lives, events, self._marks), about)

    def plot(
        self, *what: str, start: float = 0.0, end: float | None = None, rows: int = 24, arrows: bool = True
    ) -> pictures.TracePlot:
        """Pictures: "workers" by time, "threads" by state, the "queue" of what waits to run, "cpus" of kernel threads.

        `start` and `end`: seconds from the beginning of the trace. `rows`: at most so many in one picture.
        Without `what`: the first three. Static: they need no server and no library.
        """
        for kind in what:
            if kind not in pictures.KINDS:
                raise InvalidArgumentError(f"no picture {kind!r}: choose of {', '.join(pictures.KINDS)}")
        if rows < 1:
            raise InvalidArgumentError(f"a picture has at least one row, not {rows}")
        lives = self.lives
        low = max(lives.start_ns + int(start * 1e9), self.complete_from_ns)
        high = lives.end_ns if end is None else min(lives.start_ns + int(end * 1e9), lives.end_ns)
        if high <= low:
            raise InvalidArgumentError(
                f"nothing between {start:g} s and {(high - lives.start_ns) / 1e9:g} s:"
                f" the trace holds {(self.complete_from_ns - lives.start_ns) / 1e9:g} s"
                f" to {(lives.end_ns - lives.start_ns) / 1e9:g} s"
            )
        window = pictures.Window(lives, self.events, low, high, rows, arrows)
        return pictures.draw(window, what or _PICTURES, "trace")

    def summary(self) -> str:
        """Some lines for a terminal."""
        return facts_text(self._facts())

    def _facts(self) -> Sequence[tuple[str, str]]:
        found = self.statistics()
        lost = found.overwritten + found.left_out
        facts = [
            ("time", format_quantity(found.duration_ns, "ns")),
            ("records", f"{found.records:,}" + (f", {lost:,} lost" if lost else "")),
            ("kernel threads", f"{found.kernel_threads:,}"),
            ("green threads", f"{found.green_threads:,}, {found.switches:,} times switched to"),
            ("calls", f"{found.calls:,}"),
            ("wake-ups", f"{found.wakes:,}"),
            ("from wake to run", _quantiles(found)),
            ("steals, preemptions", f"{found.steals:,}, {found.preemptions:,}"),
            ("CPU migrations", f"{found.migrations:,} between records{self._kernel_migrations()}"),
        ]
        lives = self.lives
        for place in lives.places()[:16]:
            busy = sum(span.end_ns - span.start_ns for _, span in lives.on_place(place) if span.state == EXECUTE)
            length = max(lives.end_ns - self.complete_from_ns, 1)
            facts.append((lives.place_name(place), f"{busy / length:.1%} busy"))
        return facts

    def _kernel_migrations(self) -> str:
        counts = [totals.migrations for totals in self._kernel.values() if totals.migrations is not None]
        return f"; {sum(counts):,} counted by the kernel" if counts else ""

    def __repr__(self) -> str:
        if not self._pid:
            return "<Trace, not started>"
        if self._is_running:
            return "<Trace, being taken>"
        if self._events is None:
            return "<Trace of the parent process>"
        return f"<Trace of {format_quantity(self.end_ns - self.start_ns, 'ns')}, {len(self._events):,} records>"

    def _repr_html_(self) -> str:
        if self._events is None:
            return html.escape(repr(self))
        return f"{facts_html(self._facts())}\n{self.plot()._repr_html_()}"


def _quantiles(found: TraceStatistics) -> str:
    if found.latency_median_ns != found.latency_median_ns:
        return "-"
    middle, high = (format_quantity(ns, "ns") for ns in (found.latency_median_ns, found.latency_p99_ns))
    return f"median {middle}, 99 % below {high}"


def _complete_from(events: NDArray[Any], totals: Any) -> int:
    """A thread's first record is its name; where that is missing its oldest records were overwritten."""
    begin = int(totals.started_ns)
    if not totals.overwritten or len(events) == 0:
        return begin
    _, first = np.unique(events["thread"], return_index=True)
    heads = events[first]
    cut = heads[heads["event"] != EVENT["thread-name"]]
    return max(begin, int(cut["time_ns"].max())) if len(cut) else begin


def _migrations(events: NDArray[Any]) -> int:
    order = np.argsort(events["thread"], kind="stable")
    threads, cpus = events["thread"][order], events["cpu"][order]
    return int(np.sum((threads[1:] == threads[:-1]) & (cpus[1:] != cpus[:-1])))


def trace(records_per_thread: int = 16_384, memory: int = 64 << 20) -> Trace:
    """A trace to be taken by `with`: what runs where, who waits for what, who wakes whom, as Trace says.

    with filar.trace() as t:
        work()
    t.plot()
    """
    return Trace(records_per_thread, memory)
