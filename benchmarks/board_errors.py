"""How often boards tell equal methods apart: ``python -m benchmarks.board_errors``.

Methods are simulated down to their answers on single images, as the embedded data has them: 1,797
images of which each seed tests 597, drawn anew, so that test sets overlap; three in ten images are
hard, and a method has its own chance on each of these, the same for all seeds. Methods scatter
between seeds by 1.6 points (what retraining the digits gives), some more and some less, and a seed
moves all of them. Equal methods have equal chances over the whole data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.random import Generator
from numpy.typing import NDArray

from dsd_bench.boards.ties import Comparison, compare, disagreements

IMAGES, TESTED = 1797, 597
HARD = 0.3
SEEDS_SCATTER = 0.016
LEVEL_SCATTER = 0.01


def board(
    random: Generator,
    methods: int,
    seeds: int,
    spread: float = 0.4,
    ahead: float = 0.0,
    same_images: bool = False,
) -> Comparison:
    """Simulate one board and compare its methods.

    Args:
        random: draws it.
        methods: how many, all equal but for ``ahead``.
        seeds: of each method.
        spread: of the logarithm of the methods' standard deviations between seeds.
        ahead: how much better the first method is, in 0..1.
        same_images: whether all seeds test the same images, as on CIFAR.
    """
    scatter = SEEDS_SCATTER * numpy.exp(random.normal(0, spread, methods))
    count = TESTED if same_images else IMAGES
    hard = random.random(count) < HARD
    own = numpy.clip(random.normal(0, 0.12, (methods, count)), -0.25, 0.25) * hard
    own -= hard * (own.sum(axis=1) / hard.sum())[:, None]
    own[0] += hard * ahead / HARD
    answers = [_answers(random, own, hard, scatter) for _ in range(seeds)]
    accuracies = numpy.stack([one.mean(axis=1) for one in answers], axis=1)
    return compare(accuracies, disagreements(numpy.concatenate(answers, axis=1)), seeds * TESTED)


def _answers(
    random: Generator, own: NDArray[numpy.float64], hard: NDArray[numpy.bool_],
    scatter: NDArray[numpy.float64],
) -> NDArray[numpy.bool_]:  # fmt: skip
    """Return which of one seed's test images each method gets right."""
    tested = random.permutation(len(hard))[:TESTED]
    level = random.normal(0, 1, len(own)) * scatter + random.normal(0, LEVEL_SCATTER)
    chance = 0.5 + own[:, tested] + level[:, None] / HARD
    chance = numpy.where(hard[tested], chance, 1.0)
    return random.random(chance.shape) < chance


def told_apart(boards: int, random: Generator, methods: int, seeds: int, **kind: Any) -> float:
    """Return the share of boards of equal methods on which any two are told apart."""
    return sum(
        bool(board(random, methods, seeds, **kind).better.any())
        for _ in range(boards)
    ) / boards  # fmt: skip


def seen(boards: int, random: Generator, methods: int, seeds: int, ahead: float) -> float:
    """Return how often a method that is ``ahead`` is told from a given other one."""
    hits = [board(random, methods, seeds, ahead=ahead).better[0, 1:] for _ in range(boards)]
    return float(numpy.mean(hits))


def visible(boards: int, random: Generator, methods: int, seeds: int) -> float:
    """Return the difference, in steps of half a point, that is seen in 80 % of boards."""
    ahead = 0.01
    while seen(boards, random, methods, seeds, ahead) < 0.8:
        ahead += 0.005
    return ahead


def main(words: Sequence[str] | None = None) -> None:
    """Print the table of docs/boards.md."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.board_errors", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--boards", type=int, default=1000, help="simulated boards a line (1000)")
    options = parser.parse_args(words)
    random = numpy.random.default_rng(0)
    print("| methods | seeds | scatter | test images | told apart though equal | seen in 80 % |")
    print("| ---: | ---: | --- | --- | ---: | ---: |")
    for methods, seeds, spread, same in (
        (2, 5, 0.4, False), (2, 6, 0.4, False), (10, 6, 0.4, False), (20, 5, 0.4, False),
        (20, 6, 0.0, False), (20, 6, 0.4, False), (20, 6, 0.4, True),
    ):  # fmt: skip
        kind = {"spread": spread, "same_images": same}
        share = told_apart(options.boards, random, methods, seeds, **kind)
        power = visible(max(options.boards // 10, 1), random, methods, seeds)
        told = "equal" if spread == 0 else "unequal"
        which = "the same" if same else "overlapping"
        print(
            f"| {methods} | {seeds} | {told} | {which} | {100 * share:.1f} % "
            f"| {100 * power:.1f} points |",
            flush=True,
        )


if __name__ == "__main__":
    main()
