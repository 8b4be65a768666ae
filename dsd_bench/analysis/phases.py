"""The four phases of a curve with double descent: light, critical, sweet, collapsed (Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dsd_bench.analysis.curves import Point, crossing
from dsd_bench.analysis.evidence import DOUBLE_DESCENT, Evidence
from dsd_bench.stopping import below

NAMES = ("light", "critical", "sweet", "collapsed")

LOST = 0.25
"""A phase of good accuracy ends where that share of the depth D is lost from its best."""


@dataclass(frozen=True)
class Phase:
    """A stretch of the sparsity axis.

    Attributes:
        name: ``light``, ``critical``, ``sweet`` or ``collapsed``.
        start: sparsity at which it begins, interpolated between rounds.
        end: at which it ends; the next phase begins there.
        rounds: first and last round in it; None if it lies between two rounds.
    """

    name: str
    start: float
    end: float
    rounds: tuple[int, int] | None


def phases(curve: Sequence[Point], evidence: Evidence) -> list[Phase]:
    """Divide a mean curve into its phases; a curve without double descent has none.

    With the bottom b of the descent, its depth D, and the best means before and after b:

    - *light*: from the dense net until the curve falls for the last time before b below
      ``best before - D / 4``;
    - *critical*: from there to b;
    - *sweet*: from b, over the best after it, until the curve falls below ``best after - D / 4``;
    - *collapsed*: the rest; absent if the curve ends before.

    Args:
        curve: the mean curve that was judged, round 0 first.
        evidence: of the same curve.
    """
    bottom = evidence.descent.bottom
    if evidence.verdict != DOUBLE_DESCENT or bottom is None:
        return []
    ends = [_light_end(curve, bottom, evidence), curve[bottom].sparsity]
    collapse = _sweet_end(curve, bottom, evidence)
    ends += [collapse, curve[-1].sparsity] if collapse is not None else [curve[-1].sparsity]
    starts = [curve[0].sparsity, *ends]
    return [
        Phase(name, start, end, _rounds(curve, start, end, first=name == NAMES[0]))
        for name, (start, end) in zip(NAMES, pairwise(starts))
    ]


def phase_of(point: Point | None, found: Sequence[Phase]) -> str | None:
    """Return the name of the phase in which a round lies; None without phases."""
    for phase in found:
        if point and phase.rounds and phase.rounds[0] <= point.round <= phase.rounds[1]:
            return phase.name
    return None


def _light_end(curve: Sequence[Point], bottom: int, evidence: Evidence) -> float:
    best = max(point.mean for point in curve[:bottom])
    level = best - LOST * evidence.descent.depth
    last = max(place for place in range(bottom) if not below(curve[place].mean, level))
    return _cross(curve, last, level)


def _sweet_end(curve: Sequence[Point], bottom: int, evidence: Evidence) -> float | None:
    after = range(bottom + 1, len(curve))
    top = max(after, key=lambda place: curve[place].mean)
    level = curve[top].mean - LOST * evidence.descent.depth
    lost = (place for place in range(top + 1, len(curve)) if below(curve[place].mean, level))
    first = next(lost, None)
    return None if first is None else _cross(curve, first - 1, level)


def _cross(curve: Sequence[Point], place: int, level: float) -> float:
    """Return the sparsity at which the curve falls through ``level`` after ``place``."""
    before, after = curve[place], curve[place + 1]
    return crossing((before.sparsity, before.mean), (after.sparsity, after.mean), level)


def _rounds(
    curve: Sequence[Point], start: float, end: float, *, first: bool
) -> tuple[int, int] | None:
    """Return the rounds with sparsity above ``start`` (the first phase: from it) up to ``end``."""
    inside = [
        point.round
        for point in curve
        if start < point.sparsity <= end or (first and point.sparsity == start)
    ]
    return (inside[0], inside[-1]) if inside else None
