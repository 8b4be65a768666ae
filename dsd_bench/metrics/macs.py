"""What a round costs: weights and multiply-accumulates."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode, conv_flop_count

from dsd_bench.masks import prunable_parameters
from dsd_bench.metrics import MeasureView, Metric
from dsd_bench.metrics.passes import evaluating, without_compiler

without_compiler(_FlopCounterMode)


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
        densities = view.masks.densities()
        spared = sum(macs * (1 - densities[name]) for name, macs in layers.items())
        return {"macs_dense": total, "macs_effective": round(total - spared)}


def count_macs(model: nn.Module, images: Tensor) -> tuple[int, dict[str, int]]:
    """Return all multiply-accumulates of a forward pass, and those of each prunable parameter.

    Half the operations that PyTorch's own counter knows; what it does not know counts 0.

    Args:
        model: any network; it is put into eval mode and back.
        images: float ``(N, C, H, W)``.
    """
    layers: dict[str, list[int]] = {}
    counter = FlopCounterMode(display=False)
    with evaluating(model), counter, _watched(model, counter, layers):
        model(images)
    return counter.get_total_flops() // 2, {name: found[0] for name, found in layers.items()}


@dataclass(frozen=True)
class StepMacs:
    """Multiply-accumulates of one image's forward and backward pass, every weight counted.

    Backward are the products that make the gradients of the weights and of the layers' inputs;
    the first layer's input needs none, so backward is less than twice forward.

    Attributes:
        forward, backward: of the whole network.
        layers: the part of them, ``(forward, backward)``, that uses or makes the gradient of
            each prunable parameter, by its name.
    """

    forward: int
    backward: int
    layers: Mapping[str, tuple[int, int]]

    @property
    def total(self) -> int:
        """Forward and backward."""
        return self.forward + self.backward

    def effective(self, sparsity: Mapping[str, float]) -> tuple[int, int]:
        """Return forward and backward without what pruned weights take part in.

        Left out are the products with a pruned weight, in both directions, and those that make
        its gradient, which is masked away: each prunable layer's count times its density.

        Args:
            sparsity: of each prunable parameter, 0..1 (``sparsity_per_layer`` of a row).
        """
        spared = [
            sum(found[way] * sparsity[n] for n, found in self.layers.items()) for way in (0, 1)
        ]
        return round(self.forward - spared[0]), round(self.backward - spared[1])


def count_step(model: nn.Module, image: Tensor) -> StepMacs:
    """Count a forward pass and a real backward pass of one image.

    Args:
        model: any network, also one on the device ``meta``, whose weights have no values.
        image: float ``(1, C, H, W)``.
    """
    layers: dict[str, list[int]] = {}
    counter = FlopCounterMode(display=False, custom_mapping=_BACKWARD)
    with evaluating(model), torch.enable_grad(), counter:
        with _watched(model, counter, layers):
            outputs = model(image)
        forward = counter.get_total_flops() // 2
        outputs.sum().backward()
    for parameter in model.parameters():
        parameter.grad = None
    backward = counter.get_total_flops() // 2 - forward
    return StepMacs(forward, backward, {n: (f, b) for n, (f, b) in layers.items()})


def _convolution_backward(
    grad: Sequence[int], inputs: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any
) -> int:
    """Count the gradients of a convolution: each takes as many products as the forward pass.

    PyTorch's own formula counts the weights' gradient of a grouped convolution once for each
    pair of groups, 8 times too often for 8 groups.
    """
    transposed, wanted = rest[4], rest[7]
    once = conv_flop_count(list(inputs), list(weight), list(grad), transposed=transposed)
    return once * (bool(wanted[0]) + bool(wanted[1]))


_BACKWARD = {torch.ops.aten.convolution_backward: _convolution_backward}


@contextmanager
def _watched(
    model: nn.Module, counter: FlopCounterMode, macs: dict[str, list[int]]
) -> Iterator[None]:
    """Add to ``macs`` what every layer that uses a prunable weight does inside the block.

    Forward as counted; backward follows from it: the gradients of the weight and of the input
    each take as many products, if they are needed.
    """
    names = {id(weight): name for name, weight in prunable_parameters(model).items()}
    began: dict[str, int] = {}

    def before(name: str, *_: Any) -> None:
        began[name] = counter.get_total_flops() // 2

    def after(name: str, module: nn.Module, given: Any, named: Any, *_: Any) -> None:
        done = counter.get_total_flops() // 2 - began.pop(name)
        inputs = next(iter((*given, *named.values())))
        gradients = torch.is_grad_enabled() * (module.weight.requires_grad + inputs.requires_grad)
        found = macs.setdefault(name, [0, 0])
        found[0] += done
        found[1] += done * gradients

    handles = []
    for module in model.modules():
        name = names.get(id(getattr(module, "weight", None)))
        if name is not None:
            handles.append(module.register_forward_pre_hook(partial(before, name)))
            handles.append(module.register_forward_hook(partial(after, name), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
