"""From torch-pruning's dependency graph, and a network's attention layers, to groups."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
import torch_pruning  # type: ignore[import-untyped]
from torch import Tensor, nn

from dsd_bench_structured.groups import Group, Part, aligned

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class _Whole(Exception):
    """A group whose channels are not to be removed."""


def channel_groups(model: nn.Module, image: Tensor, prunable: Collection[str]) -> list[Group]:
    """Return the groups that may be removable, in the model's order; is each, a trial must tell.

    Those of the attention heads come with them; other groups through an attention's ``qkv`` are
    left out.

    Args:
        model: a copy of the network, in eval mode, whose parameters all take gradients.
        image: ``(1, C, H, W)``.
        prunable: names of the weights that can be pruned.

    Raises:
        Exception: whatever tracing raises.
    """
    heads = list(_heads(model))
    taken = {part.parameter for group in heads for part in group.parts}
    order = {name: place for place, (name, _) in enumerate(model.named_parameters())}
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph()
        graph.build_dependency(model, example_inputs=image, verbose=False)
        found = [_group(graph, members, model, prunable) for members in graph.get_all_groups()]
    channels = [g for g in found if g and not taken & {p.parameter for p in g.parts}]
    whole = [group for group in heads if all(_can_go(part, prunable) for part in group.parts)]
    return sorted([*channels, *whole], key=lambda group: order[group.name])


def _can_go(part: Part, prunable: Collection[str]) -> bool:
    return part.role not in ("rows", "inputs") or part.parameter in prunable


def _group(graph: Any, members: Any, model: nn.Module, prunable: Collection[str]) -> Group | None:
    """Return one of torch-pruning's groups as ours, None if it has to stay whole."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    parts: dict[tuple[str, str], Part] = {}
    sides: list[tuple[Tensor, Tensor, int]] = []
    try:
        for item in members:
            module = item.dep.target.module
            channels, units = torch.tensor(item.idxs), torch.tensor(item.root_idxs)
            makes = graph.is_out_channel_pruning_fn(item.dep.handler)
            for part in _parts(module, channels, units, makes, names):
                if not _can_go(part, prunable):
                    return None
                parts[part.parameter, part.role] = part
            if isinstance(module, _CONVOLUTIONS) and 1 < module.groups < module.out_channels:
                size = (module.out_channels if makes else module.in_channels) // module.groups
                sides.append((channels, units, size))
    except _Whole:
        return None
    order = {name: place for place, name in enumerate(names.values())}
    ordered = tuple(sorted(parts.values(), key=lambda part: order[part.parameter]))
    group = aligned(Group(len(members[0].idxs), ordered), sides)
    even = all(_evenly(part, group.units) for part in group.having("rows"))
    return group if even and any(group.having("rows")) else None


def _parts(
    module: Any, channels: Tensor, units: Tensor, makes: bool, names: dict[Tensor, str]
) -> Iterator[Part]:
    """Yield what a member of a group consists of."""
    if isinstance(module, nn.Parameter | torch_pruning.ops._OutputOp):
        raise _Whole
    if not any(True for _ in module.parameters()):
        return
    depthwise = isinstance(module, _CONVOLUTIONS) and 1 < module.groups == module.out_channels
    if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
        if module.weight not in names:  # computed of other parameters
            raise _Whole
        if not makes and not depthwise:
            groups = module.groups if isinstance(module, _CONVOLUTIONS) else 1
            yield Part(names[module.weight], "inputs", channels, units, groups)
            return
        yield Part(names[module.weight], "rows", channels, units)
        if module.bias is not None:
            yield Part(names[module.bias], "beside", channels, units)
    elif isinstance(module, _NORMS):
        yield Part(names[module.weight], "scale", channels, units)
        yield Part(names[module.bias], "beside", channels, units)
    elif isinstance(module, nn.PReLU):
        if module.num_parameters > 1:
            yield Part(names[module.weight], "beside", channels, units)
    else:
        raise _Whole


def _evenly(part: Part, units: int) -> bool:
    """Whether each unit has as many rows of a weight."""
    counts = part.units.bincount(minlength=units)
    return bool((counts == counts[0]).all())


def _heads(model: nn.Module) -> Iterator[Group]:
    """Yield the heads of attention layers that are built as timm's.

    They have ``qkv``, ``num_heads`` and ``proj``. A unit is a head: its rows of queries, keys
    and values, and its columns of the projection.
    """
    for name, module in model.named_modules():
        qkv, proj = getattr(module, "qkv", None), getattr(module, "proj", None)
        heads = getattr(module, "num_heads", None)
        if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear)):
            continue
        width = proj.in_features
        if not isinstance(heads, int) or qkv.out_features != 3 * width or width % heads:
            continue
        start = f"{name}." if name else ""
        rows = torch.arange(3 * width)
        units = rows % width // (width // heads)
        parts = [Part(f"{start}qkv.weight", "rows", rows, units)]
        if qkv.bias is not None:
            parts.append(Part(f"{start}qkv.bias", "beside", rows, units))
        parts.append(Part(f"{start}proj.weight", "inputs", rows[:width], units[:width]))
        yield Group(heads, tuple(parts))
