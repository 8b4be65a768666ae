"""Data augmentation: a chain of policies, each drawn for each image from the run's own stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from dsd_bench.data.transforms import cutout, random_flip, random_shift
from dsd_bench.regularizers import Regularizer, TrainingView
from dsd_bench.regularizers.builtin import AugmentParams

Policy = Callable[[Tensor, torch.Generator], Tensor]
"""``(images, generator) -> images``, uint8 ``(B, C, H, W)``, with a draw for each image."""


class Augment(Regularizer):
    """Apply ``policy`` to every batch, on top of the data set's own transform (Appendix D).

    cutout, flip and shift work on whole batches on the device. The others go image by image over
    the CPU (:class:`dsd_bench.regularizers.policies.PerImage`), which waits for the device.
    """

    augments = True
    expected_failed_checks: ClassVar = {
        "no-waiting": "policies of torchvision and timm work on the CPU, image by image"
    }
    params: AugmentParams

    def __init__(self, params: AugmentParams) -> None:
        super().__init__(params)
        self._chain = [make_policy(name, params) for name in params.policy.split("+")]

    def begin(self, view: TrainingView) -> None:
        """Keep the regularizer's generator."""
        self._generator = view.generator

    def batch(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the augmented images, uint8 ``(B, C, H, W)``."""
        for policy in self._chain:
            images = policy(images, self._generator)
        return images


def make_policy(name: str, params: AugmentParams) -> Policy:
    """Return one policy of the chain; a faster, batched version of any would be chosen here."""

    def pixels(images: Tensor, size: float) -> int:
        return max(1, round(size * min(images.shape[2:])))

    match name:
        case "flip":
            return random_flip
        case "shift":
            return lambda images, generator: random_shift(
                images, pixels(images, params.shift_size), generator
            )
        case "cutout":
            return lambda images, generator: cutout(
                images, pixels(images, params.cutout_size), generator
            )
    from dsd_bench.regularizers.policies import PerImage

    return PerImage(name)
