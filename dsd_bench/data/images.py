"""Image files to arrays, by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

from dsd_bench.errors import DataError

FALLBACK = 224
"""Height and width where the images' own sizes differ."""

Size = tuple[int, int]


def common_size(files: Sequence[Path]) -> Size:
    """Return the height and width that all images share, else 224 x 224; reads headers only.

    Raises:
        DataError: naming the image that cannot be read.
    """
    sizes = {_header(file) for file in files}
    return sizes.pop() if len(sizes) == 1 else (FALLBACK, FALLBACK)


def read_images(files: Sequence[Path], size: Size) -> NDArray[numpy.uint8]:
    """Return 8-bit RGB images ``(N, 3, H, W)`` of the height and width ``size``.

    Images of another size are resized to cover it, then cropped about their centre.

    Raises:
        DataError: naming the image that cannot be read, or if they do not fit into memory.
    """
    shape = (len(files), 3, *size)
    try:
        images = numpy.empty(shape, dtype=numpy.uint8)
        for image, file in zip(images, files):
            image[:] = _read(file, size).transpose(2, 0, 1)
    except MemoryError as error:
        need = f"{numpy.prod(shape) / 2**30:.1f} GiB for {shape}"
        raise DataError(f"the images do not fit into memory ({need}): give size=") from error
    return images


def _header(file: Path) -> Size:
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except Exception as error:  # as in _read
        raise _unreadable(file, error) from error


def _read(file: Path, size: Size) -> NDArray[numpy.uint8]:
    """Return one image ``(H, W, 3)``."""
    try:
        with Image.open(file) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            return numpy.asarray(_fit(image.convert("RGB"), size))
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise _unreadable(file, error) from error


def _fit(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    if (image.height, image.width) == size:
        return image
    # Whole numbers: a rounded scale could fall one pixel short.
    if image.width * height >= image.height * width:
        high, wide = height, image.width * height // image.height
    else:
        high, wide = image.height * width // image.width, width
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = round((wide - width) / 2), round((high - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _unreadable(file: Path, error: Exception) -> DataError:
    reason = str(error) or type(error).__name__
    return DataError(f"{file} is no readable image: {reason}")
