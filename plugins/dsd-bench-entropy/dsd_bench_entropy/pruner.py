"""The pruner ``nepenthe``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dsd_bench.masks import Masks, NothingLeft, prunable_parameters, prune_by_scores, prune_count
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench_entropy.plugin import NepentheParams
from dsd_bench_entropy.states import layer_entropies


class Nepenthe(Pruner):
    """Prune by magnitude within layers; layers of low entropy and small weights give the most.

    Liao et al. 2026. Of the weights that go in a round, layer ``l`` gives the share
    ``exp(R_l) / sum_k exp(R_k)`` with ``R_l = sum_k I_k / I_l`` and
    ``I_l = H_l * mean |w| of its kept weights``, where ``H_l`` is the mean entropy in bits of its
    units' states. Layers of 0 bits give nothing while others can. What a layer cannot give (each
    keeps one weight) is asked of the others, in proportion.

    A layer that no activation follows, the classifier, counts as one of 1 bit.
    """

    params: NepentheParams

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return 0 for the weights that go now, else 1."""
        weights = {k: w.detach() for k, w in prunable_parameters(view.model).items()}
        images = (images for images, _ in view.batches(self.params.batches))
        bits = layer_entropies(view.model, images)
        goes = budget(bits, magnitudes(weights, view.masks), view.masks, self.params.fraction)
        return {
            name: _but_the_smallest(weights[name], mask, goes[name])
            for name, mask in view.masks.weights.items()
        }

    def prune(self, view: PruneView) -> Masks:
        """Return the next masks: ``fraction`` of all remaining weights goes, as budgeted.

        Raises:
            dsd_bench.masks.NothingLeft: if every layer is down to one weight.
        """
        return prune_by_scores(self.scores(view), view.masks, self.params.fraction, "global")


def magnitudes(weights: Mapping[str, Tensor], masks: Masks) -> dict[str, float]:
    """Return the mean ``|w|`` of each layer's kept weights."""
    return {
        name: float(weights[name].cpu().double().abs()[mask.cpu()].mean())
        for name, mask in masks.weights.items()
    }


def budget(
    bits: Mapping[str, float | None], sizes: Mapping[str, float], masks: Masks, fraction: float
) -> dict[str, int]:
    """Return how many weights each layer gives; ``fraction`` of the remaining ones in all.

    Args:
        bits: each layer's mean entropy; None: no activation follows it.
        sizes: the mean magnitude of its kept weights.
        masks: the masks so far.
        fraction: of the remaining weights, in (0, 1).

    Raises:
        NothingLeft: if every layer is down to one weight.
    """
    room = [max(count - 1, 0) for count in masks.counts.values()]
    total = min(prune_count(fraction, masks.nonzero), sum(room))
    if not total:
        raise NothingLeft("every layer is down to its last weight")
    relevance = _relevance([_worth(bits[name], sizes[name]) for name in masks.counts])
    return dict(zip(masks.counts, shared_out(total, relevance, room), strict=True))


def _worth(bits: float | None, size: float) -> float:
    return (1.0 if bits is None else bits) * size


def _relevance(worths: Sequence[float]) -> list[float]:
    """Return the softmax of ``sum(worths) / worth``; 0 for a layer of no worth."""
    whole = sum(worths)
    ratios = [whole / worth if worth > 0 else -math.inf for worth in worths]
    top = max(ratios)
    return [math.exp(ratio - top) if ratio > -math.inf else 0.0 for ratio in ratios]


def shared_out(total: int, weights: Sequence[float], room: Sequence[int]) -> list[int]:
    """Share ``total`` out in proportion to ``weights``, at most ``room`` each; whole numbers.

    What one has no room for goes to the others in proportion; those of weight 0 get a part, in
    proportion to their room, once no other has room. Rounded by largest remainder.
    """
    given = [0.0] * len(room)
    for shares in (
        list(weights),
        [0.0 if weight else float(r) for weight, r in zip(weights, room)],
    ):
        open_ = [i for i, share in enumerate(shares) if share > 0 and room[i]]
        while open_ and (left := total - sum(given)) > 1e-9:
            whole = sum(shares[i] for i in open_)
            parts = {i: left * shares[i] / whole for i in open_}
            for i, part in parts.items():
                given[i] = min(float(room[i]), given[i] + part)
            full = [i for i in open_ if given[i] >= room[i]]
            open_ = [i for i in open_ if i not in full]
            if not full:
                break
    whole_ = [int(part) for part in given]
    order = sorted(range(len(room)), key=lambda i: whole_[i] - given[i])
    missing = total - sum(whole_)
    while missing:
        for i in order:
            if missing and whole_[i] < room[i]:
                whole_[i] += 1
                missing -= 1
    return whole_


def _but_the_smallest(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return 1 everywhere but at the ``count`` smallest kept weights, the first of equals.

    Ranked on the host: the same order on every device.
    """
    scores = torch.ones(mask.shape)
    kept = mask.cpu().flatten().nonzero().view(-1)
    smallest = weight.abs().cpu().flatten()[kept].sort(stable=True).indices[:count]
    scores.view(-1)[kept[smallest]] = 0
    return scores
