"""Regularizers: they may wrap the model, the batch and the loss. Several chain, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd_bench.params import Params
from dsd_bench.stateful import Stateful

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingView:
    """What a regularizer sees when a training begins.

    Attributes:
        model: the network about to be trained.
        round: index of the round.
        device: where everything lives.
        generator: the regularizer's own generator on ``device``, keyed by round and place in
            the chain. The core saves and restores its state.
        teacher: for components with ``teacher=True``: ``teacher(images, index)`` gives the
            teacher's logits ``(B, classes)`` without gradients, in eval mode, for normalised
            images ``(B, C, H, W)`` of the training samples ``index``.
    """

    model: torch.nn.Module
    round: int
    device: torch.device
    generator: torch.Generator
    teacher: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True)
class Step:
    """One training step, as the loss sees it. Copy what you keep beyond the step.

    Attributes:
        images: ``(B, C, H, W)``, augmented and normalised.
        labels: ``(B,)`` int64, the given (noisy) labels.
        index: ``(B,)`` int64, the samples' positions in the train part.
        logits: ``(B, classes)``.
    """

    images: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor
    logits: torch.Tensor


class Regularizer(Stateful):
    """Base of all regularizers; override what you need.

    The methods that run every step must not synchronise with the host (no ``.item()``). What
    changes from step to step must follow from the model, the generator and :meth:`state`: those
    are what a checkpoint holds. A step may be recorded and replayed, so within a training it
    changes tensors of its state in place.
    """

    augments = False
    """Whether :meth:`batch` changes images (then nothing computed of an image is cached)."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def begin(self, view: TrainingView) -> None:
        """Prepare for one training: keep what is needed of ``view``, attach hooks."""

    def end(self) -> None:
        """Undo :meth:`begin`: remove hooks; called also when the training fails."""

    def gathered(self) -> dict[str, torch.Tensor]:
        """Return what the pruner is to know of the trainings so far, by names of one's own.

        The pruner finds it in ``PruneView.gathered``; a run may be taken up again in between, so
        it must follow from :meth:`state`.
        """
        return {}

    def batch(self, images: torch.Tensor) -> torch.Tensor:
        """Return the augmented images; ``images`` is uint8 ``(B, C, H, W)``, 0..255."""
        return images

    def loss(self, loss: torch.Tensor, step: Step) -> torch.Tensor:
        """Return the new loss; ``loss`` is a scalar in nats: cross-entropy and what came before."""
        return loss
