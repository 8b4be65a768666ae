"""Which of its rounds a run returns, and whose weights it must hold for that; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsd_bench.choosers import Chooser
from dsd_bench.config.run import RunConfig
from dsd_bench.config.words import build_component
from dsd_bench.errors import RunError
from dsd_bench.experiment.ending import best_round
from dsd_bench.plugins import catalogue
from dsd_bench.store.checkpoint import DENSE, Row, round_of, weights_name


@dataclass(frozen=True)
class Choice:
    """How a run's round is chosen.

    Attributes:
        name: of the chooser.
        chooser: the built component.
        score: the column that it judges by.
    """

    name: str
    chooser: Chooser
    score: str

    def of(self, rows: Sequence[Row]) -> int:
        """Return the chosen one of ``rows``, which are at least one.

        Raises:
            RunError: if the chooser answers anything but the number of one of them.
        """
        answer = self.chooser.choose(rows, self.score)
        if type(answer) is not int or not 0 <= answer < len(rows):
            raise RunError(
                f"chooser '{self.name}' answers {answer!r:.80}, which is none of the rounds 0 to "
                f"{len(rows) - 1}"
            )
        return answer

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether the weights of the last of ``rows`` must be held until the run has ended.

        Those of a round that beats all before it always are, for runs of the same curve that choose
        the best. So the chosen round is among those that are held, whatever ends the curve.
        """
        last = len(rows) - 1
        if not self.chooser.steady or best_round(rows, self.score) == last:
            return True
        return self.of(rows) == last

    def needed(self, rows: Sequence[Row], kept: Sequence[str], ended: bool) -> tuple[str, ...]:
        """Return which weights a run with ``rows`` cannot do without.

        Args:
            rows: of the rounds so far.
            kept: names of the weights that are there.
            ended: whether no round will follow.
        """
        if rows and not ended and not self.chooser.steady:
            return tuple(kept)
        needed = {DENSE, *([weights_name(self.of(rows))] if rows else [])}
        return tuple(name for name in kept if name in needed or round_of(name) is None)

    def missing(self, rows: Sequence[Row], kept: Sequence[str], ended: bool) -> list[int]:
        """Return the rounds whose weights a run that begins with ``rows`` would lack."""
        wanted = [self.of(rows)] if ended or self.chooser.steady else range(len(rows))
        return [round for round in wanted if weights_name(round) not in kept]


def choice_of(config: RunConfig) -> Choice:
    """Return how the run of ``config`` chooses its round.

    Raises:
        UsageError: if its chooser is not installed, or in another version.
    """
    chosen = config.chosen("chooser")
    return Choice(chosen.name, build_component(catalogue(), "chooser", chosen), config.score)
