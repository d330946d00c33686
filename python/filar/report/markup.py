"""HTML from Python calls: every text is escaped unless it is `Markup` already, so no caller can forget to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

__all__ = ["Markup", "join", "prose", "script_json", "tag"]

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta"})
# What HTML does not allow in text, and halves of surrogate pairs, which no encoding can write.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML; only `tag`, `join` and trusted constants make it."""

    __slots__ = ()


Content = str | int | float | None | Iterable["Content"]


def _escaped(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text))


def join(*content: Content) -> Markup:
    """All content behind one another: markup as it is, other text escaped, None left out, iterables flattened."""
    parts: list[str] = []
    for one in content:
        if one is None:
            continue
        if isinstance(one, Markup):
            parts.append(one)
        elif isinstance(one, (str, int, float)):
            parts.append(_escaped(str(one)))
        else:
            parts.append(join(*one))
    return Markup("".join(parts))


def tag(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """An element. `class_` is class, underscores become hyphens; True is a bare attribute, None and False are none."""
    head = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        head += f" {key.rstrip('_').replace('_', '-')}"
        if value is not True:
            head += f'="{_escaped(str(value))}"'
    if name in VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(*content)}</{name}>")


def prose(text: str) -> Markup:
    """A sentence; what stands between backticks is a name of code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return join(text)
    return join(tag("code", part) if i % 2 else part for i, part in enumerate(parts))


def script_json(text: str) -> Markup:
    """JSON text that may stand inside a script element: no sequence in it can end the element or open a comment."""
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(_FORBIDDEN.sub("\ufffd", safe))
