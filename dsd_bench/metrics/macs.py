"""What a round costs: weights and multiply-accumulates."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.masks import prunable_parameters
from dsd_bench.metrics import MeasureView, Metric
from dsd_bench.metrics.products import products
from dsd_bench.metrics.step import StepMacs


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

    _counted: tuple[weakref.ref[nn.Module], tuple[int, dict[str, int]]] | None = None
    """The network that was counted last, and its counts: they don't change from round to round."""

    def measure(self, view: MeasureView) -> Mapping[str, int]:
        """Return ``macs_dense`` and ``macs_effective``, whole numbers."""
        if self._counted is None or self._counted[0]() is not view.model:
            image = torch.zeros(1, *view.shape, device=view.device)
            self._counted = weakref.ref(view.model), count_macs(view.model, image)
        total, layers = self._counted[1]
        sparsity = {name: 1 - density for name, density in view.masks.densities().items()}
        return {"macs_dense": total, "macs_effective": effective_macs(total, layers, sparsity)}


def effective_macs(total: int, layers: Mapping[str, int], sparsity: Mapping[str, float]) -> int:
    """Return what of ``total`` is left without the products with pruned weights.

    Args:
        total: all multiply-accumulates.
        layers: the part of each prunable parameter, by its name.
        sparsity: of each prunable parameter, 0..1 (``sparsity_per_layer`` of a row).
    """
    return round(total - sum(macs * sparsity[name] for name, macs in layers.items()))


def count_macs(model: nn.Module, images: Tensor) -> tuple[int, dict[str, int]]:
    """Return all multiply-accumulates of a forward pass, and those of each prunable parameter.

    Convolutions and products of matrices count, attention's too; all else counts 0.

    Args:
        model: any network; it is put into eval mode and back.
        images: float ``(N, C, H, W)``.
    """
    with products(model, prunable_parameters(model)) as counter:
        model(images)
    return counter.total, {name: found[0] for name, found in counter.layers.items()}


def count_step(model: nn.Module, image: Tensor) -> StepMacs:
    """Count a forward pass and a real backward pass of one image.

    Args:
        model: any network, also one on the device ``meta``, whose weights have no values.
        image: float ``(1, C, H, W)``.
    """
    with products(model, prunable_parameters(model)) as counter, torch.enable_grad():
        outputs = model(image)
        forward, counter.forward = counter.total, False
        outputs.sum().backward()
    for parameter in model.parameters():
        parameter.grad = None
    layers = {name: (found[0], found[1]) for name, found in counter.layers.items()}
    return StepMacs(forward, counter.total - forward, layers)
