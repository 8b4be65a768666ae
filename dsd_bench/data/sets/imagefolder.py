"""A folder of one's own images: ``train/CLASS/*``, optionally ``val/`` and ``test/`` alike."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from dsd_bench.data import Dataset, Images, RawData, Samples
from dsd_bench.data.builtin import ImageFolderParams
from dsd_bench.data.files import ImageFiles, Size
from dsd_bench.data.sets.recipes import cifar_schedule
from dsd_bench.errors import DataError

PARTS = ("train", "val", "test")
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TEST_FRACTION = 0.2
"""Of the train images, drawn for test where there is no ``test/``."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        root: the folder.
        classes: names, sorted; the same in every part.
        parts: for each part that exists the images of each class, sorted, relative to the root,
            with slashes.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, Mapping[str, Sequence[str]]]

    def files(self, part: str, size: Size, cover: Size | None = None) -> ImageFiles:
        """Return the images of ``part``, class by class."""
        names = (name for names in self.parts[part].values() for name in names)
        return ImageFiles.of(self.root, names, size, cover)

    def every(self) -> list[Path]:
        """Return all images of all parts."""
        parts = self.parts.values()
        return [self.root / name for part in parts for names in part.values() for name in names]

    def labels(self, part: str) -> numpy.typing.NDArray[numpy.int64]:
        """Return the classes of :meth:`files`."""
        counts = [len(names) for names in self.parts[part].values()]
        return numpy.repeat(numpy.arange(len(counts), dtype=numpy.int64), counts)


class ImageFolder(Dataset):
    """Images as 8-bit RGB; sizes, channels' mean and std come from the images.

    The standard transform is CIFAR's in proportion: a flip, and a shift by up to 1/8 of the side.
    Without ``test/``, 20 % of the train images are drawn for test, stratified, anew for each
    data seed; ``val/`` takes the place of ``val_size``. A set of more than 4 GiB of pixels is
    decoded anew whenever it is needed: the numbers are the same.
    """

    params: ImageFolderParams

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return CIFAR's schedule."""
        return cifar_schedule(model)

    def fingerprint(self, data_dir: Path) -> str:
        """Return the digest of the images' relative paths, sizes in bytes and classes.

        Raises:
            DataError: if the folder is not as it should be.
        """
        listing = self._scan(data_dir)
        entries = sorted(
            [name, _bytes(listing.root / name), label]
            for part in listing.parts.values()
            for label, names in part.items()
            for name in names
        )
        digest = hashlib.sha256()
        for entry in entries:
            digest.update(json.dumps(entry).encode() + b"\n")
        return f"sha256:{digest.hexdigest()}"

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if folders or classes are missing; opens no image."""
        self._scan(data_dir)

    def load(self, data_dir: Path, download: bool) -> RawData:
        """Decode every image.

        Raises:
            DataError: naming the folder or the image that cannot be used.
        """
        from dsd_bench.data.images import common_size, settle

        listing = self._scan(data_dir)
        given = self.params.size
        size = (given, given) if given else common_size(listing.every())
        images = settle({part: listing.files(part, size) for part in listing.parts})
        samples = {part: Samples(images[part], listing.labels(part)) for part in images}
        mean, std = channel_statistics(samples["train"].images)
        return RawData(
            train=samples["train"],
            test=samples.get("test"),
            val=samples.get("val"),
            classes=len(listing.classes),
            mean=mean,
            std=std,
            flip=True,
            shift=max(1, min(size) // 8),
            test_size=0 if "test" in samples else round(TEST_FRACTION * len(images["train"])),
        )

    def _scan(self, data_dir: Path) -> Listing:
        """Find the folder: as it is given, else below ``data_dir``."""
        given = Path(self.params.path).expanduser()
        for root in (given, data_dir / given):
            if root.is_dir():
                try:
                    return scan(root, PARTS, "imagefolder")
                except OSError as error:
                    raise DataError(f"imagefolder: {root} cannot be listed: {error}") from error
        raise DataError(f"imagefolder: there is no folder {given}, nor {data_dir / given}")


def scan(root: Path, parts: Sequence[str], what: str) -> Listing:
    """List the images of a folder; hidden files and other extensions are left out.

    Args:
        root: the folder.
        parts: the subfolders that may be there; ``train`` must.
        what: the data set, for messages.

    Raises:
        DataError: for a missing ``train/``, fewer than two classes, a class without images, or
            parts that differ in their classes.
    """
    found = {
        part: {folder.name: _images(folder, root) for folder in class_folders(root / part)}
        for part in parts
        if (root / part).is_dir()
    }
    if "train" not in found:
        raise DataError(f"{what}: {root} has no folder train/ (expected train/CLASS/IMAGE)")
    classes = tuple(found["train"])
    if len(classes) < 2:
        few = f"{len(classes)} class folders in {root / 'train'}"
        raise DataError(f"{what}: {few}, at least 2 are needed")
    for part, images in found.items():
        if different := set(images) ^ set(classes):
            names = ", ".join(sorted(different))
            raise DataError(f"{what}: {root}: only one of train/ and {part}/ has: {names}")
        if empty := [label for label in classes if not images[label]]:
            kinds = " ".join(EXTENSIONS)
            where = root / part / empty[0]
            raise DataError(f"{what}: {where} holds no image ({kinds})")
    return Listing(root, classes, found)


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder`` that are not hidden, sorted."""
    found = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return sorted(found, key=lambda path: path.name)


def _images(folder: Path, root: Path) -> list[str]:
    """Return the images below ``folder``, sorted, relative to ``root``."""
    found = []
    # a million Path objects would take longer than listing the folders
    start = len(str(root / "x")) - 1
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and name.lower().endswith(EXTENSIONS):
                found.append(os.path.join(place, name)[start:].replace(os.sep, "/"))
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


def _bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise DataError(f"imagefolder: {file} cannot be read: {error}") from error


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation of images scaled to 0..1.

    They come from exact counts of the 256 values, so they do not depend on the machine. A channel
    without any variation gets 1 as its standard deviation.

    Args:
        images: uint8 ``(N, C, H, W)``; files are decoded once, one after another.
    """
    from dsd_bench.data.images import each

    counts = numpy.zeros((images.shape[1], 256), dtype=numpy.int64)
    for image in each(images):
        counts += [numpy.bincount(channel.ravel(), minlength=256) for channel in image]
    values = numpy.arange(256) / 255
    means, deviations = [], []
    for weights in counts:
        mean = float(numpy.average(values, weights=weights))
        variance = float(numpy.average((values - mean) ** 2, weights=weights))
        means.append(mean)
        deviations.append(variance**0.5 or 1.0)
    return tuple(means), tuple(deviations)
