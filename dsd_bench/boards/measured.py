"""Whether what a row says was measured can have been: counts, losses and costs of its rounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from dsd_bench.boards.built_in import built_in
from dsd_bench.boards.schema import CheckedSeed, MethodConfig, Rounds, SeedResult

LEAST_LOSS = 0.99 * math.log(2)
"""Least cross-entropy of an image that is wrong: another class is at least as likely as its own.

Sums in low precision round, hence not all of it."""


def macs(method: MethodConfig, entry: SeedResult) -> Iterator[str]:
    """Yield what costs cannot be: more than dense ones, or growing while weights only go.

    Weights that come back elsewhere (an updater, a pruner of a plugin) may cost more than before.
    """
    dense, effective = entry.rounds.macs_dense, entry.rounds.macs_effective
    if len(set(dense)) > 1:
        yield "rounds.macs_dense: not the same in all rounds"
    for place, (whole_, part) in enumerate(zip(dense, effective)):
        if part is not None and (whole_ is None or part > whole_):
            yield f"rounds.macs_effective.{place}: {part} of {whole_}"
    known = [part for part in effective if part is not None]
    if len(known) < len(effective):
        if known:
            yield "rounds.macs_effective: null in some rounds; a network's MACs are known or not"
        return
    if effective[0] != dense[0]:
        yield f"rounds.macs_effective.0: {effective[0]}, but a dense network uses all {dense[0]}"
    if built_in("pruner", method.pruner.name) and method.updater is None:
        for place, (before, now) in enumerate(pairwise(known), start=1):
            if now > before:
                yield f"rounds.macs_effective.{place}: {now}, but the round before has {before}"


def counts(entry: CheckedSeed) -> Iterator[str]:
    """Yield which accuracies are no k of n images."""
    samples, rounds = entry.samples, entry.rounds
    if samples.noisy > samples.train:
        yield f"samples.noisy: {samples.noisy} of {samples.train}"
        return
    parts = {
        "train_accuracy": samples.train,
        "train_accuracy_clean": samples.train - samples.noisy,
        "train_accuracy_noisy": samples.noisy,
        "val_accuracy": samples.val,
        "test_accuracy": samples.test,
    }
    wrong, right = False, dict[str, list[int | None]]()
    for column, images in parts.items():
        right[column] = [images_right(value, images) for value in getattr(rounds, column)]
        for place, count in enumerate(right[column]):
            if count is None:
                wrong = True
                value = getattr(rounds, column)[place]
                yield f"rounds.{column}.{place}: {value} is no number of {images} images"
    if wrong:
        return
    for place, (every, clean, noisy) in enumerate(zip(*list(right.values())[:3])):
        if every != (clean or 0) + (noisy or 0):
            yield (
                f"rounds.train_accuracy.{place}: {every} images right, but {clean} with clean "
                f"and {noisy} with noisy labels"
            )


def images_right(accuracy: float | None, images: int) -> int | None:
    """Return how many of ``images`` are right, 0 where there are none; None if that is no count."""
    if accuracy is None or not images:
        return 0 if accuracy is None and not images else None
    right = round(accuracy * images)
    return right if right / images == accuracy else None


def losses(rounds: Rounds) -> Iterator[str]:
    """Yield which losses do not fit their accuracies, and columns that only some rounds have."""
    for part in ("train", "val", "test"):
        pairs = zip(getattr(rounds, f"{part}_loss"), getattr(rounds, f"{part}_accuracy"))
        for place, (loss, accuracy) in enumerate(pairs):
            at = f"rounds.{part}_loss.{place}"
            if (loss is None) != (accuracy is None):
                yield f"{at}: {_told(loss)}, but the accuracy is {_told(accuracy)}"
            elif loss is not None and accuracy is not None and loss < LEAST_LOSS * (1 - accuracy):
                wrong = f"{100 * (1 - accuracy):.2f} % of the images are wrong"
                yield f"{at}: {loss}, but {wrong}, and each of them adds ln 2 at the least"
    if None in rounds.entropy and set(rounds.entropy) != {None}:
        place = rounds.entropy.index(None)
        yield f"rounds.entropy.{place}: null, but a network has rectifiers in all rounds or in none"


def _told(value: float | None) -> str:
    return "null" if value is None else str(value)
