"""Sharpness-aware minimisation as small as it gets, for tests of optimisers with two passes.

Foret et al. 2021, Sharpness-Aware Minimization for Efficiently Improving Generalization (ICLR),
Algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dsd_bench.optimizers import Optimizer, OptimizerView, Stepping, base
from dsd_bench.optimizers.wrapping import Wrapped

RHO = 0.1


def climbed(parameters: list[nn.Parameter]) -> list[Tensor]:
    """Move weights by ``RHO`` along their gradients and return where they were."""
    grads = [p.grad for p in parameters if p.grad is not None]
    scale = RHO / torch.linalg.vector_norm(torch.stack([g.norm() for g in grads]))
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p in parameters:
            if p.grad is not None:
                p.add_(p.grad * scale)
    return before


def brought_back(parameters: list[nn.Parameter], before: list[Tensor]) -> None:
    """Undo :func:`climbed`."""
    with torch.no_grad():
        for p, old in zip(parameters, before):
            p.copy_(old)


class OfTorch(torch.optim.SGD):
    """With torch's interface."""

    def ascend(self) -> None:
        self.mine = [p for group in self.param_groups for p in group["params"]]
        self.before = climbed(self.mine)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        brought_back(self.mine, self.before)
        super().step()


class Around(Wrapped):
    """Around a built-in one."""

    def __init__(self, inner: Stepping, parameters: list[nn.Parameter]) -> None:
        super().__init__(inner)
        self.mine = parameters

    def ascend(self) -> None:
        self.before = climbed(self.mine)

    def step(self) -> None:
        brought_back(self.mine, self.before)
        super().step()


class Torchs(Optimizer):
    recordable = True

    def build(self, view: OptimizerView) -> torch.optim.Optimizer:
        return OfTorch(
            view.parameters, view.rate, momentum=view.momentum, weight_decay=view.weight_decay
        )


class Ours(Optimizer):
    recordable = True

    def build(self, view: OptimizerView) -> Stepping:
        return Around(base("sgd", view), list(view.parameters))
