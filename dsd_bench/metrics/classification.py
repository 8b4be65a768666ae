"""Losses and accuracies."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from dsd_bench.errors import Diverged
from dsd_bench.metrics import MeasureView, Metric, Outputs

_COLUMNS = (
    "train_loss",
    "train_accuracy",
    "train_accuracy_clean",
    "train_accuracy_noisy",
    "val_accuracy",
    "val_loss",
    "test_accuracy",
    "test_loss",
)


class Classification(Metric):
    """Mean cross-entropy (nats) and accuracy (0..1) on the given labels of each part.

    On the train part also apart: ``train_accuracy_clean`` over the samples whose given label is
    the true class, and ``train_accuracy_noisy`` over the others, where agreeing with the (wrong)
    given label is memorisation. None where a part or such samples do not exist.
    """

    def measure(self, view: MeasureView) -> Mapping[str, float | None]:
        """Return the accuracies and losses of all parts.

        Raises:
            dsd_bench.errors.Diverged: if a loss is not a finite number.
        """
        row: dict[str, float | None] = dict.fromkeys(_COLUMNS)
        for part in ("train", "val", "test"):
            outputs = view.outputs(part)
            if outputs is None:
                continue
            right = are_right(outputs)
            row[f"{part}_loss"] = _loss(outputs, part, view.round)
            row[f"{part}_accuracy"] = _share(right)
            if part == "train":
                clean = outputs.labels == outputs.clean
                row["train_accuracy_clean"] = _share(right[clean])
                row["train_accuracy_noisy"] = _share(right[~clean])
        return row


def are_right(outputs: Outputs) -> Tensor:
    """Return which images the network gives their labels, bool ``(N,)``."""
    return outputs.logits.argmax(1) == outputs.labels


def _loss(outputs: Outputs, part: str, number: int) -> float:
    """Return the mean cross-entropy, averaged in float64."""
    losses = functional.cross_entropy(outputs.logits, outputs.labels, reduction="none")
    mean = losses.cpu().double().mean().item()
    if not math.isfinite(mean):
        raise Diverged(f"round {number}: the loss on the {part} part is {mean}")
    return mean


def _share(flags: Tensor) -> float | None:
    """Return the share of true flags, None if there are no flags."""
    return int(flags.sum()) / len(flags) if len(flags) else None
