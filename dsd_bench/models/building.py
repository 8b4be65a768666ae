"""From a factory to a network that can be used: checked, its lazy layers made real."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from dsd_bench.errors import DsdError, UsageError, message
from dsd_bench.models import ModelFactory

Shape = tuple[int, int, int]


def construct(
    factory: ModelFactory, where: str, shape: Shape, classes: int, *, download: bool = False
) -> nn.Module:
    """Return the factory's network on the CPU; see :meth:`ModelFactory.build`.

    Args:
        factory: a built-in or third-party one.
        where: the model, for messages.
        shape: one image's ``(C, H, W)``.
        classes: number of classes.
        download: whether pretrained weights may be downloaded.

    Raises:
        UsageError: if the factory fails, or returns anything else than a network with values.
    """
    try:
        model: object = factory.build(shape, classes, download=download)
    except (DsdError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = f"cannot be built for {size(shape)} images: {in_one_line(error)}"
        raise UsageError(f"{where} {reason}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"{where}: its factory returned a {type(model).__name__}, no nn.Module")
    materialise(model, where, shape)
    empty = next((name for name, tensor in _tensors(model) if tensor.is_meta), None)
    if empty is not None:
        raise UsageError(f"{where}: '{empty}' has no values (device meta): build it on the CPU")
    return model


def materialise(model: nn.Module, where: str, shape: Shape) -> None:
    """Give lazy layers their shapes by a pass of one black image; others are left alone.

    Their weights are drawn from the global generators.

    Args:
        model: a new network.
        where: the model, for messages.
        shape: one image's ``(C, H, W)``.

    Raises:
        UsageError: if the pass fails or leaves a layer out.
    """
    if not any(_lazy(tensor) for _, tensor in _tensors(model)):
        return
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, *shape))
    except Exception as error:
        reason = f"cannot take {size(shape)} images: {in_one_line(error)}"
        raise UsageError(f"{where} {reason}") from error
    finally:
        for module, training in flags:
            module.training = training
    left = next((name for name, tensor in _tensors(model) if _lazy(tensor)), None)
    if left is not None:
        reason = "belongs to a lazy layer that the forward pass does not use: remove the layer"
        raise UsageError(f"{where}: '{left}' {reason}")


def size(shape: Shape) -> str:
    """Write an image's shape as ``3x32x32``."""
    return "x".join(map(str, shape))


def in_one_line(error: Exception) -> str:
    """Return an exception's kind and the first line of what it says."""
    text = message(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _lazy(tensor: Tensor) -> bool:
    return isinstance(tensor, UninitializedParameter | UninitializedBuffer)
