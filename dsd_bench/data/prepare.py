"""From a raw data set to what a run trains and measures on: splits and label noise.

The order is fixed: the test part (if the set has none of its own), then validation (likewise),
then ``train_size`` of what is left; all by the true classes. Noise falls on the train part last.
Split, noise and validation noise have streams of their own, keyed by the data seed and
nothing else, so at one seed every method sees the same samples and labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from dsd_bench.data import DatasetParams, Images, RawData, Samples
from dsd_bench.data.files import ImageFiles
from dsd_bench.errors import DataError, UsageError
from dsd_bench.noise import LabelNoise, next_class
from dsd_bench.seeds import numpy_stream

Labels = NDArray[numpy.int64]
Index = NDArray[numpy.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Train, validation or test part.

    Attributes:
        images: uint8 ``(N, C, H, W)``, 0..255, or files of which this is the shape.
        labels: int64 ``(N,)``, what a training or a score is told.
        clean: int64 ``(N,)``, the true classes.
    """

    images: Images
    labels: Labels
    clean: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set as a run uses it.

    Attributes:
        train, test: parts; test labels are the true classes.
        val: None with ``val_size=0`` and no official validation part; its labels are the true
            classes unless the noise's ``validation`` says otherwise.
        classes: number of classes.
        mean, std: per channel, of images scaled to 0..1.
        flip: whether the training augmentation mirrors images.
        shift: its largest random shift in pixels, 0 = none.
        crop: whether it cuts a random box out of every image while it is decoded.
        label_noise: what was realised on the train part, as ``result.json`` has it: ``rate``, the
            fraction of wrong labels, and ``matrix[i][j]``, the fraction of true class i that is
            labelled j (a class without samples: zeros).
    """

    train: Split
    val: Split | None
    test: Split
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    shift: int
    crop: bool
    label_noise: dict[str, Any]


def prepare(
    raw: RawData, params: DatasetParams, noise: LabelNoise | None, data_seed: int
) -> Prepared:
    """Split ``raw`` and corrupt labels; ``raw`` stays as it was.

    Args:
        raw: the data set.
        params: of the data set: sizes and transform.
        noise: what corrupts labels; None: the labels as given.
        data_seed: keys the streams of split and noise.

    Raises:
        UsageError: for sizes that do not fit the data.
        DataError: if ``raw`` is not what it claims to be.
    """
    check_raw(raw)
    train, val, test = _split(raw, params, numpy_stream(data_seed, "split"))
    noisy = _corrupt(train, raw, noise, numpy_stream(data_seed, "noise"))
    standard = params.transform == "standard"
    return Prepared(
        train=noisy,
        val=None if val is None else _validation(val, raw, noise, data_seed),
        test=Split(test.images, test.clean, test.clean),
        classes=raw.classes,
        mean=raw.mean,
        std=raw.std,
        flip=standard and raw.flip,
        shift=raw.shift if standard else 0,
        crop=standard and raw.crop,
        label_noise=realised(noisy, raw.classes),
    )


def check_raw(raw: RawData) -> None:
    """Raise :class:`DataError` where arrays do not fit each other or the number of classes."""
    if raw.crop and not isinstance(raw.train.images, ImageFiles):
        raise DataError("crop=True is for image files, but the train images are an array")
    confused = raw.confused or next_class(raw.classes)
    if len(confused) != raw.classes or not set(confused) <= set(range(raw.classes)):
        raise DataError(f"confused must name one of {raw.classes} classes for each of them")
    for name, samples in (("train", raw.train), ("val", raw.val), ("test", raw.test)):
        if samples is None:
            continue
        images, count = samples.images, len(samples.images)
        if images.dtype != numpy.uint8 or images.ndim != 4:
            shape = f"{images.dtype} {images.shape}"
            raise DataError(f"{name} images are {shape}, expected uint8 (N, C, H, W)")
        for labels in (samples.labels, samples.clean):
            if labels is not None and labels.shape != (count,):
                raise DataError(f"{name}: {count} images, but labels of the shape {labels.shape}")
            if labels is not None and count and not 0 <= labels.min() <= labels.max() < raw.classes:
                found = f"{labels.min()} to {labels.max()}"
                raise DataError(f"{name} labels are {found}, expected 0 to {raw.classes - 1}")


def _split(
    raw: RawData, params: DatasetParams, draw: numpy.random.Generator
) -> tuple[Split, Split | None, Split]:
    """Return the train, validation and test parts, with the labels as given."""
    everything = _part(raw.train)
    left = numpy.arange(len(everything))
    if raw.test is None:
        size = _fit("test_size", raw.test_size, len(left))
        drawn, left = _hold_out(everything.clean, left, size, draw)
        test = _take(everything, drawn)
    else:
        test = _part(raw.test)
    val = _part(raw.val) if raw.val else None
    train_size, held = part_sizes(params, len(left), official_val=val is not None)
    if val is None and held:
        drawn, left = _hold_out(everything.clean, left, held, draw)
        val = _take(everything, drawn)
    if params.train_size is not None:
        left, _ = _hold_out(everything.clean, left, train_size, draw)
    return _take(everything, left), val, test


def part_sizes(params: DatasetParams, available: int, official_val: bool) -> tuple[int, int]:
    """Return how many samples train and how many are held out of them for validation.

    Args:
        params: of the data set.
        available: samples that both are drawn from, the test part taken off.
        official_val: whether the set has a validation part of its own; then none is held out.

    Raises:
        UsageError: for sizes that do not fit.
    """
    held = 0
    if params.val_size and not official_val:
        held = _fit("val_size", _validation_size(params.val_size, available), available)
    left = available - held
    if params.train_size is None:
        return left, held
    if params.train_size > left:
        after = f" after test and validation, of {available}"
        raise UsageError(f"train_size={params.train_size}: {left} samples are left{after}")
    return params.train_size, held


def _validation_size(val_size: float, count: int) -> int:
    """Return the number of samples that ``val_size`` of ``count`` means."""
    size = int(val_size) if val_size >= 1 else round(val_size * count)
    if not size:
        raise UsageError(f"val_size={val_size}: rounds to no sample of {count}; give a count")
    return size


def _fit(key: str, size: int, available: int) -> int:
    """Return ``size``, or refuse it if nothing would be left to train on."""
    if not 0 < size < available:
        text = f"{key}={size}: {available} samples are available"
        raise UsageError(f"{text}, at least 1 must be drawn and at least 1 left to train on")
    return size


def _hold_out(
    clean: Labels, among: Index, size: int, draw: numpy.random.Generator
) -> tuple[Index, Index]:
    """Split ``among`` into a stratified draw of ``size`` and the rest, both in order."""
    chosen = numpy.zeros(len(among), dtype=bool)
    chosen[stratified(clean[among], size, draw)] = True
    return among[chosen], among[~chosen]


def stratified(labels: Labels, size: int, draw: numpy.random.Generator) -> Index:
    """Return ``size`` different places of ``labels``, sorted, as many of each class as its share.

    Every class gets its exact share rounded down, and the largest remainders get one more
    (equal remainders: drawn), so the total is exact and each class is within 1 of its share.

    Args:
        labels: classes ``(N,)``, whole numbers from 0.
        size: 0..N.
        draw: the stream to draw from.
    """
    counts = numpy.bincount(labels)
    # Whole numbers throughout: shares like 0.1 * 30 have no exact float.
    quotas, remainders = numpy.divmod(counts * size, max(1, len(labels)))
    order = numpy.lexsort((draw.random(len(counts)), -remainders))
    quotas[order[: size - int(quotas.sum())]] += 1
    places = [
        draw.permutation(numpy.flatnonzero(labels == label))[:quota]
        for label, quota in enumerate(quotas)
    ]
    return numpy.sort(numpy.concatenate([numpy.empty(0, dtype=numpy.int64), *places]))


def _part(samples: Samples) -> Split:
    labels = samples.labels.astype(numpy.int64)
    clean = labels if samples.clean is None else samples.clean.astype(numpy.int64)
    return Split(samples.images, labels, clean)


def _take(part: Split, index: Index) -> Split:
    return Split(part.images[index], part.labels[index], part.clean[index])


def _validation(val: Split, raw: RawData, noise: LabelNoise | None, data_seed: int) -> Split:
    """Return the validation part with clean labels, or noisy ones if the noise says so."""
    if getattr(noise and noise.params, "validation", False):
        return _corrupt(val, raw, noise, numpy_stream(data_seed, "noise", "validation"))
    return Split(val.images, val.clean, val.clean)


def _corrupt(
    part: Split, raw: RawData, noise: LabelNoise | None, draw: numpy.random.Generator
) -> Split:
    """Return ``part`` with noise on top of labels that may be wrong already."""
    if noise is None:
        return part
    confused = numpy.array(raw.confused or next_class(raw.classes), dtype=numpy.int64)
    noisy = noise.corrupt_knowing(part.clean, confused, draw)
    labels = numpy.where(noisy != part.clean, noisy, part.labels)
    return Split(part.images, labels, part.clean)


def realised(part: Split, classes: int) -> dict[str, Any]:
    """Return the rate of wrong labels and the matrix of true (rows) and given classes."""
    pairs = numpy.bincount(part.clean * classes + part.labels, minlength=classes**2)
    counts = pairs.reshape(classes, classes)
    matrix = counts / numpy.maximum(1, counts.sum(axis=1, keepdims=True))
    return {"rate": float(numpy.mean(part.clean != part.labels)), "matrix": matrix.tolist()}
