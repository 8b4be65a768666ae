"""Calibration: how far confidences are from accuracies."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dsd_bench.metrics import MeasureView, Metric, Outputs
from dsd_bench.metrics.builtin import CalibrationParams
from dsd_bench.metrics.classification import are_right

PARTS = ("train", "val", "test")
_AT_ONCE = 4096
"""Samples whose probabilities are in memory at a time: 33 MB for a thousand classes."""


class ExpectedCalibrationError(Metric):
    """Expected calibration error (Guo et al. 2017, eq. 3) against the given labels of each part.

    A sample's confidence is the highest of its softmax probabilities. Confidences are sorted into
    bins of equal width, ``(i/bins, (i+1)/bins]``; the error is the mean over samples of
    |accuracy - mean confidence| of their bin, in 0..1. It depends on the bins and, with few
    samples, is above 0 even for a calibrated network.
    """

    params: CalibrationParams

    def measure(self, view: MeasureView) -> Mapping[str, float | None]:
        """Return ``train_ece``, ``val_ece``, ``test_ece``, and the parts' mean confidences
        ``train_confidence``, ``val_confidence``, ``test_confidence``, all in 0..1; None where a
        part does not exist. A mean confidence above the accuracy means overconfidence.
        """
        found: dict[str, float | None] = {}
        for part in PARTS:
            outputs = view.outputs(part)
            error = mean = None
            if outputs is not None and len(outputs.labels):
                confidences = confidences_of(outputs)
                right = are_right(outputs).cpu()
                error = expected_calibration_error(confidences, right, self.params.bins)
                mean = float(confidences.mean())
            found |= {f"{part}_ece": error, f"{part}_confidence": mean}
        return found


def confidences_of(outputs: Outputs) -> Tensor:
    """Return the highest softmax probability of each sample, float64 ``(N,)`` on the CPU."""
    pieces = torch.split(outputs.logits, _AT_ONCE)
    return torch.cat([piece.cpu().double().softmax(1).amax(1) for piece in pieces])


def expected_calibration_error(confidences: Tensor, right: Tensor, bins: int) -> float:
    """Return the sum over bins of |hits - confidence| / N.

    Args:
        confidences: float64 ``(N,)`` in 0..1.
        right: bool ``(N,)``, whether the prediction is right.
        bins: how many bins of equal width, open below and closed above.
    """
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    place = torch.bucketize(confidences, edges)  # edges[i - 1] < confidence <= edges[i]
    gap = torch.zeros(bins, dtype=torch.float64)
    gap.index_add_(0, place, right.double() - confidences)
    return float(gap.abs().sum()) / len(confidences)
