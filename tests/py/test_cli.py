"""The `filar` command as a shell sees it: a process with arguments, two streams and an exit code."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import filar as filar_module
import synthetic
from filar import lab
from filar.cli import main
from filar.cli.commands import COMMANDS, result_text
from filar.cli.progress import Progress, bar_line
from filar.cli.terminal import Terminal
from filar.lab.base import Row, Rows
from filar.lab.report import Report
from filar.lab.result import Result
from filar.lab.runner import Progress as Standing

COMMAND = [sys.executable, "-m", "filar"]
ESCAPES = re.compile("[\x00-\x09\x0b-\x1f\x7f]")
NAME = "kthread-create"


def filar(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "FILAR_LAB_QUICK")}
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**plain, "PYTHONIOENCODING": "utf-8", **environment},
        check=False,
    )


def one_line(stderr: str) -> str:
    """The complaint, which must be one line without a traceback."""
    assert len(stderr.splitlines()) == 1, stderr
    assert stderr.startswith("filar: ")
    return stderr


# ---- help, list ----


def test_help_shows_commands_examples_and_exit_codes() -> None:
    done = filar("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for word in (
        "report",
        "list",
        "run",
        "compare",
        "topology",
        "doctor",
        "why-not",
        "examples:",
        "exit codes:",
        "130",
    ):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_has_help(command: str) -> None:
    done = filar(command, "--help", COLUMNS="80")
    assert done.returncode == 0
    assert f"usage: filar {command}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_does_not_load_the_lab() -> None:
    code = (
        "import sys, filar.cli\n"
        "try: filar.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'filar.lab', 'filar.report', 'importlib.metadata')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_version() -> None:
    assert re.fullmatch(r"filar \d+\.\d+\S*\n", filar("--version").stdout)


def test_no_command_is_a_usage_error() -> None:
    done = filar()
    assert done.returncode == 2
    assert "COMMAND" in done.stderr


def test_list_names_all_experiments() -> None:
    known = set(lab.experiments())
    text = filar("list").stdout
    assert known <= set(text.split())
    described = json.loads(filar("list", "--json").stdout)
    assert {one["experiment"] for one in described} == known
    assert all(one["claim"] and one["family"] and one["method"] for one in described)


def test_list_of_a_family() -> None:
    family = lab.find(NAME).family
    described = json.loads(filar("list", "--json", "--family", family.upper()).stdout)
    assert {one["family"] for one in described} == {family}
    done = filar("list", "--family", "knitting")
    assert done.returncode == 2
    assert family in one_line(done.stderr)


def test_output_through_a_pipe_is_plain() -> None:
    for arguments in (["list"], ["run", NAME, "--quick"], ["--help"]):
        done = filar(*arguments)
        assert done.returncode == 0
        assert not ESCAPES.search(done.stdout)
        assert not ESCAPES.search(done.stderr)


def test_output_in_ascii_where_the_encoding_has_no_more() -> None:
    done = filar("run", NAME, "--quick", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert " us" in done.stdout


def test_a_closed_pipe_ends_silently() -> None:
    process = subprocess.Popen([*COMMAND, "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    process.stderr.close()


# ---- run ----


def test_unknown_experiment_suggests_the_nearest() -> None:
    for command in (["run", "kthread-craete"], ["report", "--only", "kthread-craete"]):
        done = filar(*command)
        assert done.returncode == 2
        assert NAME in one_line(done.stderr)
        assert done.stdout == ""


def test_run_prints_verdict_figures_and_spread() -> None:
    done = filar("run", NAME, "--quick")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    experiment = lab.find(NAME)
    assert experiment.title in text
    assert experiment.claim.text in text
    assert re.search("(holds|does not hold here|holds only when|cannot be decided here)", text)
    assert "default" in text
    assert "95 % interval" in text
    assert "How the samples of create+join are spread" in text
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_run_json_to_stdout_is_one_valid_object() -> None:
    done = filar("run", NAME, "--quick", "--seed", "5", "--json", "-")
    assert done.returncode == 0
    data = json.loads(done.stdout)
    again = Result.from_dict(data)
    assert again.experiment == NAME
    assert again.seed == 5
    assert again.mode == "quick"
    assert len(again.rows) >= 1


def test_run_writes_json_and_page_of_several(tmp_path: Path) -> None:
    target, page = tmp_path / "a.json", tmp_path / "a.html"
    done = filar("run", NAME, NAME, "floors", "--quick", "--json", str(target), "--html", str(page))
    assert done.returncode == 0
    assert set(Report.load(target).names()) == {NAME, "floors", "self-check"}
    assert 'href="a.json"' in page.read_text()
    assert "median" in done.stdout
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.html", "a.json"]


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_run_looks_at_its_files_before_measuring(option: str, tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "none" / "x", "/proc/x"):
        done = filar("run", NAME, option, str(target))
        assert done.returncode == 2
        assert str(target) in one_line(done.stderr)
        assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [["--seed", "-1"], ["--seed", "x"], ["--quick", "--full"]])
def test_bad_arguments_are_usage_errors(bad: list[str]) -> None:
    done = filar("run", NAME, *bad)
    assert done.returncode == 2
    assert "usage:" in done.stderr


# ---- report ----


def test_report_writes_both_files_and_says_where(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report"
    done = filar("report", "--quick", "--out", str(out), "--only", NAME)
    assert done.returncode == 0, done.stderr
    assert str(out / "report.html") in done.stdout
    assert "1 claim tested" in done.stdout
    assert f" {NAME} " in done.stderr, "a line for each experiment"
    assert sorted(one.name for one in out.iterdir()) == ["report.html", "report.json"]
    assert Report.load(out / "report.json").complete


def test_report_says_nothing_on_stderr_without_progress(tmp_path: Path) -> None:
    done = filar("report", "--quick", "--no-progress", "--out", str(tmp_path), "--only", NAME)
    assert done.returncode == 0
    assert done.stderr == ""


def test_report_looks_at_its_folder_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "x", "/proc/x"):
        begun = time.monotonic()
        done = filar("report", "--full", "--out", str(out))
        assert done.returncode == 2
        assert str(out) in one_line(done.stderr)
        planned = sum(one.full.seconds for one in lab.experiments().values())
        assert time.monotonic() - begun < planned, "it must not measure first"
    assert (tmp_path / "file").read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def interrupted(out: Path, number: signal.Signals, after: bytes) -> tuple[int, str, str]:
    """Runs a full report, sends a signal once stderr has shown `after`, and returns code, stdout, stderr."""
    process = subprocess.Popen(
        [*COMMAND, "report", "--full", "--out", str(out), "--only", "kthread-create", "floors"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert process.stderr is not None
    seen = b""
    while after not in seen:
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, seen
        seen += piece
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout.decode(), (seen + stderr).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_report_keeps_what_had_finished(number: signal.Signals, tmp_path: Path) -> None:
    code, stdout, stderr = interrupted(tmp_path / "out", number, after=b"self-check")
    assert code == 130
    assert stderr.splitlines()[-1].startswith("filar: stopped; 1 experiment had finished")
    assert "Traceback" not in stderr
    kept = Report.load(tmp_path / "out" / "report.json")
    assert kept.names() == ["self-check"]
    assert not kept.complete
    assert str(tmp_path / "out" / "report.html") in stdout
    assert "stopped early" in (tmp_path / "out" / "report.html").read_text()


def test_a_report_stopped_before_anything_finished_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lab, "run_all", lambda *_, **__: Report(complete=False))
    assert main(["report", "--out", str(tmp_path / "a" / "b")]) == 130
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == "filar: stopped; nothing had finished\n"


def test_a_stopped_run_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object, **__: object) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(lab, "run", stop)
    assert main(["run", NAME]) == 130
    assert capsys.readouterr().err == "filar: stopped\n"


def test_signals_are_the_callers_again_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert main(["list"]) == 0
    assert signal.getsignal(signal.SIGTERM) == before


# ---- the machine ----


def test_topology_and_doctor_as_text_and_json() -> None:
    assert filar("topology").stdout.splitlines()[0] == filar_module.topology().summary
    assert json.loads(filar("topology", "--json").stdout)["packages"]
    done = filar("doctor")
    assert done.returncode == 0
    assert "to mend" in done.stdout
    found = json.loads(filar("doctor", "--json").stdout)
    assert {finding["title"] for finding in found["findings"]} >= {"CPUs", "Python"}
    assert filar("doctor", PYTHONIOENCODING="ascii").stdout.isascii()


def test_why_not_names_the_limit_that_binds() -> None:
    asked = 2_000_000_000
    binding = filar_module.why_not(asked).binding
    assert binding is not None
    done = filar("why-not", "2,000_000_000")
    assert done.returncode == 0
    assert binding.name in done.stdout
    data = json.loads(filar("why-not", "5", "--stack-size", "64K", "--json").stdout)
    assert data["threads"] == 5
    assert data["limits"]


@pytest.mark.parametrize("bad", [["0"], ["-5"], ["many"], ["5", "--stack-size", "1X"], ["5", "--stack-size", ""]])
def test_why_not_refuses_nonsense(bad: list[str]) -> None:
    done = filar("why-not", *bad)
    assert done.returncode == 2
    assert "usage:" in done.stderr


def test_why_not_a_stack_of_a_kilobyte_or_a_terabyte() -> None:
    for size in ("1K", "1T"):
        done = filar("why-not", "5", "--stack-size", size)
        assert done.returncode in (0, 2)
        assert "Traceback" not in done.stderr


# ---- compare ----


def saved(path: Path, factor: float = 1.0, **changes: object) -> str:
    row = Row("default", "create+join", "ns", synthetic.samples(9_000, 300) * factor)
    rate = Row("server", "requests", "1/s", synthetic.samples(1_000, 300))
    made = synthetic.report([synthetic.result(rows=Rows([row, rate])), synthetic.self_check()], **changes)
    made.save(path)
    return str(path)


@pytest.fixture
def before(tmp_path: Path) -> str:
    return saved(tmp_path / "before.json")


def test_compare_same_faster_slower(before: str, tmp_path: Path) -> None:
    same, faster, slower = (saved(tmp_path / f"{name}.json", by) for name, by in (("s", 1), ("f", 0.5), ("l", 1.5)))
    done = filar("compare", before, same)
    assert done.returncode == 0
    assert "0 slower, 0 faster, 3 same" in done.stdout
    done = filar("compare", before, faster)
    assert done.returncode == 0
    assert "0 slower, 1 faster, 2 same" in done.stdout
    done = filar("compare", before, same, slower)
    assert done.returncode == 1
    assert "1 slower, 0 faster, 2 same" in done.stdout
    assert re.search(r"default .* 1\.500 .* slower", done.stdout)


def test_compare_lists_the_same_rows_when_asked(before: str) -> None:
    assert "create+join" not in filar("compare", before, before).stdout
    assert "create+join" in filar("compare", before, before, "--all").stdout


def test_compare_says_what_else_differs(before: str, tmp_path: Path) -> None:
    other = saved(tmp_path / "other.json", host={**synthetic.HOST, "kernel_release": "7.0.0"})
    text = " ".join(filar("compare", before, other).stdout.split())
    assert "kernel release is 6.18.0 in before, 7.0.0 in other" in text


def test_compare_writes_a_page(before: str, tmp_path: Path) -> None:
    slower = saved(tmp_path / "slower.json", 1.5)
    done = filar("compare", before, slower, "--html", str(tmp_path / "c.html"))
    assert done.returncode == 1
    page = (tmp_path / "c.html").read_text()
    assert "1 slower, 0 faster, 2 same" in page
    assert '<span class="chip fails">slower</span>' in page
    assert page.count("<tr") == page.count("</tr>")
    assert "http" not in page.replace("http-equiv", "").replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_compare_json_is_one_object(before: str) -> None:
    data = json.loads(filar("compare", before, before, "--json", "-").stdout)
    assert data["schema"].startswith("filar-comparison/")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"schema": "filar-report/1", "results": [{',
        "[1, 2]",
        '{"a": 1}',
        "\x00\x01",
        '{"schema": "filar-report/99"}',
    ],
)
def test_compare_refuses_what_is_not_ours_in_one_sentence(before: str, content: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(content)
    for files in ((before, str(bad)), (str(bad), before)):
        done = filar("compare", *files)
        assert done.returncode == 2
        assert "bad.json" in one_line(done.stderr)
        assert done.stdout == ""


def test_compare_refuses_half_a_file_and_no_file(before: str, tmp_path: Path) -> None:
    text = Path(before).read_text()
    (tmp_path / "half.json").write_text(text[: len(text) // 2])
    done = filar("compare", before, str(tmp_path / "half.json"))
    assert done.returncode == 2
    assert "cut off" in one_line(done.stderr)
    done = filar("compare", before, str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "none.json" in one_line(done.stderr)


# ---- a terminal ----


def seen_by_terminal(arguments: list[str], width: int = 80, **environment: str) -> str:
    """What a command writes on a terminal that is its stdout and stderr."""
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=secondary,
        stderr=secondary,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(width), "PYTHONIOENCODING": "utf-8", **environment},
        close_fds=True,
    )
    os.close(secondary)
    seen = b""
    while True:
        ready, _, _ = select.select([primary], [], [], 100)
        assert ready, "nothing for 100 s"
        try:
            piece = os.read(primary, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not piece:
            break
        seen += piece
    os.close(primary)
    assert process.wait(timeout=60) == 0, seen.decode()
    return seen.decode()


def test_a_terminal_gets_a_bar_that_leaves_no_trace() -> None:
    seen = seen_by_terminal(["run", NAME, "--quick"])
    assert "░" in seen
    assert " left" in seen
    assert "\x1b[3" in seen, "the verdict has a colour"
    # What remains after the last erase of the line is the result alone.
    assert "░" not in seen.rsplit("\r\x1b[K", 1)[1]


def test_no_color_and_no_progress_are_obeyed() -> None:
    seen = seen_by_terminal(["run", NAME, "--quick", "--no-progress"], NO_COLOR="1")
    assert "\x1b" not in seen


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def standing(**changes: object) -> Standing:
    fields = {"experiment": NAME, "index": 2, "count": 8, "share": 0.5, "variant": "one core"}
    return Standing(**{**fields, "elapsed_s": 30.0, "left_s": 90.0, **changes})  # type: ignore[arg-type]


def test_bar_line_shows_share_what_runs_and_time_left() -> None:
    line = bar_line(standing(), 80)
    assert line.startswith("█████░░░░░░░░░░░░░░░ 3/8 kthread-create: one core")
    assert line.endswith("1 min 30 s left")
    assert len(line) < 80
    assert len(bar_line(standing(variant="very long " * 20), 60)) < 60
    assert bar_line(standing(elapsed_s=0.0, left_s=0.0), 80).startswith("░")
    assert "\x1b" not in bar_line(standing(variant="\x1b[2J"), 80)


def test_bar_is_drawn_ten_times_a_second_and_at_each_new_experiment() -> None:
    screen, now = Screen(), [0.0]
    with Progress(Terminal(screen, {}), now=lambda: now[0]) as progress:
        for step in range(100):
            now[0] = step * 0.01
            progress.update(standing())
        drawn = screen.getvalue().count("3/8")
        assert 9 <= drawn <= 11
        progress.update(standing(index=3, experiment="floors"))
        assert "4/8 floors" in screen.getvalue()
        progress.end(synthetic.result())
    assert screen.getvalue().endswith("\n")


def test_a_closed_stderr_does_not_stop_the_measurement() -> None:
    screen = Screen()
    terminal = Terminal(screen, {})
    screen.close()
    with Progress(terminal) as progress:
        progress.update(standing())
        progress.end(synthetic.result())


def test_terminal_chooses_letters_and_colours() -> None:
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert Terminal(pipe, {}).shown("✓ 9 µs") == "+ 9 us"
    assert Terminal(pipe, {}).paint("x", "fails") == "x"
    assert Terminal(Screen(), {}).paint("x", "fails") == "\x1b[31mx\x1b[0m"
    assert Terminal(Screen(), {"NO_COLOR": "1"}).paint("x", "fails") == "x"
    assert Terminal(Screen(), {"TERM": "dumb"}).paint("x", "fails") == "x"


def test_figures_of_a_result_with_nan_do_not_break_the_table() -> None:
    empty = synthetic.result(rows=Rows([Row("a", "m", "ns", np.array([np.nan]))]), conditions={})
    assert "–" in result_text(empty, Terminal(Screen(), {}))
