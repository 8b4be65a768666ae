"""Whether the selected round of a row is the one that its method's chooser chooses.

``best`` and ``max-drop`` follow from the row's columns and are asked. ``one-se`` compares images,
of which a row holds the dense and the selected network's bits alone: so it is held to what the
accuracies allow, and to the bits where the dense network is the best one. What a chooser of a
plugin, or of another version, would choose is not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsd_bench.boards.built_in import made
from dsd_bench.boards.schema import CheckedSeed, SeedResult
from dsd_bench.choosers import Chooser
from dsd_bench.choosers.rules import best_of, bits_of, within
from dsd_bench.config.run import LATER, ComponentConfig


def wrong(chosen: ComponentConfig | None, entry: SeedResult, score: str) -> str | None:
    """Return what contradicts the selected round of ``entry``; None if nothing does.

    Args:
        chosen: the chooser of the row's method; None: ``best``.
        entry: one seed, whose column ``score`` has no null.
        score: the column that selects.
    """
    scores, last = getattr(entry.rounds, score), len(entry.rounds.sparsity) - 1
    if entry.best_round > last:
        return f"{entry.best_round}, but the last round is {last}"
    if chosen is None:
        best = best_of(scores)
        told = f"the first of the best {score} is {best}"
        return None if entry.best_round == best else f"{entry.best_round}, but {told}"
    chooser: Chooser | None = made("chooser", chosen)
    if chooser is None or chosen.name in LATER["chooser"]:
        return None
    if chosen.name == "one-se":
        return _not_within(entry, scores, score.removesuffix("_accuracy"))
    rows = [
        {"round": place, "sparsity": sparsity, score: value}
        for place, (sparsity, value) in enumerate(zip(entry.rounds.sparsity, scores))
    ]
    expected = chooser.choose(rows, score)
    told = f"'{chosen.name}' chooses {expected}"
    return None if entry.best_round == expected else f"{entry.best_round}, but {told}"


def _not_within(entry: SeedResult, scores: Sequence[float], part: str) -> str | None:
    """Return what speaks against ``one-se``.

    Of a round that gets ``d`` images fewer right than the best, between ``d`` and ``d + 2 * m`` are
    right in one of the two only, where ``m`` is the lesser of what this round gets right and the
    best one wrong. It is within one standard error if ``d**2`` is at most that number: surely for
    ``d <= 1``, surely not above ``d + 2 * m``.
    """
    if not isinstance(entry, CheckedSeed):
        return None
    images: int = getattr(entry.samples, part)
    right = [round(value * images) for value in scores]
    best, place = best_of(list(scores)), entry.best_round
    behind = [right[best] - one for one in right]
    for later in range(place + 1, len(right)):
        if behind[later] <= 1:
            return f"{place}, but round {later} is sparser and within one standard error of {best}"
    most = behind[place] + 2 * min(right[place], images - right[best])
    bits = [_bits(entry, which, part) for which in ("dense", "selected")]
    outside = best == 0 and None not in bits and not within(*bits)  # type: ignore[arg-type]
    if behind[place] ** 2 > most or outside:
        return f"{place}, which is not within one standard error of round {best}"
    return None


def _bits(entry: CheckedSeed, which: str, part: str) -> int | None:
    text: Any = getattr(getattr(entry.correct, which), part)
    try:
        return bits_of(text)
    except ValueError:
        return None
