"""What more threads gain: speedup of kernels with the laws fitted, uneven work, grains, pinning, neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from filar import chart
from filar.chart import format_quantity
from filar.lab import pictures
from filar.lab.base import (
    CONDITIONAL,
    FAILS,
    HOLDS,
    UNDECIDED,
    Budget,
    Claim,
    Experiment,
    Measured,
    Row,
    Rows,
    Table,
    Verdict,
    Way,
    experiment,
    paired,
    undecided,
)
from filar.lab.bench import Bench
from filar.lab.fits import Scaling, amdahl, percent, scaling
from filar.lab.places import MIB
from filar.lab.pools import ns
from filar.lab.result import Result
from filar.lab.stats import N_MIN, NOTHING, Interval, paired_ratio, ratio_of_mins, share_interval

FAMILY = "Speedup"
NOTES = "Lecture notes on using threads"
MS = 1_000_000
TIME = "time"
ALONE = "one thread"
_NS = "ns"
_ONE_CPU = "Dividing work needs a second CPU; this process may use one."
NOT_MEASURED = "nothing was measured: dividing work needs a second CPU, and time for a round"
# Floor and typical speedup further apart than this: the threads had not always a core each.
NOISE = 0.05
SHARED_CORES = f"best and typical rounds differ by more than {NOISE:.0%}: the threads had not always a core each"
# In which share of all cores' worth a speedup counts as full, and below which as not worth it.
_FULL, _POOR = 0.8, 0.6
_TOO_LITTLE = f"less than {_POOR:.0%} of the cores' worth is gained"

SPIN, SUM = 0, 1
EVEN, RISING, HEAVY = 0, 1, 2
BY_ONE, ADAPTIVE, STATIC, DYNAMIC, FORKS = -1, 0, 1, 2, 3
SCHEDULES = {
    "equal parts": STATIC,
    "whoever comes next": DYNAMIC,
    "split and steal": FORKS,
    "filar's own": ADAPTIVE,
}


def speedup(rows: Rows, alone: str, divided: str, metric: str = TIME) -> tuple[float, Interval]:
    """Ratio of the best times, and what is typical: work that is the same each time is only ever disturbed."""
    one, many = rows.find(alone, metric), rows.find(divided, metric)
    if one is None or many is None:
        return math.nan, NOTHING
    return ratio_of_mins(one.samples, many.samples), rows.ratio(alone, divided, metric)


def told(floor: float, typical: Interval) -> str:
    """'1.93 (typically 1.88, 1.85 to 1.90)'."""
    return f"{floor:.2f} (typically {typical.mid:.2f}, {typical.lo:.2f} to {typical.hi:.2f})"


def disturbed(pairs: Iterable[tuple[float, Interval]]) -> bool:
    """Whether threads shared cores, with other programs or with each other: floor and typical speedup differ."""
    return any(one.n and abs(one.mid / floor - 1) > NOISE for floor, one in pairs if math.isfinite(floor))


def with_params(rows: Iterable[Row], **params: Any) -> Rows:
    """The same rows, each knowing more of its circumstances."""
    return Rows(Row(r.variant, r.metric, r.unit, r.samples, {**r.params, **params}, r.note, r.rounds) for r in rows)


class Parallel(Experiment):
    """What all here have in common: nothing can be measured on one CPU, and the rows know how many there are."""

    family = FAMILY

    def measure(self, bench: Bench) -> Measured:
        """The plan of `ways()`; nothing, and why, on one CPU."""
        if bench.other_cpu is None:
            return Measured(notes=[_ONE_CPU])
        outcome = bench.run(self.ways(bench))
        return Measured(rows=with_params(outcome.rows(), cores=len(bench.cpus)), notes=outcome.notes())

    @staticmethod
    def cores(rows: Iterable[Row]) -> int:
        """CPUs of the process that measured; 0 where nothing was."""
        return max((int(row.params.get("cores", 0)) for row in rows), default=0)

    @staticmethod
    def threads(cores: int) -> int:
        """Of a divided loop on a machine of so many CPUs."""
        return min(cores, 64)

    def charts(self, result: Result) -> list[Any]:
        """Each experiment draws its own."""
        raise NotImplementedError


_POOL_THREADS_MAX = 256  # LAB_POOL_WORKERS_MAX


def thread_counts(cores: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... up to the cores, and twice as many; as many as the kernels' ways take."""
    steps = {n for power in range(9) for n in (1 << power, 3 << power) if n <= cores}
    return sorted(n for n in {*steps, cores, 2 * cores} if n <= _POOL_THREADS_MAX)


# ---- kernels ----

ARRAY_BYTES = 32 * MIB


@dataclass(frozen=True)
class Kernel:
    """A native kernel: its number in the way "kernel", its size (0: the way's own), whether memory bounds it."""

    code: int
    size: int = 0
    memory_bound: bool = False
    quick: bool = True


KERNELS: dict[str, Kernel] = {
    "arithmetic": Kernel(0),
    "matrix product": Kernel(1),
    "Mandelbrot set": Kernel(2),
    "blur": Kernel(3),
    "prime sieve": Kernel(4, quick=False),
    "n queens": Kernel(5),
    "Fibonacci by forks": Kernel(6, quick=False),
    "merge sort": Kernel(7),
    "histogram": Kernel(11, quick=False),
    "sum of an array": Kernel(8, ARRAY_BYTES // 8, memory_bound=True),
    "dot product": Kernel(9, ARRAY_BYTES // 16, memory_bound=True, quick=False),
    "axpy": Kernel(10, ARRAY_BYTES // 16, memory_bound=True),
}


@experiment
class Speedup(Parallel):
    """Each kernel by number of threads, with ideal, Amdahl and USL (E11)."""

    name = "speedup"
    title = "How much faster do more threads make it?"
    claim = Claim(
        "A processor with several cores is used only by dividing the work among threads, which makes it faster by as "
        "many times as there are cores.",
        NOTES,
    )
    method = (
        "Each native kernel is done by its serial twin, then by filar's pool on ever more pinned threads; those that "
        "are bound by memory, not by computing, stand apart. "
        "All run in every round, in shuffled order; the speedup is the ratio of the best times, beside it the median "
        "of the ratios round by round with its interval. "
        "Amdahl's law and the USL are fitted by least squares up to the number of CPUs."
    )
    quick = Budget(seconds=2.2, rounds_max=60, rounds_min=8)
    full = Budget(seconds=20.0, rounds_max=400, rounds_min=15)

    @staticmethod
    def variant(kernel: str, threads: int) -> str:
        """Public name: "arithmetic, 2 threads"; 0 threads: no pool."""
        words = ALONE if threads == 0 else f"{threads} thread{'s' if threads > 1 else ''} of a pool"
        return f"{kernel}, {words}"

    def kernels(self, bench: Bench) -> dict[str, Kernel]:
        """Those of the mode, as far as there is memory: every way has arrays of its own."""
        chosen = {name: one for name, one in KERNELS.items() if one.quick or not bench.quick}
        ways = len(thread_counts(len(bench.cpus))) + 1
        bytes_all = ways * ARRAY_BYTES * sum(one.memory_bound for one in chosen.values())
        room = bench.safety.memory(bytes_all) >= bytes_all
        return {name: one for name, one in chosen.items() if room or not one.memory_bound}

    def ways(self, bench: Bench) -> list[Way]:
        """Every kernel alone and on every number of threads."""
        counts = (0, *thread_counts(len(bench.cpus)))
        return [
            Way(self.variant(name, n), "kernel", {"kernel": one.code, "threads": n, "size": one.size}, batch=1)
            for name, one in self.kernels(bench).items()
            for n in counts
        ]

    def measure(self, bench: Bench) -> Measured:
        """The plan, and the laws as a table."""
        measured = super().measure(bench)
        if len(measured.rows):
            measured.tables.append(self.table(measured.rows))
            if all(one.usl is None for one in self.scalings(measured.rows).values()):
                measured.notes.append(
                    "The USL has two parameters: fitting it takes three numbers of threads above one within the CPUs."
                )
            skipped = [n for n, one in KERNELS.items() if one.memory_bound and n not in self.kernels(bench)]
            if skipped and not any(KERNELS[name].memory_bound for name in self.kernels(bench)):
                measured.notes.append(f"Not enough memory is free for: {', '.join(skipped)}.")
        return measured

    def scalings(self, rows: Rows) -> dict[str, Scaling]:
        """Speedups and fits of every kernel that was measured."""
        found = {}
        for kernel in KERNELS:
            alone = rows.find(self.variant(kernel, 0), TIME)
            divided = {
                int(row.params["threads"]): row
                for row in rows.of_metric(TIME)
                if row.variant.startswith(f"{kernel}, ") and row.variant != self.variant(kernel, 0)
            }
            if alone is not None and divided:
                found[kernel] = scaling(alone, divided, cores=self.cores(rows))
        return found

    def table(self, rows: Rows) -> Table:
        """Speedup at all cores and the laws, a line a kernel."""
        cores = self.cores(rows)
        lines = []
        for kernel, one in self.scalings(rows).items():
            floor, typical = one.at(cores)
            law, general = one.amdahl, one.usl
            lines.append(
                (
                    kernel,
                    f"{floor:.2f}",
                    f"{typical.mid:.2f} ({typical.lo:.2f} to {typical.hi:.2f})",
                    f"{100 * floor / cores:.0f} %",
                    law.words().split(": ", 1)[1] if law else "–",
                    general.words().split(": ", 1)[1] if general else "–",
                )
            )
        columns = ("kernel", f"on {cores} threads", "typically", "efficiency", "Amdahl", "USL")
        return Table("Speedup and the laws", columns, tuple(lines))

    def judge(self, rows: Rows) -> Verdict:
        """At all cores: is each kernel nearly so many times faster, or only those that compute?"""
        cores, scalings = self.cores(rows), self.scalings(rows)
        if cores < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        if not scalings or any(one.at(cores)[1].n < N_MIN for one in scalings.values()):
            return Verdict(UNDECIDED, "too few rounds were measured")
        at_cores = {kernel: one.at(cores) for kernel, one in scalings.items()}
        reason = f"on {cores} cores: {', '.join(f'{kernel} {told(*one)}' for kernel, one in at_cores.items())}"
        laws = [one.amdahl.parameters["serial share"] for one in scalings.values() if one.amdahl is not None]
        if laws:
            low, high = min(one.mid for one in laws), max(one.mid for one in laws)
            reason += f"; serial shares by Amdahl's law from {percent(low)} to {percent(high)} %"
        slowest = min(at_cores, key=lambda kernel: at_cores[kernel][0])
        fastest = max(at_cores, key=lambda kernel: at_cores[kernel][0])
        headline = f"on {cores} cores from {at_cores[slowest][0]:.2f} ({slowest}) "
        headline += f"to {at_cores[fastest][0]:.2f} times ({fastest})"
        good = [kernel for kernel, one in at_cores.items() if one[0] >= _FULL * cores]
        computing = [kernel for kernel in at_cores if not KERNELS[kernel].memory_bound]
        if len(good) == len(at_cores):
            return Verdict(HOLDS, reason, headline=headline)
        # Those that would be good if they gained as much again as typical rounds have lost.
        short = [one for kernel, one in at_cores.items() if kernel not in good]
        if disturbed((floor, one) for floor, one in short if floor**2 >= _FULL * cores * one.mid):
            return Verdict(UNDECIDED, f"{reason}; {SHARED_CORES}", headline=headline)
        if all(kernel in good for kernel in computing):
            return Verdict(CONDITIONAL, reason, "the threads compute rather than wait for memory", headline)
        if good:
            return Verdict(CONDITIONAL, reason, f"it is {' or '.join(good)}", headline)
        if all(one[0] < _POOR * cores for one in at_cores.values()):
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(CONDITIONAL, reason, f"less than {_FULL:.0%} of the cores' worth is enough", headline)

    def charts(self, result: Result) -> list[Any]:
        """All kernels together; efficiency; then each kernel with its laws."""
        cores, scalings = self.cores(result.rows), self.scalings(result.rows)
        n = pictures.samples_note(result.rows)
        computing = {name: one for name, one in scalings.items() if not KERNELS[name].memory_bound}
        memory = {name: one for name, one in scalings.items() if KERNELS[name].memory_bound}
        return [
            overview("Speedup by number of threads: kernels that compute", computing, cores, n),
            *([overview("Speedup by number of threads: bound by memory", memory, cores, n)] if memory else []),
            efficiency(scalings, cores, n),
            *(speedup_curve(kernel, one, cores, n) for kernel, one in scalings.items()),
        ]


def _ideal(counts: Sequence[float], cores: int) -> chart.Series:
    return chart.Series("ideal", np.array(counts), np.minimum(counts, cores), dashed=True)


def _best(label: str, one: Scaling) -> chart.Series:
    """Ratios of the best times."""
    return chart.Series(label, one.workers, one.floors)


def _typical(label: str, x: Sequence[float] | np.ndarray, typical: Sequence[Interval], reach: float) -> chart.Series:
    """Medians of the ratios round by round; whiskers are their intervals, as far as the picture is to reach."""
    return chart.Series(
        label,
        np.asarray(x, dtype=float),
        np.minimum([one.mid for one in typical], reach),
        np.minimum([one.lo for one in typical], reach),
        np.minimum([one.hi for one in typical], reach),
        whiskers=True,
    )


# Beside busy programs a single round may gain tenfold: what is typical is drawn up to so many times the cores.
_REACH = 1.25
_BEST, _ROUND = "best round", "typical round"
_POINTS_NOTE = (
    f"Best: ratio of the best times; typical: median ratio of a round with its 95 % interval, up to {_REACH} times the "
    "cores"
)


def overview(title: str, scalings: Mapping[str, Scaling], cores: int, n: str) -> chart.Lines:
    """All kernels beside the ideal."""
    counts = sorted({float(count) for one in scalings.values() for count in one.workers})
    return chart.Lines(
        series=[*(_best(kernel, one) for kernel, one in scalings.items()), _ideal(counts, cores)],
        x_ticks=counts,
        y_from_zero=True,
        title=title,
        x_label="threads",
        y_label="times as fast as one thread",
        marked=[chart.Marked(cores, "usable CPUs")] if cores else [],
        n=n,
        note="Ratios of the best times; the picture of each kernel has the typical rounds, too",
    )


def efficiency(scalings: Mapping[str, Scaling], cores: int, n: str) -> chart.Lines:
    """How much of each thread's time is gained: the speedup over the number of threads, up to the CPUs."""
    lines = []
    for kernel, one in scalings.items():
        inside = one.workers <= cores
        lines.append(chart.Series(kernel, one.workers[inside], 100 * one.floors[inside] / one.workers[inside]))
    counts = sorted({float(count) for line in lines for count in line.x})
    return chart.Lines(
        series=lines,
        x_ticks=counts,
        y_unit="percent",
        y_from_zero=True,
        title="Efficiency: speedup for each thread",
        x_label="threads",
        y_label="speedup over the number of threads",
        marked=[chart.Marked(100.0, "ideal", axis="y")],
        n=n,
    )


def speedup_curve(title: str, one: Scaling, cores: int, n: str) -> chart.Lines:
    """One kernel with ideal, Amdahl and USL; the parameters stand below."""
    counts = one.workers.tolist()
    dense = np.linspace(1, max(cores, 1), 60)
    lines = [_best(_BEST, one), _typical(_ROUND, one.workers, one.typical, _REACH * max(cores, 1))]
    words = []
    for law in (one.amdahl, one.usl):
        if law is not None:
            lines.append(chart.Series(law.law.name, dense, law.curve(dense), dashed=True))
            words.append(law.words())
    lines.append(_ideal(counts, cores))
    return chart.Lines(
        series=lines,
        x_ticks=counts,
        y_from_zero=True,
        title=f"Speedup: {title}",
        x_label="threads",
        y_label="times as fast as one thread",
        marked=[chart.Marked(cores, "usable CPUs")] if cores else [],
        n=n,
        note=f"{'; '.join(words) or 'Too few numbers of threads to fit a law'}. {_POINTS_NOTE}",
    )


# ---- frames of a film ----

FRAME = "frame"
# Large enough that a phase outlasts the wake-up of the threads that help with it many times.
FRAME_SIZE = {"width": 640, "height": 384}
SERIAL_PERMILLE = (0, 50, 100, 250, 500)
PHASE, LOCK = "a phase", "under a lock"
_LAW_HOLDS = 0.08


@experiment
class VideoFrames(Parallel):
    """Frames filtered in parallel, part of each serial (E11)."""

    name = "video-frames"
    title = "Video frames, part of which is serial"
    claim = Claim(
        "An encoder that processes frames in parallel gains as Amdahl's law says: the serial part bounds the speedup.",
        "Lecture notes: what a thread is; Amdahl 1967",
    )
    method = (
        f"Frames of {FRAME_SIZE['width']} x {FRAME_SIZE['height']} pixels are blurred; a share of the work of each is "
        "serial: a phase that one thread does while the others wait, or a part under a lock while other threads are at "
        "other frames. "
        "One thread and all cores, every share and both kinds run in every round, in shuffled order. "
        "Speedups are ratios of the best times, and the share that the law is given is the measured one."
    )
    quick = Budget(seconds=3.0, rounds_max=40, rounds_min=8)
    full = Budget(seconds=25.0, rounds_max=200, rounds_min=10)

    @staticmethod
    def variant(kind: str, permille: int, threads: int) -> str:
        """Public name: "10 % serial, a phase, 2 threads"."""
        return f"{permille / 10:g} % serial, {kind}, {ALONE if threads == 0 else f'{threads} threads'}"

    def ways(self, bench: Bench) -> list[Way]:
        """Every share and kind, alone and on all cores."""
        cores = self.threads(len(bench.cpus))
        # Phases are of one frame; under a lock each thread has a frame of its own.
        frames = {PHASE: 4, LOCK: max(4, cores)}
        return [
            Way(
                self.variant(kind, permille, threads),
                "frames",
                {
                    "serial_permille": permille,
                    "locked": locked,
                    "threads": threads,
                    "frames": frames[kind],
                    **FRAME_SIZE,
                },
                batch=1,
            )
            for permille in SERIAL_PERMILLE
            for locked, kind in enumerate((PHASE, LOCK))
            for threads in (0, cores)
        ]

    def points(self, rows: Rows, kind: str) -> list[tuple[float, float, Interval, float]]:
        """For each share: measured serial share, speedup (floor and typical), what Amdahl's law says."""
        cores = self.threads(self.cores(rows))
        free = rows.floor(self.variant(kind, 0, 0), FRAME)
        found = []
        for permille in SERIAL_PERMILLE:
            alone, divided = (self.variant(kind, permille, n) for n in (0, cores))
            floor, typical = speedup(rows, alone, divided, FRAME)
            share = max(0.0, 1 - free / rows.floor(alone, FRAME))
            if typical.n and math.isfinite(share):
                found.append((share, floor, typical, float(amdahl(cores, share))))
        return found

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the serial phase costs what the law says; tells that a lock is another thing."""
        cores = self.cores(rows)
        if cores < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        phase, lock = self.points(rows, PHASE), self.points(rows, LOCK)
        if len(phase) < 2 or any(typical.n < N_MIN for _, _, typical, _ in phase):
            return Verdict(UNDECIDED, "too few shares or rounds were measured")
        parts = [f"{floor:.2f} with {100 * s:.0f} % serial (law {law:.2f})" for s, floor, _, law in phase]
        reason = f"on {cores} cores: {', '.join(parts)}"
        if lock:
            parts = [f"{floor:.2f} with {100 * s:.0f} %" for s, floor, _, _ in lock[1:]]
            reason += f"; the same share under a lock: {', '.join(parts)}"
        headline = f"{phase[0][1]:.2f} without a serial part, {phase[-1][1]:.2f} with {100 * phase[-1][0]:.0f} %"
        if phase[0][1] < _POOR * self.threads(cores):
            why = f"{_TOO_LITTLE} even without a serial part, the cores are not free"
            return Verdict(UNDECIDED, f"{reason}; {why}", headline=headline)
        off = [abs(floor / law - 1) for _, floor, _, law in phase]
        if max(off) <= _LAW_HOLDS:
            return Verdict(HOLDS, f"{reason}; within {100 * max(off):.0f} % of the law", headline=headline)
        if disturbed((floor, typical) for _, floor, typical, _ in phase):
            return Verdict(UNDECIDED, f"{reason}; {SHARED_CORES}", headline=headline)
        below = all(floor <= law * (1 + _LAW_HOLDS) for _, floor, _, law in phase)
        why = "below the law: dividing costs something, too" if below else "not as the law says"
        return Verdict(FAILS, f"{reason}; {why}", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Speedup over the serial share: phase, lock, law."""
        cores = self.threads(self.cores(result.rows))
        shares = np.linspace(0, 0.55, 60)
        lines = []
        for kind in (PHASE, LOCK):
            points = self.points(result.rows, kind)
            if points:
                at = np.array([100 * share for share, *_ in points])
                lines += [
                    chart.Series(f"{kind}, {_BEST}", at, np.array([floor for _, floor, *_ in points])),
                    _typical(f"{kind}, {_ROUND}", at, [one for *_, one, _ in points], _REACH * cores),
                ]
        laws = []
        if cores:
            laws.append(chart.Series("Amdahl's law", 100 * shares, 1 / (shares + (1 - shares) / cores), dashed=True))
        return [
            chart.Lines(
                series=[*lines, *laws],
                x_unit="percent",
                y_from_zero=True,
                title=f"Film on {cores} threads: speedup by serial share",
                x_label="serial share of a frame, measured",
                y_label="times as fast as one thread",
                n=pictures.samples_note(result.rows),
                note=_POINTS_NOTE,
            )
        ]


# ---- uneven work ----

SHAPES: dict[str, dict[str, int]] = {
    "even": {"work": SPIN, "shape": EVEN},
    "rising": {"work": SPIN, "shape": RISING},
    "one end heavy": {"work": SPIN, "shape": HEAVY},
}
_LOOP = {"length": 2048, "steps": 1_500_000}
_LOOP_GRAIN = 32


@experiment
class UnevenWork(Parallel):
    """Even and uneven loops, divided in four ways."""

    name = "uneven-work"
    title = "Dividing even and uneven work"
    claim = Claim("Work divided into equal parts, one for each thread, keeps all cores busy.", NOTES)
    method = (
        "A loop of 2,048 steps, all of one length, of rising length, or with half of the work in the first sixteenth, "
        "is divided into one equal part for each thread, into pieces of 32 that threads take one after the other, by "
        "halving with stealing, and by filar's own partitioner. "
        "All run in every round on all cores, in shuffled order. "
        "Speedups are ratios of the best times to those of one thread."
    )
    quick = Budget(seconds=1.8, rounds_max=60, rounds_min=8)
    full = Budget(seconds=15.0, rounds_max=300, rounds_min=12)

    def ways(self, bench: Bench) -> list[Way]:
        """Every shape alone and by every schedule."""
        threads = self.threads(len(bench.cpus))
        found = []
        for shape, params in SHAPES.items():
            found.append(Way(f"{shape}, {ALONE}", "loop", {**_LOOP, **params, "schedule": BY_ONE}, batch=1))
            found += [
                Way(
                    f"{shape}, {name}",
                    "loop",
                    {
                        **_LOOP,
                        **params,
                        "threads": threads,
                        "schedule": schedule,
                        "grain": _LOOP_GRAIN if schedule in (DYNAMIC, FORKS) else 0,
                    },
                    batch=1,
                )
                for name, schedule in SCHEDULES.items()
            ]
        return found

    def speedups(self, rows: Rows) -> dict[tuple[str, str], tuple[float, Interval]]:
        """By shape and schedule."""
        found = {(s, name): speedup(rows, f"{s}, {ALONE}", f"{s}, {name}") for s in SHAPES for name in SCHEDULES}
        return {key: one for key, one in found.items() if one[1].n}

    def judge(self, rows: Rows) -> Verdict:
        """Equal parts on even and on uneven work, against the best other way."""
        cores = self.threads(self.cores(rows))
        if cores < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        found = self.speedups(rows)
        if len(found) < len(SHAPES) * len(SCHEDULES) or any(one.n < N_MIN for _, one in found.values()):
            return Verdict(UNDECIDED, "not every way of dividing was measured often enough")
        static = {shape: found[shape, "equal parts"][0] for shape in SHAPES}
        best = {shape: max(found[shape, name][0] for name in SCHEDULES) for shape in SHAPES}
        ours = {shape: found[shape, "filar's own"][0] for shape in SHAPES}
        parts = [
            f"{shape} {static[shape]:.2f} (best {best[shape]:.2f}, filar's own {ours[shape]:.2f})" for shape in SHAPES
        ]
        reason = f"speedup of equal parts on {cores} cores: {', '.join(parts)}"
        uneven = [shape for shape in SHAPES if shape != "even"]
        headline = f"equal parts: {', '.join(f'{shape} {static[shape]:.2f}' for shape in SHAPES)}"
        if best["even"] < _POOR * cores:
            return Verdict(UNDECIDED, f"{reason}: {_TOO_LITTLE} on even work, the cores are not free", "", headline)
        loses = [shape for shape in uneven if static[shape] < 0.9 * best[shape]]
        if not loses and static["even"] >= _FULL * cores:
            return Verdict(HOLDS, reason, headline=headline)
        if len(loses) == len(uneven) and static["even"] >= 0.9 * best["even"]:
            return Verdict(CONDITIONAL, reason, "all parts take equally long", headline)
        if static["even"] < 0.9 * best["even"] and not disturbed([found["even", "equal parts"]]):
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: too noisy", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Speedup, a group each shape, a bar each way."""
        found = self.speedups(result.rows)
        nothing = (math.nan, NOTHING)
        return [
            chart.Bars(
                groups=list(SHAPES),
                series=[
                    chart.BarSeries(name, [found.get((shape, name), nothing)[0] for shape in SHAPES])
                    for name in SCHEDULES
                ],
                unit="ratio",
                title=f"Speedup on {self.threads(self.cores(result.rows))} threads by way of dividing",
                x_label="times as fast as one thread (ratio of the best times)",
                n=pictures.samples_note(result.rows),
            )
        ]


# ---- grain ----

GRAIN_LENGTH = 8000
GRAINS = (1, 10, 100, 1000, 4000, 8000)
_GRAIN_STEPS = 1_000_000
OWN, PARTS = "filar's own grain", "equal parts"


@experiment
class LoopGrain(Parallel):
    """Time of a parallel loop by the length of its pieces (the U-curve)."""

    name = "loop-grain"
    title = "How long should the pieces of a parallel loop be?"
    claim = Claim(
        "Work should be divided neither too finely nor too coarsely: a piece must justify what handing it out costs.",
        NOTES,
    )
    method = (
        f"A loop of {GRAIN_LENGTH:,} steps of some 200 ns is divided into pieces of a fixed length that threads take "
        "one after the other; beside it into equal parts, and as filar's partitioner sees fit. "
        "All lengths run in every round on all cores, in shuffled order. "
        "Times are the best ones, medians beside them."
    )
    quick = Budget(seconds=1.5, rounds_max=80, rounds_min=8)
    full = Budget(seconds=12.0, rounds_max=400, rounds_min=12)

    def ways(self, bench: Bench) -> list[Way]:
        """Every grain, the partitioner's own, and one thread."""
        params = {"work": SPIN, "length": GRAIN_LENGTH, "steps": _GRAIN_STEPS, "threads": self.threads(len(bench.cpus))}
        grains = GRAINS if bench.quick else sorted({*GRAINS, 2, 5, 20, 50, 200, 500, 2000})
        return [
            Way(ALONE, "loop", {**params, "schedule": BY_ONE}, batch=1),
            Way(OWN, "loop", {**params, "schedule": ADAPTIVE}, batch=1),
            Way(PARTS, "loop", {**params, "schedule": STATIC}, batch=1),
            *(
                Way(f"pieces of {grain:,}", "loop", {**params, "schedule": DYNAMIC, "grain": grain}, batch=1)
                for grain in grains
            ),
        ]

    @staticmethod
    def by_grain(rows: Rows) -> list[Row]:
        """Rows of fixed pieces, shortest first."""
        return sorted(
            (row for row in rows.of_metric(TIME) if row.variant.startswith("pieces of")),
            key=lambda row: row.params["grain"],
        )

    def judge(self, rows: Rows) -> Verdict:
        """Holds if the best grain lies between the ends and both ends are a tenth slower."""
        if self.cores(rows) < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        grains = self.by_grain(rows)
        if len(grains) < 3 or any(row.n < N_MIN for row in grains):
            return Verdict(UNDECIDED, "too few lengths or rounds were measured")
        best = min(grains, key=lambda row: row.min)
        fine, coarse = grains[0].min / best.min, grains[-1].min / best.min
        reason = (
            f"best with {best.variant} ({ns(best.min)}); {grains[0].variant} take {fine:.2f} times as long, "
            f"{grains[-1].variant} {coarse:.2f} times (best times)"
        )
        own = rows.find(OWN, TIME)
        if own is not None:
            reason += f"; filar's own grain {own.min / best.min:.2f} times"
        headline = f"pieces of 1: {fine:.2f} times the best, of {int(grains[-1].params['grain']):,}: {coarse:.2f} times"
        alone = rows.find(ALONE, TIME)
        if alone is not None and alone.min / best.min < 1 / _POOR / 1.2:
            return Verdict(UNDECIDED, f"{reason}: no length gained anything, the cores are not free", "", headline)
        if fine > 1.1 and coarse > 1.1:
            return Verdict(HOLDS, reason, headline=headline)
        if fine <= 1.1 and coarse <= 1.1:
            return Verdict(FAILS, reason, headline=headline)
        side = "coarsely" if coarse > 1.1 else "finely"
        return Verdict(CONDITIONAL, reason, f"it is divided too {side}", headline)

    def charts(self, result: Result) -> list[Any]:
        """The U-curve with the partitioner's own time across."""
        rows = self.by_grain(result.rows)
        lines = []
        if rows:
            x = np.array([float(row.params["grain"]) for row in rows])
            lines = [
                chart.Series(
                    "median",
                    x,
                    np.array([row.median for row in rows]),
                    np.array([row.interval.lo for row in rows]),
                    np.array([row.interval.hi for row in rows]),
                ),
                chart.Series("best", x, np.array([row.min for row in rows])),
            ]
        marked = [
            chart.Marked(row.min, label, axis="y")
            for label, row in (
                (f"{OWN}, best", result.rows.find(OWN, TIME)),
                (f"{ALONE}, best", result.rows.find(ALONE, TIME)),
            )
            if row is not None
        ]
        return [
            chart.Lines(
                series=lines,
                x_scale="log",
                y_unit=_NS,
                y_from_zero=True,
                x_ticks=[float(grain) for grain in GRAINS],
                title="Time of a loop by the length of its pieces",
                x_label=f"steps in a piece, of {GRAIN_LENGTH:,}",
                y_label="time of the loop",
                marked=marked,
                n=pictures.samples_note(rows),
            )
        ]


# ---- pinning and neighbours ----

PINNED, FREE = "pinned", "free"
# A gain that is worth pinning for; a round that the kernel has spoilt, by two threads on one CPU; and how often.
_FASTER, _MUCH, _OFTEN = 1.03, 1.25, 0.1
# Steps for each thread, some 15 ms: several slices of the scheduler, since a shorter loop has a whole slice of its
# neighbour, or nothing of it.
_SLICES_STEPS = 20_000_000


@dataclass(frozen=True)
class Gain:
    """Times on free workers over those on pinned ones, round by round.

    Where the kernel puts two threads on one CPU now and then, the ratios are of two kinds, and their median is one of
    them: so the share of rounds counts, too, in which one placement is much slower than the other.
    """

    typical: Interval
    best: float
    slow: Interval  # share of the rounds in which free workers were much slower
    fast: Interval  # share in which they were much faster

    @property
    def surely(self) -> bool:
        """Pinned workers are faster as a rule, or often much faster and seldom much slower."""
        often = self.slow.lo > _OFTEN and self.fast.hi < self.slow.lo
        return self.typical.lo > _FASTER or (often and self.typical.hi > 1 / _FASTER)

    @property
    def surely_none(self) -> bool:
        """Neither."""
        return self.typical.hi < _FASTER and (self.slow.hi < _OFTEN or self.fast.lo > self.slow.hi)

    def words(self) -> str:
        """'1.00 times (0.98 to 1.76; best times 1.00; 1.25 times or more in 41 % of the rounds)'."""
        one = self.typical
        told = f"{one.mid:.2f} times ({one.lo:.2f} to {one.hi:.2f}; best times {self.best:.2f}"
        return f"{told}; {_MUCH} times or more in {100 * self.slow.mid:.0f} % of the rounds)"

    def brief(self) -> str:
        """'1.00 (41 % above 1.25)'."""
        return f"{self.typical.mid:.2f} ({100 * self.slow.mid:.0f} % above {_MUCH})"


@experiment
class PoolPinning(Parallel):
    """Pinned workers against free ones, computing and going over memory."""

    name = "pool-pinning"
    title = "Pinned or free workers?"
    claim = Claim(
        "Pinning the threads of a pool to cores makes it faster, because data stay in the core's cache.", NOTES
    )
    method = (
        "A loop that computes and one that goes over an array of 512 KiB a thread again and again run in equal parts, "
        "on workers pinned to one CPU each and on workers that go where the kernel puts them; the caller takes part, "
        "so there is one worker less than there are CPUs. "
        "All run in every round on all cores, in shuffled order. "
        "Ratios are formed round by round; beside their median stands in how many rounds they are large, since the "
        "kernel wakes free threads on one CPU in some rounds and not in others."
    )
    quick = Budget(seconds=2.0, rounds_max=100, rounds_min=10)
    full = Budget(seconds=10.0, rounds_max=400, rounds_min=20)

    def works(self, bench: Bench) -> dict[str, dict[str, int]]:
        """What the loops do."""
        threads = self.threads(len(bench.cpus))
        return {
            "computing": {"work": SPIN, "length": 1024, "steps": 2_000_000 * threads, "threads": threads},
            "over an array": {"work": SUM, "length": 65_536 * threads, "threads": threads},
        }

    def ways(self, bench: Bench) -> list[Way]:
        """Both loops, pinned and free."""
        return [
            Way(
                f"{work}, {where}",
                "loop",
                {**params, "schedule": STATIC, "pinned": pinned},
                # Of the short ones so many that only the first has to wake anybody.
                batch=64 if params["work"] == SUM else 1,
            )
            for work, params in self.works(bench).items()
            for where, pinned in ((PINNED, 1), (FREE, 0))
        ]

    @staticmethod
    def gain(rows: Rows, work: str) -> Gain | None:
        """What pinning gains at one kind of loop; None without enough rounds of both."""
        free, pinned = (rows.find(f"{work}, {where}", TIME) for where in (FREE, PINNED))
        if free is None or pinned is None:
            return None
        _, free_ns, pinned_ns = paired(free, pinned)
        if len(free_ns) < N_MIN:
            return None
        ratios = free_ns / pinned_ns
        return Gain(
            typical=paired_ratio(free_ns, pinned_ns),
            best=ratio_of_mins(free.samples, pinned.samples),
            slow=share_interval(int(np.sum(ratios > _MUCH)), len(ratios)),
            fast=share_interval(int(np.sum(ratios < 1 / _MUCH)), len(ratios)),
        )

    def judge(self, rows: Rows) -> Verdict:
        """Holds if pinned is surely faster in both loops, as a rule or in many rounds; conditional if in one."""
        if self.cores(rows) < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        found = {work: self.gain(rows, work) for work in ("computing", "over an array")}
        gains = {work: one for work, one in found.items() if one is not None}
        if len(gains) < len(found):
            return undecided("pinned and free workers were not both measured", rows.of_metric(TIME))
        reason = "free workers take, of the time of pinned ones: "
        reason += ", ".join(f"{work} {one.words()}" for work, one in gains.items())
        headline = f"free / pinned: {', '.join(f'{work} {one.brief()}' for work, one in gains.items())}"
        better = [work for work, one in gains.items() if one.surely]
        worse = [work for work, one in gains.items() if one.surely_none]
        if len(better) == len(gains):
            return Verdict(HOLDS, reason, headline=headline)
        if better:
            where = [work if gains[work].typical.lo > _FASTER else f"{work}, in some rounds" for work in better]
            return Verdict(CONDITIONAL, reason, f"it is {' or '.join(where)}", headline)
        if len(worse) == len(gains):
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: neither clearly faster nor clearly not", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Ranked dots; the distributions, since the rounds of free workers may be of two kinds."""
        rows = result.rows.of_metric(TIME)
        return [
            pictures.ranked_dots(result, TIME),
            chart.Cdf(
                series=[chart.Samples(row.variant, row.samples) for row in rows],
                unit=_NS,
                title="Rounds of pinned and of free workers",
                x_label="time of a loop",
                n=pictures.samples_note(rows),
            ),
        ]


HOG, QUIET = "with a hog on one CPU", "alone on the machine"


@experiment
class NoisyNeighbour(Parallel):
    """A program that keeps one CPU busy beside a parallel loop."""

    name = "noisy-neighbour"
    title = "A neighbour that keeps one core busy"
    claim = Claim(
        "A busy neighbour on one core costs a parallel program no more than the time the neighbour takes.", NOTES
    )
    method = (
        "A loop that takes all cores some 15 ms is divided into equal parts or into pieces that threads take one "
        "after the other, on pinned and on free workers; another thread keeps one CPU busy meanwhile, or does not. "
        "All run in every round, in shuffled order. "
        "If the neighbour's share of that core were all that is lost, the loop would take n / (n - 1/2) times as long "
        "on n cores."
    )
    quick = Budget(seconds=3.4, rounds_max=40, rounds_min=8)
    full = Budget(seconds=20.0, rounds_max=150, rounds_min=10)
    schedules: ClassVar = {"equal parts": STATIC, "whoever comes next": DYNAMIC, "filar's own": ADAPTIVE}

    def ways(self, bench: Bench) -> list[Way]:
        """Every way of dividing, pinned and free, with and without the hog."""
        threads = self.threads(len(bench.cpus))
        hog = bench.other_cpu if bench.other_cpu is not None else bench.cpu
        return [
            Way(
                f"{name}, {where}, {state}",
                "loop",
                {
                    "work": SPIN,
                    "length": 4096,
                    "steps": _SLICES_STEPS * threads,
                    "threads": threads,
                    "schedule": schedule,
                    "grain": _LOOP_GRAIN if schedule == DYNAMIC else 0,
                    "pinned": pinned,
                    "hog_cpu": cpu,
                },
                batch=1,
            )
            for name, schedule in self.schedules.items()
            for where, pinned in ((PINNED, 1), (FREE, 0))
            for state, cpu in ((QUIET, -1), (HOG, hog))
        ]

    def slowdowns(self, rows: Rows) -> dict[tuple[str, str], Interval]:
        """With the hog over without it, round by round, by way of dividing and placement."""
        found = {
            (name, where): rows.ratio(f"{name}, {where}, {HOG}", f"{name}, {where}, {QUIET}", TIME)
            for name in self.schedules
            for where in (PINNED, FREE)
        }
        return {key: one for key, one in found.items() if one.n}

    def judge(self, rows: Rows) -> Verdict:
        """Which ways lose more than a quarter beyond the neighbour's share?"""
        cores = self.cores(rows)
        if cores < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        slow = self.slowdowns(rows)
        if len(slow) < 2 * len(self.schedules) or any(one.n < N_MIN for one in slow.values()):
            return Verdict(UNDECIDED, "not every way of dividing was measured often enough")
        fair = cores / (cores - 0.5)
        parts = [f"{name}, {where} {one.mid:.2f} ({one.lo:.2f} to {one.hi:.2f})" for (name, where), one in slow.items()]
        reason = f"times as long with the neighbour (its share alone: {fair:.2f}): {', '.join(parts)}"
        pinned = {name: slow[name, PINNED].mid for name in self.schedules}
        headline = f"pinned: {', '.join(f'{name} {value:.2f} times' for name, value in pinned.items())}"
        good = [key for key, one in slow.items() if one.hi < 1.25 * fair]
        bad = [key for key, one in slow.items() if one.lo > 1.25 * fair]
        if len(good) == len(slow):
            return Verdict(HOLDS, reason, headline=headline)
        if len(bad) == len(slow):
            return Verdict(FAILS, reason, headline=headline)
        if good and bad and all(name == "equal parts" for name, _ in bad):
            return Verdict(CONDITIONAL, reason, "threads that are done take work from those that are not", headline)
        if good and bad:
            if set(good) in ({(name, where) for name in self.schedules} for where in (PINNED, FREE)):
                return Verdict(CONDITIONAL, reason, f"the workers are {good[0][1]}", headline)
            told = " or ".join(f"{name} on {where} workers" for name, where in good)
            return Verdict(CONDITIONAL, reason, f"it is {told}", headline)
        return Verdict(UNDECIDED, f"{reason}: too noisy", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """How many times as long with the neighbour."""
        slow = self.slowdowns(result.rows)
        cores = self.cores(result.rows)

        def column(where: str, value: str) -> list[float]:
            return [float(getattr(slow.get((name, where), NOTHING), value)) for name in self.schedules]

        share = f"; the neighbour's share alone would make it {cores / (cores - 0.5):.2f}" if cores else ""
        return [
            chart.Bars(
                groups=list(self.schedules),
                series=[
                    chart.BarSeries(where, column(where, "mid"), column(where, "lo"), column(where, "hi"))
                    for where in (PINNED, FREE)
                ],
                unit="ratio",
                title="How much longer a parallel loop takes with a hog on one CPU",
                x_label="times as long as without it",
                n=pictures.samples_note(result.rows),
                note=f"Medians with 95 % intervals{share}",
            )
        ]


# ---- processes ----

PARTIES = {ALONE: 0, "two threads": 1, "two processes, shared memory": 2, "two processes, data sent": 3}
PASSES_QUICK = (1, 8, 64)
PASSES_FULL = (1, 4, 16, 64, 256)
# So large that moving half of it takes longer than waking whoever works on it.
BLOCK_BYTES = MIB


@experiment
class ProcessVsThreadWork(Parallel):
    """The same work divided between two threads or two processes, with what moving the data costs."""

    name = "process-vs-thread-work"
    title = "Dividing work between threads or between processes"
    claim = Claim(
        "Threads share data without copying, processes need communication: divided work is done faster by threads.",
        "Lecture notes on threads and processes",
    )
    method = (
        f"Every word of a block of {BLOCK_BYTES // MIB} MiB is mixed 1 to {PASSES_FULL[-1]} times; the second half is "
        "done by another thread, by a process that shares the memory, or by a process that is sent its half through a "
        "socket and sends it back. "
        "The other party exists already and sleeps; all run in every round, in shuffled order, each on its own CPU. "
        "Speedups are ratios of the best times to those of one thread; every result is checked."
    )
    quick = Budget(seconds=2.2, rounds_max=60, rounds_min=8)
    full = Budget(seconds=20.0, rounds_max=200, rounds_min=12)

    @staticmethod
    def variant(party: str, passes: int) -> str:
        """Public name: "two threads, 8 passes"."""
        return f"{party}, {passes} pass{'es' if passes > 1 else ''}"

    def ways(self, bench: Bench) -> list[Way]:
        """Every party at every amount of work."""
        return [
            Way(
                self.variant(party, passes),
                "share-work",
                {"party": code, "bytes": BLOCK_BYTES, "passes": passes, "peer_cpu": bench.other_cpu or 0},
                batch=1 if passes > 16 else 4,
            )
            for passes in (PASSES_QUICK if bench.quick else PASSES_FULL)
            for party, code in PARTIES.items()
        ]

    @staticmethod
    def amounts(rows: Iterable[Row]) -> list[int]:
        """Passes measured, ascending."""
        return sorted({int(row.params.get("passes", 0)) for row in rows})

    def speedups(self, rows: Rows) -> dict[tuple[str, int], tuple[float, Interval]]:
        """By party and passes."""
        found = {
            (party, passes): speedup(rows, self.variant(ALONE, passes), self.variant(party, passes))
            for party in PARTIES
            if party != ALONE
            for passes in self.amounts(rows)
        }
        return {key: one for key, one in found.items() if one[1].n}

    def judge(self, rows: Rows) -> Verdict:
        """Threads against processes that are sent their data, with little and with much work for each byte."""
        if self.cores(rows) < 2:
            return Verdict(UNDECIDED, NOT_MEASURED)
        found, amounts = self.speedups(rows), self.amounts(rows)
        threads, shared, sent = (party for party in PARTIES if party != ALONE)
        wanted = [(party, n) for party in (threads, sent) for n in (amounts[0], amounts[-1])] if amounts else []
        if len(amounts) < 2 or any(key not in found or found[key][1].n < N_MIN for key in wanted):
            return undecided("threads and processes were not both measured", rows.of_metric(TIME))
        parts = []
        for n in amounts:
            here = [f"{party} {found[party, n][0]:.2f}" for party in (threads, shared, sent) if (party, n) in found]
            parts.append(f"{n} pass{'es' if n > 1 else ''}: {', '.join(here)}")
        reason = f"speedup by work for each byte: {'; '.join(parts)}"
        light, heavy = (
            rows.ratio(self.variant(sent, n), self.variant(threads, n), TIME) for n in (amounts[0], amounts[-1])
        )
        floors = [found[threads, n][0] / found[sent, n][0] for n in (amounts[0], amounts[-1])]
        reason += f"; sending against threads {light.mid:.2f} times the time with least work, {heavy.mid:.2f} with most"
        headline = f"data sent: {floors[0]:.2f} times the threads' time with least work, {floors[1]:.2f} with most"
        slower = [light.lo > 1.1 and floors[0] > 1.1, heavy.lo > 1.1 and floors[1] > 1.1]
        if all(slower):
            return Verdict(HOLDS, reason, headline=headline)
        if slower[0]:
            return Verdict(CONDITIONAL, reason, "there is little work for each byte that has to be moved", headline)
        if light.hi < 1.1 and heavy.hi < 1.1:
            return Verdict(FAILS, reason, headline=headline)
        return Verdict(UNDECIDED, f"{reason}: too noisy", headline=headline)

    def charts(self, result: Result) -> list[Any]:
        """Speedup over the work for each byte, a line each party."""
        found, amounts = self.speedups(result.rows), self.amounts(result.rows)
        lines = []
        for party in PARTIES:
            known = [n for n in amounts if (party, n) in found]
            if known:
                best = np.array([found[party, n][0] for n in known])
                lines.append(chart.Series(party, np.array(known, dtype=float), best))
        return [
            chart.Lines(
                series=lines,
                x_scale="log2",
                x_ticks=[float(n) for n in amounts],
                y_from_zero=True,
                title=f"A block of {format_quantity(float(BLOCK_BYTES), 'B')} divided between two parties",
                x_label="passes over each word: work for each byte",
                y_label="times as fast as one thread",
                marked=[chart.Marked(1.0, "one thread", axis="y")],
                n=pictures.samples_note(result.rows),
                note="Ratios of the best times",
            )
        ]
