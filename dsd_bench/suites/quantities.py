"""What a table says of a cell, by name: a number for each seed, or a word on all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsd_bench.analysis import (
    Descent,
    Spread,
    descent,
    images_tested,
    peak,
    phase_of,
    phases,
    selected_round,
    spread,
    summarise,
)
from dsd_bench.boards.calibration import calibration
from dsd_bench.costs import macs_word
from dsd_bench.reports.fairness import fairness_of
from dsd_bench.store.runs import StoredRun

if TYPE_CHECKING:
    from dsd_bench.costs import Ledger
    from dsd_bench.store.checkpoint import Row

Cells = Sequence[Sequence[StoredRun]]
"""The finished runs of each of some cells."""

NOTHING = "–"
"""Stands where a cell has no number."""


@dataclass(frozen=True)
class Quantity:
    """A named number of one finished run.

    Attributes:
        title: the column's heading, with the unit.
        of: the number; None where the run does not have it.
        scale: what it is multiplied with to be shown (100 for fractions as percentages).
        digits: decimals that are shown.
        words: writes a number otherwise, such as MACs with a prefix.
    """

    title: str
    of: Callable[[StoredRun], float | None]
    scale: float = 1.0
    digits: int = 1
    words: Callable[[float], str] | None = None

    def over(self, runs: Sequence[StoredRun]) -> Spread | None:
        """Return mean and spread over seeds, in the shown unit; None where nobody has it."""
        values = [value for run in runs if (value := self.of(run)) is not None]
        return spread([self.scale * value for value in values])

    def say(self, runs: Sequence[StoredRun], others: Cells = ()) -> str:
        """Write mean and sample standard deviation; a dash where nobody has it."""
        return self.write(self.over(runs))

    def write(self, found: Spread | None) -> str:
        """Write a mean and its spread, both in the shown unit."""
        if found is None:
            return NOTHING
        write = self.words or (lambda value: f"{value:.{self.digits}f}")
        return write(found.mean) + ("" if found.std is None else f" ± {write(found.std)}")


@dataclass(frozen=True)
class Statement:
    """A named word on all finished runs of a cell together.

    Attributes:
        title: the column's heading.
        of: the word, from the runs and from those of the table's other cells (among which may be
            their vanilla twin); empty where nothing can be said.
    """

    title: str
    of: Callable[[Sequence[StoredRun], Cells], str]

    def over(self, runs: Sequence[StoredRun]) -> None:
        """A word has no mean."""

    def say(self, runs: Sequence[StoredRun], others: Cells = ()) -> str:
        """Write it."""
        return (self.of(runs, others) if runs else "") or NOTHING


def _selected(run: StoredRun) -> Row:
    return run.rows[selected_round(run) or 0]


def _oracle(run: StoredRun) -> Row:
    """Return the round with the highest test accuracy, the first of equals; empty without any."""
    tested = [row for row in run.rows if row["test_accuracy"] is not None]
    return max(tested, key=lambda row: float(row["test_accuracy"]), default={})


def _value(pick: Callable[[StoredRun], Row], column: str) -> Callable[[StoredRun], float | None]:
    return lambda run: pick(run).get(column)


def _first(run: StoredRun) -> Row:
    return run.rows[0]


def _last(run: StoredRun) -> Row:
    return run.rows[-1]


def _bottom(run: StoredRun) -> Row:
    """Return the round at the bottom of the seed's own dip; empty where nothing dips."""
    place = _dip(run).bottom
    return {} if place is None else run.rows[place]


def _sweet(run: StoredRun) -> Row:
    """Return the round that is best after the bottom, the first of equals; empty without a dip."""
    place = _dip(run).bottom
    after = [] if place is None else run.rows[place + 1 :]
    return max(after, key=lambda row: float(row["test_accuracy"]), default={})


def _dip(run: StoredRun) -> Descent:
    accuracies = [row["test_accuracy"] for row in run.rows]
    return Descent() if None in accuracies else descent(accuracies)


def _depth(run: StoredRun) -> float | None:
    accuracies = [row["test_accuracy"] for row in run.rows]
    return None if None in accuracies else descent(accuracies).depth


def _mean_depth(runs: Sequence[StoredRun], others: Cells) -> str:
    """Write the depth of the mean curve and the threshold that noise explains."""
    found = summarise(runs, images_tested(runs)).evidence
    limit = "" if found.threshold is None else f" ({100 * found.threshold:.1f})"
    return f"{100 * found.descent.depth:.1f}{limit}"


def _verdict(runs: Sequence[StoredRun], others: Cells) -> str:
    """Return the verdict and what must be said beside it: no interpolation, short trainings."""
    verdict = summarise(runs, images_tested(runs)).evidence.verdict
    fair = fairness_of([runs, *filter(None, others)])[0]
    return ", ".join(filter(None, (verdict, fair.mark)))


def _best_phase(runs: Sequence[StoredRun], others: Cells) -> str:
    """Return the phase in which the mean curve is highest."""
    found = summarise(runs, images_tested(runs))
    return phase_of(peak(found.shared), phases(found.shared, found.evidence)) or ""


def _best_validation(run: StoredRun) -> float | None:
    values = [row["val_accuracy"] for row in run.rows if row["val_accuracy"] is not None]
    return max(values, default=None)


def _ledger(run: StoredRun) -> Ledger:
    """Return what a run cost; only tables of costs import torch, which counts the models."""
    from dsd_bench.costs.ledger import read_ledger

    return read_ledger(run)


def _macs(run: StoredRun) -> float:
    return float(_ledger(run).dense)


def _macs_effective(run: StoredRun) -> float | None:
    return _ledger(run).effective


def _macs_teachers(run: StoredRun) -> float | None:
    """Return the MACs of the teachers' trainings up to the weights that taught."""
    teachers = _ledger(run).teachers
    if not teachers or any(teacher.ledger is None or not teacher.needed for teacher in teachers):
        return None
    return sum(
        training.dense
        for teacher in teachers
        if teacher.ledger
        for training in teacher.ledger.trainings[: teacher.needed]
    )


def _percent(title: str, of: Callable[[StoredRun], float | None], digits: int = 1) -> Quantity:
    return Quantity(f"{title} %", of, 100.0, digits)


def _calibration(pick: Callable[[StoredRun], Row]) -> Callable[[StoredRun], float | None]:
    """Return the expected calibration error on test of a round, where the metric measured it."""

    def found(run: StoredRun) -> float | None:
        told = calibration(run).get("ece")
        return told and told["test"][pick(run)["round"]]

    return found


def _count(number: float) -> str:
    return f"{number:,.0f}"


QUANTITIES: dict[str, Quantity | Statement] = {
    "dense": _percent("dense test", _value(_first, "test_accuracy")),
    "best": _percent("best test of the curve", _value(_oracle, "test_accuracy")),
    "best_sparsity": _percent("its sparsity", _value(_oracle, "sparsity"), 2),
    "best_weights": Quantity("its weights", _value(_oracle, "nonzero"), words=_count),
    "bottom_weights": Quantity("weights at the bottom", _value(_bottom, "nonzero"), words=_count),
    "sweet": _percent("sweet spot", _value(_sweet, "test_accuracy")),
    "sweet_weights": Quantity("weights there", _value(_sweet, "nonzero"), words=_count),
    "selected": _percent("selected test", _value(_selected, "test_accuracy")),
    "sparsity": _percent("selected sparsity", _value(_selected, "sparsity"), 2),
    "selected_weights": Quantity("selected weights", _value(_selected, "nonzero"), words=_count),
    "last": _percent("last test", _value(_last, "test_accuracy")),
    "last_sparsity": _percent("last sparsity", _value(_last, "sparsity"), 2),
    "best_val": _percent("best validation", _best_validation),
    "train": _percent("dense train", _value(_first, "train_accuracy")),
    "depth": _percent("D of a seed", _depth),
    "mean_depth": Statement("D of the mean (threshold) %", _mean_depth),
    "verdict": Statement("verdict", _verdict),
    "dense_loss": Quantity("dense test loss, nats", _value(_first, "test_loss"), digits=2),
    "loss": Quantity("selected test loss, nats", _value(_selected, "test_loss"), digits=2),
    "dense_ece": _percent("dense ECE", _calibration(_first)),
    "ece": _percent("selected ECE", _calibration(_selected)),
    "best_phase": Statement("phase of the best", _best_phase),
    "macs": Quantity("MACs", _macs, words=macs_word),
    "macs_effective": Quantity("effective MACs", _macs_effective, words=macs_word),
    "macs_teachers": Quantity("MACs of teachers", _macs_teachers, words=macs_word),
    "trainings": Quantity("trainings", lambda run: float(len(run.rows)), digits=1),
}
"""Every quantity by the name that suites use."""
