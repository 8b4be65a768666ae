"""Which stop rule is safe? Rules replayed over every curve at hand: numbers, no training.

    python benchmarks/stop_study.py [--boards leaderboards] [--runs LABEL=RUN,RUN...]...
        [--rule WORD]...

Each rule stops each curve; *lost* is the test accuracy that the whole curve's choice by validation
has more than the choice among the rounds that the rule trains. Curves are those of the boards' rows
that no stop rule ended, apart by whether their method's mean curve shows double descent, and those
of run folders. The drop of each gate is tuned on the seeds of ``--tune`` (0-2): the one that loses
least in the mean over all groups, of equals (to 0.05 points) the one that saves most. What is
printed is of the other seeds; with ``--rule`` nothing is tuned, and it is of all seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from dsd_bench.analysis.evidence import DOUBLE_DESCENT
from dsd_bench.boards.check import find_rows
from dsd_bench.boards.ranking import rank
from dsd_bench.boards.replayed import WHOLE, methods_of
from dsd_bench.choosers.rules import best_of
from dsd_bench.config.layers import parse_seeds
from dsd_bench.replay import rule
from dsd_bench.replay.rules import Rule
from dsd_bench.store.runs import find_run, load_run

DROPS = {
    "entropy-gate": (0.02, 0.05, 0.1, 0.15, 0.2, 0.3),
    "interpolation-gate": (0.02, 0.05, 0.1, 0.15, 0.2, 0.3),
}
FIXED = ("patience", "patience:tolerance=0.05", "patience:tolerance=0.05,patience=3")
ALIKE = 0.05
"""Points of accuracy that are no reason to prefer one drop."""
FAR = 5.0
"""Points of accuracy whose loss counts as stopping in the dip."""


@dataclass(frozen=True)
class Curve:
    """One seed's curve: rows with the columns that rules read, and the selecting column."""

    group: str
    seed: int
    score: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Effect:
    """What a rule does to some curves.

    Attributes:
        lost: mean, in points of test accuracy; ``worst``: of a single curve.
        far: curves that lose more than :data:`FAR`.
        saved: mean share of the trainings, percent.
    """

    curves: int
    lost: float
    worst: float
    far: int
    saved: float


def board_curves(folder: Path) -> list[Curve]:
    """Return the curves of the rows below ``folder``."""
    found = []
    for rows in find_rows(folder).rows.values():
        for method in methods_of(rank(rows).lines):
            dips = method.evidence.verdict == DOUBLE_DESCENT
            group = "boards, double descent" if dips else "boards, no double descent"
            found += [Curve(group, c.entry.seed, c.score, c.rows) for c in method.curves]
    return found


def run_curves(label: str, words: Sequence[str]) -> list[Curve]:
    """Return the curves of run folders that went to their end."""
    runs = [load_run(find_run(word, Path("runs"))) for word in words]
    whole = [run for run in runs if run.result and run.result["stopped_by"] in WHOLE]
    return [Curve(label, run.seed, run.score, run.rows) for run in whole]


def effect(one: Rule, curves: Sequence[Curve]) -> Effect:
    """Replay a rule."""
    lost, saved = [], []
    for curve in curves:
        end = one.built.first(list(curve.rows), curve.score)
        count = len(curve.rows) if end is None else end + 1
        scores = [row[curve.score] for row in curve.rows]
        tests = [row["test_accuracy"] for row in curve.rows]
        lost.append(100 * (tests[best_of(scores)] - tests[best_of(scores[:count])]))
        saved.append(100 * (1 - count / len(curve.rows)))
    far = sum(value > FAR for value in lost)
    return Effect(len(curves), fmean(lost), max(lost), far, fmean(saved))


def tuned(name: str, groups: Mapping[str, Sequence[Curve]]) -> Rule:
    """Return the gate with the drop that loses least in the mean over the groups."""
    rules = [rule(f"{name}:drop={drop}") for drop in DROPS[name]]
    losses, saves = [], []
    for one in rules:
        effects = [effect(one, curves) for curves in groups.values()]
        losses.append(fmean(found.lost for found in effects))
        saves.append(fmean(found.saved for found in effects))
    good = [place for place, lost in enumerate(losses) if lost <= min(losses) + ALIKE]
    return rules[max(good, key=lambda place: saves[place])]


def grouped(curves: Sequence[Curve], seeds: Sequence[int], within: bool) -> dict[str, list[Curve]]:
    """Return the curves by group whose seeds are (or are not) among ``seeds``."""
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        if (curve.seed in seeds) == within:
            found.setdefault(curve.group, []).append(curve)
    return found


def table(rules: Sequence[Rule], groups: Mapping[str, Sequence[Curve]]) -> str:
    """Return markdown: a line for each rule and group."""
    lines = [
        "| curves | n | rule | lost | worst | over 5 points | trainings saved, % |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for group, curves in groups.items():
        for one in rules:
            found = effect(one, curves)
            lines.append(
                f"| {group} | {found.curves} | `{one.word}` | {found.lost:.2f} | {found.worst:.1f} "
                f"| {found.far} | {found.saved:.1f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=Path, default=Path("leaderboards"))
    parser.add_argument("--runs", action="append", default=[], metavar="LABEL=RUN,RUN...")
    parser.add_argument("--tune", default="0-2", help="seeds that choose the drops")
    parser.add_argument("--rule", action="append", default=[], help="only this one, all seeds")
    given = parser.parse_args()
    curves = board_curves(given.boards)
    for told in given.runs:
        label, _, words = told.partition("=")
        curves += run_curves(label, words.split(","))
    if given.rule:
        print(table([rule(word) for word in given.rule], grouped(curves, (), False)), end="")
        return 0
    seeds = parse_seeds(given.tune)
    before, after = (grouped(curves, seeds, within) for within in (True, False))
    gates = [tuned(name, before) for name in DROPS]
    usual = [rule(name) for name in DROPS]
    words = {one.word: one for one in [*map(rule, FIXED), *usual, *gates]}
    print(table(list(words.values()), after), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
