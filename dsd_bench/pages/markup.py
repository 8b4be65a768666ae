"""HTML from values: text is escaped, and only what was built here is markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from dsd_bench.errors import plain

VOID = ("input", "meta", "br", "hr")


class Markup(str):
    """Text that is HTML already; made by this module alone."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]


def escaped(text: object) -> Markup:
    """Escape text of anybody: it shows as it is, and does nothing; what steers is spelled out."""
    return Markup(html.escape(plain(text, lines=True)))


def el(name: str, *children: Child, **attributes: object) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: text, which is escaped; elements; lists of these; None is left out.
        attributes: ``class_`` stands for ``class``, other underscores for hyphens; those that are
            None or False are left out, True is written without a value.
    """
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{join(children)}</{name}>")


def _attribute(key: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-").replace("viewBox".lower(), "viewBox")
    return f" {name}" if value is True else f' {name}="{escaped(value)}"'


def join(children: Iterable[Child]) -> Markup:
    """Return children one after the other."""
    return Markup("".join(map(_child, children)))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escaped(child)
    return join(child)


def data(identity: str, value: Any) -> Markup:
    """Return a block of JSON for the page's script; nothing in it can end the block."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{escaped(identity)}">{text}</script>')


def raw(name: str, text: str) -> Markup:
    """Return a ``style`` or ``script`` element of our own text.

    Raises:
        ValueError: if the text would end it.
    """
    if f"</{name}" in text.lower():
        raise ValueError(f"the text ends its <{name}>")
    return Markup(f"<{name}>{text}</{name}>")
