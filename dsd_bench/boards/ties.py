"""Which methods of a board differ: all pairs at once, so that picking the best costs nothing.

Methods are compared seed by seed: at one seed split, wrong labels and test images are the same. For
each pair of methods the statistic is Student's, the mean difference by its standard error, with two
changes, because five or six seeds say little about a variance and a board has hundreds of pairs:

- the variance is *moderated*: ``PRIOR`` degrees of freedom of the median over all pairs are added
  to the pair's own ``n - 1`` (the form of Smyth 2004, Statistical Applications in Genetics and
  Molecular Biology 3; here with a fixed prior);
- its standard error is never below what the test images alone give, ``sqrt(images on which the two
  differ) / images``, over all seeds.

Methods differ where it exceeds the 95 % quantile of its *maximum over all pairs*, simulated
(without the lower bound) for methods of equal means and the covariances of these (Westfall and
Young 1993). So at most one board in twenty separates any two methods that are equal;
docs/boards.md has the simulations.

The arithmetic is NumPy's; arrays are over ``m`` methods and ``n`` seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd_bench.rounds import MARGIN

if TYPE_CHECKING:
    from numpy import ndarray
    from numpy.random import Generator

PRIOR = 5.0
"""Degrees of freedom that the median variance of all pairs counts as."""
LEVEL = 0.05
"""How often, at most, a board separates any two methods that are equal."""
DRAWS = 2000
"""Simulated boards; fewer of boards with over 150 methods."""
LEAST_DRAWS = 200
"""Simulated boards, at least."""
TOGETHER = 150
"""Boards of so many methods are simulated many at a time, all pairs of each."""
PAIRS = 20_000
"""Pairs whose median variance stands for that of all, in simulated boards that have more."""
MIN_SEEDS = 5
"""Methods with fewer seeds are shown and not ranked."""


@dataclass(frozen=True)
class Comparison:
    """What a board says of its methods.

    Attributes:
        better: ``better[i, j]``: method ``i`` is significantly better than ``j``; (m, m), bool.
        critical: how many standard errors two methods must be apart; 0 for a single method.
        error: the standard error of each difference, moderated; (m, m), in 0..1.
    """

    better: ndarray
    critical: float
    error: ndarray

    @property
    def places(self) -> list[int]:
        """Each method's place: 1 + the number of methods that are significantly better."""
        return [1 + int(count) for count in self.better.sum(axis=0)]


def compare(
    accuracies: ndarray, differ: ndarray, images: int, least: int = LEAST_DRAWS
) -> Comparison:
    """Compare methods over the same seeds.

    Two whose difference is the same in every seed, and above what the images give, differ.

    Args:
        accuracies: of the selected networks, (m, n) with n >= 2, in 0..1.
        differ: on how many test images each two methods differ (one right, the other wrong), over
            all seeds; (m, m), symmetric.
        images: test images of all seeds together.
        least: boards that are simulated however many methods there are.
    """
    import numpy

    count = len(accuracies)
    floor = differ / images**2
    means, errors = _statistics(accuracies, floor)
    # no error: the same values in all seeds, or the same distance
    apart = numpy.where(numpy.abs(means) > MARGIN, numpy.inf, 0.0)
    numpy.divide(numpy.abs(means), errors, out=apart, where=errors > MARGIN)
    critical = _critical(accuracies, least) if count > 1 else 0.0
    return Comparison((means > 0) & (apart > critical), critical, errors)


def disagreements(correct: ndarray) -> ndarray:
    """Count the images on which each two methods differ.

    Args:
        correct: whether each method gets each image right; (m, images), bool.

    Returns:
        (m, m), symmetric, 0 on the diagonal.
    """
    import numpy

    right = correct.astype(numpy.float32)  # whole numbers below 2**24 are exact
    both = (right @ right.T).astype(numpy.float64)
    alone = numpy.diag(both)
    return alone[:, None] + alone[None, :] - 2 * both


def _statistics(accuracies: ndarray, floor: ndarray | float = 0.0) -> tuple[ndarray, ndarray]:
    """Return mean differences and their standard errors, (..., m, m) each.

    Args:
        accuracies: (..., m, n); leading dimensions are boards.
        floor: the least variance of a mean difference.
    """
    import numpy

    count, seeds = accuracies.shape[-2:]
    mean = accuracies.mean(axis=-1)
    centred = accuracies - mean[..., None]
    covariance = centred @ centred.swapaxes(-1, -2) / (seeds - 1)
    own = numpy.diagonal(covariance, axis1=-2, axis2=-1)
    variance = numpy.maximum(own[..., :, None] + own[..., None, :] - 2 * covariance, 0)
    one, other = numpy.triu_indices(count, 1)
    pairs = variance[..., one, other]
    prior = numpy.median(pairs, axis=-1)[..., None, None] if count > 1 else 0.0
    moderated = (PRIOR * prior + (seeds - 1) * variance) / (PRIOR + seeds - 1)
    errors = numpy.sqrt(numpy.maximum(moderated / seeds, floor))
    errors[..., numpy.arange(count), numpy.arange(count)] = 0
    return mean[..., :, None] - mean[..., None, :], errors


def _critical(accuracies: ndarray, least: int) -> float:
    """Return the quantile of the largest statistic where all methods are equal.

    It is no less than Student's for a single pair, which counts where nothing scatters.
    """
    import numpy
    from scipy.special import stdtrit

    count, seeds = accuracies.shape
    random = numpy.random.Generator(numpy.random.PCG64(0))
    centred = (accuracies - accuracies.mean(axis=1)[:, None]) / numpy.sqrt(seeds - 1)
    draws = max(least, min(DRAWS, DRAWS * 150**2 // count**2))
    if count > TOGETHER:
        pairs = _some_pairs(count)
        boards = (centred @ random.standard_normal((seeds, seeds)) for _ in range(draws))
        largest = numpy.array([_largest(board, pairs) for board in boards])
    else:
        largest = _all_pairs(centred, draws, random)
    single = float(stdtrit(seeds - 1, 1 - LEVEL / 2))
    return max(float(numpy.quantile(largest, 1 - LEVEL)), single)


def _all_pairs(centred: ndarray, draws: int, random: Generator) -> ndarray:
    """Return the largest statistic of each of ``draws`` simulated boards, (draws,)."""
    import numpy

    count, seeds = centred.shape
    together = max(1, min(draws, 10**6 // count**2))
    largest = []
    for begin in range(0, draws, together):
        boards = min(together, draws - begin)
        null = centred @ random.standard_normal((boards, seeds, seeds))
        means, errors = _statistics(null)
        apart = numpy.divide(means, errors, out=numpy.zeros_like(means), where=errors > 0)
        largest.append(apart.max(axis=(-1, -2)))
    return numpy.concatenate(largest)


def _some_pairs(count: int) -> ndarray:
    """Return different pairs of methods, (2, p): all of them, or :data:`PAIRS` drawn by lot."""
    import numpy

    pairs = numpy.stack(numpy.triu_indices(count, 1))
    if pairs.shape[1] <= PAIRS:
        return pairs
    chosen = numpy.random.default_rng(0).choice(pairs.shape[1], PAIRS, replace=False)
    return pairs[:, chosen]


def _largest(values: ndarray, pairs: ndarray) -> float:
    """Return the largest statistic of one simulated board, without looking at all of its pairs.

    The moderated variance of a pair is at least what the prior gives it, so a pair whose means are
    so near that even this least variance would not make it the largest need not be looked at. What
    is left are pairs of a high and a low mean.

    Args:
        values: (m, n).
        pairs: those whose median variance is the prior, (2, p).
    """
    import numpy

    count, seeds = values.shape
    means = values.mean(axis=1)
    order = numpy.argsort(means, kind="stable")
    centred, means = (values - means[:, None])[order], means[order]
    own = (centred**2).sum(axis=1)
    one, other = pairs
    squares = ((centred[one] - centred[other]) ** 2).sum(axis=1)
    prior = PRIOR * float(numpy.median(squares)) / (seeds - 1)
    ones = numpy.ones(count)
    left = numpy.column_stack([-2 * centred, own + prior, ones])
    right = numpy.column_stack([centred, ones, own])

    def highest(low: ndarray, high: ndarray) -> float:
        """Return the largest square of a difference by its variances, the prior's and its own."""
        told = means[high, None] - means[low]
        told *= told
        variance = left[high] @ right[low].T
        numpy.maximum(variance, prior, out=variance)
        if prior > 0:
            told /= variance
        else:
            told = numpy.divide(told, variance, out=numpy.zeros_like(told), where=variance > 0)
        return float(told.max(initial=0.0))

    edge = max(1, count // 20)
    least = highest(numpy.arange(edge), numpy.arange(count - edge, count))
    near = numpy.sqrt(least * prior)
    low = numpy.flatnonzero(means[-1] - means >= near)
    high = numpy.flatnonzero(means - means[0] >= near)
    return float(numpy.sqrt(highest(low, high) * (PRIOR + seeds - 1) * seeds))
