"""A suite's figure: a panel for each combination of some axes, a line for each of the others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dsd_bench.plugins import catalogue
from dsd_bench.reports.pictures import check_measured, setting_sentence
from dsd_bench.store.checkpoint import Row
from dsd_bench.store.further import measured_rows
from dsd_bench.store.runs import StoredRun
from dsd_bench.suites.cells import SEPARATOR
from dsd_bench.suites.results import Result
from dsd_bench.suites.schema import Suite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

Panels = dict[str, dict[str, list[Sequence[Row]]]]
"""Panel title -> line label -> the rows of each seed."""

LETTER = 1.3
"""Millimetres of a letter of the sentence above a figure."""
WIDEST = 4
"""Panels side by side where they are not stacked."""


def panels(suite: Suite, results: Sequence[Result]) -> Panels:
    """Sort results into panels and lines; every panel lists every line, some without runs."""
    titles, lines = [], []
    for result in results:
        labels = result.cell.labels
        inner = {name: label for name, label in labels.items() if name not in suite.plot.panels}
        titles.append(_title(suite, result))
        lines.append(SEPARATOR.join(inner.values()))
    found: Panels = {title: {line: [] for line in dict.fromkeys(lines)} for title in titles}
    for result, title, line in zip(results, titles, lines):
        found[title][line] += [measured_rows(run) for run in result.runs]
    return found


def _title(suite: Suite, result: Result) -> str:
    """Return a panel's title; numbers say what they are of."""
    chosen = [(n, label) for n, label in result.cell.labels.items() if n in suite.plot.panels]
    return ", ".join(f"{name} {text}" if text[:1].isdigit() else text for name, text in chosen)


def _runs(suite: Suite, results: Sequence[Result]) -> dict[str, list[StoredRun]]:
    """Return the runs of each panel that has a single line; none of the others."""
    found: dict[str, list[StoredRun]] = {}
    for result in results:
        title = _title(suite, result)
        found[title] = [] if title in found else list(result.runs)
    return found


def _shade(stack: Sequence[Axes], runs: Sequence[StoredRun]) -> list[Line2D]:
    """Tint the phases of one mean curve on all panels of its column; mark and return its best."""
    from dsd_bench.analysis import images_tested, peak, phases, summarise
    from dsd_bench.figures import density, shade_phases

    if not runs:
        return []
    summary = summarise(runs, images_tested(runs))
    for place, axis in enumerate(stack):
        shade_phases(axis, phases(summary.shared, summary.evidence), names=place == 0)
    best = peak(summary.shared, -1)
    if best is None:
        return []
    at = density(best.sparsity), 100 * best.mean
    return stack[0].plot(
        *at, marker="*", markersize=11, color="#d55e00", linestyle="none", zorder=5,
        label="highest round of the mean curve",
    )  # fmt: skip


def draw(suite: Suite, results: Sequence[Result], path: Path) -> None:
    """Draw the suite's figure into ``path`` (.svg, .pdf or .png).

    Raises:
        UsageError: for another suffix, or measures that no run has numbers of.
    """
    from dsd_bench.figures import GREY, figure, legend, panel_curves, save, stacked

    found, measures = panels(suite, results), suite.plot.rows
    drawn_rows = [row for groups in found.values() for seeds in groups.values() for row in seeds]
    check_measured(measures, [row for rows in drawn_rows for row in rows], "plot.rows")
    chosen = _runs(suite, results)
    many = len(measures) > 1
    columns = len(found) if many else min(WIDEST, len(found))
    rows = len(measures) if many else -(-len(found) // columns)
    width = max(90, min(190, 58 * columns))
    height = (38 if many else 55) * rows + 18
    with figure(width, height, rows, columns, sharey="row" if many else "all") as (fig, axes):
        drawn: list[Line2D] = []
        stars: list[Line2D] = []
        for place, (title, groups) in enumerate(found.items()):
            first = place % columns == 0
            if many:
                stack = [row[place] for row in axes]
                drawn += stacked(stack, groups, measures, suite.plot.x, ylabel=first)
                stack[0].set_title(title, pad=14 if suite.plot.phases else None)
                if suite.plot.phases:
                    stars += _shade(stack, chosen[title])
                continue
            axis = axes[place // columns][place % columns]
            x = suite.plot.x
            drawn += panel_curves(axis, groups, measures[0], x, title=title, ylabel=first)
        for place in range(len(found), 0 if many else rows * columns):
            axes[place // columns][place % columns].remove()
        several = any(len(groups) > 1 for groups in found.values())
        if several or stars:
            named = [*(drawn if several else []), *stars]
            legend(fig, named, columns=2 if columns < 3 else None)
        shared = [run for result in results for run in result.runs]
        words = setting_sentence(shared, catalogue().find)
        words = textwrap.fill(words, max(40, round(width / LETTER)))
        fig.suptitle(words, x=0.01, ha="left", fontsize=7, color=GREY)
        save(fig, path)
