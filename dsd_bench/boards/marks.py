"""What a reader must know of a line beside its numbers: the marks of a board."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from dsd_bench.analysis.fairness import INTERPOLATES, Fairness, unfit
from dsd_bench.analysis.fairness import stopped_early as stopped
from dsd_bench.boards.schema import BoardRow, CheckedRow
from dsd_bench.components import Component
from dsd_bench.perturbers.builtin import register_perturbers

ON_TEST = "†"
STOPPED_EARLY = "‡"
OLD = "§"
MIXED = "¶"
PERHAPS = f"({STOPPED_EARLY})"

LEGEND = {
    STOPPED_EARLY: "stopped early: each round trains from weights that were set back, for fewer "
    "epochs than the dense training has (see Schedule). That alone keeps wrong labels out, so the "
    "line is no evidence that pruning, or dodging the dip, did it.",
    PERHAPS: "perhaps stopped early: half of the weights do not fit the labels that all of them "
    "fit, so too few epochs may keep wrong labels out, not too few weights: longer rounds would "
    "tell. Or each round trains for fewer epochs than the dense training, and it is not known here "
    "whether the method's perturber sets the weights back.",
    OLD: "schema 1: made by the first release; its run ids, counts and bits cannot be checked.",
    MIXED: "mixed: its seeds were not all computed under the same conditions (see below), so the "
    "same runs may give other numbers elsewhere.",
}
"""What each mark means."""

_BACK = ("pruner", "perturber")
"""What may set weights back."""


def stopped_early(row: BoardRow) -> bool | None:
    """Whether a row's later trainings are no whole ones; None where that is not known.

    Only built-in perturbers are known here: a board must not depend on what is installed.
    """
    epochs = {key: row.track.schedule.get(key) for key in ("dense_epochs", "retrain_epochs")}
    if not all(isinstance(value, int) for value in epochs.values()):
        return None
    parts = {key: getattr(row.method, key).model_dump(mode="json") for key in _BACK}
    early = stopped({"protocol": epochs, **parts}, _lookup)
    suspected = early is False and not row.method.regularizers and unfit(_seeds(row))
    return None if suspected else early


def _seeds(row: BoardRow) -> list[list[dict[str, Any]]]:
    """Return what :func:`unfit` reads of each seed."""
    return [
        [
            {"round": number, "sparsity": sparsity, "train_accuracy": fit}
            for number, (sparsity, fit) in enumerate(
                zip(entry.rounds.sparsity, entry.rounds.train_accuracy, strict=True)
            )
        ]
        for entry in row.seeds
    ]


def _lookup(kind: str, name: str) -> Component | None:
    found = (part for part in register_perturbers() if (kind, part.name) == ("perturber", name))
    return next(found, None)


def mixed(row: BoardRow) -> list[str]:
    """Return what differs among the conditions under which a row's seeds were computed."""
    return row.mixed if isinstance(row, CheckedRow) else []


def marks(row: BoardRow) -> list[str]:
    """Return the marks that stand behind a method's name on its board."""
    early = {True: [STOPPED_EARLY], None: [PERHAPS], False: []}[stopped_early(row)]
    old = [] if isinstance(row, CheckedRow) else [OLD]
    return [*early, *old, *([MIXED] if mixed(row) else [])]


def legend(shown: Iterable[str]) -> list[str]:
    """Say what some marks mean, each once, in their order; [] if there is none."""
    used = set(shown)
    return [f"{mark} {text}" for mark, text in LEGEND.items() if mark in used]


def interpolation(rows: Sequence[BoardRow]) -> str:
    """Say whether the dense network of a track fits its labels (not escaped).

    The dense network of a row without regularizers, with the track's own optimiser and schedule,
    is that of the vanilla method: neither pruner nor perturber nor stop rule touch the first
    training.
    """
    fits = {
        entry.seed: entry.rounds.train_accuracy[0]
        for row in rows
        if not (row.method.regularizers or row.method.optimizer or row.method.schedule)
        for entry in row.seeds
    }
    known = [accuracy for accuracy in fits.values() if accuracy is not None]
    if known and (fit := statistics.fmean(known)) >= INTERPOLATES:
        return f"fits {100 * fit:.1f} % of its labels: it interpolates"
    (note,) = Fairness(
        fit=statistics.fmean(known) if known else None,
        fit_of="twin" if fits else None,
        interpolates=False if known else None,
        stopped_early=False,
        epochs=(0, 0),
    ).notes
    return note
