"""The pruners ``channels-l1``, ``channels-fpgm`` and ``channels-bn``."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks, NothingLeft, prune_count
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench_structured.groups import Group, Part
from dsd_bench_structured.plugin import ChannelParams
from dsd_bench_structured.trial import removable_groups


class Channels(Pruner):
    """Base: prune whole units, each a channel or a head with all the weights that make or read it.

    Of each group ``round(fraction * remaining units)`` go, at least one, in scope ``global``
    of all groups together; each group keeps at least one. The lowest score goes first, of equal
    ones the first unit of the first group. With a unit go its rows in all layers that make it
    (those of a residual sum, of the depthwise convolution behind it), its columns in all layers
    that read it, its biases and its entries in batch norms: the network from which it is cut
    gives the same outputs. How many weights that are is for the network to say.

    Groups stay whole whose channels cannot be told apart (:mod:`dsd_bench_structured.trial`).
    """

    params: ChannelParams
    _known: tuple[weakref.ref[nn.Module], list[Group]] | None = None
    """The network that was looked at last, and its groups: they follow from its architecture."""

    def score(self, group: Group, weights: dict[str, Tensor], alive: Tensor) -> Tensor | None:
        """Return float64 ``(units,)``, higher = keep; None if the group has nothing to go by.

        Args:
            group: the units.
            weights: the parameters by name, masked, on the CPU and in double.
            alive: bool ``(units,)``, those that are not pruned yet.
        """
        raise NotImplementedError

    def prune(self, view: PruneView) -> Masks:
        """Return the next masks.

        Raises:
            NothingLeft: if every group is down to one unit.
            RunError: if the network cannot be traced, or no group can lose units.
        """
        found = self._scored(view)
        going = _chosen(found, self.params)
        if not going:
            raise NothingLeft("every group is down to its last channel or head")
        weights, tied = dict(view.masks.weights), dict(view.masks.tied)
        parameters = dict(view.model.named_parameters(remove_duplicate=False))
        for group, gone in going:
            for part in group.parts:
                keep = part.without(gone, parameters[part.parameter].shape).to(view.device)
                masks = weights if part.parameter in weights else tied
                before = masks.get(part.parameter)
                masks[part.parameter] = keep if before is None else before & keep
        return Masks(weights, tied)

    def _scored(self, view: PruneView) -> list[tuple[Group, Tensor, Tensor]]:
        """Return the groups with the scores of their units, and which of these are left."""
        name = type(view.model).__name__
        if self._known is None or self._known[0]() is not view.model:
            self._known = weakref.ref(view.model), _groups(view, name)
        weights = _weights(view)
        masks = {name: mask.cpu() for name, mask in view.masks.weights.items()}
        found = []
        for group in self._known[1]:
            alive = _alive(group, masks)
            scores = self.score(group, weights, alive)
            if scores is not None:
                found.append((group, scores, alive))
        if not found:
            raise RunError(
                f"no channels of {name} can go by this pruner: they all meet in its output, in a "
                "layer norm or the like, or have nothing to go by (channels-bn needs batch norms); "
                "use an unstructured pruner such as magnitude"
            )
        return found


class ChannelsL1(Channels):
    """Score the mean ``|w|`` of the weights that make the channel (Li et al. 2017).

    In all layers of the group: of a residual sum, those of every summand.
    """

    def score(self, group: Group, weights: dict[str, Tensor], alive: Tensor) -> Tensor | None:
        """See :meth:`Channels.score`."""
        return (
            torch.cat([_by_unit(part, weights) for part in group.having("rows")], 1).abs().mean(1)
        )


class ChannelsFpgm(Channels):
    """Score the sum of the distances to the group's other remaining channels (He et al. 2019).

    A channel's vector are all weights that make it; the one nearest to the geometric median has the
    least sum (their equation 9), and is what the others can replace best.
    """

    def score(self, group: Group, weights: dict[str, Tensor], alive: Tensor) -> Tensor | None:
        """See :meth:`Channels.score`."""
        rows = torch.cat([_by_unit(part, weights) for part in group.having("rows")], 1)
        plain = "donot_use_mm_for_euclid_dist"  # exact: equal channels are at distance 0
        return torch.cdist(rows, rows[alive], compute_mode=plain).sum(1)


class ChannelsBn(Channels):
    """Score the mean ``|scale|`` of the batch norms that the channel passes (Liu et al. 2017).

    Groups without batch norms stay whole. The paper trains with an L1 penalty on the scales and
    ranks them over all layers: ``scope=global``.
    """

    checked_beside: ClassVar = {"model": "vgg-like:depth=1,width_exponent=2"}

    def score(self, group: Group, weights: dict[str, Tensor], alive: Tensor) -> Tensor | None:
        """See :meth:`Channels.score`."""
        parts = list(group.having("scale"))
        total, count = torch.zeros(group.units).double(), torch.zeros(group.units).double()
        for part in parts:
            scales = weights[part.parameter][part.indices].abs()
            total.index_add_(0, part.units, scales)
            count.index_add_(0, part.units, torch.ones_like(scales))
        return total / count if parts and bool(count.all()) else None


def _groups(view: PruneView, name: str) -> list[Group]:
    """Return the groups that can lose units, or say why they cannot be known."""
    images, _ = next(iter(view.batches(1)))
    prunable = _unshared(view.model) & view.masks.weights.keys()
    try:
        return removable_groups(view.model, images.shape[1:], prunable)
    except Exception as error:  # tracing runs foreign code, which may raise anything
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise RunError(
            f"the channels of {name} cannot be followed through its forward pass ({reason}); "
            "use an unstructured pruner such as magnitude"
        ) from error


def _unshared(model: nn.Module) -> set[str]:
    """Return the names of parameters that no second module has."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {found[0] for found in names.values() if len(found) == 1}


def _weights(view: PruneView) -> dict[str, Tensor]:
    """Return all parameters, masked, on the CPU and in double: the same order on every device."""
    masks = dict(view.masks.all())
    return {
        name: (w.detach() * masks[name] if name in masks else w.detach()).cpu().double()
        for name, w in view.model.named_parameters()
    }


def _by_unit(part: Part, weights: dict[str, Tensor]) -> Tensor:
    """Return the weights that make each unit, float64 ``(units, n)``; as many for each."""
    rows = weights[part.parameter].flatten(1)[part.indices]
    order = part.units.sort(stable=True).indices
    return rows[order].reshape(int(part.units.max()) + 1, -1)


def _alive(group: Group, masks: dict[str, Tensor]) -> Tensor:
    """Return which units still have a weight that makes them, bool ``(units,)``."""
    alive = torch.zeros(group.units, dtype=torch.bool)
    for part in group.having("rows"):
        kept = masks[part.parameter].flatten(1).any(1)[part.indices]
        alive[part.units[kept]] = True
    return alive


def _chosen(
    found: Sequence[tuple[Group, Tensor, Tensor]], params: ChannelParams
) -> list[tuple[Group, Tensor]]:
    """Return the units that go, bool ``(units,)``, of each group that loses any."""
    left = [int(alive.sum()) for _, _, alive in found]
    ranked = sorted(
        (float(scores[unit]), place, int(unit))
        for place, (_, scores, alive) in enumerate(found)
        for unit in alive.nonzero().view(-1)
    )
    places = range(len(found))
    together = [list(places)] if params.scope == "global" else [[place] for place in places]
    gone = [torch.zeros(group.units, dtype=torch.bool) for group, _, _ in found]
    for ones in together:
        count = prune_count(params.fraction, sum(left[place] for place in ones))
        for _, place, unit in ranked:
            if count and place in ones and left[place] > 1:
                gone[place][unit] = True
                left[place] -= 1
                count -= 1
    return [(group, which) for (group, _, _), which in zip(found, gone) if bool(which.any())]
