"""Pruners that each break one check."""

from __future__ import annotations

from typing import ClassVar

import torch

from dsd_bench.masks import Masks, NothingLeft, prune_by_scores
from dsd_bench.pruners import Pruned, Pruner, PrunerParams

from .process import SEED


class Good(Pruner):
    """Score the absolute values."""

    params: PrunerParams

    def scores(self, view):
        weights = dict(view.model.named_parameters())
        return {name: weights[name].detach().abs() for name in view.masks.weights}


class Implements:
    """No pruner at all."""

    def __init__(self, params):
        self.params = params


class Documented(Good):
    pass


class Parameters(Good):
    """Its parameters do not come back from a word."""


class Expectations(Good):
    """Expects a check to fail that there is none of."""

    expected_failed_checks: ClassVar = {"same-sed": "a typing mistake"}


class SameSeed(Good):
    """Draws from a generator that nobody seeds."""

    draw = torch.Generator().manual_seed(0)

    def scores(self, view):
        return {
            name: torch.rand(mask.shape, generator=self.draw)
            for name, mask in view.masks.weights.items()
        }


class ExactCounts(Good):
    """Prunes twice as many as it is told."""

    def prune(self, view):
        return prune_by_scores(self.scores(view), view.masks, 2 * self.params.fraction, "global")


class NewWeights(Good):
    """Halves what stays, and does not say that it does so."""

    def prune(self, view):
        weights = dict(view.model.named_parameters())
        halves = {name: weights[name].detach() / 2 for name in view.masks.weights}
        return Pruned(super().prune(view), halves)


class ChangesNothing(Good):
    """Leaves gradients behind, and eval mode."""

    def scores(self, view):
        view.model.eval()
        for images, labels in view.batches(1):
            torch.nn.functional.cross_entropy(view.model(images), labels).backward()
        return super().scores(view)


class OddNetworks(Good):
    """Divides by the largest of a layer, which may be zero."""

    def scores(self, view):
        return {name: size / size.max() for name, size in super().scores(view).items()}

    def prune(self, view):
        scores = self.scores(view)
        if any(bool(score.isnan().any()) for score in scores.values()):
            raise ZeroDivisionError("a layer of zeros")
        return prune_by_scores(scores, view.masks, self.params.fraction, self.params.scope)


class ToTheEnd(Good):
    """Empties layers when little is left."""

    def prune(self, view):
        if view.masks.nonzero == 0:
            raise NothingLeft("nothing")
        try:
            return super().prune(view)
        except NothingLeft:
            return Masks({k: torch.zeros_like(m) for k, m in view.masks.weights.items()})


class AnyDtype(Good):
    """Computes with a matrix in float32."""

    def scores(self, view):
        return {
            name: score.flatten(1) @ torch.eye(score.flatten(1).shape[1])
            if score.dim() == 2
            else score
            for name, score in super().scores(view).items()
        }


class AnyDevice(Good):
    """Makes a tensor on the CPU, wherever the network lives."""

    def scores(self, view):
        return {
            name: score + torch.arange(float(score.numel())).view(score.shape)
            for name, score in super().scores(view).items()
        }


class Resumes(Good):
    """Remembers how often it was asked, which no checkpoint holds."""

    asked = 0

    def scores(self, view):
        self.asked += 1
        if self.asked == 1:
            return super().scores(view)
        return {name: -score for name, score in super().scores(view).items()}


class SurvivesKill(Good):
    """Scores by Python's hash, which another process has another of."""

    def scores(self, view):
        draw = torch.Generator().manual_seed(SEED)
        return {
            name: torch.rand(mask.shape, generator=draw)
            for name, mask in view.masks.weights.items()
        }
