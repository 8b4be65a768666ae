"""``dsd-bench replay``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from dsd_bench.analysis import Spread
from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_csv, say_json
from dsd_bench.cli.tables import plain_table, print_whole
from dsd_bench.costs import macs_word
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.origins import remembering
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.words import Glyphs, compact, glyphs, open_console, percent
from dsd_bench.store.runs import find_run, load_run

if TYPE_CHECKING:
    from dsd_bench.replay import MethodReplay, Replay, Rule


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--stop",
    "stops",
    multiple=True,
    required=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="Stop criterion, any plugin's too; repeat it for several.",
)
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=V1,V2,...",
    help="Try these values of a parameter of the one --stop; repeat it for a grid.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw trainings saved against accuracy given up (.svg, .png).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV, one line a rule and run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reading.runs_dir
@reading.data_dir
def replay(
    runs: tuple[str, ...],
    stops: tuple[str, ...],
    vary: tuple[str, ...],
    figure: Path | None,
    as_csv: bool,
    as_json: bool,
    runs_dir: Path,
    data_dir: Path,
) -> None:  # fmt: skip
    """Apply stop rules to the finished, full curves of RUN... without training.

    Tells for each rule where it stops, the trainings and MACs it saves, and the accuracy it gives
    up against the best round of the whole curve. RUN is an id, a unique prefix of one, or a path;
    seeds of one configuration are taken together.
    """
    from dsd_bench.replay import outcomes
    from dsd_bench.replay.curves import read_curve

    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other")
    _check_figure(figure)
    with remembering(runs_dir):
        rules = _rules(stops, vary)
    found = [load_run(path) for path in dict.fromkeys(find_run(word, runs_dir) for word in runs)]
    curves = {run.run_id: read_curve(run, data_dir) for run in found}
    methods = methods_of(found, catalogue().find)
    results = {
        method.label: outcomes([curves[run.run_id] for run in method.runs], rules)
        for method in methods
    }
    if as_json:
        say_json({"rules": _records(results)})
    elif as_csv:
        _write_csv(results)
    else:
        console = open_console(sys.stdout)
        for method in methods:
            _show(console, method, results[method.label])
    if figure is not None:
        from dsd_bench.replay.figure import draw

        draw(results, figure)
        say(f"wrote {figure}", err=True)


def _check_figure(path: Path | None) -> None:
    if path is not None:
        from dsd_bench.figures import check_suffix

        check_suffix(path)


def _rules(stops: Sequence[str], vary: Sequence[str]) -> list[Rule]:
    from dsd_bench.replay import rule, varied

    if not vary:
        return [rule(word) for word in stops]
    if len(stops) > 1:
        raise UsageError("--vary needs exactly one --stop, whose parameters it varies")
    values: dict[str, list[str]] = {}
    for word in vary:
        key, sign, text = word.partition("=")
        parts = [part.strip() for part in text.split(",")]
        if not sign or not key.strip() or not all(parts):
            raise UsageError(f"--vary: '{word}' is not KEY=VALUE,VALUE,...")
        if key.strip() in values:
            raise UsageError(f"--vary: '{key.strip()}' is given twice")
        values[key.strip()] = parts
    return varied(stops[0], values)


def _record(method: str, one: Replay) -> dict[str, Any]:
    """Return one rule on one run, flat."""
    derived = {
        "trainings_saved": one.trainings_saved,
        "given_up": one.given_up,
        "lost": one.lost,
    }
    return {"method": method, **asdict(one), **derived}


def _records(results: Mapping[str, Sequence[MethodReplay]]) -> list[dict[str, Any]]:
    listed = []
    for method, found in results.items():
        for one in found:
            means = {key: value for key, value in asdict(one).items() if key != "replays"}
            runs = [_record(method, replayed) for replayed in one.replays]
            listed.append({"method": method, **means, "runs": runs})
    return listed


def _write_csv(results: Mapping[str, Sequence[MethodReplay]]) -> None:
    rows = [
        _record(method, replayed)
        for method, found in results.items()
        for one in found
        for replayed in one.replays
    ]
    say_csv(tuple(rows[0]), rows)


def _show(console: Console, method: Method, found: Sequence[MethodReplay]) -> None:
    signs = glyphs(console)
    of_runs = found[0].replays
    best = " ".join(f"{percent(one.oracle_accuracy)}" for one in of_runs)
    console.print(f"{method.label} ({method.seeds})", style="bold")
    console.print(f"{method.setting}", style="dim")
    console.print(
        f"whole curve: {of_runs[0].last + 1} trainings, {macs_word(of_runs[0].macs)} MACs; "
        f"oracle {best} %\n"
    )
    print_whole(console, _means(found, signs))
    if len(of_runs) > 1 and len(found) <= 4:
        console.print()
        print_whole(console, _each(found))
    told = "selected on test" if method.on_test else "selected on validation"
    console.print(
        f"\nShares of the whole curve, %; accuracies in %, {told}. Given up: against the oracle, "
        "the best round by the accuracy shown; lost: against what the whole curve selects.\n",
        style="dim",
    )


def _means(found: Sequence[MethodReplay], signs: Glyphs) -> Table:
    saved = ("trainings saved", "MACs saved", "effective")
    table = plain_table("", "rule", "stops at", *saved, "accuracy", "given up", "lost", left=2)
    for number, one in enumerate(found, start=1):
        shares = (one.trainings_saved, one.macs_saved, one.effective_saved)
        points = (one.accuracy, one.given_up, one.lost)
        words = [_share(spread, signs) for spread in (*shares, *points)]
        table.add_row(str(number), one.rule, _rounds(one.round, signs), *words)
    return table


def _share(value: Spread | None, signs: Glyphs) -> str:
    return "-" if value is None else compact(value.mean, value.std, signs)


def _rounds(value: Spread, signs: Glyphs) -> str:
    whole = value.mean.is_integer() and not value.std
    mean = f"{value.mean:.0f}" if whole else f"{value.mean:.1f}"
    return mean + (f"{signs.plus_minus}{value.std:.1f}" if value.std is not None else "")


def _each(found: Sequence[MethodReplay]) -> Table:
    """List every seed: where it stops and which round it keeps."""
    table = plain_table("", "seed", "stops at", "keeps", "accuracy", "given up", "oracle at", "by")
    for number, outcome in enumerate(found, start=1):
        for one in outcome.replays:
            accuracies = (percent(one.accuracy), percent(one.given_up))
            places = (str(one.round), str(one.best_round))
            oracle = (str(one.oracle_round), one.stopped_by)
            table.add_row(str(number), str(one.seed), *places, *accuracies, *oracle)
    return table
