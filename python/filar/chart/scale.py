"""Numbers for people: quantities with units, and the scales and ticks of an axis.

A unit says what the raw numbers are: "ns" "us" "ms" "s" (time), "B" "KiB" "MiB" "GiB" (memory), "%", "x" (a
ratio, written 1.97×), "" (a count), or any other word, which is printed behind a count ("ev/s"). The words that rows
use for these ("percent", "ratio", "count", "bytes", "1/s") are understood too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["linear", "log", "log2", "rows"]
Tick = tuple[float, str]

MISSING = "–"
_BINARY = ("B", "KiB", "MiB", "GiB")
MINUS = "−"

_TIMES = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
_BYTES = ((1.0, "B"), (2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"), (2.0**40, "TiB"))
_COUNTS = ((1.0, ""), (1e6, "M"), (1e9, "G"), (1e12, "T"))
_SYNONYMS = {"percent": "%", "ratio": "x", "count": "", "bytes": "B", "1/s": "per s"}
_FAMILIES = {
    **{name: (factor, _TIMES) for factor, name in _TIMES},
    "us": (1e-6, _TIMES),
    **{name: (factor, _BYTES) for factor, name in _BYTES},
}
_QUANTITY = re.compile(r"([0-9][0-9,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?) *([^0-9]*)")

KNOWN_UNITS = (*_FAMILIES, "%", "x")


def _plain(value: float, digits: int) -> str:
    """Write a number with so many significant digits, no trailing zeros, commas between thousands."""
    if value == 0:
        return "0"
    if not 1e-6 <= abs(value) < 1e15:
        return f"{value:.{digits}g}".replace("-", MINUS)
    places = digits - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, places):,.{max(0, places)}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", MINUS)


def _join(text: str, unit: str) -> str:
    if unit in ("", "x"):
        return text + ("×" if unit else "")
    return f"{text} {unit}"


def _step(value: float, digits: int, steps: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """Choose the largest step that leaves at least 1 after rounding to so many digits."""
    size = abs(value) * (1 + 0.5 * 10.0**-digits)
    chosen = steps[0]
    for step in steps:
        if size >= step[0]:
            chosen = step
    return chosen


def format_quantity(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Write a value with its unit, to so many significant digits: 21340 ns is "21.3 µs", 34816 B is "34 KiB".

    None and NaN give "–". Counts carry commas and, above a million at three digits, M and G; more digits
    keep a count whole: format_quantity(4194304, digits=9) is "4,194,304".
    """
    if value is None or math.isnan(value):
        return MISSING
    unit = _SYNONYMS.get(unit, unit)
    if math.isinf(value):
        return _join("∞" if value > 0 else MINUS + "∞", unit if unit not in _FAMILIES else "").strip()
    value = float(value)
    if unit in _FAMILIES:
        factor, steps = _FAMILIES[unit]
        if value == 0:
            return f"0 {_display(unit)}"
        size, name = _step(value * factor, digits, steps)
        return f"{_plain(value * factor / size, digits)} {name}"
    if unit in ("%", "x") or digits > 3:
        return _join(_plain(value, digits), unit)
    size, name = _step(value, digits, _COUNTS)
    text = _plain(value / size, digits)
    return _join(f"{text} {name}" if name else text, unit)


def parse_quantity(text: str, unit: str) -> float:
    """Read what `format_quantity` writes, as a number in `unit`: "21.3 µs" in "ns" is 21300.0.

    A number alone is in `unit`. ValueError if it is no number, or its unit cannot be converted.
    """
    unit = _SYNONYMS.get(unit, unit)
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'"{text}" is not a number with a unit')
    value, name = float(found[1].replace(",", "")), found[2].replace("\u03bc", "\u00b5")
    name = {"×": "x", "times": "x"}.get(name, _SYNONYMS.get(name, name))
    if name in ("", unit):
        return value
    if unit in _FAMILIES and name in _FAMILIES and _FAMILIES[unit][1] is _FAMILIES[name][1]:
        return value * _FAMILIES[name][0] / _FAMILIES[unit][0]
    raise ValueError(f'"{text}" cannot be compared with a number in {unit or "units of 1"}')


def _display(unit: str) -> str:
    return "µs" if unit == "us" else unit


def tick_text(value: float, unit: str) -> str:
    """Write a value that an axis names for itself: a count stays whole, 1,024 threads are not 1,020."""
    whole = not unit and value.is_integer() and abs(value) < 1e6
    return format_quantity(value, unit, 9 if whole else 3)


def format_ticks(values: Sequence[float], unit: str = "") -> list[str]:
    """Write the values of one linear axis with one common unit and as many decimals as the steps need.

    A unit that is just a word is left to the name of the axis.
    """
    unit = _SYNONYMS.get(unit, unit)
    finite = [abs(value) for value in values if value]
    if not finite:
        return [format_quantity(value, unit) for value in values]
    if unit in _BINARY:
        return [format_quantity(value, unit, 4) if value else "0" for value in values]
    factor, steps = _FAMILIES.get(unit, (1.0, _COUNTS if unit not in ("%", "x") else ((1.0, ""),)))
    size, name = _step(max(finite) * factor, 3, steps)
    suffix = unit if unit in ("%", "x") else name
    texts = []
    for value in values:
        scaled = value * factor / size
        text = _plain(round(scaled, 9), 6)
        texts.append(text if value == 0 and unit not in ("%", "x") else _join(text, suffix))
    return texts


def nice_ticks(low: float, high: float, about: int = 6, base: int = 10) -> list[float]:
    """Return round numbers (1, 2, 5 times a power of ten; powers of two for base 2) within a range."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(1, about)
    if base == 2:
        step = 2.0 ** math.ceil(math.log2(rough))
    else:
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def log_ticks(low: float, high: float, about: int = 8, base: int = 10) -> list[float]:
    """Return the ticks of a log axis: decades, thinned or filled with 2 and 5 as the range asks."""
    if not 0 < low < high:
        return [low] if low > 0 else []
    first, last = math.log(low, base), math.log(high, base)
    start, end = math.ceil(first - 1e-9), math.floor(last + 1e-9)
    count = end - start + 1
    if base == 10 and last - first < 0.55:
        return nice_ticks(low, high, min(about, 5))
    if base == 10 and count < 3:
        powers = range(math.floor(first), math.ceil(last) + 1)
        values = [m * 10.0**p for p in powers for m in (1, 2, 5)]
        return [v for v in values if low * 0.999999 <= v <= high * 1.000001]
    if base == 2 and count < 2:
        return nice_ticks(low, high, min(about, 5))
    every = max(1, math.ceil(count / max(2, about)))
    anchor = 0 if start <= 0 <= end else start
    return [float(base) ** p for p in range(start, end + 1) if (p - anchor) % every == 0]


@dataclass(frozen=True)
class Scale:
    """Maps values to 0 .. 1 along one axis.

    On a log scale a value of exactly zero has a slot of its own at zero_at, left of the smallest positive
    value, and its own tick "0"; a negative value has no place there. On a rows scale the unit is the pixel.
    """

    kind: Kind = "linear"
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    zero_at: float = math.nan
    fixed: tuple[Tick, ...] | None = None

    @property
    def is_log(self) -> bool:
        """True for both log kinds."""
        return self.kind in ("log", "log2")

    def clean(self, values: object) -> np.ndarray:
        """Return values as floats that can be drawn: zero in its slot, what has no place NaN."""
        out = np.array(values, dtype=float, copy=True, ndmin=1)
        out[~np.isfinite(out)] = np.nan
        if self.is_log:
            with np.errstate(invalid="ignore"):
                out[out == 0] = self.zero_at
                out[out <= 0] = np.nan
        return out

    def clamp(self, values: object) -> np.ndarray:
        """Like clean, but what lies outside is moved to the edge; for whiskers and bands."""
        out = np.array(values, dtype=float, copy=True, ndmin=1)
        with np.errstate(invalid="ignore"):
            return np.clip(out, self.low, self.high)

    def fraction(self, values: object) -> np.ndarray:
        """Return the place of each value along the axis, 0 at low and 1 at high."""
        out = self.clean(values)
        if self.is_log:
            return (np.log(out) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (out - self.low) / (self.high - self.low)

    def ticks(self, about: int = 6) -> list[Tick]:
        """Return about so many (value, label) pairs."""
        if self.fixed is not None:
            return [tick for tick in self.fixed if self.low <= tick[0] <= self.high]
        binary = self.unit in _BINARY
        if not self.is_log:
            values = nice_ticks(self.low, self.high, about, 2 if binary else 10)
            return list(zip(values, format_ticks(values, self.unit), strict=True))
        base = 2 if binary or self.kind == "log2" else 10
        low = self.low if math.isnan(self.zero_at) else self.zero_at * 1.5
        values = log_ticks(low, self.high, about, base)
        if len(values) > 1 and values[-1] / values[0] < 4:
            labels = format_ticks(values, self.unit)
        else:
            word = self.unit if self.unit in KNOWN_UNITS else ""
            labels = [tick_text(value, word) for value in values]
        zero = [] if math.isnan(self.zero_at) else [(self.zero_at, "0")]
        return zero + list(zip(values, labels, strict=True))

    def minor(self) -> list[float]:
        """Return the places of the small ticks 2 .. 9 of a decimal log axis of a few decades."""
        if self.kind != "log" or self.unit in _BINARY or self.fixed is not None:
            return []
        low = self.low if math.isnan(self.zero_at) else self.zero_at * 1.5
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(self.high))
        if last - first > 9:
            return []
        places = [m * 10.0**p for p in range(first, last + 1) for m in range(2, 10)]
        return [place for place in places if low <= place <= self.high]


def finite(*values: object) -> np.ndarray:
    """Return all finite numbers of any arguments as one flat array."""
    flat = [np.asarray(value, dtype=float).ravel() for value in values]
    joined = np.concatenate(flat) if flat else np.zeros(0)
    return joined[np.isfinite(joined)]


def fit(
    kind: Kind,
    values: Iterable[object],
    extent: Iterable[object] = (),
    *,
    unit: str = "",
    include: Sequence[float] = (),
    pad: float = 0.04,
) -> Scale:
    """Return a scale that holds all values, and the extent (whiskers, bands) where it can be drawn.

    include adds values that shall be visible, such as 0 under bars; they are not padded beyond.
    """
    main, wide = finite(*values), finite(*extent, list(include))
    if kind in ("log", "log2"):
        has_zero = bool((main == 0).any())
        both = np.concatenate([main[main > 0], wide[wide > 0]])
        if both.size == 0:
            both = np.array([1.0, 10.0])
        first, last = math.log10(both.min()), math.log10(both.max())
        if last - first < 0.01:
            first, last = first - 0.3, last + 0.3
        room = (last - first) * pad
        zero = first - room - (last - first) * 0.09
        edge = zero - (last - first) * 0.04 if has_zero else first - room
        low, high = 10.0 ** max(edge, -300.0), 10.0 ** min(last + room, 300.0)
        return Scale(kind, low, high, unit, 10.0 ** max(zero, -299.0) if has_zero else math.nan)
    both = np.concatenate([main, wide])
    if both.size == 0:
        both = np.array([0.0, 1.0])
    low, high = float(both.min()), float(both.max())
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        half = abs(low) * 0.5 or 1.0
        low, high = low - half, high + half
    room = (high - low) * pad
    keep = set(include)
    return Scale(kind, low if low in keep else low - room, high if high in keep else high + room, unit)


def dropped_note(scale: Scale, *values: object, axis: str = "") -> list[str]:
    """Say in words how many values an axis cannot show, as a list of no or one sentence."""
    flat = [np.asarray(value, dtype=float).ravel() for value in values]
    joined = np.concatenate(flat) if flat else np.zeros(0)
    lost = int(np.isnan(scale.clean(joined)).sum()) if joined.size else 0
    if not lost:
        return []
    why = "not finite, or negative on a log axis" if scale.is_log else "not finite"
    which = f" on the {axis} axis" if axis else ""
    return [f"{lost:,} value{'s' if lost > 1 else ''}{which} not drawn ({why})."]


def thin(x: np.ndarray, y: np.ndarray, most: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return about so many points of a series: the lowest and highest of each stretch, and both ends."""
    count = len(x)
    if count <= most:
        return x, y
    keep = {0, count - 1}
    for part in np.array_split(np.arange(count), max(1, most // 2)):
        values = y[part]
        if np.isnan(values).all():
            keep.add(int(part[0]))
            continue
        keep.add(int(part[np.nanargmin(values)]))
        keep.add(int(part[np.nanargmax(values)]))
    index = np.array(sorted(keep))
    return x[index], y[index]
