"""The optimiser ``sam``: sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dsd_bench.optimizers import Optimizer, OptimizerView, Stepping, base
from dsd_bench.optimizers.wrapping import Wrapped
from dsd_bench_robust.plugin import SAMParams

TINY = 1e-12
"""Added to the gradients' norm, as in the authors' code: there may be no gradient at all."""


class SAM(Optimizer):
    """Follow the gradient at the worst point nearby: where weights + rho * g / |g| lie.

    |g| is the norm of all gradients together, without those of pruned weights, which stay zero.
    """

    recordable = True
    params: SAMParams

    def build(self, view: OptimizerView) -> Stepping:
        """Return the base optimiser with an ascent before each of its steps."""
        return Sharp(base(self.params.base, view), view.parameters, self.params.rho)


class Sharp(Wrapped):
    """An optimiser of two passes around one of one.

    Args:
        inner: what takes the step by the second gradients.
        parameters: what it trains.
        rho: how far to go uphill.
    """

    def __init__(self, inner: Stepping, parameters: Sequence[nn.Parameter], rho: float) -> None:
        super().__init__(inner)
        self._parameters, self._rho = list(parameters), rho
        self._before: list[tuple[nn.Parameter, Tensor]] = []

    @torch.no_grad()
    def ascend(self) -> None:
        """Go uphill, and remember where the weights were."""
        moved = [(p, p.grad) for p in self._parameters if p.grad is not None]
        self._before = [(p, p.clone()) for p, _ in moved]
        if moved:
            norm = nn.utils.get_total_norm([gradient for _, gradient in moved])
            scale = self._rho / (norm + TINY)
            for parameter, gradient in moved:
                parameter.add_(gradient * scale)

    def step(self) -> None:
        """Go back, and take the step of the base optimiser from there."""
        with torch.no_grad():
            for parameter, before in self._before:
                parameter.copy_(before)
        self._before = []
        super().step()
