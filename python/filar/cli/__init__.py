"""The `filar` command: arguments, help and exit codes. commands.py does the work, and is imported only to do it."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import filar

__all__ = ["main"]

OK, SLOWER, FAILED, USAGE, INTERRUPTED = 0, 1, 1, 2, 130
BROKEN_PIPE = 128 + int(signal.SIGPIPE)

_DESCRIPTION = "Measure what threads cost and gain on this machine, claim by claim."

_EPILOG = """\
examples:
  filar report --quick         measure everything, write report/report.html
  filar run kthread-create     one experiment, as a table
  filar compare a.json b.json  what became slower, beyond noise
  filar why-not 50000          which limit stops that many threads

exit codes:
  0    done
  1    it failed; compare: something is slower beyond noise
  2    wrong arguments, no such experiment, a file that cannot be used
  130  stopped by Ctrl-C; `report` still writes what had finished

Results go to stdout, progress to stderr. Colours and the progress bar appear
on a terminal only; NO_COLOR=1 switches colours off.
"""

_REPORT = """\
Run the experiments, write DIR/report.html and DIR/report.json. The page holds
all pictures and figures and needs no network. Quick mode takes two minutes or
so; full mode takes about ten and gives narrower intervals.
"""

_RUN = """\
Run one or more experiments and print a table of figures, the verdict and how
the samples are spread. `filar list` shows the names.
"""

_CLUSTER = """\
Run the experiments on each worker of a dask.distributed cluster, workers of one
host in turn, and write DIR/NAME.json for each and one page, DIR/machines.html.
The workers need filar, and this machine needs the package `distributed`.
"""

_COMPARE = """\
Hold results against those of the first file, row by row. A row is slower or
faster only where its interval and the noise of both runs leave no doubt. The
files are those that `filar report` and `filar run --json` write.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; errors are one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        with _terminated_like_interrupted():
            code = _run(arguments)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # Nobody reads what we write; without this the interpreter would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _complain("stopped", INTERRUPTED)


def _run(arguments: argparse.Namespace) -> int:
    from filar.cli import commands
    from filar.errors import FilarError, InvalidArgumentError, NotFoundError, ResultFileError

    try:
        return commands.COMMANDS[arguments.command](arguments)
    except BrokenPipeError:
        raise
    except (InvalidArgumentError, NotFoundError, ResultFileError) as error:
        return _complain(str(error), USAGE)
    except FilarError as error:
        return _complain(str(error), FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", USAGE)


def _complain(sentence: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"filar: {sentence}".encode("ascii", "replace").decode(), file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C: plans are cancelled and the machine's settings restored."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread: the caller's signals are the caller's
        for number in map(int, (signal.SIGTERM, signal.SIGHUP)):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---- arguments ----


class _Version(argparse.Action):
    """Looks the version up only when asked: the package's metadata takes longer than all of --help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"filar {filar.__version__}")
        parser.exit()


def _count(text: str) -> int:
    """A positive whole number; 50,000 and 50_000 are the same."""
    try:
        value = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def _seed(text: str) -> int:
    """A seed of the shuffles: what fits an unsigned 64-bit number."""
    if not text.isdigit() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**63 - 1")
    return int(text)


def _stack(text: str) -> int:
    """Bytes, with K, M, G or T for binary multiples."""
    units = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
    digits, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    return _count(digits) * unit


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="filar", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=plain)
    parser.add_argument("--version", nargs=0, action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, text: str = "", examples: str = "") -> argparse.ArgumentParser:
        epilog = f"examples:\n{examples}" if examples else None
        return commands.add_parser(
            name, help=summary, description=text or summary + ".", epilog=epilog, formatter_class=plain
        )

    _add_report(command)
    _add_list(command)
    _add_run(command)
    _add_compare(command)
    _add_cluster(command)
    for name, summary in (
        ("topology", "show packages, cores, caches and limits"),
        ("doctor", "say what this machine lacks for good measurements"),
    ):
        command(name, summary).add_argument("--json", action="store_true", help="print JSON instead of text")
    _add_why_not(command)
    return parser


def _add_mode(parser: argparse.ArgumentParser) -> None:
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--quick", action="store_true", help="seconds for each experiment, wider intervals")
    mode.add_argument("--full", action="store_true", help="more rounds, narrower intervals (the default)")
    parser.add_argument("--seed", type=_seed, default=1, metavar="N", help="seed of the shuffled rounds (default 1)")
    parser.add_argument("--no-progress", action="store_true", help="print nothing while measuring")


def _add_report(command: Any) -> None:
    examples = "  filar report --quick\n  filar report --out results/today --only kthread-create kthread-switch\n"
    parser = command("report", "measure everything and write the page", _REPORT, examples)
    _add_mode(parser)
    parser.add_argument("--out", default="report", metavar="DIR", help="folder for the two files (default: report)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these experiments")


def _add_list(command: Any) -> None:
    parser = command("list", "name the experiments and their claims")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--family", metavar="F", help="only those of one family")


def _add_run(command: Any) -> None:
    examples = "  filar run kthread-create\n  filar run kthread-switch --quick --json - | jq .verdict\n"
    parser = command("run", "run experiments and print their figures", _RUN, examples)
    parser.add_argument("names", nargs="+", metavar="NAME", help="an experiment (see `filar list`)")
    _add_mode(parser)
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the result, of several names a report, as JSON; - is stdout, without the table",
    )
    parser.add_argument("--html", metavar="FILE", help="write a page of these results")


def _add_compare(command: Any) -> None:
    examples = "  filar compare before/report.json after/report.json\n"
    parser = command("compare", "hold results against earlier ones", _COMPARE, examples)
    parser.add_argument("base", metavar="BASE.json", help="what the others are held against")
    parser.add_argument("others", nargs="+", metavar="OTHER.json", help="a later result or report")
    parser.add_argument("--all", action="store_true", help="list the rows that are the same, too")
    parser.add_argument("--json", choices=["-"], metavar="-", help="print JSON instead of text")
    parser.add_argument("--html", metavar="FILE", help="write a page as well")


def _add_cluster(command: Any) -> None:
    examples = "  filar cluster tcp://scheduler:8786 --quick\n"
    parser = command("cluster", "measure on every worker of a dask cluster", _CLUSTER, examples)
    parser.add_argument("address", metavar="ADDRESS", help="of the scheduler, such as tcp://scheduler:8786")
    _add_mode(parser)
    parser.add_argument("--out", default="machines", metavar="DIR", help="folder for the files (default: machines)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these experiments")
    parser.add_argument("--workers", nargs="+", default=None, metavar="W", help="only these, by name or address")


def _add_why_not(command: Any) -> None:
    text = "Name the limit that would stop so many threads, since the error of the\nsystem never does."
    examples = "  filar why-not 50000 --stack-size 64K\n"
    parser = command("why-not", "name the limit that stops so many threads", text, examples)
    parser.add_argument("threads", type=_count, metavar="THREADS", help="how many are wanted, such as 50000")
    parser.add_argument("--stack-size", type=_stack, metavar="BYTES", help="of each, such as 64K or 8M")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
