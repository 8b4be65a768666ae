"""Entropy of the neurons' on/off state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dsd_bench.metrics import MeasureView, Metric


def entropy_bits(counts: Tensor, images: int) -> float:
    """Return the mean entropy in bits of units that were on for ``counts`` of ``images`` images.

    Units that are never or always on count as 0. The counts are over the whole train part,
    and the logarithm is taken once: a mean of per-batch entropies would be smaller.

    Args:
        counts: int64, any shape, 0..images.
        images: how many images were seen.
    """
    share = counts.cpu().double() / images
    nats = torch.special.entr(share) + torch.special.entr(1 - share)
    return float(nats.mean()) / math.log(2)


class Entropy(Metric):
    """Eq. (1) of the paper, over every application of a rectifier (ReLU and its like,
    :mod:`dsd_bench.metrics.rectifiers`) in a forward pass.

    ``entropy_per_layer``: for each application, in order, the mean over its output's elements
    (channel x position); ``entropy``: the mean of these. None if the model has no rectifier.
    """

    def measure(self, view: MeasureView) -> Mapping[str, Any]:
        """Return ``entropy`` and ``entropy_per_layer`` in bits."""
        train = view.outputs("train")
        if train is None or not train.relu_counts:
            return {"entropy": None, "entropy_per_layer": None}
        layers = [entropy_bits(counts, len(train.logits)) for counts in train.relu_counts]
        return {"entropy": sum(layers) / len(layers), "entropy_per_layer": layers}
