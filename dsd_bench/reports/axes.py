"""The plot area and its axes: log-density to the right, values upwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text

from dsd_bench.reports.canvas import Canvas

MUTED = Style(dim=True)
"""The style of axes and their labels."""


@dataclass(frozen=True)
class Frame:
    """The plot area: where values lie on the canvas, and the axes around it.

    Attributes:
        columns, rows: cells of the area; ``margin`` columns for the y labels come before it.
        left, right: ``-log10(x)`` at the edges.
        bottom, top: y at the edges.
        step: distance of the y ticks.
    """

    columns: int
    rows: int
    margin: int
    left: float
    right: float
    bottom: float
    top: float
    step: float

    @staticmethod
    def around(
        remaining: Sequence[float],
        values: Sequence[float],
        size: tuple[int, int],
        *,
        above: bool = False,
        below: bool = False,
    ) -> Frame:
        """Choose the frame that holds all points.

        Args:
            remaining: their x, fractions of the weights; 0 has no place and is ignored.
            values: all that must fit on the y axis.
            size: columns of frame and labels together, rows of the plot area.
            above: whether to leave room for a word over the highest point.
            below: whether to leave room for a word under the lowest.
        """
        width, height = size
        values = values or [0.0, 1.0]
        bottom, top, step = _y_range(min(values), max(values), max(2, height // 3))
        row = (top - bottom) / height
        bottom, top = bottom - 1.5 * row * below, top + 1.5 * row * above
        left, right = _x_range([x for x in remaining if x > 0] or [1.0])
        margin = max(len(_number(value, step)) for value in (bottom, top)) + 1
        return Frame(width - margin - 1, height, margin, left, right, bottom, top, step)

    def column(self, x: float) -> int | None:
        """Return the dot column of a remaining fraction ``x``; None if it has none."""
        if x <= 0:
            return None
        share = (-math.log10(x) - self.left) / (self.right - self.left)
        return round(share * (2 * self.columns - 1))

    def row(self, y: float) -> int:
        """Return the dot row of a value."""
        share = (self.top - y) / (self.top - self.bottom)
        return round(share * (4 * self.rows - 1))

    def decorate(self, canvas: Canvas, ascii_only: bool) -> list[Text]:
        """Return the canvas with its axes and their labels."""
        bar, tick, corner, floor, under = "|+++-" if ascii_only else "│┤└┴─"
        labels = self._y_labels()
        lines = []
        for row, content in enumerate(canvas.render(ascii_only)):
            label = labels.get(row, "").rjust(self.margin - 1)
            side = tick if row in labels else bar
            lines.append(Text.assemble((f"{label} {side}", MUTED), content, no_wrap=True))
        ticks = self._x_labels()
        marked = {column for column, _ in ticks}
        axis = "".join(floor if column in marked else under for column in range(self.columns))
        lines.append(Text(" " * self.margin + corner + axis, style=MUTED, no_wrap=True))
        return [*lines, self._x_line(ticks)]

    def _y_labels(self) -> dict[int, str]:
        first = math.ceil(self.bottom / self.step - 1e-9)
        last = math.floor(self.top / self.step + 1e-9)
        values = [index * self.step for index in range(first, last + 1)]
        return {self.row(value) // 4: _number(value, self.step) for value in values}

    def _x_labels(self) -> list[tuple[int, str]]:
        """Return cell and text of the ticks 100, 50, 20, 10, ... that find room."""
        found: list[tuple[int, str]] = []
        free = -1
        for exponent in range(2, -7, -1):
            for digit in (5, 2, 1):
                percent = digit * 10.0**exponent
                dot, text = self.column(percent / 100), f"{percent:g}"
                if dot is None or not 0 <= dot < 2 * self.columns:
                    continue
                if dot // 2 - len(text) // 2 >= free:
                    found.append((dot // 2, text))
                    free = dot // 2 + len(text) + 1
        return found

    def _x_line(self, ticks: Sequence[tuple[int, str]]) -> Text:
        line = [" "] * (self.margin + 1 + self.columns)
        for column, text in ticks:
            start = min(max(self.margin + 1 + column - len(text) // 2, 0), len(line) - len(text))
            line[start : start + len(text)] = text
        return Text("".join(line), style=MUTED, no_wrap=True)


def _x_range(remaining: Sequence[float]) -> tuple[float, float]:
    """Return the edges of the x axis; it ends at a tick where one is near."""
    left, right = -math.log10(max(remaining)), -math.log10(min(remaining))
    span = max(right - left, 0.3)
    ticks = (decade - math.log10(digit) for decade in range(8) for digit in (5, 2, 1))
    near = [tick for tick in ticks if right < tick <= left + span * 1.05]
    return left, min(near, default=left + span)


def _y_range(low: float, high: float, ticks: int) -> tuple[float, float, float]:
    """Return a range with a little air, and a step of 1, 2 or 5 x 10^n for about ``ticks``."""
    if high - low < 1e-9:
        pad = max(abs(high) * 0.05, 1e-3)
        low, high = low - pad, high + pad
    rough = (high - low) / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [factor * power for factor in (0.2, 0.5, 1, 2, 5, 10)]
    first = next(place for place, step in enumerate(steps) if step >= rough * 0.7)
    air = 0.03 * (high - low)
    low, high = low - air, high + air
    shown = (step for step in reversed(steps[: first + 1]) if _ticks(low, high, step) > 1)
    return low, high, next(shown, steps[0])


def _ticks(low: float, high: float, step: float) -> int:
    """Count the multiples of ``step`` from ``low`` to ``high``."""
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def _number(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{digits}f}"
