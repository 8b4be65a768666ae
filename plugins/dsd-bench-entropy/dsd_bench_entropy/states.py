"""How often the units of each layer are on and off, and the entropy of that."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dsd_bench.masks import prunable_parameters

_aten = torch.ops.aten
_ACTIVATIONS = {
    *(_aten.relu, _aten.relu_, _aten.hardtanh, _aten.hardtanh_, _aten.clamp_min, _aten.clamp_min_),
    *(_aten.threshold, _aten.threshold_, _aten.leaky_relu, _aten.leaky_relu_, _aten.elu),
    *(_aten.elu_, _aten.gelu, _aten.gelu_, _aten.silu, _aten.silu_, _aten.mish, _aten.mish_),
    *(_aten.hardswish, _aten.hardswish_, _aten._prelu_kernel),
}
"""Activations that do one thing above 0 and another below it."""


def entropy(on: Tensor, off: Tensor) -> Tensor:
    """Return the entropy in bits of each unit's state, float64, on the CPU.

    A unit whose input is exactly 0 is in neither state then; one that always is has none: 0 bits.

    Args:
        on: how often its input was above 0, any shape.
        off: how often it was below 0, of the same shape.
    """
    on, off = on.cpu().double(), off.cpu().double()
    share = on / (on + off).clamp(min=1)
    nats = torch.special.entr(share) + torch.special.entr(1 - share)
    return torch.where(on + off > 0, nats / torch.log(torch.tensor(2.0).double()), 0)


def layer_entropies(model: nn.Module, images: Iterable[Tensor]) -> dict[str, float | None]:
    """Return the mean entropy in bits behind every prunable parameter, by its name.

    Its units are the inputs (channel x position) of the first activation that follows the layer
    in the forward pass, behind a batch norm or a sum, say. None where none follows: the last
    layer. The model is run in eval mode; its flags come back.

    Args:
        model: the network.
        images: batches, normalised ``(B, C, H, W)`` on its device.
    """
    watch = _Watch(model)
    with watch.watching(), _evaluating(model):
        for batch in images:
            watch.begin()
            with watch:
                model(batch)
    return {name: watch.mean(name) for name in prunable_parameters(model)}


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts states at each activation, and notes which layers came before it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        names = {id(weight): name for name, weight in prunable_parameters(model).items()}
        self._layers = {
            module: [names[id(w)] for w in module.parameters(recurse=False) if id(w) in names]
            for module in model.modules()
        }
        self._counts: list[tuple[Tensor, Tensor]] = []
        self._behind: dict[str, int] = {}
        self._waiting: list[str] = []
        self._place = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note the layers as they are called."""
        handles = [
            module.register_forward_pre_hook(self._called)
            for module, names in self._layers.items()
            if names
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def begin(self) -> None:
        """Another forward pass begins."""
        self._place, self._waiting = 0, []

    def mean(self, name: str) -> float | None:
        """Return the mean entropy behind a layer."""
        place = self._behind.get(name)
        return None if place is None else float(entropy(*self._counts[place]).mean())

    def _called(self, module: nn.Module, inputs: Any) -> None:
        self._waiting += self._layers[module]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out an operation; count its input's signs if it is an activation."""
        if func.overloadpacket in _ACTIVATIONS:
            self._count(args[0])
        return func(*args, **(kwargs or {}))

    def _count(self, inputs: Tensor) -> None:
        found = (inputs > 0).sum(0), (inputs < 0).sum(0)
        if self._place < len(self._counts):
            on, off = self._counts[self._place]
            found = on + found[0], off + found[1]
            self._counts[self._place] = found
        else:
            self._counts.append(found)
        for name in self._waiting:
            self._behind.setdefault(name, self._place)
        self._place, self._waiting = self._place + 1, []


# torch keeps its compiler out of a mode's code by importing it: 1.8 s and 0.5 GB, for nothing here
_Watch.__torch_dispatch__ = inspect.unwrap(_Watch.__torch_dispatch__)  # type: ignore[method-assign]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode without gradients, and every flag back after."""
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in flags:
            module.training = training
