"""The updater ``set``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dsd_bench.masks import Masks, grow_by_scores, prune_to
from dsd_bench.updaters import Updater, UpdateView
from dsd_bench_dynamic.plugin import SETParams


class SET(Updater):
    """Sparse evolutionary training (Mocanu et al. 2018, algorithm 1).

    After an epoch, but not the last, each layer loses the ``share`` of its smallest positive
    weights, that of its smallest negative ones, both rounded down, and those that are exactly zero;
    as many come back at random places that were empty before, and only if there are too few at
    places that became so. Each layer keeps as many weights as the pruner left it.
    """

    params: SETParams
    regrows = True

    def steps(self, total: int, per_epoch: int) -> Sequence[int]:
        """Return the last step of each ``every``-th epoch but the training's last."""
        return range(self.params.every * per_epoch, total, self.params.every * per_epoch)

    def update(self, view: UpdateView) -> Masks:
        """Return the exchanged masks."""
        parameters = dict(view.model.named_parameters(remove_duplicate=False))
        stays, places, left = {}, {}, {}
        for name, mask in view.masks.weights.items():
            stays[name] = self._stays(parameters[name].detach(), mask)
            left[name] = max(int(stays[name].count_nonzero()), 1)
            draws = torch.rand(mask.shape, generator=view.generator).to(mask.device)
            places[name] = draws - mask.float()  # what was there before is last
        counts = view.masks.counts
        kept = prune_to({name: stay.float() for name, stay in stays.items()}, view.masks, left)
        return grow_by_scores(places, kept, {name: counts[name] - left[name] for name in counts})

    def _stays(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Return which of a layer's weights stay."""
        found = torch.zeros_like(mask)
        for side in (weight, -weight):
            there = mask & (side > 0)
            order = torch.where(there, side, torch.inf).flatten().sort(stable=True).indices
            count = int(there.count_nonzero())
            found.view(-1)[order[int(self.params.share * count) : count]] = True
        return found
