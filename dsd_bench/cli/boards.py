"""``dsd-bench submit`` and ``dsd-bench leaderboard``."""

from __future__ import annotations

from pathlib import Path

import click

from dsd_bench.boards import check as boards
from dsd_bench.boards import rows
from dsd_bench.cli import reading
from dsd_bench.cli.saying import say
from dsd_bench.store.runs import find_run, load_run

_DIR = click.option(
    "--dir", "folder", default="leaderboards", type=click.Path(path_type=Path), show_default=True,
    help="Folder of the boards.",
)  # fmt: skip


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@reading.runs_dir
@_DIR
def submit(runs: tuple[str, ...], runs_dir: Path, folder: Path) -> None:
    """Make leaderboard rows of the finished RUN...: the seeds of one method become one row."""
    found = [load_run(path) for path in dict.fromkeys(find_run(word, runs_dir) for word in runs)]
    for path in rows.submit(found, folder):
        say(path)
    say("write the boards with: dsd-bench leaderboard", err=True)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if a board differs.")
@_DIR
def leaderboard(check: bool, folder: Path) -> int:
    """Write every board from its rows."""
    if check:
        problems = boards.check(folder)
        for problem in problems:
            say(problem, err=True)
        return 1 if problems else 0
    for path in boards.write(folder):
        say(path)
    return 0
