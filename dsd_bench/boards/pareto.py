"""Which methods of a board nothing dominates: test accuracy against the weights that remain.

By the means, a method is on the front unless another one is at least as good in both and better in
one. It is *dominated* where that one is also significantly better in at least one of the two, as
:mod:`dsd_bench.boards.ties` has it: all pairs at once, seed by seed, for each of the two by itself.
What lies between is *perhaps* on the front: few or scattered seeds never prove that a method is
off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from dsd_bench.boards.ties import Comparison, compare
from dsd_bench.rounds import MARGIN

if TYPE_CHECKING:
    from numpy import ndarray

Front = Literal["yes", "perhaps", "no"]

LEAST_DRAWS = 60
"""Simulated boards of many hundred methods: enough for a mark (a level of 5 +- 3 %)."""

LEAST = 1e-9
"""Share of the weights that counts where none is left, so that it has a logarithm."""


def front(accuracy: Comparison, accuracies: ndarray, sparsities: ndarray) -> list[Front]:
    """Return where each method stands: ``yes``, ``perhaps`` or ``no``.

    Args:
        accuracy: how the accuracies compare.
        accuracies: of the selected networks, (m, n), in 0..1.
        sparsities: of the same networks, (m, n), in 0..1; they are compared in the logarithm of
            the remaining weights.
    """
    import numpy

    sparser = -numpy.log(numpy.maximum(1 - sparsities, LEAST))
    thinner = compare(sparser, numpy.zeros((len(sparser),) * 2), 1, LEAST_DRAWS)
    signs = numpy.stack([_sign(accuracies), _sign(sparser)])
    above = (signs >= 0).all(axis=0) & (signs > 0).any(axis=0)
    proven = above & (accuracy.better | thinner.better)
    stands = numpy.where(proven.any(axis=0), "no", numpy.where(above.any(axis=0), "perhaps", "yes"))
    found: list[Front] = stands.tolist()
    return found


def _sign(values: ndarray) -> ndarray:
    """Return ``[i, j]``: 1 where the mean of ``i`` is above that of ``j``, -1 below, 0 as high."""
    import numpy

    means = values.mean(axis=1)
    apart = means[:, None] - means[None, :]
    found: ndarray = numpy.where(numpy.abs(apart) > MARGIN, numpy.sign(apart), 0)
    return found


def remaining(sparsities: Sequence[float]) -> tuple[float, float, float]:
    """Return the geometric mean of the remaining weights with Student's 95 % interval, in 0..1.

    For one seed the interval is the value.
    """
    import math
    import statistics

    from dsd_bench.analysis import spread
    from dsd_bench.boards.summary import interval

    logs = [math.log(max(1 - one, LEAST)) for one in sparsities]
    told = spread(logs)
    between = interval(told) if told else None
    low, high = between or (logs[0], logs[0])
    middle, low, high = (math.exp(one) for one in (statistics.fmean(logs), low, high))
    return middle, min(low, 1.0), min(high, 1.0)
