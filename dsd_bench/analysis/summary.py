"""What the seeds of one configuration say together: the dip, the sweet spot, what was selected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd_bench.analysis.curves import Point, Spread, mean_curve, shared_part, spread
from dsd_bench.analysis.descent import Descent
from dsd_bench.analysis.evidence import CANNOT_TELL, DOUBLE_DESCENT, Evidence, judge
from dsd_bench.analysis.measures import peak
from dsd_bench.errors import UsageError

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun


def selected_round(run: StoredRun) -> int | None:
    """Return the selected round: as recorded, or of an unfinished run the best so far.

    Of equally good rounds the first counts. None where nothing was scored.

    Raises:
        UsageError: if what is recorded is no round of the run.
    """
    recorded = run.result.get("best_round") if run.result else None
    if recorded is not None:
        if not any(row["round"] == recorded for row in run.rows):
            raise UsageError(
                f"{run.path / 'result.json'}: best_round is {recorded!r}, which is no round of the "
                "run; the file was changed"
            )
        return int(recorded)
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


NOTHING_LEFT = "nothing-left"
"""What ``stopped_by`` of a result says where every layer was down to its last weight."""


@dataclass(frozen=True)
class Stopped:
    """A seed that ended early: its last round, why, and the trainings that it did not need.

    ``saved`` is None where the number of rounds was not fixed beforehand, or nothing was left to
    prune; ``by`` is the stop rule's name, or ``nothing-left``: then the curve is a whole one.
    """

    seed: int
    round: int
    reason: str
    saved: int | None
    by: str = ""

    @property
    def cut(self) -> bool:
        """Whether a rule ended a curve that could have gone on."""
        return self.by != NOTHING_LEFT


@dataclass(frozen=True)
class Summary:
    """What the seeds of one configuration say together.

    Attributes:
        column: the accuracy that is looked at: ``test_accuracy``, or ``val_accuracy`` where
            there is no test part.
        selection: ``val`` or ``test``: what selected the models.
        seeds: runs with at least one round.
        curve: the mean curve; later rounds may have fewer seeds (``Point.n``).
        shared: the part of ``curve`` that all seeds reached; ``evidence`` is of it.
        dense: of round 0.
        selected: one for each seed.
        selected_accuracy: over the seeds.
        evidence: whether the shared curve shows double descent.
        dip: its bottom, None where nothing dips.
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
    evidence: Evidence
    dip: Point | None
    sweet: Point | None
    stopped: list[Stopped]

    @property
    def descent(self) -> Descent:
        """The descent of the shared mean curve."""
        return self.evidence.descent

    @property
    def threshold(self) -> float | None:
        """The depth that noise explains; None without ``n_test`` or without a dip."""
        return self.evidence.threshold

    @property
    def double_descent(self) -> bool | None:
        """Whether the curve shows double descent; None: cannot tell."""
        verdict = self.evidence.verdict
        return None if verdict == CANNOT_TELL else verdict == DOUBLE_DESCENT


def summarise(runs: Sequence[StoredRun], n_test: int | None = None) -> Summary:
    """Summarise the seeds of one configuration; runs without any round are left out.

    Args:
        runs: they differ in their seeds only.
        n_test: images of the test set; without it no threshold of the depth is known.
    """
    started = [run for run in runs if run.rows]
    column = accuracy_column(started)
    curve = mean_curve([run.rows for run in started], column)
    shared = shared_part(curve, len(started))
    stopped = [end for run in started if (end := _stopped(run))]
    size = n_test if column == "test_accuracy" else None
    evidence = judge(_accuracies(started, shared, column), size, any(end.cut for end in stopped))
    bottom = evidence.descent.bottom
    dip = None if bottom is None else shared[bottom]
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
        evidence=evidence,
        dip=dip,
        sweet=peak(shared, dip.round if dip and evidence.verdict == DOUBLE_DESCENT else -1),
        stopped=stopped,
    )


def _accuracies(
    runs: Sequence[StoredRun], shared: Sequence[Point], column: str
) -> list[list[float]]:
    """Return of each run the accuracies of the rounds that all have."""
    rounds = {point.round for point in shared}
    return [[row[column] for row in run.rows if row["round"] in rounds] for run in runs]


def images_tested(runs: Iterable[StoredRun]) -> int | None:
    """Return the size of the test part if all finished runs agree on it, else None.

    Raises:
        UsageError: if a result does not tell it.
    """
    sizes = {_tested(run) for run in runs if run.result}
    return sizes.pop() if len(sizes) == 1 else None


def _tested(run: StoredRun) -> int:
    samples = (run.result or {}).get("samples")
    size = samples.get("test") if isinstance(samples, dict) else None
    if not isinstance(size, int):
        raise UsageError(f"{run.path / 'result.json'}: samples.test is no number of images")
    return size


def accuracy_column(runs: Iterable[StoredRun]) -> str:
    """Return ``test_accuracy`` if any run measured it, else ``val_accuracy``."""
    tested = any(row.get("test_accuracy") is not None for run in runs for row in run.rows)
    return "test_accuracy" if tested else "val_accuracy"


def _dense(runs: Sequence[StoredRun], column: str) -> Spread | None:
    rows = [run.rows[0] for run in runs if run.rows[0]["round"] == 0]
    return spread([row[column] for row in rows if row.get(column) is not None])


def _selected(run: StoredRun, column: str) -> Selected | None:
    best = selected_round(run)
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
    spared = by != NOTHING_LEFT and planned is not None
    return Stopped(run.seed, last, reason, planned - last if spared else None, str(by))
