"""Sharing data: the verdict follows the rows; the experiment runs for real."""

import os

import numpy as np
import pytest

from children import no_new_child
from filar import lab
from filar.lab import sharing
from filar.lab.base import CONDITIONAL, FAILS, HOLDS, UNDECIDED, Rows
from nets import nothing_left
from rows import row


def share_rows(pointer, shared, pipe, socket, place="two cores"):
    typical = {sharing.POINTER: pointer, sharing.SHARED: shared, sharing.PIPE: pipe, sharing.SOCKET: socket}
    large = [
        row(f"{kind}, {place}, 1 MiB", "round trip", value, bytes=1024 * 1024)
        for kind, value in typical.items()
        if value is not None
    ]
    few = [row(f"{kind}, {place}, 64 B", "round trip", 20_000, bytes=64) for kind in typical]
    return Rows([*few, *large])


@pytest.mark.parametrize("place", ["one core", "two cores"])
@pytest.mark.parametrize(
    ("shared", "pipe", "socket", "word"),
    [
        (100_000, 1_000_000, 500_000, CONDITIONAL),
        (300_000, 1_000_000, 500_000, HOLDS),
        (100_000, 100_000, 100_000, FAILS),
        (100_000, 1_000_000, 90_000, FAILS),
        (None, 1_000_000, 500_000, UNDECIDED),
    ],
)
def test_sharing_is_judged_at_the_largest_size(shared, pipe, socket, word, place):
    assert lab.find("sharing-cost").judge(share_rows(100_000, shared, pipe, socket, place)).word == word


def test_nothing_measured_decides_nothing():
    assert lab.find("sharing-cost").judge(Rows()).word == UNDECIDED


def test_sharing_runs_for_real_and_leaves_no_child_behind():
    with no_new_child(), nothing_left():
        result = lab.run("sharing-cost", quick=True)
    variants = set(result.rows.variants())
    places = ["one core"] + (["two cores"] if len(os.sched_getaffinity(0)) > 1 else [])
    for kind in sharing.KINDS:
        for place in places:
            assert {f"{kind}, {place}, 64 B", f"{kind}, {place}, 1 MiB"} <= variants, result.notes
    assert all(each.metric == "round trip" and each.unit == "ns" and each.min > 0 for each in result.rows)
    assert all(np.isfinite(each.samples).all() for each in result.rows)
    pictures = lab.find("sharing-cost").charts(result)
    assert len(pictures) == len(places)
    assert all("<svg" in picture.svg() for picture in pictures)
