"""``dsd-bench show``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dsd_bench.cli import reading
from dsd_bench.config.words import parse_component
from dsd_bench.environment.contained import contained
from dsd_bench.plugins import catalogue
from dsd_bench.reports.terminal import show as show_in_terminal
from dsd_bench.reports.words import open_console
from dsd_bench.store.runs import find_run, load_run


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--csv", "as_csv", is_flag=True, help="Print a tidy CSV, one line a run and round.")
@click.option("--reporter", metavar="NAME[:KEY=VALUE,...]", help="Another view of the runs.")
@reading.runs_dir
def show(runs: tuple[str, ...], as_csv: bool, reporter: str | None, runs_dir: Path) -> None:
    """Show the curves and rounds of RUN...: ids, unique prefixes of ids, or paths."""
    found = [load_run(path) for path in dict.fromkeys(find_run(word, runs_dir) for word in runs)]
    if reporter is None and not as_csv:
        show_in_terminal(open_console(sys.stdout), found, lookup=catalogue().find)
        return
    entry, params = parse_component("reporter", reporter or "csv", "--reporter")
    made, out = entry.component.create(params), sys.stdout
    with contained():
        made.report(found, out)
