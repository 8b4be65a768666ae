"""Data sets: where images and labels come from.

Splitting and noise are the core's (:mod:`dsd_bench.data.prepare`). A new set is a module beside
these with a :class:`Dataset`, and a component in :mod:`dsd_bench.data.builtin` or in a plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy
from numpy.typing import NDArray
from pydantic import field_validator

from dsd_bench.data.files import ImageFiles as ImageFiles
from dsd_bench.params import Params, param

Images = NDArray[numpy.uint8] | ImageFiles
"""Images ``(N, C, H, W)``: in memory, or files that are decoded when they are needed."""


class DatasetParams(Params):
    """What every data set takes."""

    train_size: int | None = param(
        None, help="train on this many samples, stratified (default: all)", ge=1, unit="samples"
    )
    val_size: float = param(
        0.1,
        help="held out of train first, stratified: a fraction below 1, or a count",
        ge=0,
        unit="fraction or samples",
    )
    transform: Literal["standard", "none"] = param(
        "standard", help="the data set's own training augmentation"
    )

    @field_validator("val_size")
    @classmethod
    def _whole(cls, value: float) -> float:
        """Refuse one and a half samples."""
        if value >= 1 and not value.is_integer():
            raise ValueError("expected a fraction below 1 or a whole number of samples")
        return value


@dataclass(frozen=True)
class Samples:
    """Images and labels.

    Attributes:
        images: uint8 ``(N, C, H, W)``, 0..255: an array, or files of which this is the shape.
        labels: int64 ``(N,)``, the given labels.
        clean: int64 ``(N,)``, the true classes; None if nothing else than ``labels`` is known
            (then ``labels`` count as true).
    """

    images: Images
    labels: NDArray[numpy.int64]
    clean: NDArray[numpy.int64] | None = None


@dataclass(frozen=True)
class RawData:
    """A data set before splitting and noise.

    Attributes:
        train: what training and validation are drawn from.
        test: the official test part; None: ``test_size`` samples are drawn from ``train`` anew
            for each data seed.
        val: an official validation part; None: held out of train.
        classes: number of classes.
        mean, std: per channel, of images scaled to 0..1, for normalising.
        flip: whether the standard transform mirrors images.
        shift: the standard transform's largest random shift in pixels.
        test_size: see ``test``.
        crop: whether the standard transform cuts a random box out of every training image while
            it is decoded, resizes it and mirrors half of them; image files only.
        confused: for each class the one it is taken for by the noise ``asymmetric``, itself for
            never; None: each for the next one.
    """

    train: Samples
    test: Samples | None
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool = False
    shift: int = 0
    val: Samples | None = None
    test_size: int = 0
    crop: bool = False
    confused: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Outline:
    """What is known of a data set without reading it: enough to say what training will cost.

    Attributes:
        shape: one image's ``(C, H, W)`` as the model gets it.
        classes: number of classes.
        train: images that training and validation are drawn from, without the test part.
        test: images of the test part.
        val: images of an official validation part; None: held out of train.
    """

    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    val: int | None = None


class Dataset:
    """Base of all data sets. Only :meth:`load` may need torch or torchvision."""

    def __init__(self, params: DatasetParams) -> None:
        self.params = params

    def recipe(self, model: str | None) -> Mapping[str, Any]:
        """Return the default options (as in a ``--config`` file) for this data and ``model``.

        ``model`` is the model component's name if the user chose one. A user's options
        override the recipe one by one.
        """
        return {}

    def outline(self) -> Outline | None:
        """Return sizes that are known without any file; None where only the files tell."""
        return None

    def fingerprint(self, data_dir: Path) -> str:
        """Return what identifies the data: published checksums, or a digest of the files.

        Raises:
            dsd_bench.errors.DataError: if files are needed for it and missing.
        """
        raise NotImplementedError

    def check(self, data_dir: Path, download: bool) -> None:
        """Raise :class:`dsd_bench.errors.DataError` if loading could not work; read little.

        The message says which file is missing, where it comes from and where to put it.
        """

    def notes(self, data_dir: Path) -> list[str]:
        """Return sentences on the data that a user should see before a run; none by default."""
        return []

    def load(self, data_dir: Path, download: bool) -> RawData:
        """Read everything; verify checksums; download only if ``download``."""
        raise NotImplementedError
