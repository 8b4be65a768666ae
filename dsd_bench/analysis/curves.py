"""Curves over seeds: their mean, their spread, and where they cross a level."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dsd_bench.store.checkpoint import Row


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for a single value) of ``n`` values."""

    mean: float
    std: float | None
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and spread of ``values``, None if there are none."""
    if not values:
        return None
    mean = statistics.fmean(values)
    return Spread(mean, _deviation(values, mean), len(values))


def _deviation(values: Sequence[float], mean: float) -> float | None:
    """Return the sample standard deviation (``statistics.stdev`` is 20 times slower)."""
    if len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True)
class Point:
    """One round of a mean curve.

    Attributes:
        round: its index; 0 is the dense training.
        sparsity: mean over the seeds.
        mean, std: of the quantity; ``std`` is the sample's, None for one seed.
        low, high: the smallest and the largest of the seeds.
        n: seeds that reached this round and measured the quantity.
        weights: that are left, mean over the seeds; None where a row does not say.
    """

    round: int
    sparsity: float
    mean: float
    std: float | None
    low: float
    high: float
    n: int
    weights: float | None = None


def mean_curve(runs_rows: Iterable[Sequence[Row]], column: str = "test_accuracy") -> list[Point]:
    """Average a column over seeds, round by round; rounds that nobody measured are left out.

    Args:
        runs_rows: for each seed its rows.
        column: a scalar column of ``rounds.jsonl``.
    """
    found: dict[int, list[Row]] = {}
    for rows in runs_rows:
        for row in rows:
            if row.get(column) is not None:
                found.setdefault(row["round"], []).append(row)
    return [_point(index, rows, column) for index, rows in sorted(found.items())]


def _point(index: int, rows: Sequence[Row], column: str) -> Point:
    values = [float(row[column]) for row in rows]
    mean = statistics.fmean(values)
    left = [row["nonzero"] for row in rows if "nonzero" in row]
    return Point(
        round=index,
        sparsity=statistics.fmean(row["sparsity"] for row in rows),
        mean=mean,
        std=_deviation(values, mean),
        low=min(values),
        high=max(values),
        n=len(values),
        weights=statistics.fmean(left) if len(left) == len(rows) else None,
    )


def shared_part(curve: Sequence[Point], seeds: int) -> list[Point]:
    """Return the rounds of a mean curve that all ``seeds`` reached and measured."""
    return [point for point in curve if point.n == seeds]


def crossing(before: tuple[float, float], after: tuple[float, float], level: float) -> float:
    """Return the sparsity at which a curve goes through ``level`` between two of its rounds.

    The values are interpolated linearly in the logarithm of the density, 1 - sparsity. Where no
    weight is left after the second round there is no such logarithm, and its sparsity is returned.

    Args:
        before: (sparsity, value) of the round before the crossing.
        after: likewise after it; the values must differ.
        level: a value between the two.
    """
    (start, high), (end, low) = before, after
    if end >= 1.0:
        return end
    share = (high - level) / (high - low)
    logs = (1 - share) * math.log(1 - start) + share * math.log(1 - end)
    return 1.0 - math.exp(logs)
