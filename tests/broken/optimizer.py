"""Optimisers that each break one check."""

from __future__ import annotations

import torch

from dsd_bench.optimizers import Optimizer

from .process import FACTOR


class Plain(torch.optim.Optimizer):
    """Momentum, kept in the state."""

    factor = 1.0

    def __init__(self, parameters, rate):
        super().__init__(parameters, {"lr": rate})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.update(weight, group["lr"])

    def update(self, weight, rate):
        mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
        mean.mul_(0.9).add_(weight.grad)
        weight.sub_(mean * rate * self.factor)


class Good(Optimizer):
    """Momentum."""

    kind = Plain

    def build(self, view):
        return self.kind(view.parameters, view.rate)


class Learns(Good):
    """Stands still."""

    class kind(Plain):
        def update(self, weight, rate):
            pass


class PrunedStayZero(Good):
    """Adds noise to every weight."""

    class kind(Plain):
        def update(self, weight, rate):
            weight.sub_((weight.grad + 0.1) * rate)


class SameSteps(Good):
    """Draws from a generator that nobody seeds."""

    class kind(Plain):
        draw = torch.Generator().manual_seed(0)

        def update(self, weight, rate):
            weight.sub_(weight.grad * rate * torch.rand((), generator=self.draw))


class StateComesBack(Good):
    """Remembers means that its state does not hold."""

    class kind(Plain):
        def __init__(self, parameters, rate):
            super().__init__(parameters, rate)
            self.means = {}

        def update(self, weight, rate):
            mean = self.means.setdefault(weight, torch.zeros_like(weight))
            mean.mul_(0.9).add_(weight.grad)
            weight.sub_(mean * rate)


class Rate(Good):
    """Has a learning rate of its own."""

    class kind(Plain):
        def update(self, weight, rate):
            super().update(weight, 0.01)


class Frozen(Good):
    """Wants a gradient of every weight."""

    class kind(Plain):
        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.sub_(weight.grad * group["lr"])


class AnyDtype(Good):
    """Multiplies with a matrix in float32."""

    class kind(Plain):
        def update(self, weight, rate):
            if weight.dim() == 2:
                weight.sub_(rate * (weight.grad @ torch.eye(weight.shape[1], device=weight.device)))
            else:
                super().update(weight, rate)


class NoWaiting(Good):
    """Asks the device for a number."""

    class kind(Plain):
        def update(self, weight, rate):
            if weight.grad.norm().item() > 0:
                super().update(weight, rate)


class Resumes(Good):
    """Counts steps, which no checkpoint holds."""

    class kind(Plain):
        steps = 0

        def update(self, weight, rate):
            self.steps += 1
            super().update(weight, rate / self.steps)


class SurvivesKill(Good):
    """Goes by Python's hash, which another process has another of."""

    class kind(Plain):
        factor = FACTOR
