"""``dsd-bench run``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dsd_bench import api
from dsd_bench.analysis import images_tested
from dsd_bench.cli.carrying import (
    exit_code,
    how,
    how_options,
    open_view,
    print_problems,
    settings_of,
)
from dsd_bench.cli.describe import parameter_lines
from dsd_bench.cli.estimating import ask_first, dry_run_json, estimate, print_dry_run
from dsd_bench.cli.header import print_header
from dsd_bench.cli.identifying import identifying
from dsd_bench.cli.options import COMPONENTS, LAYER, TEACHER, Option, Sectioned, layer_options
from dsd_bench.cli.saying import say_json
from dsd_bench.components import kind_of
from dsd_bench.config.layers import read_layer
from dsd_bench.config.naming import command
from dsd_bench.config.resolve import resolve
from dsd_bench.config.words import component_name, parse_component
from dsd_bench.errors import DataError, UsageError, plain
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import Planned, plan
from dsd_bench.plugins import Registration, catalogue
from dsd_bench.plugins.origins import remembering
from dsd_bench.reports.summary import print_summary
from dsd_bench.reports.words import open_console
from dsd_bench.suites.costs import budget

PLACES = {"data_dir": "data", "runs_dir": "runs"}
"""Options that a file may hold as well, with their defaults."""


class RunCommand(Sectioned):
    """``run``: its help also describes the components that are chosen on the same line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note the words, and the chosen components before ``--help`` ends the parsing."""
        ctx.meta["words"] = ["run", *args]
        if any(word in ("--help", "-h") for word in args):
            try:
                ctx.meta["chosen"] = self.make_parser(ctx).parse_args(list(args))[0]
            except click.UsageError:
                ctx.meta["chosen"] = {}
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Describe the chosen components' parameters."""
        chosen = ctx.meta.get("chosen", {})
        words = [(k, w) for k in (*COMPONENTS, "executor") for w in _several(chosen.get(k))]
        for key, word in words:
            try:
                entry = _entry(key, word)
            except UsageError as error:
                formatter.write_paragraph()
                formatter.write_text(str(error))
                continue
            title = f"{entry.kind.capitalize()} {entry.component.name}: {entry.component.summary}"
            with formatter.section(plain(title)):
                formatter.write_dl(parameter_lines(entry) or [("(no parameters)", "")])
        formatter.write_paragraph()
        formatter.write_text(
            "A data set's recipe replaces the protocol's defaults; what is resolved is printed."
        )
        if not words:
            formatter.write_paragraph()
            formatter.write_text(
                "Parameters of components: `dsd-bench run --pruner magnitude --reg kd --help`; "
                "the list of components: `dsd-bench plugins`. Each option that says what is run "
                "also exists for the teacher: --teacher-model, --teacher-reg, ..."
            )


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _entry(key: str, word: str) -> Registration:
    return catalogue().get(kind_of(key), component_name(word, f"--{key}"), f"--{key}")


@click.command(cls=RunCommand, context_settings={"help_option_names": ["-h", "--help"]})
@layer_options
@click.option(
    "--config", type=click.Path(path_type=Path), cls=Option, heading="What is run",
    metavar="FILE", help="TOML file of what is run, or a run's config.json; options win.",
)  # fmt: skip
@how_options
@how("--force", is_flag=True, help="Begin finished runs anew.")
@how("--dry-run", is_flag=True, help="Say what would be run and what it takes; run nothing.")
@how("--json", "as_json", is_flag=True, help="Print the outcome as JSON alone on stdout.")
def run(config: Path | None, **given: Any) -> int:
    """Prune, perturb, retrain, measure, until done; resume what was interrupted.

    With no option it shows sparse double descent on real digits with 40 % wrong labels; `--reg kd`
    shows how distillation dodges it. The same command again shows the finished runs at once.
    """
    layer = read_layer(config) if config else {}
    places = {key: Path(given[key] or layer.get(key, word)) for key, word in PLACES.items()}
    runs_dir, settings = places["runs_dir"], settings_of(given, places["data_dir"])
    parse_component("executor", given["executor"], "--executor")
    with identifying(), remembering(*([config.parent, config.parent.parent] if config else [])):
        configs = resolve({**layer, **places}, command_layer(given))
    planned = plan(configs, runs_dir, given["force"])
    console = open_console(sys.stderr if given["as_json"] else sys.stdout)
    if given["dry_run"]:
        return _dry_run(console, planned, runs_dir, settings, given["as_json"])
    with identifying():
        notes = api.check_data(configs, settings)
    print_header(console, planned, runs_dir, notes)
    ask_first(console, planned, settings, given["yes"] or given["as_json"])
    with open_view(console, planned) as view:
        finished = api.execute_plan(
            planned, runs_dir, settings, executor=given["executor"], emit=view.handle
        )
    if given["as_json"]:
        say_json(outcome_json(finished))
    else:
        _print_end(console, finished, runs_dir)
    print_problems(finished, settings.debug)
    return exit_code(finished)


def _dry_run(
    console: Console, planned: Sequence[Planned], runs_dir: Path, settings: Settings, as_json: bool
) -> int:
    """Say what would be run and what it takes; neither data nor a run folder is needed."""
    api.check_device(settings.device)
    problem, notes = None, list[str]()
    try:
        notes = api.check_data([item.config for item in planned], settings)
    except DataError as error:
        problem = str(error)
    costs = budget(planned, settings)
    found = estimate(planned, costs, settings)
    if as_json:
        say_json(dry_run_json(planned, costs, found, problem))
    else:
        print_header(console, planned, runs_dir, notes)
        print_dry_run(console, planned, found, problem)
    return 0


def command_layer(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layer that the command line's options make."""
    layer = {key: _value(given[key]) for key in LAYER}
    teacher = {key: _value(given[f"teacher_{key}"]) for key in TEACHER}
    teacher = {key: value for key, value in teacher.items() if value is not None}
    return {**layer, "teacher": teacher or None}


def _value(value: Any) -> Any:
    """Turn an option that may be repeated into a list, None if it was not given."""
    return (list(value) or None) if isinstance(value, tuple) else value


def outcome_json(finished: Sequence[api.Finished]) -> dict[str, Any]:
    """Return what ``run --json`` prints."""
    entries: dict[str, list[dict[str, Any]]] = {"runs": [], "teachers": []}
    for item in finished:
        outcome, done = item.outcome, item.outcome.status == "done"
        result = item.run.result if done else None
        entries["teachers" if item.planned.teacher else "runs"].append(
            {
                "run_id": outcome.run_id,
                "path": str(item.planned.job.path),
                "seed": item.planned.config.seed,
                "status": outcome.status,
                "reused": item.planned.reused,
                "resumed_from_round": outcome.resumed_from_round,
                "best_round": result["best_round"] if result else None,
                "error": outcome.error if outcome.status == "failed" else None,
            }
        )
    return entries


def _print_end(console: Console, finished: Sequence[api.Finished], runs_dir: Path) -> None:
    runs = [item.run for item in finished if not item.planned.teacher]
    shown = [run for run in runs if run.rows]
    if shown:
        hint = command("show", *(run.run_id[:8] for run in shown), runs_dir=runs_dir)
        again = click.get_current_context().meta["words"]
        print_summary(console, shown, hint, images_tested(shown), catalogue().find, again)
