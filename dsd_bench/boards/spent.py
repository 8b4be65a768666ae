"""What the trainings of a row cost, as far as the row tells: forward MACs of dense networks."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from dsd_bench.boards.schema import BoardRow, CheckedRow, MethodConfig, Regularizer, Track
from dsd_bench.optimizers.builtin import register_optimizers

AS_PLANNED = ("step", "cosine", "one-cycle")
"""Built-in schedules whose trainings have the planned epochs, none fewer."""
SAME_COST = {"pruner", "perturber", "regularizers", "stop", "lr", "retrain_lr_scale", "milestones"}
"""Options in which a teacher may differ from its student and train for the same MACs."""


def epochs_of(track: Track, method: MethodConfig) -> tuple[float, float] | None:
    """Return the epochs of the dense training and of each later one, re-dense ones included.

    None where track and method do not say.
    """
    told = [track.schedule.get(name) for name in ("dense_epochs", "retrain_epochs")]
    known = [float(value) for value in told if isinstance(value, int | float)]
    return (known[0], known[1] + method.redense_epochs) if len(known) == 2 else None


def own_macs(row: BoardRow) -> float | None:
    """Return the forward MACs of all trainings of a run, the mean over the seeds.

    As a GPU computes them, pruned weights too. None where rounds lack MACs, and where a component
    that is not known here may train for other than the planned epochs or pass images twice: a board
    must not depend on what is installed.
    """
    epochs = epochs_of(row.track, row.method)
    if not isinstance(row, CheckedRow) or epochs is None or not _usual(row.method):
        return None
    found = [
        _sum(entry.rounds.macs_dense, epochs, _images(row, entry.samples.train))
        for entry in row.seeds
    ]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if len(known) == len(found) else None


def teachers_macs(row: BoardRow) -> float | None:
    """Return the forward MACs of all trainings of a run's teachers; 0 where there are none.

    As configured, and for teachers that have the student's model and schedule; None for others.
    """
    teaching = [part for part in row.method.regularizers if part.teacher]
    if not teaching:
        return 0.0
    epochs = epochs_of(row.track, row.method)
    if not isinstance(row, CheckedRow) or epochs is None or not _usual(row.method):
        return None
    whole = 0.0
    for part in teaching:
        count = _trainings(part)
        dense = [entry.rounds.macs_dense[0] for entry in row.seeds]
        if count is None or None in dense:
            return None
        each = [
            _sum([macs] * count, epochs, _images(row, entry.samples.train)) or 0.0
            for macs, entry in zip(dense, row.seeds)
        ]
        whole += statistics.fmean(each)
    return whole


def _usual(method: MethodConfig) -> bool:
    """Whether a training is known to pass each image once in each planned epoch."""
    known = {component.name for component in register_optimizers()}
    optimizer, schedule = method.optimizer, method.schedule
    return (optimizer is None or optimizer.name in known) and (
        schedule is None or schedule.name in AS_PLANNED
    )


def _trainings(part: Regularizer) -> int | None:
    """Return the trainings of a teacher that cost what the student's do."""
    assert part.teacher is not None
    differs = part.teacher.differs
    distilled = any(one.get("teacher") for one in _regularizers(differs.get("regularizers")))
    if distilled or not differs.keys() <= SAME_COST:
        return None
    return part.teacher.trainings


def _regularizers(value: object) -> list[dict[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _images(row: CheckedRow, samples: int) -> int:
    """Return the images of an epoch: a last batch of one is left out."""
    batch = row.track.schedule.get("batch_size")
    alone = isinstance(batch, int) and 1 < batch < samples and samples % batch == 1
    return samples - alone


def _sum(macs: Sequence[float | None], epochs: tuple[float, float], images: int) -> float | None:
    if None in macs:
        return None
    return sum(epochs[at > 0] * images * (value or 0.0) for at, value in enumerate(macs))
