"""The numbers of a board: what one row says over its seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dsd_bench.analysis import Spread, descent, spread
from dsd_bench.boards.schema import BoardRow

LEVEL = 0.95
"""Coverage of the intervals."""


@dataclass(frozen=True)
class BoardSummary:
    """One row in numbers; accuracies, sparsity and depth in 0..1.

    Attributes:
        accuracy: test accuracy of the selected models, over the seeds.
        interval: Student's interval of its mean; None for one seed.
        sparsity: mean of the selected models.
        dense: mean test accuracy of round 0.
        depth: D of the mean test curve, as far as all seeds went.
        trainings: mean number of trainings, the dense one included, the teacher's not.
        teacher_trainings: of all teachers, as configured; None if that does not tell.
        macs_effective, macs_dense: mean of the selected models, per image; None if unmeasured.
    """

    accuracy: Spread
    interval: tuple[float, float] | None
    sparsity: float
    dense: float
    depth: float
    trainings: float
    teacher_trainings: int | None
    macs_effective: float | None
    macs_dense: float | None


def summarise(row: BoardRow) -> BoardSummary:
    """Summarise the seeds of a row."""
    curves = [entry.rounds for entry in row.seeds]
    best = [entry.best_round for entry in row.seeds]
    accuracies = [curve.test_accuracy[at] for curve, at in zip(curves, best)]
    shared = zip(*(curve.test_accuracy for curve in curves))
    told = spread(accuracies)
    assert told is not None
    return BoardSummary(
        accuracy=told,
        interval=interval(told),
        sparsity=statistics.fmean(curve.sparsity[at] for curve, at in zip(curves, best)),
        dense=statistics.fmean(curve.test_accuracy[0] for curve in curves),
        depth=descent([statistics.fmean(values) for values in shared]).depth,
        trainings=statistics.fmean(len(curve.sparsity) for curve in curves),
        teacher_trainings=_teachers(row),
        macs_effective=_mean([curve.macs_effective[at] for curve, at in zip(curves, best)]),
        macs_dense=_mean([curve.macs_dense[at] for curve, at in zip(curves, best)]),
    )


def interval(told: Spread) -> tuple[float, float] | None:
    """Return Student's 95 % interval of a mean, None for a single value.

    ``mean +- t(0.975, n - 1) * std / sqrt(n)``, which takes the seeds for independent; it is
    not cut to 0..1.
    """
    if told.std is None:
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(told.n - 1, (1 + LEVEL) / 2)) * told.std / math.sqrt(told.n)
    return told.mean - half, told.mean + half


def _teachers(row: BoardRow) -> int | None:
    counts = [part.teacher.trainings for part in row.method.regularizers if part.teacher]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
