"""The command line: its commands, and how each of them ends."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from dsd_bench import __version__
from dsd_bench.cli.groups import Commands, Unread
from dsd_bench.cli.saying import complain, say
from dsd_bench.environment import DISABLE, TRACE, launched
from dsd_bench.environment.contained import Section, interrupted, private_streams
from dsd_bench.errors import DsdError, describe, message

COMMANDS = {
    "run": ("dsd_bench.cli.run", "Prune and retrain step by step; with no option, on real data."),
    "compress": ("dsd_bench.cli.compress", "Make a network smaller for one's own images."),
    "runs": ("dsd_bench.cli.runs", "List the runs that are there, finished or not."),
    "show": ("dsd_bench.cli.show", "Show runs as curves, tables or CSV."),
    "ledger": ("dsd_bench.cli.ledger", "What every training cost, in multiply-accumulates."),
    "replay": ("dsd_bench.cli.replay", "Apply stop rules to finished curves without training."),
    "sweep": ("dsd_bench.cli.sweep", "Run the grid of a suite: a figure or table of a paper."),
    "work": ("dsd_bench.cli.work", "Carry on any ready run of a folder, until none is left."),
    "retry": ("dsd_bench.cli.work", "Let workers try failed runs again."),
    "status": ("dsd_bench.cli.status", "How far a folder or suite is: running, failed, left."),
    "clean": ("dsd_bench.cli.clean", "List and delete what runs no longer need."),
    "doctor": ("dsd_bench.cli.doctor", "Look at what runs need here, and say what to do."),
    "table": ("dsd_bench.cli.suites", "Lay out a suite's runs beside its source's numbers."),
    "plot": ("dsd_bench.cli.plotting", "Draw runs for a paper, or a suite along its axes."),
    "analyze": ("dsd_bench.cli.analyze", "Tell phases, depth and sweet spot of finished curves."),
    "compare": ("dsd_bench.cli.comparing", "Compare two methods seed by seed, along their curves."),
    "report": ("dsd_bench.cli.reporting", "One HTML page on runs, a suite or a board."),
    "export": ("dsd_bench.cli.export", "Write a run's network without what is dead in it."),
    "latency": ("dsd_bench.cli.latency", "Time dense, masked and shrunk networks side by side."),
    "plugins": ("dsd_bench.cli.plugins", "List every component by kind, and broken plugins."),
    "info": ("dsd_bench.cli.plugins", "Describe one component: parameters, citation, origin."),
    "submit": ("dsd_bench.cli.boards", "Make leaderboard rows of finished runs."),
    "leaderboard": ("dsd_bench.cli.boards", "Write the boards from their rows, or check them."),
    "verify": ("dsd_bench.cli.verify", "Recompute rows from their runs, or run them again."),
}
"""Each command's module and summary; the function is called as the command."""


@click.group(cls=Commands, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dsd-bench")
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.option("--no-plugins", is_flag=True, help=f"Use built-in components only (or {DISABLE}=1).")
@click.option(
    "--trace-hooks", is_flag=True, help=f"Write every hook call to stderr (or {TRACE}=1)."
)
def cli(debug: bool, no_plugins: bool, trace_hooks: bool) -> None:
    """Sparse double descent, measured fairly.

    Prune any network step by step with any pruner, perturber, regularizer and stop criterion, in
    one protocol; compare them on leaderboards. Try `dsd-bench run`: it needs no data and no GPU.
    """
    # environment variables, because worker processes need to know too
    if no_plugins:
        os.environ[DISABLE] = "1"
    if trace_hooks:
        os.environ[TRACE] = "1"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, 1 failed, 2 usage, 130 interrupted."""
    # what libraries, plugins and the processes that they start print is no output of the command
    stdin, stdout = private_streams()
    sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc,assignment]
    sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc,assignment]
    signal.signal(signal.SIGINT, _interrupt)
    code = call(sys.argv[1:] if arguments is None else list(arguments))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is said: Ctrl-C ends us without a traceback
    _let_go()
    sys.exit(code)


def _let_go() -> None:
    """Write out what is left; where nobody reads it, forget it: Python would complain of it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: Any) -> None:
    """Note Ctrl-C before it is raised: a library may turn it into an error of its own."""
    interrupted()
    raise KeyboardInterrupt


def call(arguments: list[str]) -> int:
    """Run the command line and return its exit code; errors are printed, not raised."""
    debug, since = "--debug" in arguments, Section()
    if not launched().leads:  # the leader of torchrun's processes speaks for all
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        code: Any = cli(arguments, prog_name="dsd-bench", standalone_mode=False)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        say(text.getvalue(), err=True, end="")
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except Unread:
        return 130
    except DsdError as error:
        _complain(message(error), debug)
        return error.exit_code
    except (Exception, SystemExit) as error:  # a user gets a sentence, not a traceback
        code = _interrupted() if since.interrupted else _bug(error, debug)
    return int(code or 0)


def _interrupted() -> int:
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a further Ctrl-C has nothing left to end
    say("interrupted", err=True)
    return 130


def _bug(error: BaseException, debug: bool) -> int:
    _complain(f"{describe(error)} (a bug; --debug shows where)", debug)
    return 1


def _complain(text: str, debug: bool) -> None:
    if debug:
        say(traceback.format_exc(), err=True, end="")
    complain(text)
