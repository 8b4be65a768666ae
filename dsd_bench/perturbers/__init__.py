"""Perturbers: what happens to the surviving weights between pruning and the next training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd_bench.params import Params
from dsd_bench.stateful import Stateful

if TYPE_CHECKING:
    import torch

    from dsd_bench.masks import Masks

    State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PerturbView:
    """What a perturber may use.

    Attributes:
        model: the network, to be changed in place; the core applies the masks afterwards.
        masks: the masks after this round's pruning.
        round: index of the round about to be trained.
        snapshot: ``snapshot(step)`` is the whole state (parameters and buffers) after ``step``
            steps of the dense training; only for steps that :meth:`Perturber.snapshots` named.
        fresh: ``fresh()`` is the whole state of a new initialisation by the model's own
            rules, from a stream keyed by the round.
    """

    model: torch.nn.Module
    masks: Masks
    round: int
    snapshot: Callable[[int], State]
    fresh: Callable[[], State]


class Perturber(Stateful):
    """Base of all perturbers."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def snapshots(self) -> tuple[int, ...]:
        """Return the steps of the dense training (0 = initialisation) whose state is needed."""
        return ()

    def perturb(self, view: PerturbView) -> None:
        """Change the surviving weights of ``view.model`` in place."""
        raise NotImplementedError
