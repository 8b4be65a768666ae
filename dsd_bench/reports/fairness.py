"""Whether configurations interpolate and train whole, from the run folders at hand."""

from __future__ import annotations

from collections.abc import Sequence

from dsd_bench.analysis.fairness import Config, Fairness, Seeds, fairness
from dsd_bench.errors import UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.store.runs import StoredRun, load_run


def fairness_of(groups: Sequence[Sequence[StoredRun]]) -> list[Fairness]:
    """Return the fairness of each configuration; vanilla twins are looked for among all.

    The runs of teachers that lie beside a run count too: the usual teacher is the vanilla twin.

    Args:
        groups: for each configuration its seeds, at least one.
    """
    others = [_one(group) for group in groups] + _teachers(groups)
    find = catalogue().find
    return [fairness(*_one(group), find, others) for group in groups]


def _one(runs: Sequence[StoredRun]) -> tuple[Config, Seeds]:
    return runs[0].config, [run.rows for run in runs]


def _teachers(groups: Sequence[Sequence[StoredRun]]) -> list[tuple[Config, Seeds]]:
    """Return the runs of teachers beside their students' folders that can be read."""
    wanted = {
        run.path.parent / part["teacher"]["run_id"]
        for runs in groups
        for run in runs
        for part in run.config["regularizers"]
        if part.get("teacher")
    }
    found = []
    for path in sorted(wanted):
        try:
            teacher = load_run(path)
        except UsageError:
            continue  # gone or damaged: then there is no twin at hand
        found.append(_one([teacher]))
    return found
