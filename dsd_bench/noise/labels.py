"""Synthetic label noise: symmetric (never the true class) and uniform (may be the true class).

The two differ at the same rate: with ten classes, 20 % uniform noise makes about 18 % of the
labels wrong. Both touch exactly ``round(rate * N)`` samples, drawn without replacement.
"""

from __future__ import annotations

import numpy

from dsd_bench.errors import UsageError
from dsd_bench.noise import LabelNoise, Labels
from dsd_bench.noise.builtin import SymmetricParams, UniformParams


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
        if classes < 2:
            raise UsageError(f"noise 'symmetric' needs at least 2 classes, the data have {classes}")
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


def _choose(count: int, rate: float, draw: numpy.random.Generator) -> Labels:
    """Return round(rate * count) places; a higher rate only adds to those of a lower one."""
    return draw.permutation(count)[: round(rate * count)]
