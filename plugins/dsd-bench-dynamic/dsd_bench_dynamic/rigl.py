"""The updater ``rigl``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from dsd_bench.gradients import mean_gradients
from dsd_bench.masks import Masks, grow_by_scores, prune_to
from dsd_bench.updaters import Updater, UpdateView
from dsd_bench_dynamic.plugin import RigLParams


class RigL(Updater):
    """Drop the smallest weights of each layer and grow those of the largest gradient (Evci 2020).

    At step ``t`` the share ``share / 2 * (1 + cos(pi * t / T))`` of each layer's weights is
    exchanged, rounded down; ``T`` is the share ``until`` of a training's steps (section 3 of the
    paper). The gradient is that of the cross-entropy over ``batches`` un-augmented training
    batches, in train mode; what was just dropped may grow at once, and then stays as it was. Each
    layer keeps as many weights as the pruner left it.
    """

    params: RigLParams
    regrows = True
    checked_params: ClassVar = {"every": 2}

    def steps(self, total: int, per_epoch: int) -> Sequence[int]:
        """Return every ``every``-th step before the share ``until`` of a training."""
        end = min(math.ceil(self.params.until * total), total)
        return range(self.params.every, end, self.params.every)

    def update(self, view: UpdateView) -> Masks:
        """Return the exchanged masks."""
        parameters = dict(view.model.named_parameters(remove_duplicate=False))
        weights = {name: parameters[name] for name in view.masks.weights}
        end = self.params.until * view.total
        share = self.params.share / 2 * (1 + math.cos(math.pi * view.step / end))
        counts = view.masks.counts
        away = {name: min(int(share * count), count - 1) for name, count in counts.items()}
        sizes = {name: weight.detach().abs() for name, weight in weights.items()}
        kept = prune_to(sizes, view.masks, {name: counts[name] - away[name] for name in counts})
        batches = view.batches(self.params.batches)
        gradients = mean_gradients(view.model, weights, batches, train=True)
        return grow_by_scores({name: g.abs() for name, g in gradients.items()}, kept, away)
