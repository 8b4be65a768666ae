"""A page about a board: its rows, with the folders of their runs where they are here.

Rows hold no layers and no validation bits of every round. A method all of whose runs lie in
``--runs-dir`` and give the row's numbers (what ``verify`` compares) is shown from them; any other
is shown from its row, and a note says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dsd_bench.boards.check import find_rows
from dsd_bench.boards.methods import reseeded
from dsd_bench.boards.places import row_path
from dsd_bench.boards.ranking import rank
from dsd_bench.boards.reruns import beside
from dsd_bench.boards.schema import CheckedRow, CheckedSeed
from dsd_bench.boards.words import QUESTION, track_title
from dsd_bench.config.naming import Lookup, group_runs, setting
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import UsageError, collect, plain
from dsd_bench.pages.subject import Subject, of_methods
from dsd_bench.reports.methods import Method
from dsd_bench.reports.words import plural
from dsd_bench.store.runs import StoredRun


@dataclass(frozen=True)
class Source:
    """Where a method's runs were read.

    Attributes:
        label: of the method.
        runs: its runs, of the row or of their folders.
        there: how many of them lie here and are the row's.
        unlike: a sentence on what lies here and is not the row's; empty if all is.
    """

    label: str
    runs: list[StoredRun]
    there: int
    unlike: str = ""

    @property
    def lean(self) -> bool:
        """Whether the runs are the row's, without what only folders have."""
        return bool(self.unlike) or self.there < len(self.runs)


def of_board(folder: Path, runs_dir: Path, command: str, lookup: Lookup | None = None) -> Subject:
    """Return the subject of a track's folder.

    Args:
        folder: of the board.
        runs_dir: where folders of its runs may lie.
        command: what makes the page anew.
        lookup: where to find components.

    Raises:
        UsageError: if a row cannot be used, or none has a whole configuration.
    """
    folder = folder.resolve()
    found_rows = find_rows(folder.parent)
    collect([one for one in found_rows.problems if str(folder) in one])
    rows = found_rows.rows.get(folder.name)
    if not rows:
        raise UsageError(f"{folder}: no rows/*.json; is it the folder of a board?")
    lines = rank(rows).lines
    able = {plain(line.label): line for line in lines if isinstance(line.row, CheckedRow)}
    if not able:
        raise UsageError(f"{folder}: rows of schema 1 have no configurations; submit them anew")
    sources = [
        _source(label, line.row, folder, runs_dir)  # type: ignore[arg-type]
        for label, line in able.items()
    ]
    methods = [
        Method(one.label, plain(setting(one.runs[0].config, lookup)), one.runs) for one in sources
    ]
    grouped = of_methods(methods, lookup)
    shown = {one.method.label: one for group in grouped.values() for one in group}
    whole = [replace(shown[label], line=line) for label, line in able.items()]
    old = [line.label for line in lines if not isinstance(line.row, CheckedRow)]
    notes = [f"rows of schema 1 are left out: {', '.join(map(plain, old))}"] if old else []
    notes += _notes(sources, runs_dir)
    title = f"Board: {track_title(rows[0].track)}"
    return Subject(title, QUESTION, {next(iter(grouped)): whole}, command, notes=notes)


def _source(label: str, row: CheckedRow, folder: Path, runs_dir: Path) -> Source:
    """Return a method's runs: those of its folders if all are here and are the row's."""
    stored: list[StoredRun] = []
    unlike: list[str] = []
    problem = ""
    try:
        for run, held in beside(row, runs_dir):
            if held.difference is None:
                stored.append(run)
            else:
                unlike.append(f"{run.run_id} (seed {run.seed}) has {held.difference}")
    except UsageError as error:
        told = str(error).splitlines()
        problem = f"{label}: {told[min(1, len(told) - 1)].removeprefix('  - ')}"
    if unlike:
        more = f", and {plural(len(unlike) - 1, 'other run')} differ too" if unlike[1:] else ""
        problem = f"{label}: run {unlike[0]}{more}"
    runs = stored if len(stored) == len(row.seeds) else _runs(row, folder)
    return Source(label, group_runs(runs)[0], len(stored), problem)


def _notes(sources: Sequence[Source], runs_dir: Path) -> list[str]:
    """Say which methods are shown without what only folders have, why, and what to do."""
    lean = [one for one in sources if one.lean]
    if not lean:
        return []
    notes = [
        "rows hold neither the layers of each round nor which validation images it gets right, so "
        f"there are no maps of layers and no replay of the chooser one-se {_whom(sources, lean)}; "
        f"where the folders of all their runs lie, give --runs-dir FOLDER (this page: {runs_dir})"
    ]
    if some := [f"{one.there} of {len(one.runs)} of {one.label}" for one in lean if one.there]:
        notes.append(f"in {runs_dir} lie only some of a row's runs: {'; '.join(some)}")
    if unlike := [one.unlike for one in lean if one.unlike]:
        notes.append(
            f"not used, as it is not what the row says, from {runs_dir}: {'; '.join(unlike)}; "
            "`dsd-bench verify` judges such rows"
        )
    return notes


def _whom(sources: Sequence[Source], lean: Sequence[Source]) -> str:
    """Name the lean methods, or the others if those are fewer."""
    others = [one.label for one in sources if not one.lean]
    if not others:
        return "of any method"
    if len(others) < len(lean):
        return f"of all methods but {'; '.join(others)}"
    return f"of {'; '.join(one.label for one in lean)}"


def _runs(row: CheckedRow, folder: Path) -> list[StoredRun]:
    """Return the runs that a row is made of; what only their folders have is missing."""
    config = RunConfig.model_validate(row.config)
    path = folder / row_path(row).name
    return [_run(reseeded(config, entry.seed), entry, path) for entry in row.seeds]


def _run(config: RunConfig, entry: CheckedSeed, path: Path) -> StoredRun:
    columns = entry.rounds.model_dump()
    count = len(entry.rounds.sparsity)
    rows = tuple(
        {"round": at, **{name: values[at] for name, values in columns.items()}}
        for at in range(count)
    )
    result = {
        "run_id": entry.run_id,
        "status": "done",
        "best_round": entry.best_round,
        "stopped_by": entry.stopped_by,
        "samples": entry.samples.model_dump(),
        "plan": entry.plan,
        "versions": entry.versions,
        "hardware": entry.hardware,
    }
    return StoredRun(entry.run_id, path, config.to_json(), rows, result)
