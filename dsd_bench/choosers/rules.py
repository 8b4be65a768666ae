"""The built-in choosers of the round.

All but ``best`` look at every round, those beyond a dip too: of a curve with sparse double descent
the sparsest network that is good enough lies behind rounds that are not. They are steady: a round
that has become the best is the sparsest so far and hence the choice, and while the best stays,
whether a round is good enough does not change.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from dsd_bench.choosers import Chooser, below, column
from dsd_bench.choosers.builtin import MaxDropParams
from dsd_bench.errors import RunError
from dsd_bench.rounds import Rounds


class Best(Chooser):
    """The round with the highest accuracy on the selecting part, the first of equals."""

    steady = True

    def choose(self, rounds: Rounds, score: str) -> int:
        """Return the chosen round; see :meth:`Chooser.choose`."""
        return best_of(column(rounds, score, "the chooser 'best'"))


class OneSe(Chooser):
    """The sparsest round whose accuracy is within one standard error of the best round's.

    The rule is that of Breiman et al. for the size of a tree. The standard error is paired: it is
    that of the mean over the selecting part's images of the difference between the best and the
    other round (1, 0 or -1 an image). With ``a`` images that only the best one gets right and ``b``
    that only the other does, the difference is ``(a - b) / n`` and its standard error
    ``sqrt((a + b - (a - b)**2 / n) / (n * (n - 1)))``, so that it is within one exactly if

        ``(a - b)**2 <= a + b``

    (McNemar's statistic is at most 1), whatever ``n``. It is computed so, in whole numbers. Ties
    are within. A standard error of 0 means that the two agree on every image, and then the round
    is within, or on none, and then it is not. A single image has no standard error; there the
    inequality decides, and both rounds are within.
    """

    steady = True

    def choose(self, rounds: Rounds, score: str) -> int:
        """Return the chosen round; see :meth:`Chooser.choose`.

        Raises:
            dsd_bench.errors.RunError: if a round lacks which images are right.
        """
        part = score.removesuffix("_accuracy")
        right = [_right(row, part, place) for place, row in enumerate(rounds)]
        best = right[best_of(column(rounds, score, "the chooser 'one-se'"))]
        return _sparsest(rounds, [within(best, other) for other in right], "one-se")


class MaxDrop(Chooser):
    """The sparsest round whose accuracy is at most ``drop`` below the best round's."""

    params: MaxDropParams
    steady = True

    def choose(self, rounds: Rounds, score: str) -> int:
        """Return the chosen round; see :meth:`Chooser.choose`."""
        scores = column(rounds, score, "the chooser 'max-drop'")
        limit = max(scores) - self.params.drop
        return _sparsest(rounds, [not below(one, limit) for one in scores], "max-drop")


def best_of(scores: list[float]) -> int:
    """Return the place of the highest of ``scores``, the first of equals."""
    return scores.index(max(scores))


def within(best: int, other: int) -> bool:
    """Whether ``other`` is within one paired standard error below ``best``.

    Args:
        best: the images that the best round gets right, as the bits of a number.
        other: those of another round.
    """
    only_best, only_other = (best & ~other).bit_count(), (other & ~best).bit_count()
    return (only_best - only_other) ** 2 <= only_best + only_other


def bits_of(text: Any) -> int:
    """Return the bits in ``text``, base64 of ``numpy.packbits``, as those of a number.

    Raises:
        ValueError: if it is no base64.
    """
    try:
        return int.from_bytes(base64.b64decode(text, validate=True), "big")
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("no base64") from None


def _sparsest(rounds: Rounds, good: Sequence[bool], name: str) -> int:
    """Return the sparsest good round, of equally sparse ones the last."""
    sparsities = column(rounds, "sparsity", f"the chooser '{name}'")
    found = [(sparsity, place) for place, sparsity in enumerate(sparsities) if good[place]]
    return max(found)[1]


def _right(row: Mapping[str, Any], part: str, place: int) -> int:
    """Return the images of a part that a round gets right, as the bits of a number."""
    number = row.get("round", place)
    text = (row.get("correct") or {}).get(part)
    if text is None:
        raise RunError(
            f"the chooser 'one-se' needs which {part} images are right, which round {number} lacks "
            "(the first release did not record it); run again with --force, or use max-drop"
        )
    try:
        return bits_of(text)
    except ValueError:
        raise RunError(
            f"the chooser 'one-se' cannot read which {part} images are right in round {number}: "
            "no base64"
        ) from None
