"""The table of rounds: of one method every measure, of several their accuracies side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from dsd_bench.analysis import selected_round
from dsd_bench.reports.methods import Method
from dsd_bench.reports.plot import series_style
from dsd_bench.reports.words import Glyphs, compact, percent


@dataclass(frozen=True)
class _Column:
    """A title and the cells by round; ``flag``: it marks rounds and has no values."""

    title: Text
    cells: dict[int, str]
    flag: bool = False


def rounds_table(methods: Sequence[Method], column: str, signs: Glyphs, marks: str) -> Table:
    """Return one line per round: means over the seeds, of val and test also the deviation.

    Args:
        methods: at least one.
        column: the accuracy to list of several methods.
        signs: characters for the terminal.
        marks: the marks of the plot's series, which head their columns.
    """
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    table.add_column("round", justify="right")
    if len(methods) == 1:
        found = _one(methods[0], signs)
    else:
        found = _several(methods, column, signs, marks)
    for entry in found:
        justify: JustifyMethod = "left" if entry.flag else "right"
        table.add_column(entry.title, justify=justify, no_wrap=True)
    for index in sorted({index for entry in found for index in entry.cells}):
        table.add_row(str(index), *(entry.cells.get(index, "") for entry in found))
    return table


def _one(method: Method, signs: Glyphs) -> list[_Column]:
    found = [_remaining(method), _weights(method)]
    for title, key in (
        ("train", "train_accuracy"),
        ("clean", "train_accuracy_clean"),
        ("noisy", "train_accuracy_noisy"),
        ("val", "val_accuracy"),
        ("test", "test_accuracy"),
    ):
        spread = title in ("val", "test")
        found.append(_accuracy(method, Text(title), key, signs if spread else None))
    entropy = {point.round: f"{point.mean:.3f}" for point in method.curve("entropy")}
    found.append(_Column(Text("entropy"), entropy))
    return [*(entry for entry in found if entry.cells), _best(method, signs)]


def _several(methods: Sequence[Method], column: str, signs: Glyphs, marks: str) -> list[_Column]:
    """Give the sparsities once if all methods share them, else for each."""
    remaining = [_remaining(method) for method in methods]
    longest = max(remaining, key=lambda entry: len(entry.cells))
    shared = all(entry.cells.items() <= longest.cells.items() for entry in remaining)
    found = [longest] if shared else []
    for index, method in enumerate(methods):
        found += [] if shared else [remaining[index]]
        title = Text(marks[index % len(marks)], style=series_style(index))
        found += [_accuracy(method, title, column, signs), _best(method, signs)]
    return found


def _remaining(method: Method) -> _Column:
    points = method.curve("sparsity")
    return _Column(Text("left %"), {one.round: percent(1.0 - one.sparsity, 2) for one in points})


def _weights(method: Method) -> _Column:
    points = method.curve("nonzero")
    return _Column(Text("weights"), {point.round: f"{point.mean:,.0f}" for point in points})


def _accuracy(method: Method, title: Text, key: str, signs: Glyphs | None) -> _Column:
    """Give the mean, and with ``signs`` the deviation too."""
    points = method.curve(key)
    if signs is None:
        return _Column(title, {point.round: percent(point.mean) for point in points})
    return _Column(title, {one.round: compact(one.mean, one.std, signs) for one in points})


def _best(method: Method, signs: Glyphs) -> _Column:
    """Mark the rounds that the seeds selected; with several seeds, by how many."""
    chosen = Counter(best for run in method.runs if (best := selected_round(run)) is not None)
    many = len(method.runs) > 1
    cells = {index: signs.best + (str(n) if many else "") for index, n in chosen.items()}
    return _Column(Text(""), cells, flag=True)
