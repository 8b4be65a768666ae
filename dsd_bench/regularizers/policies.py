"""Augmentation policies of torchvision and timm, applied image by image.

Both libraries draw from the global generators of torch, Python and numpy. For each batch these are
seeded from the run's own stream and put back afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dsd_bench.data.transforms import GREY
from dsd_bench.errors import RunError
from dsd_bench.regularizers.builtin import TORCHVISION_POLICIES
from dsd_bench.seeds import preserved_globals, seed_globals

ImageOp = Callable[[Tensor], Tensor]
"""One image's augmentation: uint8 ``(3, H, W)`` on the CPU in and out."""


class PerImage:
    """A policy of torchvision or timm as ``(images, generator) -> images``.

    Each image gets its own draws, one after another, on the CPU whatever the device: the result
    depends on the generator's state alone, and waits for the device.

    Args:
        name: one of ``TORCHVISION_POLICIES``, or timm's word for one of its own.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._ops: dict[int, ImageOp] = {}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented images, uint8 ``(B, C, H, W)`` with C 1 or 3.

        Raises:
            RunError: for another number of channels.
        """
        channels = images.shape[1]
        if channels not in (1, 3):
            raise RunError(f"augment: '{self.name}' needs 1 or 3 channels, images have {channels}")
        op = self._op(min(images.shape[2:]))
        seed = torch.randint(2**62, (), device=generator.device, generator=generator)
        with preserved_globals():
            seed_globals(int(seed))
            # The policies are made for RGB. Grey images are grey in RGB too, and stay so.
            results = [op(image.expand(3, -1, -1))[:channels] for image in images.cpu()]
        return torch.stack(results).to(images.device)

    def _op(self, side: int) -> ImageOp:
        if side not in self._ops:
            make = _torchvision if self.name in TORCHVISION_POLICIES else _timm
            self._ops[side] = make(self.name, side)
        return self._ops[side]


def _torchvision(name: str, side: int) -> ImageOp:
    """Return a policy of torchvision; its distances adapt to the image by themselves."""
    from torchvision.transforms import v2

    policies: dict[str, Callable[[], Any]] = {
        "autoaugment": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        "autoaugment-cifar10": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        "autoaugment-imagenet": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET),
        "autoaugment-svhn": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.SVHN),
        "randaugment": v2.RandAugment,
        "trivialaugment": v2.TrivialAugmentWide,
        "augmix": v2.AugMix,
    }
    op: ImageOp = policies[name]()
    return op


def _timm(name: str, side: int) -> ImageOp:
    """Return a policy of timm, with the distances that timm's own training gives it."""
    from timm.data import auto_augment
    from torchvision.transforms.v2 import functional

    hints: dict[str, Any] = {"translate_const": int(0.45 * side), "img_mean": (GREY,) * 3}
    if name.startswith("rand"):
        policy = auto_augment.rand_augment_transform(name, hints)
        ops = policy.ops
    elif name.startswith("augmix"):
        policy = auto_augment.augment_and_mix_transform(name, hints | {"translate_pct": 0.3})
        ops = policy.ops
    else:
        policy = auto_augment.auto_augment_transform(name, hints)
        ops = [op for pair in policy.policy for op in pair]
    for op in ops:
        if op.aug_fn is auto_augment.posterize:
            op.aug_fn = _posterize
    return lambda image: functional.pil_to_tensor(policy(functional.to_pil_image(image)))


def _posterize(image: Any, bits: int, **_: Any) -> Any:
    """Keep the highest ``bits`` bits; timm also asks for none, which newer Pillows refuse."""
    from PIL import Image, ImageOps

    if bits <= 0:
        return Image.new(image.mode, image.size)
    return ImageOps.posterize(image, min(bits, 8))
