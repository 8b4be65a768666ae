"""``dsd-bench verify``."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from dsd_bench import api
from dsd_bench.boards import verified
from dsd_bench.boards.agreement import Again, Outcome, judge
from dsd_bench.boards.files import read_row, row_files
from dsd_bench.boards.places import row_path
from dsd_bench.boards.reruns import beside, claimed, configurations, row_of_run, seed_of
from dsd_bench.boards.schema import CheckedRow
from dsd_bench.cli.carrying import how_options, open_view, print_problems, settings_of
from dsd_bench.cli.estimating import ask_first, estimate
from dsd_bench.cli.options import Sectioned
from dsd_bench.cli.saying import say, say_json
from dsd_bench.config.layers import parse_seeds
from dsd_bench.config.naming import command
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DsdError, UsageError, collect
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan
from dsd_bench.executors.signals import interrupted_after
from dsd_bench.reports.words import duration, open_console, parse_duration, plural
from dsd_bench.store.runs import find_run, finished, load_run
from dsd_bench.suites.costs import budget as costs_of

RERUNS = "reruns"
"""Where runs are run again by default: apart from one's own, which may be those of the row."""
MARKS = {"same": "same", "agrees": "agrees", "undecided": "not decided", "contradicted": "FALSE"}


@dataclass
class Task:
    """One row that is verified.

    Attributes:
        path: its file.
        row: what it says.
        seeds: those to run again.
        configs: the runs that do so.
        runs: by id, what the run folders of the row's ids give that are here.
        elsewhere: the outcome of those among them that are :attr:`others`.
        outcome: of the reruns.
        note: what a user should know.
    """

    path: Path
    row: CheckedRow
    seeds: list[int] = field(default_factory=list)
    configs: list[RunConfig] = field(default_factory=list)
    runs: dict[str, Again] = field(default_factory=dict)
    elsewhere: Outcome | None = None
    outcome: Outcome | None = None
    written: Path | None = None
    note: str = ""

    @property
    def false(self) -> bool:
        """Whether anything contradicts the row."""
        outcomes = (self.outcome, self.elsewhere)
        return bool(self.wrong) or any(one and one.verdict == "contradicted" for one in outcomes)

    @property
    def wrong(self) -> dict[str, Again]:
        """The runs that give other numbers under the row's own conditions."""
        return {key: one for key, one in self.runs.items() if one.difference and not one.unlike}

    @property
    def others(self) -> list[Again]:
        """Runs that give other numbers under other conditions: the row was not made of them."""
        return [one for one in self.runs.values() if one.difference and one.unlike]


def _parse_budget(context: click.Context, parameter: click.Parameter, word: str | None) -> Any:
    return None if word is None else parse_duration(word, "--budget")


@click.command(cls=Sectioned)
@click.argument("what", nargs=-1, required=True, metavar="ROW|BOARD|RUN...")
@click.option("--rerun", type=click.IntRange(1), metavar="N", help="Run N seeds of each row again.")
@click.option("--seeds", metavar="SEEDS", help="Run these again: 0-2, 0,3 (default: drawn by lot).")
@click.option(
    "--budget", callback=_parse_budget, metavar="TIME",
    help="Compute no longer than this: 90s, 30m, 2h, 1d; what is left goes on next time.",
)  # fmt: skip
@click.option("--dataset", metavar="WORD", help="The rows' data set, where files need a place.")
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE",
    help="The file that the rows' runs begin from.",
)  # fmt: skip
@click.option(
    "--dir", "folder", default="leaderboards", type=click.Path(path_type=Path), show_default=True,
    help="Folder of the boards.",
)  # fmt: skip
@click.option(
    "--rerun-dir", default=RERUNS, type=click.Path(path_type=Path), show_default=True,
    help="Where they are run again.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON alone on stdout.")
@how_options
def verify(
    what: tuple[str, ...],
    rerun: int | None,
    seeds: str | None,
    budget: float | None,
    dataset: str | None,
    weights: Path | None,
    folder: Path,
    rerun_dir: Path,
    as_json: bool,
    **given: Any,
) -> int:
    """Recompute rows from their run folders, and run seeds again from the rows alone.

    A row file, a board's folder, or a run whose row is meant. Rows are held against the run folders
    of theirs that are in --runs-dir. With --rerun they are run again from what the row says: under
    the same conditions every number must be the same; under others (chip, torch) figures may be
    off by no more than conditions move them. The outcome goes to <board>/verified/, which
    `dsd-bench leaderboard` shows.
    """
    runs_dir = given["runs_dir"] or Path("runs")
    settings = settings_of(given, given["data_dir"] or Path("data"))
    if seeds is not None and rerun is not None:
        raise UsageError("give --rerun N or --seeds, not both")
    if runs_dir.resolve() == rerun_dir.resolve():
        raise UsageError("--rerun-dir is --runs-dir: what is there already would not be run again")
    chosen = None if seeds is None else parse_seeds(seeds)
    tasks = _tasks(what, folder, runs_dir)
    console = open_console(sys.stderr if as_json else sys.stdout)
    for task in tasks:
        _recompute(task, runs_dir)
    early = False
    if rerun or chosen:
        for task in tasks:
            task.seeds = _seeds(task, rerun or 0, chosen, rerun_dir)
            try:
                task.configs = configurations(task.row, task.seeds, dataset, weights)
            except UsageError as error:
                raise UsageError(f"{task.path}: {error}") from None
        asked = given["yes"] or as_json
        early = _rerun(console, tasks, rerun_dir, settings, given["executor"], budget, asked)
        for task in tasks:
            _conclude(task, rerun_dir)
    if as_json:
        say_json({"rows": [_record(task) for task in tasks]})
    else:
        for task in tasks:
            _tell(console, task, rerun is not None or chosen is not None)
        _end(console, tasks)
    if any(task.false for task in tasks):
        return 1
    return 130 if early else 0


# -- which rows


def _tasks(words: Sequence[str], folder: Path, runs_dir: Path) -> list[Task]:
    """Return the rows that are meant, each once.

    Raises:
        UsageError: for every word that means none, and every row that is not what it should be.
    """
    problems: list[str] = []
    paths: list[Path] = []
    for word in words:
        try:
            paths += _paths(word, folder, runs_dir)
        except UsageError as error:
            problems.append(str(error))
    tasks = []
    for path in dict.fromkeys(paths):
        try:
            row = read_row(path)
            if not isinstance(row, CheckedRow):
                raise UsageError(
                    f"{path}: is of schema {row.row_schema}, which holds no configuration that "
                    "could be run again; submit its runs anew"
                )
            tasks.append(Task(path, row))
        except UsageError as error:
            problems.append(str(error))
    collect(problems)
    return tasks


def _paths(word: str, folder: Path, runs_dir: Path) -> list[Path]:
    path = Path(word)
    if path.is_file():
        return [path]
    if path.is_dir() and not (path / "config.json").exists():
        found = list(row_files(path)) or sorted((path / "rows").glob("*.json"))
        if not found:
            raise UsageError(f"{word}: no rows lie in it; a board is a folder with rows/*.json")
        return found
    try:
        run = load_run(find_run(word, runs_dir))
    except UsageError as error:
        raise UsageError(f"{error}; nor is it a row file or a board's folder") from None
    place = folder / row_path(row_of_run(run))
    if not place.is_file():
        raise UsageError(f"{place}: no such row; make it: {command('submit', word)}")
    return [place]


# -- against the run folders that are here


def _recompute(task: Task, runs_dir: Path) -> None:
    """Hold a row against those of its run folders that are here.

    The same id stands for the same run on another machine too, which gives other numbers: whoever
    ran it there has no reason to call the row false for a digit.
    """
    task.runs = {run.run_id: held for run, held in beside(task.row, runs_dir)}
    task.elsewhere = judge(task.row, task.others) if task.others else None


# -- run again


def _seeds(task: Task, number: int, chosen: Sequence[int] | None, rerun_dir: Path) -> list[int]:
    """Return the seeds to run again: by lot, so that nobody knows beforehand; begun ones first."""
    if chosen is not None:
        return list(chosen)
    there = [entry.seed for entry in task.row.seeds]
    begun = [e.seed for e in task.row.seeds if (rerun_dir / e.run_id / "config.json").exists()]
    others = [seed for seed in there if seed not in begun]
    random.SystemRandom().shuffle(others)
    return sorted([*begun, *others][:number])


def _rerun(
    console: Console,
    tasks: Sequence[Task],
    rerun_dir: Path,
    settings: Settings,
    executor: str,
    budget: float | None,
    yes: bool,
) -> bool:
    """Run what is to be run again; return whether something is left."""
    configs = [config for task in tasks for config in task.configs]
    api.check_data(configs, settings)
    planned = plan(configs, rerun_dir)
    cost = estimate(planned, costs_of(planned, settings), settings)
    bound = "" if budget is None else f", for {duration(budget)} at most"
    todo = [item for item in planned if not item.reused]
    console.print(
        Text(f"to run again in {rerun_dir}: {plural(len(todo), 'run')}; {cost.words}{bound}")
    )
    ask_first(console, planned, settings, yes)
    with open_view(console, planned) as view, interrupted_after(budget):
        done = api.execute_plan(planned, rerun_dir, settings, executor=executor, emit=view.handle)
    print_problems(done, settings.debug)
    failed = [item for item in done if item.outcome.status == "failed"]
    if failed and not any(finished(rerun_dir / config.run_id) for config in configs):
        raise DsdError("nothing could be run again")
    return any(item.outcome.status in ("interrupted", "submitted") for item in done)


def _conclude(task: Task, rerun_dir: Path) -> None:
    """Judge a row by those of its reruns that are finished, and write it beside the row."""
    reruns: list[verified.Rerun] = []
    for config in task.configs:
        path = rerun_dir / config.run_id
        if finished(path):
            found = seed_of(load_run(path))
            reruns.append(verified.rerun(claimed(task.row, config.seed), found))
    if not reruns:
        return
    task.outcome = verified.judged(task.row, reruns)
    if verified.outcome_path(task.path) is not None:
        task.written = verified.write(task.path, task.row, reruns)
        whole = verified.read(task.written, task.row)
        task.outcome = verified.outcome(task.row, whole)


# -- what is told


def _record(task: Task) -> dict[str, Any]:
    return {
        "row": str(task.path),
        "runs": [
            {"run_id": run_id, "difference": one.difference, "unlike": list(one.unlike)}
            for run_id, one in task.runs.items()
        ],
        "elsewhere": _outcome(task.elsewhere),
        "reruns": [config.run_id for config in task.configs],
        "outcome": _outcome(task.outcome),
        "written": str(task.written) if task.written else None,
    }


def _outcome(told: Outcome | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return {
        "verdict": told.verdict,
        "seeds": list(told.seeds),
        "why": told.why,
        "catches": told.catches,
    }


def _tell(console: Console, task: Task, again: bool) -> None:
    console.print(Text(str(task.path)), soft_wrap=True)
    for text, style in _lines(task, again):
        console.print(Text(f"  {text}", style=style), soft_wrap=True)


def _lines(task: Task, again: bool) -> list[tuple[str, str]]:
    """Return what is said of a row, each with its colour."""
    lines = []
    same = sum(one.difference is None for one in task.runs.values())
    if same and not task.wrong:
        lines.append((f"what {same} of {len(task.row.seeds)} runs in their folders give", "green"))
    lines += [
        (f"FALSE: run {run_id} is another than the row says: {one.difference}", "red")
        for run_id, one in task.wrong.items()
    ]
    if task.elsewhere is not None:
        where = f"runs here under other conditions ({'; '.join(task.others[0].unlike)})"
        lines.append(_judged(task.elsewhere, where))
    if task.outcome is not None:
        lines.append(_judged(task.outcome, "run again"))
    elif again:
        lines.append(("no rerun is finished; the same command goes on", "yellow"))
    elif not task.runs:
        hint = "agrees with itself; none of its runs is here to compare with. Run seeds again: "
        lines.append((hint + command("verify", str(task.path), "--rerun", "1"), "yellow"))
    return lines


def _judged(told: Outcome, what: str) -> tuple[str, str]:
    style = {"contradicted": "red", "undecided": "yellow"}.get(told.verdict, "green")
    seeds = ", ".join(map(str, told.seeds))
    return f"{MARKS[told.verdict]} ({what}: seed {seeds}): {told.why}", style


def _end(console: Console, tasks: Sequence[Task]) -> None:
    wrong = sum(task.false for task in tasks)
    told = f"{plural(len(tasks), 'row')}: {wrong} false" if wrong else ""
    if told:
        console.print(Text(told, style="red"))
    if any(task.written for task in tasks):
        where = {str(task.path.parent.parent.parent) for task in tasks if task.written}
        words = [() if one == "leaderboards" else ("--dir", one) for one in sorted(where)]
        for word in words:
            say(f"show it on the board: {command('leaderboard', *word)}", err=True)
