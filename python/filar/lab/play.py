"""For readers who try things: one way of the C lab with other numbers, in a line, and with fields to type them into.

`measure()` compares what differs in a parameter by the lab's method: all in one plan, in shuffled rounds. `explore()`
is the same with controls below it where ipywidgets shows them, and without them nothing is missing but the controls.
Neither judges a claim: that is what experiments are for.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from filar.errors import DeadlineError, FilarError, InvalidArgumentError
from filar.lab.base import Budget, Way
from filar.lab.bench import Bench, find_way
from filar.lab.safety import restored
from filar.lab.table import ResultTable

__all__ = ["VARIANTS_MAX", "explore", "measure"]

# More would make rounds so long that what they compare no longer runs side by side.
VARIANTS_MAX = 24
SECONDS_MAX = 60.0
# A round that takes longer, with numbers that are too large, is cut short.
PATIENCE_S = 15.0
Choices = Mapping[str, int | Sequence[int]]


def measure(way: str, *, seconds: float = 0.5, **params: int | Sequence[int]) -> ResultTable:
    """Measures a way of the C lab (`lab.ways()` lists them) and blocks for `seconds`, plus what setting up takes.

    A parameter is a number, or several numbers to compare: `measure("kthread-create", stack_bytes=[65536, 8 << 20])`.
    Parameters with several numbers are combined. InvalidArgumentError says what is wrong with a number; any other
    FilarError why a variant cannot run here, or (DeadlineError) that not one round ended in 15 s and four times
    `seconds`. Ctrl-C ends it cleanly.
    """
    known = find_way(way).params
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise InvalidArgumentError(f"the way {way!r} has no parameter {', '.join(unknown)}; it has {', '.join(known)}")
    numbers = {name: _numbers(name, value) for name, value in params.items()}
    combined = [dict(zip(numbers, each, strict=True)) for each in itertools.product(*numbers.values())]
    if len(combined) > VARIANTS_MAX:
        raise InvalidArgumentError(f"{len(combined)} variants are too many to compare: {VARIANTS_MAX} at most")
    varied = [name for name, values in numbers.items() if len(values) > 1]
    return _measured(way, {_named(way, varied, one): one for one in combined}, seconds)


def explore(way: str, *, seconds: float = 0.5, **params: int | Sequence[int]) -> ResultTable:
    """`measure()`, and in a notebook with ipywidgets a field for each parameter that has several numbers.

    Its button measures the numbers in the fields beside the first ones. What is shown first, and all there is without
    ipywidgets, is `measure()` of the numbers given.
    """
    table = measure(way, seconds=seconds, **params)
    widgets = _widgets()
    if widgets is not None:
        from IPython.display import display

        display(_controls(widgets, way, seconds, params))
    return table


def _numbers(name: str, value: object) -> tuple[int, ...]:
    """One number, or several, each once."""
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not several:
        raise InvalidArgumentError(f"{name} has no number to measure")
    for one in several:
        if not isinstance(one, int) or isinstance(one, bool):
            raise InvalidArgumentError(f"{name} is to be a whole number or several, not {one!r}")
    return tuple(dict.fromkeys(several))


def _named(way: str, varied: Sequence[str], params: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {params[name]:,}" for name in varied) or way


def _measured(way: str, variants: Mapping[str, Mapping[str, int]], seconds: float) -> ResultTable:
    """All variants in one plan; an error if one could not run, since a table without it would compare nothing."""
    if not 0 < seconds <= SECONDS_MAX:
        raise InvalidArgumentError(f"seconds is to be above 0 and at most {SECONDS_MAX:g}, not {seconds!r}")
    bench = Bench(quick=True, budget=Budget(seconds=seconds, rounds_max=300, rounds_min=3))
    bench.deadline = time.monotonic() + PATIENCE_S + 4 * seconds
    with restored():
        outcome = bench.run([Way(variant, way, dict(params)) for variant, params in variants.items()])
    if outcome.failures:
        raise FilarError("; ".join(f"{variant}: {why}" for variant, why in outcome.failures.items()))
    rows = outcome.rows()
    if not len(rows):
        raise DeadlineError(f"a round of {way} takes longer than {PATIENCE_S + 4 * seconds:g} s with these numbers")
    return ResultTable(way, rows)


def _widgets() -> Any:
    """The module ipywidgets where a notebook can show what it makes, else None."""
    try:
        import ipywidgets
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return ipywidgets if shell is not None and hasattr(shell, "kernel") else None


def _controls(widgets: Any, way: str, seconds: float, params: Choices) -> Any:
    """Fields, a button, and the place for the answer."""
    numbers = {name: _numbers(name, value) for name, value in params.items()}
    first = {name: values[0] for name, values in numbers.items()}
    varied = [name for name, values in numbers.items() if len(values) > 1]
    fields = {name: widgets.IntText(value=numbers[name][-1], description=name) for name in varied}
    button = widgets.Button(description="Measure")
    answer = widgets.HTML()

    def clicked(_button: object) -> None:
        button.disabled, answer.value = True, "measuring …"
        try:
            chosen = {**first, **{name: int(field.value) for name, field in fields.items()}}
            pair = {_named(way, varied, one): one for one in (first, chosen)}
            answer.value = _measured(way, pair, seconds)._repr_html_()
        except FilarError as error:
            answer.value = f"<p>{escape(str(error))}</p>"
        finally:
            button.disabled = False

    button.on_click(clicked)
    return widgets.VBox([widgets.HBox([*fields.values(), button]), answer])
