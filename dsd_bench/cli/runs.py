"""``dsd-bench runs``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_json
from dsd_bench.config.layers import parse_seeds
from dsd_bench.config.naming import label, setting
from dsd_bench.plugins import catalogue
from dsd_bench.reports.progress import planned_rounds
from dsd_bench.reports.words import open_console, plural, size_word
from dsd_bench.store.listing import STATES, Listed, list_runs

STYLES = {"done": "green", "unfinished": "yellow", "failed": "red", "damaged": "bold red"}


@click.command()
@click.argument("text", nargs=-1, metavar="[TEXT...]")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES),
    help="Only runs in this state; repeat it for several.",
)  # fmt: skip
@click.option("--dataset", metavar="NAME", help="Only runs on this data set.")
@click.option("--seeds", metavar="SEEDS", help="Only these seeds: 0-2, 0,3 or 5.")
@click.option("--ids", is_flag=True, help="Print the ids alone, for other commands.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reading.runs_dir
def runs(
    text: tuple[str, ...],
    states: tuple[str, ...],
    dataset: str | None,
    seeds: str | None,
    ids: bool,
    as_json: bool,
    runs_dir: Path,
) -> None:
    """List the runs that are there: what, seed, state, when, size; the newest last.

    TEXT keeps those whose id, data, model or method hold it, for example `dsd-bench runs kd`;
    of several texts all must be there.
    """
    wanted = set(parse_seeds(seeds)) if seeds else None
    told = [entry_json(one) for one in list_runs(runs_dir)]
    shown = [
        one
        for one in told
        if (not states or one["state"] in states)
        and (dataset is None or one["dataset"] == dataset)
        and (wanted is None or one["seed"] in wanted)
        and all(part.lower() in _searched(one) for part in text)
    ]
    if as_json:
        say_json({"runs": shown})
    elif ids:
        say("\n".join(one["run_id"] for one in shown))
    else:
        print_runs(open_console(sys.stdout), shown, len(told), runs_dir)


def entry_json(one: Listed) -> dict[str, Any]:
    """Return what ``runs --json`` says of a run; None where a damaged folder does not tell."""
    run, when = one.run, one.modified
    result = (run.result if run else None) or {}
    return {
        "run_id": one.path.name,
        "path": str(one.path),
        "state": one.state,
        "error": one.error,
        "seed": run.seed if run else None,
        "dataset": run.config["dataset"]["name"] if run else None,
        "setting": setting(run.config, catalogue().find) if run else None,
        "method": label(run.config, catalogue().find) if run else None,
        "rounds_done": len(run.rows) if run else None,
        "rounds_planned": _planned(one),
        "best_round": result.get("best_round") if one.state == "done" else None,
        "modified": None if when is None else datetime.fromtimestamp(when, UTC).isoformat(),
        "bytes": one.bytes,
    }


def _planned(one: Listed) -> int | None:
    """Return the rounds that were asked for, round 0 included."""
    prunings = planned_rounds(one.run.config) if one.run else None
    return None if prunings is None else prunings + 1


def _searched(one: dict[str, Any]) -> str:
    return " ".join(str(one[key] or "") for key in ("run_id", "setting", "method")).lower()


def print_runs(
    console: Console, shown: Sequence[dict[str, Any]], total: int, runs_dir: Path
) -> None:
    """Print a line for each run, under a line for each setting and method."""
    seen = None
    for one in shown:
        what = (one["setting"], one["method"])
        if what != seen:
            seen = what
            words = Text.assemble((str(one["method"]), "bold"), f"  {one['setting']}")
            console.print(words if one["setting"] else Text("cannot be read", style="bold"))
        console.print(_line(one), soft_wrap=True)
    size = size_word(sum(one["bytes"] for one in shown))
    counts = [(state, sum(one["state"] == state for one in shown)) for state in STATES]
    states = ", ".join(f"{count} {state}" for state, count in counts if count)
    of = f" of {total:,}" if len(shown) < total else ""
    tail = f": {states}; {size}" if shown else ""
    console.print(Text(f"{plural(len(shown), 'run')}{of} in {runs_dir}{tail}", style="dim"))


def _line(one: dict[str, Any]) -> Text:
    """Write id, seed, state, rounds, when and size in columns; then what went wrong."""
    rounds = "" if one["rounds_done"] is None else str(one["rounds_done"])
    if one["state"] == "unfinished" and one["rounds_planned"]:
        rounds += f"/{one['rounds_planned']}"
    seed = "" if one["seed"] is None else f"seed {one['seed']}"
    when = one["modified"] and datetime.fromisoformat(one["modified"]).astimezone()
    parts = [
        (f"  {one['run_id'][:8]}  ", ""),
        (f"{seed:<8} ", ""),
        (f"{one['state']:<10}  ", STYLES[one["state"]]),
        (f"{rounds + ' rounds' if rounds else '':<12}  ", ""),
        (f"{when:%Y-%m-%d %H:%M}  " if when else " " * 18, "dim"),
        (f"{size_word(one['bytes']):>7}", ""),
    ]
    return Text.assemble(*parts, f"  {one['error']}" if one["error"] else "")
