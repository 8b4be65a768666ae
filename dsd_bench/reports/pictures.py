"""Finished runs as a paper's figure: methods over their seeds, by setting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dsd_bench.analysis.events import events
from dsd_bench.config.naming import Lookup, setting_words
from dsd_bench.errors import UsageError, plain, suggest
from dsd_bench.reports.methods import Method, methods_of
from dsd_bench.reports.words import plural
from dsd_bench.store.checkpoint import Row
from dsd_bench.store.further import measured_rows
from dsd_bench.store.runs import StoredRun

if TYPE_CHECKING:
    from dsd_bench.figures.compared import Drawn, Options
    from dsd_bench.reports.comparing import Comparison

_NAMES = {"dataset": "data", "noise": "label noise", "model": "model", "weights": "begun from"}


def settings(runs: Iterable[StoredRun], lookup: Lookup | None = None) -> dict[str, list[Method]]:
    """Sort runs by what they work on: what is said of it -> its methods, in order of appearance."""
    sorted_runs: dict[str, list[StoredRun]] = {}
    for run in runs:
        sorted_runs.setdefault(setting_sentence([run], lookup), []).append(run)
    return {name: methods_of(members, lookup) for name, members in sorted_runs.items()}


def setting_sentence(runs: Iterable[StoredRun], lookup: Lookup | None = None) -> str:
    """Say data, noise and model of runs: ``data: digits; label noise: none added; model: mlp``.

    What differs among them is left out.
    """
    told: dict[str, set[str]] = {}
    for run in runs:
        usual = {"dataset": "", "noise": "none added", "model": ""}
        words = {**usual, **setting_words(run.config, lookup)}
        for kind, word in words.items():
            told.setdefault(kind, set()).add(word)
    same = {kind: words.pop() for kind, words in told.items() if len(words) == 1}
    return "; ".join(f"{_NAMES[kind]}: {plain(word)}" for kind, word in same.items())


def label_all(methods: Sequence[Method], names: Sequence[str]) -> dict[str, str]:
    """Return what each method is called: as ``names`` say in their order, else by its label.

    Raises:
        UsageError: if there are more or fewer names than methods, or one is given twice.
    """
    labels = list(dict.fromkeys(method.label for method in methods))
    if not names:
        return {label: label for label in labels}
    if len(names) != len(labels):
        told = ", ".join(f"'{label}'" for label in labels)
        raise UsageError(
            f"--labels: {plural(len(names), 'name')} for {plural(len(labels), 'method')}; "
            f"in their order they are {told}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--labels: '{twice[0]}' is given twice")
    return dict(zip(labels, names))


def drawn(method: Method, label: str) -> Drawn:
    """Return a method as it is drawn."""
    from dsd_bench.figures.compared import Drawn

    return Drawn(label, [measured_rows(run) for run in method.runs], events(method.runs))


def check_measured(names: Sequence[str], rows: Iterable[Row], where: str) -> None:
    """Refuse columns that no row has numbers of; ``where`` says in the error who asked for them.

    Raises:
        UsageError: naming the nearest there is.
    """
    numbers = {
        key
        for row in rows
        for key, value in row.items()
        if isinstance(value, int | float) and key != "round"
    }
    for name in names:
        if name not in numbers:
            raise UsageError(f"{where}: no run has numbers called '{name}'{suggest(name, numbers)}")


def seeds_words(methods: Sequence[Method]) -> str:
    """Say how many seeds the methods have: ``6 seeds``, ``3 to 6 seeds``."""
    counts = sorted({len(method.runs) for method in methods})
    if len(counts) == 1:
        return plural(counts[0], "seed")
    return f"{counts[0]} to {plural(counts[-1], 'seed')}"


def draw_runs(
    runs: Sequence[StoredRun],
    path: Path,
    options: Options,
    names: Sequence[str] = (),
    lookup: Lookup | None = None,
) -> list[str]:
    """Draw the methods of some finished runs.

    Args:
        runs: at least one.
        path: ``.svg``, ``.pdf`` or ``.png``.
        options: how; its note is completed.
        names: of the methods, in their order.
        lookup: where components are found, for short names.

    Returns:
        The methods' names.

    Raises:
        UsageError: for names that do not fit, columns that nobody has, another suffix.
    """
    from dsd_bench.figures.compared import draw_compared

    found = settings(runs, lookup)
    every = [method for methods in found.values() for method in methods]
    called = label_all(every, names)
    panels = {
        name: [drawn(method, called[method.label]) for method in methods]
        for name, methods in found.items()
    }
    curves = [rows for methods in panels.values() for one in methods for rows in one.seeds]
    check_measured(options.rows, [row for rows in curves for row in rows], "--rows")
    parts = sorted({"test" if method.on_test else "validation" for method in every})
    chosen = f"selected on {' and '.join(parts)}"
    unfinished = [f"{one.label}: {one.state}" for one in every if one.unfinished]
    note = "; ".join([f"{seeds_words(every)}, {chosen}", *unfinished])
    draw_compared(panels, path, replace(options, note=note))
    return list(called.values())


def draw_comparison(found: Comparison, path: Path, lookup: Lookup | None = None) -> None:
    """Draw two methods and their difference; see :func:`dsd_bench.figures.difference.draw`."""
    from dsd_bench.figures.difference import draw

    pair = (found.first, found.second)
    words = setting_sentence([run for one in pair for run in one.runs], lookup)
    note = f"{words}; paired over {plural(len(found.seeds), 'seed')}"
    seeds = set(found.seeds)
    first, second = (
        drawn(replace(one, runs=[run for run in one.runs if run.seed in seeds]), one.label)
        for one in pair
    )
    draw((first, second), found.column, found.rounds, path, note)
