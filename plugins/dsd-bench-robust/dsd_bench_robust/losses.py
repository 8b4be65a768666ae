"""Losses instead of cross-entropy: ``label-smoothing`` and ``gce``."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from dsd_bench.regularizers import Regularizer, Step
from dsd_bench_robust.plugin import GCEParams, LabelSmoothingParams


class LabelSmoothing(Regularizer):
    """Cross-entropy against (1 - s) * label + s / classes.

    Where batches are mixed, what they are mixed to is smoothed.
    """

    params: LabelSmoothingParams

    def criterion(self, step: Step) -> Tensor:
        """Return the mean over the batch, in nats."""
        return functional.cross_entropy(
            step.logits.float(),
            step.labels if step.targets is None else step.targets,
            label_smoothing=self.params.smoothing,
        )


class GCE(Regularizer):
    """Generalised cross-entropy (1 - p^q) / q of the label's probability p.

    With q towards 0 it is cross-entropy, with q = 1 half the mean absolute error. Where batches
    are mixed it is the mean over their targets.
    """

    params: GCEParams

    def criterion(self, step: Step) -> Tensor:
        """Return the mean over the batch."""
        q = self.params.q
        powers = (q * step.logits.float().log_softmax(1)).exp()
        if step.targets is None:
            kept = powers.gather(1, step.labels[:, None])
        else:
            kept = (step.targets * powers).sum(1)
        return (1 - kept).mean() / q
