"""``dsd-bench show``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dsd_bench.analysis import summarise
from dsd_bench.cli import reading
from dsd_bench.cli.saying import say_json
from dsd_bench.cli.selecting import paths
from dsd_bench.config.words import parse_component
from dsd_bench.environment.contained import contained
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.reports.findings import known_size
from dsd_bench.reports.methods import methods_of
from dsd_bench.reports.terminal import show as show_in_terminal
from dsd_bench.reports.words import open_console
from dsd_bench.store.listing import state_of
from dsd_bench.store.runs import StoredRun


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--csv", "as_csv", is_flag=True, help="Print a tidy CSV, one line a run and round.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: rounds, results, verdicts.")
@click.option("--reporter", metavar="NAME[:KEY=VALUE,...]", help="Another view of the runs.")
@reading.runs_dir
def show(
    runs: tuple[str, ...], as_csv: bool, as_json: bool, reporter: str | None, runs_dir: Path
) -> None:
    """Show the curves and rounds of RUN...: ids, prefixes of ids, paths, folders of runs, methods.

    Of several, those that are not finished are left out with a note.
    """
    if as_csv + as_json + bool(reporter) > 1:
        raise UsageError("--csv, --json and --reporter exclude each other")
    found = reading.load_finished(paths(runs, runs_dir))
    if as_json:
        say_json(show_json(found))
        return
    if reporter is None and not as_csv:
        show_in_terminal(open_console(sys.stdout), found, lookup=catalogue().find)
        return
    entry, params = parse_component("reporter", reporter or "csv", "--reporter")
    made, out = entry.component.create(params), sys.stdout
    with contained():
        made.report(found, out)


def show_json(found: Sequence[StoredRun]) -> dict[str, Any]:
    """Return what ``show --json`` prints: methods with their summaries, and the runs as stored."""
    methods = []
    for method in methods_of(found, catalogue().find):
        told = summarise(method.runs, known_size(method.runs))
        kept = ("column", "selection", "dense", "dip", "sweet", "selected", "stopped")
        summary = {key: _plain(getattr(told, key)) for key in kept}
        summary["verdict"] = None if method.unfinished else told.evidence.verdict
        ids = [run.run_id for run in method.runs]
        methods.append({"label": method.label, "setting": method.setting, "runs": ids, **summary})
    runs = [
        {
            "run_id": run.run_id,
            "path": str(run.path),
            "state": state_of(run),
            "config": run.config,
            "rows": run.rows,
            "result": run.result,
            "error": run.error,
        }
        for run in found
    ]
    return {"methods": methods, "runs": runs}


def _plain(value: Any) -> Any:
    """Turn data classes, also in lists, into JSON."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
