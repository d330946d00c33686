"""The driver of bench/peers: what it reads, how it judges, what it writes; no program of ours is run."""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).resolve().parents[2] / "bench/peers/run.py"


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers_run", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peers_run"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def filled(peers: ModuleType, ours: list[float], theirs: list[float], metric: str = "yield_2.cpu"):
    samples = peers.Samples()
    for program, values in (("filar", ours), ("go", theirs)):
        for number, value in enumerate(values):
            if not math.isnan(value):
                samples.add(program, number, peers.parse(f"G2 {metric} {value} ns\n"))
    return samples


def test_samples_skips_and_units_are_read(peers):
    found = peers.parse("G2 yield_2 7.5 ns\nG2 yield_2 7.25 ns\n\nskip G13 not there yet\n")
    assert found.samples == {"G2.yield_2": [7.5, 7.25]}
    assert found.units == {"G2.yield_2": "ns"}
    assert found.skips == {"G13": "not there yet"}


@pytest.mark.parametrize("text", ["G2 yield_2 7.5", "hello", "G99 x 1 ns"])
def test_a_line_that_is_neither_is_named(peers, text):
    with pytest.raises(ValueError, match=text):
        peers.parse(text)


def test_the_least_of_a_process_counts_and_cpu_time_where_the_line_is_judged_by_it(peers):
    samples = peers.Samples()
    samples.add("filar", 0, peers.parse("G2 yield_2 9 ns\nG2 yield_2.cpu 8 ns\nG2 yield_2.cpu 7 ns"))
    samples.add("filar", 0, peers.parse("G9 yield_crowd 20 ns\nG9 yield_crowd.cpu 40 ns"))
    assert samples.series("filar", "G2", "yield_2") == {0: 7.0}
    assert samples.series("filar", "G9", "yield_crowd") == {0: 20.0}


@pytest.mark.parametrize(
    ("ours", "word"), [([10.0] * 8, "holds"), ([30.0] * 8, "missed"), ([10.0, 30.0] * 4, "not decided")]
)
def test_the_interval_of_the_ratio_decides(peers, ours, word):
    verdict = peers.judge(peers.Goal("G2", "yield_2", 0.2, "go"), filled(peers, ours, [100.0] * 8))
    assert verdict.word == word
    assert verdict.n == 8


def test_only_rounds_that_have_both_count(peers):
    ours = [10.0, math.nan, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0]
    theirs = [100.0] * 7 + [math.nan]
    assert peers.judge(peers.Goal("G2", "yield_2", 0.2, "go"), filled(peers, ours, theirs)).n == 6


def test_few_rounds_decide_nothing_but_memory(peers):
    assert (
        peers.judge(peers.Goal("G2", "yield_2", 0.2, "go"), filled(peers, [1.0] * 5, [100.0] * 5)).word == "not decided"
    )
    samples = peers.Samples()
    samples.add("filar", 0, peers.parse("G6 bytes 4200 B"))
    assert peers.judge(peers.Goal("G6", "bytes", 4900), samples).word == "holds"
    assert peers.judge(peers.Goal("G6", "bytes", 4000), samples).word == "missed"


def test_what_was_not_measured_says_whose_fault_it_is(peers):
    goal = peers.Goal("G2", "yield_2", 0.2, "go")
    assert "go" in peers.judge(goal, filled(peers, [1.0] * 8, [])).reason
    assert "ours" in peers.judge(goal, filled(peers, [], [1.0] * 8)).reason


def test_every_goal_and_line_is_known(peers):
    assert {goal.line for goal in peers.GOALS} <= set(peers.BY_NAME)
    for goal in peers.GOALS:
        assert goal.peer in (None, *peers.suite_of(goal.line).programs)


def test_a_slug_names_no_machine(peers):
    host = {"cpu_model": "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "machine": "x86_64", "kernel_release": "6.18.4-x"}
    assert peers.slug(host) == "intel-xeon-e5-2680-v4-x86-64-linux6"
    assert peers.slug({**host, "cpu_model": None}) == "none-x86-64-linux6"


def test_parked_threads_fit_into_half_of_the_memory(peers):
    assert peers.parked_here(None) == 1_000_000
    assert peers.parked_here(64 << 30) == 1_000_000
    assert peers.parked_here(1 << 30) * peers.BYTES_PER_PARKED <= 1 << 29


PROGRAM = """#!/bin/sh
case "$1" in
--lines) printf 'G2\\nG13\\n' ;;
G2) printf 'G2 yield_2 %s ns\\nG2 yield_2.cpu %s ns\\n' VALUE VALUE ;;
G13) echo 'skip G13 not there yet' ;;
esac
"""


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)


def test_a_whole_run_writes_a_page_and_json(peers, tmp_path, capsys):
    program(tmp_path, "filar", PROGRAM.replace("VALUE", "8"))
    program(tmp_path, "go", PROGRAM.replace("VALUE", "160"))
    out = tmp_path / "out"
    assert peers.main(["--programs", str(tmp_path), "--rounds", "6", "--lines", "G2", "G13", "--out", str(out)]) == 0
    found = json.loads((out / "green.json").read_text())
    verdicts = {(entry["line"], entry["aim"]): entry["word"] for entry in found["verdicts"]}
    assert verdicts == {
        ("G2", False): "holds",
        ("G2", True): "holds",
        ("G13", False): "not measured",
        ("G13", True): "not measured",
    }
    assert len(found["rounds"]) == 6
    assert found["notes"]["filar G13"] == "not there yet"
    page = (out / "green.md").read_text()
    assert "| G2 | yield_2 | ≤ 0.2 × go | 0.05 [0.05, 0.05] | 0.25 | 6 | holds |" in page
    capsys.readouterr()


def test_rounds_of_an_earlier_run_of_the_same_code_count(peers, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(peers, "commit", lambda: "abc")
    program(tmp_path, "filar", PROGRAM.replace("VALUE", "8"))
    program(tmp_path, "go", PROGRAM.replace("VALUE", "160"))
    out = tmp_path / "out"
    words = ["--programs", str(tmp_path), "--rounds", "3", "--lines", "G2", "--out", str(out)]
    assert peers.main(words) == 0
    first = json.loads((out / "green.json").read_text())
    assert {entry["word"] for entry in first["verdicts"]} == {"not decided"}
    assert peers.main([*words, "--add", str(out / "green.json")]) == 0
    both = json.loads((out / "green.json").read_text())
    assert {(entry["word"], entry["n"]) for entry in both["verdicts"]} == {("holds", 6)}
    assert len(both["rounds"]) == 6
    monkeypatch.setattr(peers, "commit", lambda: "def")
    with pytest.raises(SystemExit, match="other code"):
        peers.main([*words, "--add", str(out / "green.json")])
    capsys.readouterr()


def test_a_program_that_fails_is_left_out_and_the_run_goes_on(peers, tmp_path, capsys):
    program(tmp_path, "filar", PROGRAM.replace("VALUE", "8"))
    program(tmp_path, "go", '#!/bin/sh\n[ "$1" = --lines ] && echo G2 && exit\necho no stack >&2\nexit 3\n')
    out = tmp_path / "out"
    assert peers.main(["--programs", str(tmp_path), "--rounds", "2", "--lines", "G2", "--out", str(out)]) == 0
    assert json.loads((out / "green.json").read_text())["notes"]["go G2"] == "ended with 3: no stack"
    assert "left out" in capsys.readouterr().err


def test_without_our_program_the_reason_is_said(peers, tmp_path, capsys):
    assert peers.main(["--programs", str(tmp_path)]) == 1
    assert "make bench-green" in capsys.readouterr().err


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PATH.parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_web_server_of_the_suites_knows_lines_of_its_suite(peers):
    server = load("server")
    for name in ("server", "server-python"):
        suite = peers.SUITES[name]
        for program in suite.programs:
            lines = server.lines_of(program)
            assert lines
            assert all(peers.suite_of(line) is suite and line in peers.BY_NAME for line in lines)
        known = server.lines_of(suite.ours)
        assert {line.name for line in peers.LINES if peers.suite_of(line.name) is suite} == set(known)
        for goal in peers.GOALS:
            if peers.suite_of(goal.line) is suite and goal.peer is not None:
                assert goal.line in server.lines_of(goal.peer)


@pytest.mark.parametrize(("failed", "word"), [(0, "holds"), (1, "missed")])
def test_nothing_may_fail_for_a_minute(peers, failed, word):
    samples = peers.Samples()
    samples.add("server-filar", 0, peers.parse(f"S6 failed {failed} count"))
    verdict = peers.judge(peers.Goal("S6", "failed", 0), samples)
    assert verdict.word == word
    assert peers.verdict_row(verdict)
