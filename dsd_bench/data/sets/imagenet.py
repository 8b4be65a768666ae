"""ImageNet (ILSVRC 2012) and its small relative Tiny ImageNet, from folders of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy

from dsd_bench.data import Dataset, Outline, RawData, Samples
from dsd_bench.data.builtin import PhotoParams, TinyImageNetParams
from dsd_bench.data.files import ImageFiles, framing
from dsd_bench.data.resize import resized
from dsd_bench.data.sets.downloads import downloading
from dsd_bench.data.sets.folders import Listing, class_folders, scan
from dsd_bench.data.sets.published import fingerprint
from dsd_bench.data.sets.recipes import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    imagenet_schedule,
    tiny_imagenet_schedule,
)
from dsd_bench.errors import DataError


class ImageNet(Dataset):
    """ImageNet's train part, and its validation part as the test part, as ``(3, 224, 224)``.

    Images stay files. For measuring they are resized to 256 pixels and the central 224 x 224 cut
    out; the standard transform trains on random boxes, resized to 224 x 224 and mirrored.

    The fingerprint is of the archives' published checksums, which unpacked files no longer show:
    only the numbers of classes and images are verified. Resized copies count as the same data.
    """

    params: PhotoParams
    archives: ClassVar[Mapping[str, str]] = {
        "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
        "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    }
    classes: ClassVar[int] = 1_000
    images: ClassVar[Mapping[str, int]] = {"train": 1_281_167, "val": 50_000}

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return Table 4's schedule."""
        return imagenet_schedule(model)

    def outline(self) -> Outline:
        """Return the published sizes."""
        counts = self.images
        size, _ = framing(self.params.size)
        return Outline((3, *size), self.classes, train=counts["train"], test=counts["val"])

    def fingerprint(self, data_dir: Path) -> str:
        """Return a digest of the archives' published checksums; no file need be there."""
        return fingerprint(self.archives)

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if the class folders are not there; opens no image."""
        root = self._root(data_dir)
        for part in self.images:
            folder = root / part
            found = len(class_folders(folder)) if folder.is_dir() else 0
            if found != self.classes:
                raise self._refuse(data_dir, f"{folder} holds {found} of {self.classes} classes")

    def load(self, data_dir: Path, download: bool) -> RawData:
        """List the images; they are decoded when they are needed.

        Raises:
            DataError: if they are not as many as were published.
        """
        self.check(data_dir, download)
        listing = scan(self._root(data_dir), {part: (part,) for part in self.images}, "imagenet")
        train, test = (self._part(listing, data_dir, part) for part in ("train", "val"))
        return RawData(train, test, self.classes, IMAGENET_MEAN, IMAGENET_STD, crop=True)

    def _part(self, listing: Listing, data_dir: Path, part: str) -> Samples:
        if part == "train" and (moved := misplaced(listing)):
            raise self._refuse(data_dir, f"{listing.root / moved} is of another class, by its name")
        files, expected = listing.files(part, *framing(self.params.size)), self.images[part]
        if len(files) != expected:
            where = f"{listing.root / part} holds {len(files):,} of {expected:,} images"
            raise self._refuse(data_dir, where)
        return Samples(files, listing.labels(part))

    def _root(self, data_dir: Path) -> Path:
        """Return torchvision's root: the data folder itself, or ``imagenet`` in it."""
        return data_dir if (data_dir / "train").is_dir() else data_dir / "imagenet"

    def _refuse(self, data_dir: Path, what: str) -> DataError:
        archives = " and ".join(self.archives)
        return DataError(
            f"imagenet: {what}. It cannot be downloaded: ask for {archives} at "
            "https://image-net.org/download.php and unpack them (torchvision.datasets.ImageNet "
            f"does) so that {data_dir / 'imagenet'} holds train/WNID/IMAGE and val/WNID/IMAGE"
        )


class TinyImageNet(Dataset):
    """Tiny ImageNet: 100,000 train images and its validation part for test, ``(3, 64, 64)``.

    The standard transform is CIFAR's in proportion: a flip, and a shift by up to 8 pixels. The
    fingerprint is of the archive's published checksum; of unpacked files the numbers of classes
    and images are verified.
    """

    params: TinyImageNetParams
    url: ClassVar[str] = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    md5: ClassVar[str] = "90528d7ca1a48142e341f4ef8d21d0de"
    folder: ClassVar[str] = "tiny-imagenet-200"
    classes: ClassVar[int] = 200
    images: ClassVar[Mapping[str, int]] = {"train": 100_000, "val": 10_000}

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return the schedule of He et al.'s code."""
        return tiny_imagenet_schedule(model)

    def outline(self) -> Outline:
        """Return the published sizes."""
        side, counts = self.params.size or 64, self.images
        return Outline((3, side, side), self.classes, train=counts["train"], test=counts["val"])

    def fingerprint(self, data_dir: Path) -> str:
        """Return a digest of the archive's published checksum; no file need be there."""
        return fingerprint({"tiny-imagenet-200.zip": self.md5})

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if files are missing and may not be downloaded."""
        if not download and (missing := self._missing(data_dir)):
            raise self._refuse(data_dir, f"{missing} is missing")

    def load(self, data_dir: Path, download: bool) -> RawData:
        """Decode every image.

        Raises:
            DataError: naming what is missing or wrong.
        """
        from dsd_bench.data.images import settle

        self.check(data_dir, download)
        if self._missing(data_dir):
            self._download(data_dir)
        root = data_dir / self.folder
        listing = scan(root, {"train": ("train",)}, "tiny-imagenet")
        names, labels = self._annotations(root, data_dir, listing.classes)
        test = ImageFiles.of(root / "val" / "images", names, (64, 64))
        files = {"train": listing.files("train", (64, 64)), "val": test}
        if moved := misplaced(listing):
            raise self._refuse(data_dir, f"{root / moved} is of another class, by its name")
        for part, expected in self.images.items():
            if len(files[part]) != expected:
                found = f"{len(files[part]):,} of {expected:,} images in {root / part}"
                raise self._refuse(data_dir, f"there are {found}")
        images = settle(files)
        raw = RawData(
            Samples(images["train"], listing.labels("train")),
            Samples(images["val"], labels),
            self.classes,
            mean=(0.4802, 0.4481, 0.3975),
            std=(0.2770, 0.2691, 0.2821),
            flip=True,
            shift=8,
        )
        return resized(raw, self.params.size)

    def _annotations(
        self, root: Path, data_dir: Path, classes: tuple[str, ...]
    ) -> tuple[list[str], numpy.typing.NDArray[numpy.int64]]:
        """Return the names and classes of the validation part."""
        file = root / "val" / "val_annotations.txt"
        places = {name: place for place, name in enumerate(classes)}
        try:
            rows = [line.split("\t")[:2] for line in file.read_text("utf-8").splitlines()]
            labels = [places[wnid] for _, wnid in rows]
        except (OSError, ValueError, KeyError) as error:
            raise self._refuse(data_dir, f"{file} is damaged: {error}") from error
        return [name for name, _ in rows], numpy.array(labels, dtype=numpy.int64)

    def _missing(self, data_dir: Path) -> Path | None:
        root = data_dir / self.folder
        needed = (root / "train", root / "val" / "images", root / "val" / "val_annotations.txt")
        return next((path for path in needed if not path.exists()), None)

    def _download(self, data_dir: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        with downloading(data_dir, "Tiny ImageNet"):
            download_and_extract_archive(self.url, str(data_dir), md5=self.md5)

    def _refuse(self, data_dir: Path, what: str) -> DataError:
        return DataError(
            f"tiny-imagenet: {what}; add --download to fetch it (248 MB), or unpack {self.url} "
            f"so that {data_dir / self.folder} holds train/WNID/images/ and val/"
        )


def misplaced(listing: Listing) -> str | None:
    """Return a train image that lies in another class's folder than its name says, if any does.

    Published names begin with the class: ``n01440764_10026.JPEG``.
    """
    for label, names in listing.parts["train"].items():
        for name in names:
            if not name.rpartition("/")[2].startswith(f"{label}_"):
                return name
    return None
