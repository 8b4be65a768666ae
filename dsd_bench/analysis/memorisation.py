"""Where pruned nets stop fitting wrong labels, beside their entropy and the dip of the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsd_bench.analysis.curves import Spread, crossing, spread
from dsd_bench.analysis.descent import descent
from dsd_bench.stopping.rules import gate_opened
from dsd_bench.store.checkpoint import Row

HALF = 0.5
"""Wrong labels are forgotten where their fit is below that share of the dense net's."""

FITS = 0.5
"""A dense net memorises if it answers at least that share of the wrong labels as given."""

DROP = 0.05
"""Relative drop of the entropy that counts as its fall, as the entropy gate has it."""


@dataclass(frozen=True)
class Forgetting:
    """What one seed's curve says; None: it does not happen, or was not measured.

    Attributes:
        seed: the run's seed.
        dense_fit: share of the wrong labels that the dense net answers as given.
        forgets: whether the net memorises when dense and stops to later.
        round: the place of the crossing between rounds, 8.3 being between 8 and 9.
        sparsity: of the crossing.
        clean_fit: share of the right labels that are answered so in the first round after it.
        entropy_round: the first round whose entropy has fallen by more than ``DROP``.
        bottom_round: of this seed's own dip in the test accuracy.
    """

    seed: int
    dense_fit: float
    forgets: bool
    round: float | None
    sparsity: float | None
    clean_fit: float | None
    entropy_round: int | None
    bottom_round: int | None


@dataclass(frozen=True)
class Memorisation:
    """The seeds together; every spread is over those seeds where the thing happens.

    Attributes:
        seeds: one entry each.
        dense_fit: of the wrong labels.
        round: in which half of the fit is gone.
        sparsity: likewise.
        entropy_after: rounds from there to the entropy's fall; negative: it falls before.
        bottom_after: rounds from there to the bottom of the seed's own dip.
    """

    seeds: tuple[Forgetting, ...]
    dense_fit: Spread | None
    round: Spread | None
    sparsity: Spread | None
    entropy_after: Spread | None
    bottom_after: Spread | None


def memorisation(
    rows: Sequence[tuple[int, Sequence[Row]]], column: str = "test_accuracy"
) -> Memorisation | None:
    """Find where nets stop fitting wrong labels; None where no label is known to be wrong.

    The fit of wrong labels is ``train_accuracy_noisy``: the share of the mislabelled training
    images that the net answers with their given label. A net that knows the truth has 0. Half of
    the dense net's fit is the place, interpolated in the logarithm of the density; of several
    crossings the first counts.

    Args:
        rows: for each seed (seed, its rows).
        column: the accuracy whose dip is looked at.
    """
    known = [(seed, one) for seed, one in rows if one and _noisy(one[0]) is not None]
    if not known:
        return None
    seeds = tuple(_forgetting(seed, one, column) for seed, one in known)
    return Memorisation(
        seeds,
        spread([one.dense_fit for one in seeds]),
        spread([one.round for one in seeds if one.round is not None]),
        spread([one.sparsity for one in seeds if one.sparsity is not None]),
        spread([lag for one in seeds if (lag := _lag(one, one.entropy_round)) is not None]),
        spread([lag for one in seeds if (lag := _lag(one, one.bottom_round)) is not None]),
    )


def _forgetting(seed: int, rows: Sequence[Row], column: str) -> Forgetting:
    dense = float(rows[0]["train_accuracy_noisy"])
    level = HALF * dense
    place = next((i for i, row in enumerate(rows) if _below(row, level)), None)
    at = sparsity = clean = None
    if dense >= FITS and place is not None:
        before, after = rows[place - 1], rows[place]
        high, low = float(before["train_accuracy_noisy"]), float(after["train_accuracy_noisy"])
        at = before["round"] + (high - level) / (high - low)
        sparsity = crossing((before["sparsity"], high), (after["sparsity"], low), level)
        clean = after.get("train_accuracy_clean")
    return Forgetting(
        seed, dense, at is not None, at, sparsity, clean, _entropy_fall(rows), _bottom(rows, column)
    )


def _noisy(row: Row) -> float | None:
    return row.get("train_accuracy_noisy")


def _below(row: Row, level: float) -> bool:
    value = _noisy(row)
    return value is not None and value < level


def _entropy_fall(rows: Sequence[Row]) -> int | None:
    """Return the round in which the gate's entropy has fallen; None if it never does."""
    known = [(int(row["round"]), row["entropy"]) for row in rows if row.get("entropy") is not None]
    opened = gate_opened([entropy for _, entropy in known], DROP) if known else None
    return None if opened is None else known[opened][0]


def _bottom(rows: Sequence[Row], column: str) -> int | None:
    known = [row for row in rows if row.get(column) is not None]
    bottom = descent([row[column] for row in known]).bottom
    return None if bottom is None else int(known[bottom]["round"])


def _lag(one: Forgetting, place: int | None) -> float | None:
    return None if one.round is None or place is None else place - one.round
