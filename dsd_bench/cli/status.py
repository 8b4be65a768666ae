"""``dsd-bench status``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dsd_bench.cli import reading
from dsd_bench.cli.identifying import identifying
from dsd_bench.cli.saying import say, say_json
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError
from dsd_bench.reports.resizing import ResizedLive
from dsd_bench.reports.standing import Folder, Overview
from dsd_bench.reports.status import overview_json, status_view
from dsd_bench.reports.words import open_console

PAUSE = 2.0
"""Seconds between two looks while following; a look is to take a fifth of the time at most."""


@click.command()
@click.argument("what", default="", metavar="[SUITE|RUNS_DIR]")
@reading.cell_options
@click.option("--watch", is_flag=True, help="Follow it until nothing is left or Ctrl-C is pressed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch a line a look.")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path), help="Where a suite's runs lie (default: runs)."
)
def status(
    what: str,
    scale: Any,
    only: tuple[str, ...],
    seeds: str | None,
    watch: bool,
    as_json: bool,
    runs_dir: Path | None,
) -> int:
    """Say how far a folder of runs (default: runs), or a suite, is; nothing is touched.

    What is done, running where and how fast, waiting for which teacher, failed and why, left by a
    dead worker; when all will be done; the disk it takes. It reads the run folders alone, so it
    sees workers on any computer. `dsd-bench runs` lists every run.
    """
    folder = _folder(what, scale, only, seeds, runs_dir)
    suite = "" if folder.only is None else Path(what).stem
    where = str(folder.runs_dir)
    console = open_console(sys.stdout)
    if not watch:
        found = folder.look()
        if as_json:
            say_json(overview_json(found, where))
        else:
            console.print(status_view(found, where, console, suite))
        return 0
    try:
        if as_json:
            for found in _looks(folder):
                say(json.dumps(overview_json(found, where)))
                sys.stdout.flush()
        else:
            _follow(console, folder, suite)
    except KeyboardInterrupt:  # the way to end it
        pass
    return 0


def _folder(
    what: str, scale: Any, only: tuple[str, ...], seeds: str | None, runs_dir: Path | None
) -> Folder:
    """Return the folder that is meant, or the runs of the suite."""
    if not what or Path(what).is_dir():
        if only or seeds:
            raise UsageError("--only and --seeds choose cells of a suite; name one")
        if what and runs_dir is not None:
            raise UsageError(f"--runs-dir says where a suite's runs lie; {what} is a folder itself")
        path = Path(what) if what else runs_dir or Path("runs")
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder; name a folder of runs, or a suite")
        return Folder(path)
    path = runs_dir or Path("runs")
    return Folder(path, _suite_runs(what, scale, only, seeds, path))


def _suite_runs(
    word: str, scale: Any, only: tuple[str, ...], seeds: str | None, runs_dir: Path
) -> dict[str, RunConfig]:
    """Return a suite's runs and their teachers by id."""
    from dsd_bench.executors.planning import plan
    from dsd_bench.suites.cells import cells
    from dsd_bench.suites.schema import find_suite, read_suite

    try:
        suite = read_suite(find_suite(word))
    except UsageError as error:
        raise UsageError(f"{word}: no folder of runs, and {error}") from None
    with identifying():
        places = {"runs_dir": runs_dir}
        found = cells(suite, scale, only=only, seeds=seeds, places=places)
    planned = plan([config for cell in found for config in cell.configs], runs_dir)
    return {item.job.run_id: item.config for item in planned}


def _looks(folder: Folder) -> Iterator[Overview]:
    """Look again and again, until nothing is left to do."""
    while True:
        begun = time.monotonic()
        found = folder.look()
        yield found
        if not found.left:
            return
        time.sleep(max(PAUSE, 4 * (time.monotonic() - begun)))


def _follow(console: Console, folder: Folder, suite: str) -> None:
    """Show it in place on a terminal; elsewhere one view after the other."""
    where = str(folder.runs_dir)
    if not console.is_terminal or console.is_dumb_terminal:
        for found in _looks(folder):
            console.print(status_view(found, where, console, suite))
            console.print()
        return
    with ResizedLive(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        for found in _looks(folder):
            live.update(status_view(found, where, console, suite), refresh=True)
