"""What makes any optimiser of torch one that a training can use: masks, rates, state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


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

    def state(self) -> dict[str, Tensor | float]:
        """Return every parameter's state."""
        slots = self.optimizer.state_dict()["state"]
        return {f"{index}/{name}": v for index, slot in slots.items() for name, v in slot.items()}

    def load(self, state: Mapping[str, Tensor | float]) -> None:
        """Undo :meth:`state`."""
        slots: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            index, _, name = key.partition("/")
            slots.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})
