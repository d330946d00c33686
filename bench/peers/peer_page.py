"""All that bench/peers has measured on a host as one JSON and one page.

`merged()` takes the files that run.py writes, a whole suite or a part of one each, and holds every figure of ours
against every peer's and against all goals anew, so a goal may change without a new run. Each line comes from one file
(the newest that has it), since ratios are of rounds in which both have run. `page()` shows what `merged()` returns
and computes nothing. Neither reads or writes files; `write()` does.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peer_goals import GOALS, LINES, SUITES, Line, Suite, suite_of
from peer_judge import HOLDS, MISSED, NOT_DECIDED, NOT_MEASURED, Samples, enough, interval_json, judge, rounded

SCHEMA = "filar-peers/1"
NAME = "peers"
# Units of what one wants less of; the others count or say yes and no.
COSTS = ("ns", "us", "ms", "B", "%", "percent")
METHOD = (
    "A round takes the lines in shuffled order and for each line the programs in shuffled order, a process each: what "
    "is compared runs within a second or so.",
    "Ratios are formed within rounds; their 95 % interval is that of the sign test. A goal holds when the whole "
    "interval is on its side, is missed when all of it is on the other, else it is not decided.",
    "Of the samples of one process the least counts. Where a line has one worker its CPU time is judged, else the "
    "clock.",
    "Floors are no libraries: what the machine takes, or the plainest thing that works.",
)

# ---- merging ----


def merged(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One record of all results of a host, by file name without ".json"; ValueError where they are of several hosts."""
    if not results:
        raise ValueError("there are no results to merge")
    parts = dict(sorted(results.items(), key=lambda item: (item[1].get("started", item[1]["date"]), item[0])))
    newest = next(reversed(parts.values()))
    for name, part in parts.items():
        if any(part["host"].get(key) != newest["host"].get(key) for key in ("cpu_model", "cpus_online")):
            raise ValueError(f"{name} is of another host than the others")
    sources = _sources(parts)
    samples = {name: Samples.of(part) for name, part in parts.items()}
    lines = [_line(line, sources.get(line.name), parts, samples) for line in LINES]
    return {
        "schema": SCHEMA,
        "date": newest["date"],
        "host": newest["host"],
        "method": list(METHOD),
        "musts": _counts(lines, aim=False),
        "aims": _counts(lines, aim=True),
        "parts": [_part(name, parts[name], sources) for name in sorted(parts, key=_place)],
        "absent": _absent(parts),
        "versions": _versions(parts.values()),
        "lines": lines,
        "not_measured": list(_missing(lines)),
    }


def _suite(name: str) -> Suite:
    return SUITES[name.partition("+")[0]]


def _place(name: str) -> tuple[int, str]:
    """As the suites are listed, the whole before its parts."""
    return list(SUITES).index(_suite(name).name), name


def _sources(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By line the part that it is taken from: the newest with figures, else the newest that says why there are none."""
    found: dict[str, str] = {}
    for with_figures in (False, True):
        for name, part in parts.items():
            keys = [key for values in part["samples"].values() for key in values]
            noted = [note.split()[-1] for note in part["notes"]]
            for line in {key.partition(".")[0] for key in keys} if with_figures else noted:
                if suite_of(line) is _suite(name):
                    found[line] = name
    return found


def _part(name: str, part: Mapping[str, Any], sources: Mapping[str, str]) -> dict[str, Any]:
    return {
        "file": f"{name}.json",
        "suite": _suite(name).name,
        "date": part["date"],
        "commit": part["commit"],
        "conditions": part["conditions"]["badge"]["text"],
        "rounds": len(part["rounds"]),
        "noisy_rounds": sum(entry["noisy"] for entry in part["rounds"]),
        "lines": [line.name for line in LINES if sources.get(line.name) == name],
    }


def _absent(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """By suite the programs that none of its files has a figure of."""
    here: dict[str, set[str]] = {}
    for name, part in parts.items():
        here.setdefault(_suite(name).name, set()).update(part["samples"])
    found = {suite: [name for name in SUITES[suite].programs if name not in seen] for suite, seen in here.items()}
    return {suite: names for suite, names in found.items() if names}


def _versions(parts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Of every peer; both where two parts saw different ones."""
    found: dict[str, dict[str, None]] = {}
    for part in parts:
        for who, version in part["versions"].items():
            if version:
                found.setdefault(who, {})[version.removeprefix("go version ")] = None
    return {who: "; ".join(seen) for who, seen in sorted(found.items(), key=lambda item: item[0].lower())}


def _line(
    line: Line, source: str | None, parts: Mapping[str, Mapping[str, Any]], samples: Mapping[str, Samples]
) -> dict[str, Any]:
    notes = parts[source]["notes"] if source else {}
    found = samples[source] if source else Samples()
    return {
        "line": line.name,
        "title": line.title,
        "suite": suite_of(line.name).name,
        "judged_by": "CPU time" if line.cpu else "clock",
        "part": f"{source}.json" if source else None,
        "metrics": [_metric(line, metric, found) for metric in found.metrics(line.name)],
        "goals": [judge(goal, found, notes).as_json() for goal in GOALS if goal.line == line.name],
        "left_out": {note.rpartition(" ")[0]: why for note, why in notes.items() if note.split()[-1] == line.name},
    }


def _metric(line: Line, metric: str, samples: Samples) -> dict[str, Any]:
    """What everybody needed, and ours over each peer's."""
    suite, unit = suite_of(line.name), samples.units[f"{line.name}.{metric}"]
    taken = {name: list(samples.series(name, line.name, metric).values()) for name in suite.programs}
    ratios = {}
    for peer in suite.programs if unit in COSTS else ():
        ratio = samples.ratio(line.name, metric, peer)
        if peer != suite.ours and ratio.n:
            word = "not decided"
            if enough(line.name, ratio.n):
                word = "less" if ratio.hi < 1 else "more" if ratio.lo > 1 else word
            ratios[peer] = {**interval_json(ratio), "word": word}
    return {
        "metric": metric,
        "unit": f"{unit} CPU" if samples.by_cpu(line.name, metric) else unit,
        "programs": {
            name: {"least": rounded(min(values)), "median": rounded(float(np.median(values))), "n": len(values)}
            for name, values in taken.items()
            if values
        },
        "ratios": ratios,
    }


def _counts(lines: Iterable[Mapping[str, Any]], *, aim: bool) -> dict[str, int]:
    counts = Counter(goal["word"] for line in lines for goal in line["goals"] if goal["aim"] == aim)
    return {word: counts[word] for word in (HOLDS, MISSED, NOT_DECIDED, NOT_MEASURED)}


def _missing(lines: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Lines of which there is no figure of ours, and why."""
    for line in lines:
        suite = SUITES[line["suite"]]
        if any(suite.ours in metric["programs"] for metric in line["metrics"]):
            continue
        why = line["left_out"].get(suite.ours) or f"not run on this host yet: {suite.word}"
        yield {"line": line["line"], "title": line["title"], "why": why}


def behind(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where a peer that is a library needs less than we do, the whole interval of the ratio above 1; worst first."""
    found = [
        {"line": line["line"], "title": line["title"], "suite": line["suite"], "peer": peer, "ratio": ratio, **metric}
        for line in record["lines"]
        for metric in line["metrics"]
        for peer, ratio in metric["ratios"].items()
        if ratio["word"] == "more" and peer not in SUITES[line["suite"]].floors
    ]
    return sorted(found, key=lambda entry: -entry["ratio"]["mid"])


# ---- the page ----


def figure(value: float | None, places: int = 3) -> str:
    """Three digits; "-" for none."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{places}g}"


def ratio_text(ratio: Mapping[str, Any]) -> str:
    """The ratio and its interval."""
    return f"{figure(ratio['mid'])} [{figure(ratio['lo'])}, {figure(ratio['hi'])}]" if ratio["n"] else "-"


def host_text(record: Mapping[str, Any]) -> str:
    """CPU, how many, what is under it, kernel."""
    host = record["host"]
    version = re.match(r"[\d.]*\d", str(host["kernel_release"]))
    kernel = f"Linux {version.group()}" if version else "Linux"
    return ", ".join(
        filter(None, (host["cpu_model"] or "unknown CPU", f"{host['cpus_online']} CPUs", host["hypervisor"], kernel))
    )


def counts_text(counts: Mapping[str, int]) -> str:
    """ "40 hold, 2 missed, ..." without those that are none."""
    return ", ".join(f"{count} {'hold' if word == HOLDS else word}" for word, count in counts.items() if count)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _goals_table(lines: Sequence[Mapping[str, Any]], *, aim: bool) -> str:
    head = ("line", "metric", "goal", "measured [95 % interval]", "of the limit", "rounds", "")
    return table(head, [_goal(goal) for line in lines for goal in line["goals"] if goal["aim"] == aim])


def _goal(goal: Mapping[str, Any]) -> tuple[object, ...]:
    margin = f"{goal['mid'] / goal['limit']:.2f}" if goal["n"] and goal["limit"] else "-"
    word = goal["word"] + (f": {goal['reason']}" if goal["reason"] else "")
    return goal["line"], goal["metric"], goal["goal"], ratio_text(goal), margin, goal["n"], word


def _measured_table(lines: Sequence[Mapping[str, Any]], suite: Suite) -> str:
    """A row for each metric, a column for each program."""
    metrics = [(line["line"], metric) for line in lines for metric in line["metrics"]]
    programs = [name for name in suite.programs if any(name in metric["programs"] for _, metric in metrics)]
    return table(
        ("line", "metric", "unit", *programs),
        [
            (line, metric["metric"], metric["unit"], *(_cell(metric["programs"].get(name)) for name in programs))
            for line, metric in metrics
        ],
    )


def _cell(taken: Mapping[str, Any] | None) -> str:
    """ "least (median)"."""
    return f"{figure(taken['least'])} ({figure(taken['median'])})" if taken else ""


def _parts_table(record: Mapping[str, Any]) -> str:
    head = ("suite", "lines", "date", "filar", "rounds", "conditions")
    rows = [
        (
            part["file"].removesuffix(".json"),
            _span(part["lines"]) or "none",
            part["date"],
            part["commit"] or "not known",
            f"{part['rounds']}, {part['noisy_rounds']} noisy" if part["noisy_rounds"] else part["rounds"],
            part["conditions"],
        )
        for part in record["parts"]
    ]
    return table(head, rows)


def _span(lines: Sequence[str]) -> str:
    """ "G1 to G11, G13": neighbours in the list of all lines together."""
    order = [line.name for line in LINES]
    runs: list[list[str]] = []
    for line in lines:
        if runs and order.index(line) == order.index(runs[-1][-1]) + 1:
            runs[-1].append(line)
        else:
            runs.append([line])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _behind_table(record: Mapping[str, Any]) -> str:
    head = ("line", "what", "metric", "peer", "filar", "the peer", "ratio [95 % interval]")
    rows = [
        (
            entry["line"],
            entry["title"],
            entry["metric"],
            entry["peer"],
            *(
                f"{figure(entry['programs'][who]['median'])} {entry['unit']}"
                for who in (SUITES[entry["suite"]].ours, entry["peer"])
            ),
            ratio_text(entry["ratio"]),
        )
        for entry in behind(record)
    ]
    return table(head, rows) if rows else "Nowhere, of what was measured."


def _left_out(record: Mapping[str, Any]) -> list[str]:
    """Lines without ours; peers that were not here; lines that a peer left out."""
    lines = [f"{entry['line']}, {entry['title']}: {entry['why']}" for entry in record["not_measured"]]
    lines += [f"{suite}: {', '.join(names)}: not measured here" for suite, names in record["absent"].items()]
    for line in record["lines"]:
        ours = SUITES[line["suite"]].ours
        lines += [f"{line['line']}, {who}: {why}" for who, why in line["left_out"].items() if who != ours]
    return lines


def _suite_section(record: Mapping[str, Any], suite: Suite) -> Iterator[str]:
    lines = [line for line in record["lines"] if line["suite"] == suite.name]
    if not any(line["metrics"] for line in lines):
        return
    yield f"## {suite.title}"
    parts = [part for part in record["parts"] if part["suite"] == suite.name and part["lines"]]
    conditions = "; ".join(f"{_span(part['lines'])} {part['conditions']}" for part in parts)
    floors = f" Floors: {', '.join(suite.floors)}." if suite.floors else ""
    yield f"Conditions: {conditions}.{floors}"
    yield f"### {suite.title}: musts"
    yield _goals_table(lines, aim=False)
    yield f"### {suite.title}: aims"
    yield _goals_table(lines, aim=True)
    yield f"### {suite.title}: least (median) over the rounds"
    yield _measured_table(lines, suite)
    yield "\n".join(f"- {line['line']}: {line['title']}; by {line['judged_by']}" for line in lines)


def page(record: Mapping[str, Any]) -> str:
    """The record as Markdown."""
    left_out = _left_out(record)
    parts = [
        "# Beside its peers",
        "Written by `make peers`; what is compared, and the method with its limits: "
        "[bench/README.md](../../README.md).",
        f"{host_text(record)}; {record['date']}.",
        f"**Musts:** {counts_text(record['musts'])}. **Aims:** {counts_text(record['aims'])}.",
        _parts_table(record),
        "Peers: " + ", ".join(f"{name} {words}" for name, words in record["versions"].items()) + ".",
        "## Where a peer is ahead",
        "Medians where the whole interval of the ratio filar / peer is above 1; floors do not count as peers.",
        _behind_table(record),
        "## Not measured",
        "\n".join(f"- {entry}" for entry in left_out) if left_out else "Nothing was left out.",
        *(section for suite in SUITES.values() for section in _suite_section(record, suite)),
        "## Method",
        "\n".join(f"- {sentence}" for sentence in record["method"]),
    ]
    return "\n\n".join(parts) + "\n"


# ---- files ----


def results_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The files of run.py in a host's folder."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        if path.stem.partition("+")[0] in SUITES:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(folder: Path) -> Path | None:
    """The page and its JSON, from the files beside them; the page's path, None where there is no file yet."""
    results = results_in(folder)
    if not results:
        return None
    record = merged(results)
    (folder / f"{NAME}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    path = folder / f"{NAME}.md"
    path.write_text(page(record), encoding="utf-8")
    return path
