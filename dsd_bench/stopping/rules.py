"""The built-in stop criteria; all are pure functions of the rounds so far.

Whatever they answer, the run returns the best of all its rounds, not the last one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import ClassVar

from dsd_bench.rounds import Rounds, column
from dsd_bench.stopping import StopCriterion, below
from dsd_bench.stopping.builtin import (
    EntropyGateParams,
    GateParams,
    InterpolationGateParams,
    PatienceParams,
    TargetParams,
)


class Never(StopCriterion):
    """Go on to the end of the schedule."""

    def stop(self, rounds: Rounds, score: str) -> str | None:
        """Return None always."""
        return None

    def first(self, rounds: Rounds, score: str) -> int | None:
        """Return None always."""
        return None


class Target(StopCriterion):
    """Stop once the sparsity reaches ``sparsity``."""

    params: TargetParams

    def stop(self, rounds: Rounds, score: str) -> str | None:
        """Return why to stop, or None; see :meth:`StopCriterion.stop`."""
        reached, wanted = _column(rounds[-1:], "sparsity", "target")[0], self.params.sparsity
        if below(reached, wanted):
            return None
        return f"sparsity {reached:.4f} reached the target of {wanted:g}"

    def first(self, rounds: Rounds, score: str) -> int | None:
        """Return the first round after which it stops; see :meth:`StopCriterion.first`."""
        reached = enumerate(_column(rounds, "sparsity", "target"))
        return next((n for n, one in reached if not below(one, self.params.sparsity)), None)


class Patience(StopCriterion):
    """The usual early stop.

    A round is bad if its accuracy is below the best of the rounds before it (the dense one
    included) by more than ``tolerance``; ``patience`` bad rounds in a row end the run.
    """

    params: PatienceParams

    def stop(self, rounds: Rounds, score: str) -> str | None:
        """Return why to stop, or None; see :meth:`StopCriterion.stop`."""
        scores = _column(rounds, score, "patience")
        return _early_stop(scores, self.params.tolerance, self.params.patience, score)

    def first(self, rounds: Rounds, score: str) -> int | None:
        """Return the first round after which it stops; see :meth:`StopCriterion.first`."""
        return _first_stop(_column(rounds, score, "patience"), self.params)


class _Gate(StopCriterion):
    """The usual early stop, but only from the round on in which a gate opens.

    Once open it stays open. The best accuracy starts anew in the round that opens it: compared with
    the light phase before the dip, the rule would stop at the dip's bottom.
    """

    params: GateParams
    name: ClassVar[str]
    gate: ClassVar[str]

    def opened(self, rounds: Rounds) -> int | None:
        """Return the first round in which the gate is open, None while there is none."""
        raise NotImplementedError

    def stop(self, rounds: Rounds, score: str) -> str | None:
        """Return why to stop, or None; see :meth:`StopCriterion.stop`.

        Raises:
            dsd_bench.errors.RunError: if the rounds lack the column that the gate reads.
        """
        opened = self.opened(rounds)
        if opened is None:
            return None
        scores = _column(rounds[opened:], score, self.name)
        why = _early_stop(scores, self.params.tolerance, self.params.patience, score)
        return why and f"the {self.gate} gate opened in round {opened}; since then {why}"

    def first(self, rounds: Rounds, score: str) -> int | None:
        """Return the first round after which it stops; see :meth:`StopCriterion.first`."""
        opened = self.opened(rounds)
        if opened is None:
            return None
        found = _first_stop(_column(rounds[opened:], score, self.name), self.params)
        return None if found is None else opened + found


class EntropyGate(_Gate):
    """Algorithm 2: no early stop while the entropy H is stationary.

    H is the neurons' mean entropy over the train part (column ``entropy``), H0 the dense
    model's. The gate opens in the first pruned round with (H0 - H) / H0 > ``drop``. The test is
    of the signed drop, because H may *rise* before it falls and ``|H0 - H|`` would fire on the
    rise. The paper prints no reset of the best accuracy.
    """

    params: EntropyGateParams
    name = "entropy-gate"
    gate = "entropy"

    def opened(self, rounds: Rounds) -> int | None:
        """Return the first round whose entropy has fallen far enough."""
        return gate_opened(_column(rounds, "entropy", self.name), self.params.drop)


class InterpolationGate(_Gate):
    """No early stop while the network still fits the labels that it is given, wrong ones included.

    The dip is where a network can no longer fit them all; where it fits a tenth fewer than it once
    did, the dip is behind it. The gate opens in the first round whose train accuracy (column
    ``train_accuracy``, with the given labels) is below the highest so far by more than ``drop``.
    Unlike entropy, which falls earlier the deeper the network is, it knows nothing of layers.
    """

    params: InterpolationGateParams
    name = "interpolation-gate"
    gate = "interpolation"

    def opened(self, rounds: Rounds) -> int | None:
        """Return the first round whose train accuracy has fallen far enough."""
        return fit_lost(_column(rounds, "train_accuracy", self.name), self.params.drop)


def gate_opened(entropies: Sequence[float], drop: float) -> int | None:
    """Return the first index whose entropy is below the first one by more than ``drop`` of it.

    None while there is none; an entropy that begins at 0 cannot fall.
    """
    start = entropies[0]
    if start <= 0:
        return None
    falls = (below(drop, (start - entropy) / start) for entropy in entropies)
    return next((index for index, fell in enumerate(falls) if fell), None)


def fit_lost(accuracies: Sequence[float], drop: float) -> int | None:
    """Return the first index whose accuracy is below the highest so far by more than ``drop``."""
    highest = accumulate(accuracies, max)
    falls = (below(drop, best - now) for best, now in zip(highest, accuracies))
    return next((index for index, fell in enumerate(falls) if fell), None)


def _early_stop(scores: Sequence[float], tolerance: float, patience: int, name: str) -> str | None:
    """Apply the usual early stop to ``scores``, the first of which sets the best."""
    best, bad = max(scores), [*_bad_in_a_row(scores, tolerance)][-1]
    if bad < patience:
        return None
    rounds = "1 round" if bad == 1 else f"{bad} rounds in a row"
    margin = f" by more than {tolerance:g}" if tolerance else ""
    return f"{name} was below its best of {best:.4f}{margin} for {rounds} (last {scores[-1]:.4f})"


def _first_stop(scores: Sequence[float], params: PatienceParams | GateParams) -> int | None:
    """Return where the usual early stop ends ``scores``, None if nowhere."""
    bad = enumerate(_bad_in_a_row(scores, params.tolerance))
    return next((place for place, count in bad if count >= params.patience), None)


def _bad_in_a_row(scores: Sequence[float], tolerance: float) -> Iterator[int]:
    """Yield for each score how many in a row, it the last, are below the best before them."""
    best, bad = scores[0], 0
    for score in scores:
        bad = bad + 1 if below(score, best - tolerance) else 0
        best = max(best, score)
        yield bad


def _column(rounds: Rounds, name: str, rule: str) -> list[float]:
    """Return a column of ``rounds``, or say why the rule cannot do without it."""
    return column(rounds, name, f"the stop rule '{rule}'")
