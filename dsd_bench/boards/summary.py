"""The numbers of a board: what one row says over its seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from dsd_bench.analysis import Evidence, Spread, judge, spread
from dsd_bench.analysis.evidence import Verdict
from dsd_bench.boards.schema import BoardRow, CheckedRow, CheckedSeed, Rounds
from dsd_bench.boards.spent import own_macs, teachers_macs
from dsd_bench.stopping import below

LEVEL = 0.95
"""Coverage of the intervals."""

SPARSITIES = (0.8, 0.9, 0.95, 0.98)
"""Where curves are read beside the selected round."""


@dataclass(frozen=True)
class Within:
    """The sparsest round that is as good as the best: its sparsity and mean test accuracy."""

    sparsity: float
    accuracy: float


@dataclass(frozen=True)
class BoardSummary:
    """One row in numbers; accuracies, sparsity and depth in 0..1.

    Attributes:
        accuracy: test accuracy of the selected models, over the seeds.
        interval: Student's interval of its mean; None for one seed.
        sparsity: mean of the selected models.
        dense: mean test accuracy of round 0.
        evidence: the dip of the mean test curve, as far as all seeds went.
        depth, verdict: its D, and what it shows.
        at: mean test accuracy of each seed's first round at least as sparse as each of
            ``SPARSITIES``; None where a seed has none.
        within: the sparsest round whose mean test accuracy is within one standard error of the
            highest mean; the error is that of the difference, over the seeds. None for one seed.
        ece: mean expected calibration error of the selected models on test; None if unmeasured.
        loss: mean test loss (cross-entropy) of the selected models; None if unmeasured.
        trainings: mean number of trainings, the dense one included, the teacher's not.
        teacher_trainings: of all teachers, as configured; None if that does not tell.
        training_macs: forward MACs of a run's trainings, dense, mean over the seeds; None if
            the row does not tell.
        teacher_macs: the same of all teachers; None if the row does not tell, 0 without any.
        macs_effective, macs_dense: mean of the selected models, per image; None if unmeasured.
    """

    accuracy: Spread
    interval: tuple[float, float] | None
    sparsity: float
    dense: float
    evidence: Evidence
    depth: float
    verdict: Verdict
    at: tuple[float | None, ...]
    within: Within | None
    ece: float | None
    loss: float | None
    trainings: float
    teacher_trainings: int | None
    training_macs: float | None
    teacher_macs: float | None
    macs_effective: float | None
    macs_dense: float | None


def summarise(row: BoardRow) -> BoardSummary:
    """Summarise the seeds of a row."""
    curves = [entry.rounds for entry in row.seeds]
    best = [entry.best_round for entry in row.seeds]
    accuracies = [curve.test_accuracy[at] for curve, at in zip(curves, best)]
    shared = [list(values) for values in zip(*(curve.test_accuracy for curve in curves))]
    told, dip = spread(accuracies), _evidence(row, shared)
    assert told is not None
    return BoardSummary(
        accuracy=told,
        interval=interval(told),
        sparsity=statistics.fmean(curve.sparsity[at] for curve, at in zip(curves, best)),
        dense=statistics.fmean(curve.test_accuracy[0] for curve in curves),
        evidence=dip,
        depth=dip.descent.depth,
        verdict=dip.verdict,
        at=tuple(_mean([_reached(curve, level) for curve in curves]) for level in SPARSITIES),
        within=_within(shared, [statistics.fmean(v) for v in zip(*(c.sparsity for c in curves))]),
        ece=_ece(row),
        loss=_mean([curve.test_loss[at] for curve, at in zip(curves, best)]),
        trainings=statistics.fmean(len(curve.sparsity) for curve in curves),
        teacher_trainings=_teachers(row),
        training_macs=own_macs(row),
        teacher_macs=teachers_macs(row),
        macs_effective=_mean([curve.macs_effective[at] for curve, at in zip(curves, best)]),
        macs_dense=_mean([curve.macs_dense[at] for curve, at in zip(curves, best)]),
    )


def _ece(row: BoardRow) -> float | None:
    """Return the mean error of the selected models, where one metric measured it for all seeds."""
    found = [(e.best_round, e.ece) for e in row.seeds if isinstance(e, CheckedSeed) and e.ece]
    if len(found) < len(row.seeds) or len({ece.metric for _, ece in found}) > 1:
        return None
    return statistics.fmean(ece.test[at] for at, ece in found)


def _evidence(row: BoardRow, shared: Sequence[Sequence[float]]) -> Evidence:
    """Judge the mean curve, as far as all seeds went."""
    images = row.seeds[0].samples.test if isinstance(row, CheckedRow) else None
    cut = any(entry.stopped_by == row.method.stop.name for entry in row.seeds)
    return judge([list(curve) for curve in zip(*shared)], images, cut)


def _reached(curve: Rounds, level: float) -> float | None:
    """Return the test accuracy of the first round that is at least so sparse."""
    there = (at for at, sparsity in enumerate(curve.sparsity) if not below(sparsity, level))
    found = next(there, None)
    return None if found is None else curve.test_accuracy[found]


def _within(shared: Sequence[Sequence[float]], sparsity: Sequence[float]) -> Within | None:
    means = [statistics.fmean(values) for values in shared]
    best = means.index(max(means))
    if len(shared[best]) < 2:
        return None
    last = best
    for at in range(best, len(means)):
        lost = spread([top - value for top, value in zip(shared[best], shared[at])])
        if lost and lost.std is not None and lost.mean <= lost.std / math.sqrt(lost.n):
            last = at
    return Within(sparsity[last], means[last])


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
