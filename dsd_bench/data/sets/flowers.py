"""Oxford's 102 flowers, in the layout that torchvision downloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy

from dsd_bench.data import Outline, RawData, Samples
from dsd_bench.data.builtin import PhotoParams
from dsd_bench.data.files import ImageFiles, framing
from dsd_bench.data.sets.published import Published
from dsd_bench.data.sets.recipes import IMAGENET_MEAN, IMAGENET_STD, flowers_schedule

PARTS = {"train": "trnid", "val": "valid", "test": "tstid"}
"""The official parts and their names in ``setid.mat``."""


class Flowers102(Published):
    """1,020 train, 1,020 validation and 6,149 test images of 102 classes, as ``(3, 224, 224)``.

    The shorter side is resized to 256 pixels and the central 224 x 224 cut out, for training too:
    the paper augments nothing (App. I.2). The checksums of the two lists are verified; the
    images have none of their own, once unpacked from their archive.
    """

    params: PhotoParams
    reader = "Flowers102"
    archive = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ (102flowers.tgz and two lists)"
    download_size = "345 MB"
    folder = "flowers-102"
    files: ClassVar[Mapping[str, str]] = {
        "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
        "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
    }
    archives: ClassVar[Mapping[str, str]] = {"102flowers.tgz": "52808999861908f626f3c1f4e79d11fa"}

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return Table 4's schedule for ``model``."""
        return flowers_schedule(model)

    def outline(self) -> Outline:
        """Return the published sizes."""
        size, _ = framing(self.params.size)
        return Outline((3, *size), 102, train=1_020, test=6_149, val=1_020)

    def needed(self) -> tuple[str, ...]:
        """Return the lists and the folder of images."""
        return (*self.files, "jpg")

    def read(self, data_dir: Path) -> RawData:
        """Decode all images of the official parts."""
        from scipy.io import loadmat

        from dsd_bench.data.images import settle

        self.verify(data_dir)
        folder = data_dir / self.folder
        ids = loadmat(folder / "setid.mat", squeeze_me=True)
        labels = loadmat(folder / "imagelabels.mat", squeeze_me=True)["labels"].astype(numpy.int64)
        places = {
            part: numpy.atleast_1d(ids[name]).astype(numpy.int64) for part, name in PARTS.items()
        }
        size = self.params.size
        images = settle(
            {part: _files(folder / "jpg", these, size) for part, these in places.items()}
        )
        parts = {part: Samples(images[part], labels[places[part] - 1] - 1) for part in PARTS}
        return RawData(
            parts["train"], parts["test"], 102, IMAGENET_MEAN, IMAGENET_STD, val=parts["val"]
        )

    def download(self, data_dir: Path) -> None:
        """Let torchvision fetch the archive and the lists."""
        from torchvision import datasets

        datasets.Flowers102(root=data_dir, download=True)


def _files(folder: Path, ids: numpy.typing.NDArray[numpy.int64], size: int | None) -> ImageFiles:
    names = (f"image_{number:05d}.jpg" for number in ids.tolist())
    return ImageFiles.of(folder, names, *framing(size))
