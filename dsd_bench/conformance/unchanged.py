"""What must be as it was after code of others had a network in hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.conformance.checks import Broken

_HOOKS = tuple(name for name in vars(nn.Module()) if name.endswith("_hooks"))
"""Where a module keeps its hooks."""
WEIGHTS, BUFFERS = "weights", "buffers"


@contextmanager
def unchanged(model: nn.Module, but: tuple[str, ...] = ()) -> Iterator[None]:
    """Compare ``model`` before and after the block.

    Args:
        model: the network.
        but: what may change, of ``weights`` and ``buffers``.

    Raises:
        Broken: naming what changed.
    """
    before = _state(model)
    yield
    after = _state(model)
    for what, old in before.items():
        if what in but:
            continue
        odd = _difference(old, after[what])
        if odd is not None:
            raise Broken(f"it changes the network's {what}: {odd or type(model).__name__}")


def _state(model: nn.Module) -> dict[str, dict[str, Any]]:
    modules = dict(model.named_modules(remove_duplicate=False))
    weights = dict(model.named_parameters(remove_duplicate=False))
    buffers = dict(model.named_buffers(remove_duplicate=False))
    return {
        "layers": {name: id(module) for name, module in modules.items()},
        "parameters": {name: id(weight) for name, weight in weights.items()},
        WEIGHTS: {name: weight.detach().clone() for name, weight in weights.items()},
        BUFFERS: {name: buffer.detach().clone() for name, buffer in buffers.items()},
        "gradients": {name: _copied(weight.grad) for name, weight in weights.items()},
        "train and eval flags": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: weight.requires_grad for name, weight in weights.items()},
        "hooks": {
            f"{name or type(model).__name__} ({kind})": len(getattr(module, kind))
            for name, module in modules.items()
            for kind in _HOOKS
            if isinstance(getattr(module, kind), dict)
        }
        | {name: len(weight._backward_hooks or ()) for name, weight in weights.items()},
        "context (gradients on or off)": {"grad mode": torch.is_grad_enabled()},
    }


def _copied(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Return the name of the first thing that is not what it was."""
    for name in (*old, *(name for name in new if name not in old)):
        if name not in old or name not in new:
            return name
        if not same(old[name], new[name]):
            return name
    return None


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, tensors bit for bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.shape == other.shape and one.dtype == other.dtype and one.device == other.device
        return alike and (one.is_meta or bool(torch.equal(one.nan_to_num(), other.nan_to_num())))
    return bool(type(one) is type(other) and one == other)
