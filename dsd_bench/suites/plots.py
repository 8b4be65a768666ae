"""A suite's figure: a panel for each combination of some axes, a line for each of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsd_bench.analysis import Row
from dsd_bench.suites.cells import SEPARATOR
from dsd_bench.suites.results import Result
from dsd_bench.suites.schema import Suite

Panels = dict[str, dict[str, list[Sequence[Row]]]]
"""Panel title -> line label -> the rows of each seed."""

WIDEST = 4
"""Panels side by side where they are not stacked."""


def panels(suite: Suite, results: Sequence[Result]) -> Panels:
    """Sort results into panels and lines; every panel lists every line, some without runs."""
    titles, lines = [], []
    for result in results:
        labels = result.cell.labels
        inner = {name: label for name, label in labels.items() if name not in suite.plot.panels}
        outer = {name: label for name, label in labels.items() if name in suite.plot.panels}
        titles.append(SEPARATOR.join(outer.values()))
        lines.append(SEPARATOR.join(inner.values()))
    found: Panels = {title: {line: [] for line in dict.fromkeys(lines)} for title in titles}
    for result, title, line in zip(results, titles, lines):
        found[title][line] += [run.rows for run in result.runs]
    return found


def draw(suite: Suite, results: Sequence[Result], path: Path) -> None:
    """Draw the suite's figure into ``path`` (.svg or .png).

    Raises:
        UsageError: for another suffix.
    """
    from dsd_bench.figures import figure, legend, panel_curves, save, stacked

    found, measures = panels(suite, results), suite.plot.rows
    many = len(measures) > 1
    columns = len(found) if many else min(WIDEST, len(found))
    rows = len(measures) if many else -(-len(found) // columns)
    width = max(90, min(190, 58 * columns))
    height = (38 if many else 55) * rows + 18
    with figure(width, height, rows, columns, sharey="row" if many else "all") as (fig, axes):
        drawn = []
        for place, (title, groups) in enumerate(found.items()):
            first = place % columns == 0
            if many:
                stack = [row[place] for row in axes]
                drawn += stacked(stack, groups, measures, title=title, ylabel=first)
                continue
            axis = axes[place // columns][place % columns]
            lines = panel_curves(axis, groups, measures[0], title=title, ylabel=first)
            drawn += lines
        for place in range(len(found), 0 if many else rows * columns):
            axes[place // columns][place % columns].remove()
        if any(len(groups) > 1 for groups in found.values()):
            legend(fig, drawn, columns=2 if columns < 3 else None)
        save(fig, path)
