"""``dsd-bench replay``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say, say_csv, say_json
from dsd_bench.cli.selecting import paths
from dsd_bench.cli.tables import plain_table, print_whole, rounds_word, share_word
from dsd_bench.costs import macs_word
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.plugins.origins import remembering
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.pictures import setting_sentence
from dsd_bench.reports.words import Glyphs, glyphs, open_console, percent
from dsd_bench.store.runs import load_run

if TYPE_CHECKING:
    from dsd_bench.replay import MethodReplay, Replay
    from dsd_bench.replay.figure import Points
    from dsd_bench.store.runs import StoredRun

    Drawn = tuple[Points, tuple[str, str]]

T = TypeVar("T")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--stop",
    "stops",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="Stop criterion, any plugin's too; repeat it for several.",
)
@click.option(
    "--choose",
    "choosers",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="Instead of stop criteria: chooser of the round; repeat it for several.",
)
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=V1,V2,...",
    help="Try these values of a parameter of the one rule; repeat it for a grid.",
)
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw what is saved against the accuracy that it costs (.svg, .pdf, .png).",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV, one line a rule and run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reading.runs_dir
@reading.data_dir
def replay(
    runs: tuple[str, ...],
    stops: tuple[str, ...],
    choosers: tuple[str, ...],
    vary: tuple[str, ...],
    figure: Path | None,
    as_csv: bool,
    as_json: bool,
    runs_dir: Path,
    data_dir: Path,
) -> None:  # fmt: skip
    """Apply stop rules, or choosers, to the finished curves of RUN... without training.

    Tells for each stop rule where it stops, the trainings and MACs it saves, and the accuracy it
    gives up against the best round of the whole curve; for each chooser (--choose) which round it
    returns, and what weights and accuracy that saves and costs. RUN is an id, a prefix of one, a
    path, a folder of runs, or a method's name as `dsd-bench runs` prints it; seeds of one
    configuration are taken together.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other")
    if bool(stops) == bool(choosers):
        raise UsageError("give --stop NAME, or --choose NAME: what is to be replayed")
    _check_figure(figure)
    form = "csv" if as_csv else "json" if as_json else ""
    found = [load_run(path) for path in paths(runs, runs_dir)]
    with remembering(runs_dir):
        replayed = _choose if choosers else partial(_stop, data_dir=data_dir)
        points, axes = replayed(found, choosers or stops, vary, form)
    if figure is not None:
        from dsd_bench.replay.figure import draw

        draw(points, figure, *axes, setting_sentence(found, catalogue().find))
        say(f"wrote {figure}", err=True)


def _stop(
    runs: Sequence[StoredRun], words: Sequence[str], vary: Sequence[str], form: str, data_dir: Path
) -> Drawn:
    """Replay stop rules, print what they do, return what a figure shows of it."""
    from dsd_bench.replay import outcomes, rule, varied
    from dsd_bench.replay.curves import read_curve

    rules = _rules(words, vary, "--stop", rule, varied)
    curves = {run.run_id: read_curve(run, data_dir) for run in runs}
    methods = methods_of(runs, catalogue().find)
    results = {
        method.label: outcomes([curves[run.run_id] for run in method.runs], rules)
        for method in methods
    }
    if form == "json":
        say_json({"rules": _records(results)})
    elif form == "csv":
        _write_csv([_record(*one) for one in _flat(results, "replays")])
    else:
        console = open_console(sys.stdout)
        for method in methods:
            _show(console, method, results[method.label])
    axes = ("trainings saved (%)", "accuracy given up against the oracle (points)")
    return {
        name: [(one.trainings_saved, one.given_up) for one in found]
        for name, found in results.items()
    }, axes


def _choose(
    runs: Sequence[StoredRun], words: Sequence[str], vary: Sequence[str], form: str
) -> Drawn:
    """Replay choosers, print what they choose, return what a figure shows of it."""
    from dsd_bench.cli import choosing
    from dsd_bench.replay.choices import summaries, way, ways
    from dsd_bench.replay.curves import read_rounds

    tried = _rules(words, vary, "--choose", way, ways)
    curves = {run.run_id: read_rounds(run) for run in runs}
    methods = methods_of(runs, catalogue().find)
    results = {
        method.label: summaries([curves[run.run_id] for run in method.runs], tried)
        for method in methods
    }
    if form == "json":
        say_json({"choosers": choosing.records(results)})
    elif form == "csv":
        _write_csv([choosing.record(*one) for one in _flat(results, "choices")])
    else:
        console = open_console(sys.stdout)
        for method in methods:
            choosing.show(console, method, results[method.label])
    axes = ("weights saved of those that best returns (%)", "accuracy lost against best (points)")
    return {name: [(one.fewer, one.lost) for one in found] for name, found in results.items()}, axes


def _check_figure(path: Path | None) -> None:
    if path is not None:
        from dsd_bench.figures import check_suffix

        check_suffix(path)


def _rules(
    words: Sequence[str],
    vary: Sequence[str],
    flag: str,
    one: Callable[[str], T],
    grid: Callable[[str, Mapping[str, Sequence[str]]], list[T]],
) -> list[T]:
    """Return the rules that are asked for with an option."""
    if not vary:
        return [one(word) for word in words]
    if len(words) > 1:
        raise UsageError(f"--vary needs exactly one {flag}, whose parameters it varies")
    values: dict[str, list[str]] = {}
    for word in vary:
        key, sign, text = word.partition("=")
        parts = [part.strip() for part in text.split(",")]
        if not sign or not key.strip() or not all(parts):
            raise UsageError(f"--vary: '{word}' is not KEY=VALUE,VALUE,...")
        if key.strip() in values:
            raise UsageError(f"--vary: '{key.strip()}' is given twice")
        values[key.strip()] = parts
    return grid(words[0], values)


def _flat(results: Mapping[str, Sequence[Any]], name: str) -> list[tuple[str, Any]]:
    """Return what each rule does to each run, with the method's name."""
    methods = [(method, one) for method, found in results.items() for one in found]
    return [(method, single) for method, one in methods for single in getattr(one, name)]


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


def _write_csv(rows: Sequence[Mapping[str, Any]]) -> None:
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
        words = [share_word(spread, signs) for spread in (*shares, *points)]
        table.add_row(str(number), one.rule, rounds_word(one.round, signs), *words)
    return table


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
