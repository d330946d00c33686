"""The machine and the conditions of a report in words, for the head of the page and for the terminal."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from typing import Any

from filar.chart import Badge, format_quantity
from filar.lab.report import Report
from filar.report.words import duration, sentence

__all__ = ["machine_facts", "machine_line", "overall_badge", "trust_sentences"]


def _text(value: Any) -> str:
    """A recorded value as text; "" for what was not recorded."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _cpus(host: Mapping[str, Any]) -> str:
    """How many CPUs this process may use, of how many, and what a control group leaves of them."""
    allowed, present, quota = host.get("cpus_allowed"), host.get("cpus_online"), host.get("cpu_quota")
    if not isinstance(allowed, list):
        return ""
    words = _plural(len(allowed), "CPU")
    if isinstance(present, int) and present != len(allowed):
        words += f" of {present:,} allowed"
    return words + (f" with a quota of {format_quantity(quota)}" if isinstance(quota, (int, float)) else "")


def machine_line(host: Mapping[str, Any]) -> str:
    """The machine in one line, without a name: CPU model and how many of its CPUs may be used."""
    return ", ".join(filter(None, (_text(host.get("cpu_model")) or "a CPU that was not recorded", _cpus(host))))


def _when(started: str) -> str:
    try:
        return datetime.datetime.fromisoformat(started).strftime("%-d %B %Y, %H:%M %Z").strip()
    except ValueError:
        return started


def _memory(host: Mapping[str, Any]) -> str:
    size = host.get("memory_bytes")
    return format_quantity(size, "B") if isinstance(size, (int, float)) else ""


def _clock(host: Mapping[str, Any]) -> str:
    """What decides the clock frequency, where the machine shows it."""
    turbo = host.get("turbo")
    turbo = f"turbo {'on' if turbo else 'off'}" if isinstance(turbo, bool) else ""
    return ", ".join(filter(None, (_text(host.get("governor")), turbo)))


def _virtual(host: Mapping[str, Any]) -> str:
    hypervisor, container = _text(host.get("hypervisor")), _text(host.get("container"))
    machine = {"": "", "yes": "virtual machine"}.get(hypervisor, f"virtual machine ({hypervisor})")
    return ", ".join(filter(None, (machine, f"container ({container})" if container else "")))


def _kernel(host: Mapping[str, Any]) -> str:
    hz = host.get("tick_hz")
    return ", ".join(filter(None, (_text(host.get("kernel_release")), f"{hz} Hz" if isinstance(hz, int) else "")))


def _python(host: Mapping[str, Any]) -> str:
    python = host.get("python")
    if not isinstance(python, Mapping):
        return _text(python)
    free = " without GIL" if python.get("gil") is False else ""
    return f"{_text(python.get('implementation'))} {_text(python.get('version'))}{free}".strip()


def _load(host: Mapping[str, Any]) -> str:
    load = host.get("load_average")
    return f"{load[0]:g} at the start" if isinstance(load, list) and load and isinstance(load[0], (int, float)) else ""


def machine_facts(report: Report) -> list[tuple[str, str]]:
    """Names and texts for the head; what was not recorded is left out."""
    host = report.host
    mode = f"{report.mode}, {duration(report.elapsed_s)}" if report.mode else duration(report.elapsed_s)
    facts = [
        ("Kernel", _kernel(host)),
        ("Memory", _memory(host)),
        ("Runs in", _virtual(host)),
        ("Clock", _clock(host)),
        ("Load", _load(host)),
        ("Python", _python(host)),
        ("C library", _text(host.get("libc"))),
        ("filar", _text(host.get("filar_version"))),
        ("Measured", _when(report.started)),
        ("Mode", mode if report.complete else f"{mode}, stopped early"),
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
    words = f"noisy in {disturbed} of {_plural(many, 'experiment')}"
    return Badge(words, "bad" if levels["bad"] * 4 > many else "warn")


def trust_sentences(report: Report) -> list[str]:
    """What the A/A check came to, and what the run notes of itself (that it was interrupted, for one)."""
    check = report.self_check
    sentences = ["No A/A check was made in this run, so small differences cannot be told from noise."]
    if check:
        reason = str(check.get("reason") or check.get("verdict"))
        sentences = [f"A/A check, the same work measured as A and as B in shuffled rounds. {sentence(reason)}"]
    return [*sentences, *report.notes]
