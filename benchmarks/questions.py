"""What docs/questions.md tells beyond a suite's table and plot: slopes, and another chooser.

``benchmarks/paper_page.py --page questions`` writes both into the page:

- how a number of weights that are left goes with the number at the start: a line through
  ln weights against ln start for each seed, and the mean of the seeds' slopes;
- what the chooser ``one-se`` would have returned instead of ``best``, of recorded runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import t

from dsd_bench.analysis import Spread, spread
from dsd_bench.boards.cells import table as markdown_table
from dsd_bench.costs import macs_word
from dsd_bench.replay.choices import Chosen, choose, way
from dsd_bench.replay.curves import read_rounds
from dsd_bench.replay.figure import draw as draw_tradeoff
from dsd_bench.store.runs import StoredRun
from dsd_bench.suites.quantities import NOTHING, QUANTITIES, Quantity
from dsd_bench.suites.results import Result

SIZES = {
    "bottom_weights": "bottom of the dip",
    "sweet_weights": "sweet spot",
    "best_weights": "best of the curve",
}
"""The numbers of weights whose slope is asked, and what a row calls them."""

LEVEL = 0.95
"""Of the intervals over the seeds."""

CHOOSER = "chooser"
"""The axis of a suite whose entries are choosers: all of them choose from the same curves."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with half the width of its interval, Student's at :data:`LEVEL`."""

    mean: float
    half: float
    n: int


def mean(values: Sequence[float]) -> Mean:
    """Return the mean of at least two ``values`` and its interval."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Mean(
        statistics.fmean(values),
        float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error,
        len(values),
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line of least squares through ln y against ln x."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    return statistics.linear_regression(*zip(*logs)).slope


def slopes(results: Iterable[Result], quantity: str) -> dict[int, float]:
    """Return each seed's slope of ``quantity`` against the weights of the dense network.

    A seed that lacks the number for a start, as it does not dip there, is fitted to the others; it
    needs three.
    """
    told = QUANTITIES[quantity]
    assert isinstance(told, Quantity)
    found: dict[int, list[tuple[float, float]]] = {}
    for result in results:
        for run in result.runs:
            value = told.of(run)
            if value is not None:
                found.setdefault(run.seed, []).append((run.rows[0]["nonzero"], value))
    return {seed: slope(points) for seed, points in found.items() if len(points) >= 3}


def slopes_table(results: Sequence[Result]) -> str:
    """Lay out the slopes of each noise: a row for each of :data:`SIZES`."""
    body = []
    for noise in dict.fromkeys(result.cell.labels["noise"] for result in results):
        chosen = [result for result in results if result.cell.labels["noise"] == noise]
        for quantity, title in SIZES.items():
            fit = mean(list(slopes(chosen, quantity).values()))
            ends = [_middle(chosen[place], quantity) for place in (0, -1)]
            low, high = fit.mean - fit.half, fit.mean + fit.half
            words = [f"{fit.mean:.2f}", f"{low:.2f} to {high:.2f}"]
            tenfold = f"{10**fit.mean:.2f} ({10**low:.2f} to {10**high:.2f})"
            body.append([noise, title, str(fit.n), *ends, *words, tenfold])
    starts = list(dict.fromkeys(result.cell.labels["start"] for result in results))
    heads = ["noise", "weights left at the", "n", f"from {starts[0]}", f"from {starts[-1]}"]
    heads += ["slope", f"{LEVEL:.0%} interval", "a start ten times as large: times"]
    return "\n".join(markdown_table(heads, "lllrrrrr", body)) + "\n"


def _middle(result: Result, quantity: str) -> str:
    """Write the geometric mean over the seeds."""
    told = QUANTITIES[quantity]
    assert isinstance(told, Quantity)
    values = [value for run in result.runs if (value := told.of(run)) is not None]
    return f"{statistics.geometric_mean(values):,.0f}" if values else NOTHING


Choices = list[tuple[StoredRun, Chosen]]


def choices(runs: Iterable[StoredRun], chooser: str = "one-se") -> Choices:
    """Return what ``chooser`` would have returned of the rounds that each run has."""
    found = []
    for run in runs:
        config, rows = read_rounds(run)
        found.append((run, choose(config, rows, way(chooser))))
    return found


def choosers_table(results: Sequence[Result]) -> str:
    """Lay out ``best`` beside ``one-se``: accuracy, sparsity, an image's MACs, and what changes."""
    curves = _curves(results)
    axes = [axis for axis in curves[0].cell.labels if axis != CHOOSER]
    heads = [*axes, "n"]
    for name in ("best", "one-se"):
        heads += [f"{name}: test %", "sparsity %", "MACs an image"]
    heads += ["weights saved %", f"points lost ({LEVEL:.0%} interval)"]
    body = []
    for result in curves:
        found = choices(result.runs)
        words = [*(result.cell.labels[axis] for axis in axes), result.n]
        words += _told(found, [chosen.best_round for _, chosen in found])
        words += _told(found, [chosen.round for _, chosen in found])
        saved = spread([100 * chosen.fewer for _, chosen in found])
        lost = mean([100 * chosen.lost for _, chosen in found])
        assert saved is not None
        low, high = lost.mean - lost.half, lost.mean + lost.half
        words += [
            f"{saved.mean:.0f} ± {saved.std:.0f}",
            f"{lost.mean:.1f} ({low:.1f} to {high:.1f})",
        ]
        body.append([word.replace("-0.0", "0.0") for word in words])
    return "\n".join(markdown_table(heads, "l" * (len(axes) + 1) + "r" * 8, body)) + "\n"


def _curves(results: Sequence[Result]) -> list[Result]:
    """Return the cells that have a spread; of those that differ in the chooser, only ``best``'s."""
    return [
        result
        for result in results
        if len(result.runs) > 1 and result.cell.labels.get(CHOOSER, "best") == "best"
    ]


def _told(found: Choices, rounds: Sequence[int]) -> list[str]:
    """Write accuracy, sparsity and an image's MACs of one round of each run."""
    rows = [run.rows[place] for (run, _), place in zip(found, rounds)]
    test = spread([100 * row["test_accuracy"] for row in rows])
    sparsity = spread([100 * row["sparsity"] for row in rows])
    macs = statistics.fmean(row["macs_effective"] for row in rows)
    assert test is not None
    assert sparsity is not None
    return [
        f"{test.mean:.1f} ± {test.std:.1f}",
        f"{sparsity.mean:.2f} ± {sparsity.std:.2f}",
        macs_word(macs),
    ]


def choosers_figure(results: Sequence[Result], path: Path) -> None:
    """Draw weights saved against points lost: a colour for each method, a number for each noise."""
    curves = _curves(results)
    points: dict[str, list[tuple[Spread, Spread]]] = {}
    for result in curves:
        found = choices(result.runs)
        fewer, lost = spread([c.fewer for _, c in found]), spread([c.lost for _, c in found])
        assert fewer is not None
        assert lost is not None
        points.setdefault(result.cell.labels["method"], []).append((fewer, lost))
    noises = dict.fromkeys(result.cell.labels["noise"] for result in curves)
    words = ", ".join(f"{place}: {noise} noise" for place, noise in enumerate(noises, 1))
    draw_tradeoff(points, path, "weights saved by one-se, %", "accuracy lost, points", words)
