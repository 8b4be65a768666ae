"""The schedule of a training: its learning rates and its number of steps."""

from __future__ import annotations

from dsd_bench.config.run import ProtocolConfig


def learning_rate(protocol: ProtocolConfig, round: int, epoch: int) -> float:
    """Return the learning rate of ``epoch`` (from 0): it drops after each milestone's epoch."""
    epochs = protocol.epochs(round)
    drops = sum(epoch >= round_half_up(m * epochs) for m in protocol.milestones)
    start = protocol.lr * (protocol.retrain_lr_scale if round else 1.0)
    return start * protocol.lr_drop**drops


def steps_per_epoch(samples: int, batch: int) -> int:
    """Return the batches of an epoch; a last one of one sample is left out (batch-norm: two)."""
    full, rest = divmod(samples, batch)
    return full + (rest > 1 or not full)


def smallest_batch(samples: int, batch: int) -> int:
    """Return the size of the smallest batch of an epoch; see :func:`steps_per_epoch`."""
    whole = min(batch, samples)
    rest = samples % whole
    return rest if rest > 1 else whole


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves up."""
    return int(value + 0.5)
