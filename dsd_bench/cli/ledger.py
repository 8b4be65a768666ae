"""``dsd-bench ledger``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dsd_bench.cli import reading
from dsd_bench.cli.saying import say_csv, say_json
from dsd_bench.cli.selecting import paths
from dsd_bench.cli.tables import plain_table, print_whole
from dsd_bench.costs import Ledger, macs_word, total
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.words import open_console, percent
from dsd_bench.store.runs import load_run

NOTE = (
    "MACs of forward and backward passes in training; effective leaves out pruned weights. "
    "Not counted: measuring, pruning, and what is not a product (docs/ledger.md)."
)


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN...")
@click.option(
    "--convention",
    type=click.Choice(["own", "paper"]),
    default="own",
    show_default=True,
    help="How to count: as docs/ledger.md says, or as the paper does.",
)
@click.option("--paper", is_flag=True, help="Check the paper's own cost column; needs no run.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a CSV, one line a training.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reading.runs_dir
@reading.data_dir
def ledger(
    runs: tuple[str, ...],
    convention: str,
    paper: bool,
    as_csv: bool,
    as_json: bool,
    runs_dir: Path,
    data_dir: Path,
) -> None:  # fmt: skip
    """List what every training of RUN... cost.

    RUN is an id, a prefix of one, a path, a folder of runs, or a method's name as `dsd-bench runs`
    prints it.
    The dense training and the teachers' own trainings are shown apart. `--paper` lays the paper's
    cost column beside the same price counted here.
    """
    if as_csv and as_json:
        raise UsageError("--csv and --json exclude each other")
    if paper == bool(runs):
        raise UsageError("give either RUN... or --paper: runs of yours, or the paper's table")
    if paper:
        _check_paper(as_csv, as_json)
        return
    from dsd_bench.costs.export import COLUMNS, to_json, to_rows
    from dsd_bench.costs.ledger import read_ledger

    found = [load_run(path) for path in paths(runs, runs_dir)]
    ledgers = {run.run_id: read_ledger(run, data_dir) for run in found}
    if as_json:
        listed = [to_json(entry) for entry in ledgers.values()]
        say_json({"runs": listed})
    elif as_csv:
        say_csv(COLUMNS, to_rows(list(ledgers.values())))
    else:
        console = open_console(sys.stdout)
        for method in methods_of(found, catalogue().find):
            of_method = [ledgers[run.run_id] for run in method.runs]
            _show(console, method, of_method, convention)


def _show(console: Console, method: Method, ledgers: list[Ledger], convention: str) -> None:
    console.print(f"{method.label} ({method.seeds})", style="bold")
    console.print(f"{method.setting}\n", style="dim")
    if convention == "paper":
        print_whole(console, _paper_table(ledgers))
        text = "3 forward passes an image, dense; a teacher is charged at the student's price."
    else:
        if len(ledgers) == 1:
            print_whole(console, _trainings_table(ledgers[0]))
            console.print()
        print_whole(console, _totals_table(ledgers))
        text = NOTE
    console.print(f"\n{text}\n", style="dim")


def _trainings_table(ledger: Ledger) -> Table:
    titles = ("left %", "images", "forward", "backward", "fwd eff.", "bwd eff.")
    teaching = ("teacher fwd",) if ledger.teachers else ()
    table = plain_table("round", *titles, *teaching, left=0)
    for entry in ledger.trainings:
        macs = [entry.forward, entry.backward, entry.forward_effective, entry.backward_effective]
        macs += [entry.teaching] if teaching else []
        left = percent(1 - entry.sparsity, 2)
        table.add_row(str(entry.round), left, f"{entry.images:,}", *map(macs_word, macs))
    return table


def _totals_table(ledgers: Sequence[Ledger]) -> Table:
    titles = ("trainings", "dense one", "pruned ones", "together", "teachers' own")
    table = plain_table("run", "seed", "", *titles, left=3)
    for ledger in ledgers:
        first, rest = ledger.trainings[0], ledger.trainings[1:]
        count = f"1 + {len(rest)}" + ("" if ledger.finished else ", unfinished")
        dense = [first.dense, sum(entry.dense for entry in rest), ledger.dense]
        effective = [first.effective, total(rest), ledger.effective]
        own = [ledger.teachers_dense, ledger.teachers_effective]
        words = [macs_word(macs) for macs in own] if ledger.teachers else ["none", "none"]
        who = (ledger.run_id[:8], str(ledger.seed))
        table.add_row(*who, "dense", count, *map(macs_word, dense), words[0])
        table.add_row("", "", "effective", "", *map(macs_word, effective), words[1])
    return table


def _paper_table(ledgers: Sequence[Ledger]) -> Table:
    from dsd_bench.costs.convention import in_paper_convention

    titles = ("a training", "trainings", "with the dense one", "without it", "teacher")
    table = plain_table("run", "seed", *titles, left=2)
    for ledger in ledgers:
        cost = in_paper_convention(ledger)
        teacher = "none"
        if ledger.teachers:
            teacher = f"(+{macs_word(cost.teacher)}), {cost.teacher_trainings or '?'} trainings"
        macs = map(macs_word, (cost.counting_dense, cost.pruned_only))
        table.add_row(
            cost.run_id[:8], str(cost.seed), macs_word(cost.price), str(cost.trainings), *macs,
            teacher,
        )  # fmt: skip
    return table


def _check_paper(as_csv: bool, as_json: bool) -> None:
    """Print the paper's cost column beside ours."""
    from dsd_bench.config.resolve import resolve
    from dsd_bench.costs import convention
    from dsd_bench.costs.counting import count_model
    from dsd_bench.costs.export import comparison_row
    from dsd_bench.costs.paper import COST_UNIT

    config = resolve({"dataset": "cifar10", "model": "vgg-like", "seeds": "0", "rounds": 0})[0]
    forward = count_model(config.model, (3, 32, 32), 10).step.forward
    price = convention.price(forward)
    rows = convention.compare(price)
    flat = [comparison_row(found) for found in rows]
    if as_json:
        told = {"price": price, "paper_price": COST_UNIT, "rows": flat}
        say_json(told)
    elif as_csv:
        say_csv(tuple(flat[0]), flat)
    else:
        _show_comparison(open_console(sys.stdout), price, rows)


def _show_comparison(console: Console, price: int, rows: Sequence[Any]) -> None:
    from dsd_bench.costs.convention import sparsities
    from dsd_bench.costs.paper import COST_UNIT

    off = price / COST_UNIT - 1
    console.print(
        f"One training of VGG-like(5,5), 50,000 images x 160 epochs: {macs_word(price)} MACs, "
        f"counted here; the paper charges {COST_UNIT / 1e15:.3f} P ({percent(off)} %).\n"
    )
    titles = ("sparsity %", "n", "paper P", "trainings", "n+1: P", "n: P", "teacher", "fits")
    table = plain_table("data", "noise %", "row", *titles, left=3)
    for found in rows:
        row = found.row
        taught = "" if found.teacher_charged is None else f"+{found.teacher_charged}"
        ours = [f"{macs / 1e15:.2f}" for macs in (found.counting_dense, found.pruned_only)]
        counts = (str(found.prunings), f"{row.cost:.2f}", str(found.charged))
        table.add_row(
            row.dataset, f"{100 * row.noise:g}", row.method, f"{row.sparsity:.2f}", *counts, *ours,
            taught, found.fits,
        )  # fmt: skip
    print_whole(console, table)
    told = {fits: _listed(sparsities(list(rows), fits)) for fits in ("n+1", "n", "neither")}
    console.print(
        f"\nn = prunings by 20 % to that sparsity. The paper contradicts itself: it charges n+1 "
        f"trainings (the dense one counts) at {told['n+1']} %, n (it does not) at {told['n']} %, "
        f"and at {told['neither']} % the 30 of the whole curve, which are neither."
    )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
