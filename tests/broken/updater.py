"""Updaters that each break one check."""

from __future__ import annotations

import torch

from dsd_bench.masks import Masks, grow_by_scores, prune_to
from dsd_bench.updaters import Updater

from .process import SEED


class Good(Updater):
    """Drop the smallest tenth of each layer and let as many come back, by a draw."""

    regrows = True
    share = 0.1

    def steps(self, total, per_epoch):
        return sorted({max(1, total // 4), max(1, total // 2)})

    def sizes(self, view):
        weights = dict(view.model.named_parameters(remove_duplicate=False))
        return {name: weights[name].detach().abs() for name in view.masks.weights}

    def update(self, view):
        stay = {n: max(1, round((1 - self.share) * c)) for n, c in view.masks.counts.items()}
        fewer = prune_to(self.sizes(view), view.masks, stay)
        back = {name: count - stay[name] for name, count in view.masks.counts.items()}
        return grow_by_scores(self.draws(view), fewer, back)

    def draws(self, view):
        return {
            name: torch.rand(mask.shape, generator=view.generator)
            for name, mask in view.masks.weights.items()
        }


class Steps(Good):
    """Names other steps each time."""

    made = 0

    def __init__(self, params):
        super().__init__(params)
        Steps.made += 1

    def steps(self, total, per_epoch):
        return [1 + Steps.made % total]


class SameSeed(Good):
    """Draws from a generator that nobody seeds."""

    draw = torch.Generator().manual_seed(0)

    def draws(self, view):
        return {
            name: torch.rand(mask.shape, generator=self.draw)
            for name, mask in view.masks.weights.items()
        }


class ExactCounts(Good):
    """Drops more than are due."""

    def update(self, view):
        return prune_to(self.sizes(view), view.masks, view.masks.nonzero - 3)


class DeclaresRightly(Good):
    """Says that weights come back, and lets none."""

    def update(self, view):
        return view.masks


class ChangesNothing(Good):
    """Zeroes what it drops by itself."""

    def update(self, view):
        masks = super().update(view)
        masks.apply(view.model)
        return masks


class OddNetworks(Good):
    """Knows networks of one kind only."""

    def update(self, view):
        assert view.model[1].weight is not None
        return super().update(view)


class AnyDtype(Good):
    """Multiplies with a matrix in float32."""

    def sizes(self, view):
        return {
            name: size @ torch.eye(size.shape[1]) if size.dim() == 2 else size
            for name, size in super().sizes(view).items()
        }


class AnyDevice(Good):
    """Makes masks on the CPU, wherever the network lives."""

    def update(self, view):
        weights = {
            name: mask & torch.ones(mask.shape, dtype=torch.bool)
            for name, mask in view.masks.weights.items()
        }
        return Masks(weights)


class Resumes(Good):
    """Counts its updates, which no checkpoint holds."""

    asked = 0

    def update(self, view):
        self.asked += 1
        self.share = 0.05 * self.asked
        return super().update(view)


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    def draws(self, view):
        draw = torch.Generator().manual_seed(SEED)
        return {
            name: torch.rand(mask.shape, generator=draw)
            for name, mask in view.masks.weights.items()
        }
