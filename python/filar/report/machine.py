"""The machine and the conditions of a report in words, for the head of the page and for the terminal."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from typing import Any

from filar.chart import Badge, format_quantity
from filar.lab.report import Report
from filar.report.words import duration

__all__ = ["machine_facts", "machine_line", "overall_badge", "trust_sentences"]

_LEVELS = ("ok", "warn", "bad")


def _text(value: Any) -> str:
    """A recorded value as text; "" for what was not recorded."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, map(_text, value)))
    return str(value)


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _cpus(host: Mapping[str, Any]) -> str:
    """How many CPUs there are and how many of them this process may use."""
    allowed, present = host.get("cpus_allowed"), host.get("cpus_present")
    many = len(allowed) if isinstance(allowed, list) else allowed
    many_present = len(present) if isinstance(present, list) else present
    parts = [_plural(many, "CPU") + " allowed"] if isinstance(many, int) else []
    if isinstance(many_present, int):
        parts.append(f"{many_present:,} present")
    quota = host.get("cgroup_cpu_quota", host.get("cpu_quota"))
    if isinstance(quota, (int, float)) and not isinstance(quota, bool):
        parts.append(f"quota of {format_quantity(quota)} CPUs")
    return ", ".join(parts)


def machine_line(host: Mapping[str, Any]) -> str:
    """The machine in one line, without a name: CPU model and how many of its CPUs may be used."""
    return ", ".join(filter(None, (_text(host.get("cpu_model")) or "an unknown CPU", _cpus(host))))


def _when(started: str) -> str:
    try:
        return datetime.datetime.fromisoformat(started).strftime("%-d %B %Y, %H:%M %Z").strip()
    except ValueError:
        return started


def _memory(host: Mapping[str, Any]) -> str:
    size = host.get("memory_bytes")
    return format_quantity(size, "B") if isinstance(size, (int, float)) else ""


def machine_facts(report: Report) -> list[tuple[str, str]]:
    """Names and texts for the head; what was not recorded is left out."""
    host = report.host
    mode = f"{report.mode}, {duration(report.elapsed_s)}" if report.mode else duration(report.elapsed_s)
    facts = [
        ("CPU", _text(host.get("cpu_model"))),
        ("CPUs", _cpus(host)),
        ("Memory", _memory(host)),
        ("Virtual machine", _text(host.get("virtualization"))),
        ("Kernel", _text(host.get("kernel"))),
        ("Python", _text(host.get("python"))),
        ("Measured", _when(report.started)),
        ("Mode", mode if report.complete else f"{mode}, stopped early"),
        ("filar", _text(host.get("filar"))),
    ]
    return [(name, text) for name, text in facts if text]


def overall_badge(report: Report) -> Badge | None:
    """The conditions of all experiments in one badge: how many were disturbed; None where nothing was recorded."""
    levels = Counter(result.badge.level for result in report.results if result.badge is not None)
    many = sum(levels.values())
    if not many:
        return None
    disturbed = many - levels["ok"]
    if not disturbed:
        return Badge("quiet in all experiments", "ok")
    level = "bad" if levels["bad"] * 4 > many else "warn"
    return Badge(f"noisy in {disturbed} of {_plural(many, 'experiment')}", level)


def trust_sentences(report: Report) -> list[str]:
    """What the A/A check came to, and whether the run is whole."""
    sentences = []
    check = report.self_check
    error = check.get("error")
    if isinstance(error, float) and error == error:
        share = format_quantity(100 * error, "%", 2)
        sentences.append(
            f"A/A check: the same thing measured against itself came out {share} apart. "
            f"A difference smaller than that is not one."
        )
        if check.get("reason"):
            sentences.append(str(check["reason"]))
    elif not check:
        sentences.append("No A/A check was made in this run, so small differences cannot be told from noise.")
    if not report.complete:
        sentences.append("The run was stopped before its end: the experiments that had finished are here.")
    return sentences
