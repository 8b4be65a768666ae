"""How much memory a training takes, about: told before it begins."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dsd_bench.costs.counting import Sizes

COPIES = 5
"""Of the network's values: weights, gradients, momentum, the best so far, one being written."""
FRAMEWORK = 400_000_000
"""Bytes that torch takes before it does anything."""


def activation_bytes(model: nn.Module, sizes: Sizes) -> int:
    """Return the bytes of what the layers of a network give for one image.

    Args:
        model: on the CPU; it comes back as it was.
        sizes: of the images.
    """
    total = 0

    def count(module: nn.Module, given: object, made: object) -> None:
        nonlocal total
        if isinstance(made, Tensor):
            total += made.numel() * made.element_size()

    leaves = [module for module in model.modules() if not any(True for _ in module.children())]
    handles = [module.register_forward_hook(count) for module in leaves]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *sizes.shape))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return total


def needed(model: nn.Module, sizes: Sizes, batch: int, images: int, taught: bool) -> int:
    """Return the bytes that a training takes, about.

    Args:
        model: on the CPU.
        sizes: of the data.
        batch: images a step.
        images: bytes of the decoded images that are held.
        taught: whether a teacher of the same size passes its judgement.
    """
    state: int = sum(
        tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()
    )
    passed: int = activation_bytes(model, sizes) * min(batch, sizes.train)
    return FRAMEWORK + images + (COPIES + taught) * state + 2 * passed


def available() -> int | None:
    """Return the bytes of memory that this machine has left; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
