"""``dsd-bench plot``: figures of finished runs, or of a suite's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_json
from dsd_bench.cli.selecting import select
from dsd_bench.cli.suites import (
    OF_SUITES,
    list_suites,
    names_suite,
    refuse_given,
    suite_results,
)
from dsd_bench.errors import plain
from dsd_bench.plugins import catalogue
from dsd_bench.suites.schema import find_suite

OF_RUNS = ("columns", "style", "title", "labels", "rows", "x", "band")
"""Options that lay out the figure of RUN..."""


@click.command()
@click.argument("words", nargs=-1, metavar="[SUITE | RUN...]")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="An .svg, .pdf or .png file (default: SUITE.svg, or runs.svg).",
)  # fmt: skip
@click.option(
    "--columns", type=click.Choice(["1", "2"]),
    help="Columns of a paper that RUN...'s figure fills: 84 or 174 mm wide (default: 1; 2 where "
    "several settings stand side by side).",
)  # fmt: skip
@click.option(
    "--style", type=click.Choice(["paper", "serif", "grey", "slides"]), default="paper",
    show_default=True, help="Look: serif goes with a Times text, grey prints without colours.",
)  # fmt: skip
@click.option("--title", default="", metavar="TEXT", help="A heading above (default: none).")
@click.option(
    "--labels", default="", metavar="NAME,...", help="What the methods are called, in their order."
)
@click.option(
    "--rows", default="test_accuracy", show_default=True, metavar="COLUMN,...",
    help="What is drawn, a panel each, from the top; for example test_accuracy,entropy.",
)  # fmt: skip
@click.option(
    "--x", type=click.Choice(["sparsity", "round"]), default="sparsity", show_default=True,
    help="The x axis; sparsity is logarithmic in the weights that are left.",
)  # fmt: skip
@click.option(
    "--band", type=click.Choice(["std", "range", "none"]), default="std", show_default=True,
    help="Around each mean: one standard deviation, lowest to highest seed, or nothing.",
)  # fmt: skip
@reading.cell_options
@reading.runs_dir
@click.option("--json", "as_json", is_flag=True, help="Print the file's name as JSON.")
@click.pass_context
def plot(ctx: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Draw finished RUN..., or those of SUITE along its source's axes.

    RUN is an id, a prefix of one, a path, a folder of runs, or a method's name as `dsd-bench runs`
    prints it ('magnitude + kd*' means several). The seeds of a method become one curve with a
    band; runs on other data, noise or models get panels of their own. Without a word it lists the
    suites.
    """
    if not words:
        list_suites(given["as_json"])
    elif len(words) == 1 and names_suite(words[0]):
        refuse_given(ctx, "a suite's figure is drawn as its file says", OF_RUNS)
        _plot_suite(words[0], given)
    else:
        refuse_given(ctx, "the cells of a suite are chosen by it, runs by their names", OF_SUITES)
        _plot_runs(words, given)


def _plot_suite(suite: str, given: dict[str, Any]) -> None:
    from dsd_bench.suites.plots import draw

    chosen = {key: given[key] for key in (*OF_SUITES, "runs_dir")}
    read, found = suite_results(suite, **chosen)
    path = given["output"] or Path(f"{find_suite(suite).stem}.svg")
    draw(read, found, path)
    _tell(path, {"suite": suite}, given["as_json"])


def _plot_runs(words: tuple[str, ...], given: dict[str, Any]) -> None:
    from dsd_bench.figures import check_suffix
    from dsd_bench.figures.compared import Options
    from dsd_bench.reports.pictures import draw_runs, setting_sentence

    path = given["output"] or Path("runs.svg")
    check_suffix(path)
    lookup = catalogue().find
    runs = select(words, given["runs_dir"])
    several = len({setting_sentence([run], lookup) for run in runs}) > 1
    options = Options(
        rows=_names(given["rows"]),
        x=given["x"],
        band=None if given["band"] == "none" else given["band"],
        columns=int(given["columns"] or (2 if several else 1)),
        style=given["style"],
        title=plain(given["title"]),
    )
    methods = draw_runs(runs, path, options, _names(given["labels"]), lookup)
    _tell(path, {"methods": methods}, given["as_json"])


def _names(text: str) -> list[str]:
    return [plain(part.strip()) for part in text.split(",") if part.strip()]


def _tell(path: Path, told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say_json({**told, "path": str(path)})
    else:
        say(path, err=True)
