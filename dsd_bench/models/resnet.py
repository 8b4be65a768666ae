"""Residual networks: torchvision's, with a stem that fits the images."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from dsd_bench.models import ModelFactory
from dsd_bench.models.builtin import ResNetParams

WIDTH = 64
"""Filters of torchvision's first stage."""
SMALL = 64
"""Largest side in pixels of an image for which ``stem=auto`` takes the CIFAR stem."""


class _ResNetFactory(ModelFactory):
    params: ResNetParams
    block: ClassVar[type[BasicBlock | Bottleneck]]
    layers: ClassVar[list[int]]

    def build(
        self, shape: tuple[int, int, int], classes: int, *, download: bool = False
    ) -> nn.Module:
        """Return a freshly initialised network; see :meth:`ModelFactory.build`."""
        channels, side, width = shape[0], max(shape[1:]), self.params.width
        if width == WIDTH:
            model: nn.Module = ResNet(self.block, self.layers, num_classes=classes)
        else:
            model = _Scaled(width, self.block, self.layers, classes)
        small = side <= SMALL
        if self.params.stem == "cifar" or (self.params.stem == "auto" and small):
            model.conv1 = _stem(channels, width, kernel=3, stride=1)
            model.maxpool = nn.Identity()
        elif channels != 3 or width != WIDTH:
            model.conv1 = _stem(channels, width, kernel=7, stride=2)
        return model


class ResNet18Factory(_ResNetFactory):
    """ResNet-18; with the CIFAR stem 11,173,962 parameters for RGB and 10 classes."""

    block = BasicBlock
    layers: ClassVar[list[int]] = [2, 2, 2, 2]


class ResNet50Factory(_ResNetFactory):
    """ResNet-50; with the ImageNet stem 25,557,032 parameters for RGB and 1,000 classes."""

    block = Bottleneck
    layers: ClassVar[list[int]] = [3, 4, 6, 3]


class _Scaled(ResNet):  # type: ignore[misc]
    """torchvision's network with another number of filters in the first stage than 64."""

    def __init__(self, width: int, block: Any, layers: list[int], num_classes: int) -> None:
        self.__dict__["width"] = width  # nn.Module takes no attributes yet
        super().__init__(block, layers, num_classes=num_classes)
        self.fc = nn.Linear(8 * width * block.expansion, num_classes)

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Module:
        if planes == WIDTH:  # the first stage: what comes before it is not of this width yet
            self.bn1, self.inplanes = nn.BatchNorm2d(self.width), self.width
        made: nn.Module = super()._make_layer(block, planes * self.width // WIDTH, *args, **kwargs)
        return made


def _stem(channels: int, width: int, kernel: int, stride: int) -> nn.Conv2d:
    """Return a first convolution, initialised as torchvision initialises its own."""
    layer = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
