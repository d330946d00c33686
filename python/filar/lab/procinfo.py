"""Single facts about this process out of /proc."""

from pathlib import Path

__all__ = ["resident_bytes", "status_field"]


def status_field(field: str, path: str = "/proc/self/status") -> int | None:
    """The number behind `field:` (in bytes where the file says kB), or None where it cannot be read."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == field and words and words[0].isdigit():
            return int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return None


def resident_bytes() -> int:
    """Resident memory of this process; 0 where /proc is not mounted."""
    return status_field("VmRSS") or 0
