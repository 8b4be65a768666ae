"""The regularizer ``mixup``."""

from __future__ import annotations

from dataclasses import replace

import numpy
import torch
from scipy.special import betaincinv

from dsd_bench.regularizers import MixBatch, Regularizer, TrainingView
from dsd_bench_robust.plugin import MixupParams

LEVELS = 2**16
"""Equally likely values of a share: drawing one needs no loop and does not wait for the device."""


class Mixup(Regularizer):
    """Mix each image and its label with another of its batch: share * it + (1 - share) * other.

    One share a batch, as in the authors' code, from Beta(alpha, alpha); who is mixed with whom is
    drawn at random.
    """

    params: MixupParams

    def begin(self, view: TrainingView) -> None:
        """Keep the generator, and the quantiles of the shares."""
        self._generator = view.generator
        middles = (numpy.arange(LEVELS) + 0.5) / LEVELS
        shares = betaincinv(self.params.alpha, self.params.alpha, middles)
        self._shares = torch.tensor(shares, dtype=torch.float32, device=view.device)

    def mix(self, batch: MixBatch) -> MixBatch:
        """Return the mixtures."""
        draw, device = self._generator, batch.images.device
        place = torch.randint(LEVELS, (1,), generator=draw, device=device)
        share = self._shares.index_select(0, place)
        other = torch.randperm(len(batch.images), generator=draw, device=device)
        return replace(
            batch,
            images=torch.lerp(batch.images[other], batch.images, share),
            targets=torch.lerp(batch.targets[other], batch.targets, share),
        )
