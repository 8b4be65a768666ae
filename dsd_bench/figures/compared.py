"""A paper's figure of some methods: a panel for each setting, and all that its marks mean."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D

from dsd_bench.analysis import mean_curve
from dsd_bench.analysis.events import Event, Kind, marked, rings
from dsd_bench.analysis.sharing import shared_stretches
from dsd_bench.figures.curves import Band, column_name, curves, factor, legend
from dsd_bench.figures.scales import density, scale_x
from dsd_bench.figures.style import GREY, Look, Style, figure, look, save
from dsd_bench.store.checkpoint import Row

WIDTHS = {1: 84.0, 2: 174.0}
"""Millimetres of one and of two columns of a paper."""

SLIDE = (250.0, 105.0)
"""Width of a slide's figure and height of its panels, in millimetres."""

MARKED: Mapping[Kind, tuple[str, str, float]] = {
    "selected": ("*", "selected model, mean over seeds", 2.6),
    "gate": ("|", "gate opens for a seed", 2.8),
    "stopped": ("x", "stop rule ends a seed", 1.8),
}
"""Of each event its mark, its words, and the mark's size beside a point's."""

BANDS: Mapping[Band | None, str] = {
    "std": "band: ± 1 standard deviation over seeds",
    "range": "band: lowest to highest seed",
    None: "mean over seeds",
}


@dataclass(frozen=True)
class Drawn:
    """One method of a panel.

    Attributes:
        label: its name.
        seeds: for each seed its rows.
        events: what happened to them.
    """

    label: str
    seeds: Sequence[Sequence[Row]]
    events: Sequence[Event] = ()


@dataclass(frozen=True)
class Options:
    """How :func:`draw_compared` draws.

    Attributes:
        rows: columns of ``rounds.jsonl``, one a row of panels.
        x: ``sparsity`` (logarithmic in the density) or ``round``.
        band: ``std``, ``range`` or None.
        columns: of a paper, which the figure fills: 1 or 2.
        style: of everything in it; ``slides`` has a size of its own.
        title: above everything; empty: none.
        note: what is said beside the band: seeds, selection.
    """

    rows: Sequence[str] = ("test_accuracy",)
    x: str = "sparsity"
    band: Band | None = "std"
    columns: int = 1
    style: Style = "paper"
    title: str = ""
    note: str = ""


@dataclass
class Kept:
    """The lines that are named once for the whole figure, which marks were drawn, and whether any
    method has several seeds.
    """

    lines: dict[str, Line2D] = field(default_factory=dict)
    kinds: set[Kind] = field(default_factory=set)
    several: bool = False
    fewer: bool = False
    striped: bool = False


def draw_compared(panels: Mapping[str, Sequence[Drawn]], path: Path, options: Options) -> None:
    """Draw methods by setting.

    A method has the same look in every panel. The legend names everything that is drawn.

    Args:
        panels: what is said of a setting (data, noise, model) -> its methods.
        path: ``.svg``, ``.pdf`` or ``.png``.
        options: how.

    Raises:
        UsageError: see :func:`dsd_bench.figures.save`.
    """
    names = dict.fromkeys(one.label for drawn in panels.values() for one in drawn)
    looks = {name: look(place, options.style) for place, name in enumerate(names)}
    count, wide = len(panels), options.style == "slides"
    width = SLIDE[0] if wide else WIDTHS[options.columns]
    each = SLIDE[1] if wide else 34.0 if len(options.rows) > 1 else 52.0
    height = each * len(options.rows)
    kept = Kept()
    with figure(
        width, height, len(options.rows), count,
        sharex="col", sharey="row", style=options.style,
    ) as (fig, axes):  # fmt: skip
        for row, column in zip(axes, options.rows):
            for axis, drawn in zip(row, panels.values()):
                panel(axis, drawn, column, looks, options, kept)
            row[0].set_ylabel(column_name(column))
        shared, own = apart(list(panels))
        _name_axes(axes, own if count > 1 else [], options.x, fig.get_figwidth() / count)
        words = "; ".join(filter(None, [shared, options.note]))
        finish(fig, kept, words, options)
        save(fig, path)


def panel(
    axis: Axes, drawn: Sequence[Drawn], column: str, looks: Mapping[str, Look],
    options: Options, kept: Kept,
) -> None:  # fmt: skip
    """Draw methods and their events into a panel; ``kept`` remembers what the legend must name."""
    groups = {one.label: one.seeds for one in drawn}
    own = [looks[one.label] for one in drawn]
    for line in curves(axis, groups, column, options.x, options.band, own):
        kept.lines.setdefault(str(line.get_label()), line)
    means = [mean_curve(one.seeds, column) for one in drawn]
    kept.striped |= bool(shared_stretches(means))
    kept.fewer |= any(points and points[-1].n < points[0].n for points in means)
    kept.several |= any(len(one.seeds) > 1 for one in drawn)
    events = [
        (kind, (_position(at, options.x), factor(column) * y), chosen.colour)
        for one, chosen in zip(drawn, own)
        for kind in MARKED
        for at, y in marked(one.seeds, one.events, kind, column, options.x)
    ]
    for (kind, place, colour), ring in zip(events, rings([event[:2] for event in events])):
        kept.kinds.add(kind)
        axis.plot(*place, color=colour, **_mark(kind, ring))


def _mark(kind: Kind, ring: int = 0) -> dict[str, Any]:
    mark, _, size = MARKED[kind]
    points = size * rcParams["lines.markersize"] * (1 + 0.4 * ring)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.6} if mark == "*" else {}
    return {"linestyle": "none", "marker": mark, "markersize": points, "zorder": 4, **edge}


def _position(at: float, x: str) -> float:
    return density(at) if x == "sparsity" else at


def apart(settings: Sequence[str]) -> tuple[str, list[str]]:
    """Return what settings have in common, and of each what is its own."""
    parts = [one.split("; ") for one in settings]
    shared = [part for part in parts[0] if all(part in other for other in parts)]
    own = ["; ".join(part for part in one if part not in shared) for one in parts]
    return "; ".join(shared), own


def _name_axes(
    axes: Sequence[Sequence[Axes]], titles: Sequence[str], x: str, inches: float
) -> None:
    size = FontProperties(size=rcParams["axes.titlesize"]).get_size_in_points()
    letters = int(72 * 0.85 * inches / (0.65 * size))
    for place, title in enumerate(titles):
        lines = textwrap.wrap(title.replace(",", ", "), letters)
        axes[0][place].set_title("\n".join(lines))
    for axis in axes[-1]:
        scale_x(axis, x, label=True)


def finish(fig: Figure, kept: Kept, words: str, options: Options) -> None:
    """Name lines and marks below the panels, under what the figure is of; make room for them."""
    marks = [
        Line2D([], [], color=GREY, label=MARKED[kind][1], **_mark(kind))
        for kind in MARKED
        if kind in kept.kinds
    ]
    if kept.fewer:
        marks.append(
            Line2D([], [], color=GREY, linestyle="none", marker="o", markerfacecolor="white",
                   label="mean over fewer seeds")
        )  # fmt: skip
    band = BANDS[options.band] if kept.several else ""
    told = "; ".join(filter(None, [words, band]))
    told += "; striped: curves coincide" if kept.striped else ""
    if options.title:
        fig.suptitle(options.title, fontweight="bold")
    narrow = options.columns == 1 and options.style != "slides"
    legend(
        fig, [*kept.lines.values(), *marks], columns=2 if narrow else 3, title=_wrapped(fig, told)
    )
    (made,) = fig.legends
    made.set_alignment("left")
    made.get_title().set(color=GREY, multialignment="left")
    wanted = fig.get_figheight() + made.get_window_extent().height / fig.dpi + 0.05
    fig.set_figheight(wanted + (0.25 if options.title else 0.0))


def _wrapped(fig: Figure, text: str) -> str:
    """Break a text into lines as wide as the figure."""
    characters = 72 * fig.get_figwidth() / (0.58 * float(rcParams["legend.fontsize"]))
    return "\n".join(textwrap.wrap(text, int(characters)))
