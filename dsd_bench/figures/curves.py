"""Mean curves with their spread, alone, stacked above each other, and with their phases."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dsd_bench.analysis import Point, mean_curve
from dsd_bench.analysis.sharing import shared_stretches
from dsd_bench.figures.scales import Scale, positions, scale_x
from dsd_bench.figures.sharing import draw_stretch
from dsd_bench.figures.style import Look, look
from dsd_bench.store.checkpoint import Row

Groups = Mapping[str, Sequence[Sequence[Row]]]
"""The curves of a panel: label -> for each seed its rows. The order gives the looks."""

Band = Literal["std", "range"]

_PERCENT = ("accuracy", "sparsity")
_CALIBRATION = re.compile(r"ece(?:\+[^.]*)?\.(train|val|test)_(ece|confidence)")
_NAMES = {
    "test_accuracy": "test accuracy, %",
    "val_accuracy": "validation accuracy, %",
    "train_accuracy": "train accuracy, %",
    "train_accuracy_clean": "train accuracy, clean labels, %",
    "train_accuracy_noisy": "fit of wrong labels, %",
    "train_loss": "train loss, nats",
    "test_loss": "test loss, nats",
    "val_loss": "validation loss, nats",
    "entropy": "entropy, bits",
}


def column_name(column: str) -> str:
    """Return how a column of a run's rows is named on an axis, with its unit where known."""
    if found := _CALIBRATION.fullmatch(column):
        part = {"val": "validation"}.get(found[1], found[1])
        return f"{part} {'ECE' if found[2] == 'ece' else 'confidence'}, %"
    return _NAMES.get(column, column.replace("_", " "))


def factor(column: str) -> float:
    """Return what a column is multiplied with to be drawn: 100 for fractions, else 1."""
    fraction = any(word in column for word in _PERCENT) or _CALIBRATION.fullmatch(column)
    return 100.0 if fraction else 1.0


def curves(
    axis: Axes,
    groups: Groups,
    column: str,
    x: Scale = "sparsity",
    band: Band | None = "std",
    looks: Sequence[Look] | None = None,
) -> list[Line2D]:
    """Draw the mean over seeds of a column for each group, with a band around it.

    Accuracies are drawn in %. A group in which nobody measured the column is left out (its
    look is not given to another); rounds that only some seeds reached are averaged over those
    and have hollow marks. Where curves coincide they are striped in all their colours.

    Args:
        axis: the panel.
        groups: label -> for each seed its rows.
        column: a scalar column of ``rounds.jsonl``.
        x: ``"sparsity"`` (logarithmic in the density), ``"weights"`` (the number left, likewise),
            ``"round"`` or ``Epochs(dense, retrain)``.
        band: ``"std"``: mean +- one sample standard deviation; ``"range"``: lowest to highest
            seed; None: no band. One seed has none.
        looks: of the groups; default: ``look(0)``, ``look(1)``, ...

    Returns:
        The lines, labelled, for a legend.
    """
    lines, scale = [], factor(column)
    drawn = looks or [look(place) for place in range(len(groups))]
    means = [mean_curve(seeds, column) for seeds in groups.values()]
    for label, points, chosen in zip(groups, means, drawn):
        if points:
            lines.append(_curve(axis, points, (label, chosen), scale, x, band))
    for stretch in shared_stretches(means):
        points = means[stretch.members[0]]
        places = {
            point.round: (at, scale * point.mean) for point, at in zip(points, positions(points, x))
        }
        draw_stretch(axis, stretch, places, drawn)
    scale_x(axis, x, label=False)
    return lines


def _curve(
    axis: Axes,
    points: Sequence[Point],
    named: tuple[str, Look],
    scale: float,
    x: Scale,
    band: Band | None,
) -> Line2D:
    label, chosen = named
    at = positions(points, x)
    edges = [_edges(point, band) for point in points]
    if any(low < high for low, high in edges):
        axis.fill_between(
            at,
            [scale * low for low, _ in edges],
            [scale * high for _, high in edges],
            color=chosen.colour,
            alpha=0.16,
            linewidth=0,
        )
    values = [scale * point.mean for point in points]
    (line,) = axis.plot(at, values, label=label, **chosen.line())
    fewer = [place for place, point in enumerate(points) if point.n < points[0].n]
    if fewer:  # a jump may only say who is left
        axis.plot(
            [at[place] for place in fewer], [values[place] for place in fewer],
            color=chosen.colour, marker=chosen.mark, markerfacecolor="white", linestyle="none",
        )  # fmt: skip
    return line


def _edges(point: Point, band: Band | None) -> tuple[float, float]:
    if band == "range":
        return point.low, point.high
    half = (point.std or 0.0) if band == "std" else 0.0
    return point.mean - half, point.mean + half


def panel_curves(
    axis: Axes,
    groups: Groups,
    column: str = "test_accuracy",
    x: Scale = "sparsity",
    band: Band | None = "std",
    *,
    title: str = "",
    xlabel: bool = True,
    ylabel: bool = True,
    looks: Sequence[Look] | None = None,
) -> list[Line2D]:
    """Draw a whole panel: :func:`curves` with title and named axes.

    Args:
        axis: the panel.
        groups: as for :func:`curves`.
        column: likewise.
        x: likewise.
        band: likewise.
        title: above the panel, at its left.
        xlabel: whether to name the x axis.
        ylabel: whether to name the y axis.
        looks: as for :func:`curves`.

    Returns:
        The lines, for :func:`legend`.
    """
    lines = curves(axis, groups, column, x, band, looks)
    scale_x(axis, x, label=xlabel)
    if ylabel:
        axis.set_ylabel(column_name(column))
    if title:
        axis.set_title(title)
    return lines


def stacked(
    axes: Sequence[Axes],
    groups: Groups,
    columns: Sequence[str] = ("test_accuracy", "train_loss", "entropy"),
    x: Scale = "sparsity",
    band: Band | None = "std",
    *,
    title: str = "",
    ylabel: bool = True,
) -> list[Line2D]:
    """Draw several columns above each other over one x axis, as the paper's Fig. 2 does.

    Make the axes with ``figure(..., rows=len(columns), sharex="col")`` and give one column of
    them: ``[row[0] for row in axes]``. Only the lowest panel names the x axis.

    Args:
        axes: one for each column, from the top.
        groups: as for :func:`curves`.
        columns: of ``rounds.jsonl``, from the top.
        x: as for :func:`curves`.
        band: likewise.
        title: above the highest panel.
        ylabel: whether to name the y axes.

    Returns:
        The lines of the highest panel, for :func:`legend`.
    """
    found = []
    for place, (axis, column) in enumerate(zip(axes, columns, strict=True)):
        last = place == len(columns) - 1
        drawn = panel_curves(
            axis, groups, column, x, band,
            title="" if place else title, xlabel=last, ylabel=ylabel,
        )  # fmt: skip
        axis.tick_params(labelbottom=last)
        found.append(drawn)
    return max(found, key=len)


def legend(
    target: Figure | Axes,
    lines: Sequence[Artist],
    columns: int | None = None,
    title: str = "",
) -> None:
    """Name the lines once: below the panels of a figure, or at the best place in one panel.

    Args:
        target: the figure, or one panel.
        lines: labelled; of equal labels the first counts.
        columns: entries side by side, below a figure fewer if it is too narrow; default: four
            below a figure, one within a panel. What is too wide by itself is broken.
        title: above the entries.
    """
    entries = {str(line.get_label()): line for line in reversed(lines)}
    ordered = dict(reversed(entries.items()))
    handles, names = list(ordered.values()), list(ordered)
    if isinstance(target, Axes):
        target.legend(handles, names, loc="best", ncols=columns or 1, title=title)
        return
    most = columns or min(4, max(1, len(names)))
    choices = [(ncols, names) for ncols in range(most, 0, -1)]
    choices += [(1, [_broken(name, width) for name in names]) for width in range(90, 10, -10)]
    for place, (ncols, told) in enumerate(choices):
        made = target.legend(handles, told, loc="outside lower center", ncols=ncols, title=title)
        if place + 1 == len(choices) or made.get_window_extent().width <= target.bbox.width:
            break
        made.remove()


def _broken(name: str, width: int) -> str:
    """Break a name into lines of at most ``width`` characters, after a comma where it has one."""
    return "\n".join(textwrap.wrap(re.sub(r",(?=\S)", ", ", name), width))
