"""CIFAR-10 and CIFAR-100, read (and on ``--download`` fetched) by torchvision."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy

from dsd_bench.data import Dataset, Outline, RawData, Samples
from dsd_bench.data.downloads import downloading
from dsd_bench.data.recipes import cifar_schedule
from dsd_bench.errors import DataError


class _CIFAR(Dataset):
    """What the two sets share: 50,000 train and 10,000 test images ``(3, 32, 32)``.

    Attributes:
        reader: the name of torchvision's class.
        archive: where the files come from.
        folder: where torchvision reads, below ``data_dir``.
        files: the published MD5 of every file in it.
    """

    reader: ClassVar[str]
    archive: ClassVar[str]
    folder: ClassVar[str]
    files: ClassVar[Mapping[str, str]]
    classes: ClassVar[int]
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return Table 4's schedule for ``model``."""
        return cifar_schedule(model)

    def outline(self) -> Outline:
        """Return the published sizes."""
        return Outline((3, 32, 32), self.classes, train=50_000, test=10_000)

    def fingerprint(self, data_dir: Path) -> str:
        """Return a digest of the published checksums; the files need not be there."""
        lines = "".join(f"{md5}  {name}\n" for name, md5 in sorted(self.files.items()))
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if a file is missing and may not be downloaded."""
        folder = data_dir / self.folder
        missing = [name for name in self.files if not (folder / name).is_file()]
        if not missing or download:
            return
        names = "" if len(missing) == len(self.files) else f" lacks {', '.join(missing)}"
        found = f"{folder}{names or ' is missing'}"
        raise DataError(f"{self.reader}: {found}; {self._remedy(data_dir)}")

    def load(self, data_dir: Path, download: bool) -> RawData:
        """Return all images; torchvision verifies every file's MD5 before it reads it.

        Raises:
            DataError: naming the files that are missing or damaged.
        """
        self.check(data_dir, download)
        if download and self._damaged(data_dir):
            with downloading(data_dir, self.reader):
                self._read(data_dir, train=True, download=True)
        try:
            train, test = (self._read(data_dir, train=train) for train in (True, False))
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            names = ", ".join(self._damaged(data_dir)) or str(error)
            where = data_dir / self.folder
            raise DataError(
                f"{self.reader}: damaged in {where}: {names}; {self._remedy(data_dir)}"
            ) from error
        return RawData(train, test, self.classes, self.mean, self.std, flip=True, shift=4)

    def _remedy(self, data_dir: Path) -> str:
        return (
            f"add --download to have torchvision fetch it (170 MB), or unpack {self.archive} "
            f"so that {data_dir / self.folder} holds {', '.join(self.files)}"
        )

    def _damaged(self, data_dir: Path) -> list[str]:
        """Return the names of the files that are missing or have another MD5."""
        return [n for n, md5 in self.files.items() if _md5(data_dir / self.folder / n) != md5]

    def _read(self, data_dir: Path, *, train: bool, download: bool = False) -> Samples:
        from torchvision import datasets

        read = getattr(datasets, self.reader)(root=data_dir, train=train, download=download)
        images = numpy.ascontiguousarray(read.data.transpose(0, 3, 1, 2))
        return Samples(images, numpy.asarray(read.targets, dtype=numpy.int64))


def _md5(file: Path) -> str:
    """Return the MD5 of ``file``, empty if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(
                stream, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
    except OSError:
        return ""


class CIFAR10(_CIFAR):
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


class CIFAR100(_CIFAR):
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
