"""Checks of reporters."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dsd_bench.conformance.checks import blaming, check, demand
from dsd_bench.conformance.runs import finished
from dsd_bench.conformance.subjects import Subject
from dsd_bench.store.runs import StoredRun

_STEERING = "\x1b[31m\u202e"
"""What would steer a terminal if it were written as it is."""


def _runs(subject: Subject) -> list[StoredRun]:
    """Return two finished runs, one under way, one that failed and one without any round."""
    one, two = finished(subject, seed=0), finished(subject, seed=1)
    under_way = replace(one, run_id="0" * 16, rows=one.rows[:1], result=None)
    failed = replace(under_way, run_id="1" * 16, error="out of memory")
    return [one, two, under_way, failed, replace(under_way, run_id="2" * 16, rows=())]


def _written(subject: Subject, runs: Sequence[StoredRun]) -> str:
    stream = io.StringIO()
    subject.make().report(runs, stream)
    demand(not stream.closed, "it closes the stream that it writes to")
    return stream.getvalue()


@check("reporter")
def writes(subject: Subject) -> None:
    """Of finished, unfinished and failed runs, together or alone, it writes something."""
    runs = _runs(subject)
    for some in (runs, *([run] for run in runs)):
        state = "several runs" if len(some) > 1 else f"a run of {len(some[0].rows)} rounds"
        with blaming(f"of {state} it raises"):
            text = _written(subject, some)
        demand(text or not some[0].rows, f"of {state} it writes nothing")


@check("reporter")
def absent_values(subject: Subject) -> None:
    """Rounds without entropy or a validation part are written too."""
    run = finished(subject)
    absent = dict.fromkeys(
        ("entropy", "entropy_per_layer", "val_accuracy", "val_loss", "train_accuracy_noisy")
    )
    config = copy.deepcopy(run.config)
    config["protocol"]["selection"] = "test"
    bare = replace(run, config=config, rows=tuple({**row, **absent} for row in run.rows))
    with blaming("where entropy or val_accuracy are null it raises"):
        _written(subject, [bare])


@check("reporter")
def same_text(subject: Subject) -> None:
    """It writes the same whenever it is asked, and leaves the runs that it is given."""
    runs = _runs(subject)
    before = copy.deepcopy(runs)
    first = _written(subject, runs)
    demand(runs == before, "it changes the runs that it was given")
    demand(first == _written(subject, runs), "asked again it writes something else")


@check("reporter")
def only_reads(subject: Subject) -> None:
    """Run folders are as they were."""
    runs = _runs(subject)[:2]
    before = _files(runs)
    _written(subject, runs)
    demand(before == _files(runs), "it writes into a run's folder")


def _files(runs: Sequence[StoredRun]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for run in runs for path in run.path.parent.rglob("*")}


@check("reporter")
def plain_text(subject: Subject) -> None:
    """What files say cannot steer a terminal: it escapes what it writes of them."""
    run = finished(subject)
    config = copy.deepcopy(run.config)
    for kind in ("dataset", "model", "pruner"):
        config[kind]["params"]["note"] = f"x{_STEERING}"
    odd = replace(run, config=config, error=f"no{_STEERING}")
    if odd.result is not None:
        odd = replace(odd, result={**odd.result, "reason": f"so{_STEERING}"})
    text = _written(subject, [odd])
    demand(
        not set("\u202e") & set(text) and "\x1b[31mx" not in text and _STEERING not in text,
        "it writes control characters of a run's files: use dsd_bench.errors.plain",
    )
