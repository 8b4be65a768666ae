"""What a round costs: weights and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dsd_bench.masks import prunable_parameters
from dsd_bench.metrics import MeasureView, Metric
from dsd_bench.metrics.passes import evaluating


class Sparsity(Metric):
    """Sparsity = 1 - nonzero / prunable, over all and over each prunable parameter."""

    def measure(self, view: MeasureView) -> Mapping[str, Any]:
        """Return ``sparsity``, ``nonzero`` and ``sparsity_per_layer`` by parameter name."""
        densities = view.masks.densities()
        return {
            "sparsity": view.masks.sparsity,
            "nonzero": view.masks.nonzero,
            "sparsity_per_layer": {name: 1 - density for name, density in densities.items()},
        }


class Macs(Metric):
    """Multiply-accumulates of the forward pass of one image.

    ``macs_dense`` counts every product; ``macs_effective`` leaves out those with pruned weights:
    each prunable layer's are scaled by its density, all others (attention, say) are dense.
    """

    def measure(self, view: MeasureView) -> Mapping[str, int]:
        """Return ``macs_dense`` and ``macs_effective``, whole numbers."""
        image = torch.zeros(1, *view.shape, device=view.device)
        total, layers = count_macs(view.model, image)
        densities = view.masks.densities()
        spared = sum(macs * (1 - densities[name]) for name, macs in layers.items())
        return {"macs_dense": total, "macs_effective": round(total - spared)}


def count_macs(model: nn.Module, images: torch.Tensor) -> tuple[int, dict[str, int]]:
    """Return all multiply-accumulates of a forward pass, and those of each prunable parameter.

    Half the operations that PyTorch's own counter knows; what it does not know counts 0.

    Args:
        model: any network; it is put into eval mode and back.
        images: float ``(N, C, H, W)``.
    """
    layers: dict[str, int] = {}
    counter = FlopCounterMode(display=False)
    with evaluating(model), counter, _watched(model, counter, layers):
        model(images)
    return counter.get_total_flops() // 2, layers


@contextmanager
def _watched(model: nn.Module, counter: FlopCounterMode, macs: dict[str, int]) -> Iterator[None]:
    """Add to ``macs`` what every layer that uses a prunable weight does inside the block."""
    names = {id(weight): name for name, weight in prunable_parameters(model).items()}

    def before(name: str, *_: Any) -> None:
        macs[name] = macs.get(name, 0) - counter.get_total_flops() // 2

    def after(name: str, *_: Any) -> None:
        macs[name] += counter.get_total_flops() // 2

    handles = []
    for module in model.modules():
        name = names.get(id(getattr(module, "weight", None)))
        if name is not None:
            handles.append(module.register_forward_pre_hook(partial(before, name)))
            handles.append(module.register_forward_hook(partial(after, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
