"""Writing results so that a reader never sees half a file, and knowing before a long measurement that it can be."""

from __future__ import annotations

import contextlib
import errno
import secrets
from pathlib import Path

__all__ = ["check_file", "check_writable", "remove_empty", "write_whole"]


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


def check_writable(folder: Path) -> list[Path]:
    """Makes the folder if need be and tries a file in it; returns the folders it made, innermost first.

    Raises OSError if that is impossible, and then leaves no new folder behind.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _try_in(folder)
    except OSError as error:
        remove_empty(made)
        raise _told(error, folder) from None
    return made


def check_file(path: Path) -> None:
    """Tries whether a file of that name can be made or replaced; raises OSError if not. Makes no folders."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "cannot be written, it is a folder", str(path))
    try:
        _try_in(path.parent)
    except OSError as error:
        raise _told(error, path) from None


def _try_in(folder: Path) -> None:
    trial = _scratch(folder / "trial")
    trial.write_text("")
    trial.unlink()


def _told(error: OSError, path: Path) -> OSError:
    """The same error about the path that the user gave, not about a scratch file inside it."""
    return type(error)(error.errno, f"cannot be written ({error.strerror})", str(path))


def remove_empty(folders: list[Path]) -> None:
    """Removes those of the folders, innermost first, that are empty."""
    for one in folders:
        with contextlib.suppress(OSError):
            one.rmdir()
