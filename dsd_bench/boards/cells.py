"""Tables of markdown, and how numbers are written in them."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "–"
"""What stands where there is no number."""


def table(names: Sequence[str], align: str, body: Sequence[Sequence[str]]) -> list[str]:
    """Return a markdown table; ``align`` has ``l`` or ``r`` for each column."""
    rule = ["---" if side == "l" else "---:" for side in align]
    return [f"| {' | '.join(cells)} |" for cells in [names, rule, *body]]


def unbroken(text: str) -> str:
    """Return a text that stays on one line in a cell: with hard spaces and hyphens."""
    return text.replace(" ", "\u00a0").replace("-", "\u2011")


def percent(value: float) -> str:
    """Write a value in 0..1 in percent with two decimals."""
    return f"{100 * value + 0.0:.2f}"


def amount(value: float) -> str:
    """Write a large number with three digits at least, such as ``8.83 k``."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f}"
