"""Stop criteria: pure functions of the rounds so far."""

from __future__ import annotations

from dsd_bench.params import Params
from dsd_bench.rounds import Rounds, below

__all__ = ["StopCriterion", "below"]


class StopCriterion:
    """Base of all stop criteria."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def stop(self, rounds: Rounds, score: str) -> str | None:
        """Return why to stop after the last of ``rounds``, or None to go on.

        It must be a pure function: asked again with the same rounds it answers the same,
        so a resumed run and ``replay`` stop where the first run would.

        Args:
            rounds: the rows of ``rounds.jsonl`` so far, at least one, round 0 first. Each also
                has ``correct``: ``{"val": text or None, "test": text}``, base64 of
                ``numpy.packbits`` of which images are right, zeros after the last image; rounds
                that the first release measured lack it.
            score: the column to judge by: ``val_accuracy``, or ``test_accuracy`` under
                ``--selection test``; accuracies are in 0..1.
        """
        raise NotImplementedError

    def first(self, rounds: Rounds, score: str) -> int | None:
        """Return the first round after which it stops, None if it never does.

        That is what :meth:`stop` answers, asked after each round of a finished curve; a rule may
        answer at once, for those that ask of thousands of curves.
        """
        return next((n for n in range(len(rounds)) if self.stop(rounds[: n + 1], score)), None)
