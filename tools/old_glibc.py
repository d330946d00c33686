"""Names what a library asks of glibc that an older one does not have: a build with the older one would fail there.

Usage: python tools/old_glibc.py LIBRARY.so [2.28]

A function that exists here in several versions is taken in the oldest by a build against an old glibc; so what counts
is the oldest version of each that the C library of this machine still has. 2.28 is that of the containers in which
wheels are built (RELEASING.md).
"""

import ctypes
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


def versions(path: str, which: str) -> list[tuple[str, tuple[int, ...]]]:
    """Symbols with their glibc version, "--defined-only" or "--undefined-only" ones."""
    done = subprocess.run(["nm", "-D", which, path], capture_output=True, text=True, check=True)
    found = re.findall(r"(\S+?)@+GLIBC_([\d.]+)", done.stdout)
    return [(name, tuple(map(int, version.split(".")))) for name, version in found]


def c_libraries() -> list[str]:
    """The files of libc and libm of this process; none where it is not glibc."""
    try:
        ctypes.CDLL("libm.so.6")
    except OSError:
        return []
    maps = Path("/proc/self/maps").read_text()
    return sorted({path for path in re.findall(r"\S+$", maps, re.MULTILINE) if re.search(r"/lib[cm][.-]", path)})


def missing(
    asked: Iterable[tuple[str, tuple[int, ...]]], had: Iterable[tuple[str, tuple[int, ...]]], limit: tuple[int, ...]
) -> list[str]:
    """Those that are asked for and are in no version up to the limit, each with its oldest: "gettid (2.30)"."""
    oldest: dict[str, tuple[int, ...]] = {}
    for name, version in had:
        oldest[name] = min(version, oldest.get(name, version))
    wanted = sorted({name for name, _ in asked})
    late = [(name, oldest[name]) for name in wanted if oldest.get(name, ()) > limit]
    return [f"{name} ({'.'.join(map(str, version))})" for name, version in late]


def main(arguments: list[str]) -> int:
    """1 if something is missing."""
    limit = arguments[1] if len(arguments) > 1 else "2.28"
    had = [one for path in c_libraries() for one in versions(path, "--defined-only")]
    found = missing(versions(arguments[0], "--undefined-only"), had, tuple(map(int, limit.split("."))))
    if found:
        print(f"glibc {limit} lacks: {', '.join(found)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
