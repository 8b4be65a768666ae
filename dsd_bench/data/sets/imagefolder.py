"""A folder of one's own images: ``train/CLASS/*``, optionally ``val/`` and ``test/`` alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from dsd_bench.data import Dataset, RawData, Samples
from dsd_bench.data.builtin import ImageFolderParams
from dsd_bench.data.digests import digests
from dsd_bench.data.sets.folders import Listing, images, scan
from dsd_bench.data.sets.recipes import PUBLISHED, cifar_schedule
from dsd_bench.data.statistics import channel_statistics
from dsd_bench.errors import DataError, UnreadableImage

PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""The parts, and what their folders may be called."""
TEST_FRACTION = 0.2
"""Of the train images, drawn for test where there is no ``test/``."""


class ImageFolder(Dataset):
    """Images as 8-bit RGB; sizes, channels' mean and std come from the images, or the
    latter from published weights (``normalise``).

    The standard transform is CIFAR's in proportion: a flip, and a shift by up to 1/8 of the side.
    Without ``test/``, 20 % of the train images are drawn for test, stratified, anew for each
    data seed; ``val/`` (or ``valid/``, ``validation/``) takes the place of ``val_size``. A set of
    more than 4 GiB of pixels is decoded anew whenever it is needed: the numbers are the same.
    """

    params: ImageFolderParams

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return CIFAR's schedule."""
        return cifar_schedule(model)

    def fingerprint(self, data_dir: Path) -> str:
        """Return the digest of the images' parts, classes, relative paths and contents.

        Contents are hashed; :mod:`dsd_bench.data.digests` remembers those of unchanged files.

        Raises:
            DataError: if the folder is not as it should be, or an image cannot be read.
        """
        listing = self._scan(data_dir)
        entries = [
            [part, label, name.partition("/")[2], contents]
            for (part, label, name), contents in zip(listing.entries(), digests(listing.every()))
        ]
        digest = hashlib.sha256()
        for entry in sorted(entries):
            digest.update(json.dumps(entry).encode() + b"\n")
        return f"sha256:{digest.hexdigest()}"

    def notes(self, data_dir: Path) -> list[str]:
        """Say what of the folder is not read, and which images are there twice."""
        listing = self._scan(data_dir)
        skipped = []
        if bad := self._unreadable(self._listed(data_dir)):
            names = ", ".join(sorted(bad)[:5]) + (", ..." if len(bad) > 5 else "")
            skipped = [f"{listing.root}: skipped, since they cannot be read: {names}"]
        return [*skipped, *listing.unread, *_twice(listing, digests(listing.every()))]

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if folders or classes are missing; opens no image."""
        self._scan(data_dir)

    def load(self, data_dir: Path, download: bool) -> RawData:
        """Decode every image.

        Raises:
            DataError: naming the folder or the image that cannot be used.
        """
        try:
            return self._decoded(data_dir)
        except UnreadableImage as error:
            if self.params.unreadable == "skip":
                raise  # it was changed meanwhile
            raise DataError(
                f"{error}; mend or delete it, or leave out all that cannot be read: "
                "unreadable=skip (compress: --skip-unreadable)"
            ) from error

    def _decoded(self, data_dir: Path) -> RawData:
        from dsd_bench.data.images import common_size, settle

        listing = self._scan(data_dir)
        side = self.params.size
        size = (side, side) if side else common_size(listing.every())
        parts = settle({part: listing.files(part, size) for part in listing.parts})
        samples = {part: Samples(parts[part], listing.labels(part)) for part in parts}
        published = PUBLISHED.get(self.params.normalise or "")
        mean, std = published or channel_statistics(samples["train"].images)
        return RawData(
            train=samples["train"],
            test=samples.get("test"),
            val=samples.get("val"),
            classes=len(listing.classes),
            mean=mean,
            std=std,
            flip=True,
            shift=max(1, min(size) // 8),
            test_size=0 if "test" in samples else round(TEST_FRACTION * len(parts["train"])),
        )

    def class_names(self, data_dir: Path) -> tuple[str, ...]:
        """Return the classes' names in the order of their numbers.

        Raises:
            DataError: if the folder is not as it should be.
        """
        return self._scan(data_dir).classes

    def _scan(self, data_dir: Path) -> Listing:
        """Return what is used of the folder."""
        listing = self._listed(data_dir)
        bad = self._unreadable(listing)
        return listing.without(bad, "imagefolder") if bad else listing

    def _unreadable(self, listing: Listing) -> frozenset[str]:
        """Return the images that are to be skipped; all of them are decoded for it, once."""
        if self.params.unreadable != "skip":
            return frozenset()
        names = tuple(name for _, _, name in listing.entries())
        stamps = tuple((s.st_size, s.st_mtime_ns) for s in (p.stat() for p in listing.every()))
        return _found_unreadable(listing.root, names, stamps)

    def _listed(self, data_dir: Path) -> Listing:
        """Find the folder: as it is given, else below ``data_dir``."""
        given = Path(self.params.path).expanduser()
        for root in (given, data_dir / given):
            if root.is_dir():
                try:
                    return scan(root, PARTS, "imagefolder")
                except OSError as error:
                    raise DataError(f"imagefolder: {root} cannot be listed: {error}") from error
        raise DataError(f"imagefolder: there is no folder {given}, nor {data_dir / given}")


@lru_cache(maxsize=4)
def _found_unreadable(
    root: Path, names: tuple[str, ...], stamps: tuple[tuple[int, int], ...]
) -> frozenset[str]:
    """Look at images; ``stamps``, their sizes and times, say whether they are still the same."""
    from dsd_bench.data.images import unreadable

    bad = set(unreadable([root / name for name in names]))
    return frozenset(name for name in names if root / name in bad)


def _twice(listing: Listing, contents: Sequence[str]) -> list[str]:
    """Say how many images a part shares with train, and how many have two classes."""
    parts: dict[str, dict[str, str]] = {part: {} for part in listing.parts}
    labelled: dict[str, set[str]] = {}
    for (part, label, name), digest in zip(listing.entries(), contents):
        parts[part].setdefault(digest, name)
        labelled.setdefault(digest, set()).add(label)
    told = []
    for part in [part for part in parts if part != "train"]:
        if shared := [digest for digest in parts[part] if digest in parts["train"]]:
            pair = f"{parts[part][shared[0]]} is {parts['train'][shared[0]]}"
            told.append(f"{images(len(shared))} of {part} also in train: {pair}")
    if several := [digest for digest, labels in labelled.items() if len(labels) > 1]:
        labels = " and ".join(sorted(labelled[several[0]]))
        told.append(f"{images(len(several))} in more than one class, such as {labels}")
    return [f"{listing.root}: {text}" for text in told]
