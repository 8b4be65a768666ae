"""The updater ``gmp``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from dsd_bench import Params
from dsd_bench.masks import Masks, prune_to
from dsd_bench.updaters import Updater, UpdateView
from dsd_bench_dynamic.plugin import GMPParams


class GMP(Updater):
    """Gradual magnitude pruning (Zhu and Gupta 2017, equation 1).

    After update ``i`` of ``n`` there are ``target + (began - target) * (1 - i / n)^3`` weights,
    rounded; the smallest are gone. With ``scope=layer`` that holds for each layer, between what it
    began with and what the pruner left of it: after ``--pruner random:scope=layer`` every layer
    has the same sparsity at any time, as in the paper.
    """

    params: GMPParams
    checked_params: ClassVar = {"every": 2}

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.begins = self.params.start

    def steps(self, total: int, per_epoch: int) -> Sequence[int]:
        """Return every ``every``-th step from the share ``first`` of a training to ``until``."""
        first, every = int(self.params.first * total), self.params.every
        return range(first + every, int(self.params.until * total) + 1, every)

    def update(self, view: UpdateView) -> Masks:
        """Return the masks without the smallest weights."""
        weights = dict(view.model.named_parameters(remove_duplicate=False))
        sizes = {name: weights[name].detach().abs() for name in view.masks.weights}
        left = (1 - (list(view.steps).index(view.step) + 1) / len(view.steps)) ** 3

        def count(began: int, target: int) -> int:
            return target + round((began - target) * left)

        if self.params.scope == "global":
            return prune_to(sizes, view.masks, count(view.began.nonzero, view.target.nonzero))
        target = view.target.counts
        each = {name: count(began, target[name]) for name, began in view.began.counts.items()}
        return prune_to(sizes, view.masks, each)
