"""Which finished runs the words of a command mean: runs, folders of runs, methods by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from dsd_bench.cli.reading import MOST_TOLD, load_finished
from dsd_bench.cli.saying import say
from dsd_bench.config.naming import configuration_key, group_runs, label
from dsd_bench.errors import UsageError, plain, suggest
from dsd_bench.plugins import catalogue
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.store.listing import look
from dsd_bench.store.runs import RUN_ID, StoredRun, find_run, stored_ids


def select(words: Sequence[str], runs_dir: Path) -> list[StoredRun]:
    """Return the finished runs that ``words`` mean (:func:`paths`), in the order of the words.

    Those of a folder are sorted by the names of their methods. Others than finished runs are left
    out with a note, unless nothing is finished.

    Raises:
        UsageError: for a word that means nothing; the message lists the methods there are.
    """
    places = paths(words, runs_dir)
    find = catalogue().find
    runs = load_finished(places)
    return sorted(runs, key=lambda one: (places[one.path], label(one.config, find), one.seed))


class _NoRuns(UsageError):
    """A path at which something lies, but no runs."""


def paths(words: Sequence[str], runs_dir: Path) -> dict[Path, int]:
    """Return the folders of the runs that ``words`` mean, each once, and of which word it is.

    A word is an id, a unique prefix of one or a path of a run; a folder of runs, which means all
    of them; or the name of a method, as ``dsd-bench runs`` prints it, which means all its seeds in
    ``runs_dir``; with ``*`` for several methods. So that ``runs/*`` can be given, what lies beside
    runs is left out with a note.

    Raises:
        UsageError: for a word that means nothing.
    """
    known: dict[str, list[Path]] = {}
    found: dict[Path, int] = {}
    others: dict[str, _NoRuns] = {}
    for place, word in enumerate(words):
        try:
            for path in _paths(word, runs_dir, known):
                found.setdefault(path, place)
        except _NoRuns as error:
            others[word] = error
    if others and not found:
        raise next(iter(others.values()))
    if others:
        more = f" and {len(others) - MOST_TOLD} more" if len(others) > MOST_TOLD else ""
        say(f"note: no runs: {', '.join([*others][:MOST_TOLD])}{more}", err=True)
    return found


def _paths(word: str, runs_dir: Path, known: dict[str, list[Path]]) -> Iterator[Path]:
    """Yield what one word means; ``known`` is filled with the folder's methods once needed."""
    try:
        yield find_run(word, runs_dir)
        return
    except UsageError as error:
        if any(run_id.startswith(word) for run_id in stored_ids(runs_dir)):
            raise  # it fits several
        missing = error
    folder = Path(word)
    if folder.is_dir() and (ids := stored_ids(folder)):
        yield from (folder / run_id for run_id in ids)
        return
    if os.path.lexists(folder) and RUN_ID.match(folder.name):
        yield folder  # who reads it says what is wrong
        return
    known |= {} if known else _methods(runs_dir)
    names = [word] if word in known else sorted(name for name in known if fnmatchcase(name, word))
    if not names:
        if os.path.lexists(folder):
            what = "a folder" if folder.is_dir() else "a file"
            raise _NoRuns(f"{word}: is {what}, but no run and none of runs")
        if not known:
            raise missing
        raise UsageError(
            f"no run, folder of runs or method '{word}' in {runs_dir}{suggest(word, known)}"
        )
    yield from (path for name in names for path in known[name])


def _methods(runs_dir: Path) -> dict[str, list[Path]]:
    """Return the finished runs of a folder by the names of their methods, seeds ascending.

    Where several methods have one name, each also has one of its own.
    """
    found = [one for run_id in stored_ids(runs_dir) if (one := look(runs_dir / run_id)).run]
    runs = [one.run for one in found if one.run and one.state == "done"]
    methods = methods_of(runs, catalogue().find)
    known: dict[str, list[Path]] = {}
    for method in methods:
        name = plain(label(method.runs[0].config, catalogue().find))
        known.setdefault(name, []).extend(run.path for run in method.runs)
    for method in methods:
        known.setdefault(method.label, [run.path for run in method.runs])
    return known


def select_method(word: str, runs_dir: Path) -> Method:
    """Return the one method that ``word`` means, with its finished seeds.

    As for :func:`select`; also several words with commas. A single run stands for its method: all
    finished seeds of it beside the run.

    Raises:
        UsageError: if it means nothing, or several methods.
    """
    try:
        runs = select([word], runs_dir)
    except UsageError:
        parts = [part.strip() for part in word.split(",") if part.strip()]
        if len(parts) < 2:
            raise
        runs = select(parts, runs_dir)
    if len(runs) == 1:
        runs = _siblings(runs[0])
    methods = methods_of(runs, catalogue().find)
    if len(methods) > 1:
        names = ", ".join(f"'{method.label}'" for method in methods)
        raise UsageError(f"'{word}' means {len(methods)} methods: {names}; name one of them")
    return methods[0]


def _siblings(run: StoredRun) -> list[StoredRun]:
    """Return the finished runs beside a run that are seeds of its method."""
    key = configuration_key(run.config)
    found = [look(run.path.parent / run_id) for run_id in stored_ids(run.path.parent)]
    runs = [one.run for one in found if one.run and one.state == "done"]
    same = [one for one in runs if configuration_key(one.config) == key]
    groups = group_runs([run, *same])
    return next(group for group in groups if run.run_id in {one.run_id for one in group})
