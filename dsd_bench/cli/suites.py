"""``dsd-bench table`` and ``dsd-bench plot``: what the finished runs of a suite say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dsd_bench.cli import reading
from dsd_bench.cli.identifying import identifying
from dsd_bench.cli.saying import say
from dsd_bench.errors import UsageError
from dsd_bench.suites.cells import cells
from dsd_bench.suites.results import Result, results
from dsd_bench.suites.schema import Suite, find_suite, read_suite


@click.command()
@click.argument("suite", metavar="SUITE")
@reading.cell_options
@reading.runs_dir
@click.option("--csv", "as_csv", is_flag=True, help="CSV instead of markdown.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write into FILE instead of printing.",
)
def table(suite: str, as_csv: bool, output: Path | None, **given: Any) -> None:
    """Lay out the finished runs of SUITE as its source does: n, spread, its numbers."""
    from dsd_bench.suites.tables import make_table

    read, found = _results(suite, **given)
    made = make_table(read, found)
    text = made.csv() if as_csv else made.markdown()
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
@click.argument("suite", metavar="SUITE")
@reading.cell_options
@reading.runs_dir
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="An .svg or .png file (default: SUITE.svg).",
)
def plot(suite: str, output: Path | None, **given: Any) -> None:
    """Draw the finished runs of SUITE along its source's axes."""
    from dsd_bench.suites.plots import draw

    read, found = _results(suite, **given)
    path = output or Path(f"{find_suite(suite).stem}.svg")
    draw(read, found, path)
    say(path, err=True)


def _results(
    word: str, scale: Any, only: tuple[str, ...], seeds: str | None, runs_dir: Path
) -> tuple[Suite, list[Result]]:
    path = find_suite(word)
    suite = read_suite(path)
    with identifying():
        chosen = cells(suite, scale, only=only, seeds=seeds, places={"runs_dir": runs_dir})
    command = f"dsd-bench sweep {word}" + ("" if scale == "small" else f" --scale {scale}")
    return suite, results(chosen, runs_dir, command)
