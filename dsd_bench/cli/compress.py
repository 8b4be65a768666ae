"""``dsd-bench compress``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dsd_bench import api
from dsd_bench.cli.carrying import (
    Command,
    exit_code,
    how,
    how_options,
    open_view,
    print_problems,
    settings_of,
)
from dsd_bench.cli.identifying import identifying
from dsd_bench.cli.options import Option, Sectioned
from dsd_bench.cli.saying import say, say_json
from dsd_bench.config.run import RunConfig
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import plan
from dsd_bench.reports.words import duration, open_console, parse_duration, size_word

if TYPE_CHECKING:
    from dsd_bench.compress.preparing import Ready
    from dsd_bench.compress.result import Result
    from dsd_bench.store.runs import StoredRun

PAGE = "report.html"


class CompressCommand(Sectioned):
    """``compress``: it notes the words that it was given, for the page."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note the words."""
        ctx.meta["words"] = ["compress", *args]
        return super().parse_args(ctx, args)


def _what(*names: str, **kwargs: Any) -> Callable[[Command], Command]:
    return click.option(*names, cls=Option, heading="What is made smaller", **kwargs)


def _length(*names: str, **kwargs: Any) -> Callable[[Command], Command]:
    return click.option(*names, cls=Option, heading="How, and for how long", **kwargs)


@click.command(cls=CompressCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("data", metavar="DATA")
@_what(
    "--model",
    required=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="Network: timm:resnet18, torchvision:NAME, or any model component.",
)
@_what("--weights", metavar="FILE", help="Begin from the weights in this safetensors file.")
@_what(
    "--weights-head",
    "head",
    metavar="keep|replace",
    help="Of --weights: whether its output layer is taken too (default: keep).",
)
@_what(
    "--size",
    type=click.IntRange(1),
    metavar="N",
    help="Height and width to resize images to (default: their own, else 224).",
)
@_what(
    "--skip-unreadable",
    is_flag=True,
    help="Go on without images that cannot be read, and name them (default: refuse).",
)
@_what(
    "--normalise",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="Mean and std: images (their own), imagenet, inception, dpn, clip; auto: those that "
    "published weights were trained with.",
)
@_what(
    "--seed", type=click.IntRange(0), default=0, help="Seed of split and trainings (default: 0)."
)
@_length("--structured", is_flag=True, help="Prune whole filters: smaller and faster everywhere.")
@_length(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="X",
    help="Of what is left, pruned each round (default: 0.2; structured 0.25).",
)
@_length(
    "--choose",
    default="one-se",
    show_default=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="Which round is returned: one-se, max-drop:0.01, best, ...",
)
@_length(
    "--stop",
    default="entropy-gate",
    show_default=True,
    metavar="NAME[:KEY=VALUE,...]",
    help="What ends the curve early.",
)
@_length(
    "--distil/--no-distil",
    default=True,
    help="Whether the original teaches the pruned networks (default: it does).",
)
@_length("--budget", metavar="TIME", help="Plan rounds and epochs to take this long: 30m, 2h, ...")
@_length(
    "--dense-epochs",
    type=click.IntRange(0),
    metavar="N",
    help="Train the original so long first (default: 0 for weights with their own output "
    "layer, 10 for other weights, 40 from scratch).",
)
@_length(
    "--retrain-epochs",
    type=click.IntRange(1),
    metavar="N",
    help="Train so long after each pruning (default: 8).",
)
@_length(
    "--rounds",
    type=click.IntRange(1),
    metavar="N",
    help="At most so many prunings (default: 14; structured 8).",
)
@_length(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    metavar="X",
    help="Learning rate (default: 0.01; from scratch 0.1 first).",
)
@_length(
    "--batch-size",
    type=click.IntRange(1),
    metavar="N",
    help="Samples a step (default: 128, of few images 32).",
)
@_length("--precision", type=click.Choice(["fp32", "tf32", "bf16"]), help="Arithmetic.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default="compressed",
    show_default=True,
    metavar="FOLDER",
    cls=Option,
    heading="How it is run",
    help="Where the network, the page and result.json go.",
)
@click.option(
    "--onnx",
    is_flag=True,
    cls=Option,
    heading="How it is run",
    help="Write the network as ONNX too (pip install 'dsd-bench[onnx]').",
)
@click.option(
    "--latency/--no-latency",
    default=True,
    show_default=True,
    cls=Option,
    heading="How it is run",
    help="Time the original and the smaller network side by side, half a minute at most.",
)
@how_options
@how("--force", is_flag=True, help="Begin both runs anew.")
@how("--dry-run", is_flag=True, help="Say what would be run and what it takes; train nothing.")
@how("--json", "as_json", is_flag=True, help="Print the outcome as JSON alone on stdout.")
def compress(
    output: Path,
    onnx: bool,
    latency: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Make a network smaller for one's own images: prune it, choose, export, and say what it cost.

    DATA is a folder with train/CLASS/IMAGE (val/ and test/ alike, if you have them), or a data
    set's word. Two ordinary runs are made: the original, and the one that prunes it. The same
    command again goes on where it was interrupted.
    """  # fmt: skip
    from dsd_bench.compress.preparing import curve, prepare
    from dsd_bench.compress.starting import Asked

    words = click.get_current_context().meta["words"]
    budget = None if given["budget"] is None else parse_duration(given["budget"], "--budget")
    names = {one.name for one in fields(Asked)}
    asked = Asked(**{k: v for k, v in given.items() if k in names} | {"budget": budget})
    places = {"data_dir": Path(given["data_dir"] or "data"),
              "runs_dir": Path(given["runs_dir"] or "runs")}  # fmt: skip
    settings = settings_of(given, places["data_dir"])
    console = open_console(sys.stderr if as_json else sys.stdout)
    with identifying():
        ready = prepare(asked, places, settings, output)
        told = api.check_data([ready.original], settings)
    _print_plan(console, ready, told)
    if dry_run:
        if as_json:
            say_json(plan_json(ready))
        return 0
    carry = _Carrying(console, places["runs_dir"], settings, given["executor"], force)
    first, code = carry.out(ready.original)
    if first is None:
        return code
    with identifying():
        config, layer = curve(ready, places)
    second, code = carry.out(config)
    if second is None:
        return code
    result = _result(ready, first, second, (words, layer, places), output, onnx, latency)
    _write(result)
    if as_json:
        say_json(result.to_json() | {"page": str(output / PAGE)})
    else:
        _print_end(console, result)
    return 0


class _Carrying:
    """Carries one run after another to its end, with a view of how far it is."""

    def __init__(
        self, console: Console, runs_dir: Path, settings: Settings, executor: str, force: bool
    ) -> None:
        self._console, self._runs_dir, self._force = console, runs_dir, force
        self._settings, self._executor = settings, executor

    def out(self, config: RunConfig) -> tuple[StoredRun | None, int]:
        """Return the finished run, or None and the code to end with."""
        planned = plan([config], self._runs_dir, self._force)
        with open_view(self._console, planned) as view:
            finished = api.execute_plan(
                planned, self._runs_dir, self._settings,
                executor=self._executor, emit=view.handle,
            )  # fmt: skip
        print_problems(finished, self._settings.debug)
        if any(item.outcome.status == "submitted" for item in finished):
            say("the run was submitted; give the same command again when it is done", err=True)
            return None, 0
        code = exit_code(finished)
        run = next(item for item in finished if item.planned.config.run_id == config.run_id)
        return (None if code else run.run), code


def _print_plan(console: Console, ready: Ready, notes: list[str]) -> None:
    begin, classes = ready.begin, ready.classes
    parts = {"train": classes.train, "validation": classes.val, "test": classes.test}
    images = ", ".join(f"{sum(n):,} {part}" for part, n in parts.items() if n)
    lines = {
        "data": f"{begin.dataset}: {len(classes.names)} classes, images: {images}",
        "model": begin.model + {"given": ", as given", "tuned": ", trained on first",
                                "fresh": ", from scratch"}[begin.kind],
        "normalised": f"by {begin.normalised}",
        "planned": ready.lengths.words,
        "takes": f"at most about {duration(ready.seconds)} here, about {size_word(ready.bytes)} "
        "of memory",
    }  # fmt: skip
    told = _columns(11)
    for name, words in lines.items():
        told.add_row(name, Text(words))
    for note in [*notes, *ready.notes]:
        told.add_row("note", Text(note), style="yellow")
    console.print(told)


def _columns(width: int) -> Table:
    """Return a table of what, at most ``width`` wide, and words, which stay in their column."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=width)
    table.add_column(overflow="fold")
    return table


def plan_json(ready: Ready) -> dict[str, Any]:
    """Return what ``compress --dry-run --json`` prints."""
    return {
        "dry_run": True,
        "original": ready.original.run_id,
        "lengths": ready.lengths.to_json(),
        "seconds": ready.seconds,
        "bytes": ready.bytes,
        "normalised": ready.begin.normalised,
        "notes": list(ready.notes),
    }


def _result(
    ready: Ready,
    original: StoredRun,
    curve: StoredRun,
    told: tuple[list[str], Mapping[str, Any], Mapping[str, Path]],
    output: Path,
    onnx: bool,
    latency: bool,
) -> Result:
    from dsd_bench.compress import result
    from dsd_bench.compress.shipping import ship
    from dsd_bench.compress.starting import run_command

    words, layer, places = told
    at = result.chosen_round(curve)
    commands = (
        shlex.join(["dsd-bench", *words]),
        run_command(ready.layer, places, download=ready.begin.model != ready.begin.bare),
        run_command(dict(layer), places),
    )
    return result.Result(
        ready=ready,
        original=original,
        curve=curve,
        chosen=at,
        choosers=tuple(result.choices(curve, ready.asked.choose)),
        outcome=result.outcome(original, curve, at, ready.classes),
        shipped=ship(curve, places["data_dir"], output, onnx, latency),
        commands=commands,
        output=output,
    )


def _write(result: Result) -> None:
    from dsd_bench.compress.page import page
    from dsd_bench.store.files import output_folder, write_atomic, write_json

    output_folder(result.output)
    write_atomic(result.output / PAGE, page(result).encode())
    write_json(result.output / "result.json", result.to_json())


def _print_end(console: Console, result: Result) -> None:
    from dsd_bench.compress.page import lines

    console.print()
    told = _columns(20)
    for what, words in (*lines(result), ("page", str(result.output / PAGE))):
        told.add_row(what, Text(words))
    console.print(told)
    console.print(Text("the same runs by themselves:"))
    for one in result.commands[1:]:
        console.print(Text(f"  {one}"), soft_wrap=True)
