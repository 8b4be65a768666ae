"""What ``dsd-bench run`` prints when all runs have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from dsd_bench.analysis import Point, Summary, summarise
from dsd_bench.config.naming import Lookup
from dsd_bench.reports.findings import all_facts, print_facts
from dsd_bench.reports.following import print_next
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.plot import Annotation, Plot
from dsd_bench.reports.words import glyphs

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun


def print_summary(
    console: Console,
    runs: Sequence[StoredRun],
    command_hint: str = "",
    n_test: int | None = None,
    lookup: Lookup | None = None,
    again: Sequence[str] = (),
) -> None:
    """Print for each configuration its mean curve, the dip, the sweet spot, the models kept.

    Args:
        console: where to.
        runs: finished, unfinished or failed; without any round they are only named.
        command_hint: the command that shows more, such as ``dsd-bench show 1a2b3c4d``.
        n_test: images of the test set, to tell a dip from noise.
        lookup: finds components, to leave parameters at their default out of the labels.
        again: the words after ``dsd-bench`` that made the runs, to say what to try next.
    """
    for method in methods_of(runs, lookup):
        console.print(Text(method.label, style="bold"))
        line = Text(f"{method.setting}  {method.seeds}")
        console.print(line.append("  ").append(method.selection) if method.on_test else line)
        _print_method(console, method, summarise(method.runs, n_test), again)
    if command_hint:
        console.print(Text.assemble("more: ", (command_hint, "bold")), soft_wrap=True)


def _print_method(console: Console, method: Method, summary: Summary, again: Sequence[str]) -> None:
    if summary.curve:
        name = summary.column.removesuffix("_accuracy")
        curve = method.series(summary.column, label="mean over seeds, band: lowest to highest")
        if len(method.runs) == 1:
            curve = method.series(summary.column, label=f"seed {method.runs[0].seed}")
        notes = _annotations(method, summary)
        console.print(Plot(f"{name} accuracy, %", [curve], height=12, annotations=notes))
        console.print()
    print_facts(console, all_facts(method, summary, glyphs(console)))
    console.print()
    print_next(console, method, summary, again)


def _annotations(method: Method, summary: Summary) -> list[Annotation]:
    """Name the dip and the sweet spot in the plot, where they are told apart from noise."""
    notes: list[Annotation] = []
    if method.unfinished:
        return notes
    if summary.dip and summary.double_descent is not False:
        notes.append(_note(summary.dip, "dip", summary.dip.low, below=True))
    if summary.sweet:
        text = "sweet spot" if summary.double_descent else "best"
        notes.append(_note(summary.sweet, text, summary.sweet.high, below=False))
    return notes


def _note(point: Point, text: str, edge: float, *, below: bool) -> Annotation:
    return Annotation(1.0 - point.sparsity, 100 * edge, text, below)
