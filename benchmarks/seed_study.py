"""How often do fresh seeds of the embedded experiment give the right verdict?

    dsd-bench run --seeds 0-71 --runs-dir RUNS
    dsd-bench run --seeds 0-71 --runs-dir RUNS --reg kd:teacher=best
    python benchmarks/seed_study.py RUNS [--size 6]

The entropy gate is replayed on the vanilla curves, which is what a run with it does. Three
tables in markdown: verdicts of disjoint sets, what the gate keeps, and the power for each size of a
set. Of another experiment the power alone, from all seeds of one of its runs:

    python benchmarks/seed_study.py docs/recorded/seeds --like docs/recorded/runs/RUN_ID

``docs/seeds.md`` holds them with their meaning.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import numpy.typing

from dsd_bench import configure
from dsd_bench.analysis import DOUBLE_DESCENT, Evidence, descent, dodge, images_tested, judge
from dsd_bench.config.naming import configuration_key
from dsd_bench.replay import Curve, replay, rule
from dsd_bench.store.runs import StoredRun, finished, load_run

SIZES = (3, 4, 5, 6, 8)
DRAWS = 400
"""Sets of real seeds drawn for each size; a share is then known to about 0.01 at 0.95."""

SIMULATED, REFITS = 3000, 200
"""Sets drawn from the model of the seeds, and how often that is fitted anew for its bound."""

FEWEST = 15
"""Seeds that a model of seeds needs."""

CLEAR = 1.5
"""A depth of that many thresholds is never taken for chance (none was, of thousands)."""

KEPT = 0.01
"""The gate keeps the sweet spot where it loses at most that much of a set's mean accuracy."""

Accuracies = Sequence[Sequence[float]]
Array = numpy.typing.NDArray[Any]


@dataclass(frozen=True)
class Kept:
    """What the gate does to one curve: accuracy lost, and whether the same round is selected."""

    lost: float
    same: bool
    stopped: bool


@dataclass(frozen=True)
class Power:
    """The probability that a set of fresh seeds says double descent, 0..1.

    Attributes:
        size: seeds of a set.
        model: in sets drawn from the model; ``bound``: its lower limit with 95 % confidence, as
            the model itself is fitted to a limited number of seeds.
        drawn: share of sets drawn from the seeds at hand.
    """

    size: int
    model: float
    bound: float
    drawn: float


class Model:
    """Whole curves of fresh seeds are normal, with the seeds' mean curve and covariance.

    Args:
        curves: ``(N, rounds)`` test accuracies, 0..1.
        n_test: images of the test set.
    """

    def __init__(self, curves: Accuracies, n_test: int) -> None:
        self.curves, self.n_test = numpy.array(curves), n_test
        self.draw = numpy.random.default_rng(0)

    def power(self, size: int) -> tuple[float, float]:
        """Return the probability that a set of ``size`` says double descent, and its lower bound.

        A set says so if its depth exceeds the threshold (drawn many times) and chance is small
        (drawn less often: that takes :func:`judge`, which is asked where it is in doubt). The bound
        comes from the first part, fitted anew to seeds drawn from those at hand.
        """
        deep = self._deep(self.curves, size, 100_000)
        count = len(self.curves)
        again = [self.curves[self.draw.integers(0, count, count)] for _ in range(REFITS)]
        refitted = [self._deep(one, size, 5_000) for one in again]
        sure = self._sure(size)
        return deep * sure, float(numpy.quantile(refitted, 0.05)) * sure

    def _normal(self, curves: Array, shape: tuple[int, ...], over: int = 1) -> Array:
        covariance = numpy.cov(curves.T) / over
        found: Array = self.draw.multivariate_normal(
            curves.mean(0), covariance, shape, method="svd"
        )
        return found

    def _deep(self, curves: Array, size: int, sets: int) -> float:
        """Return how often the mean of ``size`` fresh curves is deeper than its threshold."""
        return float((self._ratios(self._normal(curves, (sets,), size), size) > 1).mean())

    def _ratios(self, means: Array, size: int) -> Array:
        """Return depth / threshold of mean curves ``(sets, rounds)``."""
        before = numpy.maximum.accumulate(means, 1)[:, :-2]
        after = numpy.maximum.accumulate(means[:, ::-1], 1)[:, ::-1][:, 2:]
        depths = numpy.minimum(before, after) - means[:, 1:-1]
        place = (numpy.arange(len(means)), depths.argmax(1))
        bottom = means[:, 1:-1][place]
        found: Array = depths[place] / (
            4 * numpy.sqrt(bottom * (1 - bottom) / (self.n_test * size))
        )
        return found

    def _sure(self, size: int) -> float:
        """Return how often a set that is deep enough says double descent."""
        sets = self._normal(self.curves, (SIMULATED, size))
        ratios = self._ratios(sets.mean(1), size)
        doubted = [one.tolist() for one in sets[(ratios > 1) & (ratios < CLEAR)]]
        failed = sum(judge(one, self.n_test).verdict != DOUBLE_DESCENT for one in doubted)
        return 1 - failed / max(1, int((ratios > 1).sum()))


def fixed_depths(curves: Accuracies) -> list[float]:
    """Return each seed's depth in the rounds of the mean curve's dip."""
    means = [statistics.fmean(values) for values in zip(*curves)]
    found = descent(means)
    bottom = found.bottom or 0
    side = range(bottom) if found.fall <= found.rise else range(bottom + 1, len(means))
    top = max(side, key=means.__getitem__)
    return [curve[top] - curve[bottom] for curve in curves]


def read(runs_dir: Path, seeds: range, **options: object) -> list[StoredRun]:
    """Return the finished runs of the default recipe with ``options``, seed by seed."""
    paths = [runs_dir / configure(seed=seed, **options).run_id for seed in seeds]
    return [load_run(path) for path in paths if finished(path)]


def like(run: Path, *more: Path) -> list[StoredRun]:
    """Return the finished runs that differ from one in the seed alone, by seed.

    They lie beside it or in the folders ``more``.
    """
    key = configuration_key(load_run(run).config)
    paths = [path for folder in (run.parent, *more) for path in folder.iterdir()]
    runs = [load_run(path) for path in paths if finished(path)]
    found = {one.seed: one for one in runs if configuration_key(one.config) == key}
    return [found[seed] for seed in sorted(found)]


def gate(run: StoredRun) -> Kept:
    """Replay the default entropy gate on a vanilla curve."""
    config = configure(seed=run.seed)
    told = run.result or {}
    end = (str(told["stopped_by"]), str(told["reason"]))
    found = replay(Curve(config, run.rows, end, [0] * len(run.rows)), rule("entropy-gate"))
    return Kept(found.lost, found.best_round == found.whole_round, found.round < found.last)


def accuracies(runs: Sequence[StoredRun]) -> list[list[float]]:
    """Return the test curve of each run."""
    return [[float(row["test_accuracy"]) for row in run.rows] for run in runs]


def table(heads: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Return a table in markdown, numbers to the right."""
    rule_line = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in (heads, rule_line, *lines))


def sets(vanilla: list[StoredRun], distilled: list[StoredRun], size: int, n_test: int) -> str:
    """Return the verdicts of disjoint sets of ``size`` seeds, counted."""
    counted: dict[str, Counter[str]] = {"vanilla": Counter(), "kd:teacher=best": Counter()}
    kept: Counter[str] = Counter()
    starts = range(0, len(vanilla) - size + 1, size)
    for start in starts:
        place = slice(start, start + size)
        plain = judge(accuracies(vanilla[place]), n_test)
        counted["vanilla"][plain.verdict] += 1
        if distilled:
            counted["kd:teacher=best"][_dodged(accuracies(distilled[place]), plain, n_test)] += 1
        lost = statistics.fmean(gate(run).lost for run in vanilla[place])
        kept[f"loses {'at most' if lost <= KEPT else 'more than'} 1 point"] += 1
    lines = [(name, len(starts), _counts(counts)) for name, counts in counted.items() if counts]
    lines.append(("entropy gate", len(starts), _counts(kept)))
    return table(("runs", f"sets of {size}", "verdicts"), lines)


def _dodged(curves: Accuracies, plain: Evidence, n_test: int) -> str:
    return dodge(judge(curves, n_test), plain).verdict


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in counts.most_common())


def gates(vanilla: list[StoredRun]) -> str:
    """Return what the gate keeps, seed by seed."""
    found = [gate(run) for run in vanilla]
    lost = [one.lost for one in found]
    near = sum(one.lost <= KEPT for one in found)
    stopped, same = sum(one.stopped for one in found), sum(one.same for one in found)
    heads = ("seeds", "stopped early", "selects the same net", "loses at most 1 point", "mean lost")
    line = (len(found), stopped, same, near, f"{100 * statistics.fmean(lost):.2f} points")
    return table(heads, [line])


def powers(curves: Accuracies, n_test: int) -> list[Power]:
    """Return the power of each size of a set, by the model and by drawing sets."""
    model, draw, found = Model(curves, n_test), random.Random(0), []
    for size in SIZES:
        drawn = [judge(draw.sample(curves, size), n_test).verdict for _ in range(DRAWS)]
        found.append(Power(size, *model.power(size), drawn.count(DOUBLE_DESCENT) / DRAWS))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs_dir", type=Path)
    parser.add_argument("--size", type=int, default=6, help="seeds of a disjoint set (default: 6)")
    parser.add_argument("--seeds", type=int, default=72, help="0 to this, exclusive (default: 72)")
    parser.add_argument(
        "--like", type=Path, metavar="RUN", help="the power of its experiment alone"
    )
    given = parser.parse_args()
    seeds = range(given.seeds)
    vanilla = like(given.like, given.runs_dir) if given.like else read(given.runs_dir, seeds)
    distilled = [] if given.like else read(given.runs_dir, seeds, reg=["kd:teacher=best"])
    if len(vanilla) < FEWEST or len(distilled) not in (0, len(vanilla)):
        found = f"{len(vanilla)} vanilla, {len(distilled)} distilled runs"
        parser.error(f"{found}; expected {FEWEST} vanilla ones and as many distilled ones, or none")
    n_test = images_tested(vanilla) or 0
    depths = fixed_depths(accuracies(vanilla))
    chips = Counter(str((run.result or {})["plan"][0].get("chip")) for run in vanilla)
    whole = judge(accuracies(vanilla), n_test)
    print(f"{len(vanilla)} seeds ({_counts(chips)}): {whole.verdict}: {whole.reason}")
    mean, deviation = 100 * statistics.fmean(depths), 100 * statistics.stdev(depths)
    print(f"a seed's own depth there: {mean:.2f} ± {deviation:.2f} points\n")
    if not given.like:
        print(sets(vanilla, distilled, given.size, n_test), "\n")
        print(gates(vanilla), "\n")
    lines = [
        (one.size, *(f"{100 * share:.1f} %" for share in (one.model, one.bound, one.drawn)))
        for one in powers(accuracies(vanilla), n_test)
    ]
    print(table(("seeds", "model", "95 % lower bound", f"of {DRAWS} sets drawn"), lines))


if __name__ == "__main__":
    main()
