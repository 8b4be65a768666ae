"""How high the peak behind a dip is: ``python benchmarks/peaks.py SUITE [--scale cpu]``.

For each cell of a suite whose runs are recorded in docs/recorded/runs: the mean test accuracy of
the dense network, of the bottom of the mean curve, of the peak behind it and of the last round, in
percent, and the differences peak - dense and last - peak, in points, with Student's interval at
95 % over the seeds. Sentences of docs/paper.md quote them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.paper_page import RECORDED, load
from benchmarks.questions import mean
from dsd_bench.analysis.descent import descent


def change(curves: Sequence[Sequence[float]], later: int, sooner: int) -> str:
    """Return by how much the seeds' curves differ between two rounds, in points."""
    found = mean([100 * (curve[later] - curve[sooner]) for curve in curves])
    low, high = found.mean - found.half, found.mean + found.half
    return f"{found.mean:.1f} ({low:.1f} to {high:.1f})"


def told(curves: Sequence[Sequence[float]]) -> str:
    """Return what there is to say of equally long curves, accuracies in 0..1."""
    means = [statistics.fmean(column) for column in zip(*curves, strict=True)]
    low = descent(means).bottom
    if low is None:
        return f"dense {100 * means[0]:.1f}, no dip"
    last = len(means) - 1
    peak = max(range(low + 1, len(means)), key=means.__getitem__)
    places = {"dense": 0, "bottom": low, "peak": peak, "last": last}
    heights = ", ".join(f"{name} {100 * means[at]:.1f} ({at})" for name, at in places.items())
    up, down = change(curves, peak, 0), change(curves, last, peak)
    return f"{heights}; peak - dense {up}, last - peak {down}"


def main() -> None:
    """Print a line for each cell of two seeds or more that no stop rule ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--scale", choices=["small", "cpu"], default="cpu")
    parser.add_argument("--runs-dir", type=Path, default=RECORDED)
    given = parser.parse_args()
    _, found = load(given.suite, given.scale, given.runs_dir)
    for result in found:
        curves = [[row["test_accuracy"] for row in run.rows] for run in result.runs]
        if len(curves) > 1 and len(set(map(len, curves))) == 1:
            print(f"{result.cell.name}: {told(curves)}")


if __name__ == "__main__":
    main()
