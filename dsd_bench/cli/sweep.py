"""``dsd-bench sweep``."""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dsd_bench import api
from dsd_bench.cli import reading
from dsd_bench.cli.carrying import (
    TRIES,
    exit_code,
    how,
    how_options,
    open_view,
    print_problems,
    settings_of,
)
from dsd_bench.cli.estimating import ask_first, check_disk, disk_needed
from dsd_bench.cli.header import print_notes
from dsd_bench.cli.identifying import identifying
from dsd_bench.cli.options import Sectioned
from dsd_bench.cli.saying import say_json
from dsd_bench.cli.suites import list_suites
from dsd_bench.config.naming import command
from dsd_bench.config.words import parse_component
from dsd_bench.executors import Keep, Status
from dsd_bench.executors.planning import Planned, plan, prepare_folders
from dsd_bench.reports.standing import free_bytes
from dsd_bench.reports.words import open_console, plural, size_word
from dsd_bench.suites.cells import Cell, cells
from dsd_bench.suites.costs import Budget, budget, curves_left
from dsd_bench.suites.schema import Suite, find_suite, read_suite

Chosen = list[tuple[str, Suite, list[Cell]]]


@click.command(cls=Sectioned)
@click.argument("suites", nargs=-1, metavar="[SUITE...]")
@reading.cell_options
@click.option("--dry-run", is_flag=True, help="Say what would be run and what it costs; run none.")
@click.option(
    "--write",
    is_flag=True,
    help="Write the runs' folders and leave: workers (dsd-bench work) carry them out.",
)
@click.option(
    "--calibrate", is_flag=True, help="Time a few steps of each kind first, to tell hours as well."
)
@how_options
@TRIES
@how("--json", "as_json", is_flag=True, help="Print the outcome as JSON alone on stdout.")
def sweep(
    suites: tuple[str, ...], scale: Any, only: tuple[str, ...], seeds: str | None, **given: Any
) -> int:
    """Run every cell of SUITE...: files, or names of those in benchmarks/; with none, list them.

    Runs that suites share, and those that are finished, are run once. The same command again
    goes on where it stopped. Teachers come before their students.
    """
    if not suites:
        list_suites(given["as_json"])
        return 0
    runs_dir = given["runs_dir"] or Path("runs")
    settings = settings_of(given, given["data_dir"] or Path("data"))
    executor, _ = parse_component("executor", given["executor"], "--executor")
    places = {"runs_dir": runs_dir, "data_dir": settings.data_dir}
    chosen: Chosen = []
    for path in dict.fromkeys(find_suite(word) for word in suites):
        suite = read_suite(path)
        with identifying():
            found = cells(suite, scale, only=only, seeds=seeds, places=places)
        chosen.append((path.stem, suite, found))
    configs = [config for _, _, found in chosen for cell in found for config in cell.configs]
    with identifying():
        notes = [] if given["dry_run"] else api.check_data(configs, settings)
    labels: dict[str, str] = {}
    for name, _, found in chosen:
        for cell in found:
            for config in cell.configs:
                labels.setdefault(config.run_id, f"{name}: {cell.name}")
    planned = plan(configs, runs_dir, labels=labels)
    console = open_console(sys.stderr if given["as_json"] else sys.stdout)
    costs = budget(planned, settings if given["calibrate"] else None)
    _print_plan(console, chosen, planned, costs)
    _print_disk(console, planned, costs, runs_dir, settings.keep)
    print_notes(console, notes)
    if not (given["dry_run"] or given["yes"]):
        check_disk(planned, costs, runs_dir, settings.keep)
    if given["dry_run"] or given["write"]:
        if given["write"]:
            prepare_folders(planned, runs_dir)
            console.print(Text("  " + command("work", str(runs_dir))), soft_wrap=True)
        if given["as_json"]:
            say_json(_plan_json(chosen, planned, costs))
        return 0
    there = executor.component.load().elsewhere  # how long it takes there is not known here
    ask_first(console, planned, settings, given["yes"] or given["as_json"] or there)
    with open_view(console, planned) as view:
        finished = api.execute_plan(
            planned, runs_dir, settings, executor=given["executor"], emit=view.handle
        )
    if given["as_json"]:
        states = {item.outcome.run_id: item.outcome.status for item in finished}
        say_json(_plan_json(chosen, planned, costs, states))
    else:
        words = () if scale == "small" else ("--scale", scale)
        _print_end(console, finished)
        for name in dict.fromkeys(suites):
            shown = [command(verb, name, *words, runs_dir=runs_dir) for verb in ("table", "plot")]
            console.print(Text("  " + "    ".join(shown)), soft_wrap=True)
    print_problems(finished, settings.debug)
    return exit_code(finished)


def _print_plan(
    console: Console, chosen: Chosen, planned: Sequence[Planned], costs: Budget
) -> None:
    """Print each suite's cells, then what is there and what will be run."""
    states = {item.job.run_id: item.reused for item in planned}
    for name, suite, found in chosen:
        console.print(Text(f"{name}: {suite.title}", style="bold"))
        table = Table(box=None, header_style="dim", padding=(0, 1), pad_edge=False)
        for heading in ("cell", "seeds", "done", "MACs a run", *(["time a run"] * costs.timed)):
            table.add_column(heading, justify="left" if heading == "cell" else "right")
        for cell in found:
            done = sum(states[config.run_id] for config in cell.configs)
            first = costs.of(cell.configs[0].run_id)
            row = [cell.name, str(len(cell.configs)), str(done), first.macs_words]
            table.add_row(*row, *([first.time_words] * costs.timed))
        console.print(table)
        console.print()
    to_run = [item for item in planned if not item.reused]
    teachers = sum(item.teacher for item in to_run)
    text = f"{plural(len(planned), 'run')}: {len(planned) - len(to_run)} finished, "
    text += f"{len(to_run)} to run ({plural(teachers, 'teacher')} among them)"
    left = curves_left(to_run)
    if len(left) < len(to_run):
        text += f"; they share {plural(len(left), 'curve')}"
    console.print(Text(text))
    if to_run:
        console.print(Text(costs.words(left)))
    console.print()


def _print_disk(
    console: Console, planned: Sequence[Planned], costs: Budget, runs_dir: Path, keep: Keep | None
) -> None:
    """Say what the runs will take on the disk, and what that has left."""
    needed, free = disk_needed(planned, costs, keep), free_bytes(runs_dir)
    if needed:
        left = "" if free is None else f", {size_word(free)} free"
        console.print(Text(f"disk: about {size_word(needed)} more{left}"))
        console.print()


def _plan_json(
    chosen: Chosen,
    planned: Sequence[Planned],
    costs: Budget,
    states: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the plan, or with ``states`` the outcome, for scripts."""
    before = {item.job.run_id: "done" if item.reused else "to run" for item in planned}
    now = states or before
    wanted = {
        name: [
            {"cell": dict(cell.labels), "runs": [config.run_id for config in cell.configs]}
            for cell in found
        ]
        for name, _, found in chosen
    }
    runs = [
        {
            "run_id": item.job.run_id,
            "seed": item.config.seed,
            "teacher": item.teacher,
            "reused": item.reused,
            "status": now[item.job.run_id],
            "macs": costs.of(item.job.run_id).macs,
            "seconds": costs.of(item.job.run_id).seconds,
            "bytes": costs.of(item.job.run_id).bytes,
        }
        for item in planned
    ]
    return {"suites": wanted, "runs": runs}


def _print_end(console: Console, finished: Sequence[api.Finished]) -> None:
    """Print how many runs ended how."""
    counts = {
        state: sum(item.outcome.status == state for item in finished)
        for state in typing.get_args(Status)
    }
    words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    console.print(Text(f"{plural(len(finished), 'run')}: {words}"))
