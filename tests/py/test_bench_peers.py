"""The driver of bench/peers: what it reads, how it judges, what it writes; no program of ours is run."""

import importlib.util
import json
import math
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench/peers"
sys.path.append(str(PEERS))

import peer_page  # noqa: E402
from peer_goals import BY_NAME, GOALS, LINES, SUITES, Goal, suite_of  # noqa: E402
from peer_judge import Samples, judge, parse  # noqa: E402

import peer_figures  # noqa: E402 - programs of the tree, not of the package


def load(name: str) -> ModuleType:
    """A program of bench/peers under a name that no other module has."""
    spec = importlib.util.spec_from_file_location(f"peers_{name}", PEERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    return load("run")


def filled(ours: list[float], theirs: list[float], metric: str = "yield_2.cpu"):
    samples = Samples()
    for program, values in (("filar", ours), ("go", theirs)):
        for number, value in enumerate(values):
            if not math.isnan(value):
                samples.add(program, number, parse(f"G2 {metric} {value} ns\n"))
    return samples


def test_samples_skips_and_units_are_read():
    found = parse("G2 yield_2 7.5 ns\nG2 yield_2 7.25 ns\n\nskip G13 not there yet\n")
    assert found.samples == {"G2.yield_2": [7.5, 7.25]}
    assert found.units == {"G2.yield_2": "ns"}
    assert found.skips == {"G13": "not there yet"}


@pytest.mark.parametrize("text", ["G2 yield_2 7.5", "hello", "G99 x 1 ns"])
def test_a_line_that_is_neither_is_named(text):
    with pytest.raises(ValueError, match=text):
        parse(text)


def test_the_least_of_a_process_counts_and_cpu_time_where_the_line_is_judged_by_it():
    samples = Samples()
    samples.add("filar", 0, parse("G2 yield_2 9 ns\nG2 yield_2.cpu 8 ns\nG2 yield_2.cpu 7 ns"))
    samples.add("filar", 0, parse("G9 yield_crowd 20 ns\nG9 yield_crowd.cpu 40 ns"))
    assert samples.series("filar", "G2", "yield_2") == {0: 7.0}
    assert samples.series("filar", "G9", "yield_crowd") == {0: 20.0}


@pytest.mark.parametrize(
    ("ours", "word"), [([10.0] * 8, "holds"), ([30.0] * 8, "missed"), ([10.0, 30.0] * 4, "not decided")]
)
def test_the_interval_of_the_ratio_decides(ours, word):
    verdict = judge(Goal("G2", "yield_2", 0.2, "go"), filled(ours, [100.0] * 8))
    assert verdict.word == word
    assert verdict.n == 8


def test_only_rounds_that_have_both_count():
    ours = [10.0, math.nan, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0]
    theirs = [100.0] * 7 + [math.nan]
    assert judge(Goal("G2", "yield_2", 0.2, "go"), filled(ours, theirs)).n == 6


def test_few_rounds_decide_nothing_but_memory():
    assert judge(Goal("G2", "yield_2", 0.2, "go"), filled([1.0] * 5, [100.0] * 5)).word == "not decided"
    samples = Samples()
    samples.add("filar", 0, parse("G6 bytes 4200 B"))
    assert judge(Goal("G6", "bytes", 4900), samples).word == "holds"
    assert judge(Goal("G6", "bytes", 4000), samples).word == "missed"


def test_what_was_not_measured_says_whose_fault_it_is():
    goal = Goal("G2", "yield_2", 0.2, "go")
    assert judge(goal, filled([1.0] * 8, [])).reason == "go: no figure"
    assert judge(goal, filled([], [1.0] * 8)).reason == "filar: no figure"
    assert judge(goal, filled([], []), {"filar G2": "took too long"}).reason == "filar: took too long"


def test_every_goal_and_line_is_known():
    assert {goal.line for goal in GOALS} <= set(BY_NAME)
    for goal in GOALS:
        assert goal.peer in (None, *suite_of(goal.line).programs)


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


def program(build: Path, name: str, text: str) -> None:
    path = build / "peers" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def built(tmp_path):
    """A folder with two programs."""
    program(tmp_path, "filar", PROGRAM.replace("VALUE", "8"))
    program(tmp_path, "go", PROGRAM.replace("VALUE", "160"))
    return tmp_path


def words(built: Path, *more: str) -> list[str]:
    return ["--build", str(built), "--out", str(built / "out"), *more]


def test_a_whole_run_writes_its_samples_and_the_page_of_the_host(peers, built):
    assert peers.main(words(built, "--rounds", "6")) == 0
    found = json.loads((built / "out/green.json").read_text())
    assert found["suite"] == "green"
    assert len(found["rounds"]) == 6
    assert found["samples"]["go"]["G2.yield_2"] == {str(number): 160.0 for number in range(6)}
    assert found["notes"]["filar G13"] == "not there yet"
    page = (built / "out/peers.md").read_text()
    assert "| G2 | yield_2 | ≤ 0.2 × go | 0.05 [0.05, 0.05] | 0.25 | 6 | holds |" in page
    assert "| G13 | bookkeeping | ≤ 1 × go | - | - | 0 | not measured: filar: not there yet |" in page
    assert json.loads((built / "out/peers.json").read_text())["schema"] == peer_page.SCHEMA


def test_a_part_is_kept_beside_the_whole(peers, built):
    assert peers.main(words(built, "--rounds", "2", "--lines", "G2")) == 0
    assert sorted(path.name for path in (built / "out").iterdir()) == ["green+G2.json", "peers.json", "peers.md"]


def test_rounds_of_an_earlier_run_of_the_same_code_count(peers, built, monkeypatch):
    monkeypatch.setattr(peers, "commit", lambda code: "abc")
    part = built / "out/green+G2.json"

    def verdicts() -> set[tuple[str, int]]:
        record = json.loads((built / "out/peers.json").read_text())
        return {(goal["word"], goal["n"]) for line in record["lines"] for goal in line["goals"] if goal["n"]}

    assert peers.main(words(built, "--rounds", "3", "--lines", "G2")) == 0
    assert verdicts() == {("not decided", 3)}
    assert peers.main(words(built, "--rounds", "3", "--lines", "G2", "--add", str(part))) == 0
    assert verdicts() == {("holds", 6)}
    monkeypatch.setattr(peers, "commit", lambda code: "def")
    with pytest.raises(SystemExit, match="other code"):
        peers.main(words(built, "--rounds", "3", "--lines", "G2", "--add", str(part)))


def test_a_program_that_fails_is_left_out_and_the_run_goes_on(peers, built, capsys):
    program(built, "go", '#!/bin/sh\n[ "$1" = --lines ] && echo G2 && exit\necho no stack >&2\nexit 3\n')
    assert peers.main(words(built, "--rounds", "2", "--lines", "G2")) == 0
    assert json.loads((built / "out/green+G2.json").read_text())["notes"]["go G2"] == "ended with 3: no stack"
    assert "left out" in capsys.readouterr().err
    assert "- G2, go: ended with 3: no stack" in (built / "out/peers.md").read_text()


def test_a_program_that_cannot_say_its_lines_does_not_end_the_run(peers, built, capsys):
    program(built, "go", "#!/bin/sh\necho no libgo >&2\nexit 127\n")
    program(built, "boost-fiber", "#!/no/such/interpreter\n")
    assert peers.main(words(built, "--rounds", "1", "--lines", "G2")) == 0
    errors = capsys.readouterr().err
    assert "go: ended with 127: no libgo; left out" in errors
    assert "boost-fiber: " in errors
    assert set(json.loads((built / "out/green+G2.json").read_text())["samples"]) == {"filar"}


def test_without_our_program_the_reason_is_said_and_nothing_is_written(peers, tmp_path, capsys):
    assert peers.main(words(tmp_path)) == 1
    assert "make bench-green" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_of_all_suites_those_that_are_up_to_date_are_not_run_again(peers, built, monkeypatch, capsys):
    monkeypatch.setattr(peers, "commit", lambda code: "abc123")
    changed: list[str] = []

    def git(*command):
        return SimpleNamespace(returncode=int("csrc" in changed), stdout="")

    monkeypatch.setattr(peers, "git", git)
    assert peers.main(words(built, "--all", "--rounds", "1")) == 1  # the programs of other suites are missing
    assert "round 1" in capsys.readouterr().err
    assert peers.main(words(built, "--all", "--rounds", "1")) == 1
    assert "green: up to date" in capsys.readouterr().err
    changed.append("csrc")
    peers.main(words(built, "--all", "--rounds", "1"))
    assert "green: up to date" not in capsys.readouterr().err


def test_code_that_was_not_committed_or_another_machine_is_never_up_to_date(peers, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "git", lambda *command: SimpleNamespace(returncode=0, stdout=""))
    host = {"cpu_model": "X", "kernel_release": "6.1"}
    path = tmp_path / "green.json"
    for since, where, expected in (
        ("abc123", host, True),
        ("abc123+changes", host, False),
        (None, host, False),
        ("abc123", {**host, "cpu_model": "Y"}, False),
    ):
        path.write_text(json.dumps({"commit": since, "host": where}))
        assert peers.up_to_date(path, SUITES["green"], host) is expected
    path.write_text("{")
    assert not peers.up_to_date(path, SUITES["green"], host)


# ---- that every line is there ----


def test_every_line_has_a_goal_and_no_number_is_left_out():
    counts = {"G": 15, "P": 10, "X": 6, "Y": 7, "S": 6}
    for prefix, count in counts.items():
        assert [line.name for line in LINES if line.name[0] == prefix] == [f"{prefix}{n}" for n in range(1, count + 1)]
    assert {goal.line for goal in GOALS} == set(BY_NAME)


def lines_known_by_ours(suite: str) -> set[str]:
    """What our program of a suite measures: asked where it is Python, read where it is C."""
    if suite in ("green", "pool"):
        name = {"green": "filar.c", "pool": "pool.h"}[suite]
        return set(re.findall(r'{ "([GP]\d+)", ', (PEERS / name).read_text()))
    if suite == "executor":
        return set(load("executor").KINDS["filar"][1])
    if suite == "green-python":
        return {name.upper() for name in vars(load("python").Filar) if re.fullmatch(r"y\d", name)}
    return set(load("server").lines_of(SUITES[suite].ours))


@pytest.mark.parametrize("suite", SUITES)
def test_our_program_knows_every_line_of_its_suite(suite):
    assert lines_known_by_ours(suite) == {line.name for line in LINES if line.name[0] == SUITES[suite].prefix}


def test_every_web_server_of_the_suites_knows_lines_of_its_suite():
    server = load("server")
    for name in ("server", "server-python"):
        suite = SUITES[name]
        for program in suite.programs:
            lines = server.lines_of(program)
            assert lines
            assert all(suite_of(line) is suite and line in BY_NAME for line in lines)
        known = server.lines_of(suite.ours)
        assert {line.name for line in LINES if suite_of(line.name) is suite} == set(known)
        for goal in GOALS:
            if suite_of(goal.line) is suite and goal.peer is not None:
                assert goal.line in server.lines_of(goal.peer)


@pytest.mark.parametrize(("failed", "word"), [(0, "holds"), (1, "missed")])
def test_nothing_may_fail_for_a_minute(failed, word):
    samples = Samples()
    samples.add("server-filar", 0, parse(f"S6 failed {failed} count"))
    assert judge(Goal("S6", "failed", 0), samples).word == word


# ---- one record and one page ----

HOST = {"cpu_model": "Example CPU", "cpus_online": 2, "hypervisor": None, "kernel_release": "6.1"}


def made(lines: dict[str, dict[str, float]], *, date="2026-01-01", notes=None, rounds=8, host=HOST, **changes):
    """A result file: by program the value of each "LINE.METRIC", the same in every round."""
    return {
        "date": date,
        "commit": "abc",
        "host": host,
        "conditions": {"badge": {"text": "quiet"}},
        "rounds": [{"noisy": number == 0} for number in range(rounds)],
        "versions": {"go": "go1.19"},
        "notes": notes or {},
        "units": {key: "ns" for values in lines.values() for key in values},
        "samples": {
            program: {key: {str(number): value for number in range(rounds)} for key, value in values.items()}
            for program, values in lines.items()
        },
        **changes,
    }


def entry(record, line):
    return next(one for one in record["lines"] if one["line"] == line)


def test_every_line_is_in_the_record_and_what_is_not_measured_says_why():
    green = made(
        {"filar": {"G2.yield_2": 8.0, "G4.spawn_join": 50.0}, "go": {"G2.yield_2": 50.0, "G4.spawn_join": 40.0}},
        notes={"filar G13": "no such call", "boost-fiber G10": "8 GiB"},
    )
    record = peer_page.merged({"green": green})
    assert [line["line"] for line in record["lines"]] == [line.name for line in LINES]
    missing = {one["line"]: one["why"] for one in record["not_measured"]}
    assert missing["G13"] == "no such call"
    assert missing["Y1"] == "not run on this host yet: make bench-green-python"
    assert "G2" not in missing
    ratio = entry(record, "G2")["metrics"][0]["ratios"]["go"]
    assert (ratio["mid"], ratio["word"]) == (pytest.approx(0.16), "less")
    assert [one["line"] for one in peer_page.behind(record)] == ["G4"]
    assert record["musts"]["missed"] == 1
    assert sum(record["musts"].values()) + sum(record["aims"].values()) == len(GOALS)
    page = peer_page.page(record)
    assert "| G4 | spawn and join an empty body, one at a time | spawn_join | go | 50 ns | 40 ns | 1.25" in page
    assert "- G10, boost-fiber: 8 GiB" in page
    assert "- green: floor, boost-context, boost-fiber: not measured here" in page


def test_a_line_comes_from_the_newest_file_that_has_it_and_ratios_from_one_file():
    old = made({"filar": {"G2.yield_2": 8.0, "G4.spawn_join": 9.0}, "go": {"G2.yield_2": 80.0}})
    new = made({"filar": {"G2.yield_2": 7.0}}, date="2026-01-02", notes={"filar G4": "was in a hurry"})
    record = peer_page.merged({"green+G2": new, "green": old})
    assert entry(record, "G2")["part"] == "green+G2.json"
    assert entry(record, "G2")["metrics"][0]["ratios"] == {}
    assert entry(record, "G4")["part"] == "green.json"
    assert [part["lines"] for part in record["parts"]] == [["G4"], ["G2"]]
    assert peer_page.merged({"green": old, "green+G2": new}) == record


def test_floors_are_no_peers_that_are_ahead():
    record = peer_page.merged({"green": made({"filar": {"G1.switch": 3.0}, "floor": {"G1.switch": 2.0}})})
    assert entry(record, "G1")["metrics"][0]["ratios"]["floor"]["word"] == "more"
    assert peer_page.behind(record) == []
    assert "Nowhere, of what was measured." in peer_page.page(record)


def test_over_a_difference_that_came_out_below_nothing_there_is_no_ratio():
    green = made({"filar": {"G14.burnt_next_300ms": 0.1}, "go": {"G14.burnt_next_300ms": -0.01}})
    assert entry(peer_page.merged({"green": green}), "G14")["metrics"][0]["ratios"] == {}


def test_few_rounds_put_nobody_ahead():
    record = peer_page.merged({"green": made({"filar": {"G2.yield_2": 9.0}, "go": {"G2.yield_2": 8.0}}, rounds=5)})
    assert entry(record, "G2")["metrics"][0]["ratios"]["go"]["word"] == "not decided"


def test_counts_are_not_compared():
    green = made({"filar": {"G6.parked": 10.0}, "go": {"G6.parked": 5.0}}, units={"G6.parked": "threads"})
    assert entry(peer_page.merged({"green": green}), "G6")["metrics"][0]["ratios"] == {}


def test_results_of_two_hosts_are_refused_and_so_are_none():
    other = made({}, host={**HOST, "cpu_model": "Another"})
    with pytest.raises(ValueError, match="green is of another host"):
        peer_page.merged({"green": made({}), "pool": {**other, "date": "2026-01-02"}})
    with pytest.raises(ValueError, match="no results"):
        peer_page.merged({})


def test_versions_that_differ_are_both_told():
    other = made({}, versions={"go": "go1.22", "boost": None})
    assert peer_page.merged({"green": made({}), "pool": other})["versions"] == {"go": "go1.19; go1.22"}


# ---- what is committed ----

RECORDS = sorted(ROOT.glob("bench/results/*/peers.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_page_and_record_are_made_of_the_results_beside_them(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(peer_page.merged(peer_page.results_in(path.parent)))), "make peers-page"
    assert path.with_suffix(".md").read_text(encoding="utf-8") == peer_page.page(record), "make peers-page"


@pytest.mark.parametrize("page", peer_figures.PAGES)
def test_readme_and_comparison_show_what_is_committed(page):
    path = peer_figures.source()
    record = json.loads((ROOT / path).read_text(encoding="utf-8"))
    text = (ROOT / page).read_text(encoding="utf-8")
    assert peer_figures.filled(page, text, record, path) == text, "make peers-page"


def test_the_words_beside_figures_follow_the_record():
    def block(ours):
        record = peer_page.merged({"green": made({"filar": {"G4.spawn_join": ours}, "go": {"G4.spawn_join": 100.0}})})
        return peer_figures.comparison_block(record, "x/peers.json")

    assert "| spawn a green thread and join it | 50 ns | 100 ns, Go | 0.5 (0.5 to 0.5) | less |" in block(50.0)
    assert "| spawn a green thread and join it | 200 ns | 100 ns, Go | 2 (2 to 2) | more |" in block(200.0)
    assert "spawn and join an empty body, one at a time (G4, spawn_join) | 100 ns, Go" in block(200.0)
    assert "spawn and join an empty body, one at a time (G4, spawn_join) | 100 ns, Go" not in block(50.0)


def test_every_row_and_reason_names_a_line_and_peers_that_there_are():
    for _, line, _, peers in peer_figures.LINES:
        assert set(peers) <= set(suite_of(line).programs)
    for line, peer in peer_figures.REASONS:
        assert peer in ("", *suite_of(line).programs)
    assert set(peer_figures.PEERS) <= {name for suite in SUITES.values() for name in suite.programs}
