"""The pruner that asks how much the loss would change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.masks import prunable_parameters
from dsd_bench.pruners import Pruner, PruneView
from dsd_bench.pruners.builtin import GradientParams
from dsd_bench.seeds import preserved_globals


class Gradient(Pruner):
    """Score ``|w * dL/dw|``: to first order, what the loss changes by when ``w`` goes to zero.

    ``L`` is the cross-entropy, in nats per image, on the given labels over ``batches`` training
    batches, in eval mode and without regularizers: the gradients of the batches add up before
    the absolute value is taken (Lee et al. 2019). The model, its buffers, gradients and
    train/eval flags, and all global generators are left as they were.
    """

    params: GradientParams

    def scores(self, view: PruneView) -> dict[str, Tensor]:
        """Return the scores, of the weights' shapes; a weight that the loss ignores scores 0."""
        weights = prunable_parameters(view.model)
        with preserved_globals(), _probing(view.model, list(weights.values())):
            gradients = self._gradients(view, list(weights.values()))
        return {
            name: (weight.detach() * gradient).abs()
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }

    def _gradients(self, view: PruneView, weights: list[nn.Parameter]) -> list[Tensor]:
        """Return the gradient of the mean loss over all images of the batches."""
        totals = [torch.zeros_like(weight) for weight in weights]
        images_seen = 0
        for images, labels in view.batches(self.params.batches):
            loss = functional.cross_entropy(view.model(images), labels, reduction="sum")
            # Not backward(): whatever lies in ``.grad`` stays there untouched.
            parts = torch.autograd.grad(loss, weights, allow_unused=True)
            for total, part in zip(totals, parts, strict=True):
                if part is not None:
                    total.add_(part)
            images_seen += len(labels)
        return [total / max(images_seen, 1) for total in totals]


@contextlib.contextmanager
def _probing(model: nn.Module, weights: list[nn.Parameter]) -> Iterator[None]:
    """Put ``model`` into eval mode with gradients on, and everything back after the block."""
    training = {module: module.training for module in model.modules()}
    frozen = [weight for weight in weights if not weight.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        model.eval()
        for weight in frozen:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        for module, flag in training.items():
            module.training = flag
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
