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
        samples: size of the train part.
        classes: number of classes.
        teacher_model: for the same components, the teacher itself, in eval mode and frozen, for
            what its layers give on the way: ask it within ``torch.no_grad()``, change nothing of
            it, and take hooks off in ``end``. Its logits are cheaper from ``teacher``.
    """

    model: torch.nn.Module
    round: int
    device: torch.device
    generator: torch.Generator
    teacher: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    samples: int = 0
    classes: int = 0
    teacher_model: torch.nn.Module | None = None


@dataclass(frozen=True)
class EpochView:
    """What a regularizer sees after an epoch.

    Attributes:
        model: the network, in train mode; leave its parameters and buffers as they are.
        round: index of the round.
        epoch: how many of the training's epochs are done, at least 1.
        epochs: how many it has.
    """

    model: torch.nn.Module
    round: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class MixBatch:
    """A batch before the network sees it; :func:`dataclasses.replace` makes another of it.

    It lies in memory that later ones overwrite.

    Attributes:
        images: float32 ``(B, C, H, W)``, augmented and normalised.
        targets: float32 ``(B, classes)``: what the loss takes instead of labels, each row a
            distribution; for the first in the chain that mixes, all of it on the given label.
        labels: ``(B,)`` int64, the given (noisy) labels.
        index: ``(B,)`` int64, the samples' positions in the train part.
    """

    images: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor


@dataclass(frozen=True)
class Step:
    """One training step, as the loss sees it. Copy what you keep beyond the step.

    Attributes:
        images: ``(B, C, H, W)``, augmented and normalised.
        labels: ``(B,)`` int64, the given (noisy) labels.
        index: ``(B,)`` int64, the samples' positions in the train part.
        logits: ``(B, classes)``, of low precision where the run computes so.
        targets: float32 ``(B, classes)``, distributions that count instead of ``labels``; None
            where no regularizer mixes.
        again: whether this is the second pass of a step whose optimiser has two; what counts or
            remembers steps or samples does so in the first.
    """

    images: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor
    logits: torch.Tensor
    targets: torch.Tensor | None = None
    again: bool = False


class Regularizer(Stateful):
    """Base of all regularizers; override what you need.

    The methods that run every step must not synchronise with the host (no ``.item()``). What
    changes from step to step must follow from the model, the generator and :meth:`state`: those
    are what a checkpoint holds. A step may be recorded and replayed, so within a training it
    changes tensors of its state in place.
    """

    augments = False
    """Whether it changes images (then nothing computed of one is cached): with :meth:`batch`
    always."""
    needs_whole_batch = False
    """Whether what it adds to the loss is no mean over images: then a batch is neither taken in
    parts where memory is short, nor shared by several processes."""

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

    def batch(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return the augmented images; ``images`` is uint8 ``(B, C, H, W)``, 0..255.

        ``labels`` are the given ones, ``(B,)`` int64; a method that takes images alone will do.
        """
        return images

    def mix(self, batch: MixBatch) -> MixBatch:
        """Return a batch of the same size of other images, targets or both.

        Comes after every :meth:`batch`. Labels and index stay those of the batch. Mixed images are
        no one image's: a teacher is asked anew about them. Where images are decoded from files it
        is refused in several processes, each of which sees a share of the batch only.
        """
        return batch

    def criterion(self, step: Step) -> torch.Tensor:
        """Return the loss that replaces cross-entropy, in nats: a scalar, mean over the images.

        At most one regularizer of a run may have a criterion. It respects ``step.targets`` where
        they are, and takes ``step.logits.float()``.
        """
        raise NotImplementedError

    def loss(self, loss: torch.Tensor, step: Step) -> torch.Tensor:
        """Return the new loss; ``loss`` is a scalar in nats: the criterion and what came before."""
        return loss

    def epoch(self, view: EpochView) -> None:
        """Do what is due after each epoch; here waiting for the device costs little.

        What it changes within a training are tensors of its state, in place.
        """


def overrides(made: Regularizer | type[Regularizer], method: str) -> bool:
    """Whether a regularizer, or its class, has a ``method`` of its own."""
    of = made if isinstance(made, type) else type(made)
    return getattr(of, method) is not getattr(Regularizer, method)
