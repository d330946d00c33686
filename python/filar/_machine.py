"""What the modules about the machine share: the kernel's small files, numbers for people, boxes for notebooks.

A file of /proc or /sys may be missing, hidden or garbled on any machine, so every reader here answers None
instead of raising.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from html import escape

__all__ = [
    "bytes_field",
    "chosen",
    "cpu_list",
    "html_box",
    "parse_cpu_list",
    "read_int",
    "read_text",
    "size",
    "status_field",
    "task_counts",
]


def read_text(path: str | os.PathLike[str]) -> str | None:
    """The text of a file without the blanks around it, or None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def read_int(path: str | os.PathLike[str]) -> int | None:
    """The whole number a file holds (or begins with), or None."""
    words = (read_text(path) or "").split()
    try:
        return int(words[0])
    except (IndexError, ValueError):
        return None


def status_field(text: str | None, name: str) -> str | None:
    """What stands behind `name:` in a text such as /proc/self/status, or None."""
    for line in (text or "").splitlines():
        key, colon, value = line.partition(":")
        if colon and key == name:
            return value.strip()
    return None


def bytes_field(text: str | None, name: str) -> int | None:
    """The bytes behind `name:  123 kB` in a text such as /proc/meminfo, or None."""
    words = (status_field(text, name) or "").split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else None


def chosen(text: str | None) -> str | None:
    """The choice in force in a text like "always [madvise] never", or None."""
    _, opened, rest = (text or "").partition("[")
    choice, closed, _ = rest.partition("]")
    return choice if opened and closed else None


def task_counts(root: str = "") -> tuple[int | None, int | None]:
    """How many threads of the whole kernel can run at this moment, and how many there are (/proc/loadavg)."""
    fields = (read_text(f"{root}/proc/loadavg") or "").split()
    runnable, _, total = (fields[3] if len(fields) > 3 else "").partition("/")
    return int(runnable) if runnable.isdigit() else None, int(total) if total.isdigit() else None


def cpu_list(cpus: Iterable[int]) -> str:
    """CPU numbers as the kernel writes them: "0-3,8"."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """CPU numbers out of "0-3,8"; nothing out of anything else."""
    cpus: list[int] = []
    try:
        for part in filter(None, text.strip().split(",")):
            first, _, last = part.partition("-")
            cpus.extend(range(int(first), int(last or first) + 1))
    except ValueError:
        return ()
    return tuple(cpus)


def size(count: float) -> str:
    """Bytes in the largest unit that leaves at least 1: "48 KiB", "23.5 GiB"."""
    value, unit = float(count), "bytes"
    for bigger in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{value:.4g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


# Borders in the text's own colour, half transparent, and no backgrounds: right on light and on dark pages.
_LINE = "1px solid rgba(128,128,128,.45)"


def html_box(title: str, inner: str, *, dashed: bool = False) -> str:
    """A titled frame around other HTML; the title is escaped, the inside is not."""
    line = _LINE.replace("solid", "dashed") if dashed else _LINE
    return (
        f'<div style="display:inline-block;vertical-align:top;border:{line};border-radius:.3em;'
        f'padding:.25em .45em;margin:.15em{";opacity:.55" if dashed else ""}">'
        f'<div style="font-size:85%;opacity:.8">{escape(title)}</div>{inner}</div>'
    )
