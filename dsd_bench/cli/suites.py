"""``dsd-bench table``, and what all commands on suites share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dsd_bench.cli import reading
from dsd_bench.cli.identifying import identifying
from dsd_bench.cli.saying import say, say_json
from dsd_bench.config.naming import command
from dsd_bench.errors import UsageError, plain
from dsd_bench.plugins import catalogue
from dsd_bench.suites.cells import cells
from dsd_bench.suites.results import Result, results
from dsd_bench.suites.schema import Suite, find_suite, known_suites, read_suite

if TYPE_CHECKING:
    from dsd_bench.suites.tables import Table

OF_SUITES = ("scale", "only", "seeds")
"""Options that choose cells of a suite."""
FORMATS = ("markdown", "csv", "json", "latex")


def list_suites(as_json: bool = False) -> None:
    """Print the suites that there are, with the titles of those that can be read."""
    told = []
    for name, path in known_suites().items():
        try:
            title = read_suite(path).title
        except UsageError:
            title = ""
        told.append({"name": name, "path": str(path), "title": title})
    if as_json:
        say_json({"suites": told})
        return
    width = max((len(one["name"]) for one in told), default=0)
    for one in told:
        say(f"{one['name']:<{width}}  {one['title'] or 'cannot be read'}")
    if not told:
        raise UsageError("no suite lies in ./benchmarks; name a file: dsd-bench sweep FILE.toml")


@click.command()
@click.argument("words", nargs=-1, metavar="[SUITE | RUN...]")
@click.option(
    "--columns", default="", metavar="NAME,...",
    help="Quantities of RUN...'s table (default: dense,mean_depth,verdict,selected,sparsity,"
    "trainings).",
)  # fmt: skip
@reading.cell_options
@reading.runs_dir
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), default="markdown", show_default=True,
    help="How it is written; latex is a tabular with booktabs' rules.",
)  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="The same as --format csv.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into FILE instead of printing.",
)
@click.pass_context
def table(
    ctx: click.Context, /, words: tuple[str, ...], columns: str, kind: str, as_csv: bool,
    as_json: bool, output: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Lay out finished RUN..., or those of SUITE as its source does: n, spread, its numbers.

    RUN is an id, a prefix of one, a path, a folder of runs, or a method's name as `dsd-bench runs`
    prints it; the seeds of a method are one row. Without a word it lists the suites.
    """
    if as_csv + as_json + (kind != "markdown") > 1:
        raise UsageError("--csv, --json and --format exclude each other")
    kind = "csv" if as_csv else "json" if as_json else kind
    if not words:
        list_suites(kind == "json")
        return
    from dsd_bench.suites.tables import make_table

    if len(words) == 1 and names_suite(words[0]):
        refuse_given(ctx, "a suite's table is laid out as its file says", ("columns",))
        made = make_table(*suite_results(words[0], **given))
    else:
        refuse_given(ctx, "the cells of a suite are chosen by it, runs by their names", OF_SUITES)
        made = _table_of_runs(words, columns, given["runs_dir"])
    text: str = getattr(made, kind)()
    if output is None:
        say(text, end="")
        return
    from dsd_bench.store.files import output_folder, write_atomic

    output_folder(output.parent)
    write_atomic(output, text.encode())
    say(output, err=True)


def _table_of_runs(words: tuple[str, ...], columns: str, runs_dir: Path) -> Table:
    from dsd_bench.cli.selecting import select
    from dsd_bench.reports.methods import methods_of
    from dsd_bench.suites.tables import COLUMNS, table_of

    named = [plain(part.strip()) for part in columns.split(",") if part.strip()]
    return table_of(methods_of(select(words, runs_dir), catalogue().find), named or COLUMNS)


def names_suite(word: str) -> bool:
    """Whether a word means a suite, not runs."""
    return word.endswith(".toml") or word in known_suites()


def refuse_given(ctx: click.Context, why: str, names: Sequence[str]) -> None:
    """Refuse those of a command's options ``names`` that were typed, and say why."""
    for option in ctx.command.params:
        name = str(option.name)
        if name in names and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise UsageError(f"{option.opts[-1]}: {why}; leave it out")


def suite_results(
    word: str, scale: Any, only: tuple[str, ...], seeds: str | None, runs_dir: Path
) -> tuple[Suite, list[Result]]:
    """Return a suite and the finished runs of the cells that a command's options choose."""
    path = find_suite(word)
    suite = read_suite(path)
    with identifying():
        chosen = cells(suite, scale, only=only, seeds=seeds, places={"runs_dir": runs_dir})
    words = (word,) if scale == "small" else (word, "--scale", scale)
    return suite, results(chosen, runs_dir, command("sweep", *words, runs_dir=runs_dir))
