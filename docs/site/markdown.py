"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """Return a text as a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|") or "-"


def prose(text: str) -> str:
    """Return help of the command line as Markdown: what is no code is shown as it is."""
    return re.sub(r"([*_<>$\[\]])", r"\\\1", text) if "`" not in text else text


def code(text: str) -> str:
    """Return a text as code within a line."""
    return f"`{text}`" if text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; empty cells are dashes."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines) + "\n"


def toctree(entries: Iterable[str], caption: str = "", hidden: bool = True) -> str:
    """Return a table of contents of other pages, given without ``.md``."""
    options = [":hidden:"] if hidden else [":maxdepth: 1"]
    if caption:
        options.append(f":caption: {caption}")
    return "\n".join(["```{toctree}", *options, "", *entries, "```", ""])
