"""Curves over the log-density axis, as a rich renderable that fits the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from dsd_bench.reports.axes import MUTED, Frame
from dsd_bench.reports.canvas import Canvas

COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#999999", "#f0e442")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

MARKS = "●◆▲■○◇△□"
ASCII_MARKS = "ox+*#@%&"
_FAINT = 0.55
_X_LABEL = "remaining weights, %"


@dataclass(frozen=True)
class Series:
    """One curve: ``y`` (None: a gap) over ``x``, the remaining weights as a fraction 0..1.

    ``low`` and ``high``, if given, are the edges of its spread band. Points whose ``x`` is 0
    have no place on a logarithmic axis and are left out.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()

    def values(self) -> Iterator[float]:
        """Yield everything that must fit on the y axis."""
        for values in (self.y, self.low, self.high):
            yield from (value for value in values if value is not None)


@dataclass(frozen=True)
class Annotation:
    """A word beside a point of the plot, below or above it."""

    x: float
    y: float
    text: str
    below: bool = False


@dataclass
class Plot:
    """A line plot; colours and marks distinguish the series, so that either is enough.

    Attributes:
        title: what the y axis shows, with its unit.
        series: the curves; the first is drawn on top.
        height: rows of the plot area.
        annotations: words at points.
        legend: whether to name the series below.
    """

    title: str
    series: Sequence[Series]
    height: int = 14
    annotations: Sequence[Annotation] = ()
    legend: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.lines(options.max_width, ascii_only=options.ascii_only)

    def lines(self, width: int, ascii_only: bool = False) -> list[Text]:
        """Return the whole plot, ``width`` columns wide (at least 24)."""
        width = max(width, 24)
        frame = self._frame(width)
        canvas = Canvas(frame.columns, frame.rows)
        marks = marks_for(ascii_only)
        numbered = list(enumerate(self.series))
        for place, series in reversed(numbered):
            _draw_band(canvas, frame, series, series_style(place, _FAINT))
        for place, series in numbered:
            _draw_line(canvas, frame, series, series_style(place))
        for place, series in reversed(numbered):
            _draw_marks(canvas, frame, series, (marks[place % len(marks)], series_style(place)))
        for note in self.annotations:
            _annotate(canvas, frame, note)
        title = Text(self.title, style="bold", no_wrap=True, overflow="ellipsis")
        return [title, *frame.decorate(canvas, ascii_only), *self._legend(width, marks)]

    def _frame(self, width: int) -> Frame:
        return Frame.around(
            [x for series in self.series for x in series.x],
            [value for series in self.series for value in series.values()],
            (width, self.height),
            above=any(not note.below for note in self.annotations),
            below=any(note.below for note in self.annotations),
        )

    def _legend(self, width: int, marks: str) -> list[Text]:
        """Return the names of the series and, at the right end, of the x axis."""
        lines = [Text(no_wrap=True, overflow="ellipsis")]
        for place, series in enumerate(self.series if self.legend else []):
            entry = Text(f"{marks[place % len(marks)]} {series.label}", style=series_style(place))
            if lines[-1].cell_len and lines[-1].cell_len + 3 + entry.cell_len > width:
                lines.append(Text(no_wrap=True, overflow="ellipsis"))
            lines[-1].append("   " if lines[-1].cell_len else " ").append_text(entry)
        if lines[-1].cell_len + 2 + len(_X_LABEL) > width:
            lines.append(Text(no_wrap=True))
        room = width - lines[-1].cell_len - len(_X_LABEL)
        lines[-1].append(" " * room).append(_X_LABEL, MUTED)
        return lines


def marks_for(ascii_only: bool) -> str:
    """Return the marks of the series, one character each."""
    return ASCII_MARKS if ascii_only else MARKS


def series_style(place: int, strength: float = 1.0) -> Style:
    """Return the style of the series at ``place``; ``strength`` below 1 greys it, for bands."""
    colour = COLOURS[place % len(COLOURS)]
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    mixed = [round(part * strength + 0x70 * (1.0 - strength)) for part in parts]
    return Style(color=f"rgb({mixed[0]},{mixed[1]},{mixed[2]})")


def _dots(frame: Frame, series: Series) -> list[tuple[int, int] | None]:
    """Return the dot of each point; None for gaps."""
    found: list[tuple[int, int] | None] = []
    for x, y in zip(series.x, series.y):
        column = frame.column(x)
        found.append(None if column is None or y is None else (column, frame.row(y)))
    return found


def _draw_line(canvas: Canvas, frame: Frame, series: Series, style: Style) -> None:
    dots = _dots(frame, series)
    for start, end in zip(dots, [*dots[1:], None]):
        if start:
            canvas.line(start, end or start, style)


def _draw_marks(canvas: Canvas, frame: Frame, series: Series, mark: tuple[str, Style]) -> None:
    """Mark the points; where they lie closer than two cells, only every few of them."""
    known = [dot for dot in _dots(frame, series) if dot]
    span = (known[-1][0] - known[0][0]) / 2 if known else 0
    every = max(1, math.ceil(2 * (len(known) - 1) / span)) if span else 1
    for column, row in known[::every]:
        canvas.write(column // 2, row // 4, *mark)


def _draw_band(canvas: Canvas, frame: Frame, series: Series, style: Style) -> None:
    edges = zip(series.x, series.low, series.high)
    known = [
        (column, low, high)
        for x, low, high in edges
        if (column := frame.column(x)) is not None and low is not None and high is not None
    ]
    for (start, low0, high0), (end, low1, high1) in pairwise(known):
        for column in range(start, end + 1):
            share = (column - start) / max(end - start, 1)
            top, bottom = high0 + (high1 - high0) * share, low0 + (low1 - low0) * share
            canvas.shade(column, frame.row(top), frame.row(bottom), style)


def _annotate(canvas: Canvas, frame: Frame, note: Annotation) -> None:
    """Write the word at the nearest free place on its side of the point, centred."""
    column = frame.column(note.x)
    if column is None:
        return
    start = min(max(column // 2 - len(note.text) // 2, 0), canvas.columns - len(note.text))
    row, step = frame.row(note.y) // 4, 1 if note.below else -1
    for distance in (1, 2, 3):
        if canvas.is_free(start, row + step * distance, len(note.text)):
            canvas.write(start, row + step * distance, note.text, Style(bold=True))
            return
