"""``dsd-bench submit`` and ``dsd-bench leaderboard``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from dsd_bench.boards import check as boards
from dsd_bench.boards import rows
from dsd_bench.cli import reading
from dsd_bench.cli.saying import hanging, say, say_json
from dsd_bench.cli.selecting import paths
from dsd_bench.config.naming import command
from dsd_bench.store.runs import load_run

_DIR = click.option(
    "--dir", "folder", default="leaderboards", type=click.Path(path_type=Path), show_default=True,
    help="Folder of the boards.",
)  # fmt: skip


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--replace", is_flag=True, help="Put these runs in the place of other results of their seeds."
)
@click.option(
    "--mixed", is_flag=True,
    help="Let seeds from different machines or versions form one row, which then says so.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print rows and skipped runs as JSON.")
@reading.runs_dir
@_DIR
def submit(
    runs: tuple[str, ...], replace: bool, mixed: bool, as_json: bool, runs_dir: Path, folder: Path
) -> None:
    """Make leaderboard rows of the finished RUN...: the seeds of one method become one row.

    Unfinished and failed runs are skipped. RUN is an id, a prefix of one, a path, a folder of
    runs, or a method's name as `dsd-bench runs` prints it.
    """
    found = [load_run(path) for path in paths(runs, runs_dir)]
    states = {run.run_id: rows.unfinished(run) for run in found}
    finished = [run for run in found if not states[run.run_id]]
    skipped = [run for run in found if states[run.run_id]] if finished else []
    for run in skipped:
        say(f"skipped: {run.path}: run {run.run_id} is {states[run.run_id]}", err=True)
    # where nothing is finished, it says of each run why it does not count
    written = rows.submit(finished or found, folder, replace, mixed)
    if as_json:
        left = [
            {"run_id": run.run_id, "path": str(run.path), "reason": states[run.run_id]}
            for run in skipped
        ]
        say_json({"rows": [str(path) for path in written], "skipped": left})
        return
    for path in written:
        say(path)
    where = () if folder == Path("leaderboards") else ("--dir", str(folder))
    say(f"write the boards with: {command('leaderboard', *where)}", err=True)


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if a board differs.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written or found as JSON.")
@_DIR
def leaderboard(check: bool, as_json: bool, folder: Path) -> int:
    """Write every board from its rows."""
    _one_thread()
    problems = boards.check(folder) if check else []
    written = [] if check else boards.write(folder)
    if as_json:
        told = {"problems": problems} if check else {"written": [str(path) for path in written]}
        say_json(told)
        return 1 if problems else 0
    for path in written:
        say(path)
    for problem in problems:
        say(hanging(problem), err=True)
    return 1 if problems else 0


def _one_thread() -> None:
    """Let NumPy multiply on one thread: matrices of boards are so small that others only spin."""
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
