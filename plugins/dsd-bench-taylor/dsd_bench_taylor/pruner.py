"""The pruner ``taylor``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dsd_bench.gradients import probing
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench_taylor.plugin import TaylorParams


class Taylor(Pruner):
    """Score the sum over training batches of ``(w * dL/dw)^2`` (Molchanov et al. 2019).

    To first order, the squared change of a batch's loss when ``w`` goes to zero. ``L`` is the mean
    cross-entropy of one batch, in eval mode and without regularizers. Each batch is squared
    before the sum, so a weight that batches pull to opposite sides counts as important. The
    built-in ``gradient`` adds the batches' gradients first, and there they cancel; with one
    batch both rank alike.
    """

    params: TaylorParams

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return the scores, of the weights' shapes; a weight that the loss ignores scores 0."""
        parameters = dict(view.model.named_parameters(remove_duplicate=False))
        weights = {name: parameters[name] for name in view.masks.weights}
        totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        with probing(view.model, list(weights.values())):
            for images, labels in view.batches(self.params.batches):
                loss = functional.cross_entropy(view.model(images), labels)
                # not backward(): the parameters' own .grad stay as they are
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                    if gradient is not None:
                        totals[name] += (weight.detach() * gradient).square()
        return totals
