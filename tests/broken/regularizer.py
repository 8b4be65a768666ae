"""Regularizers that each break one check."""

from __future__ import annotations

import torch

from dsd_bench.regularizers import Regularizer

from .process import FACTOR


class Good(Regularizer):
    """Add a tenth of the mean squared logit."""

    @property
    def factor(self):
        return 0.1

    def loss(self, loss, step):
        return loss + self.factor * step.logits.float().square().mean()


class SameSeed(Good):
    """Draws from a generator that nobody seeds."""

    draw = torch.Generator().manual_seed(0)

    def loss(self, loss, step):
        return super().loss(loss, step) + torch.rand((), generator=self.draw)


class Gradients(Good):
    """Detaches the loss."""

    def loss(self, loss, step):
        return super().loss(loss, step).detach()


class LeavesNoTrace(Good):
    """Leaves its hook."""

    def begin(self, view):
        view.model.register_forward_hook(lambda *_: None)


class NoWaiting(Good):
    """Asks the device for a number."""

    def loss(self, loss, step):
        return loss * 2 if step.logits.sum().item() > 0 else loss


class Images(Good):
    """Gives floats."""

    def batch(self, images, labels=None):
        return images.float()


class LowPrecision(Good):
    """Computes in the logits' precision."""

    def criterion(self, step):
        return torch.nn.functional.cross_entropy(step.logits, step.labels)

    def loss(self, loss, step):
        return loss


class ByParts(Good):
    """Adds a sum over the images."""

    def loss(self, loss, step):
        return loss + step.logits.float().square().sum()


class OddNetworks(Good):
    """Knows networks of one kind only."""

    def begin(self, view):
        self.layer = view.model[1]


class Resumes(Good):
    """Counts steps, which no checkpoint holds."""

    steps = 0

    def loss(self, loss, step):
        self.steps += 1
        return loss + 0.01 * self.steps * step.logits.float().square().mean()

    def begin(self, view):
        self.steps = 0


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    @property
    def factor(self):
        return FACTOR
