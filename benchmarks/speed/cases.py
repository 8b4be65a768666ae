"""The networks and the synthetic data that are timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy
import torch
from torch import nn

from dsd_bench.config.run import AskedLayout, Precision
from dsd_bench.data.on_device import DeviceData
from dsd_bench.data.parts import ResidentPart
from dsd_bench.masks import Masks
from dsd_bench.models.mlp import mlp
from dsd_bench.models.vgg import vgg_like
from dsd_bench.training.device import ComputeContext, make_context
from dsd_bench.training.layout import on_cpu, place

CLASSES = 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True)
class Case:
    """One network and the data it is trained on.

    Attributes:
        name: what the table calls it.
        build: makes the network.
        shape: one image's ``(C, H, W)``.
        batch: images a step.
        images: images an epoch.
        augmented: whether images are shifted and flipped.
        goal: largest overhead over bare forward and backward, None if there is no goal.
        epochs: how many are timed at once: a training has several, and begins only once.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    batch: int
    images: int
    augmented: bool
    goal: float | None = None
    epochs: int = 1

    def model(self, context: ComputeContext, *, exact: bool = True) -> nn.Module:
        """Return the network on ``context``, the same one each time.

        Args:
            context: where, and in which layout.
            exact: whether with the batch norms of a run, else with torch's own.
        """
        torch.manual_seed(0)
        if exact:
            return place(self.build(), context).train()
        model = self.build().to(context.device)
        return model.to(memory_format=context.memory_format).train()

    def context(
        self, word: str, threads: int, precision: Precision, layout: AskedLayout = "auto"
    ) -> ComputeContext:
        """Return the context of a run of this network, in the layout that a run has or another."""
        made = make_context(word, threads, False, precision, layout)
        made.lay_out(on_cpu(self.build(), precision))
        return made

    def arrays(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return uint8 images ``(N, C, H, W)`` and int64 labels ``(N,)``."""
        draw = numpy.random.default_rng(0)
        images = draw.integers(0, 256, (self.images, *self.shape), dtype=numpy.uint8)
        return images, draw.integers(0, CLASSES, self.images)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and deviation of each channel, of pixels in 0..1."""
        return MEAN[: self.shape[0]], STD[: self.shape[0]]

    def resident(self, context: ComputeContext) -> DeviceData:
        """Return the data on ``context``."""
        images, labels = (torch.from_numpy(a).to(context.device) for a in self.arrays())
        part = ResidentPart(images, labels, labels)
        mean, std = (
            torch.tensor(s, device=context.device).view(-1, 1, 1) for s in self.statistics()
        )
        return DeviceData(
            train=part,
            val=None,
            test=part,
            classes=CLASSES,
            scale=1 / (255 * std),
            shift_by=-mean / std,
            flip=self.augmented,
            shift=4 if self.augmented else 0,
            crop=False,
            memory_format=context.memory_format,
        )


def half_masks(model: nn.Module) -> Masks:
    """Return masks that prune a random half of each layer."""
    draw = torch.Generator().manual_seed(1)
    dense = Masks.dense(model).weights
    kept = {name: torch.rand(mask.shape, generator=draw) < 0.5 for name, mask in dense.items()}
    return Masks({name: mask.to(dense[name].device) for name, mask in kept.items()})


def resnet18() -> nn.Module:
    """Return torchvision's ResNet-18 with the CIFAR stem."""
    from dsd_bench.models.builtin import ResNetParams
    from dsd_bench.models.resnet import ResNet18Factory

    return ResNet18Factory(ResNetParams()).build((3, 32, 32), CLASSES)


def cases(device: str, quick: bool) -> list[Case]:
    """Return the cases, smaller on a CPU than on a GPU, and two tiny ones if ``quick``."""
    cifar = (3, 32, 32)
    digits = partial(Case, "digits MLP", partial(mlp, [64, 64, 64, CLASSES]), (1, 8, 8), 100)
    if quick:
        tiny = Case("VGG-like(1,2)", partial(vgg_like, 3, 1, 4, CLASSES), cifar, 32, 96, True)
        return [digits(500, False), tiny]
    few, more = (256, 2_048) if device == "cpu" else (50_000, 50_000)
    small = partial(Case, "VGG-like(1,5)", partial(vgg_like, 3, 1, 32, CLASSES), cifar, 128)
    large = partial(Case, "VGG-like(5,5)", partial(vgg_like, 3, 5, 32, CLASSES), cifar, 128)
    return [
        digits(1_000, False, goal=0.1, epochs=10),
        small(more, True, goal=0.03),
        large(few if device == "cpu" else more, True, goal=0.03),
        Case("ResNet-18", resnet18, cifar, 128, few, True, goal=0.03),
    ]
