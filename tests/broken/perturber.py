"""Perturbers that each break one check."""

from __future__ import annotations

import torch

from dsd_bench.perturbers import Perturber

from .process import FACTOR


class Good(Perturber):
    """Add a tenth of a new initialisation."""

    @property
    def factor(self):
        return 0.1

    @torch.no_grad()
    def perturb(self, view):
        fresh = view.fresh()
        for name, weight in view.model.named_parameters():
            weight.add_(fresh[name], alpha=self.factor)


class SameSeed(Good):
    """Draws from a generator that nobody seeds."""

    draw = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def perturb(self, view):
        for weight in view.model.parameters():
            weight.mul_(torch.rand((), generator=self.draw))


class ChangesWeightsOnly(Good):
    """Freezes a layer."""

    def perturb(self, view):
        super().perturb(view)
        next(view.model.parameters()).requires_grad_(False)


class Snapshots(Good):
    """Names another step each time."""

    asked = 0

    def snapshots(self):
        self.asked += 1
        return (self.asked,)


class OddNetworks(Good):
    """Unties weights that are shared."""

    def perturb(self, view):
        super().perturb(view)
        if hasattr(view.model, "twin"):
            view.model.twin.weight = torch.nn.Parameter(view.model.twin.weight.detach().clone())


class AnyDtype(Good):
    """Makes every weight float32."""

    def perturb(self, view):
        super().perturb(view)
        for weight in view.model.parameters():
            weight.data = weight.data.float()


class AnyDevice(Good):
    """Makes a tensor on the CPU, wherever the network lives."""

    @torch.no_grad()
    def perturb(self, view):
        for weight in view.model.parameters():
            weight.add_(torch.ones(weight.shape))


class Resumes(Good):
    """Remembers how often it was asked, which no checkpoint holds."""

    asked = 0

    def perturb(self, view):
        self.asked += 1
        super().perturb(view)

    @property
    def factor(self):
        return 0.1 * self.asked


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    @property
    def factor(self):
        return FACTOR
