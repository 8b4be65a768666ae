"""The ``terminal`` reporter: what ``dsd-bench show RUN...`` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dsd_bench.analysis import accuracy_column, summarise
from dsd_bench.config.naming import Lookup
from dsd_bench.reports import Reporter
from dsd_bench.reports.builtin import TerminalParams
from dsd_bench.reports.findings import all_facts, known_size, print_facts, verdict_facts
from dsd_bench.reports.following import print_next
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.plot import Plot, marks_for, series_style
from dsd_bench.reports.tables import rounds_table
from dsd_bench.reports.words import Glyphs, glyphs, open_console

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun

_WIDE = 110
"""From this width on, small plots stand side by side."""


class Terminal(Reporter):
    """Plots accuracies and entropy of one or several runs and lists their rounds."""

    params: TerminalParams

    def report(self, runs: Sequence[StoredRun], stream: TextIO) -> None:
        """Write the view; the seeds of one configuration become one curve with a band."""
        from dsd_bench.plugins import catalogue

        show(open_console(stream), runs, self.params, catalogue().find)


def show(
    console: Console,
    runs: Sequence[StoredRun],
    params: TerminalParams | None = None,
    lookup: Lookup | None = None,
) -> None:
    """Print header, curves and table of ``runs``.

    Args:
        console: where to.
        runs: any; finished or not.
        params: height of the plot, whether to print the table.
        lookup: finds components, to leave parameters at their default out of the labels.
    """
    params = params or TerminalParams()
    methods = methods_of(runs, lookup)
    column = accuracy_column(runs)
    marks = marks_for(console.options.ascii_only)
    for line in _header(methods, marks):
        console.print(line)
    if not any(run.rows for run in runs):
        console.print("No round is finished yet.")
        return
    console.print()
    _print_plots(console, methods, column, params.height)
    if params.table:
        signs = glyphs(console)
        console.print()
        console.print(rounds_table(methods, column, signs, marks))
        console.print(_footnote(methods, signs))
    _print_findings(console, methods)


def _header(methods: Sequence[Method], marks: str) -> list[Text]:
    """Say what the methods work on, and of each its mark, seeds, selection and state."""
    settings = list(dict.fromkeys(method.setting for method in methods))
    lines = [Text(settings[0], style="bold")] if len(settings) == 1 else []
    for index, method in enumerate(methods):
        mark = f"{marks[index % len(marks)]} " if len(methods) > 1 else ""
        parts: list[str | Text] = [method.seeds, method.selection, method.state]
        if len(settings) > 1:
            parts.insert(0, method.setting)
        line = Text(mark + method.label, style=series_style(index))
        lines.append(Text("  ").join([line, *(Text.assemble(part) for part in parts)]))
    return lines


def _print_plots(console: Console, methods: Sequence[Method], column: str, height: int) -> None:
    """Print the accuracies, and below them training and entropy as small plots."""
    name = column.removesuffix("_accuracy")
    half = max(4, height // 2)
    entropy = [method.series("entropy", 1.0) for method in methods]
    small = [Plot("entropy, bits", entropy, height=half, legend=False)]
    if len(methods) == 1:
        curves = [methods[0].series(column, label=name)]
        curves.append(methods[0].series("train_accuracy", label="train (given labels)"))
        console.print(Plot("accuracy, %", curves, height=height))
    else:
        curves = [method.series(column) for method in methods]
        console.print(Plot(f"{name} accuracy, %", curves, height=height, legend=False))
        train = [method.series("train_accuracy") for method in methods]
        title = "train accuracy (given labels), %"
        small.insert(0, Plot(title, train, height=half, legend=False))
    console.print()
    console.print(_beside(small, console.width))
    if any(len(method.runs) > 1 for method in methods):
        console.print(Text("bands: lowest to highest seed", style="dim"))


def _beside(plots: Sequence[Plot], width: int) -> RenderableType:
    if width < _WIDE or len(plots) == 1:
        return Group(*[part for plot in plots for part in (Text(), plot)][1:])
    row = Table.grid(expand=True, padding=(0, 2))
    for _ in plots:
        row.add_column(ratio=1)
    row.add_row(*plots)
    return row


def _print_findings(console: Console, methods: Sequence[Method]) -> None:
    """Say what each method shows: of one every point and what to try next, of several verdicts."""
    signs = glyphs(console)
    for method in methods:
        summary = summarise(method.runs, known_size(method.runs))
        if not summary.curve:
            continue
        console.print()
        if len(methods) > 1:
            console.print(Text(method.label, style="bold"))
            print_facts(console, verdict_facts(method, summary))
        else:
            print_facts(console, all_facts(method, summary, signs))
            console.print()
            print_next(console, method, summary)


def _footnote(methods: Sequence[Method], signs: Glyphs) -> Text:
    """Explain the table's marks."""
    where = {"test" if method.on_test else "validation" for method in methods}
    text = f"{signs.best} best round on {' or '.join(sorted(where))}"
    if any(len(method.runs) > 1 for method in methods):
        text += f", with the number of seeds; mean {signs.plus_minus} sample standard deviation"
    return Text(text, style="dim")
