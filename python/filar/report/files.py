"""Writing results so that a reader never sees half a file, and knowing before a long measurement that it can be."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

__all__ = ["check_writable", "write_whole"]


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_whole(path: Path, text: str) -> None:
    """Writes the text as UTF-8 and then gives it its name; on any failure the old file stays. Raises OSError."""
    scratch = _scratch(path)
    try:
        with scratch.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def check_writable(folder: Path) -> None:
    """Makes the folder if need be and tries a file in it; raises OSError, and then leaves no new folder behind."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = _scratch(folder / "trial")
        trial.write_text("")
        trial.unlink()
    except OSError:
        remove_empty(made)
        raise


def remove_empty(folders: list[Path]) -> None:
    """Removes those of the folders, innermost first, that exist and are empty."""
    for one in folders:
        with contextlib.suppress(OSError):
            one.rmdir()
