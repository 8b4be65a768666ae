"""What to try next: from what was seen to a command to paste."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from dsd_bench.analysis import Summary
from dsd_bench.analysis.fairness import INTERPOLATES
from dsd_bench.config.naming import command, seeds_word
from dsd_bench.reports.methods import Method

REPEATED = ("--reg",)
"""Options that add to what was given instead of replacing it."""


@dataclass(frozen=True)
class Step:
    """One option to change, and what that may show; without an option it is the same command."""

    why: str
    option: str = ""
    value: str = ""


def print_next(
    console: Console, method: Method, summary: Summary, again: Sequence[str] = ()
) -> None:
    """Say what to try next, and the command for it; nothing where there is nothing sensible.

    Args:
        console: where to.
        method: the runs.
        summary: what they showed.
        again: the words after ``dsd-bench`` that ran them; without them their first run's
            ``config.json`` is the source.
    """
    why, words = _compared(method)
    if not words:
        step = next_step(method, summary)
        if step is None:
            return
        why = step.why
        words = shlex.join(["dsd-bench", *_changed(list(again) or _from_config(method), step)])
    console.print(Text.assemble(("try next: ", "bold"), why))
    console.print(Text(f"  {words}", style="bold"), soft_wrap=True)


def _compared(method: Method) -> tuple[str, str]:
    """Return why and how a distilled method is compared with its teachers' own curve."""
    teachers, home = _teachers(method), method.runs[0].path.parent
    if method.unfinished or not teachers:
        return "", ""
    if not all((home / name / "result.json").is_file() for name in teachers):
        return "", ""
    ids = [run.run_id[:8] for run in method.runs]
    baseline = ",".join(name[:8] for name in teachers)
    words = command("analyze", *ids, "--baseline", baseline, runs_dir=home)
    return "lay it beside its teachers' own curve: was a dip dodged?", words


def _teachers(method: Method) -> list[str]:
    """Return the ids of the teachers' runs, one for each seed."""
    parts = [part for run in method.runs for part in run.config["regularizers"]]
    return list(dict.fromkeys(part["teacher"]["run_id"] for part in parts if part.get("teacher")))


def next_step(method: Method, summary: Summary) -> Step | None:
    """Choose the one thing that teaches most after what was seen."""
    if method.unfinished:
        return Step("the same command goes on where it stopped")
    if summary.double_descent:
        return Step("distil from a good pruned network: does the dip go away?", "--reg", "kd")
    if summary.double_descent is None:
        return _to_decide(method, summary)
    return _to_provoke(method)


def _to_provoke(method: Method) -> Step | None:
    """Return what may bring double descent out where there is none."""
    config = method.runs[0].config
    dense = [run.rows[0].get("train_accuracy") for run in method.runs if run.rows]
    if any(isinstance(fit, float) and fit < INTERPOLATES for fit in dense):
        protocol = config["protocol"]
        epochs = int(2 * protocol["dense_epochs"] or protocol["retrain_epochs"])
        why = "the dense network does not fit its labels yet: train it longer"
        return Step(why, "--dense-epochs", str(epochs))
    if config["noise"]["name"] == "none":
        return Step("wrong labels bring double descent out", "--noise", "symmetric:0.4")
    return None


def _to_decide(method: Method, summary: Summary) -> Step | None:
    if any(end.cut for end in summary.stopped):
        return Step("a stop rule ended the curve: see the rest of it", "--stop", "never")
    if summary.threshold is None:
        return None
    seeds = [run.seed for run in method.runs]
    more = summary.evidence.more
    wanted = max(more.likely if more and more.likely else 0, 2 * len(seeds))
    missing = (seed for seed in range(10**6) if seed not in seeds)
    chosen = [*seeds, *(next(missing) for _ in range(wanted - len(seeds)))]
    return Step("more seeds: chance weighs less", "--seeds", seeds_word(chosen))


def _from_config(method: Method) -> list[str]:
    """Return the words that run a method again, from the first run's own file."""
    first = method.runs[0]
    home = [] if str(first.path.parent) == "runs" else ["--runs-dir", str(first.path.parent)]
    seeds = seeds_word(run.seed for run in method.runs)
    return ["run", "--config", str(first.path / "config.json"), "--seeds", seeds, *home]


def _changed(words: Sequence[str], step: Step) -> list[str]:
    """Return a command's words with one option changed; what forced or asked for JSON goes."""
    kept: list[str] = []
    skip = False
    for word in words:
        single = step.option and step.option not in REPEATED
        if skip:
            skip = False
        elif word in ("--force", "--json"):
            pass
        elif single and word == step.option:
            skip = True
        elif not (single and word.startswith(f"{step.option}=")):
            kept.append(word)
    return [*kept, *([step.option, step.value] if step.option else [])]
