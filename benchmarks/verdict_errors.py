"""How often are verdicts on double descent wrong: ``python -m benchmarks.verdict_errors``.

Test curves are simulated that are flat, or flat and then falling, with a scatter of each training
that rounds do not share, and seen through test images drawn anew. The scatter is equal in all
rounds, or *grows* along the curve from 0.3 to 1.7 times its mean, or *lasts*: neighbouring rounds
correlate by 0.6, as the recorded runs on real images do (what remains of vanilla curves when each
seed's level and each round's mean are taken off). docs/analysis.md has the table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy
from numpy.random import Generator
from numpy.typing import NDArray

from dsd_bench.analysis import DOUBLE_DESCENT, judge

ROUNDS = 21
LASTS = 0.6
SHAPES = {
    "flat": numpy.full(ROUNDS, 0.65),
    "flat, then falling": numpy.r_[numpy.full(11, 0.65), numpy.linspace(0.65, 0.4, 10)],
}
LINES: tuple[tuple[str, int, int, float, str], ...] = (
    ("flat", 1, 597, 0.0, ""), ("flat", 1, 597, 0.02, ""), ("flat", 1, 10_000, 0.01, ""),
    ("flat", 1, 10_000, 0.005, "lasts"), ("flat", 2, 597, 0.02, ""), ("flat", 3, 597, 0.0, ""),
    ("flat", 3, 597, 0.02, ""), ("flat", 6, 597, 0.02, ""), ("flat", 6, 597, 0.02, "grows"),
    ("flat", 5, 10_000, 0.01, ""), ("flat", 5, 10_000, 0.01, "grows"),
    ("flat", 5, 10_000, 0.01, "lasts"), ("flat, then falling", 3, 597, 0.0, ""),
    ("flat, then falling", 3, 597, 0.02, ""), ("flat, then falling", 6, 597, 0.02, ""),
)  # fmt: skip


def scatter(random: Generator, seeds: int, size: float, kind: str = "") -> NDArray[Any]:
    """Return what trainings add to each round, (seeds, rounds), of mean deviation ``size``."""
    found = random.standard_normal((seeds, ROUNDS))
    if kind == "lasts":
        for place in range(1, ROUNDS):
            found[:, place] *= (1 - LASTS**2) ** 0.5
            found[:, place] += LASTS * found[:, place - 1]
    if kind == "grows":
        found *= numpy.linspace(0.3, 1.7, ROUNDS)
    return size * found


def wrong(
    random: Generator, curves: int, shape: str, seeds: int, images: int, size: float, kind: str = ""
) -> float:
    """Return the share of ``curves``, each of so many seeds, that are called double descent."""
    found = 0
    for _ in range(curves):
        true = numpy.clip(SHAPES[shape] + scatter(random, seeds, size, kind), 0, 1)
        seen = random.binomial(images, true) / images
        found += judge(seen.tolist(), images).verdict == DOUBLE_DESCENT
    return found / curves


def main(words: Sequence[str] | None = None) -> None:
    """Print the table of docs/analysis.md."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verdict_errors", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--curves", type=int, default=1000, help="simulated curves a line (1000)")
    curves = parser.parse_args(words).curves
    random = numpy.random.default_rng(0)
    print("| truth | seeds, test images | scatter of trainings | says double descent |")
    print("| --- | --- | --- | --- |")
    for shape, seeds, images, size, kind in LINES:
        share = wrong(random, curves, shape, seeds, images, size, kind)
        points = f"{100 * size:g} point{'' if size == 0.01 else 's'}" if size else "none"
        told = f"{points}, {kind}" if kind else points
        print(f"| {shape} | {seeds}, {images:,} | {told} | {100 * share:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
