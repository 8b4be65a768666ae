"""A suite's table: measured numbers, and beside them what the source reports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from dsd_bench.analysis import Spread, mean_curve
from dsd_bench.boards.cells import table as markdown_table
from dsd_bench.boards.words import escape
from dsd_bench.errors import collect, suggest
from dsd_bench.reports.latex import latex_table
from dsd_bench.reports.methods import Method
from dsd_bench.suites.quantities import NOTHING, QUANTITIES, Cells, Quantity, Statement
from dsd_bench.suites.results import Result
from dsd_bench.suites.schema import Suite

WORDS = frozenset({"of", *(k for k, v in QUANTITIES.items() if isinstance(v, Statement))})
"""Keys of ``reported`` whose texts are no labels."""

Write = Callable[[str], str]

ROUND = Quantity("test %", lambda run: None, 100.0)
"""How an accuracy in a table of rounds is shown."""


@dataclass(frozen=True)
class TableCell:
    """One measured place of a table.

    Attributes:
        text: as it is shown.
        found: mean and spread in the shown unit; None where nothing was measured, or words.
        reported: the source's own numbers, in words; empty where it gives none.
    """

    text: str
    found: Spread | None = None
    reported: str = ""


@dataclass(frozen=True)
class Table:
    """A table before it is written.

    Attributes:
        keys: headings of the columns that say what a row is.
        columns: headings of the measured columns.
        rows: for each row its words for ``keys`` and its entries.
    """

    keys: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], tuple[TableCell, ...]], ...]

    def markdown(self) -> str:
        """Return the table in markdown; a column that the source has numbers for gets another."""
        names, align, body = self._shown(escape, _inert)
        return "\n".join(markdown_table(names, align, body)) + "\n"

    def latex(self) -> str:
        """Return the same table for LaTeX with booktabs."""
        return latex_table(*self._shown(str, str))

    def _shown(self, write: Write, tell: Write) -> tuple[list[str], str, list[list[str]]]:
        """Return headings, alignment (``l`` or ``r`` each) and lines.

        Args:
            write: escapes words of files; the measured texts are our own.
            tell: escapes what the source reports.
        """
        told = [any(row[1][place].reported for row in self.rows) for place in self._places()]
        names, align = list(self.keys), "l" * len(self.keys)
        for place, column in enumerate(self.columns):
            names += [column, "reported"] if told[place] else [column]
            align += "rr" if told[place] else "r"
        body = []
        for words, entries in self.rows:
            line = [write(word) for word in words]
            for place, entry in enumerate(entries):
                line.append(entry.text)
                line += [tell(entry.reported) or NOTHING] if told[place] else []
            body.append(line)
        return [write(name) for name in names], align, body

    def json(self) -> str:
        """Return the table as JSON: a list of rows, each with its words and what was measured."""
        rows = [
            {
                "row": dict(zip(self.keys, words)),
                "cells": {
                    column: {
                        "text": entry.text,
                        "found": entry.found and asdict(entry.found),
                        "reported": entry.reported or None,
                    }
                    for column, entry in zip(self.columns, entries)
                },
            }
            for words, entries in self.rows
        ]
        return json.dumps({"rows": rows}, indent=1, allow_nan=False) + "\n"

    def csv(self) -> str:
        """Return the table as CSV: mean, sample standard deviation, n and what is reported."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        parts = ("text", "mean", "std", "n", "reported")
        writer.writerow([*self.keys, *(f"{c}: {part}" for c in self.columns for part in parts)])
        for words, entries in self.rows:
            values = [value for entry in entries for value in _numbers(entry)]
            writer.writerow([*words, *values])
        return stream.getvalue()

    def _places(self) -> range:
        return range(len(self.columns))


def _inert(text: str) -> str:
    """Escape what a suite's file says, but for the sign that is written here."""
    return "±".join(map(escape, text.split("±")))


def _numbers(entry: TableCell) -> list[str]:
    found = entry.found
    if found is None:
        return [entry.text, "", "", "", entry.reported]
    std = "" if found.std is None else f"{found.std:.6g}"
    return [entry.text, f"{found.mean:.6g}", std, str(found.n), entry.reported]


def make_table(suite: Suite, results: Sequence[Result]) -> Table:
    """Lay ``results`` out as the suite's ``[table]`` says."""
    if suite.table.rounds:
        return _by_round(suite, results)
    return _by_cell(suite, results)


COLUMNS = ("dense", "mean_depth", "verdict", "selected", "sparsity", "trainings")
"""What a table of runs shows unless asked for other quantities."""


def table_of(methods: Sequence[Method], columns: Sequence[str] = COLUMNS) -> Table:
    """Lay out methods' runs: a row for each, seeds as mean and spread.

    Args:
        methods: in the order of the rows.
        columns: names of :data:`QUANTITIES`.

    Raises:
        UsageError: for another name.
    """
    wrong = [f"--columns: no quantity '{n}'{suggest(n, QUANTITIES)}" for n in columns]
    collect([text for name, text in zip(columns, wrong) if name not in QUANTITIES])
    several = len({method.setting for method in methods}) > 1
    every = [tuple(method.runs) for method in methods]
    rows = []
    for method in methods:
        cells = [
            TableCell(QUANTITIES[name].say(method.runs, every), QUANTITIES[name].over(method.runs))
            for name in columns
        ]
        words = ([method.setting] if several else []) + [method.label, str(len(method.runs))]
        rows.append((tuple(words), tuple(cells)))
    keys = (["setting"] if several else []) + ["method", "n"]
    return Table(tuple(keys), tuple(QUANTITIES[name].title for name in columns), tuple(rows))


def _by_cell(suite: Suite, results: Sequence[Result]) -> Table:
    """One row for each combination of the axes but ``across``."""
    across = suite.table.across
    axes = [name for name in results[0].cell.labels if name != across]
    spread_labels = list(dict.fromkeys(r.cell.labels[across] for r in results)) if across else [""]
    grouped: dict[tuple[str, ...], dict[str, Result]] = {}
    for result in results:
        key = tuple(result.cell.labels[name] for name in axes)
        grouped.setdefault(key, {})[result.cell.labels[across] if across else ""] = result
    columns, rows = [], []
    for label in spread_labels:
        for name in suite.table.columns:
            columns.append(", ".join(filter(None, (label, QUANTITIES[name].title))))
    for key, members in grouped.items():
        entries = [
            _entry(suite, name, members.get(label), [result.runs for result in results])
            for label in spread_labels
            for name in suite.table.columns
        ]
        counts = list(dict.fromkeys(member.n for member in members.values()))
        rows.append(((*key, ", ".join(counts)), tuple(entries)))
    return Table((*axes, "n"), tuple(columns), tuple(rows))


def _entry(suite: Suite, name: str, result: Result | None, others: Cells) -> TableCell:
    quantity = QUANTITIES[name]
    if result is None:
        return TableCell(NOTHING)
    told = reported(suite, name, result.cell.labels)
    return TableCell(quantity.say(result.runs, others), quantity.over(result.runs), told)


def reported(
    suite: Suite, quantity: str, labels: Mapping[str, str], round: int | None = None
) -> str:
    """Write what the source says of a quantity of the cell with these labels.

    An entry of ``reported`` fits where it names no other label of the cell's axes; what it says
    beyond that (``of``, or an axis that the cell lacks) is named beside the number.
    """
    words = []
    for entry in suite.reported:
        names = {k: v for k, v in entry.items() if isinstance(v, str) and k not in WORDS}
        fits = all(labels.get(name, value) == value for name, value in names.items())
        if quantity not in entry or not fits or entry.get("round", round) != round:
            continue
        text = _as_reported(quantity, entry[quantity], entry.get(f"{quantity}_std"))
        beyond = [str(value) for name, value in names.items() if name not in labels]
        of = ", ".join([*([str(entry["of"])] if "of" in entry else []), *beyond])
        words.append(f"{text} ({of})" if of else text)
    return "; ".join(words)


def _as_reported(name: str, value: float | str, std: float | str | None) -> str:
    """Write a reported number: MACs with a prefix, others with two decimals."""
    write = getattr(QUANTITIES[name], "words", None) or "{:.2f}".format
    texts = [part if isinstance(part, str) else write(part) for part in (value, std) if part]
    return " ± ".join(texts)


def _by_round(suite: Suite, results: Sequence[Result]) -> Table:
    """One row for each round, one column for each cell."""
    curves = [
        {point.round: point for point in mean_curve([run.rows for run in result.runs])}
        for result in results
    ]
    columns = [f"{result.cell.name} (n = {result.n})" for result in results]
    rows = []
    for index in sorted({index for curve in curves for index in curve}):
        points = [curve.get(index) for curve in curves]
        left = [f"{100 * (1 - point.sparsity):.2f}" for point in points if point]
        entries = []
        for point, result in zip(points, results):
            found = None
            if point is not None:
                std = None if point.std is None else 100 * point.std
                found = Spread(100 * point.mean, std, point.n)
            told = reported(suite, "last", result.cell.labels, index)
            entries.append(TableCell(ROUND.write(found), found, told))
        rows.append(((str(index), " / ".join(dict.fromkeys(left))), tuple(entries)))
    return Table(("round", "weights left %"), tuple(columns), tuple(rows))
