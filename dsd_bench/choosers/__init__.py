"""Choosers: pure functions of the rounds of a run that say which one it returns."""

from __future__ import annotations

from dsd_bench.params import Params
from dsd_bench.rounds import Rounds, below, column

__all__ = ["Chooser", "below", "column"]


class Chooser:
    """Base of all choosers of the round.

    Attributes:
        steady: whether a further round can change the choice to nothing but that round. Then the
            weights of the present choice are all that a run needs to hold. Of a chooser that may
            go back to a round that it had passed over, and of every one that does not say
            ``steady = True``, a run keeps the weights of all rounds until it has ended.
    """

    steady = False

    def __init__(self, params: Params) -> None:
        self.params = params

    def choose(self, rounds: Rounds, score: str) -> int:
        """Return the round whose weights the run returns, were it to end after ``rounds``.

        It must be a pure function: asked again with the same rounds it answers the same,
        so a resumed run and ``replay`` choose what the first run would.

        Args:
            rounds: the rows of ``rounds.jsonl`` so far, at least one, round 0 first, which all
                stay as they are. Each also has ``correct``: ``{"val": text or None, "test":
                text}``, base64 of ``numpy.packbits`` of which images are right, zeros after the
                last image; rounds that the first release measured lack it.
            score: the column to judge by: ``val_accuracy``, or ``test_accuracy`` under
                ``--selection test``; accuracies are in 0..1.

        Returns:
            The round's number, from 0 to ``len(rounds) - 1``.
        """
        raise NotImplementedError
