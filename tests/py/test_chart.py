"""Claims about the pictures of filar.chart.

Whether words overlap is computed from the text elements of the svg with the width table that the layout uses;
that the table itself is right for a Helvetica-like face was checked by eye.
"""

from __future__ import annotations

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from filar import chart
from filar.chart import format_quantity, text_width
from filar.chart.scale import Scale, fit, format_ticks, log_ticks, nice_ticks, thin, tick_text
from filar.chart.text import shorten, wrap

NAN, INF = math.nan, math.inf
SVG = "{http://www.w3.org/2000/svg}"
AWKWARD = "a < b & \"c\" 'd' </text><script>alert(1)</script>"


def dots() -> chart.Chart:
    published = (
        chart.Reference(9_000, "Lemire 2020, Skylake", "Lemire, Skylake"),
        chart.Reference(20_000, "Lemire 2020, AMD Rome", "20 µs, Lemire, Rome"),
        chart.Reference(200_000, "Lemire 2020, Ampere", "Lemire, Ampere"),
    )
    return chart.Dots(
        title="What does it cost to create and join a thread?",
        x_label="create + join",
        n="301 rounds, shuffled",
        badge=chart.Badge("pinned, 2.5 GHz, steal 0 %, A/A 1.002"),
        rows=[
            chart.Dot("default", 21340, 20900, 21800, 13630, 36330, references=published, bold=True),
            chart.Dot("own stack, pinned to the other core by an attribute", 36990, 36000, 38000, 23590),
            chart.Dot("fork + _exit + wait", 247_700, 240_000, 255_000, 137_500, group="processes"),
            chart.Dot("green thread", 124, 120, 130, 110, 400, group="green threads"),
        ],
    )


def lines() -> chart.Chart:
    k = [1, 2, 3, 4, 8, 16, 64]
    measured = np.array([1, 1.954, 1.946, 1.939, 1.862, 1.71, 1.296])
    return chart.Lines(
        title="Video frames: speedup by number of threads",
        x_label="threads",
        y_label="speedup over one thread",
        x_scale="log2",
        y_unit="x",
        marked=[chart.Marked(2, "usable cores"), chart.Marked(1, "no gain", "y")],
        series=[
            chart.Series("measured", k, measured, measured * 0.98, measured * 1.02, whiskers=True),
            chart.Series("10 % serial", k, measured * 0.92, measured * 0.9, measured * 0.94),
            chart.Series("ideal", k, np.minimum(k, 2.0), dashed=True),
            chart.Series("Amdahl, 2 % serial", k, 1 / (0.02 + 0.98 / np.minimum(k, 2)), dashed=True),
        ],
    )


def lines_cold() -> chart.Chart:
    x = [0, 50e3, 1e6, 1e7, 1e8]
    return chart.Lines(
        title="A parked thread grows cold",
        x_label="idle before",
        x_unit="ns",
        y_unit="ns",
        x_scale="log",
        y_scale="log",
        marked=[chart.Marked(v, f"a mark that says {v:.0f}") for v in (1e6, 2e6, 3e6, 9e7)],
        series=[
            chart.Series("same core", x, [3534, 4100, 6110, 13250, 14350]),
            chart.Series("other core", x, [11090, 15000, 42890, 68840, 75520]),
            chart.Series("create + join", x, [21340] * 5, dashed=True),
        ],
    )


def bars(horizontal: bool = True, log: bool = False) -> chart.Chart:
    names = ["iterative", "thread per connection", "pool of 8", "process per connection", "event loop"]
    computing = np.array([33_800, 25_000, 43_800, 3_300, 32_200])
    return chart.Bars(
        title="Requests a second by server model",
        groups=names,
        unit="req/s",
        horizontal=horizontal,
        log=log,
        series=[
            chart.BarSeries("computing", computing, computing * 0.95, computing * 1.05),
            chart.BarSeries("blocking", [513, 14_500, 14_900, 3_200, 15_200]),
        ],
    )


def stack_bars() -> chart.Chart:
    return chart.Stack(
        title="Where the memory of a parked thread goes",
        x=["kernel thread, 64 KiB stack", "kernel thread, 8 MiB stack", "process", "green thread"],
        parts=[
            chart.Part("touched pages (RSS)", [8.3, 8.3, 60, 4.0]),
            chart.Part("kernel stack", [16, 16, 16, 0]),
            chart.Part("slab", [7.4, 7.4, 21.9, 0.1]),
            chart.Part("page tables", [0.13, 4, 44, 0]),
        ],
        unit="KiB",
    )


def stack_areas() -> chart.Chart:
    return chart.Stack(
        title="The direct cost stays small; the refill grows",
        x=[0, 2**15, 2**18, 2**20],
        parts=[chart.Part("switch", [747, 679, 817, 2390]), chart.Part("refill", [0, 242, 300, 17110])],
        unit="ns",
        x_unit="B",
    )


def heatmap(cores: int = 8) -> chart.Chart:
    names = [f"core {i}" for i in range(cores)]
    socket = np.arange(cores) * 2 // cores
    values = np.where(socket[:, None] == socket[None, :], 28.0, 118.0) + np.arange(cores)
    np.fill_diagonal(values, NAN)
    half = cores // 2
    brackets = [chart.Bracket(0, half - 1, "socket 0"), chart.Bracket(half, cores - 1, "socket 1")]
    return chart.Heatmap(
        title="One-way time of a cache line",
        rows=names,
        columns=names,
        values=values,
        unit="ns",
        row_brackets=brackets,
        column_brackets=brackets,
    )


def cdf(mode: str = "percent") -> chart.Chart:
    random = np.random.default_rng(7)
    known = ((2, 62e3, 0.12), (8, 63e3, 0.5), (64, 3e6, 0.3), (512, 3e6, 1), (4096, 7e6, 1.6))
    return chart.Cdf(
        title="Lateness of a sleeper among N busy threads",
        series=[chart.Samples(f"{n} threads", random.lognormal(math.log(m), s, 6000)) for n, m, s in known],
        mode=mode,  # type: ignore[arg-type]
        x_label="late by",
        y_label="share of sleeps",
    )


def gantt() -> chart.Chart:
    intervals = [
        chart.Interval(f"thread {t}", s * 4e6, s * 4e6 + 3.99e6, "run" if (s - t) % 4 in (0, 1) else "ready")
        for t in range(4)
        for s in range(10)
    ]
    return chart.Gantt(
        title="Four threads on two cores",
        intervals=intervals,
        rows=[f"thread {t}" for t in range(4)],
        groups=["first pair"] * 2 + ["second pair"] * 2,
        grid=4e6,
    )


def survival() -> chart.Chart:
    random = np.random.default_rng(3)
    return chart.Survival(
        title="Rounds until two threads deadlock",
        series=[
            chart.Lifetimes("2 cores", random.exponential(200, 60) + 1),
            chart.Lifetimes("1 core", random.exponential(30_000, 40) + 1, 20, 2e5),
            chart.Lifetimes("ordered locks", [], 60, 2e5),
        ],
    )


def ladder() -> chart.Chart:
    return chart.Ladder(
        title="Which limit stops the next thread?",
        limits=[
            chart.Limit("kernel.pid_max", 32_768),
            chart.Limit("vm.max_map_count / 2", 32_765, "two maps a thread"),
            chart.Limit("kernel.threads-max", 192_731),
            chart.Limit("cgroup pids.max", INF),
        ],
        asked=50_000,
        now=212,
        x_label="threads",
    )


def strip() -> chart.Chart:
    random = np.random.default_rng(5)
    return chart.Strip(
        title="A process switch costs about as much as a thread switch",
        rows=[
            chart.Ratios("futex", random.lognormal(math.log(1.12), 0.05, 301), 1.109, 1.129),
            chart.Ratios("A/A: the same thing twice", random.lognormal(0, 0.02, 301), 0.998, 1.003),
        ],
        badge=chart.Badge("A/A misses 1", "bad"),
    )


KINDS: dict[str, Callable[[], chart.Chart]] = {
    "dots": dots,
    "lines": lines,
    "lines_cold": lines_cold,
    "bars": bars,
    "bars_log": lambda: bars(log=True),
    "bars_upright": lambda: bars(horizontal=False),
    "stack_bars": stack_bars,
    "stack_areas": stack_areas,
    "heatmap": heatmap,
    "heatmap_large": lambda: heatmap(40),
    "cdf": cdf,
    "cdf_tail": lambda: cdf("tail"),
    "gantt": gantt,
    "survival": survival,
    "ladder": ladder,
    "strip": strip,
}
each_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())


def words(root: ET.Element) -> list[tuple[str, float, float, float, float]]:
    """Every visible text as (words, left, top, right, bottom) in pixels."""
    found = []
    for element in root.iter(f"{SVG}text"):
        text = (element.text or "") + "".join(child.tail or "" for child in element)
        size, bold = float(element.get("font-size", "12")), "font-weight" in element.attrib
        x, y = float(element.get("x", "0")), float(element.get("y", "0"))
        wide = text_width(text, size, bold)
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor", "start")]
        found.append((text, left, y - 0.74 * size, left + wide, y + 0.12 * size))
    return found


def check_svg(picture: chart.Chart) -> ET.Element:
    """Parse a picture; no coordinate is broken, no word leaves the picture or touches another word."""
    root = ET.fromstring(picture.svg())
    for element in root.iter():
        for name, value in element.attrib.items():
            if name not in ("aria-label", "font-family", "style", "class"):
                assert not re.search(r"nan|inf|e[+-]\d", value), f"{element.tag} {name}={value}"
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    seen = words(root)
    for text, left, top, right, bottom in seen:
        inside = left >= -0.5 and right <= width + 0.5 and top >= -0.5 and bottom <= height + 0.5
        assert inside, f"{text!r} leaves the picture: {left:.0f} {top:.0f} {right:.0f} {bottom:.0f}"
    for a, b in combinations(seen, 2):
        apart = a[3] <= b[1] + 0.5 or b[3] <= a[1] + 0.5 or a[4] <= b[2] + 0.5 or b[4] <= a[2] + 0.5
        assert apart, f"{a} overlaps {b}"
    return root


def shown(picture: chart.Chart) -> list[str]:
    return [text for text, *_ in words(check_svg(picture))]


# The picture as a whole.


@each_kind
def test_every_kind_is_well_formed_and_its_words_stay_apart(make: Callable[[], chart.Chart]) -> None:
    check_svg(make())


@each_kind
@pytest.mark.parametrize("width", [420, 560, 1100])
def test_words_stay_apart_at_other_widths(make: Callable[[], chart.Chart], width: int) -> None:
    check_svg(dataclasses.replace(make(), width=width))


@each_kind
def test_same_data_gives_the_same_text(make: Callable[[], chart.Chart]) -> None:
    assert make().svg() == make().svg()


@each_kind
def test_no_script_no_outside_file_and_no_id(make: Callable[[], chart.Chart]) -> None:
    svg = make().svg()
    assert not re.search(r'<script|href|url\(|\sid="', svg)


@each_kind
def test_a_reader_who_does_not_see_is_told_the_title_and_a_sentence(make: Callable[[], chart.Chart]) -> None:
    picture = make()
    root = ET.fromstring(picture.svg())
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == picture.title
    sentence = root.findtext(f"{SVG}desc") or ""
    assert sentence.endswith(".")
    assert re.search(r"\d", sentence)


def test_light_dark_and_print_colours_are_all_there() -> None:
    svg = dots().svg()
    assert "@media (prefers-color-scheme:dark)" in svg
    assert "[data-theme=dark] .filar-chart" in svg
    assert "[data-theme=light] .filar-chart" in svg
    assert "@media print" in svg


def test_notebook_html_is_an_img_that_needs_no_trust() -> None:
    html = dots()._repr_html_()
    assert html.startswith("<img ")
    assert "data:image/svg+xml;base64," in html
    assert dots()._repr_svg_() == dots().svg()


def test_badge_title_labels_and_notes_are_shown() -> None:
    everything = " ".join(shown(dots()))
    for part in ("pinned, 2.5 GHz", "create + join", "n = 301 rounds, shuffled.", "20 µs, Lemire, Rome"):
        assert part in everything


@pytest.mark.parametrize("width", [240, 320, 420, 720])
def test_a_long_badge_loses_whole_parts_never_half_a_figure(width: int) -> None:
    parts = ["noisy: foreign 12 %", "steal 0.53 %", "clock ±0.41 %", "A/A 1.04 %"]
    chart_ = dataclasses.replace(dots(), badge=chart.Badge(", ".join(parts), "warn"), width=width)
    badge = next(text for text in shown(chart_) if text.startswith("noisy"))
    kept = badge.removesuffix(", …").split(", ")
    assert kept == parts[: len(kept)]
    assert badge.endswith("…") == (len(kept) < len(parts))
    assert width < 400 or len(kept) == 4  # a line of its own gives it the whole width


def test_badge_of_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="badge level"):
        chart.Badge("x", "green")  # type: ignore[arg-type]


def test_pictures_stay_small() -> None:
    for name, make in KINDS.items():
        limit = 250_000 if name == "heatmap_large" else 40_000
        assert len(make().svg()) < limit, name


def awkward() -> list[chart.Chart]:
    common = {
        "title": AWKWARD,
        "x_label": AWKWARD,
        "y_label": AWKWARD,
        "note": AWKWARD,
        "n": AWKWARD,
        "badge": chart.Badge(AWKWARD, "warn"),
    }
    dot = chart.Dot(AWKWARD, 5, references=[chart.Reference(7, AWKWARD)], group=AWKWARD)
    corner = chart.Bracket(0, 0, AWKWARD)
    line = chart.Series(AWKWARD, [1, 2], [1, 2])
    return [
        chart.Dots(rows=[dot], **common),
        chart.Lines(series=[line], marked=[chart.Marked(1.5, AWKWARD)], **common),
        chart.Bars(groups=[AWKWARD, "b"], series=[chart.BarSeries(AWKWARD, [1, 2])], unit=AWKWARD, **common),
        chart.Stack(x=[AWKWARD, "b"], parts=[chart.Part(AWKWARD, [1, 2])], unit=AWKWARD, **common),
        chart.Heatmap(rows=[AWKWARD], columns=[AWKWARD], values=[[1]], row_brackets=[corner], **common),
        chart.Cdf(series=[chart.Samples(AWKWARD, [1, 2])], **common),
        chart.Gantt(intervals=[chart.Interval(AWKWARD, 0, 1, AWKWARD)], **common),
        chart.Survival(series=[chart.Lifetimes(AWKWARD, [1, 2])], **common),
        chart.Ladder(limits=[chart.Limit(AWKWARD, 3, AWKWARD)], **common),
        chart.Strip(rows=[chart.Ratios(AWKWARD, [1, 1.1])], **common),
    ]


@pytest.mark.parametrize("picture", awkward(), ids=lambda picture: type(picture).__name__)
def test_markup_in_labels_is_shown_and_not_obeyed(picture: chart.Chart) -> None:
    root = check_svg(picture)
    assert root.findtext(f"{SVG}title") == AWKWARD
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in picture._repr_html_()


def test_control_characters_in_labels_do_not_break_the_picture() -> None:
    check_svg(chart.Lines(title="a\x00b\x1b[0m\ud800", series=[chart.Series("\x07", [1, 2], [1, 2])]))


# Values that cannot be drawn.

ODD = {
    "empty": [],
    "nan": [NAN, NAN],
    "inf": [INF, -INF, 3.0],
    "zero": [0.0, 0.0],
    "zero and more": [0.0, 10.0, 1000.0],
    "negative": [-1.0, -5.0],
    "mixed signs": [-1.0, 0.0, 5.0],
    "one": [7.0],
    "all equal": [4.0, 4.0, 4.0],
    "huge range": [1e-300, 1.0, 1e300],
    "tiny difference": [1.0, 1.0 + 1e-13],
}


def odd_charts(v: list[float]) -> list[chart.Chart]:
    names = [f"row {i}" for i in range(len(v))]
    some = [chart.Dot(f"r{i}", x, x, x, x, x) for i, x in enumerate(v)]
    two = [chart.Series("a", v, v, v, v), chart.Series("b", v, v, dashed=True)]
    three = [chart.BarSeries("a", v, v, v)]
    return [
        *[chart.Dots(rows=some, log=log) for log in (True, False)],
        *[chart.Lines(series=two, x_scale=s, y_scale=s) for s in ("linear", "log", "log2")],
        *[chart.Bars(groups=names, series=three, log=log) for log in (True, False)],
        *[chart.Bars(groups=names, series=three, log=log, horizontal=False) for log in (True, False)],
        chart.Stack(x=v, parts=[chart.Part("a", v), chart.Part("b", v)]),
        chart.Stack(x=v, parts=[chart.Part("a", v)], x_scale="log"),
        chart.Stack(x=names, parts=[chart.Part("a", v)], unit="B"),
        chart.Heatmap(rows=["r"], columns=names, values=[v]),
        chart.Heatmap(rows=names, columns=["c"], values=[[x] for x in v], log=True),
        chart.Cdf(series=[chart.Samples("a", v), chart.Samples("b", [])]),
        chart.Cdf(series=[chart.Samples("a", v)], mode="tail", log=False),
        chart.Gantt(intervals=[chart.Interval("a", x, x) for x in v], grid=1.0),
        chart.Survival(series=[chart.Lifetimes("a", v, 2 if v else 0)]),
        chart.Ladder(limits=[chart.Limit(f"l{i}", x) for i, x in enumerate(v)], asked=v[0] if v else NAN),
        chart.Strip(rows=[chart.Ratios("a", v), chart.Ratios("b", [], 1, 2)]),
    ]


@pytest.mark.parametrize("values", ODD.values(), ids=ODD.keys())
def test_odd_values_give_a_sensible_picture(values: list[float]) -> None:
    for picture in odd_charts(values):
        check_svg(picture)


def test_nothing_to_draw_says_no_data() -> None:
    for values in ([], [NAN, NAN]):
        for picture in odd_charts(values):
            if not (isinstance(picture, chart.Survival) and values):
                assert "no data" in picture.svg(), picture


def test_what_is_left_out_is_said() -> None:
    partly = [chart.Series("a", [1, 2, 3], [1, -2, 3])]
    assert "1 value on the y axis not drawn" in chart.Lines(series=partly, y_scale="log").svg()
    assert "not drawn" not in chart.Lines(series=partly).svg()


def test_zero_on_a_log_axis_has_a_slot_of_its_own() -> None:
    scale = fit("log", [[0, 10, 1000]])
    zero, ten, thousand = scale.fraction([0, 10, 1000])
    assert 0 < zero < ten < thousand < 1
    assert scale.ticks()[0][1] == "0"
    assert math.isnan(scale.fraction([-1])[0])


@pytest.mark.parametrize(
    "build",
    [
        lambda: chart.Series("a", [1, 2], [1]),
        lambda: chart.Series("a", [1], [1], lo=[1, 2], hi=[1]),
        lambda: chart.BarSeries("a", [1], lo=[1, 2]),
        lambda: chart.Bars(groups=["a"], series=[chart.BarSeries("s", [1, 2])]),
        lambda: chart.Stack(x=[1], parts=[chart.Part("p", [1, 2])]),
        lambda: chart.Heatmap(rows=["a"], columns=["b"], values=[[1, 2]]),
        lambda: chart.Gantt(intervals=[], rows=["a"], groups=["g", "h"]),
    ],
)
def test_lengths_that_differ_are_refused_in_one_sentence(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError) as caught:
        build()
    assert "\n" not in str(caught.value)


# What each kind promises.


def test_dots_are_ranked_within_their_group() -> None:
    given = (("slow", 9, "g"), ("other", 1, "h"), ("fast", 2, "g"))
    picture = chart.Dots(rows=[chart.Dot(label, value, group=group) for label, value, group in given])
    assert [row.lines[0] for row in picture.figure().rows] == ["g", "fast", "slow", "h", "other"]


def test_lines_that_end_close_together_are_still_named_apart() -> None:
    for count in (3, 8, 12):
        many = [chart.Series(f"series number {i}", [1, 2], [1, 1 + i / 1e6]) for i in range(count)]
        named = shown(chart.Lines(series=many))
        assert all(f"series number {i}" in named for i in range(count))


def test_long_series_are_thinned_without_losing_the_extremes() -> None:
    x = np.arange(100_000.0)
    y = np.sin(x)
    y[51_234], y[77_777] = 40.0, -40.0
    tx, ty = thin(x, y)
    assert len(tx) <= 410
    assert (ty.max(), ty.min()) == (40.0, -40.0)
    assert (tx[0], tx[-1]) == (x[0], x[-1])
    assert len(chart.Lines(series=[chart.Series("a", x, y)]).svg()) < 20_000


def test_cdf_tail_reaches_p999() -> None:
    assert {"100 %", "10 %", "1 %", "0.1 %"} <= set(shown(cdf("tail")))


def test_ladder_highlights_the_lowest_limit_with_whole_numbers() -> None:
    everything = " | ".join(shown(ladder()))
    assert "32,765, two maps a thread, binds" in everything
    assert "asked for: 50,000" in everything
    assert "no limit" in everything


def test_gantt_ticks_fall_on_the_grid() -> None:
    assert "4 ms" in shown(gantt())
    assert "5 ms" not in shown(gantt())


def test_gantt_gives_a_category_one_look_whether_the_others_are_there_or_not() -> None:
    states = ["runs", "waits", "blocked"]
    every = [chart.Interval("task 1", k, k + 1, state) for k, state in enumerate(states)]
    both = chart.Gantt(intervals=every, categories=states).figure().keys
    without = chart.Gantt(intervals=[every[0], every[2]], categories=states).figure().keys
    assert [key.label for key in without] == ["runs", "blocked"]
    assert list(without) == [both[0], both[2]]


def test_gantt_joins_slivers_that_cannot_be_seen() -> None:
    many = [chart.Interval("core 0", i, i + 0.9, "run") for i in range(50_000)]
    assert len(chart.Gantt(intervals=many).svg()) < 20_000


def test_survival_falls_to_the_share_still_running() -> None:
    path = chart.Survival(series=[chart.Lifetimes("a", [1, 10, 100], 1, 1000)]).figure().marks[0]
    assert path.y[0] == 100.0
    assert path.y[-1] == pytest.approx(25.0)
    assert path.x[-1] == 1000


def test_strip_keeps_the_extreme_ratios() -> None:
    values = np.concatenate([np.full(5000, 1.0), [0.2, 9.0]])
    cloud = chart.Strip(rows=[chart.Ratios("a", values)]).figure().marks[0]
    assert cloud.x.size <= 400
    assert (cloud.x.min(), cloud.x.max()) == (0.2, 9.0)


def test_a_negative_bar_has_its_value_on_the_free_side_of_zero() -> None:
    series = [chart.BarSeries("", [-5, 12], [-9, 11], [-4, 13])]
    picture = chart.Bars(groups=["a", "b"], series=series, unit="%")
    assert "−5 %" in shown(picture)
    assert [mark.x for mark in picture.figure().marks if hasattr(mark, "text")] == [0.0, 13.0]


def test_heatmap_prints_its_numbers_and_leaves_nan_empty() -> None:
    cells = shown(heatmap(4))
    assert [cells.count(text) for text in ("28", "29", "30", "31")] == [1, 1, 1, 1]
    assert [cells.count(text) for text in ("118", "119", "120", "121")] == [2, 2, 2, 2]
    assert "nan" not in cells


# Numbers and words.


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "ns", "0 ns"),
        (0.52, "ns", "0.52 ns"),
        (12.5, "ns", "12.5 ns"),
        (999.4, "ns", "999 ns"),
        (999.6, "ns", "1 µs"),
        (1000, "ns", "1 µs"),
        (21_340, "ns", "21.3 µs"),
        (247_700, "ns", "248 µs"),
        (43_500_000, "ns", "43.5 ms"),
        (9.324e9, "ns", "9.32 s"),
        (2.5, "us", "2.5 µs"),
        (0.25, "s", "250 ms"),
        (-1500, "ns", "−1.5 µs"),
        (0, "B", "0 B"),
        (512, "B", "512 B"),
        (34_816, "B", "34 KiB"),
        (8_392_704, "B", "8 MiB"),
        (2**30, "B", "1 GiB"),
        (1023.9, "KiB", "1 MiB"),
        (50.08, "%", "50.1 %"),
        (-99.9, "%", "−99.9 %"),
        (1.9541, "x", "1.95×"),
        (3000, "x", "3,000×"),
        (7, "", "7"),
        (63_704, "", "63,700"),
        (4_400_000, "", "4.4 M"),
        (999_999, "", "1 M"),
        (43_812, "req/s", "43,800 req/s"),
        (NAN, "ns", "–"),
        (None, "ns", "–"),
        (INF, "ns", "∞"),
        (1e-300, "", "1e−300"),
    ],
)
def test_quantities_have_three_digits_and_a_unit_that_fits(value: float | None, unit: str, text: str) -> None:
    assert format_quantity(value, unit) == text


def test_more_digits_keep_a_count_whole() -> None:
    assert format_quantity(192_731, digits=9) == "192,731"
    assert format_quantity(4_194_304, digits=9) == "4,194,304"


@pytest.mark.parametrize(
    ("values", "unit", "texts"),
    [
        ([0, 500, 1000, 1500], "ns", ["0", "0.5 µs", "1 µs", "1.5 µs"]),
        ([0, 25, 50], "%", ["0 %", "25 %", "50 %"]),
        ([1, 1.25, 1.5], "x", ["1×", "1.25×", "1.5×"]),
        ([0, 10_000, 20_000], "req/s", ["0", "10,000", "20,000"]),
        ([0, 2**18, 2**20], "B", ["0", "256 KiB", "1 MiB"]),
        ([-1, 0, 1], "", ["−1", "0", "1"]),
        ([0.999, 1.0, 1.001], "", ["0.999", "1", "1.001"]),
    ],
)
def test_ticks_of_one_axis_share_a_unit(values: list[float], unit: str, texts: list[str]) -> None:
    assert format_ticks(values, unit) == texts


@pytest.mark.parametrize(
    ("low", "high", "base", "ticks"),
    [
        (1, 1000, 10, [1, 10, 100, 1000]),
        (3, 40, 10, [5, 10, 20]),
        (1, 64, 2, [1, 2, 4, 8, 16, 32, 64]),
        (1e-3, 1e12, 10, [1e-2, 1, 1e2, 1e4, 1e6, 1e8, 1e10, 1e12]),
    ],
)
def test_log_ticks_are_round(low: float, high: float, base: int, ticks: list[float]) -> None:
    assert log_ticks(low, high, base=base) == pytest.approx(ticks)


def test_linear_ticks_are_round_and_within_the_range() -> None:
    assert nice_ticks(0.93, 2.04, 5) == pytest.approx([1.0, 1.25, 1.5, 1.75, 2.0])
    assert nice_ticks(0, 2**20, 4, base=2) == [0, 2**18, 2 * 2**18, 3 * 2**18, 2**20]
    assert nice_ticks(5, 5) == [5]


def test_log_axis_of_times_is_labelled_in_decades_with_units() -> None:
    labels = [label for _, label in Scale("log", 90, 2e9, "ns").ticks(9)]
    assert labels == ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]


def test_wrapped_lines_fit_and_lose_no_word() -> None:
    text = "posix_spawn of a tiny static program and wait for it"
    lines = wrap(text, 120)
    assert " ".join(lines) == text
    assert all(text_width(line) <= 120 for line in lines)
    assert all(text_width(line) <= 60 for line in wrap("x" * 100, 60))
    assert len(wrap(text, 120, lines_max=2)) == 2
    assert text_width(shorten(text, 80)) <= 80
    assert wrap("", 100) == []
    assert wrap("core 0", text_width("core")) == ["core", "0"]


# matplotlib.


@each_kind
def test_matplotlib_draws_the_same_description(make: Callable[[], chart.Chart]) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is an optional extra")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    if make is KINDS["heatmap_large"]:
        pytest.skip("the small heat map stands for it")
    axes = make().to_matplotlib()
    axes.figure.canvas.draw()
    assert axes.get_title(loc="left") == make().title
    figure, given = plt.subplots()
    assert make().to_matplotlib(given) is given
    plt.close(axes.figure)
    plt.close(figure)


@pytest.mark.parametrize("values", ODD.values(), ids=ODD.keys())
def test_matplotlib_takes_odd_values_too(values: list[float]) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is an optional extra")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    for picture in odd_charts(values):
        plt.close(picture.to_matplotlib().figure)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'filar\[lab\]'"):
        dots().to_matplotlib()


# ---- a few values that others spoilt ----


def test_ratios_that_are_far_away_leave_room_for_the_others() -> None:
    values = [*np.linspace(0.98, 1.02, 200), 1e-3, 5e3]
    picture = chart.Strip(rows=[chart.Ratios("same", values, 0.999, 1.001, 1.0)])
    figure = picture.figure()
    assert figure.x.low > 0.9
    assert figure.x.high < 1.1
    assert "2 of 202 points lie beyond the axis" in picture.svg()


def test_ratios_that_spread_less_are_all_in_sight() -> None:
    picture = chart.Strip(rows=[chart.Ratios("wide", [0.1, 1.0, 9.0], 0.5, 2.0, 1.0)])
    assert "beyond" not in picture.svg()
    assert picture.figure().x.high >= 9.0


def test_a_whisker_without_end_leaves_room_for_the_bars() -> None:
    def bars(widest: float) -> chart.Bars:
        series = chart.BarSeries("s", [1.0, 2.0], [0.5, 1.0], [1.5, widest])
        return chart.Bars(groups=["a", "b"], series=[series], unit="x")

    spoilt, sound = bars(400.0), bars(7.0)
    assert spoilt.figure().x.high < 6
    assert "Whiskers are cut at 4×" in spoilt.svg()
    assert sound.figure().x.high >= 7
    assert "cut" not in sound.svg()


def test_counts_that_an_axis_names_stay_whole():
    assert [tick_text(value, "") for value in (1.0, 1024.0, 2e6, 0.5)] == ["1", "1,024", "2 M", "0.5"]
    assert tick_text(1536.0, "B") == "1.5 KiB"
    scale = fit("log2", [np.array([1.0, 1024.0])], unit="")
    assert "1,024" in [label for _, label in scale.ticks()]
