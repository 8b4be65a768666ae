"""``dsd-bench compare``."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_json
from dsd_bench.cli.selecting import select_method
from dsd_bench.cli.tables import plain_table, print_whole
from dsd_bench.config.naming import seeds_word
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.words import open_console, percent
from dsd_bench.store.correct import read_bits

if TYPE_CHECKING:
    from dsd_bench.reports.comparing import Comparison


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="Draw both curves and their difference (.svg, .pdf, .png).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON; accuracies in 0..1.")
@reading.runs_dir
def compare(first: str, second: str, output: Path | None, as_json: bool, runs_dir: Path) -> None:
    """Compare two methods seed by seed: A minus B at each round, where they cross, a sentence.

    A and B are methods by the names that `dsd-bench runs` prints, runs (each stands for all
    finished seeds of its method beside it), folders of runs, or several of these with commas.
    """
    from dsd_bench.reports.comparing import compare as compared

    if output:
        from dsd_bench.figures import check_suffix

        check_suffix(output)
    one, other = _named(*(select_method(word, runs_dir) for word in (first, second)))
    if {run.path.resolve() for run in one.runs} & {run.path.resolve() for run in other.runs}:
        raise UsageError(
            f"'{first}' and '{second}' are the same runs of '{one.label}'; name others"
        )
    bits = {run.run_id: read_bits(run.path) for method in (one, other) for run in method.runs}
    found = compared(one, other, bits)
    if output:
        from dsd_bench.reports.pictures import draw_comparison

        draw_comparison(found, output, catalogue().find)
    if as_json:
        say_json(comparison_json(found))
        return
    _print(open_console(sys.stdout), found)
    if output:
        say(output, err=True)


def _named(one: Method, other: Method) -> tuple[Method, Method]:
    """Give two methods names that tell them apart."""
    both = methods_of([*one.runs, *other.runs], catalogue().find)
    if len(both) != 2:
        return one, other
    return both[0], both[1]


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Return what ``--json`` prints: A minus B, None where one seed tells nothing."""
    from dsd_bench.reports.comparing import sentences

    def method(one: Method) -> dict[str, Any]:
        ids = [run.run_id for run in one.runs if run.seed in found.seeds]
        return {"label": one.label, "setting": one.setting, "runs": ids}

    return {
        "first": method(found.first),
        "second": method(found.second),
        "seeds": list(found.seeds),
        "column": found.column,
        "sentences": sentences(found),
        "notes": list(found.notes),
        "selected": dataclasses.asdict(found.selected),
        "selected_sparsity": dataclasses.asdict(found.sparsity),
        "crossings": found.crossings,
        "leads": [dataclasses.asdict(one) for one in found.leads],
        "rounds": [
            {
                "round": at.round,
                "sparsity": at.sparsity,
                "interpolated": at.interpolated,
                **dataclasses.asdict(at.difference),
            }
            for at in found.rounds
        ],
    }


def _print(console: Console, found: Comparison) -> None:
    from dsd_bench.reports.comparing import points, sentences

    console.print(Text.assemble(("A  ", "dim"), (found.first.label, "bold")), soft_wrap=True)
    console.print(Text.assemble(("B  ", "dim"), (found.second.label, "bold")), soft_wrap=True)
    seeds = f"paired over seed{'s' if len(found.seeds) > 1 else ''} {seeds_word(found.seeds)}"
    console.print(f"{found.first.setting}  {seeds}\n", style="dim")
    table = plain_table("round", "sparsity %", "A %", "B %", "A - B", "95 % interval", "", left=0)
    for at in found.rounds:
        apart = at.difference
        between = (
            f"{points(apart.low)} to {points(apart.high)}"
            if apart.low is not None and apart.high is not None
            else "-"
        )
        table.add_row(
            str(at.round) + ("~" if at.interpolated else ""), percent(at.sparsity),
            percent(apart.first), percent(apart.second), points(apart.mean), between,
            {1: "A", -1: "B", 0: ""}[apart.leader],
        )  # fmt: skip
    print_whole(console, table)
    if any(at.interpolated for at in found.rounds):
        console.print("~ B has no round there; it is read between two, in log-density", style="dim")
    console.print()
    for line in sentences(found):
        console.print(line, soft_wrap=True)
    if found.crossings:
        where = ", ".join(f"{percent(at)} %" for at in found.crossings)
        console.print(f"The mean curves cross at sparsity {where}.", soft_wrap=True)
    for note in found.notes:
        console.print(Text.assemble(("but  ", "yellow"), note), soft_wrap=True)
    words = "Intervals are Student's, each round by itself: of twenty, one may miss by chance."
    console.print(words, style="dim", soft_wrap=True)
