"""Small data sets in the layout of the real ones."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from dsd_bench.data import cifar

IMAGES = 4
"""Images in each file of a fake CIFAR."""


def cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a CIFAR-10 of four images a file, known to torchvision and to us by its checksums."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    contents: dict[str, Any] = {
        name: _batch(number, "labels", [number, 1, 2, 3]) for number, name in enumerate(names)
    }
    contents["batches.meta"] = {"label_names": [str(label) for label in range(10)]}
    _install(root, cifar.CIFAR10, contents, monkeypatch)


def cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a CIFAR-100 of four images a file, likewise."""
    contents = {
        "train": _batch(0, "fine_labels", [0, 7, 50, 99]),
        "test": _batch(1, "fine_labels", [1, 7, 50, 98]),
        "meta": {"fine_label_names": [str(label) for label in range(100)]},
    }
    _install(root, cifar.CIFAR100, contents, monkeypatch)


def _batch(seed: int, key: str, labels: list[int]) -> dict[str, Any]:
    draw = numpy.random.default_rng(seed)
    return {"data": draw.integers(0, 256, (IMAGES, 3072), dtype=numpy.uint8), key: labels}


def _install(
    root: Path, ours: Any, contents: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    folder = root / ours.folder
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in contents}
    theirs = getattr(torchvision.datasets, ours.reader)
    monkeypatch.setattr(ours, "files", sums)
    for files in ("train_list", "test_list"):
        listed = [[name, sums[name]] for name, _ in getattr(theirs, files)]
        monkeypatch.setattr(theirs, files, listed)
    monkeypatch.setattr(theirs, "meta", theirs.meta | {"md5": sums[theirs.meta["filename"]]})


def picture(file: Path, size: tuple[int, int] = (6, 5), mode: str = "RGB", seed: int = 0) -> Path:
    """Write an image of noise, ``size`` = (height, width)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    channels: tuple[int, ...] = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    pixels = numpy.random.default_rng(seed).integers(0, 256, (*size, *channels), dtype=numpy.uint8)
    Image.fromarray(pixels, mode).save(file)
    return file


def image_folder(root: Path, size: tuple[int, int] = (6, 5)) -> None:
    """Make two classes of ten images for train and three for test each."""
    seed = 0
    for part, count in (("train", 10), ("test", 3)):
        for label in ("cat", "dog"):
            for number in range(count):
                seed += 1
                picture(root / part / label / f"{number}.png", size, seed=seed)
