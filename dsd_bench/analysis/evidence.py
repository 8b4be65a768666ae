"""Whether a curve over seeds shows double descent, and what speaks for it.

The depth D is a maximum over many rounds, so noise alone makes some. Two questions are asked. Is
D more than the threshold that the size of the test set gives? And how often would a curve
*without* double descent, seen through the noise that these seeds show, be as deep by chance?
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from dsd_bench.analysis.descent import Descent, depth_threshold, descent
from dsd_bench.analysis.power import Limits, MoreSeeds, more_seeds

if TYPE_CHECKING:
    from numpy import ndarray

Verdict = Literal["double descent", "no double descent", "cannot tell"]
DOUBLE_DESCENT: Verdict = "double descent"
NO_DOUBLE_DESCENT: Verdict = "no double descent"
CANNOT_TELL: Verdict = "cannot tell"

LEVEL = 0.05
"""Double descent is not claimed where chance alone is that likely to be as deep."""

MATTERS = 0.05
"""Double descent is denied only where a dip of this depth would have been seen."""

DRAWS = 1000
"""Simulated curves; ``chance`` is known to about 0.007 at 0.05."""


@dataclass(frozen=True)
class Evidence:
    """Whether a curve shows double descent, with what that rests on.

    Attributes:
        verdict: ``"double descent"``, ``"no double descent"`` or ``"cannot tell"``.
        reason: a sentence with the numbers that decided.
        descent: of the mean curve.
        seeds: the descent of each seed's own curve.
        threshold: the depth that test noise explains, :func:`depth_threshold`; None without the
            size of the test set or where nothing dips.
        chance: how likely a curve without double descent is as deep; None as ``threshold``.
        noise: standard error of the mean curve's rounds that ``chance`` was simulated with, at
            the bottom; None as ``threshold``.
        more: how many seeds would decide; None where the verdict is told, or no seeds would help.
    """

    verdict: Verdict
    reason: str
    descent: Descent
    seeds: tuple[Descent, ...] = ()
    threshold: float | None = None
    chance: float | None = None
    noise: float | None = None
    more: MoreSeeds | None = None


def judge(
    curves: Sequence[Sequence[float]], n_test: int | None, stopped_early: bool = False
) -> Evidence:
    """Judge whether the mean of some curves shows double descent.

    - *double descent*: D exceeds the threshold, and chance is at most ``LEVEL``;
    - *no double descent*: D is 0; or it is not double descent and so small that a dip of
      ``MATTERS`` would have been seen: D and two standard errors are at most ``MATTERS``;
    - *cannot tell*: everything else: too few seeds or test images, seeds that scatter too much, a
      curve without double descent that a stop rule cut short, an unknown size of the test set.

    What one seed says holds for that training; the reason says so.

    Args:
        curves: for each seed its accuracies, round 0 first, equally long.
        n_test: images of the test set.
        stopped_early: whether a rule ended the curves before their schedule did.
    """
    means = [statistics.fmean(values) for values in zip(*curves, strict=True)]
    seeds = tuple(descent(curve) for curve in curves)
    found = descent(means)
    if not means:
        return Evidence(CANNOT_TELL, "no round was measured", found)
    if found.bottom is None:
        if stopped_early:
            return Evidence(CANNOT_TELL, "no dip until a stop rule ended the curve", found, seeds)
        reason = "the curve does not fall and recover"
        return Evidence(NO_DOUBLE_DESCENT, reason, found, seeds)
    if not n_test:
        told = f"depth {_points(found.depth)} points"
        reason = f"{told} cannot be told from noise without the size of the test set"
        return Evidence(CANNOT_TELL, reason, found, seeds)
    return _weigh(curves, means, found, seeds, n_test, stopped_early)


def _weigh(
    curves: Sequence[Sequence[float]],
    means: Sequence[float],
    found: Descent,
    seeds: tuple[Descent, ...],
    n_test: int,
    stopped_early: bool,
) -> Evidence:
    """Judge a curve that dips."""
    bottom = found.bottom or 0
    threshold = depth_threshold(means[bottom], n_test, len(curves))
    errors = standard_errors(curves, means, bottom, n_test)
    noise, null = errors[bottom], sorted(null_depths(means, errors))
    chance = (1 + sum(depth >= found.depth for depth in null)) / (1 + DRAWS)
    verdict, reason = _decide(found.depth, threshold, chance, noise)
    more = None
    if stopped_early and verdict == NO_DOUBLE_DESCENT:
        verdict, reason = CANNOT_TELL, f"{reason}, until a stop rule ended the curve"
    elif verdict == CANNOT_TELL:
        root = math.sqrt(len(curves))
        claim = max(threshold, null[math.ceil((1 - LEVEL) * DRAWS) - 1]) * root
        least = math.sqrt(2 * means[bottom] * (1 - means[bottom]) / n_test)
        limits = Limits(claim, 2 * noise * root, MATTERS)
        more = more_seeds(_depths(curves, means, found), least, limits)
    if len(curves) == 1 and verdict != CANNOT_TELL:
        reason = f"{reason}; one seed does not tell how far trainings scatter"
    return Evidence(verdict, reason, found, seeds, threshold, chance, noise, more)


def _depths(
    curves: Sequence[Sequence[float]], means: Sequence[float], found: Descent
) -> list[float]:
    """Return each seed's depth in the two rounds that make the mean curve's."""
    bottom = found.bottom or 0
    sides = (range(bottom), range(bottom + 1, len(means)))
    side = sides[0] if found.fall <= found.rise else sides[1]
    top = max(side, key=means.__getitem__)
    return [curve[top] - curve[bottom] for curve in curves]


def _decide(depth: float, threshold: float, chance: float, noise: float) -> tuple[Verdict, str]:
    told = f"depth {_points(depth)} points"
    limit = f"the {_points(threshold)} that noise explains"
    above = f"{told}, more than {limit}"
    if depth > threshold and chance <= LEVEL:
        return DOUBLE_DESCENT, above
    reason = f"{told}, within {limit}"
    if depth > threshold:
        reason = (
            f"{above}, but with this scatter chance gives as much in {100 * chance:.1f} % of cases"
        )
    if depth + 2 * noise <= MATTERS:
        return NO_DOUBLE_DESCENT, reason
    return CANNOT_TELL, f"{reason}; it takes more seeds or test images"


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def standard_errors(
    curves: Sequence[Sequence[float]], means: Sequence[float], bottom: int, n_test: int
) -> list[float]:
    """Return the standard error of each round's mean: of the test set, or the seeds' if larger.

    What all rounds of a seed have in common makes no dip, so each seed's own level is taken off.
    Only rounds up to the best after the dip count: nets that collapse scatter more.
    """
    end = bottom + 1 + means[bottom + 1 :].index(max(means[bottom + 1 :]))
    scatter = _interaction([curve[: end + 1] for curve in curves]) / len(curves)
    images = n_test * len(curves)
    return [math.sqrt(max(mean * (1.0 - mean) / images, scatter)) for mean in means]


def _interaction(curves: Sequence[Sequence[float]]) -> float:
    """Return the variance that neither the seed nor the round explains; 0 for one seed."""
    if len(curves) < 2:
        return 0.0
    levels = [statistics.fmean(curve) for curve in curves]
    means = [statistics.fmean(values) for values in zip(*curves)]
    overall = statistics.fmean(levels)
    squares = (
        (value - level - mean + overall) ** 2
        for curve, level in zip(curves, levels)
        for value, mean in zip(curve, means)
    )
    return math.fsum(squares) / ((len(curves) - 1) * (len(means) - 1))


def null_depths(means: Sequence[float], noise: Sequence[float]) -> list[float]:
    """Return the depths of ``DRAWS`` curves that have no double descent but for noise.

    A parametric bootstrap under the null: the nearest :func:`unimodal` curve plus a normal error
    in each round. The draws are always the same.

    Args:
        means: the mean curve.
        noise: standard error of each of its rounds.
    """
    import numpy

    null = unimodal(means)
    # one row a round: NumPy goes along the draws, which is several times faster
    curves = numpy.array(null)[:, None] + _normals(len(null)) * numpy.array(noise)[:, None]
    before = numpy.maximum.accumulate(curves, axis=0)[:-2]
    after = numpy.maximum.accumulate(curves[::-1], axis=0)[::-1][2:]
    depths = numpy.minimum(before, after) - curves[1:-1]
    return numpy.maximum(depths.max(axis=0, initial=0.0), 0.0).tolist()  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _normals(rounds: int) -> ndarray:
    import numpy

    draw = random.Random(0)
    drawn = numpy.array([[draw.gauss(0.0, 1.0) for _ in range(rounds)] for _ in range(DRAWS)])
    return numpy.ascontiguousarray(drawn.T)


def unimodal(values: Sequence[float]) -> list[float]:
    """Return the nearest curve (least squares) that rises, then falls, and so has no dip.

    For each place of the top, the part before it is fitted by a rising curve and the rest by a
    falling one; of all places the best is taken, the first of equals.
    """
    before, after = _misfits(values), _misfits(values[::-1])[::-1]
    squares = [one + other for one, other in zip(before, after, strict=True)]
    near = min(squares) + 1e-9 * math.fsum(value**2 for value in values)
    tops = [top for top, square in enumerate(squares) if square <= near]
    fits = (rising(values[:top]) + rising(values[top:][::-1])[::-1] for top in tops)
    return min(fits, key=lambda fit: math.fsum((a - b) ** 2 for a, b in zip(fit, values)))


def rising(values: Sequence[float]) -> list[float]:
    """Return the nearest rising curve: isotonic regression by pooling adjacent violators.

    ``scipy.optimize.isotonic_regression`` gives the same and takes longer to import than this
    to run.
    """
    pools: list[_Pool] = []
    for value in values:
        _pool(pools, value)
    return [mean for mean, count, _ in pools for _ in range(count)]


_Pool = tuple[float, int, float]
"""Neighbours with one value in the fit: their mean, their number, the sum of their squares."""


def _pool(pools: list[_Pool], value: float) -> None:
    """Add the next value of a curve to the pools of its nearest rising one."""
    mean, count, squares = value, 1, value**2
    while pools and pools[-1][0] >= mean:
        other, n, more = pools.pop()
        mean, count, squares = (other * n + mean * count) / (n + count), n + count, more + squares
    pools.append((mean, count, squares))


def _misfits(values: Sequence[float]) -> list[float]:
    """Return how far the first 0, 1, 2, ... of ``values`` are from rising, in squares."""
    pools: list[_Pool] = []
    found = [0.0]
    for value in values:
        _pool(pools, value)
        found.append(sum(squares - count * mean**2 for mean, count, squares in pools))
    return found
