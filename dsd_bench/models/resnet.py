"""Residual networks: torchvision's, with a stem that fits the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import nn
from torchvision.models import resnet18, resnet50

from dsd_bench.models import ModelFactory
from dsd_bench.models.builtin import ResNetParams

SMALL = 64
"""Largest side in pixels of an image for which ``stem=auto`` takes the CIFAR stem."""


class _ResNetFactory(ModelFactory):
    params: ResNetParams
    make: ClassVar[Callable[..., nn.Module]]

    def build(
        self, shape: tuple[int, int, int], classes: int, *, download: bool = False
    ) -> nn.Module:
        """Return a freshly initialised network; see :meth:`ModelFactory.build`."""
        channels, height, width = shape
        model = self.make(weights=None, num_classes=classes)
        small = max(height, width) <= SMALL
        if self.params.stem == "cifar" or (self.params.stem == "auto" and small):
            model.conv1 = _stem(channels, kernel=3, stride=1)
            model.maxpool = nn.Identity()
        elif channels != 3:
            model.conv1 = _stem(channels, kernel=7, stride=2)
        return model


class ResNet18Factory(_ResNetFactory):
    """ResNet-18; with the CIFAR stem 11,173,962 parameters for RGB and 10 classes."""

    make = staticmethod(resnet18)


class ResNet50Factory(_ResNetFactory):
    """ResNet-50; with the ImageNet stem 25,557,032 parameters for RGB and 1,000 classes."""

    make = staticmethod(resnet50)


def _stem(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    """Return a first convolution, initialised as torchvision initialises its own."""
    layer = nn.Conv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
