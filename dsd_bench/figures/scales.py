"""What figures have on their x axis: sparsity, weights left, rounds, or epochs trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from dsd_bench.analysis import Point
from dsd_bench.errors import UsageError, suggest

_DECADES = range(0, -8, -1)
_WORDS = {"sparsity": "sparsity, %", "weights": "weights left", "round": "round (prunings)"}
_STEPS = ((1, 5, 2), (1, 5), (1,))
"""Ticks of a decade of density, most first; the first that has room is taken."""


@dataclass(frozen=True)
class Epochs:
    """An x axis that counts the epochs trained up to a round; the teacher's are not counted.

    Attributes:
        dense: epochs of the dense training.
        retrain: of each further round.
    """

    dense: int
    retrain: int


Scale = str | Epochs
"""``"sparsity"``, ``"weights"``, ``"round"`` or :class:`Epochs`."""


def positions(points: Sequence[Point], x: Scale = "sparsity") -> list[float]:
    """Return where the points of a mean curve lie on an axis that :func:`scale_x` made.

    On the sparsity axis the position is the *density*, 1 - sparsity, and on that of weights their
    number; a net without any weight left has no place there and gives NaN, which is not drawn.

    Raises:
        UsageError: for an unknown scale.
    """
    if isinstance(x, Epochs):
        return [x.dense + x.retrain * point.round for point in points]
    if x == "sparsity":
        return [density(point.sparsity) for point in points]
    if x == "weights":
        return [point.weights or float("nan") for point in points]
    if x == "round":
        return [float(point.round) for point in points]
    raise UsageError(f"no x axis '{x}'{suggest(x, tuple(_WORDS))}, or give Epochs")


def density(sparsity: float) -> float:
    """Return the position of a sparsity on the sparsity axis: 1 - sparsity, NaN for 0 weights."""
    return 1.0 - sparsity if sparsity < 1.0 else float("nan")


def scale_x(axis: Axes, x: Scale = "sparsity", label: bool = True) -> None:
    """Prepare the x axis of a panel; call it once its curves are drawn, since it sets the range.

    The sparsity axis is logarithmic in the density: the dense net at the left, and every halving
    of the weights equally far to the right; its ticks say the sparsity in %. The axis of weights is
    the same for networks of several sizes: many weights at the left, few at the right.

    Args:
        axis: the panel.
        x: the scale.
        label: whether to name the quantity.
    """
    if x == "sparsity":
        _sparsity(axis)
    elif x == "weights":
        _weights(axis)
    else:
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if label:
        axis.set_xlabel("epochs trained" if isinstance(x, Epochs) else _WORDS[x])


def _places(axis: Axes) -> list[float]:
    """Return where the points of the lines that are drawn lie, those that have a place."""
    found = [numpy.asarray(line.get_xdata(), float) for line in axis.get_lines()]
    return [float(value) for values in found for value in values if value > 0]


def _weights(axis: Axes) -> None:
    known = _places(axis) or [1.0]
    axis.set_xscale("log")
    axis.set_xlim(1.09 * max(known), min(known) / 1.09)
    decades = max(known) / min(known) > 200
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))


def _sparsity(axis: Axes) -> None:
    known = [value for value in _places(axis) if value <= 1]
    lowest = min(known, default=0.001)
    axis.set_xscale("log")
    axis.set_xlim(1.09, lowest / 1.09)
    axis.xaxis.set_major_locator(_Densities())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(_sparsity_word))


def _sparsity_word(position: float, _: int | None = None) -> str:
    """Write a density as the sparsity in %, without rounding 99.95 up to 100."""
    return f"{round(100.0 - 100.0 * position, 6):g}"


class _Densities(Locator):
    """Ticks at 100, 50, 20, 10, ... % of the weights, thinned out where they have no room."""

    def __call__(self) -> list[float]:
        assert self.axis is not None
        low, high = sorted(self.axis.get_view_interval())
        return self.tick_values(low, high)

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        room = self.axis.get_tick_space() if self.axis else 100
        for steps in _STEPS:
            every = [digit * 10.0**power for power in _DECADES for digit in steps]
            ticks = sorted(tick for tick in every if vmin <= tick <= min(vmax, 1.0))[::-1]
            if len(ticks) <= room:
                break
        return ticks
