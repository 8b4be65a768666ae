"""Gradients of a network that is only asked, not trained: scores of pruners and updaters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dsd_bench.seeds import preserved_globals


def mean_gradients(
    model: nn.Module,
    weights: Mapping[str, nn.Parameter],
    batches: Iterable[tuple[Tensor, Tensor]],
    train: bool = False,
) -> dict[str, Tensor]:
    """Return the gradient of the mean cross-entropy over all images of some batches.

    The model, its buffers, gradients and train/eval flags, and all global generators are left as
    they were. Pruned weights have a gradient like all others.

    Args:
        model: the network.
        weights: those to differentiate by.
        batches: images ``(B, C, H, W)`` and labels ``(B,)``.
        train: whether in train mode, in which batch norms see their own batch, instead of eval
            mode.

    Returns:
        by name a tensor of the weight's shape, in nats per unit of weight; zeros for a weight that
        the loss does not depend on.
    """
    values = list(weights.values())
    totals = [torch.zeros_like(weight) for weight in values]
    images_seen = 0
    with preserved_globals(), probing(model, values, train):
        for images, labels in batches:
            loss = functional.cross_entropy(model(images), labels, reduction="sum")
            # Not backward(): whatever lies in ``.grad`` stays there untouched.
            parts = torch.autograd.grad(loss, values, allow_unused=True)
            for total, part in zip(totals, parts, strict=True):
                if part is not None:
                    total.add_(part)
            images_seen += len(labels)
    means = [total / max(images_seen, 1) for total in totals]
    return dict(zip(weights, means, strict=True))


@contextlib.contextmanager
def probing(
    model: nn.Module, weights: Iterable[nn.Parameter], train: bool = False
) -> Iterator[None]:
    """Put ``model`` into eval (or train) mode with gradients on, and everything back afterwards."""
    flags = {module: module.training for module in model.modules()}
    frozen = [weight for weight in weights if not weight.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        model.train(train)
        for weight in frozen:
            weight.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        for module, flag in flags.items():
            module.training = flag
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
