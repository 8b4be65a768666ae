"""Pruners that first say how many weights each layer keeps: ``erk``, ``uniform``, ``random-at``."""

from __future__ import annotations

import torch
from torch import Tensor

from dsd_bench.errors import RunError
from dsd_bench.masks import Masks, NothingLeft, prunable_parameters, prune_by_scores, prune_count
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench_ratios.counts import shared_out
from dsd_bench_ratios.plugin import RandomAtParams, RatioParams
from dsd_bench_ratios.recorded import NAMED, Table, parse


class AtRatios(Pruner):
    """Base: :meth:`counts` says what each layer keeps, :meth:`importance` which weights."""

    params: RatioParams

    def counts(self, view: PruneView, total: int) -> dict[str, int]:
        """Return how many weights each prunable parameter keeps, at least 1; ``total`` in all."""
        raise NotImplementedError

    def importance(self, view: PruneView) -> dict[str, Tensor]:
        """Return what the weights of a layer are ranked by, the highest stay: magnitudes."""
        weights = prunable_parameters(view.model)
        return {name: weight.detach().abs() for name, weight in weights.items()}

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return 0 for the weights that go now, else 1."""
        kept = self.counts(view, _left(view.masks, self.params.fraction))
        ranked = self.importance(view)
        return {
            name: _but_the_lowest(ranked[name], mask, view.masks.counts[name] - kept[name])
            for name, mask in view.masks.weights.items()
        }

    def prune(self, view: PruneView) -> Masks:
        """Return the next masks: ``fraction`` of all remaining weights goes, as counted.

        Raises:
            dsd_bench.masks.NothingLeft: if every layer is down to one weight.
        """
        return prune_by_scores(self.scores(view), view.masks, self.params.fraction, "global")


class Uniform(AtRatios):
    """One density in all layers, magnitude within (Zhu and Gupta 2018, all layers included)."""

    def counts(self, view: PruneView, total: int) -> dict[str, int]:
        """Return counts in proportion to the layers' sizes."""
        return _uniform(view.masks, total)


class Erk(AtRatios):
    """Densities in proportion to (in + out + kernel's sides) / size, magnitude within.

    Erdős-Rényi-Kernel (Evci et al. 2020, Section 3; for linear layers Mocanu et al. 2018): the sum
    over the product of a weight's shape. A layer that would need more than all its weights
    keeps them all, and the others share what is missing.
    """

    def counts(self, view: PruneView, total: int) -> dict[str, int]:
        """Return counts in proportion to the sums of the weights' shapes."""
        return _erk(view.masks, total)


class RandomAt(AtRatios):
    """Weights drawn at random within each layer; how many is said by ``ratios``.

    With another run's ratios (Su et al. 2020) this asks whether those alone do what its pruner
    does; with ERK's it is the baseline of Liu et al. 2022. Networks and fractions must be the
    other run's, and the curve ends where that one ended.
    """

    params: RandomAtParams

    def counts(self, view: PruneView, total: int) -> dict[str, int]:
        """Return the counts that ``ratios`` says for this round.

        Raises:
            RunError: if the ratios are of other layers, sizes or another fraction.
            NothingLeft: if the ratios end before this round.
        """
        if self.params.ratios in NAMED:
            return (_erk if self.params.ratios == "erk" else _uniform)(view.masks, total)
        return _recorded(parse(self.params.ratios), view, total)

    def importance(self, view: PruneView) -> dict[str, Tensor]:
        """Return one draw for each weight, pruned or not, the same on every device."""
        return {
            name: torch.rand(weight.shape, generator=view.generator)
            for name, weight in prunable_parameters(view.model).items()
        }


def _left(masks: Masks, fraction: float) -> int:
    """Return how many weights are left once ``fraction`` has gone; every layer keeps one.

    Raises:
        NothingLeft: if none can go.
    """
    left = max(masks.nonzero - prune_count(fraction, masks.nonzero), len(masks.counts))
    if left >= masks.nonzero:
        raise NothingLeft("every layer is down to its last weight")
    return left


def _uniform(masks: Masks, total: int) -> dict[str, int]:
    return _in_proportion(masks, total, [mask.numel() for mask in masks.weights.values()])


def _erk(masks: Masks, total: int) -> dict[str, int]:
    return _in_proportion(masks, total, [sum(mask.shape) for mask in masks.weights.values()])


def _in_proportion(masks: Masks, total: int, weights: list[int]) -> dict[str, int]:
    found = shared_out(total, weights, list(masks.counts.values()))
    return dict(zip(masks.counts, found, strict=True))


def _recorded(table: Table, view: PruneView, total: int) -> dict[str, int]:
    """Return the counts that a table has for the view's round, if it is one for this network."""
    masks = view.masks
    if odd := sorted(table.keys() ^ masks.weights.keys()):
        raise RunError(
            f"random-at: its ratios are of other layers than this network has (see {odd[0]}); "
            "take them from a run of the same model"
        )
    rounds = len(next(iter(table.values())))
    if view.round > rounds:
        raise NothingLeft(f"the ratios of random-at are of {rounds} prunings, all done")
    found = {
        name: max(1, round(table[name][view.round - 1] * mask.numel()))
        for name, mask in masks.weights.items()
    }
    grown = [name for name, count in found.items() if count > masks.counts[name]]
    left = sum(found.values())
    if left != total or grown:
        why = f"'{grown[0]}' would have weights back" if grown else f"{total} are to be left"
        raise RunError(
            f"random-at: after pruning {view.round} its ratios leave {left} weights, "
            f"but {why}; take them from a run of the same model and fraction"
        )
    return found


def _but_the_lowest(ranked: Tensor, mask: Tensor, count: int) -> Tensor:
    """Return 1 everywhere but at the ``count`` lowest kept weights of a layer, the first of equals.

    Ranked on the host: the same order on every device.
    """
    scores = torch.ones(mask.shape)
    kept = mask.cpu().flatten().nonzero().view(-1)
    lowest = ranked.cpu().flatten()[kept].sort(stable=True).indices[:count]
    scores.view(-1)[kept[lowest]] = 0
    return scores
