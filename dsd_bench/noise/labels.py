"""Synthetic label noise.

Every kind touches exactly ``round(rate * M)`` samples, drawn without replacement. M is N, all
samples, but for ``asymmetric`` only those of classes that are taken for another: on CIFAR-10 five
of ten, so that a rate of 40 % makes 20 % of all labels wrong, as in the literature.
``uniform`` may draw the true class: with ten classes, 20 % of it make about 18 % wrong.
"""

from __future__ import annotations

import numpy

from dsd_bench.errors import UsageError
from dsd_bench.noise import LabelNoise, Labels, next_class
from dsd_bench.noise.builtin import (
    AsymmetricParams,
    PairFlipParams,
    SymmetricParams,
    UniformParams,
)


class NoNoise(LabelNoise):
    """The labels as they are."""

    def corrupt(self, labels: Labels, classes: int, draw: numpy.random.Generator) -> Labels:
        """Return a copy of ``labels``; nothing is drawn."""
        return labels.copy()


class Symmetric(LabelNoise):
    """Exactly ``round(rate * N)`` labels become another class, each equally likely."""

    params: SymmetricParams

    def corrupt(self, labels: Labels, classes: int, draw: numpy.random.Generator) -> Labels:
        """Return noisy labels ``(N,)``; see :meth:`dsd_bench.noise.LabelNoise.corrupt`.

        Raises:
            UsageError: if there are fewer than two classes.
        """
        _need_another("symmetric", classes)
        chosen = _choose(len(labels), self.params.rate, draw)
        noisy = labels.copy()
        noisy[chosen] = (labels[chosen] + draw.integers(1, classes, size=len(chosen))) % classes
        return noisy


class Uniform(LabelNoise):
    """Exactly ``round(rate * N)`` labels are redrawn from all classes, the true one included."""

    params: UniformParams

    def corrupt(self, labels: Labels, classes: int, draw: numpy.random.Generator) -> Labels:
        """Return noisy labels ``(N,)``; see :meth:`dsd_bench.noise.LabelNoise.corrupt`."""
        chosen = _choose(len(labels), self.params.rate, draw)
        noisy = labels.copy()
        noisy[chosen] = draw.integers(0, classes, size=len(chosen))
        return noisy


class PairFlip(LabelNoise):
    """Exactly ``round(rate * N)`` labels k become k + 1, the last class the first."""

    params: PairFlipParams

    def corrupt(self, labels: Labels, classes: int, draw: numpy.random.Generator) -> Labels:
        """Return noisy labels ``(N,)``; see :meth:`dsd_bench.noise.LabelNoise.corrupt`.

        Raises:
            UsageError: if there are fewer than two classes.
        """
        _need_another("pairflip", classes)
        chosen = _choose(len(labels), self.params.rate, draw)
        noisy = labels.copy()
        noisy[chosen] = (labels[chosen] + 1) % classes
        return noisy


class Asymmetric(LabelNoise):
    """Of the M samples whose class is taken for another, exactly ``round(rate * M)`` are."""

    params: AsymmetricParams

    def corrupt(self, labels: Labels, classes: int, draw: numpy.random.Generator) -> Labels:
        """Return noisy labels ``(N,)``, each class being taken for the next one."""
        confused = numpy.array(next_class(classes), dtype=numpy.int64)
        return self.corrupt_knowing(labels, confused, draw)

    def corrupt_knowing(
        self, labels: Labels, confused: Labels, draw: numpy.random.Generator
    ) -> Labels:
        """Return noisy labels ``(N,)``; see :meth:`LabelNoise.corrupt_knowing`.

        Raises:
            UsageError: if there are fewer than two classes.
        """
        _need_another("asymmetric", len(confused))
        candidates = numpy.flatnonzero(confused[labels] != labels)
        chosen = candidates[_choose(len(candidates), self.params.rate, draw)]
        noisy = labels.copy()
        noisy[chosen] = confused[labels[chosen]]
        return noisy


def _need_another(name: str, classes: int) -> None:
    if classes < 2:
        raise UsageError(f"noise '{name}' needs at least 2 classes, the data have {classes}")


def _choose(count: int, rate: float, draw: numpy.random.Generator) -> Labels:
    """Return round(rate * count) places; a higher rate only adds to those of a lower one."""
    return draw.permutation(count)[: round(rate * count)]
