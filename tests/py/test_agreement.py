"""The lab's figures are true: independent plain C programs, run in turn with the lab, agree with it.

Each row of CASES names an experiment, a variant and a metric, and a program of tests/agreement that measures the
same thing and shares nothing with filar. Lab and program alternate, so that both meet the same machine, and the
median of the ratios must be within 25 %. The whole experiment runs, not the one variant alone: what the other
variants do to it is part of the figure. A sample of either is as many operations: on a busy machine, the more there
are in it, the more often somebody else has had the CPU meanwhile.
"""

import contextlib
import os
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from agree import agree
from filar import lab
from filar.lab.base import Budget, Way
from filar.lab.bench import Bench, PlanOutcome

PROGRAMS = Path(__file__).parent.parent / "agreement"
WITHIN = 0.25
LOOKS = (9, 18, 36, 72)
ROUNDS = 80
CPUS = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Case:
    """What the lab and a program both measure; `variant` holds the words of the variant's name.

    `batch`: operations in a sample of either; the experiment's number, where it has one. `confined`: lab and program
    get one CPU.
    """

    experiment: str
    variant: tuple[str, ...]
    metric: str
    program: str
    batch: int
    arguments: tuple[str, ...] = ()
    cpus: int = 1
    confined: bool = False

    def __str__(self):
        return f"{self.experiment}: {' '.join(self.variant)}{' on one CPU' if self.confined else ''}"

    def is_called(self, variant):
        return all(word in variant for word in self.variant)


@dataclass
class CaseBench(Bench):
    """Does not calibrate the variant of the case: a sample of it is a batch like the program's."""

    case: Case = field(kw_only=True)

    def run(self, ways: Sequence[Way], **options) -> PlanOutcome:
        return super().run([self.fixed(way) for way in ways], **options)

    def fixed(self, way: Way) -> Way:
        if not self.case.is_called(way.variant):
            return way
        assert way.batch in (0, self.case.batch), "the case has another batch than the experiment"
        return replace(way, batch=self.case.batch)


def ping_pong(medium, place):
    cpus = (CPUS[0], CPUS[0]) if place == "one core" else (CPUS[0], CPUS[-1])
    arguments = (medium, *map(str, cpus))
    return Case("kthread-switch", (medium, place), "one way", "ping_pong", 100, arguments, len(set(cpus)))


# Where nobody pins, one and the same program takes 8 µs in one run and 40 in the next: the kernel puts the children
# on their creator's core or on another, as it finds them (the experiment's "on another core" says how many). So
# creation is compared where the place is settled: on one CPU, and with the child pinned to another.
CASES = [
    Case("kthread-create", ("default",), "create+join", "create_join", 20, confined=True),
    Case(
        "kthread-create",
        ("another core",),
        "create+join",
        "create_join",
        20,
        (str(CPUS[0]), str(CPUS[-1])),
        len(CPUS),
    ),
    *(ping_pong(medium, place) for medium in ("futex", "pipe") for place in ("one core", "two cores")),
    Case("mutex-cost", ("pthread", "uncontended"), "", "mutex_alone", 10_000, (str(CPUS[0]),)),
]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a program once and returns its path."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("agreement")

    def build(name):
        path = folder / name
        if not path.exists():
            source = PROGRAMS / f"{name}.c"
            subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-pthread", source, "-o", path], check=True)
        return path

    return build


@contextlib.contextmanager
def confined_to(cpus):
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, CPUS)


def of_the_program(path, case):
    with confined_to(CPUS[:1] if case.confined else CPUS):
        command = [path, *case.arguments, str(case.batch), str(ROUNDS)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def of_the_lab(case):
    experiment = lab.find(case.experiment)
    bench = CaseBench(quick=True, budget=Budget(seconds=1.2, rounds_max=ROUNDS), case=case)
    with confined_to(CPUS[:1] if case.confined else CPUS):
        rows = experiment.measure(bench).rows
    found = [r for r in rows if case.is_called(r.variant) and case.metric in (r.metric, "")]
    assert found, f"{case}: the lab has {rows.variants()}"
    taken = [one.samples_of(way.variant) for one in bench.outcomes for way in one.ways if case.is_called(way.variant)]
    assert all((samples["batch"] == case.batch).all() for samples in taken)
    return found[0].median


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_lab_agrees_with_a_plain_program(case, compiled):
    if case.cpus < 2 and {"two cores", "another core"} & set(case.variant):
        pytest.skip("this process has one CPU")
    program = compiled(case.program)
    ratios = agree(lambda: of_the_lab(case), lambda: of_the_program(program, case), times=1 + WITHIN, looks=LOOKS)
    median = statistics.median(ratios)
    print(f"{case}: lab / program {median:.3f} of {len(ratios)} pairs, {min(ratios):.2f} to {max(ratios):.2f}")
