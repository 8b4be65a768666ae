"""Listing folders of images as ``torchvision.datasets.ImageFolder`` does; what is left unread."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy

from dsd_bench.data.files import ImageFiles, Size
from dsd_bench.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of images, in any case: torchvision's ``IMG_EXTENSIONS``."""

Parts = Mapping[str, Sequence[str]]
"""The parts of a set, and the names that the folder of each may have."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        root: the folder.
        classes: names, sorted; the same in every part.
        parts: for each part that exists the images of each class in torchvision's order,
            relative to the root, with slashes.
        unread: a sentence for each thing in the folder that is not read but might be meant.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, Mapping[str, Sequence[str]]]
    unread: tuple[str, ...] = ()

    def files(self, part: str, size: Size, cover: Size | None = None) -> ImageFiles:
        """Return the images of ``part``, class by class."""
        names = (name for names in self.parts[part].values() for name in names)
        return ImageFiles.of(self.root, names, size, cover)

    def entries(self) -> list[tuple[str, str, str]]:
        """Return the part, the class and the name of every image."""
        return [
            (part, label, name)
            for part, classes in self.parts.items()
            for label, names in classes.items()
            for name in names
        ]

    def every(self) -> list[Path]:
        """Return all images of all parts, as in :meth:`entries`."""
        return [self.root / name for _, _, name in self.entries()]

    def without(self, names: Collection[str], what: str) -> Listing:
        """Return the listing without some images.

        Raises:
            DataError: for a class that would have none left.
        """
        parts = {
            part: {
                label: [one for one in each if one not in names] for label, each in kinds.items()
            }
            for part, kinds in self.parts.items()
        }
        for part, kinds in parts.items():
            if empty := [label for label, left in kinds.items() if not left]:
                raise DataError(f"{what}: {self.root}: no image of {part} {empty[0]} can be read")
        return replace(self, parts=parts)

    def labels(self, part: str) -> numpy.typing.NDArray[numpy.int64]:
        """Return the classes of :meth:`files`."""
        counts = [len(names) for names in self.parts[part].values()]
        return numpy.repeat(numpy.arange(len(counts), dtype=numpy.int64), counts)


def scan(root: Path, parts: Parts, what: str) -> Listing:
    """List the images of a folder. Links are followed; files of other extensions are left out.

    Args:
        root: the folder.
        parts: which may be there; ``train`` must.
        what: the data set, for messages.

    Raises:
        DataError: for a missing ``train/``, two folders of one part, fewer than two classes, a
            class without images, parts that differ in their classes, or links in a circle.
    """
    folders = _folders(root, parts, what)
    if "train" not in folders:
        text = f"{what}: {root} has no folder train/ (expected train/CLASS/IMAGE)"
        raise DataError(text + (_instead(root) if not folders else ""))
    others: Counter[str] = Counter()
    found = {
        part: {label.name: _images(label, root, others) for label in class_folders(folder)}
        for part, folder in folders.items()
    }
    _check_classes(root, folders, found, what)
    unread = (*_unused(root, folders), *_outside(folders.values()), *_others(others))
    return Listing(root, tuple(found["train"]), found, unread)


def _instead(root: Path) -> str:
    """Say what to do where the classes' folders seem to lie in the root itself."""
    found = ", ".join(f"{path.name}/" for path in class_folders(root)[:3])
    return f": make train/ and move the classes' folders ({found}, ...) into it" if found else ""


def _folders(root: Path, parts: Parts, what: str) -> dict[str, Path]:
    """Return the folder of each part that is there."""
    folders = {}
    for part, names in parts.items():
        there = [root / name for name in names if (root / name).is_dir()]
        distinct = {os.path.realpath(path): path for path in reversed(there)}
        if len(distinct) > 1:
            both = " and ".join(f"{path.name}/" for path in there)
            raise DataError(f"{what}: {root} has {both}, which are one part: keep one of them")
        if there:
            folders[part] = there[0]
    return folders


def _check_classes(
    root: Path,
    folders: Mapping[str, Path],
    found: Mapping[str, Mapping[str, Sequence[str]]],
    what: str,
) -> None:
    classes = list(found["train"])
    if len(classes) < 2:
        few = f"{len(classes)} class folders in {root / 'train'}"
        raise DataError(f"{what}: {few}, at least 2 are needed")
    for part, names in found.items():
        name = folders[part].name
        if different := set(names) ^ set(classes):
            labels = ", ".join(sorted(different))
            raise DataError(f"{what}: {root}: only one of train/ and {name}/ has: {labels}")
        if empty := [label for label in classes if not names[label]]:
            kinds = " ".join(EXTENSIONS)
            raise DataError(f"{what}: {folders[part] / empty[0]} holds no image ({kinds})")


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder``, and links to folders, sorted."""
    return sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda path: path.name)


def _images(folder: Path, root: Path, others: Counter[str]) -> list[str]:
    """Return the images below ``folder`` relative to ``root``; count other files by extension."""
    found = []
    # a million Path objects would take longer than listing the folders
    start = len(str(root / "x")) - 1
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(place)
        this, before = (status.st_dev, status.st_ino), above.pop(place, frozenset())
        if this in before:
            raise DataError(f"{place} is a link to a folder that it lies in: remove it")
        above |= {os.path.join(place, name): before | {this} for name in folders}
        for name in names:
            if name.lower().endswith(EXTENSIONS):
                found.append((place, name))
            elif not name.startswith(".") and name != "Thumbs.db":
                others[os.path.splitext(name)[1].lower()] += 1
    # by folder and then by name, as torchvision does: not by the whole path
    paths = (os.path.join(place, name)[start:] for place, name in sorted(found))
    return [path.replace(os.sep, "/") for path in paths]


def _refuse(error: OSError) -> None:
    raise error


def _unused(root: Path, folders: Mapping[str, Path]) -> list[str]:
    """Say which folders are no part."""
    used = {os.path.realpath(folder) for folder in folders.values()}
    names = [
        f"{path.name}/"
        for path in class_folders(root)
        if os.path.realpath(path) not in used and not path.name.startswith(".")
    ]
    read = ", ".join(f"{folder.name}/" for folder in folders.values())
    return [f"{root}: not read: {_few(names)} (read: {read})"] if names else []


def _outside(folders: Iterable[Path]) -> list[str]:
    """Say how many images lie in a part's folder but in no class."""
    told = []
    for folder in folders:
        loose = [p for p in folder.iterdir() if p.name.lower().endswith(EXTENSIONS)]
        if count := sum(not path.is_dir() for path in loose):
            told.append(f"{folder}: not read: {images(count)} in no class's folder")
    return told


def _others(others: Counter[str]) -> list[str]:
    """Say how many files of classes have another extension."""
    if not others:
        return []
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count:,} {kind or 'without extension'}" for kind, count in ranked]
    return [f"not read: files in classes' folders that end in no image's extension: {_few(kinds)}"]


def images(count: int) -> str:
    """Write ``1 image``, ``2 images``."""
    return f"{count:,} image" + ("" if count == 1 else "s")


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return ", ".join(words[:5]) + more
