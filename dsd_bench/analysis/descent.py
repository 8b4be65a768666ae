"""How far a curve falls and recovers, and how much of that noise explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dsd_bench.stopping import below


@dataclass(frozen=True)
class Descent:
    """The deepest dip of a curve.

    Attributes:
        depth: D, the smaller one of ``fall`` and ``rise``; 0 where nothing dips.
        bottom: position of the dip's bottom in the curve; None where nothing dips.
        fall: from the best before the bottom down to it.
        rise: from the bottom up to the best after it.
    """

    depth: float = 0.0
    bottom: int | None = None
    fall: float = 0.0
    rise: float = 0.0


def descent(accuracies: Sequence[float]) -> Descent:
    """Measure how far a curve falls and recovers.

    ``D = max_j [ min( max_{i<j} a_i, max_{k>j} a_k ) - a_j ]``; of equally deep bottoms the
    first counts. Curves that only rise, only fall, or rise and then fall have D = 0.

    Args:
        accuracies: the curve, dense training first.
    """
    best = Descent()
    before = -math.inf
    after = _suffix_maxima(accuracies)
    for position, value in enumerate(accuracies):
        fall, rise = before - value, after[position] - value
        if below(best.depth, min(fall, rise)):
            best = Descent(min(fall, rise), position, fall, rise)
        before = max(before, value)
    return best


def _suffix_maxima(values: Sequence[float]) -> list[float]:
    """Return for each position the largest value after it, ``-inf`` for the last."""
    found, largest = [], -math.inf
    for value in reversed(values):
        found.append(largest)
        largest = max(largest, value)
    return found[::-1]


def depth_threshold(accuracy: float, n_test: int, seeds: int) -> float:
    """Return the depth that a curve without double descent hardly exceeds by chance.

    ``4 * sqrt( p (1 - p) / (n_test * seeds) )``: a curve that is flat and then falls, seen
    through binomial noise, dips by up to about that much.

    Args:
        accuracy: p, the mean accuracy at the bottom of the dip.
        n_test: images of the test set.
        seeds: runs that the curve is the mean of.
    """
    return 4.0 * math.sqrt(accuracy * (1.0 - accuracy) / (n_test * seeds))
