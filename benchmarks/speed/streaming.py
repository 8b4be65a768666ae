"""Streamed images against what the decoder alone gives, on generated JPEG files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.speed.timing import in_turn, ratio
from dsd_bench.data.files import ImageFiles
from dsd_bench.data.streamed import StreamedPart

SIDE, HEIGHT, WIDTH, BATCH = 224, 375, 500, 32
"""Pixels of a decoded image, of a file (ImageNet's median), and images a batch."""


@dataclass(frozen=True)
class Streaming:
    """What was measured on so many cores.

    Attributes:
        cores: that the process might use.
        decoded: images a second that the decoder alone gives, whole.
        boxed: the same with torchvision's random boxes and flips of them.
        streamed: images a second of an epoch's batches, random boxes too.
        share: of ``boxed``, the median of the repeats.
    """

    cores: int
    decoded: float
    boxed: float
    streamed: float
    share: float


def measure(images: int, repeats: int) -> Iterator[Streaming]:
    """Measure on one core, and on two where there are two.

    Args:
        images: how many files are made.
        repeats: how often each is timed, in turn.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = [_jpeg(root, number) for number in range(images)]
        for cores in range(1, 1 + min(2, len(_cores()))):
            with _only(cores):
                yield _measure(root, names, cores, repeats)


def _measure(root: Path, names: list[str], cores: int, repeats: int) -> Streaming:
    labels = torch.zeros(len(names), dtype=torch.int64)
    part = StreamedPart(ImageFiles.of(root, names, (SIDE, SIDE)), labels, labels, crop=True)
    box = transforms.Compose(
        [transforms.RandomResizedCrop(SIDE), transforms.RandomHorizontalFlip()]
    )

    def decode(name: str) -> Image.Image:
        with Image.open(root / name) as image:
            return image.convert("RGB")

    def everything(what: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(cores) as pool:
            for _ in pool.map(what, names):
                pass

    def stream() -> None:
        order = torch.arange(len(names))
        for _ in part.batches(order, BATCH, 0, key=1):
            pass

    things = {
        "decoded": lambda: everything(decode),
        "boxed": lambda: everything(lambda name: numpy.asarray(box(decode(name)))),
        "streamed": stream,
    }
    seconds = in_turn(things, repeats, torch.device("cpu"))
    pace = {name: len(names) / min(taken) for name, taken in seconds.items()}
    return Streaming(cores, **pace, share=ratio(seconds, "boxed", "streamed"))


def _jpeg(root: Path, number: int) -> str:
    """Write an image of smooth shapes and some noise, about 100 kB as photographs are."""
    draw = numpy.random.default_rng(number)
    coarse = draw.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    noisy = numpy.asarray(smooth) + draw.normal(0, 12, (HEIGHT, WIDTH, 1))
    name = f"{number}.jpg"
    Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8)).save(root / name, quality=90)
    return name


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return {0}


@contextmanager
def _only(cores: int) -> Iterator[None]:
    """Let this process use only so many cores, where that can be said."""
    before = _cores()
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    os.sched_setaffinity(0, set(sorted(before)[:cores]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
