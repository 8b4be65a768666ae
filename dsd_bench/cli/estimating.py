"""What runs will take: told by ``run --dry-run``, and asked about before long work."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from dsd_bench.config.words import build_component
from dsd_bench.costs import COPIES, ROUNDS, macs_word
from dsd_bench.errors import DsdError, UsageError
from dsd_bench.executors import Keep, Settings
from dsd_bench.executors.local import slots
from dsd_bench.executors.planning import Planned
from dsd_bench.plugins import catalogue
from dsd_bench.reports.progress import planned_rounds
from dsd_bench.reports.standing import free_bytes, weigh
from dsd_bench.reports.words import duration, plural, size_word
from dsd_bench.suites.costs import Budget, budget, curves_left, rounds_done

LONG = 4 * 3600.0
"""Seconds from which a person at a terminal is asked first."""

LIGHT = 1e9
"""Numbers of all images that pass the networks, below which no network takes hours."""

SPARING = (
    "think of fewer images (--dataset NAME:train_size=5000), fewer --rounds, --epochs or --seeds, "
    "a smaller --model, or a GPU (--device)"
)


@dataclass(frozen=True)
class Estimate:
    """What is left to do, all runs together, each curve once; None where it cannot be known.

    Attributes:
        trainings: those that are left.
        macs: dense, forward and backward, of what is left.
        seconds: from start to end, runs side by side.
        bytes: that the run folders will take, about.
        side_by_side: runs at once.
        curves: that are to be trained; runs that share one take its rounds over.
        runs: that are not finished.
        at_most: whether stop rules may end runs earlier.
    """

    trainings: int | None
    macs: int | None
    seconds: float | None
    bytes: int | None
    side_by_side: int
    curves: int
    runs: int
    at_most: bool

    @property
    def words(self) -> str:
        """Return the same as a sentence."""
        parts = [f"{'at most ' if self.at_most else ''}{plural(self.trainings or 0, 'training')}"]
        parts = parts if self.trainings is not None else ["trainings unknown beforehand"]
        if self.curves < self.runs:
            parts[0] += f" of {plural(self.curves, 'curve')}, which the runs share"
        parts += [f"{macs_word(self.macs)} MACs"] if self.macs is not None else []
        if self.seconds is not None:
            at_once = f", {self.side_by_side} runs side by side" if self.side_by_side > 1 else ""
            parts.append(f"about {duration(self.seconds)}{at_once}")
        parts += [f"about {size_word(self.bytes)} on disk"] if self.bytes is not None else []
        return "; ".join(parts)


def estimate(planned: Sequence[Planned], costs: Budget, settings: Settings) -> Estimate:
    """Add up what is left; a teacher and its students follow each other.

    Args:
        planned: the runs.
        costs: from :func:`dsd_bench.suites.costs.budget`.
        settings: where and how they will run.
    """
    todo = [item for item in planned if not item.reused]
    left = curves_left(planned)
    at_once = min(settings.jobs or slots(len(left), settings.threads), len(left)) if left else 1
    each = [curve.seconds(costs) for curve in left]
    seconds = _sum(each)
    if seconds is not None:
        seconds = max(seconds / max(at_once, 1), *(one or 0.0 for one in each), 0.0)
    trainings = _sum([curve.trainings(costs) for curve in left])
    macs = _sum([curve.macs(costs) for curve in left])
    size = _sum([costs.of(item.job.run_id).bytes for item in todo])
    return Estimate(
        trainings=None if trainings is None else int(trainings),
        macs=None if macs is None else int(macs),
        seconds=seconds,
        bytes=None if size is None else int(size),
        side_by_side=at_once,
        curves=len(left),
        runs=len(todo),
        at_most=any(item.config.stop.name != "never" for item in todo),
    )


def _sum(values: Sequence[float | None]) -> float | None:
    """Return the sum; None if one is not known."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def disk_needed(planned: Sequence[Planned], costs: Budget, keep: Keep | None) -> int:
    """Return about how many bytes more the runs will take, as far as that is known.

    Args:
        planned: the runs.
        costs: what each takes as a whole.
        keep: which rounds' weights stay; ``none`` leaves out their share.
    """
    share = 1 - ROUNDS / COPIES if keep == "none" else 1.0
    total = 0.0
    for item in planned:
        expected = costs.of(item.job.run_id).bytes
        if not item.reused and expected:
            there = 0 if item.job.fresh else weigh(item.job.path)[1]
            total += max(0.0, share * expected - there)
    return int(total)


def check_disk(
    planned: Sequence[Planned], costs: Budget, runs_dir: Path, keep: Keep | None
) -> None:
    """Refuse runs that the disk cannot hold.

    Raises:
        UsageError: saying how much is needed, how much is free, and what helps.
    """
    needed, free = disk_needed(planned, costs, keep), free_bytes(runs_dir)
    if free is None or needed <= free:
        return
    least = disk_needed(planned, costs, "none")
    sparing = f", give --keep none (about {size_word(least)})" if keep != "none" else ""
    raise UsageError(
        f"{runs_dir}: the runs will take about {size_word(needed)}, the disk has "
        f"{size_word(free)} left: free some space (dsd-bench clean), choose another "
        f"--runs-dir{sparing}, or begin all the same with --yes"
    )


def ask_first(console: Console, planned: Sequence[Planned], settings: Settings, yes: bool) -> None:
    """Before long work, tell a person at a terminal how long, and ask whether to go on.

    Nobody is asked where input or output is no terminal, or in the background: a script is
    never held up.

    Raises:
        click.Abort: if the answer is no.
    """
    if yes or not _attended(console) or light(planned):
        return
    try:
        costs = budget(planned, settings)
    except DsdError:
        return  # the runs themselves say what is wrong
    found = estimate(planned, costs, settings)
    if found.seconds is None or found.seconds < LONG:
        return
    console.print(Text(f"{found.words}\n{SPARING}", style="yellow"))
    click.confirm("go on?", abort=True)


def _attended(console: Console) -> bool:
    """Whether somebody sits at the terminal and this command has it."""
    if not (console.is_terminal and sys.stdin is not None and sys.stdin.isatty()):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, AttributeError):  # not on every system
        return True


def light(planned: Sequence[Planned]) -> bool:
    """Whether the runs are so small that nobody needs an estimate; needs no torch."""
    total = 0.0
    for item in planned:
        if not item.reused:
            told = build_component(catalogue(), "dataset", item.config.dataset).outline()
            if told is None:
                return False
            protocol, rounds = item.config.protocol, planned_rounds(item.config.to_json())
            images = item.config.dataset.params.get("train_size") or told.train
            later = (30 if rounds is None else rounds) * protocol.retrain_epochs
            total += math.prod(told.shape) * images * (protocol.dense_epochs + later)
    return total < LIGHT


def dry_run_json(
    planned: Sequence[Planned], costs: Budget, found: Estimate, data: str | None
) -> dict[str, Any]:
    """Return what ``run --dry-run --json`` prints; the lists are those of ``run --json``."""
    entries: dict[str, Any] = {"runs": [], "teachers": []}
    for item in planned:
        one = costs.of(item.job.run_id)
        entries["teachers" if item.teacher else "runs"].append(
            {
                "run_id": item.job.run_id,
                "path": str(item.job.path),
                "seed": item.config.seed,
                "status": "done" if item.reused else "to run",
                "reused": item.reused,
                "rounds_done": rounds_done(item),
                "trainings": one.trainings,
                "macs": one.macs,
                "seconds": one.seconds,
                "bytes": one.bytes,
            }
        )
    told = {key: getattr(found, key) for key in Estimate.__dataclass_fields__}
    return {"dry_run": True, **entries, "estimate": told, "data_problem": data}


def print_dry_run(
    console: Console, planned: Sequence[Planned], found: Estimate, data: str | None
) -> None:
    """Print how many runs there are of which kind, and what the rest will take."""
    todo = [item for item in planned if not item.reused]
    text = f"{plural(len(planned), 'run')}: {len(planned) - len(todo)} finished, "
    text += f"{len(todo)} to run"
    teachers = sum(item.teacher for item in todo)
    text += f" ({plural(teachers, 'teacher')} among them)" if teachers else ""
    begun = sum(rounds_done(item) > 0 for item in todo)
    text += f", {begun} of them begun" if begun else ""
    console.print(Text(text))
    if todo:
        console.print(Text(found.words))
    if data:
        console.print(Text(f"but: {data}", style="yellow"))
