"""Augmentations of whole batches on the device, with a draw for each image.

All take and return uint8 ``(N, C, H, W)`` of any device, draw from ``generator`` (on the same
device) and neither loop over images nor synchronise with the host.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

GREY = 128
"""What :func:`cutout` fills with: mid-grey, close to the mean of natural images."""


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    flipped = torch.rand(len(images), device=images.device, generator=generator) < 0.5
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def random_shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each image by -``pixels``..``pixels`` down and across, uniformly; fill with zeros.

    The same as padding by ``pixels`` zeros and cropping at random (the paper's CIFAR transform).
    """
    count, _, height, width = images.shape
    down, across = torch.randint(
        2 * pixels + 1, (2, count), device=images.device, generator=generator
    )
    windows = functional.pad(images, (pixels,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(count, device=images.device), :, down, across]


def cutout(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Grey out one square of ``size`` x ``size`` pixels in each image, clipped at the border.

    Its centre is uniform over the pixels. DeVries and Taylor, Improved Regularization of
    Convolutional Neural Networks with Cutout, 2017; they fill with the data's mean, here it is
    mid-grey (128), so that an image's result depends on nothing but itself.
    """
    rows = _covered(len(images), images.shape[2], size, generator)
    columns = _covered(len(images), images.shape[3], size, generator)
    square = rows[:, None, :, None] & columns[:, None, None, :]
    return images.masked_fill(square, GREY)


def _covered(count: int, side: int, size: int, generator: torch.Generator) -> Tensor:
    """Return bool ``(count, side)``: the pixels of a side that each image's square covers."""
    centre = torch.randint(side, (count, 1), device=generator.device, generator=generator)
    offset = torch.arange(side, device=generator.device) - centre + size // 2
    return (offset >= 0) & (offset < size)
