"""The paper's VGG-like networks (Section 4; the parameter counts of Table 3 pin them)."""

from __future__ import annotations

import torch
from torch import fx, nn

from dsd_bench.errors import UsageError
from dsd_bench.models import ModelFactory
from dsd_bench.models.builtin import VGGParams

POOLED = 7
"""Height and width of the feature map that the classifier sees."""


class AverageTo(nn.AdaptiveAvgPool2d):
    """``nn.AdaptiveAvgPool2d(size)``, whose gradient is the same bits every time on a GPU too.

    PyTorch's own CUDA gradient adds atomically, in no fixed order, whenever the sizes don't
    divide; its CPU one is in order, and faster than :func:`average_by_slices`.

    Args:
        size: height and width of the output: ``(N, C, H, W) -> (N, C, size, size)``.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the means of ``size`` x ``size`` bins."""
        traced: object = images
        # Whoever traces the model is to see what is computed, not how.
        if isinstance(traced, fx.Proxy) or images.device.type == "cpu":
            return super().forward(images)
        return average_by_slices(images, self.size)


def average_by_slices(images: torch.Tensor, size: int) -> torch.Tensor:
    """Return what ``nn.AdaptiveAvgPool2d(size)`` does, up to rounding.

    The bins are rectangles, so averaging rows and then columns gives the same means.

    Args:
        images: ``(N, C, H, W)``.
        size: height and width of the output.
    """
    for axis in (2, 3):
        images = _average(images, axis, size)
    return images


def _average(images: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    length = images.shape[axis]
    if length == 1:
        return images.expand(*(size if i == axis else -1 for i in range(images.ndim)))
    if length == size:
        return images
    bins = []
    for place in range(size):
        start, end = place * length // size, -(-(place + 1) * length // size)
        bins.append(images.narrow(axis, start, end - start).mean(axis, keepdim=True))
    return torch.cat(bins, axis)


def vgg_like(channels: int, depth: int, width: int, classes: int) -> nn.Sequential:
    """Return ``depth`` blocks of two [3x3 convolution - ReLU - batch norm] and a 2x2 max-pool.

    Then the average over a 7x7 grid and one linear layer, ``(N, C, H, W) -> (N, classes)``.
    Initialised by PyTorch's defaults.

    Args:
        channels: of the images.
        depth: the paper's delta.
        width: filters of the first block, 2^gamma; each further block has twice as many.
        classes: number of classes.
    """
    layers: list[nn.Module] = []
    for block in range(depth):
        filters = width << block
        layers += [*_convolution(channels, filters), *_convolution(filters, filters)]
        layers.append(nn.MaxPool2d(2))
        channels = filters
    head = [AverageTo(POOLED), nn.Flatten(), nn.Linear(channels * POOLED**2, classes)]
    return nn.Sequential(*layers, *head)


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    # In-place saves one copy of each feature map: the convolution does not need its output.
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return convolution, nn.ReLU(inplace=True), nn.BatchNorm2d(outputs)


class VGGFactory(ModelFactory):
    """Builds :func:`vgg_like`."""

    params: VGGParams

    def build(
        self, shape: tuple[int, int, int], classes: int, *, download: bool = False
    ) -> nn.Sequential:
        """Return a freshly initialised network; see :meth:`ModelFactory.build`.

        Raises:
            UsageError: if an image's shorter side is under 2^depth pixels.
        """
        channels, height, width = shape
        depth, side = self.params.depth, min(height, width)
        if side < 2**depth:
            raise UsageError(
                f"model 'vgg-like': depth={depth} halves the image {depth} times and needs at "
                f"least {2**depth} px a side, the images are {height}x{width}: "
                + (f"use depth <= {side.bit_length() - 1}" if side > 1 else "use larger images")
            )
        return vgg_like(channels, depth, 2**self.params.width_exponent, classes)
