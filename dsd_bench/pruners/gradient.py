"""The pruner that asks how much the loss would change."""

from __future__ import annotations

from torch import Tensor

from dsd_bench.gradients import mean_gradients
from dsd_bench.masks import prunable_parameters
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench.pruners.builtin import GradientParams


class Gradient(Pruner):
    """Score ``|w * dL/dw|``: to first order, what the loss changes by when ``w`` goes to zero.

    ``L`` is the cross-entropy, in nats per image, on the given labels over ``batches`` training
    batches, in eval mode and without regularizers: the gradients of the batches add up before
    the absolute value is taken (Lee et al. 2019). The model, its buffers, gradients and
    train/eval flags, and all global generators are left as they were.
    """

    params: GradientParams

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return the scores, of the weights' shapes; a weight that the loss ignores scores 0."""
        weights = prunable_parameters(view.model)
        gradients = mean_gradients(view.model, weights, view.batches(self.params.batches))
        return {name: (w.detach() * gradients[name]).abs() for name, w in weights.items()}
