"""The figure of ``dsd-bench analyze``: accuracy with its phases, memorisation, entropy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsd_bench.analysis import Phase, mean_curve
from dsd_bench.figures.curves import Groups, legend, stacked
from dsd_bench.figures.phases import shade_phases
from dsd_bench.figures.style import figure, save

_BELOW = ("train_accuracy_noisy", "entropy")


def save_study(
    path: Path, groups: Groups, column: str, phases: Sequence[Phase] = (), title: str = ""
) -> None:
    """Draw accuracy, fit of wrong labels and entropy of some configurations above each other.

    Args:
        path: ``.svg``, ``.pdf`` or ``.png``.
        groups: label -> for each seed its rows.
        column: the accuracy.
        phases: what all panels are tinted with.
        title: above the figure.

    Raises:
        UsageError: see :func:`dsd_bench.figures.save`.
    """
    below = [name for name in _BELOW if any(mean_curve(rows, name) for rows in groups.values())]
    columns = [column, *below]
    height = 14 + 42 * len(columns) + 4 * len(groups)
    with figure(120, height, rows=len(columns), sharex="col") as (fig, axes):
        panels = [row[0] for row in axes]
        lines = stacked(panels, groups, columns)
        for place, axis in enumerate(panels):
            shade_phases(axis, phases, names=place == 0)
        if title:
            fig.suptitle(title, fontsize=8.5, fontweight="bold")
        if len(groups) > 1:
            legend(fig, lines, columns=1)
        save(fig, path)
