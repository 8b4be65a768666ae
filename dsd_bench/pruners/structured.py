"""The pruner that removes whole filters and hidden neurons."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks, NothingLeft, prune_count
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench.pruners.builtin import StructuredParams
from dsd_bench.pruners.channels import Removable, removable_layers

_ADVICE = "use an unstructured pruner such as magnitude"


class StructuredL1(Pruner):
    """Per layer, prune the filters (hidden neurons) whose remaining weights' L1 norm is smallest.

    ``round(fraction * remaining filters)`` go, at least one, and each layer keeps at least one;
    equal norms go in order, the first filter first. A filter remains while any of its weights
    does. With a filter go its bias and its channel in the batch norms that follow, so that it
    is silent: its input to the next layers is exactly zero. Layers that feed the output, a sum
    (residual), a concatenation, a product, a grouped convolution or anything unknown stay
    whole (Appendix G of the paper; Li et al. 2017).
    """

    params: StructuredParams

    def prune(self, view: PruneView) -> Masks:
        """Return the next masks.

        Raises:
            NothingLeft: if every removable layer is down to one filter.
            RunError: if the model cannot be traced, or has no layer with removable filters.
        """
        weights, tied = dict(view.masks.weights), dict(view.masks.tied)
        pruned = False
        for layer in _layers(view.model, view.masks):
            name = f"{layer.layer}.weight"
            weight = view.model.get_parameter(name)
            keep = _next_filters(weight.detach(), weights[name], self.params.fraction)
            if keep is None:
                continue
            pruned = True
            weights[name] = weights[name] & keep.view(-1, *[1] * (weight.dim() - 1))
            for other, mask in _followers(view.model, layer, keep):
                tied[other] = mask & tied[other] if other in tied else mask
        if not pruned:
            raise NothingLeft("every layer is down to its last filter")
        return Masks(weights, tied)


def _layers(model: nn.Module, masks: Masks) -> list[Removable]:
    """Return the layers whose filters can go, or say why there are none."""
    name = type(model).__name__
    try:
        layers = removable_layers(model)
    except Exception as error:
        # Tracing runs foreign code, which may raise anything.
        reason = str(error).strip().partition("\n")[0]
        raise RunError(
            f"structured-l1: the forward of {name} cannot be traced to find out which filters "
            f"can go ({type(error).__name__}: {reason}); {_ADVICE}"
        ) from error
    layers = [layer for layer in layers if f"{layer.layer}.weight" in masks.weights]
    if not layers:
        raise RunError(
            f"structured-l1: no layer of {name} has filters that can go: all of them feed the "
            f"output, a sum or an operation that ties them together; {_ADVICE}"
        )
    return layers


@torch.no_grad()
def _next_filters(weight: Tensor, mask: Tensor, fraction: float) -> Tensor | None:
    """Return which filters stay, bool ``(filters,)``; None if the layer is down to one."""
    keep = mask.flatten(1).any(1)
    remaining = keep.nonzero().view(-1)
    count = min(prune_count(fraction, len(remaining)), len(remaining) - 1)
    if count <= 0:
        return None
    # On the CPU and in double: the same order on every device.
    norms = torch.where(mask, weight, 0).cpu().abs().flatten(1).sum(1, dtype=torch.float64)
    order = norms[remaining.cpu()].sort(stable=True).indices
    keep[remaining[order[:count].to(remaining.device)]] = False
    return keep


def _followers(model: nn.Module, layer: Removable, keep: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the masks of the parameters that go with a layer's filters: biases and affines."""
    if model.get_submodule(layer.layer).bias is not None:
        yield f"{layer.layer}.bias", keep
    for norm in layer.norms:
        entries = model.get_parameter(f"{norm}.weight").numel()
        mask = keep.repeat_interleave(entries // len(keep))
        yield f"{norm}.weight", mask
        yield f"{norm}.bias", mask
