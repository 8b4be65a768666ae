"""Which groups can lose units: tried out on a copy of the network with weights drawn at random."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from dsd_bench_structured.graph import channel_groups
from dsd_bench_structured.groups import Group

IMAGES = 2
"""How many random images a trial looks at."""
TOLERANCE = 1e-9
"""Largest difference of outputs, in double, relative to the largest output."""


def removable_groups(
    model: nn.Module, shape: Sequence[int], prunable: Collection[str]
) -> list[Group]:
    """Return the groups whose units can be cut out without changing anything else.

    A dependency graph takes what it does not know for an operation on each channel by itself. So
    every group is put to the test: where half its units have lost the weights that read
    them, the output must not depend on the weights that make them. It does where channels meet
    in a layer norm, a softmax, a product, the network's output: those groups stay whole.

    The answer depends on the architecture alone, not on the network's weights.

    Args:
        model: the network; it is copied.
        shape: one image's ``(C, H, W)``.
        prunable: names of the weights that can be pruned.

    Raises:
        Exception: whatever the copying or the forward pass raises.
    """
    draw = torch.Generator().manual_seed(0)
    trial = _random_copy(model, draw)
    images = torch.randn(IMAGES, *shape, generator=draw, dtype=torch.float64)
    groups = channel_groups(trial, images[:1], prunable)
    with torch.no_grad():
        usual = trial(images)
    return [g for g in groups if g.units > 1 and _isolated(g, trial, images, usual, draw)]


def _random_copy(model: nn.Module, draw: torch.Generator) -> nn.Module:
    """Return a copy on the CPU, in double and eval mode, whose units are mostly on."""
    trial = copy.deepcopy(model).cpu().double().eval().requires_grad_(True)
    for module in trial.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
    with torch.no_grad():
        for weight in trial.parameters():
            _redraw(weight, draw)
    return trial


def _redraw(weight: Tensor, draw: torch.Generator) -> None:
    """Draw a matrix from a normal distribution that keeps variances, a vector from 0.5..1.5."""
    if weight.dim() > 1:
        scale = (weight[0].numel()) ** -0.5
        weight.copy_(torch.randn(weight.shape, generator=draw, dtype=weight.dtype) * scale)
    else:
        weight.copy_(torch.rand(weight.shape, generator=draw, dtype=weight.dtype) + 0.5)


@torch.no_grad()
def _isolated(
    group: Group, trial: nn.Module, images: Tensor, usual: Tensor, draw: torch.Generator
) -> bool:
    """Whether the output feels the units of a group through the weights that read them, only."""
    weights = dict(trial.named_parameters(remove_duplicate=False))
    before = {part.parameter: weights[part.parameter].clone() for part in group.parts}
    gone = torch.arange(group.units) % 2 == 0

    def output(redraw: bool, read: bool) -> Tensor:
        for name, weight in before.items():
            weights[name].copy_(weight)
        for part in group.parts if redraw else ():
            if part.role != "inputs":
                weight = weights[part.parameter]
                other = weight.clone()
                _redraw(other, draw)
                keep = part.without(gone, weight.shape)
                weight.copy_(torch.where(keep, weight, 3 * other))
        for part in () if read else group.having("inputs"):
            weight = weights[part.parameter]
            weight.mul_(part.without(gone, weight.shape))
        found: Tensor = trial(images)
        return found

    try:
        felt = not _close(usual, output(True, True))
        return felt and _close(output(False, False), output(True, False))
    finally:
        for name, weight in before.items():
            weights[name].copy_(weight)


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
