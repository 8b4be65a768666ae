"""A model tried out before anything is trained: what it gives in eval and in train mode.

It is tried on a few random images, as a network of its own: no run sees it, and the global
generators stay as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.errors import UsageError
from dsd_bench.masks import prunable_parameters
from dsd_bench.metrics.passes import ReluCounter, evaluating
from dsd_bench.models.building import Shape, in_one_line, size
from dsd_bench.training.device import ComputeContext

LARGE = 224
"""Side of the images that a model is shown to learn whether the data's are too small for it."""


@dataclass(frozen=True)
class Probed:
    """What the trial of a model has told.

    Attributes:
        rectifiers: whether it has units with an on/off state, hence an entropy.
        untrained: prunable weights that get no gradient, by parameter name.
    """

    rectifiers: bool
    untrained: tuple[str, ...]


def probe_model(
    model: nn.Module,
    where: str,
    shape: Shape,
    classes: int,
    context: ComputeContext,
    smallest_batch: int = 2,
) -> Probed:
    """Try ``model`` out: two images and one in eval mode, then a batch forward and backward.

    The gradients, batch-norm statistics and flags of ``model`` change, and what it draws comes
    from the global generators.

    Args:
        model: a new network on the context's device.
        where: the model, for messages.
        shape: one normalised image's ``(C, H, W)``.
        classes: number of classes.
        context: where and how precisely to compute.
        smallest_batch: of the trainings to come; with 1 it must learn from one image.

    Raises:
        UsageError: saying what of it cannot be used, and what would be right.
    """
    trial = _Trial(model, where, shape, classes, context)
    rectifiers = trial.evaluate()
    trial.train(smallest_batch)
    return Probed(rectifiers, trial.untrained())


class _Trial:
    """One model and the images that it is shown."""

    def __init__(
        self, model: nn.Module, where: str, shape: Shape, classes: int, context: ComputeContext
    ) -> None:
        self.model, self.where, self.shape, self.classes = model, where, shape, classes
        self.context = context
        images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
        self.images = images.to(context.device, memory_format=context.memory_format)
        low = {torch.bfloat16} if context.precision == "bf16" else set()
        self.dtypes = {torch.float32} | low

    def evaluate(self) -> bool:
        """Try eval mode; return whether there are units with an on/off state."""
        for name, tensor in self.model.named_parameters():
            if not bool(tensor.isfinite().all()):
                raise UsageError(f"{self.where}: its new weights '{name}' are not all finite")
        counter = ReluCounter()
        with evaluating(self.model):
            self._forward(2, "eval", counter)
            self._forward(1, "eval")
        return bool(counter.counts)

    def train(self, smallest_batch: int) -> None:
        """Try train mode, forward and backward, on the smallest batch that will come."""
        self.model.train()
        try:
            logits = self._forward(min(2, smallest_batch), "train")
        except UsageError as error:
            if smallest_batch == 1:
                self._blame_the_batch(error)
            raise
        loss = functional.cross_entropy(logits.float(), logits.argmin(1))
        try:
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise self._untrainable(f"its backward pass fails: {in_one_line(error)}") from error
        weights = self.model.named_parameters()
        found = {name: weight.grad for name, weight in weights if weight.grad is not None}
        if not found:
            raise self._untrainable("its output depends on no weight that may change")
        for name, gradient in found.items():
            if not bool(gradient.isfinite().all()):
                raise self._untrainable(f"the first gradient of '{name}' is not finite")

    def _untrainable(self, reason: str) -> UsageError:
        return UsageError(f"{self.where} cannot be trained: {reason}")

    def untrained(self) -> tuple[str, ...]:
        """Return the weights that the backward pass did not reach."""
        weights = prunable_parameters(self.model)
        return tuple(name for name, weight in weights.items() if weight.grad is None)

    def _forward(self, count: int, mode: str, counter: ReluCounter | None = None) -> Tensor:
        """Return the logits of the first ``count`` images, or say what is wrong with them."""
        given = self.images[:count].clone(memory_format=torch.preserve_format)
        try:
            with self.context.autocast():
                logits: Any = counter.run(self.model, given) if counter else self.model(given)
        except Exception as error:
            reason = f"cannot take {size(self.shape)} images in {mode} mode: {in_one_line(error)}"
            raise UsageError(f"{self.where} {reason}{self._takes_larger(mode)}") from error
        if problem := self._problem(logits, count):
            raise UsageError(f"{self.where} {problem} in {mode} mode; {self._wanted(count)}")
        if not torch.equal(given, self.images[:count]):
            reason = "changes its input images in place, which others use too"
            raise UsageError(f"{self.where} {reason}: let it work on a copy (inplace=False)")
        return logits  # type: ignore[no-any-return]

    def _problem(self, logits: Any, count: int) -> str | None:
        """Say what is wrong with a model's output, None if nothing is."""
        if not isinstance(logits, Tensor):
            return f"gives {_described(logits)}"
        if logits.shape != (count, self.classes):
            return f"gives the shape {tuple(logits.shape)} for {count} images"
        if logits.dtype not in self.dtypes:
            return f"gives {str(logits.dtype).removeprefix('torch.')}"
        if not bool(logits.isfinite().all()):
            return "gives numbers that are not finite for random images"
        return None

    def _wanted(self, count: int) -> str:
        return f"expected are finite float32 logits ({count}, {self.classes}), one tensor"

    def _takes_larger(self, mode: str) -> str:
        """Say so if the model would take larger images."""
        if max(self.shape[1:]) >= LARGE:
            return ""
        large = torch.zeros(2, self.shape[0], LARGE, LARGE, device=self.context.device)
        try:
            with torch.no_grad():
                self.model(large)
        except Exception:
            return ""
        return f" (the images are too small: it takes {LARGE}x{LARGE})"

    def _blame_the_batch(self, error: UsageError) -> None:
        """If two images would do, say that one is too few."""
        try:
            self._forward(2, "train")
        except UsageError:
            return
        raise UsageError(
            f"{error}: it cannot learn from one image at a time; use a --batch-size of 2 or more"
        ) from error


def _described(output: object) -> str:
    """Say what a model gave instead of a tensor."""
    kind = f"a {type(output).__name__}"
    if isinstance(output, Mapping):
        return f"{kind} with {', '.join(map(str, output)) or 'nothing'}"
    return f"{kind} of {len(output)}" if isinstance(output, tuple | list) else kind
