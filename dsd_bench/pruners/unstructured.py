"""Pruners that look at single weights and need no data."""

from __future__ import annotations

import torch

from dsd_bench.masks import prunable_parameters
from dsd_bench.pruners import Pruner, PruneView


class Magnitude(Pruner):
    """Score ``|w|``: the paper's pruner (Section 3.2; Han et al. 2015)."""

    def scores(self, view: PruneView) -> dict[str, torch.Tensor]:
        """Return the weights' absolute values, of the weights' shapes."""
        weights = prunable_parameters(view.model)
        return {name: weight.detach().abs() for name, weight in weights.items()}


class Random(Pruner):
    """Uniform scores in [0, 1) from the run's own stream (He et al. 2022)."""

    def scores(self, view: PruneView) -> dict[str, torch.Tensor]:
        """Return one draw for each weight, pruned or not, in the model's order.

        Drawn on the CPU, so that every device prunes the same weights.
        """
        return {
            name: torch.rand(weight.shape, generator=view.generator)
            for name, weight in prunable_parameters(view.model).items()
        }
