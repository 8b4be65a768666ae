"""Options that several commands share: where runs and data lie, which cells of a suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

runs_dir = click.option(
    "--runs-dir", default="runs", type=click.Path(path_type=Path), help="Where they lie."
)
data_dir = click.option(
    "--data-dir",
    default="data",
    type=click.Path(path_type=Path),
    help="Where data sets lie; read only if a set does not tell its sizes.",
)


def cell_options(command: Command) -> Command:
    """Give a command ``--scale``, ``--only`` and ``--seeds``, which choose cells of a suite."""
    options = [
        click.option(
            "--scale",
            type=click.Choice(["small", "paper"]),
            default="small",
            show_default=True,
            help="The paper's own setting, or one that keeps its question on a small machine.",
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
