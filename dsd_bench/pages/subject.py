"""What a page is about: some methods with their runs, whatever they were read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsd_bench.analysis import Study, images_tested, study
from dsd_bench.analysis.events import Event, events
from dsd_bench.boards.ranking import Line
from dsd_bench.config.naming import Lookup, setting
from dsd_bench.errors import UsageError, plain
from dsd_bench.reports.fairness import fairness_of
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.pictures import setting_sentence
from dsd_bench.reports.words import plural
from dsd_bench.store.runs import StoredRun, load_run


@dataclass(frozen=True)
class Shown:
    """A method of a page.

    Attributes:
        method: its name and runs.
        study: what is found in them.
        events: what happened to its seeds.
        line: of the board that the page is about; None elsewhere.
    """

    method: Method
    study: Study
    events: tuple[Event, ...]
    line: Line | None = None

    @property
    def seeds(self) -> list[Sequence[dict[str, Any]]]:
        """The rows of each seed."""
        return [run.rows for run in self.method.runs]


@dataclass(frozen=True)
class Subject:
    """What a page is about.

    Attributes:
        title: its heading.
        asked: the question.
        methods: in their order, by what is said of their data, noise and model.
        command: what makes the page anew.
        again: commands that make the runs anew.
        notes: what was left out.
    """

    title: str
    asked: str
    methods: Mapping[str, Sequence[Shown]]
    command: str
    again: Sequence[str] = ()
    notes: Sequence[str] = field(default=())

    @property
    def every(self) -> list[Shown]:
        """All methods."""
        return [one for methods in self.methods.values() for one in methods]


def of_methods(methods: Sequence[Method], lookup: Lookup | None = None) -> dict[str, list[Shown]]:
    """Study methods and sort them by what they work on."""
    found: dict[str, list[Shown]] = {}
    fair = fairness_of([method.runs for method in methods])
    for method, told in zip(methods, fair):
        one = study(method.runs, _tested(method.runs), fair=told)
        shown = Shown(method, one, tuple(events(method.runs)))
        found.setdefault(setting_sentence(method.runs[:1], lookup), []).append(shown)
    return found


def _tested(runs: Sequence[StoredRun]) -> int | None:
    try:
        return images_tested(runs)
    except UsageError:
        return None


def of_runs(runs: Sequence[StoredRun], command: str, lookup: Lookup | None = None) -> Subject:
    """Return the subject of some finished runs."""
    methods = methods_of(runs, lookup)
    found = of_methods(methods, lookup)
    data = methods[0].setting if len(found) == 1 else f"{len(found)} settings"
    names = methods[0].label if len(methods) == 1 else plural(len(methods), "method")
    asked = "How does test accuracy change as weights are pruned away"
    asked += ", and which method keeps it best?" if len(methods) > 1 else "?"
    return Subject(f"{names}: {data}", asked, found, command)


def of_cells(
    title: str,
    question: str,
    cells: Sequence[tuple[str, Sequence[StoredRun]]],
    command: str,
    again: Sequence[str],
    lookup: Lookup | None = None,
) -> Subject:
    """Return the subject of a suite: its cells by their own names, those without runs named."""
    methods = [
        Method(plain(name), plain(setting(runs[0].config, lookup)), list(runs))
        for name, runs in cells
        if runs
    ]
    missing = [name for name, runs in cells if not runs]
    notes = [f"no finished run of: {', '.join(map(plain, missing))}"] if missing else []
    return Subject(title, question, of_methods(methods, lookup), command, again, notes)


def has_folder(run: StoredRun) -> bool:
    """Whether a run was read from its folder; else it is a seed of a board's row."""
    return run.path.is_dir()


def teachers_of(shown: Shown) -> list[StoredRun]:
    """Return the runs of a method's teachers that lie beside its own and can be read."""
    wanted = {
        run.path.parent / part["teacher"]["run_id"]
        for run in shown.method.runs
        for part in run.config["regularizers"]
        if part.get("teacher")
    }
    found = []
    for path in sorted(wanted):
        try:
            found.append(load_run(path))
        except UsageError:
            continue
    return found
