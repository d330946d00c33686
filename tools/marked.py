"""Blocks of a page that programs write, between two marks: <!-- NAME: begin --> and <!-- NAME: end -->."""

import re
from pathlib import Path

__all__ = ["fill"]


def fill(page: Path, name: str, lines: list[str]) -> None:
    """Replaces the block of that name in a page; a page without exactly one is an error."""
    block = "\n".join([f"<!-- {name}: begin -->", *lines, f"<!-- {name}: end -->"])
    text, found = re.subn(
        rf"<!-- {name}: begin -->.*?<!-- {name}: end -->",
        lambda _: block,
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    if found != 1:
        raise SystemExit(f"{page.name} has no place for {name}, or several")
    page.write_text(text, encoding="utf-8")
