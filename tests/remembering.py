"""A plugin whose components remember: movement pruning, quantisation-aware training, a history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dsd_bench import Component, hookimpl
from dsd_bench.masks import prunable_parameters
from dsd_bench.perturbers import Perturber, PerturbView
from dsd_bench.pruners import Pruner, PrunerParams, PruneView
from dsd_bench.regularizers import Regularizer, TrainingView

Tensors = dict[str, Tensor]


class Movement(Regularizer):
    """Adds up -w * dL/dw over a training (Sanh et al. 2020); each training begins from zero."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.moved: Tensors = {}
        self.hooks: list[RemovableHandle] = []

    def begin(self, view: TrainingView) -> None:
        for name, weight in prunable_parameters(view.model).items():
            self.moved[name] = torch.zeros_like(weight, requires_grad=False)
            if weight.requires_grad:
                self.hooks.append(weight.register_hook(self._watch(weight, self.moved, name)))

    def _watch(self, weight: nn.Parameter, moved: Tensors, name: str) -> Any:
        def hook(gradient: Tensor) -> None:
            moved[name].sub_(weight.detach() * gradient)  # by name: load() puts other tensors there

        return hook

    def end(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def state(self) -> Tensors:
        return dict(self.moved)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.moved.update(tensors)

    def gathered(self) -> Tensors:
        return {f"movement/{name}": moved for name, moved in self.moved.items()}


class ByMovement(Pruner):
    """Keeps what moved away from zero."""

    checked_beside: ClassVar = {"reg": ["movement"]}

    def scores(self, view: PruneView) -> Tensors:
        return {name: view.gathered[f"movement/{name}"] for name in view.masks.weights}


class FakeQuant(Regularizer):
    """Rounds each linear layer's output to 16 levels of a range that it watches, over all rounds.

    The gradient passes the rounding as if it were not there.
    """

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.ranges: Tensors = {}
        self.hooks: list[RemovableHandle] = []

    def begin(self, view: TrainingView) -> None:
        for name, layer in view.model.named_modules():
            if isinstance(layer, nn.Linear):
                self.ranges.setdefault(name, torch.zeros((), device=view.device))
                self.hooks.append(layer.register_forward_hook(self._quantise(name)))

    def _quantise(self, name: str) -> Any:
        def hook(layer: nn.Module, inputs: Any, out: Tensor) -> Tensor:
            widest = out.detach().abs().max()
            seen = self.ranges[name]
            seen.lerp_(widest, 0.1)
            step = seen / 8 + 1e-12
            return out + ((out / step).round().clamp(-8, 7) * step - out).detach()

        return hook

    def end(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []

    def state(self) -> Tensors:
        return dict(self.ranges)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.ranges.update(tensors)

    def gathered(self) -> Tensors:
        return dict(self.ranges)


class ByRange(Pruner):
    """Weighs each layer's weights by the range of its outputs; remembers the scores so far."""

    checked_beside: ClassVar = {"reg": ["fake-quant"]}

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.mean: Tensors = {}

    def scores(self, view: PruneView) -> Tensors:
        for name, weight in prunable_parameters(view.model).items():
            now = weight.detach().abs() / view.gathered[name.removesuffix(".weight")]
            self.mean[name] = torch.lerp(self.mean.get(name, now), now, 0.5)
        return self.mean

    def state(self) -> Tensors:
        return dict(self.mean)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.mean = dict(tensors)


class Shrink(Perturber):
    """Scales all weights by 1 / (1 + how often it was called)."""

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        self.calls = torch.zeros((), dtype=torch.int64)

    def perturb(self, view: PerturbView) -> None:
        self.calls = self.calls + 1
        with torch.no_grad():
            for parameter in view.model.parameters():
                parameter.div_(1 + int(self.calls))

    def state(self) -> Tensors:
        return {"calls": self.calls}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.calls = tensors["calls"].cpu()


def component(name: str, of: type[Any], **values: Any) -> Component:
    return Component(name, f"{__name__}:{of.__name__}", name, **values)


@hookimpl
def register_regularizers() -> list[Component]:
    return [component("movement", Movement), component("fake-quant", FakeQuant)]


@hookimpl
def register_pruners() -> list[Component]:
    chosen = [("by-movement", ByMovement), ("by-range", ByRange)]
    return [component(name, of, params=PrunerParams) for name, of in chosen]


@hookimpl
def register_perturbers() -> list[Component]:
    return [component("shrink", Shrink)]
