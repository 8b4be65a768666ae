"""Penalties on the size of the weights, added to the loss (Appendix D of the paper).

They cover the prunable weights (Conv and Linear, see :mod:`dsd_bench.masks`), not biases or
normalisation. Pruned weights are zero and add nothing.
"""

from __future__ import annotations

from torch import Tensor

from dsd_bench.masks import prunable_parameters
from dsd_bench.regularizers import Regularizer, Step, TrainingView
from dsd_bench.regularizers.builtin import L1Params, L2Params


class _Penalty(Regularizer):
    """What L1 and L2 share: the weights, and adding to the loss."""

    params: L1Params | L2Params

    def begin(self, view: TrainingView) -> None:
        """Keep the prunable weights."""
        self._weights = list(prunable_parameters(view.model).values())

    def end(self) -> None:
        """Let go of the weights."""
        self._weights = []

    def loss(self, loss: Tensor, step: Step) -> Tensor:
        """Return ``loss`` plus ``weight`` times the penalty."""
        return loss + self.params.weight * sum(self.size(weight) for weight in self._weights)

    def size(self, weight: Tensor) -> Tensor:
        """Return the penalty of one tensor."""
        raise NotImplementedError


class L1(_Penalty):
    """Loss -> ``loss + weight * sum |w|``."""

    def size(self, weight: Tensor) -> Tensor:
        """Return ``sum |w|``."""
        return weight.abs().sum()


class L2(_Penalty):
    """Loss -> loss + weight * sum w^2; its gradient is 2 * weight * w.

    Unlike the optimiser's weight decay (gradient decay * w on *all* parameters) it is part of the
    loss, and ``weight`` equals a decay of twice its value.
    """

    def size(self, weight: Tensor) -> Tensor:
        """Return sum w^2."""
        return weight.square().sum()
