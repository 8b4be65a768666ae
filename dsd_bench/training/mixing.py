"""What regularizers do to a batch before the network sees it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from dsd_bench.errors import RunError
from dsd_bench.regularizers import MixBatch, Regularizer
from dsd_bench.training.gathering import Batch

Augmenter = Callable[[Tensor, Tensor], Tensor]
"""``(images, labels) -> images``."""


def augmenter(regularizer: Regularizer) -> Augmenter:
    """Return a regularizer's ``batch``, also one that takes images alone, as an augmenter."""
    method = regularizer.batch
    try:
        inspect.signature(method).bind(None, None)
    except TypeError:
        return lambda images, labels: method(images)
    return method


class Mixer:
    """Mixes batches by the regularizers that do, in order.

    Args:
        chain: them, with their names.
        classes: number of classes.
    """

    def __init__(self, chain: Sequence[tuple[str, Regularizer]], classes: int) -> None:
        self.chain, self.classes = list(chain), classes
        self._unknown = set(range(len(self.chain)))

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Batch:
        """Return images, labels and index ``(B,)`` with the images mixed, and their targets.

        Raises:
            RunError: naming the regularizer, if what it made is no such batch.
        """
        images, labels, index = batch
        mixed = MixBatch(images, functional.one_hot(labels, self.classes).float(), labels, index)
        for place, (name, regularizer) in enumerate(self.chain):
            made = regularizer.mix(mixed)
            for part in ("images", "targets"):
                now, before = getattr(made, part), getattr(mixed, part)
                if (now.shape, now.dtype) != (before.shape, before.dtype):
                    raise RunError(
                        f"regularizer '{name}': mix gave {part} {tuple(now.shape)} of {now.dtype}, "
                        f"where {tuple(before.shape)} of {before.dtype} must be"
                    )
            if place in self._unknown:
                self._unknown.discard(place)
                _check(name, made.targets)
            mixed = made
        return mixed.images, labels, index, mixed.targets


def _check(name: str, targets: Tensor) -> None:
    """Refuse targets that are no distributions; it waits for the device, so once a training."""
    sums = targets.sum(1)
    if not bool((targets >= 0).all() & torch.isclose(sums, torch.ones_like(sums), atol=1e-4).all()):
        raise RunError(
            f"regularizer '{name}': mix gave targets that are no distributions: each row must be "
            "0 or more and sum to 1"
        )
