"""Images that stay files until they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
from numpy.typing import NDArray

Size = tuple[int, int]
"""Height and width in pixels."""


def framing(size: int | None) -> tuple[Size, Size]:
    """Return what is cut out of a photograph, and what it is resized to cover before.

    The usual 224 of 256 pixels, and in proportion where another ``size`` is asked for.
    """
    side = 224 if size is None else size
    cover = round(side * 8 / 7)
    return (side, side), (cover, cover)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """A row of image files; it measures and indexes like the array they decode to.

    Attributes:
        root: the folder that they lie in.
        names: every file of the set below ``root``; shared by all rows made by indexing.
        index: int64 ``(N,)``, which of ``names`` this row consists of.
        size: height and width of a decoded image.
        cover: what an image is resized to cover before its centre is cut out; None: ``size``.
    """

    root: Path
    names: tuple[str, ...]
    index: NDArray[numpy.int64]
    size: Size
    cover: Size | None = None

    @classmethod
    def of(
        cls, root: Path, names: Iterable[str], size: Size, cover: Size | None = None
    ) -> ImageFiles:
        """Return the row of all ``names``."""
        every = tuple(names)
        return cls(root, every, numpy.arange(len(every)), size, cover)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, places: NDArray[numpy.int64] | slice) -> ImageFiles:
        """Return the row of the files at ``places``; nothing is read."""
        return replace(self, index=self.index[places])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(N, 3, H, W)`` of the decoded images."""
        return (len(self), 3, *self.size)

    @property
    def ndim(self) -> int:
        """The number of dimensions of ``shape``."""
        return 4

    @property
    def dtype(self) -> numpy.dtype[numpy.uint8]:
        """Of the decoded images."""
        return numpy.dtype(numpy.uint8)

    @property
    def nbytes(self) -> int:
        """Bytes that the decoded images would take."""
        return len(self) * 3 * self.size[0] * self.size[1]

    def path(self, place: int) -> Path:
        """Return the file at ``place``."""
        name: str = self.names[self.index[place]]
        return self.root / name
