"""Which weights of a network can be pruned: those that are factors of its products themselves.

Where a layer computes another weight of its parameter (standardised, normalised, scaled, merged
with a second one), a zero in the parameter is no zero in the layer, and nothing is saved by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from dsd_bench.errors import UsageError
from dsd_bench.masks import computed_weights, layer_weights, leave_out
from dsd_bench.metrics.passes import evaluating
from dsd_bench.metrics.products import Products, products
from dsd_bench.seeds import preserved_globals

_NAMED = 3
"""Weights that a message names before it counts the rest."""


@dataclass(frozen=True)
class LeftOut:
    """The weights that cannot be pruned, by parameter name.

    Attributes:
        computed: the layer computes with another tensor, made of the weight.
        unused: the forward pass does not read the weight at all.
        foreign: they are factors of products, but no Conv or Linear layer's (a recurrent layer's,
            say).
        share: how many these are of all weights, the prunable ones included, in 0..1.
    """

    computed: tuple[str, ...]
    unused: tuple[str, ...]
    foreign: tuple[str, ...]
    share: float

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return frozenset((*self.computed, *self.unused, *self.foreign))

    def __bool__(self) -> bool:
        return bool(self.names)

    def __str__(self) -> str:
        reasons = {
            "their layers compute other tensors of them and multiply with those": self.computed,
            "the forward pass does not use them": self.unused,
            "they are not of a Conv or Linear layer": self.foreign,
        }
        told = [f"{_some(names)} ({why})" for why, names in reasons.items() if names]
        share = "under 0.1 %" if self.share < 0.001 else f"{self.share:.1%}".replace("%", " %")
        return f"{share} of the weights are never pruned: {'; '.join(told)}"


def find_prunable(model: nn.Module, shape: Sequence[int]) -> LeftOut:
    """Find by one forward pass which weights can be pruned; return the others.

    From then on :func:`dsd_bench.masks.prunable_parameters` gives the weights that can be. The
    pass is one of a black image, in eval mode and without gradients. The model's buffers and
    flags, and all global generators, are as they were after it.

    Args:
        model: the network, on any device.
        shape: one image's ``(C, H, W)``.

    Raises:
        UsageError: if no weight is left to prune, or two parameters share a part of their memory.
    """
    with preserved_globals(), _same_buffers(model), evaluating(model):
        weights, computed = layer_weights(model), computed_weights(model)
        if not weights:
            hint = ", all are computed of others" if computed else ""
            kind = type(model).__name__
            raise UsageError(f"{kind} has no Conv or Linear weights that are parameters{hint}")
        _refuse_overlaps(weights)
        parts = tuple(name[: name.rfind(".") + 1] for name in computed)  # what is in those layers
        others = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.dim() > 1 and name not in weights and not name.startswith(parts)
        }
        images = torch.zeros(1, *shape, device=next(iter(weights.values())).device)
        with products(model, weights, others) as found:
            model(images)
    left = _left_out(weights, others, computed, found)
    if not weights.keys() - left.names:
        raise UsageError(f"{type(model).__name__} has no weight that can be pruned: {left}")
    leave_out(model, left.names)
    return left


def _left_out(
    weights: Mapping[str, Tensor],
    others: Mapping[str, Tensor],
    computed: Mapping[str, int],
    found: Products,
) -> LeftOut:
    """Sort by reason what cannot be pruned."""
    missing = [name for name in weights if name not in found.layers]
    foreign = [name for name in others if name in found.layers]
    sizes = {name: weight.numel() for name, weight in (*weights.items(), *others.items())}
    sizes |= computed
    lost = sum(sizes[name] for name in (*missing, *computed, *foreign))
    kept = sum(sizes[name] for name in weights.keys() - missing)
    return LeftOut(
        computed=(*(name for name in missing if name in found.touched), *computed),
        unused=tuple(name for name in missing if name not in found.touched),
        foreign=tuple(foreign),
        share=lost / max(lost + kept, 1),
    )


def _refuse_overlaps(weights: dict[str, nn.Parameter]) -> None:
    """Refuse parameters that are views of one memory: each would undo the other's masks."""
    spans: dict[int, list[tuple[int, int, str]]] = {}
    storages = []  # kept, for their ids to stay theirs
    for name, weight in weights.items():
        storages.append(weight.untyped_storage())
        start = int(weight.storage_offset())
        spans.setdefault(id(storages[-1]), []).append((start, start + weight.numel(), name))
    for found in spans.values():
        found.sort()
        for (_, end, name), (start, _, other) in pairwise(found):
            if start < end:
                raise UsageError(
                    f"the parameters '{name}' and '{other}' share memory but are two parameters: "
                    "to tie them, make them one nn.Parameter under two names"
                )


@contextmanager
def _same_buffers(model: nn.Module) -> Iterator[None]:
    """Put the values of all buffers back after the block."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in before and before[name].shape == buffer.shape:
                    buffer.copy_(before[name])


def _some(names: Sequence[str]) -> str:
    """Name the first weights and count the rest."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
