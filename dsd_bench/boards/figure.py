"""The figure of a board: accuracy against remaining weights, as an SVG that needs no library.

It has its own background, so that it can be read on light and dark pages, whatever the reader's
system prefers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd_bench.boards.pareto import remaining
from dsd_bench.boards.ranking import Line, Ranking
from dsd_bench.boards.words import escape

if TYPE_CHECKING:
    from numpy import ndarray

NAME = "pareto.svg"
WIDTH, HEIGHT = 560, 430
"""Narrow: what is drawn for a wide page cannot be read on a phone, which shows it at 375 pixels."""

LEFT, RIGHT, TOP, BOTTOM = 50, 18, 64, 374
LONGEST = 40
"""Characters of a method's name beside its point."""

CHARACTER = 6.7
"""About how wide one is."""

TICKS = (100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
"""Remaining weights in % that may have a tick."""

STYLE = """
:root{--bg:#fff;--fg:#1a1a1a;--dim:#595959;--rule:#dcdcdc;--front:#0072b2}
@media (prefers-color-scheme:dark){
:root{--bg:#0d1117;--fg:#e8e8e8;--dim:#a9afb5;--rule:#3a4046;--front:#5ab4f0}}
.bg{fill:var(--bg)}
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--dim)}
.name{fill:var(--fg);paint-order:stroke;stroke:var(--bg);stroke-width:3px}
.title{font-weight:600;fill:var(--fg)}.x{text-anchor:middle}.y{text-anchor:end}
.rule{stroke:var(--rule)}.axis{stroke:var(--dim)}.bar{stroke:var(--dim);stroke-opacity:.45}
.yes .bar{stroke:var(--front);stroke-opacity:.7;stroke-width:1.5}
.dot{fill:var(--bg);stroke:var(--dim);stroke-width:1.4}
.yes .dot,.perhaps .dot{stroke:var(--front)}
.yes .dot{fill:var(--front)}
.cross{fill:none;stroke:var(--dim);stroke-width:1.4}
"""


ORDER = (None, "no", "perhaps", "yes")
"""What is drawn above what: :attr:`Line.front`."""


@dataclass(frozen=True)
class Dot:
    """A method: accuracy in % and remaining weights in 0..1, each mean, low and high."""

    line: Line
    accuracy: tuple[float, float, float]
    weights: tuple[float, float, float]


@dataclass(frozen=True)
class Axes:
    """Where values are: ``fewest`` weights at the right, accuracies from ``low`` to ``high``."""

    fewest: float
    low: float
    high: float

    def x(self, weights: float) -> float:
        """Return the place of a share of remaining weights: logarithmic, all at the left."""
        share = math.log(max(weights, self.fewest)) / math.log(self.fewest)
        return LEFT + (WIDTH - LEFT - RIGHT) * share

    def y(self, accuracy: float) -> float:
        """Return the place of an accuracy in %."""
        share = (accuracy - self.low) / (self.high - self.low)
        return BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), 1.0)


def figure(ranking: Ranking) -> str:
    """Return the figure's text: the same rows give the same bytes."""
    dots = [_dot(line) for line in ranking.lines]
    axes = _axes(dots)
    shown = sorted(dots, key=lambda dot: ORDER.index(dot.line.front))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{escape(words(ranking))}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="bg" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT - 34}" y="22">test accuracy of the selected model, %</text>',
        *_scales(axes),
        *(_mark(dot, axes) for dot in shown),
        *_names([dot for dot in dots if dot.line.front == "yes"], dots, axes),
        *_legend(),
        "</svg>",
        "",
    ]
    return "\n".join(parts)


def words(ranking: Ranking) -> str:
    """Say what the figure shows (not escaped)."""
    front = [line for line in ranking.lines if line.front == "yes"]
    lead = "Test accuracy of the selected models against the weights that remain."
    if not front:
        return f"{lead} Too few seeds to say which methods are on the front."
    told = [
        f"{line.label} ({100 * line.summary.accuracy.mean:.1f} % with "
        f"{100 * remaining(_sparsities(line))[0]:.1f} % of the weights)"
        for line in front
    ]
    return f"{lead} Pareto front: {'; '.join(told)}."


def _sparsities(line: Line) -> list[float]:
    return [entry.rounds.sparsity[entry.best_round] for entry in line.row.seeds]


def _dot(line: Line) -> Dot:
    told = line.summary
    mean = 100 * told.accuracy.mean
    low, high = (100 * one for one in told.interval) if told.interval else (mean, mean)
    return Dot(line, (mean, low, high), remaining(_sparsities(line)))


def _axes(dots: Sequence[Dot]) -> Axes:
    fewest = min([0.5, *(dot.weights[0] for dot in dots)])
    values = [dot.accuracy[0] for dot in dots]
    room = 0.08 * (max(values) - min(values)) or 1.0
    return Axes(fewest / 1.6, max(min(values) - room, 0.0), min(max(values) + room, 100.0))


def _scales(axes: Axes) -> list[str]:
    span = axes.high - axes.low
    step = next(size for size in (0.5, 1, 2, 5, 10, 20, 50) if span / size <= 8)
    first = math.ceil(axes.low / step)
    parts = []
    for tick in (step * at for at in range(first, math.floor(axes.high / step) + 1)):
        y = axes.y(tick)
        parts.append(_line("rule", LEFT, y, WIDTH - RIGHT, y))
        parts.append(f'<text class="y" x="{LEFT - 8}" y="{y + 4:.1f}">{tick:g}</text>')
    parts.append(_line("axis", LEFT, BOTTOM, WIDTH - RIGHT, BOTTOM))
    for weights in TICKS:
        if weights / 100 >= axes.fewest:
            x = axes.x(weights / 100)
            parts.append(_line("axis", x, BOTTOM, x, BOTTOM + 5))
            parts.append(f'<text class="x" x="{x:.1f}" y="{BOTTOM + 20}">{weights:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="x title" x="{middle:.1f}" y="{BOTTOM + 42}">remaining weights, %</text>'
    )
    return parts


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _mark(dot: Dot, axes: Axes) -> str:
    """Draw a method with the intervals of both of its means."""
    x, y = axes.x(dot.weights[0]), axes.y(dot.accuracy[0])
    bars = _line("bar", x, axes.y(dot.accuracy[1]), x, axes.y(dot.accuracy[2]))
    bars += _line("bar", axes.x(dot.weights[2]), y, axes.x(dot.weights[1]), y)
    if dot.line.place is None:
        path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0-8l-8 8"
        return f'<g>{bars}<path class="cross" d="{path}"/></g>'
    size = 5 if dot.line.front == "yes" else 4
    circle = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    return f'<g class="{dot.line.front}">{bars}{circle}</g>'


def _names(front: Sequence[Dot], dots: Sequence[Dot], axes: Axes) -> list[str]:
    """Write the names of the front's methods where they cover as little as possible."""
    import numpy

    places = [(axes.x(dot.weights[0]), axes.y(dot.accuracy[0])) for dot in dots]
    taken = numpy.array([_tenths(x - 5, y - 5, 10, 10) for x, y in places])
    parts = []
    for dot in front:
        label = dot.line.label
        text = label if len(label) <= LONGEST else f"{label[: LONGEST - 3]}..."
        x, y = axes.x(dot.weights[0]), axes.y(dot.accuracy[0])
        box = _free(x, y, CHARACTER * len(text), taken)
        taken = numpy.vstack([taken, box])
        parts.append(
            f'<text class="name" x="{box[0] / 10:.1f}" y="{box[1] / 10 + 11:.1f}">'
            f"{escape(text)}</text>"
        )
    return parts


Box = tuple[int, int, int, int]
"""Left, top, width and height in tenths of a pixel: sums of whole numbers are the same anywhere."""


def _tenths(*values: float) -> Box:
    left, top, width, height = (round(10 * value) for value in values)
    return left, top, width, height


def _free(x: float, y: float, width: float, taken: ndarray) -> Box:
    """Return the place beside a point, within the figure, that covers the least.

    Args:
        x: of the point.
        y: of the point.
        width: of the name.
        taken: what there is already: (n, 4) boxes.
    """
    import numpy

    sides = [
        _tenths(x + dx - (width if left else 0), y + dy, width, 14)
        for dy in (-18, 4, -32, 18, -7, -46, 32)
        for dx, left in ((8, False), (-8, True))
    ]
    edges = 10 * LEFT, 10 * (WIDTH - 4)
    inside = [box for box in sides if edges[0] <= box[0] and box[0] + box[2] <= edges[1]]
    boxes = numpy.array(inside or sides[:1])[:, None]
    begin = numpy.maximum(boxes[..., :2], taken[:, :2])
    end = numpy.minimum(boxes[..., :2] + boxes[..., 2:], taken[:, :2] + taken[:, 2:])
    covered = numpy.maximum(end - begin, 0).prod(axis=-1).sum(axis=-1)
    return (inside or sides)[int(covered.argmin())]


def _legend() -> list[str]:
    x, y = LEFT, 44
    entries = (
        ("yes", 0, "on the Pareto front"),
        ("perhaps", 134, "perhaps"),
        ("no", 206, "dominated"),
    )
    parts = [
        f'<g class="{kind}"><circle class="dot" cx="{x + at}" cy="{y}" r="4.5"/></g>'
        f'<text x="{x + at + 10}" y="{y + 4}">{told}</text>'
        for kind, at, told in entries
    ]
    return [
        *parts,
        f'<path class="cross" d="M{x + 290} {y - 4}l8 8m0-8l-8 8"/>',
        f'<text x="{x + 304}" y="{y + 4}">not ranked</text>',
    ]
