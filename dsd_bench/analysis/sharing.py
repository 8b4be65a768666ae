"""Where curves coincide, as those of a method and its early-stopped twin do."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from dsd_bench.analysis.curves import Point


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
