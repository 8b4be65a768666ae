"""Image files to arrays, by Pillow, which lets other threads work while it decodes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dsd_bench.data import Images
from dsd_bench.data.files import ImageFiles, Size
from dsd_bench.errors import DataError, UnreadableImage

FALLBACK = 224
"""Height and width where the images' own sizes differ."""
LIMIT = 4 * 2**30
"""Bytes of decoded images up to which a set is held in memory."""
AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
"""Of random boxes: share of the image's area, width by height, and attempts to find one that fits
(Szegedy et al., Going deeper with convolutions, CVPR 2015; torchvision's defaults)."""

Pixels = NDArray[numpy.uint8]
Cut = Callable[[Image.Image], Image.Image]


def workers() -> int:
    """Return how many threads to decode with: the cores that this process may use, at most 16."""
    if hasattr(os, "sched_getaffinity"):
        return min(16, len(os.sched_getaffinity(0)))
    return min(16, os.cpu_count() or 1)


def common_size(files: Sequence[Path]) -> Size:
    """Return the height and width that all images share, else 224 x 224; reads headers only.

    Raises:
        DataError: naming the image that cannot be read.
    """
    sizes = {_header(file) for file in files}
    return sizes.pop() if len(sizes) == 1 else (FALLBACK, FALLBACK)


def settle(parts: Mapping[str, ImageFiles]) -> dict[str, Images]:
    """Decode all images if together they fit under :data:`LIMIT`, else leave them files."""
    if sum(files.nbytes for files in parts.values()) > LIMIT:
        return dict(parts)
    return {name: read_images(files) for name, files in parts.items()}


def read_images(files: ImageFiles) -> Pixels:
    """Return 8-bit RGB images ``(N, 3, H, W)``: see :func:`decode`.

    Raises:
        DataError: naming the image that cannot be read, or if they do not fit into memory.
    """
    try:
        images = numpy.empty(files.shape, dtype=numpy.uint8)

        def read(place: int) -> None:
            images[place] = decode(files, place)

        with ThreadPoolExecutor(workers()) as pool:
            for start in range(0, len(files), 4096):  # a damaged image soon ends it
                list(pool.map(read, range(start, min(start + 4096, len(files)))))
    except MemoryError as error:
        need = f"{files.nbytes / 2**30:.1f} GiB for {files.shape}"
        raise DataError(f"the images do not fit into memory ({need}): give size=") from error
    return images


def unreadable(files: Sequence[Path]) -> list[Path]:
    """Return those images that cannot be decoded, in their order; reads all of them."""

    def bad(file: Path) -> bool:
        try:
            _read(file, lambda image: image)
        except DataError:
            return True
        return False

    with ThreadPoolExecutor(workers()) as pool:
        return [file for file, wrong in zip(files, pool.map(bad, files)) if wrong]


def each(images: Images) -> Iterator[Pixels]:
    """Yield every image ``(C, H, W)``, decoded where it has to be."""
    if not isinstance(images, ImageFiles):
        yield from images
        return
    for start in range(0, len(images), 256):
        yield from read_images(images[start : start + 256])


def decode(files: ImageFiles, place: int) -> Pixels:
    """Return one image ``(3, H, W)``, resized to cover ``files.cover``, its centre cut out.

    Raises:
        DataError: naming the image that cannot be read.
    """
    cover = files.cover or files.size
    return _read(files.path(place), lambda image: _centre(_resize(image, cover), files.size))


def decode_box(files: ImageFiles, place: int, draw: numpy.random.Generator) -> Pixels:
    """Return a random box of one image, resized to ``files.size``, mirrored half of the time.

    Args:
        files: the images.
        place: which of them.
        draw: this image's own generator: the result depends on nothing else.

    Raises:
        DataError: naming the image that cannot be read.
    """

    def cut(image: Image.Image) -> Image.Image:
        top, left, height, width = random_box((image.height, image.width), draw)
        box = image.crop((left, top, left + width, top + height))
        box = box.resize(files.size[::-1], Image.Resampling.BILINEAR)
        if draw.random() < 0.5:
            return box.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return box

    return _read(files.path(place), cut)


def random_box(size: Size, draw: numpy.random.Generator) -> tuple[int, int, int, int]:
    """Return top, left, height and width of a box as torchvision's ``RandomResizedCrop`` draws it.

    If no attempt fits, it is the largest central box whose ratio is in :data:`RATIO`.
    """
    height, width = size
    for _ in range(TRIES):
        area = height * width * draw.uniform(*AREA)
        ratio = math.exp(draw.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            top, left = draw.integers(height - high + 1), draw.integers(width - wide + 1)
            return int(top), int(left), high, wide
    wide, high = width, height
    if width < height * RATIO[0]:
        high = round(width / RATIO[0])
    elif width > height * RATIO[1]:
        wide = round(height * RATIO[1])
    return (height - high) // 2, (width - wide) // 2, high, wide


def _header(file: Path) -> Size:
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except Exception as error:  # as in _read
        raise _unreadable(file, error) from error


def _read(file: Path, cut: Cut) -> Pixels:
    """Return one image ``(3, H, W)`` after ``cut``."""
    try:
        with Image.open(file) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            return numpy.asarray(cut(image.convert("RGB"))).transpose(2, 0, 1)
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise _unreadable(file, error) from error


def _resize(image: Image.Image, cover: Size) -> Image.Image:
    """Return ``image`` at the smallest scale that covers ``cover``."""
    height, width = cover
    # Whole numbers: a rounded scale could fall one pixel short.
    if image.width * height >= image.height * width:
        high, wide = height, image.width * height // image.height
    else:
        high, wide = image.height * width // image.width, width
    if (image.height, image.width) == (high, wide):
        return image
    return image.resize((wide, high), Image.Resampling.BILINEAR)


def _centre(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    if (image.height, image.width) == size:
        return image
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _unreadable(file: Path, error: Exception) -> UnreadableImage:
    if isinstance(error, UnidentifiedImageError):  # its text is the file's name once more
        reason = "damaged, or of no format that Pillow knows"
    else:
        reason = str(error) or type(error).__name__
    return UnreadableImage(f"{file} is no readable image: {reason}")
