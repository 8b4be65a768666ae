"""Single numbers of a curve: its area, its peak, how far it may be pruned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dsd_bench.analysis.curves import Point, Spread, spread
from dsd_bench.stopping import below
from dsd_bench.store.checkpoint import Row


def area(curve: Sequence[Point], until: float | None = None) -> float | None:
    """Return the mean accuracy over log-density: the area under the curve, normalised.

    ``1 / U * integral from 0 to U of a(u) du`` with ``u = log(d_0 / d)``, d the density of a round
    and d_0 the first one's, by the trapezoid rule: every halving of the weights counts equally.
    Curves are comparable only over the same range, so give ``until`` where they end differently.

    Args:
        curve: a mean curve, round 0 first; rounds without any weight are left out.
        until: the density at which the range ends, interpolated; default: the last round's.

    Returns:
        None if the curve has no extent, or does not reach ``until``.
    """
    known = [point for point in curve if point.sparsity < 1.0]
    if len(known) < 2:
        return None
    ends = math.log((1 - known[0].sparsity) / (until or 1 - known[-1].sparsity))
    places = [math.log((1 - known[0].sparsity) / (1 - point.sparsity)) for point in known]
    if not 0 < ends <= places[-1] * (1 + 1e-9):
        return None
    total = 0.0
    for (start, left), (end, right) in pairwise(zip(places, known)):
        width = min(end, ends) - start
        if width > 0:
            stop = left.mean + (right.mean - left.mean) * width / (end - start)
            total += width * (left.mean + stop) / 2
    return total / ends


def peak(curve: Sequence[Point], after: int = -1) -> Point | None:
    """Return the highest mean later than round ``after``, the first of equals."""
    later = [point for point in curve if point.round > after]
    top = max((point.mean for point in later), default=0.0)
    return next((point for point in later if not below(point.mean, top)), None)


@dataclass(frozen=True)
class Compression:
    """How far nets can be pruned that stay within some points of the dense ones.

    Attributes:
        within: how much accuracy may be lost, 0..1.
        mean: the sparsest round of the mean curve that stays within; None without a curve.
        seeds: for each seed the highest sparsity that stays within of its own dense net.
        over: mean and spread of ``seeds``; None without any.
    """

    within: float
    mean: Point | None
    seeds: tuple[float, ...]
    over: Spread | None


def compression(
    curve: Sequence[Point], rows: Sequence[Sequence[Row]], column: str, within: float = 0.01
) -> Compression:
    """Return the highest compression within some points of dense accuracy.

    The sparsest round counts, even if rounds before it (the dip) are further below. A highest
    value of many noisy rounds is biased upwards: read it with its spread.

    Args:
        curve: the mean curve of ``column``, round 0 first.
        rows: for each seed its rows.
        column: an accuracy.
        within: the loss that is allowed, 0.01 = 1 point.
    """
    mean = [point for point in curve if not below(point.mean, curve[0].mean - within)]
    seeds = [found for one in rows if (found := _sparsest(one, column, within)) is not None]
    sparsest = max(mean, key=lambda point: point.sparsity, default=None)
    return Compression(within, sparsest, tuple(seeds), spread(seeds))


def _sparsest(rows: Sequence[Row], column: str, within: float) -> float | None:
    known = [row for row in rows if row.get(column) is not None]
    if not known:
        return None
    least = known[0][column] - within
    return max(float(row["sparsity"]) for row in known if not below(row[column], least))
