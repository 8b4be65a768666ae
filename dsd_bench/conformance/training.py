"""One step of a training with a regularizer, as the core would do it, for the checks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.config.words import build_component
from dsd_bench.conformance.networks import BATCH, CLASSES, SHAPE
from dsd_bench.conformance.runs import small
from dsd_bench.conformance.subjects import Subject
from dsd_bench.plugins import catalogue
from dsd_bench.regularizers import EpochView, Regularizer, Step, TrainingView, overrides
from dsd_bench.seeds import seeded_globals
from dsd_bench.training.mixing import Mixer, augmenter
from dsd_bench.training.step import one_number


@dataclass(frozen=True)
class Seen:
    """What a regularizer made of one batch: uint8 and mixed images, targets, the loss."""

    images: Tensor
    mixed: Tensor
    targets: Tensor | None
    loss: Tensor


def training_view(subject: Subject, model: nn.Module, seed: int = 3) -> TrainingView:
    """Return what the regularizer sees when ``model`` is about to be trained.

    A teacher is a network like ``model`` with larger weights.
    """
    draw, device = torch.Generator().manual_seed(seed), next(model.parameters()).device
    if not subject.entry.component.teacher:
        return TrainingView(model, 0, device, draw, samples=BATCH, classes=CLASSES)
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    for weight in teacher.parameters():
        weight.mul_(1.5)

    def answers(images: Tensor, index: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = teacher(images)
        return logits

    return TrainingView(
        model, 0, device, draw, answers, samples=BATCH, classes=CLASSES, teacher_model=teacher
    )


def batch(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return uint8 images ``(BATCH, 3, 6, 6)``, labels and index, both ``(BATCH,)``."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, *SHAPE), generator=draw, dtype=torch.uint8)
    index = torch.arange(BATCH)
    return images.to(device), (index % CLASSES).to(device), index.to(device)


def normalised(images: Tensor, model: nn.Module) -> Tensor:
    """Return uint8 images as ``model`` takes them."""
    return images.to(next(model.parameters()).dtype) / 127.5 - 1


def trained(
    subject: Subject, regularizer: Regularizer, model: nn.Module, backward: bool = False
) -> Seen:
    """Let it begin, see one batch and one epoch, and end, as in a training.

    Args:
        subject: the regularizer's.
        regularizer: made of ``subject``.
        model: is in eval mode afterwards; its weights stay.
        backward: whether gradients are computed, into ``model``.
    """
    model.train()
    with seeded_globals(4):
        regularizer.begin(training_view(subject, model))
        try:
            seen = _step(subject, regularizer, model)
            if backward:
                torch.autograd.backward(seen.loss)
            if overrides(regularizer, "epoch"):
                regularizer.epoch(EpochView(model, 0, 1, 2))
        finally:
            regularizer.end()
            model.eval()
    return seen


def _step(subject: Subject, regularizer: Regularizer, model: nn.Module) -> Seen:
    images, labels, index = batch(next(model.parameters()).device)
    if overrides(regularizer, "batch"):
        images = augmenter(regularizer)(images, labels)
    mixed = normalised(images, model)
    targets = None
    if overrides(regularizer, "mix"):
        mixer = Mixer([(subject.name, regularizer)], CLASSES)
        made = mixer((mixed, labels, index)) if not mixed.is_meta else (mixed, labels, index)
        mixed, targets = made[0], made[3] if len(made) > 3 else None
    step = Step(mixed, labels, index, model(mixed), targets)
    return Seen(images, mixed, targets, loss_of(regularizer, step))


def loss_of(regularizer: Regularizer, step: Step) -> Tensor:
    """Return the loss of a step: the criterion, and what the regularizer adds."""
    if overrides(regularizer, "criterion"):
        loss = one_number(regularizer.criterion(step), regularizer.criterion)
    else:
        wanted = step.labels if step.targets is None else step.targets
        loss = functional.cross_entropy(step.logits.float(), wanted)
    return one_number(regularizer.loss(loss, step), regularizer.loss)


def gathered(subject: Subject, model: nn.Module) -> Mapping[str, Tensor]:
    """Return what the regularizers beside a pruner learned of a training of ``model``."""
    found: dict[str, Tensor] = {}
    for chosen in small(reg=subject.beside.get("reg", [])).regularizers:
        of = Subject(catalogue().get("regularizer", chosen.name))
        regularizer: Regularizer = build_component(catalogue(), "regularizer", chosen)
        trained(of, regularizer, copy.deepcopy(model), backward=True)
        found.update(regularizer.gathered())
    return found
