"""Options that several commands share: where runs and data lie, which cells of a suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from dsd_bench.cli.saying import say
from dsd_bench.errors import UsageError
from dsd_bench.store.listing import Listed, look
from dsd_bench.store.runs import RUN_ID, StoredRun

Command = Callable[..., Any]
MOST_TOLD = 6
"""Runs that are left out and named one by one."""

runs_dir = click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), help="Where they lie."
)
data_dir = click.option(
    "--data-dir",
    default="data",
    type=click.Path(path_type=Path),
    help="Where data sets lie; read only if a set does not tell its sizes.",
)


def load_finished(folders: Iterable[Path]) -> list[StoredRun]:
    """Return the runs of some folders; of several only the finished ones.

    What is unfinished, failed or damaged is left out with a note on standard error, unless nothing
    is finished.

    Raises:
        UsageError: if one cannot be read and nothing else is finished.
    """
    found = [look(folder) for folder in folders]
    done = [one.run for one in found if one.run and one.state == "done"]
    rest = [one for one in found if one.state != "done"]
    if not done:
        for one in rest:
            if one.run is None:
                raise UsageError(one.error or str(one.path))
        return [one.run for one in rest if one.run]
    if rest:
        told = "; ".join(_left_out(one) for one in rest[:MOST_TOLD])
        more = f"; and {len(rest) - MOST_TOLD} more" if len(rest) > MOST_TOLD else ""
        say(f"note: {len(rest)} of {len(found)} left out: {told}{more}", err=True)
    return done


def _left_out(one: Listed) -> str:
    name = one.path.name
    what = f"{name[:8] if RUN_ID.match(name) else name} {one.state}"
    return f"{what} ({one.error})" if one.error else what


def cell_options(command: Command) -> Command:
    """Give a command ``--scale``, ``--only`` and ``--seeds``, which choose cells of a suite."""
    options = [
        click.option(
            "--scale",
            type=click.Choice(["small", "cpu", "paper"]),
            default="small",
            show_default=True,
            help="The question on embedded digits (minutes), on small real images (hours on two "
            "cores), or in the paper's own setting.",
        ),
        click.option(
            "--only",
            multiple=True,
            metavar="PATTERN",
            help="Only cells whose name, or one of whose labels, fits; may be repeated.",
        ),
        click.option("--seeds", metavar="SEEDS", help="0-2, 0,3 or 5 (default: the suite's)."),
    ]
    for option in reversed(options):
        command = option(command)
    return command
