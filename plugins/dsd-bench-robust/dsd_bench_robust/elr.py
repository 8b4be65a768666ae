"""The regularizer ``elr``: early-learning regularization."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dsd_bench.errors import RunError
from dsd_bench.regularizers import Regularizer, Step, TrainingView
from dsd_bench_robust.plugin import ELRParams

SMALLEST = 1e-4
"""Probabilities are kept this far from 0 and 1, as in the authors' code."""


class ELR(Regularizer):
    """Loss -> loss + weight * mean of log(1 - <answer, target>).

    An image's target is the running mean of the network's answers to it, in all trainings of the
    run unless ``forget``: what it learned early keeps it from learning a wrong label later. The
    first training begins with targets of zero. Where a step has two passes, only the answers of
    the first are remembered.
    """

    params: ELRParams

    def __init__(self, params: ELRParams) -> None:
        super().__init__(params)
        self._targets: Tensor | None = None

    def begin(self, view: TrainingView) -> None:
        """Begin without targets, or forget those of the training before."""
        if self._targets is None or self.params.forget:
            self._targets = torch.zeros(view.samples, view.classes, device=view.device)

    def loss(self, loss: Tensor, step: Step) -> Tensor:
        """Return the new loss.

        Raises:
            dsd_bench.errors.RunError: if batches are mixed: no image has an answer of its own.
        """
        if step.targets is not None:
            raise RunError("elr remembers each image's answer, so no regularizer may mix images")
        assert self._targets is not None, "begin comes first"
        before = self._targets[step.index]
        answers = step.logits.float().softmax(1).clamp(SMALLEST, 1 - SMALLEST)
        known = answers.detach() / answers.detach().sum(1, keepdim=True)
        targets = before if step.again else torch.lerp(known, before, self.params.momentum)
        if not step.again:
            self._targets.index_copy_(0, step.index, targets)
        agreement = (targets * answers).sum(1)
        return loss + self.params.weight * (1 - agreement).log().mean()

    def state(self) -> dict[str, Tensor]:
        """Return the targets, ``(samples, classes)``."""
        return {} if self._targets is None else {"targets": self._targets}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with these targets."""
        self._targets = tensors["targets"]
