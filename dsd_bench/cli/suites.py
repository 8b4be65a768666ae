"""``dsd-bench table`` and ``dsd-bench plot``: what the finished runs of a suite say."""

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
@click.option("--csv", "as_csv", is_flag=True, help="CSV instead of markdown.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of markdown.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into FILE instead of printing.",
)
def table(
    suite: str | None, as_csv: bool, as_json: bool, output: Path | None, **given: Any
) -> None:
    """Lay out the finished runs of SUITE as its source does: n, spread, its numbers.

    Without SUITE it lists those that there are.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other")
    if suite is None:
        list_suites(as_json)
        return
    from dsd_bench.suites.tables import make_table

    read, found = _results(suite, **given)
    made = make_table(read, found)
    text = made.csv() if as_csv else made.json() if as_json else made.markdown()
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


@click.command()
@click.argument("suite", metavar="[SUITE]", required=False)
@reading.cell_options
@reading.runs_dir
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An .svg or .png file (default: SUITE.svg).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the file's name as JSON.")
def plot(suite: str | None, output: Path | None, as_json: bool, **given: Any) -> None:
    """Draw the finished runs of SUITE along its source's axes.

    Without SUITE it lists those that there are.
    """
    if suite is None:
        list_suites(as_json)
        return
    from dsd_bench.suites.plots import draw

    read, found = _results(suite, **given)
    path = output or Path(f"{find_suite(suite).stem}.svg")
    draw(read, found, path)
    if as_json:
        say_json({"suite": suite, "path": str(path)})
    else:
        say(path, err=True)


def _results(
    word: str, scale: Any, only: tuple[str, ...], seeds: str | None, runs_dir: Path
) -> tuple[Suite, list[Result]]:
    path = find_suite(word)
    suite = read_suite(path)
    with identifying():
        chosen = cells(suite, scale, only=only, seeds=seeds, places={"runs_dir": runs_dir})
    words = (word,) if scale == "small" else (word, "--scale", scale)
    return suite, results(chosen, runs_dir, command("sweep", *words, runs_dir=runs_dir))
