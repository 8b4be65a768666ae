"""Write folders of PNG images: generated ones, or a part of CIFAR-10.

    python -m benchmarks.compress.pictures generated photos
    python -m benchmarks.compress.pictures cifar10 photos --data-dir data --train 300 --test 100

Then ``dsd-bench compress photos --model timm:resnet10t --structured --budget 10m`` goes from there
to the page.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[numpy.uint8]

NAMES = ("apple", "bee", "cat", "drum")
"""Classes of generated images."""


def generated(each: int, seed: int, side: int = 32) -> Iterator[tuple[str, Pixels]]:
    """Yield stripes in a direction of the class's own under noise: ``(side, side, 3)``.

    Args:
        each: images of each class.
        seed: of noise, colours and phases.
        side: height and width in pixels.
    """
    draw = numpy.random.default_rng(seed)
    down, across = numpy.mgrid[:side, :side] / side
    for place, name in enumerate(NAMES):
        angle = numpy.pi * place / len(NAMES)
        along = across * numpy.cos(angle) + down * numpy.sin(angle)
        for _ in range(each):
            stripes = numpy.sin(2 * numpy.pi * (3 * along + draw.random()))[..., None]
            pixels = (
                128 + 45 * stripes * draw.uniform(0.3, 1, 3) + draw.normal(0, 45, (side, side, 3))
            )
            yield name, pixels.clip(0, 255).astype(numpy.uint8)


def cifar10(data_dir: Path, train: bool, each: int) -> Iterator[tuple[str, Pixels]]:
    """Yield the first images of each class of CIFAR-10, ``(32, 32, 3)``.

    Args:
        data_dir: with ``cifar-10-batches-py/``.
        train: which part.
        each: images of each class.
    """
    from torchvision.datasets import CIFAR10

    data = CIFAR10(data_dir, train=train)
    left = dict.fromkeys(range(10), each)
    for pixels, label in zip(data.data, data.targets):
        if left[label]:
            left[label] -= 1
            yield data.classes[label], pixels


def write(root: Path, part: str, images: Iterator[tuple[str, Pixels]]) -> int:
    """Write ``root/part/CLASS/NUMBER.png`` and return how many there are."""
    count = 0
    for name, pixels in images:
        folder = root / part / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{count:05}.png")
        count += 1
    return count


def main(words: Sequence[str] | None = None) -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("generated", "cifar10"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--train", type=int, default=100, help="images of each class")
    parser.add_argument("--test", type=int, default=50, help="images of each class")
    given = parser.parse_args(words)
    for part, each in (("train", given.train), ("test", given.test)):
        found = generated(each, part == "train")
        if given.what == "cifar10":
            found = cifar10(given.data_dir, part == "train", each)
        print(f"{given.folder / part}: {write(given.folder, part, found)} images")


if __name__ == "__main__":
    main()
