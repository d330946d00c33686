"""Chrome's trace event format, which ui.perfetto.dev and chrome://tracing read.

Three processes stand for the three levels: workers (what ran on each), green threads and calls (the state of each),
kernel threads. Wake-ups are flow arrows, what waits to run is a counter, the rest are instants. Times are
microseconds from the beginning of the trace.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filar.watching.lives import EXECUTE, PREEMPTED, READY, Life, Lives, Span
from filar.watching.records import EVENT, EVENT_NAMES

__all__ = ["trace_events", "write"]

_WORKERS, _LIVES, _KERNEL = 1, 2, 3
_PROCESSES = {_WORKERS: "workers", _LIVES: "green threads and calls", _KERNEL: "kernel threads"}
_INSTANTS = ("steal", "green-preempt", "relieve", "resume", "stand-in", "retire", "worker-notify")


def _us(ns: float, start_ns: int) -> float:
    return round((ns - start_ns) / 1000, 3)


def _slice(pid: int, tid: int, name: str, span: Span, start_ns: int, **about: Any) -> dict[str, Any]:
    # Both ends rounded, so that neighbours stay neighbours.
    ts = _us(span.start_ns, start_ns)
    duration = round(_us(span.end_ns, start_ns) - ts, 3)
    event = {"ph": "X", "pid": pid, "tid": tid, "name": name, "ts": ts, "dur": duration, "cat": span.state}
    arguments = {key: value for key, value in {"waits for": span.why, **about}.items() if value}
    return {**event, "args": arguments} if arguments else event


def _metadata(lives: Lives, tracks: dict[int, int]) -> Iterator[dict[str, Any]]:
    for pid, name in _PROCESSES.items():
        yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
        yield {"ph": "M", "pid": pid, "name": "process_sort_index", "args": {"sort_index": pid}}
    rows = [(_WORKERS, at, lives.place_name(place)) for at, place in enumerate(lives.places(), 1)]
    rows += [(_track(life, tracks)[0], _track(life, tracks)[1], life.label) for life in lives.all]
    for pid, tid, name in rows:
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}


def _track(life: Life, tracks: dict[int, int]) -> tuple[int, int]:
    return (_KERNEL, life.number) if life.kind == "kernel thread" else (_LIVES, tracks[id(life)])


def _slices(lives: Lives, tracks: dict[int, int]) -> Iterator[dict[str, Any]]:
    for at, place in enumerate(lives.places(), 1):
        for life, span in lives.on_place(place):
            yield _slice(_WORKERS, at, life.label, span, lives.start_ns)
        for span in lives.asleep[place]:
            yield _slice(_WORKERS, at, "no work", span, lives.start_ns)
    for life in lives.all:
        for span in life.spans:
            where = lives.place_name(span.worker) if span.worker and life.kind != "kernel thread" else ""
            yield _slice(*_track(life, tracks), span.state, span, lives.start_ns, worker=where)


def _flows(lives: Lives, tracks: dict[int, int]) -> Iterator[dict[str, Any]]:
    """From the waker to the beginning of the "ready" that it made."""
    for number, wake in enumerate(lives.wakes, 1):
        if wake.by is None:
            continue
        common = {"cat": "wake", "name": wake.how, "id": number, "ts": _us(wake.time_ns, lives.start_ns)}
        for ph, life in (("s", wake.by), ("f", wake.whom)):
            pid, tid = _track(life, tracks)
            yield {**common, "ph": ph, "pid": pid, "tid": tid, **({"bp": "e"} if ph == "f" else {})}


def _counters(lives: Lives) -> Iterator[dict[str, Any]]:
    for name, states, kind in (
        ("ready green threads", (READY, PREEMPTED), "green thread"),
        ("running green threads", (EXECUTE,), "green thread"),
        ("calls waiting", (READY,), "call"),
    ):
        times, counts = lives.count_over_time(states, kind)
        last = np.append(times[1:] != times[:-1], True)[: len(times)]
        for t, count in zip(times[last], counts[last], strict=True):
            yield {
                "ph": "C",
                "pid": _WORKERS,
                "name": name,
                "ts": _us(t, lives.start_ns),
                "args": {"count": int(count)},
            }


def _instants(lives: Lives, events: NDArray[Any], marks: dict[int, str]) -> Iterator[dict[str, Any]]:
    wanted = [EVENT[name] for name in (*_INSTANTS, "mark")]
    for record in events[np.isin(events["event"], wanted)]:
        name = EVENT_NAMES[record["event"]]
        if name == "mark":
            name = marks.get(int(record["subject"]), f"mark {record['subject']}")
        yield {
            "ph": "i",
            "s": "t",
            "pid": _KERNEL,
            "tid": int(record["thread"]),
            "name": name,
            "ts": _us(int(record["time_ns"]), lives.start_ns),
            "args": {"cpu": int(record["cpu"])},
        }


def trace_events(lives: Lives, events: NDArray[Any], marks: dict[int, str]) -> list[dict[str, Any]]:
    """All events of the file, metadata first, then in order of time."""
    others = [life for life in lives.all if life.kind != "kernel thread"]
    tracks = {id(life): at for at, life in enumerate(others, 1)}
    found = [*_slices(lives, tracks), *_flows(lives, tracks), *_counters(lives), *_instants(lives, events, marks)]
    # At one time the longer first, since viewers nest; a flow ends after its slice has begun.
    found.sort(key=lambda event: (event["ts"], event["ph"] in "sf", -event.get("dur", 0.0)))
    return [*_metadata(lives, tracks), *found]


def write(path: str | Path, events: list[dict[str, Any]], about: dict[str, Any]) -> Path:
    """The file, compressed if its name ends in .gz."""
    path = Path(path)
    whole = {"traceEvents": events, "displayTimeUnit": "ns", "otherData": about}
    data = json.dumps(whole, separators=(",", ":")).encode()
    path.write_bytes(gzip.compress(data, compresslevel=4, mtime=0) if path.suffix == ".gz" else data)
    return path
