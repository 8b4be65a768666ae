"""``dsd-bench table``, and what all commands on suites share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dsd_bench.cli import reading
from dsd_bench.cli.identifying import identifying
from dsd_bench.cli.saying import say, say_json
from dsd_bench.config.naming import command
from dsd_bench.errors import UsageError
from dsd_bench.suites.cells import cells
from dsd_bench.suites.results import Result, results
from dsd_bench.suites.schema import Suite, find_suite, known_suites, read_suite

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
@click.argument("suite", metavar="[SUITE]", required=False)
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
def table(
    suite: str | None, kind: str, as_csv: bool, as_json: bool, output: Path | None, **given: Any
) -> None:
    """Lay out the finished runs of SUITE as its source does: n, spread, its numbers.

    Without SUITE it lists those that there are.
    """
    if as_csv + as_json + (kind != "markdown") > 1:
        raise UsageError("--csv, --json and --format exclude each other")
    kind = "csv" if as_csv else "json" if as_json else kind
    if suite is None:
        list_suites(kind == "json")
        return
    from dsd_bench.suites.tables import make_table

    read, found = suite_results(suite, **given)
    made = make_table(read, found)
    text: str = getattr(made, kind)()
    if output is None:
        say(text, end="")
        return
    from dsd_bench.store.files import write_atomic

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output: no folder can be made at {output.parent}: {error}") from None
    write_atomic(output, text.encode())
    say(output, err=True)


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
