"""Label noise: which training labels are wrong, and how."""

from __future__ import annotations

import numpy
from numpy.typing import NDArray

from dsd_bench.params import Params

Labels = NDArray[numpy.int64]


def next_class(classes: int) -> tuple[int, ...]:
    """Return for each class the one after it, the first for the last."""
    return tuple((label + 1) % classes for label in range(classes))


class LabelNoise:
    """Base of all label noises.

    If the parameters have a true field ``validation``, the core corrupts the validation labels
    too, from a stream of their own; otherwise, and by default, they are the true classes.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def corrupt(self, labels: Labels, classes: int, draw: numpy.random.Generator) -> Labels:
        """Return noisy labels ``(N,)``; ``labels`` stays as it was.

        Where the data come with wrong labels of their own (human noise), those stay wherever
        the result equals the true class.

        Args:
            labels: true classes ``(N,)``, 0..classes-1.
            classes: number of classes.
            draw: the noise's own stream, keyed by the data seed.
        """
        raise NotImplementedError

    def corrupt_knowing(
        self, labels: Labels, confused: Labels, draw: numpy.random.Generator
    ) -> Labels:
        """Return noisy labels ``(N,)``; what the core calls.

        Implement it instead of :meth:`corrupt` if the noise depends on what the classes are.

        Args:
            labels: true classes ``(N,)``, 0..K-1.
            confused: for each class the one it is taken for ``(K,)``, itself for never; what the
                data set says (:attr:`dsd_bench.data.RawData.confused`), else the next class.
            draw: the noise's own stream, keyed by the data seed.
        """
        return self.corrupt(labels, len(confused), draw)
