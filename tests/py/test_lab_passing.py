"""Handing items over, who decides the order, and the size of runtimes: verdicts follow the rows; each runs for real."""

import pytest

from filar import FilarError, lab
from filar.lab import green_passing, runtimes
from filar.lab.base import FAILS, HOLDS, UNDECIDED, Rows
from once import check_once, run_once
from rows import row

FILAR = "filar: threads, pool, green threads, lab"
NAMES = ("green-channel", "green-control", "runtime-size")


def judge(name, these):
    return lab.find(name).judge(Rows(these))


# ---- channel ----


def channel_rows(slowest, pipe, n=40):
    green = {"channel": 60, "rendezvous": 80, "condition": slowest}
    names = {means: green_passing.passing(means, green_passing.GREEN) for means in green}
    these = [row(names[means], "one way", value, n=n) for means, value in green.items()]
    return [*these, row(green_passing.PIPE, "one way", pipe, n=n)]


@pytest.mark.parametrize(("slowest", "pipe", "word"), [(200, 2_000, HOLDS), (4_000, 2_000, FAILS), (99, 99, UNDECIDED)])
def test_the_slowest_means_must_beat_the_pipe(slowest, pipe, word):
    verdict = judge("green-channel", channel_rows(slowest, pipe))
    assert verdict.word == word
    assert "pipe between processes" in verdict.reason


def test_hand_overs_are_judged_with_all_means_and_a_pipe():
    assert judge("green-channel", channel_rows(200, 2_000)[1:]).word == UNDECIDED
    assert judge("green-channel", channel_rows(200, 2_000)[:-1]).word == UNDECIDED
    assert judge("green-channel", channel_rows(200, 2_000, n=3)).word == UNDECIDED


# ---- order ----


def order_rows(green, nice, kernel=0.0, spread=0.02):
    found = []
    for variant, share, cost in (
        (green_passing.BY_PROGRAM, green, 20_000),
        (green_passing.BY_NICE, nice, 22_000),
        (green_passing.ONE_BY_ONE, kernel, 30_000),
    ):
        found.append(row(variant, "out of order", share, unit="percent", spread=spread))
        found.append(row(variant, "per thread", cost))
    return found


@pytest.mark.parametrize(("green", "nice", "word"), [(0, 49, HOLDS), (0, 0, UNDECIDED), (10, 49, FAILS)])
def test_the_programs_order_must_be_kept_and_the_kernels_not(green, nice, word):
    verdict = judge("green-control", order_rows(green, nice))
    assert verdict.word == word
    assert "1.5 times" in verdict.reason  # what the same costs with kernel threads


def test_an_order_needs_both_kinds():
    assert judge("green-control", order_rows(0, 49)[2:]).word == UNDECIDED


# ---- size of a runtime ----


def start_rows(single, thread, n=40):
    return [
        row(runtimes.THREAD, "start to end", thread, n=n),
        row(runtimes.SINGLE, "start to end", single, n=n),
        row(runtimes.SINGLE, "virtual", 1 << 30, unit="B", n=n),
        row(f"{runtimes.PROGRAM}Go, gofmt of nothing", "start to end", 2e6, n=n),
    ]


@pytest.mark.parametrize(
    ("single", "thread", "word"), [(90_000, 9_000, HOLDS), (9_000, 90_000, FAILS), (9_000, 9_000, UNDECIDED)]
)
def test_a_runtime_must_take_longer_to_have_than_a_thread(single, thread, word):
    verdict = judge("runtime-size", start_rows(single, thread))
    assert verdict.word == word
    assert "1 GiB" in verdict.reason
    assert "Go, gofmt of nothing: 2 ms" in verdict.reason


def test_the_size_of_a_runtime_needs_rounds():
    assert "too few" in judge("runtime-size", start_rows(90_000, 9_000, n=2)).reason


def test_code_is_read_from_elf_files_only(tmp_path):
    size = runtimes.code_bytes(runtimes.loaded_files()[FILAR])
    assert size is not None
    assert 100_000 < size < 50_000_000
    other = tmp_path / "text"
    for content in (b"", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 60, b"#!/bin/sh\n"):
        other.write_bytes(content)
        assert runtimes.code_bytes(other) is None
    assert runtimes.code_bytes(tmp_path / "missing") is None


def test_programs_that_fail_are_named():
    with pytest.raises(FilarError, match="false ended with status 1"):
        runtimes.run_program(["false"])


# ---- for real ----


@pytest.mark.parametrize("name", NAMES)
def test_runs_for_real_and_leaves_nothing(name):
    check_once(name)


def test_a_program_keeps_its_order_for_real():
    rows = run_once("green-control").rows
    assert rows.find(green_passing.BY_PROGRAM, "out of order").max == 0
    assert rows.find(green_passing.ONE_BY_ONE, "out of order").max == 0


def test_the_runtimes_that_are_loaded_are_in_the_table():
    (table,) = run_once("runtime-size").tables
    assert FILAR in [line[0] for line in table.rows]
