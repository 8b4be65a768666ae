"""What ``dsd-bench run`` prints when all runs have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dsd_bench.analysis import Point, Selected, Summary, summarise
from dsd_bench.config.naming import Lookup
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.plot import Annotation, Plot
from dsd_bench.reports.words import Glyphs, glyphs, mean_std, percent, plural

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun

_Fact = tuple[str, str | Text]


def print_summary(
    console: Console,
    runs: Sequence[StoredRun],
    command_hint: str = "",
    n_test: int | None = None,
    lookup: Lookup | None = None,
) -> None:
    """Print for each configuration its mean curve, the dip, the sweet spot, the models kept.

    Args:
        console: where to.
        runs: finished, unfinished or failed; without any round they are only named.
        command_hint: the command that shows more, such as ``dsd-bench show 1a2b3c4d``.
        n_test: images of the test set, to tell a dip from noise.
        lookup: finds components, to leave parameters at their default out of the labels.
    """
    for method in methods_of(runs, lookup):
        console.print(Text(method.label, style="bold"))
        warning = method.selection if method.on_test else ""
        console.print(Text.assemble(f"{method.setting}  {method.seeds}  ", warning))
        _print_method(console, method, summarise(method.runs, n_test))
    if command_hint:
        console.print(Text.assemble("more: ", (command_hint, "bold")), soft_wrap=True)


def _print_method(console: Console, method: Method, summary: Summary) -> None:
    if summary.curve:
        name = summary.column.removesuffix("_accuracy")
        curve = method.series(summary.column, label="mean over seeds, band: lowest to highest")
        if len(method.runs) == 1:
            curve = method.series(summary.column, label=f"seed {method.runs[0].seed}")
        notes = _annotations(summary)
        console.print(Plot(f"{name} accuracy, %", [curve], height=12, annotations=notes))
        console.print()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for title, text in _facts(method, summary, glyphs(console)):
        table.add_row(title, text)
    console.print(table)
    console.print()


def _annotations(summary: Summary) -> list[Annotation]:
    """Name the dip and the sweet spot in the plot, where they are told apart from noise."""
    notes = []
    if summary.dip and summary.double_descent is not False:
        notes.append(_note(summary.dip, "dip", summary.dip.low, below=True))
    if summary.sweet:
        text = "sweet spot" if summary.double_descent else "best"
        notes.append(_note(summary.sweet, text, summary.sweet.high, below=False))
    return notes


def _note(point: Point, text: str, edge: float, *, below: bool) -> Annotation:
    return Annotation(1.0 - point.sparsity, 100 * edge, text, below)


def _facts(method: Method, summary: Summary, signs: Glyphs) -> list[_Fact]:
    facts: list[_Fact] = []
    if summary.dense:
        facts.append(("dense", f"{mean_std(summary.dense.mean, summary.dense.std, signs)} %"))
    facts += _dip(summary, signs)
    facts += _sweet(summary, signs)
    if len(summary.shared) < len(summary.curve):
        facts.append(
            ("", f"(over the {plural(len(summary.shared), 'round')} that all seeds reached)")
        )
    facts += _selected(method, summary, signs)
    facts += _stopped(summary)
    if method.state != "done":
        facts.append(("state", Text(method.state, style="yellow")))
    return facts


def _at(point: Point | Selected) -> str:
    return f"at sparsity {percent(point.sparsity)} % (round {point.round})"


def _dip(summary: Summary, signs: Glyphs) -> list[_Fact]:
    """Tell the deepest dip, and whether noise explains it."""
    if not summary.shared:
        return []
    if summary.dip is None:
        return [("dip", f"none: {summary.evidence.reason}")]
    dip, depth = summary.dip, summary.descent
    value = mean_std(dip.mean, dip.std, signs)
    text = (
        f"{value} % {_at(dip)}: falls {percent(depth.fall)}, recovers {percent(depth.rise)} points"
    )
    return [("dip", text), ("", _verdict(summary))]


def _verdict(summary: Summary) -> str:
    """Give the evidence's own words, after what they say."""
    words = {True: "sparse double descent: ", False: "no double descent: ", None: "cannot tell: "}
    return words[summary.double_descent] + summary.evidence.reason


def _sweet(summary: Summary, signs: Glyphs) -> list[_Fact]:
    if summary.sweet is None:
        return []
    peak = summary.sweet
    text = f"{mean_std(peak.mean, peak.std, signs)} % {_at(peak)}"
    if summary.dense and peak.round > 0:
        gain = 100 * (peak.mean - summary.dense.mean)
        text += f": {abs(gain):.1f} points {'above' if gain >= 0 else 'below'} dense"
    return [("sweet spot" if summary.double_descent else "best of curve", text)]


def _selected(method: Method, summary: Summary, signs: Glyphs) -> list[_Fact]:
    """Tell the model that each seed keeps, marked if the test part chose it."""
    if not summary.selected:
        return []
    models = [f"seed {one.seed}: {percent(one.accuracy)} %, {_at(one)}" for one in summary.selected]
    if len(models) == 1:
        return [("selected", Text.assemble(models[0], "  ", method.selection))]
    over = summary.selected_accuracy
    value = f"{mean_std(over.mean, over.std, signs)} %  " if over else ""
    first = Text.assemble(value, method.selection)
    return [("selected", first), *(("", model) for model in models)]


def _stopped(summary: Summary) -> list[_Fact]:
    facts: list[_Fact] = []
    for end in summary.stopped:
        saved = f", {plural(end.saved, 'training')} saved" if end.saved is not None else ""
        text = f"seed {end.seed} after round {end.round}{saved}: {end.reason}"
        facts.append(("stopped" if not facts else "", text))
    return facts
