"""Two methods over the same seeds: how far apart they are, round by round and where they cross.

At one seed both methods have the same split, wrong labels and test images, so seeds are compared
with themselves and what all methods share cancels out.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from dsd_bench.analysis.curves import crossing
from dsd_bench.store.checkpoint import Row

LEVEL = 0.95
"""Coverage of the intervals."""

ENOUGH = 5
"""With fewer seeds an interval rests on hardly anything."""

SAME = 1e-9
"""Sparsities that close are equal."""


@dataclass(frozen=True)
class Difference:
    """A quantity of the first method minus that of the second, over the seeds.

    Attributes:
        first, second: mean of each method.
        mean: of the difference.
        error: its standard error; None for one seed.
        low, high: edges of Student's 95 % interval; None for one seed.
        p: of Student's paired test of no difference; None for one seed.
        n: seeds.
    """

    first: float
    second: float
    mean: float
    error: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int

    @property
    def leader(self) -> int:
        """1 or -1 for the method that is significantly higher, 0 where the interval has 0."""
        if self.low is None or self.high is None:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


@dataclass(frozen=True)
class At:
    """The difference at one round of the first method.

    Attributes:
        round: of the first method.
        sparsity: mean over its seeds; the second method is read at the same sparsity.
        interpolated: whether the second has no round there, so that it is read between two.
        difference: of the accuracies, 0..1.
    """

    round: int
    sparsity: float
    interpolated: bool
    difference: Difference


def difference(first: Sequence[float], second: Sequence[float], floor: float = 0.0) -> Difference:
    """Compare two methods seed by seed.

    ``mean +- t(0.975, n - 1) * error``, where ``error`` is the standard deviation of the
    differences by ``sqrt(n)``, but no less than what the images alone give.

    Args:
        first: a value for each seed, at least one.
        second: of the same seeds.
        floor: the least variance of the mean difference, as :func:`floor_of` gives it.
    """
    apart = [one - other for one, other in zip(first, second, strict=True)]
    count, mean = len(apart), statistics.fmean(apart)
    means = (statistics.fmean(first), statistics.fmean(second), mean)
    if count < 2:
        return Difference(*means, None, None, None, None, count)
    from scipy.special import stdtr, stdtrit

    error = math.sqrt(max(statistics.variance(apart) / count, floor))
    half = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * error
    p = 2 * float(stdtr(count - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return Difference(*means, error, mean - half, mean + half, p, count)


def floor_of(differ: Sequence[int], images: Sequence[int]) -> float:
    """Return the variance of a mean difference that the test images alone give.

    As :mod:`dsd_bench.boards.ties` has it: images on which the two differ, by the square of all.

    Args:
        differ: for each seed, on how many test images one is right and the other wrong.
        images: for each seed, how many there are.
    """
    return sum(differ) / sum(images) ** 2


def read_at(rows: Sequence[Row], sparsity: float, column: str) -> tuple[float, Row | None] | None:
    """Read a curve at a sparsity: linear in the logarithm of the density between two rounds.

    Returns:
        The value, and the round that is as sparse, None where there is none; None where the curve
        does not reach so far, or did not measure the column.
    """
    known = [row for row in rows if row.get(column) is not None]
    places = [row["sparsity"] for row in known]
    place = bisect.bisect_left(places, sparsity - SAME)
    if place == len(known):
        return None
    if abs(places[place] - sparsity) <= SAME:
        return float(known[place][column]), known[place]
    if place == 0:
        return None
    before, after = known[place - 1], known[place]
    if after["sparsity"] >= 1.0:
        return None
    logs = [math.log(1.0 - at) for at in (before["sparsity"], sparsity, after["sparsity"])]
    share = (logs[1] - logs[0]) / (logs[2] - logs[0])
    return float(before[column] + share * (after[column] - before[column])), None


def crossings(found: Sequence[At]) -> list[float]:
    """Return the sparsities at which the mean difference changes its sign."""
    known = [at for at in found if at.difference.mean != 0]
    return [
        crossing((one.sparsity, one.difference.mean), (next.sparsity, next.difference.mean), 0.0)
        for one, next in pairwise(known)
        if one.difference.mean * next.difference.mean < 0
    ]


@dataclass(frozen=True)
class Lead:
    """Neighbouring rounds at which one method is significantly higher, or neither is.

    Attributes:
        leader: 1, -1 or 0, as :attr:`Difference.leader`.
        start, end: sparsities of the first and the last of them.
        least, most: the smallest and the largest mean difference, without its sign.
        rounds: how many.
    """

    leader: int
    start: float
    end: float
    least: float
    most: float
    rounds: int


def leads(found: Sequence[At]) -> list[Lead]:
    """Divide the rounds into stretches by who is significantly higher."""
    return [_lead(leader, list(part)) for leader, part in groupby(found, _leader)]


def _leader(at: At) -> int:
    return at.difference.leader


def _lead(leader: int, part: Sequence[At]) -> Lead:
    sizes = [abs(at.difference.mean) for at in part]
    return Lead(leader, part[0].sparsity, part[-1].sparsity, min(sizes), max(sizes), len(part))
