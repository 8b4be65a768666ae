"""How long trainings are, and how many rounds: as usual, or as many as a budget has time for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dsd_bench.compress.starting import Asked
from dsd_bench.costs.counting import Sizes
from dsd_bench.costs.timing import Pace
from dsd_bench.errors import UsageError
from dsd_bench.reports.words import duration, plural
from dsd_bench.training.schedule import steps_per_epoch

DENSE = {"given": 0, "tuned": 10, "fresh": 40}
"""Epochs of the original's training, by where it begins."""
RETRAIN = 8
"""Epochs after each pruning."""
ROUNDS = {False: 14, True: 8}
"""Prunings, unstructured and structured: to about 4 % and 1 % of the weights."""
LONGEST, LEAST_ROUNDS = 160, 3
"""Epochs that no budget exceeds (the paper's), and rounds below which there is no curve."""
KEPT_BACK = 0.1
"""Of a budget, for reading images, writing files, the export and the page."""


@dataclass(frozen=True)
class Lengths:
    """What is trained: epochs of the original, epochs of each round, rounds."""

    dense_epochs: int
    retrain_epochs: int
    rounds: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    @property
    def words(self) -> str:
        """Return it as a sentence."""
        dense, again = plural(self.dense_epochs, "epoch"), plural(self.retrain_epochs, "epoch")
        first = f"{dense} for the original, then " if self.dense_epochs else ""
        return f"{first}at most {plural(self.rounds, 'round')} of {again}"


@dataclass(frozen=True)
class Paces:
    """What was timed here.

    Attributes:
        sizes: of the data.
        batch: samples a step.
        original, curve: seconds of a step and of measuring an image, without and with a teacher.
    """

    sizes: Sizes
    batch: int
    original: Pace
    curve: Pace

    def seconds(self, lengths: Lengths) -> float:
        """Return how long both runs take, if no stop rule ends the second earlier."""
        steps = steps_per_epoch(self.sizes.train, min(self.batch, self.sizes.train))
        measured = self.sizes.measured
        first = lengths.dense_epochs * steps * self.original.step + measured * self.original.image
        each = lengths.retrain_epochs * steps * self.curve.step
        return first + lengths.rounds * each + (lengths.rounds + 1) * measured * self.curve.image


def usual(asked: Asked, kind: str) -> Lengths:
    """Return the lengths without a budget.

    Args:
        asked: by the user; lengths of theirs are taken.
        kind: where the original begins: ``given``, ``tuned`` or ``fresh``.
    """
    return Lengths(
        DENSE[kind] if asked.dense_epochs is None else asked.dense_epochs,
        asked.retrain_epochs or RETRAIN,
        asked.rounds or ROUNDS[asked.structured],
    )


def candidates(asked: Asked, kind: str) -> Iterator[Lengths]:
    """Yield lengths from the longest to the shortest that make sense; those asked for stay."""
    base = usual(asked, kind)
    longest = base.retrain_epochs if asked.retrain_epochs else LONGEST
    least = base.retrain_epochs if asked.retrain_epochs else 1
    for epochs in range(longest, least - 1, -1):
        yield Lengths(_dense(asked, base, epochs / base.retrain_epochs), epochs, base.rounds)
    if asked.rounds is None:
        for rounds in range(base.rounds - 1, LEAST_ROUNDS - 1, -1):
            yield Lengths(_dense(asked, base, least / base.retrain_epochs), least, rounds)


def _dense(asked: Asked, base: Lengths, share: float) -> int:
    if asked.dense_epochs is not None or not base.dense_epochs:
        return base.dense_epochs
    return min(LONGEST, math.ceil(base.dense_epochs * share))


def fit(asked: Asked, kind: str, paces: Paces) -> Lengths:
    """Return the longest lengths that the budget has time for.

    Epochs shrink (or grow) first, all in proportion, then rounds.

    Raises:
        UsageError: if not even the shortest fit: how long they would take, and what helps.
    """
    assert asked.budget is not None
    able = asked.budget * (1 - KEPT_BACK)
    lengths = None
    for lengths in candidates(asked, kind):
        if paces.seconds(lengths) <= able:
            return lengths
    assert lengths is not None
    needed = paces.seconds(lengths) / (1 - KEPT_BACK)
    raise UsageError(
        f"--budget: not even {lengths.words} fit into {duration(asked.budget)}: they would take "
        f"about {duration(needed)} here; think of a smaller --size or --model, a GPU (--device), "
        "or a longer --budget"
    )


def remembered(told: Mapping[str, Any]) -> Lengths | None:
    """Return lengths that were planned before, None if they cannot be read."""
    names = ("dense_epochs", "retrain_epochs", "rounds")
    values = [told.get(name) for name in names]
    if any(type(value) is not int or value < 0 for value in values):
        return None
    return Lengths(*(int(value) for value in values))  # type: ignore[arg-type]
