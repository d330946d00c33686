"""Records as the C core writes them (`filar_trace_record`), and the names of their numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar._lib import ffi, lib, text

__all__ = ["EVENT", "EVENT_NAMES", "RECORD", "WAIT_NAMES", "collect", "texts"]

RECORD = np.dtype(
    [
        ("time_ns", np.int64),  # on CLOCK_MONOTONIC
        ("subject", np.uint64),
        ("object", np.uint64),
        ("argument", np.int32),
        ("thread", np.int32),  # the kernel's id of the thread that wrote it
        ("event", np.uint16),  # an index of EVENT_NAMES
        ("cpu", np.int16),
        ("sequence", np.uint32),
    ]
)
assert ffi.sizeof("filar_trace_record") == RECORD.itemsize


def _names(of: Callable[[int], Any]) -> tuple[str, ...]:
    names: list[str] = []
    while (pointer := of(len(names))) != ffi.NULL:
        names.append(text(pointer))
    return tuple(names)


EVENT_NAMES = _names(lib.filar_trace_event_name)
WAIT_NAMES = _names(lib.filar_trace_wait_name)
EVENT = {name: number for number, name in enumerate(EVENT_NAMES)}


def collect() -> tuple[NDArray[Any], Any]:
    """What the rings hold now, sorted by time, and the totals."""
    totals = ffi.new("filar_trace_totals *")
    lib.filar_trace_collect(ffi.NULL, 0, totals)
    # Those that are written meanwhile are left for the next time.
    room = int(totals.written - totals.overwritten - totals.left_out)
    events = np.zeros(max(room, 1), RECORD)
    count = lib.filar_trace_collect(ffi.cast("filar_trace_record *", events.ctypes.data), room, totals)
    events = events[:count]
    # Stable: records of one thread stay in their order.
    return events[np.argsort(events["time_ns"], kind="stable")], totals


def texts(events: NDArray[Any], event: str) -> dict[int, str]:
    """The names that records of this kind give to their subjects: 8 bytes each, put together."""
    parts: dict[int, dict[int, bytes]] = {}
    chosen = events[events["event"] == EVENT[event]]
    for subject, word, at in zip(
        chosen["subject"].tolist(), chosen["object"].tolist(), chosen["argument"].tolist(), strict=True
    ):
        if at == 0:
            parts[subject] = {}
        parts.setdefault(subject, {})[at] = word.to_bytes(8, "little")
    joined = {subject: b"".join(part[at] for at in sorted(part)) for subject, part in parts.items()}
    return {subject: raw.rstrip(b"\0").decode(errors="replace") for subject, raw in joined.items()}
