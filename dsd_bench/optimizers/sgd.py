"""SGD of our own, because a step of a small network is mostly the overhead of its parts.

It does the operations of ``torch.optim.SGD`` in their order, for the same bits, and constructing it
does not import torch's compiler (2 s).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.optimizers.wrapping import Masked

SMALL = 2**16
"""Parameters up to which a step on one vector is faster than one on a list of tensors."""
CACHE_LINE = 64
"""Bytes."""


class SGD:
    """Stochastic gradient descent with momentum and weight decay, over lists of tensors.

    buffer = momentum * buffer + gradient + decay * weight; weight -= rate * buffer. A parameter
    without a gradient stays as it is, as in torch.

    Args:
        parameters: what to train.
        momentum: 0 for none.
        decay: weight decay, 0 for none.
        device_rate: keep the rate in a tensor on the parameters' device, where a recorded step
            reads it. It rounds ``rate * buffer`` before subtracting.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        momentum: float,
        decay: float,
        device_rate: bool = False,
    ) -> None:
        self.parameters = list(parameters)
        self.momentum, self.decay = momentum, decay
        # as a tensor, because a number would become one again for each parameter at each step
        self._keep = torch.tensor(momentum, device=self.parameters[0].device)
        self._flat = _together(self.parameters) if momentum and not device_rate else None
        if self._flat is None:
            self.buffers = [torch.zeros_like(p) for p in self.parameters] if momentum else []
        else:
            self.buffers = _views(self._flat, self.parameters)
        self._vector = _side_by_side(self.parameters) if self._flat is not None else None
        # Views without history: an update in place of them is none of autograd's business.
        self._weights = [p.detach() for p in self.parameters]
        self._rate = 0.0
        self._masks = Masked({})
        self._kept: Tensor | None = None
        self._lines = [w.view(-1) for w in self._weights] if self._flat is not None else []
        self._negative: Tensor | None = None
        if device_rate:
            self._negative = torch.zeros((), device=self.parameters[0].device)

    def hold(self, masks: Mapping[nn.Parameter, Tensor]) -> None:
        """Multiply the gradients of these parameters by their masks."""
        self._masks = Masked(masks)
        if self._flat is not None and masks:
            every = [masks.get(p, torch.ones_like(p)) for p in self.parameters]
            self._kept = torch.cat([mask.reshape(-1) for mask in every])

    def forget(self, stay: Mapping[nn.Parameter, Tensor]) -> None:
        """Zero the momentum of the weights that ``stay`` lacks."""
        for parameter, buffer in zip(self.parameters, self.buffers):
            if parameter in stay:
                buffer.masked_fill_(~stay[parameter], 0)

    def set_rate(self, rate: float) -> None:
        """Use the learning rate ``rate`` from the next step on."""
        self._rate = rate
        if self._negative is not None:
            self._negative.fill_(-rate)

    def step(self) -> None:
        """Update the parameters by their gradients, and drop the gradients."""
        grads, weights, buffers = self._present()
        if self._flat is not None and buffers is self.buffers:
            self._flat_step(self._flat, grads)
            return
        self._masks.apply()
        if self.decay:
            grads = torch._foreach_add(grads, weights, alpha=self.decay)
        if self.momentum:
            torch._foreach_mul_(buffers, self._keep)
            torch._foreach_add_(buffers, grads)
            grads = buffers
        if self._negative is None:
            torch._foreach_add_(weights, grads, alpha=-self._rate)
        else:
            torch._foreach_add_(weights, torch._foreach_mul(grads, self._negative))
        self._forget()

    def _flat_step(self, buffer: Tensor, grads: list[Tensor]) -> None:
        """Do the same on one vector: an operation on a list costs as much for each of its parts."""
        gradient = _flatten(grads)
        if self._kept is not None:
            gradient.mul_(self._kept)
        if self.decay:
            weights = torch.cat(self._lines) if self._vector is None else self._vector
            gradient.add_(weights, alpha=self.decay)
        buffer.mul_(self._keep).add_(gradient)
        if self._vector is None:
            torch._foreach_add_(self._weights, self.buffers, alpha=-self._rate)
        else:
            self._vector.add_(buffer, alpha=-self._rate)
        self._forget()

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def _present(self) -> tuple[Any, list[Tensor], list[Tensor]]:
        """Return gradients, weights and buffers of the parameters that have a gradient."""
        grads = [p.grad for p in self.parameters if p.grad is not None]
        if len(grads) == len(self.parameters):
            return grads, self._weights, self.buffers
        there = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        buffers = [self.buffers[i] for i in there] if self.momentum else []
        return grads, [self._weights[i] for i in there], buffers

    def state(self) -> dict[str, Tensor | float]:
        """Return the momentum buffers, named as torch names them."""
        return {f"{index}/momentum_buffer": buffer for index, buffer in enumerate(self.buffers)}

    def load(self, state: Mapping[str, Tensor | float]) -> None:
        """Undo :meth:`state`."""
        for index, buffer in enumerate(self.buffers):
            value = state.get(f"{index}/momentum_buffer")
            if isinstance(value, Tensor):
                buffer.copy_(value)


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Return all values in one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


_flatten: Callable[[Sequence[Tensor]], Tensor] = getattr(
    torch._utils, "_flatten_dense_tensors", _joined
)
"""torch's own :func:`_joined`, not public, takes 5 us for six tensors where that takes 9."""


def _together(parameters: Sequence[Tensor]) -> Tensor | None:
    """Return zeros for all parameters in one vector, where steps are faster on that."""
    few = sum(p.numel() for p in parameters) <= SMALL
    alike = {(p.dtype, p.device.type, p.is_contiguous()) for p in parameters}
    if not few or len(alike) > 1 or parameters[0].device.type != "cpu":
        return None
    if not all(p.is_contiguous() for p in parameters):
        return None
    return torch.cat([torch.zeros_like(p).view(-1) for p in parameters])


def _side_by_side(parameters: Sequence[nn.Parameter]) -> Tensor | None:
    """Move all weights into one vector, where an update is one operation, and return it.

    Each stays where a cache line begins, as torch allocates: elsewhere matrix products may round
    otherwise. Where their sizes do not allow that nothing is moved, and None returned.
    """
    ends = itertools.accumulate(p.numel() * p.element_size() for p in parameters[:-1])
    if any(end % CACHE_LINE for end in ends):
        return None
    vector = torch.cat([p.detach().view(-1) for p in parameters])
    for parameter, part in zip(parameters, _views(vector, parameters)):
        parameter.data = part
    return vector


def _views(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return ``vector``'s parts in the shapes of ``parameters``."""
    parts = torch.split(vector, [p.numel() for p in parameters])
    return [part.view(p.shape) for part, p in zip(parts, parameters)]
