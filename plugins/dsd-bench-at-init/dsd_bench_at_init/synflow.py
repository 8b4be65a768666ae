"""The pruner ``synflow``, which needs no data."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dsd_bench.masks import Masks, NothingLeft, prune_count, prune_to
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench_at_init.plugin import SynFlowParams


class SynFlow(Pruner):
    """Keep the weights that carry the most flow, one small pruning after another (Tanaka 2020).

    The flow is the sum of the outputs for an image of ones where every parameter and buffer is
    replaced by its absolute value; a weight's score is ``|w|`` times the flow's derivative by it
    (equation 3 and algorithm 1 of the paper, in double precision and eval mode). Between the
    weights that are there and those that shall be left, ``iterations`` prunings follow each other
    in a geometric sequence of counts, each scored anew.
    """

    params: SynFlowParams

    def prune(self, view: PruneView) -> Masks:
        """Return the next masks.

        Raises:
            NothingLeft: if every layer is down to its last weight.
        """
        goals = self._goals(view.masks)
        if goals in (view.masks.counts, view.masks.nonzero):
            raise NothingLeft("every layer is down to its last weight")
        network = _positive(view.model)
        images, _ = next(iter(view.batches(1)))
        ones = torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device)
        masks, steps = view.masks, self.params.iterations
        for step in range(1, steps + 1):
            scores = _flow(network, masks, ones)
            masks = prune_to(scores, masks, _between(view.masks, goals, step / steps))
        return masks

    def _goals(self, masks: Masks) -> int | dict[str, int]:
        """Return how many weights are to be left, of all layers or of each."""

        def goal(counts: Sequence[int]) -> int:
            now = sum(counts)
            return max(now - prune_count(self.params.fraction, now), sum(map(bool, counts)))

        if self.params.scope == "global":
            return goal(list(masks.counts.values()))
        return {name: goal([count]) for name, count in masks.counts.items()}


def _between(masks: Masks, goals: int | dict[str, int], share: float) -> int | dict[str, int]:
    """Return the counts of a geometric sequence, ``share`` of the way from masks to goals."""
    if isinstance(goals, int):
        return round(masks.nonzero * (goals / masks.nonzero) ** share)
    counts = masks.counts
    return {
        name: round(counts[name] * (goal / counts[name]) ** share) for name, goal in goals.items()
    }


def _positive(model: nn.Module) -> nn.Module:
    """Return a copy in double precision and eval mode, all of whose numbers are positive."""
    network = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.abs_()
    return network


def _flow(network: nn.Module, masks: Masks, ones: Tensor) -> dict[str, Tensor]:
    """Return the scores of all weights; pruned ones become zero in ``network``."""
    masks.apply(network)
    parameters = dict(network.named_parameters(remove_duplicate=False))
    weights = {name: parameters[name].requires_grad_(True) for name in masks.weights}
    with torch.enable_grad():
        flow = network(ones).sum()
    slopes = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
    pairs = zip(weights.items(), slopes, strict=True)
    return {
        name: torch.zeros_like(weight) if slope is None else weight.detach() * slope
        for (name, weight), slope in pairs
    }
