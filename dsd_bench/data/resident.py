"""Data that live on the device, as uint8; what is done to a batch is done there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dsd_bench.regularizers.batched import random_flip, random_shift

if TYPE_CHECKING:
    from dsd_bench.data import prepare


@dataclass(frozen=True)
class Part:
    """One part of the data on the device.

    Attributes:
        images: uint8 ``(N, C, H, W)``, 0..255.
        labels: int64 ``(N,)``, given.
        clean: int64 ``(N,)``, true where known.
    """

    images: Tensor
    labels: Tensor
    clean: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, index: Tensor) -> Tensor:
        """Return the images at ``index`` ``(B,)`` as uint8 ``(B, C, H, W)`` on the device."""
        return self.images[index]

    def batches(self, order: Tensor, size: int, first: int, key: int) -> Iterator[Tensor]:
        """Yield an epoch's images, ``size`` at a time, from batch number ``first`` on.

        Args:
            order: the epoch's order ``(N,)``; batch k is ``order[k * size : (k + 1) * size]``.
            size: images a batch.
            first: the first batch to yield (a resumed training has done those before it).
            key: seeds whatever is drawn while images are decoded; resident ones draw nothing.
        """
        for index in torch.split(order, size)[first:]:
            yield self.gather(index)


@dataclass(frozen=True)
class Resident:
    """A prepared data set on a device.

    Attributes:
        train, val, test: the parts; ``val`` is None if nothing was held out.
        classes: number of classes.
        scale, shift_by: per channel ``(C, 1, 1)``: normalised = image * scale + shift_by.
        flip: whether training images are mirrored at random.
        shift: largest random shift of training images in pixels, 0 for none.
        memory_format: layout of normalised images.
    """

    train: Part
    val: Part | None
    test: Part
    classes: int
    scale: Tensor
    shift_by: Tensor
    flip: bool
    shift: int
    memory_format: torch.memory_format

    @classmethod
    def place(
        cls, data: prepare.Prepared, device: torch.device, memory_format: torch.memory_format
    ) -> Resident:
        """Copy prepared data to ``device``."""

        def part(of: prepare.Part) -> Part:
            arrays = (of.images, of.labels, of.clean)
            return Part(*(torch.from_numpy(array).to(device) for array in arrays))

        std = torch.tensor(data.std, dtype=torch.float64).view(-1, 1, 1)
        mean = torch.tensor(data.mean, dtype=torch.float64).view(-1, 1, 1)
        return cls(
            train=part(data.train),
            val=part(data.val) if data.val is not None else None,
            test=part(data.test),
            classes=data.classes,
            scale=(1 / (255 * std)).float().to(device),
            shift_by=(-mean / std).float().to(device),
            flip=data.flip,
            shift=data.shift,
            memory_format=memory_format,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image's ``(C, H, W)``."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def transforms(self) -> bool:
        """Whether the standard transform changes training images."""
        return self.flip or self.shift > 0

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 ``(B, C, H, W)`` into normalised float32."""
        floats = images.to(torch.float32, memory_format=self.memory_format)
        return floats.mul_(self.scale).add_(self.shift_by)

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Apply the data set's standard transform, with a draw for each image."""
        if self.flip:
            images = random_flip(images, generator)
        if self.shift:
            images = random_shift(images, self.shift, generator)
        return images
