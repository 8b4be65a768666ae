"""What makes any optimiser of torch one that a training can use: masks, rates, state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError
from dsd_bench.optimizers import Ascending, State, Stepping


class Masked:
    """Parameters and the masks of their gradients.

    Args:
        masks: by parameter, of the gradient's dtype and layout.
    """

    def __init__(self, masks: Mapping[nn.Parameter, Tensor]) -> None:
        self.parameters, self.masks = list(masks), list(masks.values())

    def apply(self) -> None:
        """Zero the gradients of pruned weights."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        if len(grads) == len(self.parameters):
            if grads:
                torch._foreach_mul_(grads, self.masks)
            return
        for parameter, mask in zip(self.parameters, self.masks):
            if parameter.grad is not None:
                parameter.grad.mul_(mask)


class Torch:
    """An optimiser of torch, or with its interface.

    Args:
        optimizer: with a learning rate ``lr`` in each of its groups.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self._masks = Masked({})

    def hold(self, masks: Mapping[nn.Parameter, Tensor]) -> None:
        """Multiply the gradients of these parameters by their masks."""
        self._masks = Masked(masks)

    def forget(self, stay: Mapping[nn.Parameter, Tensor]) -> None:
        """Zero whatever has the shape of a parameter, where ``stay`` lacks the weight."""
        for parameter, mask in stay.items():
            for value in self.optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value.masked_fill_(~mask, 0)

    def set_rate(self, rate: float) -> None:
        """Use the learning rate ``rate`` from the next step on."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self) -> None:
        """Update the parameters by their gradients, and drop the gradients."""
        self._masks.apply()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state(self) -> State:
        """Return every parameter's state.

        Raises:
            RunError: if there is anything in it but tensors and numbers.
        """
        slots = self.optimizer.state_dict()["state"]
        found = {f"{index}/{name}": v for index, slot in slots.items() for name, v in slot.items()}
        for name, value in found.items():
            if not isinstance(value, Tensor | int | float):
                kind = type(self.optimizer).__name__
                raise RunError(
                    f"optimizer {kind}: its state has a {type(value).__name__} as '{name}'; a "
                    "checkpoint holds tensors and numbers only"
                )
        return found

    def load(self, state: Mapping[str, Tensor | float]) -> None:
        """Undo :meth:`state`."""
        groups = self.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        slots: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            index, _, name = key.partition("/")
            laid = _as(parameters[int(index)], value) if isinstance(value, Tensor) else value
            slots.setdefault(int(index), {})[name] = laid
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})


def _as(parameter: Tensor, value: Tensor) -> Tensor:
    """Return what has a parameter's shape in its layout too, which no file keeps.

    Torch's kernels for lists of tensors take those of one layout only, and others round otherwise.
    """
    if value.shape != parameter.shape or value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


class _Climber(Protocol):
    def ascend(self) -> None: ...


class TorchTwice(Torch):
    """An optimiser of torch that has two passes.

    Args:
        optimizer: with a learning rate ``lr`` in each of its groups.
        climber: the same one, for its ``ascend``.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, climber: _Climber) -> None:
        super().__init__(optimizer)
        self.ascend = climber.ascend


class Wrapped:
    """An optimiser around another one; override what shall be different.

    Args:
        inner: such as :func:`dsd_bench.optimizers.base` gives.
    """

    def __init__(self, inner: Stepping) -> None:
        self.inner = inner

    def hold(self, masks: Mapping[nn.Parameter, Tensor]) -> None:
        """Multiply gradients by ``masks`` in every step."""
        self.inner.hold(masks)

    def forget(self, stay: Mapping[nn.Parameter, Tensor]) -> None:
        """Zero the state of the weights that ``stay`` lacks; override it for state of one's own."""
        self.inner.forget(stay)

    def set_rate(self, rate: float) -> None:
        """Use the learning rate ``rate`` from the next step on."""
        self.inner.set_rate(rate)

    def step(self) -> None:
        """Update the parameters by their gradients, and drop the gradients."""
        self.inner.step()

    def state(self) -> State:
        """Return what changes from step to step."""
        return self.inner.state()

    def load(self, state: Mapping[str, Tensor | float]) -> None:
        """Undo :meth:`state`."""
        self.inner.load(state)


def as_stepping(made: torch.optim.Optimizer | Stepping) -> Stepping:
    """Return what a training needs of what :meth:`dsd_bench.optimizers.Optimizer.build` gave."""
    if not isinstance(made, torch.optim.Optimizer):
        return made
    return TorchTwice(made, made) if isinstance(made, Ascending) else Torch(made)
