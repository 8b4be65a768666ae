"""The phases of a curve behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from matplotlib.axes import Axes

from dsd_bench.analysis import Phase, Point
from dsd_bench.errors import UsageError
from dsd_bench.figures.scales import Scale, density, positions
from dsd_bench.figures.style import GREY

_TINTS = {"light": "#009e73", "critical": "#d55e00", "sweet": "#0072b2", "collapsed": "#000000"}
_NUMERALS = {"light": "I", "critical": "II", "sweet": "III", "collapsed": "IV"}
_SIZE = 7.0


def shade_phases(
    axis: Axes,
    phases: Sequence[Phase],
    x: Scale = "sparsity",
    curve: Sequence[Point] = (),
    names: bool = True,
) -> None:
    """Tint the phases, with a line between them; call it after the curves are drawn.

    Names stand above the panel's upper edge, as Roman numerals where a phase is too narrow.

    Args:
        axis: the panel.
        phases: of :func:`dsd_bench.analysis.phases`; without any nothing is drawn.
        x: the panel's scale.
        curve: the mean curve; needed for scales other than sparsity, to place a sparsity there.
        names: whether to write the names.

    Raises:
        UsageError: if the scale needs the curve and it is not given.
    """
    edges = _places([p.start for p in phases] + [p.end for p in phases[-1:]], x, curve)
    limits = axis.get_xlim()
    if edges:
        edges[0] = limits[0]
    if edges and phases[-1].name == "collapsed":
        edges[-1] = limits[1]
    for phase, start, end in zip(phases, edges, edges[1:]):
        axis.axvspan(start, end, color=_TINTS[phase.name], alpha=0.07, linewidth=0, zorder=0)
        if phase is not phases[0]:
            axis.axvline(start, color=GREY, linewidth=0.5, linestyle=(0, (2, 2)), zorder=0.5)
        if names:
            _name(axis, phase.name, start, end)
    axis.set_xlim(limits)


def _places(sparsities: Sequence[float], x: Scale, curve: Sequence[Point]) -> list[float]:
    if x == "sparsity":
        return [density(value) for value in sparsities]
    if not curve:
        raise UsageError(f"phases on the x axis '{x}' need the mean curve, to place a sparsity")
    known = [point for point in curve if point.sparsity < 1]
    logs = [-float(numpy.log(1 - point.sparsity)) for point in known]
    wanted = [-float(numpy.log(1 - value)) for value in sparsities]
    return [float(place) for place in numpy.interp(wanted, logs, positions(known, x))]


def _name(axis: Axes, name: str, start: float, end: float) -> None:
    """Write the name of a phase in the middle of its stretch, just above the panel."""
    to_axes = axis.transData + axis.transAxes.inverted()
    left, right = (float(to_axes.transform((place, 0.0))[0]) for place in (start, end))
    width = abs(right - left) * axis.bbox.width * 72 / axis.get_figure(root=True).dpi  # type: ignore[union-attr]
    text = f"{name} ({_NUMERALS[name]})"
    if width < 0.62 * _SIZE * len(text):
        text = _NUMERALS[name]
    axis.text(
        (left + right) / 2, 1.01, text,
        transform=axis.transAxes, ha="center", va="bottom", size=_SIZE, color=GREY,
    )  # fmt: skip
