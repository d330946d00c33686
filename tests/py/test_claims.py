"""The table of claims: complete, about experiments that exist, and current."""

import json
from pathlib import Path

import pytest

import claims
from filar import lab
from filar.lab.base import HOLDS
from filar.lab.theory import DOCUMENTS, SENTENCES
from synthetic import report, result

ROOT = Path(__file__).resolve().parents[2]


def test_every_sentence_has_an_experiment_or_a_reason():
    known = lab.experiments()
    for one in SENTENCES:
        assert one.experiments or one.reason, one
        assert set(one.experiments) <= set(known), one
        assert len(set(one.experiments)) == len(one.experiments), one
        assert one.text.endswith("."), one
    labels = [one.label for one in SENTENCES]
    assert len(set(labels)) == len(labels)
    # So many sentences the texts have; a row that is dropped is missed here.
    assert [sum(one.document == i for one in SENTENCES) for i in range(len(DOCUMENTS))] == [13, 6, 8, 6, 18]


def test_the_page_is_what_the_program_writes():
    kept = json.loads(claims.KEPT.read_text(encoding="utf-8"))
    assert claims.PAGE.read_text(encoding="utf-8") == claims.page(kept), "run python tools/claims.py"


def test_a_report_replaces_the_verdicts(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PAGE", tmp_path / "claims.md")
    monkeypatch.setattr(claims, "KEPT", tmp_path / "claims.json")
    saved = tmp_path / "report.json"
    report([result("cpu-share", HOLDS), result("no-such-experiment", HOLDS)]).save(saved)
    assert claims.main([str(saved)]) == 0
    (line,) = [one for one in claims.PAGE.read_text(encoding="utf-8").splitlines() if one.startswith("| 4.17 |")]
    assert "`cpu-share` | holds |" in line
    (line,) = [one for one in claims.PAGE.read_text(encoding="utf-8").splitlines() if one.startswith("| 4.18 |")]
    assert "not measured yet" in line
    before = claims.PAGE.read_text(encoding="utf-8")
    assert claims.main([]) == 0
    assert claims.PAGE.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("name", ["which-thread", "self-check"])
def test_experiments_without_a_sentence_stand_at_the_end(name):
    page = claims.page({"host": "a host", "verdicts": {name: ["holds", "a | b"]}})
    assert f"| `{name}` |" in page.split("## Beyond the sentences")[1]
    assert "a \\| b" in page


# The public names, as users say them to `filar run`: the catalogue, row by row, and what came to it.
CATALOGUE = """
kthread-create thread-reuse grain-size process-create thread-vs-process-switch kthread-switch green-switch
switch-working-set time-slice fairness parallelism speedup video-frames crawl crawl-latency contention-crawl
kthread-limit kthread-memory green-memory process-memory kthread-alive cpu-share n1-share nice-share pin-effect
core-latency n1-blocking mn-blocking seen-by-kernel address-map sharing-cost lost-update mutex-cost deadlock heisenbug
run-order process-isolation pool-blocking pool-size pool-queue server-models waiters interactive sleep-precision
false-sharing runtime-size green-control self-check
green-spawn green-scaling green-channel green-ring
thread-per-task dispatcher task-overhead task-latency uneven-work pool-pinning noisy-neighbour gil
process-vs-thread-work
py-switch py-spawn py-memory py-channel py-blocking py-preemption async-models which-thread server-blocking
server-slow-clients
floors green-seen-by-kernel trace-cost loop-grain predicted-speedup python-interactive python-executor
"""


def test_every_row_of_the_catalogue_is_an_experiment():
    names = CATALOGUE.split()
    assert len(set(names)) == len(names)
    ours = {name for name, one in lab.experiments().items() if type(one).__module__.startswith("filar.lab.")}
    assert ours == set(names)
