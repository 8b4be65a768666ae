"""``dsd-bench analyze``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dsd_bench.analysis import Dodge, Fairness, Study, dodge, images_tested, study
from dsd_bench.analysis.study import last_density
from dsd_bench.analysis.summary import summarise
from dsd_bench.cli import reading
from dsd_bench.cli.saying import say_json
from dsd_bench.cli.selecting import paths
from dsd_bench.config.naming import Lookup, configuration_key
from dsd_bench.errors import UsageError, collect
from dsd_bench.plugins import catalogue
from dsd_bench.reports.fairness import fairness_of
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.pictures import setting_sentence
from dsd_bench.reports.studies import print_study
from dsd_bench.reports.words import open_console
from dsd_bench.store.runs import StoredRun, load_run


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--baseline", multiple=True, metavar="RUN,RUN,...",
    help="Vanilla runs of the same track: tells whether RUN... dodge their dip. Repeatable.",
)  # fmt: skip
@click.option(
    "--within", type=click.FloatRange(0, 100), default=1.0, show_default=True,
    help="Points below dense that compression may cost.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON; accuracies in 0..1.")
@click.option(
    "--figure", type=click.Path(path_type=Path), metavar="FILE", help="An .svg, .pdf or .png file."
)  # fmt: skip
@reading.runs_dir
def analyze(
    runs: tuple[str, ...],
    baseline: tuple[str, ...],
    within: float,
    as_json: bool,
    figure: Path | None,
    runs_dir: Path,
) -> None:
    """Tell phases, depth, sweet spot, area, compression and memorisation of finished RUN...

    RUN is an id, a prefix of one, a path, a folder of runs, or a method's name as `dsd-bench runs`
    prints it; the seeds of one configuration become one curve. docs/analysis.md defines every word.
    """
    if figure:
        _check_figure(figure)
    words = [word for option in baseline for word in option.split(",") if word]
    if baseline and not words:
        raise UsageError("--baseline names no run; give ids, prefixes or paths, with commas")
    vanilla = [load_run(path) for path in paths(words, runs_dir)]
    found = reading.load_finished(paths(runs, runs_dir))
    every = list({run.run_id: run for run in (*vanilla, *found)}.values())
    _check_finished(every)
    methods = methods_of(every, catalogue().find)
    base = _baseline(methods, vanilla, catalogue().find)
    studies = _studies(methods, within / 100)
    dodges = _dodges(methods, studies, base)
    if figure:
        _draw(figure, methods, studies, base)
    if as_json:
        told = [study_json(*parts) for parts in zip(methods, studies, dodges)]
        say_json({"configurations": told})
        return
    console = open_console(sys.stdout)
    for method, one, dodged in zip(methods, studies, dodges):
        print_study(console, method, one, dodged)


def _check_figure(path: Path) -> None:
    from dsd_bench.figures import check_suffix

    check_suffix(path)


def _check_finished(runs: Sequence[StoredRun]) -> None:
    problems = []
    for run in runs:
        status = run.result.get("status") if run.result else None
        if status != "done" or not run.rows:
            state = f"'{status}'" if status and status != "done" else "unfinished"
            problems.append(f"{run.path}: run {run.run_id} is {state}; finish it with `run` first")
    collect(problems)


def _baseline(
    methods: Sequence[Method], vanilla: Sequence[StoredRun], lookup: Lookup
) -> int | None:
    """Return the place of the baseline among the methods, None without one."""
    if not vanilla:
        return None
    keys = {configuration_key(run.config) for run in vanilla}
    if len(keys) > 1:
        names = ", ".join(f"'{method.label}'" for method in methods_of(vanilla, lookup))
        raise UsageError(f"--baseline: {len(keys)} configurations ({names}); give one's seeds")
    wanted = {run.run_id for run in vanilla}
    place = next(i for i, method in enumerate(methods) if wanted & _ids(method))
    problems = [_other_track(method, methods[place]) for method in methods]
    collect([problem for problem in problems if problem])
    return place


def _ids(method: Method) -> set[str]:
    return {run.run_id for run in method.runs}


def _other_track(method: Method, base: Method) -> str:
    """Return what keeps a method from being compared with the baseline; empty if nothing does."""
    from dsd_bench.boards.methods import track_of
    from dsd_bench.config.run import RunConfig

    ours, theirs = (
        track_of(RunConfig.from_json(one.runs[0].config)).model_dump() for one in (method, base)
    )
    differ = ", ".join(key for key in ours if ours[key] != theirs[key])
    if not differ:
        return ""
    return f"'{method.label}' is of another track than the baseline '{base.label}': {differ} differ"


def _studies(methods: Sequence[Method], within: float) -> list[Study]:
    """Analyse all methods, their areas over the range that all of them cover."""
    curves = [summarise(method.runs).shared for method in methods]
    ends = [end for curve in curves if (end := last_density(curve)) is not None]
    until = max(ends, default=None)
    fair = fairness_of([method.runs for method in methods])
    return [
        study(one.runs, images_tested(one.runs), within, until, told)
        for one, told in zip(methods, fair)
    ]


def _dodges(
    methods: Sequence[Method], studies: Sequence[Study], base: int | None
) -> list[Dodge | None]:
    if base is None:
        return [None] * len(methods)
    vanilla = studies[base].summary.evidence
    return [
        None if place == base else dodge(one.summary.evidence, vanilla, one.fairness)
        for place, one in enumerate(studies)
    ]


def _draw(
    path: Path, methods: Sequence[Method], studies: Sequence[Study], base: int | None
) -> None:
    """Draw all methods; phases are those of the baseline, or of the only method."""
    from dsd_bench.figures.studies import save_study

    groups = {method.label: [run.rows for run in method.runs] for method in methods}
    shown = 0 if base is None and len(methods) == 1 else base
    phases = studies[shown].phases if shown is not None else []
    title = methods[0].label
    if len(methods) > 1:
        title = f"phases of {methods[shown].label}" if shown is not None and phases else ""
    words = setting_sentence([run for one in methods for run in one.runs], catalogue().find)
    save_study(path, groups, studies[0].summary.column, phases, f"{title}\n{words}".strip())


def study_json(method: Method, found: Study, dodged: Dodge | None) -> dict[str, Any]:
    """Return what ``--json`` prints of one configuration; None where something is absent."""
    summary = found.summary
    return {
        "label": method.label,
        "setting": method.setting,
        "runs": [run.run_id for run in method.runs],
        "seeds": [run.seed for run in method.runs],
        "column": summary.column,
        "selection": summary.selection,
        "evidence": dataclasses.asdict(summary.evidence),
        "fairness": _fairness(found.fairness),
        "dense": _dict(summary.dense),
        "dip": _dict(summary.dip),
        "sweet_spot": _dict(summary.sweet) if summary.double_descent else None,
        "peak": _dict(found.best),
        "peak_phase": found.best_phase,
        "phases": [dataclasses.asdict(phase) for phase in found.phases],
        "area": {"value": found.area, "until_density": found.until},
        "compression": dataclasses.asdict(found.compression),
        "memorisation": _dict(found.memorisation),
        "dodged": {"verdict": dodged.verdict, "reason": dodged.reason} if dodged else None,
    }


def _fairness(fair: Fairness | None) -> dict[str, Any] | None:
    """Return what must be said beside the verdict; ``notes`` is empty where all is well."""
    if fair is None:
        return None
    return dataclasses.asdict(fair) | {"notes": list(fair.notes)}


def _dict(value: Any) -> dict[str, Any] | None:
    return None if value is None else dataclasses.asdict(value)
