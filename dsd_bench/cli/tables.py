"""Plain tables of the commands that print figures; nothing in them is ever cut off."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from dsd_bench.analysis import Spread
from dsd_bench.reports.words import Glyphs, compact


def plain_table(*titles: str, left: int = 1) -> Table:
    """Return an empty table without lines; its first ``left`` columns are aligned to the left."""
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for place, title in enumerate(titles):
        table.add_column(title, justify="left" if place < left else "right", no_wrap=True)
    return table


def print_whole(console: Console, table: Table) -> None:
    """Print ``table`` at the width it needs, also where the terminal or a pipe is narrower."""
    width = console.width
    wide = console.options.update(width=10_000)
    console.width = max(width, console.measure(table, options=wide).maximum)
    try:
        console.print(table, crop=False)
    finally:
        console.width = width


def share_word(value: Spread | None, signs: Glyphs) -> str:
    """Write a share with its spread in %, ``-`` where it is unknown."""
    return "-" if value is None else compact(value.mean, value.std, signs)


def rounds_word(value: Spread, signs: Glyphs) -> str:
    """Write a mean of numbers of rounds with its spread."""
    whole = value.mean.is_integer() and not value.std
    mean = f"{value.mean:.0f}" if whole else f"{value.mean:.1f}"
    return mean + (f"{signs.plus_minus}{value.std:.1f}" if value.std is not None else "")
