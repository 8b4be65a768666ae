"""What ``dsd-bench replay --choose`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from dsd_bench.cli.tables import plain_table, print_whole, rounds_word, share_word
from dsd_bench.config.naming import command
from dsd_bench.reports.methods import Method
from dsd_bench.reports.words import Glyphs, glyphs, percent
from dsd_bench.store.held import kept_rounds

if TYPE_CHECKING:
    from dsd_bench.replay.choices import Chosen, MethodChoice


def record(method: str, one: Chosen) -> dict[str, Any]:
    """Return one chooser on one run, flat."""
    derived = {"fewer": one.fewer, "given_up": one.given_up, "lost": one.lost}
    return {"method": method, **asdict(one), **derived}


def records(results: Mapping[str, Sequence[MethodChoice]]) -> list[dict[str, Any]]:
    """Return the means of every chooser, each with its runs."""
    listed = []
    for method, found in results.items():
        for one in found:
            means = {key: value for key, value in asdict(one).items() if key != "choices"}
            runs = [record(method, choice) for choice in one.choices]
            listed.append({"method": method, **means, "runs": runs})
    return listed


def show(console: Console, method: Method, found: Sequence[MethodChoice]) -> None:
    """Print what each chooser chooses of the runs of a method."""
    of_runs = found[0].choices
    console.print(f"{method.label} ({method.seeds})", style="bold")
    console.print(f"{method.setting}", style="dim")
    best = " ".join(f"{percent(one.best_accuracy)}" for one in of_runs)
    oracle = " ".join(f"{percent(one.oracle_accuracy)}" for one in of_runs)
    console.print(f"best chooses {best} %; oracle {oracle} %\n")
    print_whole(console, _means(found, glyphs(console)))
    if len(of_runs) > 1 and len(found) <= 4:
        console.print()
        print_whole(console, _each(found))
    told = "selected on test" if method.on_test else "selected on validation"
    console.print(
        f"\nAccuracies in %, {told}. Fewer: weights saved, % of those of the round that best "
        "chooses; lost: accuracy against it, points; given up: against the oracle, the best round "
        "by the accuracy shown.",
        style="dim",
    )
    for text in _not_kept(method, found):
        console.print(text)
    console.print()


def _means(found: Sequence[MethodChoice], signs: Glyphs) -> Table:
    told = ("sparsity", "accuracy", "fewer", "lost", "given up")
    table = plain_table("", "chooser", "round", *told, left=2)
    for number, one in enumerate(found, start=1):
        shares = (one.sparsity, one.accuracy, one.fewer, one.lost, one.given_up)
        words = [share_word(value, signs) for value in shares]
        table.add_row(str(number), one.chooser, rounds_word(one.round, signs), *words)
    return table


def _each(found: Sequence[MethodChoice]) -> Table:
    """List every seed: which round is chosen, and what of the best one's weights that saves."""
    table = plain_table("", "seed", "round", "sparsity", "accuracy", "fewer", "lost", "best at")
    for number, method in enumerate(found, start=1):
        for one in method.choices:
            shares = (one.sparsity, one.accuracy, one.fewer, one.lost)
            words = [str(number), str(one.seed), str(one.round), *map(percent, shares)]
            table.add_row(*words, str(one.best_round))
    return table


def _not_kept(method: Method, found: Sequence[MethodChoice]) -> list[str]:
    """Say of which runs the chosen rounds' weights are not there, and how to get them."""
    told = []
    for one in found:
        places = {run.run_id: run.path for run in method.runs}
        lost = [c for c in one.choices if c.round not in kept_rounds(places[c.run_id])]
        if lost:
            rounds = ", ".join(f"{c.round} of seed {c.seed}" for c in lost)
            path = places[lost[0].run_id]
            words = ("--config", path / "config.json", "--choose", one.chooser)
            again = command("run", *words, runs_dir=path.parent)
            told.append(
                f"weights not kept (--keep) of what {one.chooser} chooses, rounds {rounds}: "
                f"to have them train anew: {again}"
            )
    return told
