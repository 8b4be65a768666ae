"""Smaller images by averaging areas."""

from __future__ import annotations

from dataclasses import replace

import numpy
from numpy.typing import NDArray

from dsd_bench.data import RawData, Samples
from dsd_bench.data.statistics import channel_statistics

Pixels = NDArray[numpy.uint8]
BATCH = 4096
"""Images that are averaged at a time."""


def resized(raw: RawData, size: int | None) -> RawData:
    """Return a data set with square images of ``size`` pixels, or ``raw`` itself for None.

    Mean and standard deviation become those of the smaller train images; the standard transform's
    shift shrinks with the side, to one pixel at least.

    Args:
        raw: a data set whose images are arrays.
        size: height and width in pixels, at most the images' own.
    """
    if size is None:
        return raw
    train = _shrunk(raw.train, size)
    mean, std = channel_statistics(train.images)
    side = raw.train.images.shape[2]
    return replace(
        raw,
        train=train,
        val=raw.val and _shrunk(raw.val, size),
        test=raw.test and _shrunk(raw.test, size),
        mean=mean,
        std=std,
        shift=max(1, raw.shift * size // side) if raw.shift else 0,
    )


def _shrunk(samples: Samples, size: int) -> Samples:
    if not isinstance(samples.images, numpy.ndarray):
        raise TypeError("only images in memory are averaged; files are resized while decoded")
    return replace(samples, images=area_averaged(samples.images, size))


def area_averaged(images: Pixels, size: int) -> Pixels:
    """Return square images of ``size`` pixels whose values are means over the areas they cover.

    A new pixel covers ``side / size`` old ones in each direction, parts of them counted by their
    share; means are exact and halves rounded up, so they do not depend on the machine.

    Args:
        images: uint8 ``(N, C, H, W)`` with sides of at least ``size``.
        size: height and width of the new images in pixels.
    """
    count, channels, height, width = images.shape
    down, across = _overlaps(height, size), _overlaps(width, size)
    out = numpy.empty((count, channels, size, size), dtype=numpy.uint8)
    for start in range(0, count, BATCH):
        part = images[start : start + BATCH].astype(numpy.float64)
        # Whole numbers far below 2^53: sums are exact in any order.
        sums = down @ part @ across.T
        out[start : start + BATCH] = numpy.floor(sums / (height * width) + 0.5)
    return out


def _overlaps(side: int, size: int) -> NDArray[numpy.float64]:
    """Return ``(size, side)``: how much of each old pixel a new one covers, in parts of ``size``.

    The rows sum to ``side``.
    """
    new = numpy.arange(size)[:, None] * side
    old = numpy.arange(side)[None, :] * size
    covered = numpy.minimum(new + side, old + size) - numpy.maximum(new, old)
    found: NDArray[numpy.float64] = numpy.clip(covered, 0, None).astype(numpy.float64)
    return found
