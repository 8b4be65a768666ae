"""``dsd-bench work`` and ``dsd-bench retry``."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from dsd_bench.cli.carrying import how, settings_of, worker_options
from dsd_bench.cli.options import Sectioned
from dsd_bench.cli.saying import complain, say_json
from dsd_bench.config.naming import command, label
from dsd_bench.errors import UsageError
from dsd_bench.executors import Event
from dsd_bench.executors.local import worker_environment
from dsd_bench.executors.pulling import Pool
from dsd_bench.executors.pulling import work as carry_on
from dsd_bench.executors.remote import read_ids
from dsd_bench.executors.signals import Stop, stop_on_signals
from dsd_bench.plugins import catalogue
from dsd_bench.reports.words import open_console, plural
from dsd_bench.store import attempts
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import FAILURE, failure, finished, stored_ids

SIGNALS = ("SIGHUP", "SIGUSR1", "SIGUSR2")
"""What clusters and closed terminals send beside SIGTERM: checkpoint and leave."""
JOB_ENDS = "SLURM_JOB_END_TIME"
"""Where Slurm says when the job will be ended, in seconds since 1970."""
MARGIN = 90.0
"""Seconds before such an end at which a worker leaves."""
SPACING = 30.0
"""Seconds between two lines of progress."""

folder = click.argument(
    "runs_dir", default="runs", metavar="[RUNS_DIR]", type=click.Path(path_type=Path)
)


@click.command(cls=Sectioned)
@folder
@how(
    "--max-hours",
    type=click.FloatRange(0, min_open=True),
    help="Leave, with a checkpoint, after this long (default: when nothing is left).",
)
@how(
    "--runs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take only the runs whose ids FILE lists, one a line (default: all).",
)
@how(
    "--attached",
    is_flag=True,
    help="Leave, with a checkpoint, when standard input closes: whoever started it is gone.",
)
@worker_options
@how("--json", "as_json", is_flag=True, help="Print the outcome as JSON alone on stdout.")
def work(
    runs_dir: Path,
    max_hours: float | None,
    runs: Path | None,
    attached: bool,
    **given: Any,
) -> int:
    """Take any ready run of RUNS_DIR (default: runs), carry it on, take the next.

    Start as many workers as there are cores or GPUs, on any computer that sees the folder; kill
    them as you like. A worker leaves when no run is left that it could carry on or take over, when
    its time is up, or on SIGTERM. `dsd-bench sweep SUITE --write` fills a folder.
    """
    settings = settings_of(given, given["data_dir"] or Path("data"))
    if not runs_dir.is_dir():
        raise UsageError(
            f"{runs_dir}: no such folder; `dsd-bench sweep SUITE --write` makes one with runs to do"
        )
    if not stored_ids(runs_dir):
        hint = command("sweep", "SUITE", "--write", runs_dir=runs_dir)
        raise UsageError(f"{runs_dir}: there are no runs in it; {hint} puts some there")
    only = None if runs is None else read_ids(runs)
    _as_a_worker(worker_environment(settings))
    pool = Pool(runs_dir, given["retries"], only)
    console = open_console(sys.stderr if given["as_json"] else sys.stdout)
    lines = Lines(console, runs_dir)
    lines.say(f"{plural(pool.left, 'run')} to do, {pool.done} done, {len(pool.failed)} failed")
    ends = _ends(max_hours)
    with stop_on_signals(lines.handle, SIGNALS) as stop:
        if attached:
            _stop_when_closed(stop)

        def stopping() -> bool:
            return stop.is_set() or time.time() >= ends

        outcomes = carry_on(pool, settings, lines.handle, stopping)
    early = pool.left > 0
    counts = {"done": pool.done, "failed": len(pool.failed), "left": pool.left}
    if given["as_json"]:
        ended = [{"run_id": one.run_id, "status": one.status} for one in outcomes]
        say_json({"runs": ended, **counts, "failures": pool.failed})
    else:
        lines.say(", ".join(f"{count} {state}" for state, count in counts.items()))
        for run_id, why in pool.failed.items():
            complain(f"run {run_id}: {why}")
    if early:
        return 130
    return 1 if pool.failed else 0


@click.command(cls=Sectioned)
@folder
@click.option("--json", "as_json", is_flag=True, help="Print JSON alone on stdout.")
def retry(runs_dir: Path, as_json: bool) -> int:
    """Let workers try the failed runs of RUNS_DIR (default: runs) again, from their checkpoints."""
    if not runs_dir.is_dir():
        raise UsageError(f"{runs_dir}: no such folder")
    again = []
    for run_id in stored_ids(runs_dir):
        path = runs_dir / run_id
        if failure(path) is not None and not finished(path):
            attempts.forget(path)
            (path / FAILURE).unlink(missing_ok=True)
            again.append(run_id)
    if as_json:
        say_json({"runs": again})
        return 0
    console = open_console(sys.stdout)
    console.print(Text(f"{plural(len(again), 'failed run')} may be tried again"))
    if again:
        console.print(Text("  " + command("work", str(runs_dir))), soft_wrap=True)
    return 0


class Lines:
    """Tells what a worker does, a line at a time."""

    def __init__(self, console: Console, runs_dir: Path) -> None:
        self.console, self.runs_dir = console, runs_dir
        self._told = 0.0
        self._names: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Print a line with the time."""
        line = Text(f"{time.strftime('%H:%M:%S')} {text}")
        with contextlib.suppress(OSError):  # a terminal that has gone, a full disk: work goes on
            self.console.print(line, soft_wrap=True)

    def handle(self, event: Event) -> None:
        """Tell an event of a run."""
        kind, run_id = event["event"], event.get("run_id", "")
        told = _words(event)
        now = time.monotonic()
        if kind == "progress" and now - self._told < SPACING:
            return
        self._told = now
        if told:
            self.say(f"{run_id[:8]} {self._name(run_id)}: {told}" if run_id else told)

    def _name(self, run_id: str) -> str:
        if run_id not in self._names:
            config = read_json(self.runs_dir / run_id / "config.json")
            name = label(config, catalogue().find)
            self._names[run_id] = f"{name}, seed {config.get('seed')}"
        return self._names[run_id]


def _words(event: Event) -> str:
    kind = event["event"]
    if kind == "started":
        resumed = event["resumed_from_round"]
        return "begins" if resumed is None else f"goes on in round {resumed}"
    if kind == "progress":
        speed = f"{event['images_per_second']} images/s"
        return f"round {event['round']}, epoch {event['epoch']}/{event['epochs']}, {speed}"
    if kind == "round":
        row = event["row"]
        return f"round {row['round']}: test accuracy {100 * row['test_accuracy']:.1f} %"
    if kind == "failed":
        return f"failed: {event['error']}"
    return str(event.get("text", "done" if kind == "finished" else ""))


def _ends(max_hours: float | None) -> float:
    """Return when to leave, in seconds since 1970."""
    ends = time.time() + 3600 * max_hours if max_hours is not None else float("inf")
    try:
        return min(ends, float(os.environ[JOB_ENDS]) - MARGIN)
    except (KeyError, ValueError):
        return ends


def _stop_when_closed(stop: Stop) -> None:
    """Ask to stop once nobody holds the other end of standard input any more."""
    if sys.stdin is None:
        stop.set()
        return
    handle = os.dup(sys.stdin.fileno())

    def listen() -> None:
        with contextlib.suppress(OSError):
            while os.read(handle, 4096):
                pass
        stop.set()

    threading.Thread(target=listen, daemon=True).start()


def _as_a_worker(environment: dict[str, str]) -> None:
    """Begin the command again with the environment of a worker process, if this is another one.

    Threads and the allocator (:func:`worker_environment`) are chosen before anything is imported.
    """
    words = sys.argv[1:]
    if environment == dict(os.environ) or "work" not in words:  # called from Python
        return
    sys.stdout.flush()
    os.dup2(sys.stdout.fileno(), 1)  # which the command line had made private, as the other
    if sys.stdin is not None:
        os.dup2(sys.stdin.fileno(), 0)
    os.execve(sys.executable, [sys.executable, "-m", "dsd_bench", *words], environment)
