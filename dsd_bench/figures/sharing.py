"""Curves that lie on each other, as a method and its early-stopped twin do: none hides the others.

Where curves coincide they are drawn as stripes in all their colours, and their marks take turns.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from dsd_bench.analysis import Point
from dsd_bench.figures.style import Look

STRIPE = 4.0
"""Length of a stripe, in line widths."""

Place = tuple[float, float]


@dataclass(frozen=True)
class Stretch:
    """Rounds from ``first`` to ``last`` over which the ``members``, at least two, are one line."""

    members: tuple[int, ...]
    first: int
    last: int


def shared_stretches(curves: Sequence[Sequence[Point]]) -> list[Stretch]:
    """Find where curves coincide over two neighbouring rounds or more.

    Args:
        curves: mean curves; points of equal round, sparsity and mean coincide.

    Returns:
        The longest stretches of each set of curves, by set and round.
    """
    known = [{point.round: _key(point) for point in curve} for curve in curves]
    last = max((point.round for curve in curves for point in curve), default=0)
    found: list[Stretch] = []
    open_at: dict[tuple[int, ...], int] = {}
    for index in range(last + 1):
        together = _together(known, index) if index < last else []
        for members in [members for members in open_at if members not in together]:
            found.append(Stretch(members, open_at.pop(members), index))
        for members in together:
            open_at.setdefault(members, index)
    return sorted(found, key=lambda one: (one.members, one.first))


def _key(point: Point) -> tuple[float, float]:
    return round(point.sparsity, 12), round(point.mean, 12)


def _together(known: Sequence[Mapping[int, Hashable]], index: int) -> list[tuple[int, ...]]:
    """Return the sets of curves that share both this round and the next."""
    groups: dict[Hashable, list[int]] = {}
    for place, points in enumerate(known):
        if index in points and index + 1 in points:
            groups.setdefault((points[index], points[index + 1]), []).append(place)
    return [tuple(members) for members in groups.values() if len(members) > 1]


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
