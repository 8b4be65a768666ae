"""Data on the device, as uint8; what is done to a batch is done there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dsd_bench.data.files import ImageFiles
from dsd_bench.data.parts import Part, ResidentPart
from dsd_bench.data.transforms import random_flip, random_shift

if TYPE_CHECKING:
    from dsd_bench.data import prepare


@dataclass(frozen=True)
class DeviceData:
    """A prepared data set on a device.

    Attributes:
        train, val, test: the parts; ``val`` is None if nothing was held out.
        classes: number of classes.
        scale, shift_by: per channel ``(C, 1, 1)``: normalised = image * scale + shift_by.
        flip: whether training images are mirrored at random.
        shift: largest random shift of training images in pixels, 0 for none.
        crop: whether they are random boxes, cut out and mirrored by :meth:`Part.batches`.
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
    crop: bool
    memory_format: torch.memory_format

    @classmethod
    def from_prepared(
        cls,
        data: prepare.Prepared,
        device: torch.device,
        memory_format: torch.memory_format,
        share: Callable[[int], slice] = lambda count: slice(0, count),
    ) -> DeviceData:
        """Copy prepared data to ``device``, but for images that are to stay files.

        ``share`` says which of a training batch's images this process decodes of those.
        """

        def part(of: prepare.Split, crop: bool = False) -> Part:
            labels, clean = (torch.from_numpy(array).to(device) for array in (of.labels, of.clean))
            if isinstance(of.images, ImageFiles):
                from dsd_bench.data.streamed import StreamedPart

                return StreamedPart(of.images, labels, clean, crop=crop, share=share)
            return ResidentPart(torch.from_numpy(of.images).to(device), labels, clean)

        std = torch.tensor(data.std, dtype=torch.float64).view(-1, 1, 1)
        mean = torch.tensor(data.mean, dtype=torch.float64).view(-1, 1, 1)
        return cls(
            train=part(data.train, data.crop),
            val=part(data.val) if data.val is not None else None,
            test=part(data.test),
            classes=data.classes,
            scale=(1 / (255 * std)).float().to(device),
            shift_by=(-mean / std).float().to(device),
            flip=data.flip,
            shift=data.shift,
            crop=data.crop,
            memory_format=memory_format,
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """One image's ``(C, H, W)``."""
        return self.train.shape

    @property
    def transforms(self) -> bool:
        """Whether the standard transform changes training images."""
        return self.flip or self.shift > 0 or self.crop

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 ``(B, C, H, W)`` into normalised float32."""
        floats = images.to(torch.float32, memory_format=self.memory_format)
        return floats.mul_(self.scale).add_(self.shift_by)

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Apply what is left of the standard transform after decoding, a draw for each image."""
        if self.flip:
            images = random_flip(images, generator)
        if self.shift:
            images = random_shift(images, self.shift, generator)
        return images
