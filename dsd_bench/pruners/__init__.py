"""Pruners: which weights go next.

A pruner gives *scores* of the weights' shapes, higher = keep; the core owns exact counts, ties,
nesting and what is prunable (:mod:`dsd_bench.masks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dsd_bench.params import Params, param
from dsd_bench.stateful import Stateful

if TYPE_CHECKING:
    import torch

    from dsd_bench.masks import Masks

Scope = Literal["global", "layer"]


class PrunerParams(Params):
    """What every pruner that works with scores takes."""

    fraction: float = param(
        0.2, help="fraction of the remaining weights to prune per round", gt=0, lt=1, main=True
    )
    scope: Scope = param("global", help="rank the weights of all layers together, or of each alone")


@dataclass(frozen=True)
class PruneView:
    """What a pruner may look at.

    Attributes:
        model: the trained network, its pruned weights zero; leave its parameters, buffers and
            gradients as they were. Of a pruner with ``Component(at_initialisation=True)`` the
            whole network as it was before the dense training, pruned weights too, in every round.
        masks: the current masks, all on ``device``.
        round: index of the round about to be trained (the first pruning is round 1).
        device: where the model lives.
        generator: a CPU generator of the run's own, keyed by the round; of a pruner at
            initialisation the same in every round, as ``batches`` are.
        batches: ``batches(n)`` yields ``n`` un-augmented training batches, normalised images
            ``(B, C, H, W)`` and given labels ``(B,)``, drawn from ``generator``'s stream.
        gathered: what the run's regularizers learned of its trainings, by the names that
            :meth:`dsd_bench.regularizers.Regularizer.gathered` gives.
    """

    model: torch.nn.Module
    masks: Masks
    round: int
    device: torch.device
    generator: torch.Generator
    batches: Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]]
    gathered: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Pruned:
    """New masks, and new values of what stays: reconstruction.

    For pruners that are registered with ``Component(reconstructs=True)``, such as the optimal brain
    surgeon, whose remaining weights make up for those that go.

    Attributes:
        masks: the next masks, as :meth:`Pruner.prune` returns them.
        weights: finite tensors of the parameters' shapes and dtypes, by the names that
            ``model.named_parameters()`` has; biases and other parameters too. What is not named
            stays as it is, and where ``masks`` is False the core sets zero, whatever is given.
            They count before the perturber acts, which may replace them.
    """

    masks: Masks
    weights: Mapping[str, torch.Tensor]


class Pruner(Stateful):
    """Base of all pruners: implement :meth:`scores`, or override :meth:`prune`."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def scores(self, view: PruneView) -> dict[str, torch.Tensor]:
        """Return a finite score for every prunable weight, by parameter name; higher = keep.

        Scores of weights that are already pruned are ignored.
        """
        raise NotImplementedError

    def prune(self, view: PruneView) -> Masks | Pruned:
        """Return the next masks: the lowest-scored ``fraction`` of the remaining weights goes.

        One that reconstructs returns :class:`Pruned`: new weights with its masks.

        Raises:
            dsd_bench.masks.NothingLeft: when no weight can be pruned any more.
        """
        from dsd_bench.masks import prune_by_scores

        params = self.params
        if not isinstance(params, PrunerParams):
            raise TypeError(
                f"{type(self).__name__}: parameters are a {type(params).__name__}, not a "
                "PrunerParams with fraction and scope; derive from it, or override prune"
            )
        return prune_by_scores(self.scores(view), view.masks, params.fraction, params.scope)
