"""Ratios of times: medians over interleaved blocks, with distribution-free intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LEVEL = 0.95
GROUPS = 12
"""Groups of neighbouring blocks that an interval is made of: the third lowest and the third highest
median enclose the true one in 96.1 %, if groups are independent."""
LEAST_BLOCKS = 6
"""With fewer values no two of them enclose the median in 95 % of cases."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster something is than the reference.

    Attributes:
        median: over the blocks, above 1 where it is faster.
        low, high: of the 95 % interval of the median.
        blocks: how many ratios there are.
    """

    median: float
    low: float
    high: float
    blocks: int


def ratio(reference: Sequence[float], times: Sequence[float]) -> Ratio:
    """Return how many times faster ``times`` are than ``reference``, block by block.

    Within a block both were measured right after each other, so what slows the whole machine
    down for a while is in both, and the ratio does not know of it.

    Args:
        reference: seconds, one value a block.
        times: seconds of the same blocks, at least :data:`LEAST_BLOCKS`.
    """
    ratios = [one / other for one, other in zip(reference, times, strict=True)]
    median = statistics.median(ratios)
    low, high = median_interval(grouped(ratios))
    return Ratio(median, min(low, median), max(high, median), len(ratios))


def grouped(ratios: Sequence[float]) -> list[float]:
    """Return the medians of at most :data:`GROUPS` groups of neighbours.

    What slows down one network alone for several blocks makes neighbours alike; groups are less so.
    """
    count = min(GROUPS, len(ratios))
    edges = [len(ratios) * place // count for place in range(count + 1)]
    return [statistics.median(ratios[begin:end]) for begin, end in pairwise(edges)]


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Return two of the values that enclose the median with at least ``level``.

    The number of values below the median is binomial whatever their distribution, so the k-th
    lowest and the k-th highest enclose it unless fewer than k lie on one side (David and Nagaraja,
    Order Statistics, 2003, Section 7.1).

    Raises:
        ValueError: for fewer than :data:`LEAST_BLOCKS` values at the usual level.
    """
    count, ordered = len(values), sorted(values)
    below, rank = 0.0, 0
    while rank < count // 2:
        below += math.comb(count, rank) / 2**count
        if below > (1 - level) / 2:
            break
        rank += 1
    if rank == 0:
        raise ValueError(f"{count} values are too few for an interval of the median")
    return ordered[rank - 1], ordered[count - rank]
