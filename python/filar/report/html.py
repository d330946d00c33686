"""The report page: one HTML file with everything inside, for a screen of any size, for paper, and without scripts.

result_html.py makes the part of one experiment, markup.py escapes, page.css holds the look. The page loads nothing:
its content security policy forbids it, whatever the results say.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from filar.chart import format_quantity
from filar.lab.base import HOLDS
from filar.lab.report import SELF_CHECK, Report
from filar.lab.result import Result
from filar.report.machine import machine_facts, machine_line, overall_badge, trust_sentences
from filar.report.markup import Markup, join, prose, script_json, tag
from filar.report.result_html import Detail, anchor, badge_chip, icon, section, verdict_chip
from filar.report.words import VERDICTS, duration, look_of, sentence, tally

__all__ = ["brand", "document", "page", "shared_style"]

PAGE_MAX_BYTES = 4_500_000
RAW_MAX_BYTES = 1_200_000
BYTES_PER_SAMPLE = 7
REFERENCES_SHOWN = 3

# Text is escaped, so only charts bring this element.
_STYLE = re.compile("<style>(.*?)</style>", re.DOTALL)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

# The page is complete without it; it only lets a reader choose the other of light and dark.
_SCRIPT = Markup(
    "(function(){var b=document.querySelector('.theme'),r=document.documentElement;b.hidden=false;"
    "b.onclick=function(){var d=r.dataset.theme?r.dataset.theme==='dark':"
    "matchMedia('(prefers-color-scheme: dark)').matches;r.dataset.theme=d?'light':'dark';};})();"
)


def page(report: Report, json_name: str | None = None) -> str:
    """The whole page, below 5 MB; `json_name` is the file beside it that holds every sample, if there is one."""
    body, style = _fitting_body(report, json_name)
    data = script_json(report.to_json())
    embedded = tag("script", data, type="application/json", id="filar-report")
    if _bytes(body) + _bytes(embedded) > PAGE_MAX_BYTES:
        embedded = Markup("")
    return document(f"Threads on {machine_line(report.host)}", body, embedded, style=style)


def document(title: str, *body: Markup, style: Markup | None = None) -> str:
    """A whole HTML document around `body`, with the look of all our pages inside."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="generator", content="filar"),
        tag("title", title),
        tag("style", Markup(_style()), style),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', body, tag('script', _SCRIPT)), lang='en')}\n"


def _style() -> str:
    return importlib.resources.files("filar.report").joinpath("page.css").read_text(encoding="utf-8")


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))


def _fitting_body(report: Report, json_name: str | None) -> tuple[Markup, Markup]:
    """The body in as much detail as fits, and the style of its charts: first the narrow drawings go, then samples."""
    some = _samples_max(report.results)
    body, style = Markup(""), Markup("")
    for detail in (Detail(some), Detail(some, narrow=False), Detail(0, narrow=False)):
        body, style = shared_style(_body(report, json_name, detail))
        if _bytes(body) <= PAGE_MAX_BYTES:
            break
    return body, style


def shared_style(body: Markup) -> tuple[Markup, Markup]:
    """Takes the style sheets out of the charts: in one page all would apply to all, and they are the same text."""
    found = dict.fromkeys(_STYLE.findall(body))
    return Markup(_STYLE.sub("", body)), Markup("\n".join(found))


def _samples_max(results: Iterable[Result]) -> int:
    """How many raw samples of each row are printed, so that all of them together stay within RAW_MAX_BYTES."""
    sizes = sorted(len(row.samples) for result in results for row in result.rows)
    room = RAW_MAX_BYTES // BYTES_PER_SAMPLE
    for index, size in enumerate(sizes):
        share = room // (len(sizes) - index)
        if size > share:
            return share
        room -= size
    return sizes[-1] if sizes else 0


def _body(report: Report, json_name: str | None, detail: Detail) -> Markup:
    families = _by_family(report.results)
    main = tag(
        "main",
        _masthead(report),
        _overview(report),
        _contents(families),
        tag("div", [_family(name, results, detail) for name, results in families.items()]),
        _reading(report, json_name),
        class_="page",
    )
    return join(tag("a", "Skip to the results", href="#summary", class_="skip"), main)


def _by_family(results: Sequence[Result]) -> dict[str, list[Result]]:
    """In order of measurement, but the lab's check of itself, which ran first, comes last with its family."""
    families: dict[str, list[Result]] = {}
    for result in results:
        families.setdefault(result.family or "Other", []).append(result)
    last = [name for name, found in families.items() if any(one.experiment == SELF_CHECK for one in found)]
    return {name: families[name] for name in [*(name for name in families if name not in last), *last]}


# ---- head ----


def _masthead(report: Report) -> Markup:
    facts = [(tag("dt", name), tag("dd", text)) for name, text in machine_facts(report)]
    return tag(
        "header",
        brand("filar report"),
        tag("h1", "What threads cost on this machine"),
        tag("p", machine_line(report.host), class_="machine"),
        tag("dl", [tag("div", pair) for pair in facts], class_="facts"),
        _trust(report),
        class_="masthead",
    )


def brand(name: str) -> Markup:
    """The line above the heading: what this page is, and the switch that the script brings to life."""
    switch = tag("button", "Light / dark", class_="theme", type="button", hidden=True)
    return tag("div", tag("span", name), switch, class_="brand")


def _trust(report: Report) -> Markup:
    """How far the figures can be trusted: conditions while measuring, and the same thing measured against itself."""
    badge = overall_badge(report)
    level = badge.level if badge is not None else ""
    if report.self_check and report.self_check["verdict"] != HOLDS:
        level = "bad"
    return tag(
        "div",
        tag("p", badge_chip(badge)) if badge is not None else None,
        [tag("p", prose(sentence)) for sentence in trust_sentences(report)],
        class_=f"trust {level}".strip(),
    )


# ---- overview ----

_SUMMARY_HEAD = ("Claim, and what was published", "Measured here", "Verdict")


def _overview(report: Report) -> Markup:
    """Verdicts counted, then every claim on one line. The A/A check is no claim; the head speaks of it."""
    claims = [result for result in report.results if result.experiment != SELF_CHECK]
    counts = tally(result.verdict for result in claims)
    many = len(claims)
    table = tag(
        "table",
        tag("caption", "All claims, what was published, what was measured here", class_="hidden"),
        tag(
            "thead",
            tag(
                "tr",
                [tag("th", name, scope="col") for name in _SUMMARY_HEAD],
            ),
        ),
        [_summary_body(name, results) for name, results in _by_family(report.results).items()],
        class_="summary",
    )
    return tag(
        "section",
        tag("h2", f"{many} claim{'' if many == 1 else 's'}, tested here", id="summary"),
        tag("ul", [_count(look.style, look.short, count) for look, count in counts if count], class_="tally"),
        tag(
            "div",
            [tag("i", class_=look.style, style=f"flex:{count}") for look, count in counts if count],
            class_="share",
            aria_hidden="true",
        ),
        table if many else tag("p", "No experiment was finished."),
        aria_labelledby="summary",
    )


def _count(style: str, words: str, count: int) -> Markup:
    return tag("li", tag("b", count), tag("span", words), class_=style)


def _summary_body(family: str, results: Sequence[Result]) -> Markup | None:
    rows = [_summary_row(result) for result in results if result.experiment != SELF_CHECK]
    heading = tag("tr", tag("th", family, scope="rowgroup", colspan=3), class_="group")
    return tag("tbody", heading, rows) if rows else None


def _summary_row(result: Result) -> Markup:
    published = "; ".join(f"{format_quantity(r.value, r.unit)} {r.label}" for r in result.references[:REFERENCES_SHOWN])
    verdict = result.verdict
    return tag(
        "tr",
        tag(
            "th",
            tag("a", prose(result.claim), href=f"#{anchor(result)}"),
            tag("small", result.title),
            tag("small", f"Published: {published}") if published else None,
            scope="row",
        ),
        tag("td", prose(sentence(verdict.brief)), class_="here"),
        tag("td", verdict_chip(verdict.word), tag("small", verdict.condition) if verdict.condition else None),
    )


def _contents(families: dict[str, list[Result]]) -> Markup:
    def entry(result: Result) -> Markup:
        look = look_of(result.verdict.word)
        sign = tag("span", icon(look.style), tag("span", look.word, class_="hidden"), class_=look.style)
        return tag("li", sign, tag("a", result.title or result.experiment, href=f"#{anchor(result)}"))

    return tag(
        "nav",
        tag("h2", "Contents"),
        tag("ul", tag("li", tag("a", "Summary", href="#summary"))),
        [(tag("h3", name), tag("ul", [entry(one) for one in results])) for name, results in families.items()],
        tag("ul", tag("li", tag("a", "How to read this page", href="#reading"))),
        aria_label="Contents",
    )


def _family(name: str, results: Sequence[Result], detail: Detail) -> Markup:
    return tag("div", tag("h2", name), [section(result, detail) for result in results], class_="family")


# ---- foot ----

_TERMS = (
    ("Floor", "The smallest sample: what this machine can do when nothing disturbs it."),
    ("Median", "The typical sample. Half of all samples are below it. No mean is shown: one long pause would move it."),
    (
        "95 % interval",
        "Where the true median lies, by the sign test, which assumes nothing about the shape of the data. If the "
        "intervals of two rows overlap, do not call one of them faster.",
    ),
    ("p99", "The tail: 99 of 100 samples are below it. Waiting for other programs shows here first."),
    (
        "n",
        "How many samples. All variants run in turn, in shuffled rounds, so that drift hits all alike.",
    ),
    (
        "A/A check",
        "The same thing measured against itself by the same method. What it is off by is what this machine cannot "
        "tell apart today.",
    ),
    (
        "Conditions",
        "Clock frequency, other programs, time taken by the host of a virtual machine, as they were during the "
        "measurement. Quiet conditions are not needed for the floor, but for the median and the tail.",
    ),
    ("Published", "Figures that others printed, on their machines. They are shown for scale, not as a target."),
)


def _reading(report: Report, json_name: str | None) -> Markup:
    verdicts = [(tag("dt", verdict_chip(look.word)), tag("dd", look.meaning)) for look in VERDICTS]
    terms = [(tag("dt", name), tag("dd", text)) for name, text in _TERMS]
    return tag(
        "footer",
        tag("h2", "How to read this page", id="reading"),
        tag(
            "p",
            "Each section tests one sentence that is said about threads. The verdict is computed from the samples; "
            "nobody wrote it by hand. It speaks of this machine in this state, and of no other.",
        ),
        tag("dl", verdicts, terms),
        tag(
            "p",
            _where_samples_are(json_name),
            f"Measured in {duration(report.elapsed_s)}, {report.mode} mode, seed {report.seed}.",
            class_="colophon",
        ),
        class_="reading",
    )


def _where_samples_are(json_name: str | None) -> Markup:
    use = ", which filar.lab.load reads and filar compare holds against another run. "
    if json_name is None:
        return join("The samples are inside this page as well, in JSON. ")
    return join("Every sample is in ", tag("a", json_name, href=quote(json_name, errors="replace")), use)
