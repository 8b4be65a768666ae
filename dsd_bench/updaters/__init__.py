"""Updaters: masks that change within a training, at stated steps (sparse training).

In every round but the dense one the pruner says how many weights the round ends with. Without an
updater it also says which; an updater may decide that anew while they are trained: grow some back
and drop others (RigL, SET), or begin with more and prune them bit by bit (GMP).

The core asks for new masks after the steps that :meth:`Updater.steps` names, checks them, and owns
the rest: exact counts, optimiser state, zeros, checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dsd_bench.params import Params
from dsd_bench.stateful import Stateful

if TYPE_CHECKING:
    import torch

    from dsd_bench.masks import Masks


@dataclass(frozen=True)
class UpdateView:
    """What an updater may look at.

    Attributes:
        model: the network in the middle of its training; leave everything of it as it was.
        masks: the present masks, on ``device``.
        target: what the pruner left; the training ends with exactly as many weights.
        began: the masks that the training began with.
        round: index of the round, 1 or more.
        step: steps of this training that are done; the first update may come at 1.
        steps: all steps after which masks change in this training, ascending; ``step`` is one.
        total: steps of this training.
        device: where the model lives.
        generator: a CPU generator of the run's own, keyed by round and step.
        batches: ``batches(n)`` yields ``n`` un-augmented training batches, normalised images
            ``(B, C, H, W)`` and given labels ``(B,)``, drawn anew at each step.
    """

    model: torch.nn.Module
    masks: Masks
    target: Masks
    began: Masks
    round: int
    step: int
    steps: Sequence[int]
    total: int
    device: torch.device
    generator: torch.Generator
    batches: Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]]


@dataclass(frozen=True)
class Regrown:
    """New masks, and the weights that what comes back has.

    Attributes:
        masks: the masks from the next step on.
        weights: finite tensors of the weights' shapes, by name; read is only what comes back.
            Weights of layers that are not named come back at zero.
    """

    masks: Masks
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)


class Updater(Stateful):
    """Base of all updaters: implement :meth:`steps` and :meth:`update`.

    Attributes:
        begins: what each training but the dense one begins with: what the pruner left
            (``pruned``), what there was ``before`` this round's pruning, or all weights
            (``dense``). Weights that were pruned in earlier rounds begin at zero, unless the
            perturber sets the weights back.
        regrows: whether an update may bring weights back. What comes back begins at zero, with
            no momentum or other state of the optimiser.
        fills: whether :meth:`update` may return :class:`Regrown`: values for what comes back.
    """

    begins: Literal["pruned", "before", "dense"] = "pruned"
    regrows: bool = False
    fills: bool = False

    def __init__(self, params: Params) -> None:
        self.params = params

    def steps(self, total: int, per_epoch: int) -> Sequence[int]:
        """Return the steps after which masks change, ascending, each from 1 to ``total``.

        A training that ends at step ``total`` has its last update after at most that many; weights
        that come back there are never trained.

        Args:
            total: steps of the training.
            per_epoch: steps of an epoch.
        """
        raise NotImplementedError

    def update(self, view: UpdateView) -> Masks | Regrown:
        """Return the masks from the next step on.

        They keep a weight in every layer, and in all at least as many as ``view.target`` and at
        most as many as ``view.masks``; after the last of ``view.steps`` exactly as many as
        ``view.target``. :func:`dsd_bench.masks.prune_to` and
        :func:`dsd_bench.masks.grow_by_scores` make such masks.
        """
        raise NotImplementedError
