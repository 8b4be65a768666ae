"""How many images of each class there are, and what that means before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from dsd_bench.data.prepare import Labels, Prepared
from dsd_bench.errors import DataError
from dsd_bench.reports.words import plural

FEW = 100
"""Images to choose or to judge by, below which a single one weighs more than a point."""
UNEQUAL = 5
"""Times as many images of one class as of another, from which accuracy misleads."""


@dataclass(frozen=True)
class Classes:
    """The classes and their images.

    Attributes:
        names: of the classes, in the order of their numbers.
        train, val, test: images of each class; ``val`` is empty where nothing is held out.
        labels: int64 ``(N,)``, the classes of the test images, in their order.
    """

    names: tuple[str, ...]
    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]
    labels: Labels


def count(data: Prepared, names: Sequence[str]) -> Classes:
    """Count the images of each class.

    Args:
        data: split as the runs split it.
        names: of the classes; if they are not as many as the data has, numbers are taken.
    """
    told = tuple(names) if len(names) == data.classes else tuple(map(str, range(data.classes)))

    def each(labels: Labels) -> tuple[int, ...]:
        return tuple(map(int, numpy.bincount(labels, minlength=data.classes)))

    val = each(data.val.clean) if data.val else ()
    return Classes(told, each(data.train.clean), val, each(data.test.clean), data.test.clean)


def notes(classes: Classes) -> list[str]:
    """Say what of the classes' images a user should know.

    Raises:
        DataError: for classes that nothing can be learned of: none of their images is left to
            train on.
    """
    if without := [name for name, n in zip(classes.names, classes.train) if not n]:
        raise DataError(
            f"no image to train on is left of {_named(without)}: all of them were drawn for "
            "validation or test; give more images, or folders val/ and test/ of your own"
        )
    told = []
    for part, counts in (("validation", classes.val), ("test", classes.test)):
        if missing := [name for name, n in zip(classes.names, counts) if not n]:
            told.append(f"{part} has no image of {_named(missing)}: nothing is known of it there")
        total = sum(counts)
        if counts and total < FEW:
            told.append(
                f"{part} has {plural(total, 'image')}: one of them is {100 / total:.1f} points"
            )
    most, least = max(classes.train), min(classes.train)
    if most > UNEQUAL * least:
        told.append(
            f"classes have from {least} to {most} train images: look at the balanced accuracy and "
            "the classes one by one"
        )
    return told


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"'{name}'" for name in names[:5]) + more
