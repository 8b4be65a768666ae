"""The built-in optimisers; their momentum and weight decay are the protocol's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dsd_bench.optimizers import Optimizer, OptimizerView, Stepping
from dsd_bench.optimizers.sgd import SGD
from dsd_bench.optimizers.wrapping import as_stepping
from dsd_bench.params import Params

if TYPE_CHECKING:
    from dsd_bench.config.run import ProtocolConfig


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum, with the bits of ``torch.optim.SGD``."""

    recordable = True

    def build(self, view: OptimizerView) -> Stepping:
        """Return our own SGD."""
        return SGD(view.parameters, view.momentum, view.weight_decay, view.recorded)


class Adam(Optimizer):
    """``torch.optim.Adam``; beta 2 is 0.999."""

    recordable = True

    def build(self, view: OptimizerView) -> torch.optim.Optimizer:
        """Return torch's."""
        return torch.optim.Adam(view.parameters, **_of_adam(view))


class AdamW(Optimizer):
    """``torch.optim.AdamW``; beta 2 is 0.999."""

    recordable = True

    def build(self, view: OptimizerView) -> torch.optim.Optimizer:
        """Return torch's."""
        return torch.optim.AdamW(view.parameters, **_of_adam(view))


def _of_adam(view: OptimizerView) -> dict[str, Any]:
    return {
        "lr": view.rate,
        "betas": (view.momentum, 0.999),
        "weight_decay": view.weight_decay,
        "capturable": view.recorded,
    }


_KINDS = {"sgd": Sgd, "adam": Adam, "adamw": AdamW}


def built(name: str, view: OptimizerView) -> Stepping:
    """Return what a training needs of a built-in optimiser."""
    return as_stepping(_KINDS[name](Params()).build(view))


def make_stepping(
    optimizer: Optimizer, model: nn.Module, protocol: ProtocolConfig, recorded: bool = False
) -> Stepping:
    """Return a fresh optimiser over all parameters of ``model`` that are not frozen.

    Args:
        optimizer: the component.
        model: the network.
        protocol: its learning rate, momentum and weight decay.
        recorded: make a step that can be recorded as a CUDA graph.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    rate = torch.tensor(protocol.lr, device=trained[0].device) if recorded else protocol.lr
    view = OptimizerView(trained, rate, protocol.momentum, protocol.weight_decay, recorded)
    return as_stepping(optimizer.build(view))
