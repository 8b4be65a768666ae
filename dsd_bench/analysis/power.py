"""How many more seeds would decide where a verdict cannot be told.

A model, not a promise. The dip stays in the rounds where it is now; a seed's own depth there is
normal, with the seeds' present mean and deviation (at least what the size of the test set gives).
The seeds that are there stay, so the depth D of n seeds in all, s of them known, is normal around
today's D with variance ``sd^2 (n - s) / (n s)``: the luck of the new seeds and our ignorance of
the true depth both count. The limits fall as ``1 / sqrt(n)``. Today's D is a maximum over rounds
and so a little too deep, and with two or three seeds ``sd`` is itself hardly known: n is rough.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

LIKELY, SURE = 0.80, 0.95
"""The two probabilities for which numbers of seeds are given."""

MOST = 1000
"""Larger numbers of seeds are not looked for."""


@dataclass(frozen=True)
class MoreSeeds:
    """Seeds in all, those that are there included, with which a verdict would be reached.

    Attributes:
        now: seeds that are there.
        likely: seeds in all for a verdict with a probability of ``LIKELY``; None: over ``MOST``.
        sure: likewise for ``SURE``.
        double_descent: probability that with ``sure`` seeds the verdict is double descent; None
            where ``sure`` is.
        deviation: of a seed's own depth, as the model has it, 0..1.
    """

    now: int
    likely: int | None
    sure: int | None
    double_descent: float | None
    deviation: float

    @property
    def words(self) -> str:
        """Return the same as a sentence."""
        if self.likely is None:
            return f"more than {MOST} seeds would be needed; larger test sets help more"
        told = f"about {self.likely} seeds in all would decide with {LIKELY:.0%} probability"
        if self.sure is None or self.double_descent is None:
            return told
        share = f"{100 * min(max(self.double_descent, 0.01), 0.99):.0f} %"
        return f"{told}, {self.sure} with {SURE:.0%} (then double descent: {share}); a rough size"


@dataclass(frozen=True)
class Limits:
    """Of one seed, 0..1; those of n seeds are smaller by ``sqrt(n)``, but for ``matters``.

    Attributes:
        claim: the depth that must be exceeded to claim double descent.
        error: twice the standard error that is added to the depth before it is denied.
        matters: the depth that a denial must exclude.
    """

    claim: float
    error: float
    matters: float


def more_seeds(depths: Sequence[float], least: float, limits: Limits) -> MoreSeeds:
    """Return how many seeds would probably decide.

    Args:
        depths: of each seed, in the rounds of the mean curve's dip: their mean is its depth.
        least: the deviation of a seed's depth that the size of the test set alone gives.
        limits: what decides.
    """
    now, depth = len(depths), statistics.fmean(depths)
    deviation = max(statistics.stdev(depths) if now > 1 else 0.0, least)
    wanted: dict[float, int | None] = {LIKELY: None, SURE: None}
    claimed = None
    for seeds in range(now + 1, MOST + 1):
        spread = deviation * math.sqrt((seeds - now) / (seeds * now))
        claim, deny = _verdicts(depth, spread, seeds, limits)
        for probability, found in wanted.items():
            if found is None and claim + deny >= probability:
                wanted[probability] = seeds
        if wanted[SURE] is not None:
            claimed = claim
            break
    return MoreSeeds(now, wanted[LIKELY], wanted[SURE], claimed, deviation)


def _verdicts(depth: float, spread: float, seeds: int, limits: Limits) -> tuple[float, float]:
    """Return the probabilities that ``seeds`` seeds claim and that they deny double descent."""
    claim = limits.claim / math.sqrt(seeds)
    deny = min(limits.matters - limits.error / math.sqrt(seeds), claim)
    if spread <= 0:
        return float(depth > claim), float(depth <= deny)
    normal = NormalDist(depth, spread)
    return 1.0 - normal.cdf(claim), normal.cdf(deny)
