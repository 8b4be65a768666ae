"""What every command that carries runs out shares: how to run, the view, the end."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dsd_bench import api
from dsd_bench.cli.options import Option
from dsd_bench.cli.saying import complain, say
from dsd_bench.config.run import AskedLayout
from dsd_bench.errors import DsdError, UsageError
from dsd_bench.executors import Keep, Settings
from dsd_bench.executors.planning import Planned
from dsd_bench.executors.pulling import RETRIES
from dsd_bench.reports.live import LiveView, PlainView, View

EXIT = {"done": 0, "submitted": 0, "failed": 1, "interrupted": 130}
Command = Callable[..., Any]


def how(*names: str, **kwargs: Any) -> Callable[[Command], Command]:
    """Return an option that says how something is run, not what."""
    return click.option(*names, cls=Option, heading="How it is run", **kwargs)


def how_options(command: Command) -> Command:
    """Give a command the options that :func:`settings_of` reads, and where and whether to run."""
    return _with(HOW, command)


def worker_options(command: Command) -> Command:
    """Give a command the options that one worker's settings have."""
    return _with([TRIES, *(option for option in HOW if option not in OF_COMMANDS)], command)


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


JOBS = how("--jobs", type=click.IntRange(1), help="Runs side by side (default: as many as fit).")
RUNS_DIR = how(
    "--runs-dir", type=click.Path(path_type=Path), help="Where runs are kept (default: runs)."
)
EXECUTOR = how(
    "--executor",
    default="local",
    metavar="NAME[:KEY=VALUE,...]",
    help="local (worker processes), inline, slurm, or a plugin's.",
)
WAIT = how(
    "--wait", is_flag=True, help="Follow workers on a cluster to the end, instead of leaving."
)
YES = how(
    "-y", "--yes", is_flag=True, help="Do not ask before long work, nor refuse a sweep's disk."
)
TRIES = how(
    "--retries",
    type=click.IntRange(0),
    default=RETRIES,
    help=f"Tries after a run was killed or ran out of memory (default: {RETRIES}).",
)
"""Of what carries many runs on: how often each is tried again."""
OF_COMMANDS = (JOBS, RUNS_DIR, EXECUTOR, WAIT, YES)
"""What one worker has no use for."""
HOW = (
    how("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps."),
    how("--threads", type=click.IntRange(1), default=1, help="CPU threads of a run (default: 1)."),
    JOBS,
    how(
        "--layout",
        type=click.Choice(typing.get_args(AskedLayout)),
        default="auto",
        help="Layout of images and convolutions (default: auto, by the network).",
    ),
    how("--deterministic", is_flag=True, help="Refuse operations that are not deterministic."),
    how("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie (default: data)."),
    how("--download", is_flag=True, help="Allow downloads of data and pretrained weights."),
    RUNS_DIR,
    how(
        "--accept-versions",
        is_flag=True,
        help="Go on with runs that other plugin code began; provenance.jsonl records it.",
    ),
    how(
        "--keep",
        type=click.Choice(typing.get_args(Keep)),
        help="Rounds whose weights stay: all, records (those that beat all before them) or none "
        "but the dense and the best (default: all up to 256 MiB a run, else records).",
    ),
    EXECUTOR,
    WAIT,
    YES,
    how("--checkpoint-seconds", type=click.FloatRange(0), default=30.0, hidden=True),
    how("--debug", is_flag=True, help="Show tracebacks."),
)


def settings_of(given: Mapping[str, Any], data_dir: Path) -> Settings:
    """Return where and how to run, as the options say."""
    before = click.get_current_context().find_root().params  # dsd-bench --debug run
    return Settings(
        device=given["device"],
        threads=given["threads"],
        jobs=given.get("jobs"),
        layout=given["layout"],
        deterministic=given["deterministic"],
        data_dir=data_dir.absolute(),
        download=given["download"],
        checkpoint_seconds=given["checkpoint_seconds"],
        accept_versions=given["accept_versions"],
        debug=given["debug"] or bool(before.get("debug")),
        keep=given["keep"],
        wait=given.get("wait", False),
        retries=given.get("retries"),
    )


def open_view(console: Console, planned: Sequence[Planned]) -> View:
    """Return the live view on a terminal, else plain lines."""
    jobs = [item.job for item in planned if not item.reused]
    configs = {item.job.run_id: item.config.to_json() for item in planned}
    if console.is_terminal and not console.is_dumb_terminal and jobs:
        return LiveView(console, jobs, configs)
    return PlainView(console.file, jobs, configs)


def print_problems(finished: Sequence[api.Finished], debug: bool) -> None:
    """Say which runs failed and why, and how to go on after an interruption."""
    for item in finished:
        if item.outcome.status == "failed":
            place = f"run {item.outcome.run_id} (seed {item.planned.config.seed})"
            complain(f"{place}: {item.outcome.error}")
            if debug and item.outcome.traceback:
                say(item.outcome.traceback, err=True)
    if any(item.outcome.status == "interrupted" for item in finished):
        say("interrupted; the same command resumes where it stopped", err=True)


def exit_code(finished: Sequence[api.Finished]) -> int:
    """Return 130 if anything was interrupted, else the failures' code, else 0."""
    states = {item.outcome.status for item in finished}
    if "interrupted" in states:
        return EXIT["interrupted"]
    codes = {item.outcome.exit_code for item in finished if item.outcome.status == "failed"}
    if codes == {UsageError.exit_code}:
        return UsageError.exit_code
    return DsdError.exit_code if codes else 0
