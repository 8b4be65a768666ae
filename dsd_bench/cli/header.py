"""What ``dsd-bench run`` is about to do: the resolved configuration and the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dsd_bench.config.metrics import metric_key
from dsd_bench.config.naming import label, method_words
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import plain
from dsd_bench.executors.planning import Planned
from dsd_bench.plugins import catalogue

_NAMES = 13
"""Columns of the names on the left."""


def print_header(
    console: Console, planned: Sequence[Planned], runs_dir: Path, notes: Sequence[str] = ()
) -> None:
    """Print the configuration of the first run, and which runs are reused or new."""
    wanted = [item for item in planned if not item.teacher]
    for name, text in describe(wanted[0].config):
        _print_field(console, name, text)
    if wanted[0].config.protocol.selection == "test":
        text = "selection     on the test set, as in the paper: its accuracies are optimistic"
        console.print(Text(text, style="yellow"))
    for item in planned:
        role = "teacher" if item.teacher else "run"
        state = _reused(item) if item.reused else ""
        name = label(item.config.to_json(), catalogue().find) if item.teacher else ""
        text = f"{role:<13}{runs_dir / item.job.run_id}  seed {item.config.seed}  {name}{state}"
        console.print(Text(text), soft_wrap=True)
    print_notes(console, notes)
    console.print()


def _print_field(console: Console, name: str, text: str) -> None:
    """Print a line of the configuration; on a terminal it is broken between words."""
    lines = [Text(text)]
    if console.is_terminal:
        lines = list(lines[0].wrap(console, max(console.width - _NAMES, 20)))
    for place, line in enumerate(lines):
        head = (f"{'' if place else name:<{_NAMES}}", "dim")
        console.print(Text.assemble(head, line), soft_wrap=True)


def print_notes(console: Console, notes: Sequence[str]) -> None:
    """Print what a user should know of the data."""
    for text in notes:
        console.print(Text(f"note         {plain(text)}", style="yellow"), soft_wrap=True)


def _reused(item: Planned) -> str:
    """Say that a run is reused, and which further metrics it lacks."""
    folder = item.job.path / "metrics"
    lacking = [
        word for word in item.config.metrics if not (folder / f"{metric_key(word)}.jsonl").exists()
    ]
    text = f"; without {', '.join(lacking)}, which --force measures" if lacking else ""
    return f"  (finished: reused{text})"


def describe(config: RunConfig) -> list[tuple[str, str]]:
    """Return the resolved configuration as lines of (what, words)."""
    words = method_words(config.to_json(), catalogue().find)
    if config.weights is not None:
        words["weights"] = f"{plain(config.weights.file)} ({words['weights']})"
    lines = [(name, text) for name, text in words.items() if text != "none"]
    return [*lines, ("protocol", protocol_words(config))]


def protocol_words(config: RunConfig) -> str:
    """Return a run's protocol in words."""
    protocol = config.protocol
    end = (
        f"{protocol.rounds} rounds"
        if protocol.rounds is not None
        else f"to sparsity {protocol.target_sparsity:g}"
    )
    optimizer = config.chosen("optimizer").name
    places = ", ".join(f"{fraction:g}" for fraction in protocol.milestones)
    drops = f" x{protocol.lr_drop:g} at {places}" if config.schedule is None else ""
    scale = f" (x{protocol.retrain_lr_scale:g} after)" if protocol.retrain_lr_scale != 1 else ""
    clip = f", gradients clipped to {protocol.clip_norm:g}" if protocol.clip_norm else ""
    redense = f" + {protocol.redense_epochs} re-dense" if protocol.redense_epochs else ""
    return (
        f"{end}; {protocol.dense_epochs} + {protocol.retrain_epochs}{redense} epochs, "
        f"batch {protocol.batch_size}, {optimizer} lr {protocol.lr:g}{scale}"
        f"{drops}, momentum {protocol.momentum:g}, "
        f"weight decay {protocol.weight_decay:g}{clip}; select on {protocol.selection}, "
        f"{protocol.precision}"
    )
