"""CIFAR-10 and CIFAR-100, read (and on ``--download`` fetched) by torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy

from dsd_bench.data import Outline, RawData, Samples
from dsd_bench.data.builtin import CIFARParams
from dsd_bench.data.resize import resized
from dsd_bench.data.sets.published import Published
from dsd_bench.data.sets.recipes import cifar_schedule, small_cifar_schedule

SMALL = 16
"""Side in pixels up to which images have a recipe for two cores instead of Table 4's."""


class CIFAR(Published):
    """What the two sets share: 50,000 train and 10,000 test images ``(3, size, size)``.

    Attributes:
        classes: number of classes.
        mean, std: per channel, of the train images scaled to 0..1.
        confused: what the noise ``asymmetric`` takes each class for.
    """

    params: CIFARParams
    download_size = "170 MB"
    classes: ClassVar[int]
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    confused: ClassVar[tuple[int, ...]]

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return Table 4's schedule for ``model``, for small images that of two cores."""
        size = self.params.size
        small = size is not None and size <= SMALL
        return small_cifar_schedule(model) if small else cifar_schedule(model)

    def outline(self) -> Outline:
        """Return the published sizes."""
        side = self.params.size or 32
        return Outline((3, side, side), self.classes, train=50_000, test=10_000)

    def read(self, data_dir: Path) -> RawData:
        """Return all images; torchvision verifies every file's MD5 before it unpickles it."""
        train, test = (self._part(data_dir, train=train) for train in (True, False))
        raw = RawData(
            train,
            test,
            self.classes,
            self.mean,
            self.std,
            flip=True,
            shift=4,
            confused=self.confused,
        )
        return resized(raw, self.params.size)

    def download(self, data_dir: Path) -> None:
        """Let torchvision fetch the archive."""
        self._part(data_dir, train=True, download=True)

    def _part(self, data_dir: Path, *, train: bool, download: bool = False) -> Samples:
        from torchvision import datasets

        read = getattr(datasets, self.reader)(root=data_dir, train=train, download=download)
        images = numpy.ascontiguousarray(read.data.transpose(0, 3, 1, 2))
        return Samples(images, numpy.asarray(read.targets, dtype=numpy.int64))


class CIFAR10(CIFAR):
    """CIFAR-10, 10 classes."""

    reader = "CIFAR10"
    archive = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    folder = "cifar-10-batches-py"
    files: ClassVar[Mapping[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }
    classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    # airplane automobile bird cat deer dog frog horse ship truck: truck -> automobile,
    # bird -> airplane, deer -> horse, cat <-> dog (Patrini et al., CVPR 2017, Section 5)
    confused = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)


SUPERCLASSES = (
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
)
"""Of each of CIFAR-100's fine classes, its coarse one, as in the files' ``coarse_labels``."""


def next_within(groups: tuple[int, ...]) -> tuple[int, ...]:
    """Return for each class the next one of its group, the group's first for its last."""
    members: dict[int, list[int]] = {}
    for label, group in enumerate(groups):
        members.setdefault(group, []).append(label)
    found = list(range(len(groups)))
    for labels in members.values():
        for label, following in zip(labels, [*labels[1:], labels[0]]):
            found[label] = following
    return tuple(found)


class CIFAR100(CIFAR):
    """CIFAR-100, the 100 fine classes."""

    reader = "CIFAR100"
    archive = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    folder = "cifar-100-python"
    files: ClassVar[Mapping[str, str]] = {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }
    classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    confused = next_within(SUPERCLASSES)
