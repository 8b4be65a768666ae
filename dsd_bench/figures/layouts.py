"""Grids of panels, tables as colours, and bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsd_bench.analysis import Spread
from dsd_bench.figures.style import Share, figure, look


@dataclass(frozen=True)
class Cell:
    """A panel of a grid.

    Attributes:
        axis: to draw on; its title is set.
        bottom: whether no panel is below it, so that it names the x axis.
        left: whether it begins its row, so that it names the y axis.
    """

    axis: Axes
    bottom: bool
    left: bool


@contextmanager
def grid(
    titles: Sequence[str],
    cols: int = 3,
    cell_mm: tuple[float, float] = (57.0, 45.0),
    *,
    sharex: Share = True,
    sharey: Share = True,
) -> Iterator[tuple[Figure, list[Cell]]]:
    """Make a grid of titled panels with shared axes, row by row; the last row may be short.

    ``with grid(names) as (fig, cells):`` then, for each cell, ``panel_curves(cell.axis, groups,
    xlabel=cell.bottom, ylabel=cell.left)``, and at the end ``legend(fig, lines)`` and ``save``.

    Args:
        titles: one for each panel.
        cols: panels side by side, fewer if there are fewer titles.
        cell_mm: width and height of one panel, its labels included.
        sharex: as for :func:`figure`.
        sharey: likewise.

    Yields:
        The figure and the panels in the order of ``titles``.
    """
    cols = max(1, min(cols, len(titles)))
    rows = max(1, math.ceil(len(titles) / cols))
    width, height = cell_mm[0] * cols, cell_mm[1] * rows
    with figure(width, height, rows, cols, sharex=sharex, sharey=sharey) as (fig, axes):
        flat = [axis for row in axes for axis in row]
        cells = []
        for place, (title, axis) in enumerate(zip(titles, flat)):
            cell = Cell(axis, place + cols >= len(titles), place % cols == 0)
            axis.set_title(title)
            axis.tick_params(labelbottom=cell.bottom or not sharex)
            cells.append(cell)
        for axis in flat[len(titles) :]:
            axis.remove()
        yield fig, cells


def heat(
    axis: Axes,
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    cols: Sequence[str],
    digits: int = 1,
) -> None:
    """Draw a table as colours with its numbers, light for low and dark for high values.

    Args:
        axis: the panel.
        values: ``values[row][col]``; None is left empty.
        rows: names of the rows, from the top.
        cols: names of the columns.
        digits: after the decimal point.
    """
    shown = numpy.array([[math.nan if v is None else v for v in row] for row in values], float)
    low, high = (
        (numpy.nanmin(shown), numpy.nanmax(shown)) if numpy.isfinite(shown).any() else (0, 1)
    )
    axis.imshow(shown, cmap="cividis_r", aspect="auto", vmin=low, vmax=high)
    axis.grid(False)
    axis.set_xticks(range(len(cols)), cols)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    for (row, col), value in numpy.ndenumerate(shown):
        if math.isfinite(value):
            dark = value - low > 0.5 * (high - low)
            word = f"{value:.{digits}f}"
            axis.text(
                col, row, word, ha="center", va="center", size=7, color="white" if dark else "black"
            )


def bars(axis: Axes, groups: Mapping[str, Spread | None], scale: float = 100.0) -> None:
    """Draw a horizontal bar for each label, from the top, with one standard deviation.

    Args:
        axis: the panel.
        groups: label -> mean and spread; None leaves the place empty.
        scale: what values are multiplied with.
    """
    for place, told in enumerate(groups.values()):
        if told:
            axis.barh(
                place, scale * told.mean, xerr=scale * told.std if told.std else None,
                color=look(0).colour, height=0.7, error_kw={"elinewidth": 0.8, "capsize": 2},
            )  # fmt: skip
    axis.set_yticks(range(len(groups)), list(groups))
    axis.set_ylim(len(groups) - 0.4, -0.6)
    axis.grid(axis="x")
    axis.grid(visible=False, axis="y")
    axis.tick_params(axis="y", length=0)
