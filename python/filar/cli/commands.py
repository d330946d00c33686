"""The commands: each takes the parsed arguments, writes to stdout and stderr, and returns the exit code.

Everything that can go wrong without measuring (a name, a folder, a file) is looked at before measuring begins.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filar import lab, report
from filar.chart import format_quantity
from filar.cli.measure import measure_many, measure_one
from filar.cli.terminal import Terminal
from filar.doctor import Diagnosis, Finding, doctor
from filar.errors import NotFoundError, NotSupportedHereError
from filar.lab.base import Experiment
from filar.lab.report import SELF_CHECK, Report
from filar.lab.result import Result
from filar.limits import why_not
from filar.report import files, tables
from filar.report.compare_html import comparison_page
from filar.report.compare_text import comparison_text
from filar.report.machine import overall_badge, trust_sentences
from filar.report.words import duration, look_of, sentence, tally
from filar.topology import topology

__all__ = ["COMMANDS", "result_text"]

INTERRUPTED = 130
SLOWER = 1


def _print_json(data: object) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=not _unicode(sys.stdout.encoding)) + "\n")


def _unicode(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "") == "utf8"


# ---- list ----


def list_experiments(arguments: argparse.Namespace) -> int:
    """`filar list`."""
    known = list(lab.experiments().values())
    families = list(dict.fromkeys(one.family for one in known))
    if arguments.family is not None:
        wanted = [name for name in families if name.casefold() == arguments.family.casefold()]
        if not wanted:
            raise NotFoundError(f"there is no family {arguments.family!r}; there are {', '.join(families)}")
        families = wanted
    shown = [one for family in families for one in known if one.family == family]
    if arguments.json:
        _print_json([_described(one) for one in shown])
        return 0
    out = Terminal(sys.stdout)
    lines: list[Sequence[object] | str] = []
    for family in families:
        lines += [f"{family}:", *((one.name, one.claim.text) for one in shown if one.family == family)]
    columns = [tables.Column("experiment"), tables.Column("claim under test", breaks=True)]
    out.line(tables.text_table(columns, lines, out.width))
    return 0


def _described(one: Experiment) -> dict[str, object]:
    return {
        "name": one.name,
        "experiment": one.name,
        "title": one.title,
        "family": one.family,
        "claim": one.claim.text,
        "claim_source": one.claim.source,
        "method": one.method,
        "seconds": {"quick": one.quick.seconds, "full": one.full.seconds},
    }


# ---- report ----


def make_report(arguments: argparse.Namespace) -> int:
    """`filar report`."""
    names = [lab.find(name).name for name in arguments.only] or None
    folder = Path(arguments.out)
    made = files.check_writable(folder)
    whole = measure_many(names, arguments)
    if not whole.results:
        files.remove_empty(made)
        return _ended(whole)
    path = report.write(whole, folder)
    out = Terminal(sys.stdout)
    out.line(_short_summary(whole, out))
    out.line(f"Page  {path.resolve()}")
    out.line(f"Data  {(folder / report.JSON_NAME).resolve()}")
    return _ended(whole)


def _short_summary(whole: Report, out: Terminal) -> str:
    claims = [one for one in whole.results if one.experiment != SELF_CHECK]
    many = f"{len(claims)} claim{'' if len(claims) == 1 else 's'}"
    lines = [f"{many} tested in {duration(whole.elapsed_s)}, {whole.mode} mode"]
    lines += [""] if claims else []
    for look, count in tally(one.verdict for one in claims):
        if count:
            lines.append(f"  {count:3} {out.paint(look.sign, look.style)} {look.short}")
    badge = overall_badge(whole)
    words = [*([f"Conditions: {badge.text}."] if badge else []), *trust_sentences(whole)]
    return "\n".join([*lines, "", *(tables.fill(tables.clean(sentence), out.width) for sentence in words), ""])


def _ended(whole: Report) -> int:
    """The exit code of a run; that it was interrupted is said in one line."""
    if whole.complete:
        return 0
    done = len(whole.results)
    end = f"{done} experiment{'' if done == 1 else 's'} had finished" if done else "nothing had finished"
    Terminal(sys.stderr).line(f"filar: stopped; {end}")
    return INTERRUPTED


# ---- run ----


def run_experiments(arguments: argparse.Namespace) -> int:
    """`filar run`."""
    names = [lab.find(name).name for name in dict.fromkeys(arguments.names)]
    for name in (arguments.json, arguments.html):
        if name not in (None, "-"):
            files.check_file(Path(name))
    if len(names) == 1:
        result = measure_one(names[0], arguments)
        whole = _report_of(result)
        text = result.to_json()
    else:
        whole = measure_many(names, arguments)
        text = whole.to_json()
    if whole.results:
        _put_out(whole, text, arguments)
    return _ended(whole)


def _report_of(result: Result) -> Report:
    return Report(
        [result], result.host, result.mode, seed=result.seed, started=result.started, elapsed_s=result.elapsed_s
    )


def _put_out(whole: Report, text: str, arguments: argparse.Namespace) -> None:
    """JSON and page into their files, then tables to stdout, unless JSON goes there."""
    if arguments.json not in (None, "-"):
        files.write_whole(Path(arguments.json), text + "\n")
    if arguments.html is not None:
        beside = Path(arguments.json).name if arguments.json not in (None, "-") else None
        files.write_whole(Path(arguments.html), report.page(whole, beside))
    if arguments.json == "-":
        _write_json_text(text)
        return
    out = Terminal(sys.stdout)
    for result in whole.results:
        out.line(result_text(result, out))


def _write_json_text(text: str) -> None:
    """One object on one line; what stdout's encoding lacks is written as JSON escapes."""
    if not _unicode(sys.stdout.encoding):
        text = json.dumps(json.loads(text))
    sys.stdout.write(text + "\n")


def result_text(result: Result, out: Terminal) -> str:
    """Title, claim, verdict, figures, how the samples are spread, facts and notes."""
    look, width = look_of(result.verdict.word), out.width

    def paragraph(text: str) -> str:
        return tables.fill(tables.clean(text), width)

    verdict = out.paint(f"{look.sign} {tables.clean(result.verdict)}", look.style)
    parts = [
        f"{out.paint(tables.clean(result.title), 'bold')} ({tables.clean(result.experiment)})",
        paragraph(f"Claim: {result.claim}"),
        f"{verdict}\n{paragraph(sentence(result.verdict.reason))}".rstrip(),
    ]
    if len(result.rows):
        parts.append(result.table().text(width))
        parts.append(_spread(result, width))
    if result.references:
        listed = "; ".join(f"{r.label} {format_quantity(r.value, r.unit)}" for r in result.references)
        parts.append(paragraph(f"Published: {listed}"))
    parts += [f"{tables.clean(table.title)}\n{table.text(width)}" for table in result.tables]
    parts += [paragraph(f"Note: {note}") for note in result.notes]
    conditions = f"Conditions: {result.badge.text}. " if result.badge else ""
    how = f"{result.mode.capitalize()} mode, seed {result.seed}, {result.elapsed_s:.1f} s."
    parts.append(paragraph(conditions + how))
    return "\n\n".join(part for part in parts if part) + "\n"


def _spread(result: Result, width: int) -> str:
    """How the samples of the first metric that several variants share are spread."""
    metric = next(iter(result.rows)).metric
    rows = result.rows.of_metric(metric)
    picture = tables.distribution(rows, width)
    return f"How the samples of {tables.clean(metric)} are spread:\n{picture}" if picture else ""


# ---- compare ----


def compare_files(arguments: argparse.Namespace) -> int:
    """`filar compare`."""
    found = lab.compare(arguments.base, *arguments.others)
    if arguments.html is not None:
        files.write_whole(Path(arguments.html), comparison_page(found))
    if arguments.json:
        _print_json(found.to_dict())
    else:
        out = Terminal(sys.stdout)
        out.line(comparison_text(found, out.width, everything=arguments.all, paint=out.paint))
    return SLOWER if found.has_slower else 0


def measure_cluster(arguments: argparse.Namespace) -> int:
    """`filar cluster`. A worker that failed is told on stderr, and the exit code is 1."""
    names = [lab.find(name).name for name in arguments.only] or None
    folder = Path(arguments.out)
    made = files.check_writable(folder)
    out, aside = Terminal(sys.stdout), Terminal(sys.stderr)
    try:
        with _client(arguments.address) as client:
            machines = lab.on_cluster(
                client,
                names,
                quick=arguments.quick,
                seed=arguments.seed,
                workers=arguments.workers,
                on_report=lambda name, found: aside.line(f"{name}: {len(found)} results"),
            )
    except BaseException:
        files.remove_empty(made)
        raise
    for path in machines.save(folder):
        out.line(f"Data  {path.resolve()}")
    if len(machines) > 1:
        page_path = folder / "machines.html"
        files.write_whole(page_path, comparison_page(machines.compare()))
        out.line(f"Page  {page_path.resolve()}")
    for name, why in machines.failures.items():
        aside.line(f"filar: {name}: {why}")
    return 1 if machines.failures else 0


def _client(address: str) -> Any:
    """A client of the cluster; one sentence where the package or the scheduler is missing."""
    try:
        from distributed import Client
    except ImportError:
        raise NotSupportedHereError("filar cluster needs the package `distributed`, which is not installed") from None
    return Client(address, timeout="10s")


# ---- the machine ----


def show_topology(arguments: argparse.Namespace) -> int:
    """`filar topology`."""
    machine = topology()
    if arguments.json:
        _print_json(machine.as_dict())
    else:
        Terminal(sys.stdout).line(str(machine))
    return 0


def examine_machine(arguments: argparse.Namespace) -> int:
    """`filar doctor`. What it finds is no failure of the command: the exit code is 0."""
    diagnosis = doctor()
    if arguments.json:
        _print_json({"summary": diagnosis.summary, **dataclasses.asdict(diagnosis)})
    else:
        out = Terminal(sys.stdout)
        out.line(_diagnosis_text(diagnosis, out))
    return 0


_LEVELS = {"warn": ("✗", "bad"), "note": ("·", "warn"), "ok": ("✓", "ok")}


def _diagnosis_text(diagnosis: Diagnosis, out: Terminal) -> str:
    """What to mend and what to know, each with reason and remedy; then what is in order."""
    lines = [out.paint(f"{diagnosis.summary}.", "bold")]
    for finding in (*diagnosis.of_level("warn"), *diagnosis.of_level("note")):
        more = [part for part in (finding.why, finding.do and f"→ {finding.do}") if part]
        lines += ["", _finding_line(finding, out), *(tables.fill(part, out.width, "  ") for part in more)]
    return "\n".join([*lines, "", *(_finding_line(finding, out) for finding in diagnosis.of_level("ok"))])


def _finding_line(finding: Finding, out: Terminal) -> str:
    sign, style = _LEVELS[finding.level]
    text = tables.fill(f"{finding.title}: {finding.found}", out.width, "  ")
    return out.paint(sign, style) + text[1:]


def explain_limit(arguments: argparse.Namespace) -> int:
    """`filar why-not`."""
    answer = why_not(arguments.threads, arguments.stack_size)
    if arguments.json:
        _print_json(dataclasses.asdict(answer))
    else:
        out = Terminal(sys.stdout)
        out.line(f"{tables.fill(str(answer), out.width)}\n\n{answer.table()}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "cluster": measure_cluster,
    "compare": compare_files,
    "doctor": examine_machine,
    "list": list_experiments,
    "report": make_report,
    "run": run_experiments,
    "topology": show_topology,
    "why-not": explain_limit,
}
