"""The pruner ``lamp``."""

from __future__ import annotations

import torch
from torch import Tensor

from dsd_bench.masks import prunable_parameters
from dsd_bench.pruners import Pruner, PruneView


class Lamp(Pruner):
    """Score ``w^2`` over the sum of ``v^2`` over the layer's kept ``v`` from ``w`` on, by size.

    Equation 4 of Lee et al. 2021: the share that a weight has of what would be left of its layer
    if all smaller ones went. A layer's largest weight scores 1. Ranked over all layers this sets
    the layers' ratios; in scope ``layer`` it is the pruner ``magnitude``.
    """

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return the scores, float64 in 0..1 of the weights' shapes."""
        masks = view.masks.weights
        return {
            name: lamp(weight.detach(), masks[name])
            for name, weight in prunable_parameters(view.model).items()
        }


def lamp(weight: Tensor, mask: Tensor) -> Tensor:
    """Return the scores of one layer; equal weights go in order, pruned ones score 0.

    On the CPU and in double: the same order on every device.
    """
    squares = torch.where(mask, weight, 0).cpu().double().square().flatten()
    order = squares.sort(stable=True).indices
    ranked = squares[order]
    rest = ranked.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(ranked)
    scores[order] = torch.where(rest > 0, ranked / rest, 0)
    return scores.view(weight.shape)
