"""How many steps an epoch has."""

from __future__ import annotations


def steps_per_epoch(samples: int, batch: int) -> int:
    """Return the batches of an epoch; a last one of one sample is left out (batch-norm: two)."""
    full, rest = divmod(samples, batch)
    return full + (rest > 1 or not full)


def smallest_batch(samples: int, batch: int) -> int:
    """Return the size of the smallest batch of an epoch; see :func:`steps_per_epoch`."""
    whole = min(batch, samples)
    rest = samples % whole
    return rest if rest > 1 else whole
