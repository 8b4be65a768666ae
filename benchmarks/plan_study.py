"""How far do boards' figures move when the same runs are computed under other conditions?

    python benchmarks/plan_study.py RUNS RUNS-AVX2 ...

Each folder holds the same runs, at least five seeds a method, computed under conditions of its own.
Two markdown tables: how far the figures that `dsd-bench verify` tests move between two conditions,
and how often it contradicts rows that are honest, or raised by so much; docs/boards.md has both.
Reruns are drawn from the method's own differences, each either way round.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from dsd_bench.boards.agreement import FIGURES, again, deviation, differences_of, scatter
from dsd_bench.boards.reruns import seed_of
from dsd_bench.boards.schema import CheckedRow, CheckedSeed
from dsd_bench.config.naming import label
from dsd_bench.plugins import catalogue
from dsd_bench.store.runs import finished, load_run, stored_ids

DRAWS = 4000
RAISED = (0.0, 0.03, 0.05, 0.08)


@dataclass
class Method:
    """A method's differences between two conditions, by figure, and the bounds of its rows."""

    seeds: int = 0
    same: int = 0
    apart: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})
    bounds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in FIGURES})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    methods = compare([read(folder) for folder in parser.parse_args().folders])
    names = [f"{name}: moves | bound" for name in FIGURES]
    print(f"| method | pairs | same numbers | {' | '.join(names)} |")
    print(f"| --- | ---: | ---: | {' | '.join(4 * ['---:'])} |")
    for name, one in methods.items():
        cells = [f"{100 * root(part[f]):.2f}" for f in FIGURES for part in (one.apart, one.bounds)]
        pairs = len(next(iter(one.apart.values())))
        print(f"| {name} | {pairs} | {one.same} | {' | '.join(cells)} |")
    words = " | ".join(f"raised by {100 * value:g} points" for value in RAISED[1:])
    print(f"\n| seeds run again | honest | {words} |")
    print(f"| ---: | {' | '.join(len(RAISED) * ['---:'])} |")
    for seeds in (1, 2, 3, 6):
        rates = [contradicted(list(methods.values()), seeds, value) for value in RAISED]
        print(f"| {seeds} | {' | '.join(f'{100 * rate:.1f} %' for rate in rates)} |")


def read(folder: Path) -> dict[str, dict[int, CheckedSeed]]:
    """Return the finished runs of a folder by method and seed."""
    found: dict[str, dict[int, CheckedSeed]] = {}
    for run_id in stored_ids(folder):
        if finished(folder / run_id):
            run = load_run(folder / run_id)
            entry = seed_of(run)
            found.setdefault(label(run.config, catalogue().find), {})[entry.seed] = entry
    return found


def compare(folders: Sequence[dict[str, dict[int, CheckedSeed]]]) -> dict[str, Method]:
    """Compare each two folders, method by method."""
    methods: dict[str, Method] = {}
    for one, other in itertools.combinations(folders, 2):
        for name in sorted(one.keys() & other.keys()):
            if one[name].keys() != other[name].keys():
                continue
            method = methods.setdefault(name, Method())
            row = cast(CheckedRow, Row(list(one[name].values())))
            reruns = [again(one[name][seed], other[name][seed]) for seed in one[name]]
            method.seeds = len(reruns)
            method.same += sum(rerun.difference is None for rerun in reruns)
            for figure, values in differences_of(row, reruns).items():
                method.apart[figure] += values
            for figure, bound in scatter(row).items():
                method.bounds[figure] += [bound] if bound is not None else []
    return methods


@dataclass
class Row:
    """What of a row the tests read."""

    seeds: Sequence[CheckedSeed]


def root(values: Sequence[float]) -> float:
    """Return the root of the mean square."""
    return math.sqrt(statistics.fmean(value**2 for value in values))


def contradicted(methods: Sequence[Method], seeds: int, raised: float) -> float:
    """Return how often a row is contradicted that is above its reruns by ``raised`` in the mean."""
    draw, found = random.Random(0), 0
    for method in methods:
        for _ in range(DRAWS):
            at = [draw.randrange(len(method.apart[next(iter(FIGURES))])) for _ in range(seeds)]
            signs = [draw.choice((-1, 1)) for _ in at]
            tests = [
                deviation(
                    [sign * method.apart[name][i] + raised for i, sign in zip(at, signs)],
                    draw.choice(method.bounds[name]),
                    method.seeds - 1,
                )
                for name in FIGURES
            ]
            found += any(test is not None and test.contradicts for test in tests)
    return found / DRAWS / len(methods)


if __name__ == "__main__":
    main()
