"""How numbers are written in the terminal, in Unicode or plain ASCII."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from dsd_bench.errors import UsageError, plain


@dataclass(frozen=True)
class Glyphs:
    """The few characters beyond ASCII that texts use, and what stands for them."""

    plus_minus: str
    best: str
    dot: str


UNICODE = Glyphs("±", "★", " · ")
ASCII = Glyphs("+-", "*", ", ")


def glyphs(console: Console) -> Glyphs:
    """Return the characters that the console's encoding can write."""
    return ASCII if console.options.ascii_only else UNICODE


class PlainConsole(Console):
    """A console on which no text, wherever it comes from, can steer the screen or hide.

    Text is neither markup nor emoji codes; :func:`dsd_bench.errors.plain` is applied to all that
    is rendered, so that what a view forgot to make plain does no harm either.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(file=stream, highlight=False, markup=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of ``renderable``, their text made plain."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else plain(text, lines=True), style, control)

    def on_broken_pipe(self) -> None:
        """Raise what was caught, a ``BrokenPipeError``; rich itself would end the process."""
        raise  # noqa: PLE0704


def open_console(stream: TextIO) -> Console:
    """Return a console on ``stream`` that never fails on a character it cannot encode."""
    console = PlainConsole(stream)
    if console.options.ascii_only and isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return console


def percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction 0..1 as a percentage without its sign; ``-`` for None."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def mean_std(mean: float, std: float | None, signs: Glyphs) -> str:
    """Write mean and standard deviation of fractions 0..1 as percentages."""
    return percent(mean) + (f" {signs.plus_minus} {percent(std)}" if std is not None else "")


def compact(mean: float, std: float | None, signs: Glyphs) -> str:
    """Write what :func:`mean_std` writes without spaces, for columns of a table."""
    return mean_std(mean, std, signs).replace(" ", "")


def duration(seconds: float) -> str:
    """Write a time in its two largest units: ``21 s``, ``14 min 59 s``, ``1 h 2 min``, ``3 d 4 h``.

    Ten days and more are whole days.
    """
    whole = round(seconds)
    for unit, size, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size - part // 2:
            parts = round(whole / part)
            first, second = divmod(parts, size // part)
            if unit == "d" and first >= 10:
                return f"{round(whole / size)} days"
            return f"{first} {unit}" + (f" {second} {lower}" if second else "")
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds of the units that a time may be given in."""


def parse_duration(word: str, where: str) -> float:
    """Read a time such as ``90s``, ``30m``, ``1.5h`` or ``1d``, in seconds.

    Raises:
        UsageError: if it is none, or not above 0.
    """
    number, unit = word.strip()[:-1], word.strip()[-1:]
    try:
        seconds = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{where}: '{word}' is no time; write 90s, 30m, 2h or 1d")
    return seconds


def size_word(count: int) -> str:
    """Write a number of bytes: ``512 B``, ``1.5 kB``, ``340 kB``, ``2.0 GB`` (powers of 1000)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def plural(count: int, noun: str) -> str:
    """Write ``1 seed``, ``2 seeds``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
