"""Writes docs/claims.md: each sentence of the theory, the experiments on it, and what they found on one machine.

Usage: python tools/claims.py [REPORT.json]

A report replaces the verdicts that are kept in docs/claims.json; without one the page is written again from those. The
sentences are in filar.lab.theory.
"""

import json
import sys
from pathlib import Path

from filar import lab
from filar.lab.theory import DOCUMENTS, SENTENCES
from readme_figures import host_line

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/claims.md"
KEPT = ROOT / "docs/claims.json"
HEAD = """# Claims

What five texts say of threads, sentence by sentence, the experiments that put each to the test, and what these found
on one machine. `filar report` finds out what holds on yours.
`make claims REPORT=report/report.json` writes this page.
"""


def verdicts(report: lab.Report) -> dict[str, object]:
    """What is kept of a report: the host in a line, and each experiment's verdict and deciding figure."""
    found = {one.experiment: [str(one.verdict), one.verdict.headline] for one in report.results}
    return {"host": host_line(report), "verdicts": dict(sorted(found.items()))}


def page(kept: dict[str, object]) -> str:
    """The page, from the sentences and what is kept."""
    lines = [HEAD, f"Measured on: {kept['host']}\n"]
    told = kept["verdicts"]
    for number, document in enumerate(DOCUMENTS):
        lines += [f"## {document}\n", "| | the sentence | experiment | verdict | figure |", "|---|---|---|---|---|"]
        for one in (each for each in SENTENCES if each.document == number):
            lines += rows(one.label, one.text, one.experiments, told)
            if one.reason:
                label, text = ("", "") if one.experiments else (one.label, one.text)
                lines.append(f"| {label} | {text} | | | {one.reason} |")
        lines.append("")
    cited = {name for one in SENTENCES for name in one.experiments}
    lines += ["## Beyond the sentences\n", "| experiment | its claim | verdict | figure |", "|---|---|---|---|"]
    for name, each in lab.experiments().items():
        # Only what was measured: so a new experiment makes the page stale with the next report, not before.
        if name not in cited and name in told:
            lines.append(f"| `{name}` | {each.claim.text} | {' | '.join(said(told, name))} |")
    return "\n".join(lines) + "\n"


def rows(label, text, names, told):
    """A line for each experiment; the sentence stands in the first."""
    found = []
    for name in names:
        found.append(f"| {label} | {text} | `{name}` | {' | '.join(said(told, name))} |")
        label = text = ""
    return found


def said(told, name):
    """Verdict and figure of an experiment, as cells."""
    return [cell.replace("|", "\\|") for cell in told.get(name, ["not measured yet", ""])]


def main(arguments: list[str]) -> int:
    """Writes both files."""
    if arguments:
        kept = verdicts(lab.load(arguments[0]))
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(KEPT.read_text(encoding="utf-8"))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
