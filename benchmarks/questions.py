"""What docs/questions.md tells beyond a suite's table and plot: slopes, and another chooser.

``benchmarks/paper_page.py --page questions`` writes them into the page:

- how a number of weights that are left goes with the number at the start: a line through
  ln weights against ln start for each seed, and the mean of the seeds' slopes;
- how many of each layer's weights are left at a dip's bottom, and which labels are still fitted;
- what is right, how sure the network is of it, and the loss, round by round;
- what the chooser ``one-se`` would have returned instead of ``best``, of recorded runs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy.stats import t

from dsd_bench.analysis import descent, mean_curve, spread
from dsd_bench.boards.cells import table as markdown_table
from dsd_bench.costs import macs_word
from dsd_bench.figures import GREY, Look, figure, legend, look, save, scale_x
from dsd_bench.figures.curves import factor
from dsd_bench.replay.choices import Chosen, choose, way
from dsd_bench.replay.curves import read_rounds
from dsd_bench.store.further import measured_rows
from dsd_bench.store.runs import StoredRun
from dsd_bench.suites.quantities import NOTHING, QUANTITIES, Quantity
from dsd_bench.suites.results import Result

SIZES = {
    "bottom_weights": "bottom of the dip",
    "sweet_weights": "sweet spot",
    "best_weights": "best of the curve",
}
"""The numbers of weights whose slope is asked, and what a row calls them."""

FITS = {
    "train_accuracy_noisy": "wrong labels fitted %",
    "train_accuracy_clean": "right labels fitted %",
}
"""Columns of rows that say how much of the train labels a network has, and their headings."""

SURE = {
    "test_accuracy": "right %",
    "ece.test_confidence": "sure %",
    "ece.test_ece": "ECE %",
    "test_loss": "loss, nats",
}
"""Columns of measured rows, all of the test part, and their headings."""

AGAINST = {
    "depth": "D of a seed against the first",
    "best": "best test against the first",
    "last": "last test against the first",
}
"""Quantities whose differences from the first cell are told, in points, and their headings."""

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


def layers_table(results: Sequence[Result]) -> str:
    """Lay out what is left of each layer, which labels are fitted, and differences of the curves.

    The first two are of the round at the bottom of the first cell's mean curve. The differences
    from that cell are those of the same seeds, with their interval.
    """
    first = results[0].runs
    place = descent([p.mean for p in mean_curve([run.rows for run in first])]).bottom or 0
    names = list(first[0].rows[place]["sparsity_per_layer"])
    axes = list(results[0].cell.labels)
    body = []
    for result in filter(lambda result: result.runs, results):
        rows = [run.rows[place] for run in result.runs]
        gone = [statistics.fmean(row["sparsity_per_layer"][name] for row in rows) for name in names]
        fits = [statistics.fmean(row[key] for row in rows) for key in FITS]
        shares = [f"{100 * share:.1f}" for share in [*(1 - share for share in gone), *fits]]
        differences = [_against(result.runs, first, quantity) for quantity in AGAINST]
        body.append([*result.cell.labels.values(), result.n, *shares, *differences])
    left = statistics.fmean(1 - run.rows[place]["sparsity"] for run in first)
    heads = [f"layer {number}: left %" for number in range(1, len(names) + 1)]
    heads = [*axes, f"n (round {place}, {100 * left:.1f} % left)", *heads, *FITS.values()]
    heads += AGAINST.values()
    side = "l" * (len(axes) + 1) + "r" * (len(heads) - len(axes) - 1)
    return "\n".join(markdown_table(heads, side, body)) + "\n"


def sure_table(results: Sequence[Result]) -> str:
    """Lay out :data:`SURE`, means over the seeds: a row for every second round."""
    curves = [[measured_rows(run) for run in result.runs] for result in results]
    count = min(len(rows) for seeds in curves for rows in seeds)
    body = []
    for place in range(0, count, 2):
        sparsity = statistics.fmean(rows[place]["sparsity"] for rows in curves[0])
        words = [str(place), f"{100 * sparsity:.1f}"]
        for seeds in curves:
            for column in SURE:
                value = factor(column) * statistics.fmean(rows[place][column] for rows in seeds)
                words.append(f"{value:.2f}" if factor(column) == 1 else f"{value:.1f}")
        body.append(words)
    names = [f"{result.cell.name}: {title}" for result in results for title in SURE.values()]
    heads = ["round", "sparsity %", *names]
    return "\n".join(markdown_table(heads, "r" * len(heads), body)) + "\n"


def _against(runs: Iterable[StoredRun], others: Iterable[StoredRun], quantity: str) -> str:
    """Write how much more of a quantity, in its unit, runs have than others of the same seeds."""
    told = QUANTITIES[quantity]
    assert isinstance(told, Quantity)
    base = {run.seed: told.of(run) for run in others}
    pairs = [(told.of(run), base.get(run.seed)) for run in runs]
    found = [told.scale * (x - y) for x, y in pairs if x is not None and y is not None]
    if len(found) < 2 or not any(found):
        return NOTHING
    more = mean(found)
    return f"{more.mean:+.1f} ({more.mean - more.half:.1f} to {more.mean + more.half:.1f})"


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
    """Draw accuracy over the weights left: from ``best``'s choice (hollow) to ``one-se``'s (full).

    A panel for each noise, a colour for each method; thick between the means of the seeds, thin for
    each seed.
    """
    curves = _curves(results)
    noises = list(dict.fromkeys(result.cell.labels["noise"] for result in curves))
    methods = list(dict.fromkeys(result.cell.labels["method"] for result in curves))
    with figure(190, 80, 1, len(noises), sharey=False) as (fig, [axes]):
        lines: dict[str, Line2D] = {}
        for result in curves:
            place = methods.index(result.cell.labels["method"])
            axis = axes[noises.index(result.cell.labels["noise"])]
            lines[methods[place]] = _from_best(
                axis, choices(result.runs), look(place), methods[place]
            )
        for axis, noise in zip(axes, noises):
            axis.set_title(f"noise {noise}")
            scale_x(axis, "weights")
        ends = [end for axis in axes for end in axis.get_xlim()]
        for axis in axes:
            axis.set_xlim(max(ends), min(ends))
        axes[0].set_ylabel("test accuracy, %")
        legend(fig, [lines[method] for method in methods], columns=2)
        words = (
            "hollow: chosen by best, full: by one-se; thick: mean over the seeds, thin: one seed"
        )
        fig.suptitle(words, x=0.01, ha="left", fontsize=7, color=GREY)
        save(fig, path)


def _from_best(axis: Axes, found: Choices, chosen: Look, label: str) -> Line2D:
    """Draw the choices of one method's seeds and return the line of their mean."""
    pairs = [
        ((c.best_nonzero, c.nonzero), (100 * c.best_accuracy, 100 * c.accuracy)) for _, c in found
    ]
    for x, y in pairs:
        axis.plot(x, y, color=chosen.colour, linewidth=0.5, alpha=0.5)
        axis.plot(x[1], y[1], color=chosen.colour, marker=".", markersize=2)
    weights = [statistics.geometric_mean(x[end] for x, _ in pairs) for end in (0, 1)]
    accuracies = [statistics.fmean(y[end] for _, y in pairs) for end in (0, 1)]
    (line,) = axis.plot(
        weights, accuracies, color=chosen.colour, marker=chosen.mark, label=label, zorder=3
    )
    axis.plot(
        weights[0], accuracies[0], color=chosen.colour, marker=chosen.mark,
        markerfacecolor="white", linestyle="none", zorder=4,
    )  # fmt: skip
    return line
