"""What a curve over seeds says: mean and spread, the dip, the sweet spot, what was selected.

Pure functions of the rows of finished or unfinished runs; accuracies are in 0..1 throughout.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Descent:
    """The deepest dip of a curve.

    Attributes:
        depth: D, the smaller one of ``fall`` and ``rise``; 0 where nothing dips.
        bottom: position of the dip's bottom in the curve; None where nothing dips.
        fall: from the best before the bottom down to it.
        rise: from the bottom up to the best after it.
    """

    depth: float = 0.0
    bottom: int | None = None
    fall: float = 0.0
    rise: float = 0.0


def descent(accuracies: Sequence[float]) -> Descent:
    """Measure how far a curve falls and recovers.

    ``D = max_j [ min( max_{i<j} a_i, max_{k>j} a_k ) - a_j ]``; of equally deep bottoms the
    first counts. Curves that only rise, only fall, or rise and then fall have D = 0.

    Args:
        accuracies: the curve, dense training first.
    """
    best = Descent()
    before = -math.inf
    after = _suffix_maxima(accuracies)
    for position, value in enumerate(accuracies):
        fall, rise = before - value, after[position] - value
        if min(fall, rise) > best.depth:
            best = Descent(min(fall, rise), position, fall, rise)
        before = max(before, value)
    return best


def _suffix_maxima(values: Sequence[float]) -> list[float]:
    """Return for each position the largest value after it, ``-inf`` for the last."""
    found, largest = [], -math.inf
    for value in reversed(values):
        found.append(largest)
        largest = max(largest, value)
    return found[::-1]


def depth_threshold(accuracy: float, n_test: int, seeds: int) -> float:
    """Return the depth that a curve without double descent hardly exceeds by chance.

    ``4 * sqrt( p (1 - p) / (n_test * seeds) )``: a curve that is flat and then falls, seen
    through binomial noise, dips by up to about that much.

    Args:
        accuracy: p, the mean accuracy at the bottom of the dip.
        n_test: images of the test set.
        seeds: runs that the curve is the mean of.
    """
    return 4.0 * math.sqrt(accuracy * (1.0 - accuracy) / (n_test * seeds))


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for a single value) of ``n`` values."""

    mean: float
    std: float | None
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and spread of ``values``, None if there are none."""
    if not values:
        return None
    mean = statistics.fmean(values)
    return Spread(mean, _deviation(values, mean), len(values))


def _deviation(values: Sequence[float], mean: float) -> float | None:
    """Return the sample standard deviation (``statistics.stdev`` is 20 times slower)."""
    if len(values) < 2:
        return None
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True)
class Point:
    """One round of a mean curve.

    Attributes:
        round: its index; 0 is the dense training.
        sparsity: mean over the seeds.
        mean, std: of the quantity; ``std`` is the sample's, None for one seed.
        low, high: the smallest and the largest of the seeds.
        n: seeds that reached this round and measured the quantity.
    """

    round: int
    sparsity: float
    mean: float
    std: float | None
    low: float
    high: float
    n: int


def mean_curve(runs_rows: Iterable[Sequence[Row]], column: str = "test_accuracy") -> list[Point]:
    """Average a column over seeds, round by round; rounds that nobody measured are left out.

    Args:
        runs_rows: for each seed its rows.
        column: a scalar column of ``rounds.jsonl``.
    """
    found: dict[int, list[Row]] = {}
    for rows in runs_rows:
        for row in rows:
            if row.get(column) is not None:
                found.setdefault(row["round"], []).append(row)
    return [_point(index, rows, column) for index, rows in sorted(found.items())]


def _point(index: int, rows: Sequence[Row], column: str) -> Point:
    values = [float(row[column]) for row in rows]
    mean = statistics.fmean(values)
    return Point(
        round=index,
        sparsity=statistics.fmean(row["sparsity"] for row in rows),
        mean=mean,
        std=_deviation(values, mean),
        low=min(values),
        high=max(values),
        n=len(values),
    )


def best_round(run: StoredRun) -> int | None:
    """Return the selected round: as recorded, or of an unfinished run the best so far.

    Of equally good rounds the first counts. None where nothing was scored.
    """
    if run.result and run.result.get("best_round") is not None:
        return int(run.result["best_round"])
    scored = [row for row in run.rows if row.get(run.score) is not None]
    return max(scored, key=lambda row: row[run.score])["round"] if scored else None


@dataclass(frozen=True)
class Selected:
    """The model that one seed keeps: its round, sparsity and accuracy (None if not measured)."""

    run_id: str
    seed: int
    round: int
    sparsity: float
    accuracy: float | None


@dataclass(frozen=True)
class Stopped:
    """A seed that ended early: its last round, why, and the trainings that it did not need.

    ``saved`` is None where the number of rounds was not fixed beforehand.
    """

    seed: int
    round: int
    reason: str
    saved: int | None


@dataclass(frozen=True)
class Summary:
    """What the seeds of one configuration say together.

    Attributes:
        column: the accuracy that is looked at: ``test_accuracy``, or ``val_accuracy`` where
            there is no test part.
        selection: ``val`` or ``test``: what selected the models.
        seeds: runs with at least one round.
        curve: the mean curve; later rounds may have fewer seeds (``Point.n``).
        shared: the part of ``curve`` that all seeds reached; ``descent`` is measured on it.
        dense: of round 0.
        selected: one for each seed.
        selected_accuracy: over the seeds.
        descent: of the shared mean curve.
        dip: its bottom, None where nothing dips.
        threshold: the depth that noise explains; None without ``n_test`` or without a dip.
        double_descent: whether the depth exceeds the threshold; None: cannot tell.
        sweet: the peak after the dip if it is double descent, else the best of the curve.
        stopped: seeds that a stop rule ended, or that had nothing left to prune.
    """

    column: str
    selection: str
    seeds: int
    curve: list[Point]
    shared: list[Point]
    dense: Spread | None
    selected: list[Selected]
    selected_accuracy: Spread | None
    descent: Descent
    dip: Point | None
    threshold: float | None
    double_descent: bool | None
    sweet: Point | None
    stopped: list[Stopped]


def summarise(runs: Sequence[StoredRun], n_test: int | None = None) -> Summary:
    """Summarise the seeds of one configuration; runs without any round are left out.

    Args:
        runs: they differ in their seeds only.
        n_test: images of the test set; without it no threshold of the depth is known.
    """
    started = [run for run in runs if run.rows]
    column = accuracy_column(started)
    curve = mean_curve([run.rows for run in started], column)
    shared = [point for point in curve if point.n == len(started)]
    dip = descent([point.mean for point in shared])
    bottom = None if dip.bottom is None else shared[dip.bottom]
    threshold = None
    if bottom and n_test and column == "test_accuracy":
        threshold = depth_threshold(bottom.mean, n_test, len(started))
    verdict = _verdict(dip, threshold) if shared else None
    selected = [chosen for run in started if (chosen := _selected(run, column))]
    return Summary(
        column=column,
        selection=started[0].config["protocol"]["selection"] if started else "val",
        seeds=len(started),
        curve=curve,
        shared=shared,
        dense=_dense(started, column),
        selected=selected,
        selected_accuracy=spread([one.accuracy for one in selected if one.accuracy is not None]),
        descent=dip,
        dip=bottom,
        threshold=threshold,
        double_descent=verdict,
        sweet=_peak(shared, after=bottom.round if bottom and verdict else -1),
        stopped=[end for run in started if (end := _stopped(run))],
    )


def accuracy_column(runs: Iterable[StoredRun]) -> str:
    """Return ``test_accuracy`` if any run measured it, else ``val_accuracy``."""
    tested = any(row.get("test_accuracy") is not None for run in runs for row in run.rows)
    return "test_accuracy" if tested else "val_accuracy"


def _verdict(dip: Descent, threshold: float | None) -> bool | None:
    if dip.bottom is None:
        return False
    return None if threshold is None else dip.depth > threshold


def _peak(curve: Sequence[Point], after: int) -> Point | None:
    """Return the highest point later than round ``after``, the first of equals."""
    return max((point for point in curve if point.round > after), key=_mean, default=None)


def _mean(point: Point) -> float:
    return point.mean


def _dense(runs: Sequence[StoredRun], column: str) -> Spread | None:
    rows = [run.rows[0] for run in runs if run.rows[0]["round"] == 0]
    return spread([row[column] for row in rows if row.get(column) is not None])


def _selected(run: StoredRun, column: str) -> Selected | None:
    best = best_round(run)
    row = next((row for row in run.rows if row["round"] == best), None)
    if row is None:
        return None
    return Selected(run.run_id, run.seed, row["round"], row["sparsity"], row.get(column))


def _stopped(run: StoredRun) -> Stopped | None:
    """Tell how a run ended before its last round; None if it is unfinished or went all the way."""
    by = run.result.get("stopped_by") if run.result else None
    if run.result is None or by in (None, "rounds", "target-sparsity"):
        return None
    last, planned = run.rows[-1]["round"], run.config["protocol"].get("rounds")
    reason = str(run.result.get("reason") or by)
    return Stopped(run.seed, last, reason, None if planned is None else planned - last)
