"""The mean and standard deviation of images' channels."""

from __future__ import annotations

import numpy

from dsd_bench.data import Images


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation of images scaled to 0..1.

    They come from exact counts of the 256 values, so they do not depend on the machine. A channel
    without any variation gets 1 as its standard deviation.

    Args:
        images: uint8 ``(N, C, H, W)``; files are decoded once, one after another.
    """
    from dsd_bench.data.images import each

    counts = numpy.zeros((images.shape[1], 256), dtype=numpy.int64)
    for image in each(images):
        counts += [numpy.bincount(channel.ravel(), minlength=256) for channel in image]
    values = numpy.arange(256) / 255
    means, deviations = [], []
    for weights in counts:
        mean = float(numpy.average(values, weights=weights))
        variance = float(numpy.average((values - mean) ** 2, weights=weights))
        means.append(mean)
        deviations.append(variance**0.5 or 1.0)
    return tuple(means), tuple(deviations)
