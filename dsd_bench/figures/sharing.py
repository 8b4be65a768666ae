"""Curves that lie on each other, as a method and its early-stopped twin do: none hides the others.

Where curves coincide they are drawn as stripes in all their colours, and their marks take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from dsd_bench.analysis.sharing import Stretch
from dsd_bench.figures.style import Look

STRIPE = 4.0
"""Length of a stripe, in line widths."""

Place = tuple[float, float]


def draw_stretch(
    axis: Axes, stretch: Stretch, places: Mapping[int, Place], looks: Sequence[Look]
) -> None:
    """Draw a shared stretch over the curves that are there.

    Args:
        axis: the panel.
        stretch: which curves share which rounds.
        places: of each round of one of them, where it is drawn.
        looks: of all curves.
    """
    rounds = [at for at in range(stretch.first, stretch.last + 1) if at in places]
    line = [places[at] for at in rounds]
    count = len(stretch.members)
    for turn, member in enumerate(stretch.members):
        chosen = looks[member]
        own: dict[str, Any] = {"color": chosen.colour, "zorder": 2.2}
        dashes = (STRIPE * turn, (STRIPE, STRIPE * (count - 1)))
        axis.plot(*zip(*line), linestyle=dashes, dash_capstyle="butt", marker="none", **own)
        marked = [place for at, place in zip(rounds, line) if at % count == turn]
        if marked:
            axis.plot(*zip(*marked), linestyle="none", marker=chosen.mark, **own)
