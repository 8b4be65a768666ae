"""CIFAR-N: CIFAR's images with the labels that people gave them, wrong ones included."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy
from numpy.typing import NDArray

from dsd_bench.data import RawData, Samples
from dsd_bench.data.builtin import CIFAR10NParams
from dsd_bench.data.sets.cifar import CIFAR, CIFAR10, CIFAR100
from dsd_bench.data.sets.published import fingerprint
from dsd_bench.errors import DataError

SOURCE = "https://github.com/UCSC-REAL/cifar-10-100n"


class _CIFARN(CIFAR):
    """What the two sets share. Train labels are people's, all others are the true classes.

    Attributes:
        title: the set's name.
        label_file: directly in ``data_dir``.
        sums: of each set of labels in it the SHA-256 of its 50,000 labels as little-endian int64.
        key: which of them to train on.
    """

    title: ClassVar[str]
    label_file: ClassVar[str]
    sums: ClassVar[Mapping[str, str]]
    key: str

    def fingerprint(self, data_dir: Path) -> str:
        """Return a digest of the images' published checksums and of the labels."""
        return fingerprint({**self.files, self.key: self.sums[self.key]})

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`DataError` if images or labels are missing; labels are not downloaded."""
        if not (data_dir / self.label_file).is_file():
            raise self._refuse(data_dir, "is missing")
        super().check(data_dir, download)

    def read(self, data_dir: Path) -> RawData:
        """Return CIFAR with people's labels, and its own as the true ones.

        Raises:
            DataError: if the label file is damaged, or not this set's.
        """
        raw = super().read(data_dir)
        given = self._labels(data_dir, raw.train.labels)
        return replace(raw, train=Samples(raw.train.images, given, raw.train.labels))

    def _labels(self, data_dir: Path, true: NDArray[numpy.int64]) -> NDArray[numpy.int64]:
        content = self._content(data_dir)
        clean, given = (self._array(data_dir, content, k) for k in ("clean_label", self.key))
        if clean.shape != true.shape or (wrong := int((clean != true).sum())):
            found = f"{wrong:,} of {len(true):,}" if clean.shape == true.shape else "the number"
            raise self._refuse(data_dir, f"differs from {self.reader}'s own classes in {found}")
        if hashlib.sha256(given.astype("<i8").tobytes()).hexdigest() != self.sums[self.key]:
            raise self._refuse(data_dir, f"holds other labels than the published '{self.key}'")
        return given

    def _content(self, data_dir: Path) -> Mapping[str, Any]:
        """Return what the file holds; nothing but arrays, numbers and texts is unpickled."""
        import torch

        try:
            with torch.serialization.safe_globals(_array_parts()):
                content = torch.load(data_dir / self.label_file, weights_only=True)
        except Exception as error:  # damaged files make torch raise nearly anything
            reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
            raise self._refuse(data_dir, f"cannot be read: {reason}") from error
        if not isinstance(content, dict):
            raise self._refuse(data_dir, f"holds a {type(content).__name__}, not labels by name")
        return content

    def _array(self, data_dir: Path, content: Mapping[str, Any], key: str) -> NDArray[numpy.int64]:
        if key not in content:
            names = ", ".join(sorted(map(str, content)))
            raise self._refuse(data_dir, f"is another set's: it has no '{key}' (but {names})")
        labels = content[key]
        if not isinstance(labels, numpy.ndarray) or labels.dtype.kind not in "iu":
            raise self._refuse(data_dir, f"holds no whole numbers as '{key}'")
        return labels.astype(numpy.int64)

    def _refuse(self, data_dir: Path, what: str) -> DataError:
        file = data_dir / self.label_file
        remedy = f"get {self.label_file} from {SOURCE} (folder data/) and put it into {data_dir}"
        return DataError(f"{self.title}: {file} {what}; {remedy}")


def _array_parts() -> list[Any]:
    """Return what an array of whole numbers is pickled with, under old and new module names."""
    try:
        from numpy._core.multiarray import _reconstruct
    except ImportError:  # numpy 1
        from numpy.core.multiarray import _reconstruct  # type: ignore[no-redef]
    names = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    kinds = {type(numpy.dtype(name)) for name in ("int64", "int32", "int16", "uint8")}
    return [numpy.ndarray, numpy.dtype, *kinds, *((_reconstruct, name) for name in names)]


class CIFAR10N(_CIFARN, CIFAR10):
    """CIFAR-10 with one of five sets of people's labels."""

    title = "CIFAR-10N"
    label_file = "CIFAR-10_human.pt"
    sums: ClassVar[Mapping[str, str]] = {
        "aggre_label": "b3c3d486d22c3055756e7b1b1a0e98b099c1d68b771633023b0f76fa2e09ede6",
        "random_label1": "b5dc9007ae247a48ce267bec37a1310b0cd65ed73801ca7e595fb954902575a7",
        "random_label2": "1182c45d3a24636640fe1e3743b9566b6fabe86b2ed14f6b8216799e209a0d4e",
        "random_label3": "b51e116c617ded2c98be095ba8b3abae8adfa6caa54f7f6eedf50c7aed013d44",
        "worse_label": "a64d887522cf6d8f4966912a1536ea2d890600929a8465a7f307cdca2501847b",
    }

    def __init__(self, params: CIFAR10NParams) -> None:
        super().__init__(params)
        name = params.labels
        self.key = f"random_label{name[-1]}" if name.startswith("rand") else f"{name}_label"


class CIFAR100N(_CIFARN, CIFAR100):
    """CIFAR-100 with people's fine labels."""

    title = "CIFAR-100N"
    label_file = "CIFAR-100_human.pt"
    key = "noisy_label"
    sums: ClassVar[Mapping[str, str]] = {
        "noisy_label": "4a1efd5da7a214b299cf6ac0bafe3f0d48c065b7aa2d40aa185d4711714bb311"
    }
