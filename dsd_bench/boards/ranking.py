"""The order of a board's methods: which are ranked, their places, and who is tied with the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from dsd_bench.boards.agreement import Outcome
from dsd_bench.boards.marks import marks
from dsd_bench.boards.pareto import Front, front
from dsd_bench.boards.places import row_path
from dsd_bench.boards.schema import BoardRow, CheckedRow
from dsd_bench.boards.summary import BoardSummary, summarise
from dsd_bench.boards.ties import MIN_SEEDS, compare, disagreements
from dsd_bench.boards.words import method_labels


@dataclass(frozen=True)
class Line:
    """One line of a board.

    Attributes:
        row, summary, label: of the method.
        path: where the row lies below the boards' folder.
        place: 1 + the number of methods that are significantly better; None: it is not ranked.
        tied: whether it cannot be told from the ranked method of the highest mean, or is it.
        outcome: of seeds that somebody has run again; None where nobody has.
        front: whether it is on the front of accuracy and remaining weights
            (:mod:`dsd_bench.boards.pareto`); None: it is not ranked.
    """

    row: BoardRow
    summary: BoardSummary
    label: str
    path: PurePosixPath
    place: int | None = None
    tied: bool = False
    outcome: Outcome | None = None
    front: Front | None = None

    @cached_property
    def marks(self) -> list[str]:
        """The marks that stand behind the label."""
        return marks(self.row)


@dataclass(frozen=True)
class Ranking:
    """A board's methods in order.

    Attributes:
        lines: ranked ones by place and mean, then the others by mean.
        seeds: those over which methods are compared, ascending; empty where nothing is ranked.
        apart: how many points two methods must be apart, for the median pair; None where fewer
            than two are ranked.
    """

    lines: tuple[Line, ...]
    seeds: tuple[int, ...]
    apart: float | None


def rank(
    rows: Sequence[BoardRow], outcomes: Mapping[PurePosixPath, Outcome] | None = None
) -> Ranking:
    """Rank the rows of one track; ``outcomes`` of those that were run again, by row path.

    Ranked are those with evidence (schema 2) that have all the seeds that most such rows have, at
    least :data:`~dsd_bench.boards.ties.MIN_SEEDS`.
    """
    seeds = shared_seeds(rows)
    named = zip(map(row_path, rows), rows, method_labels(rows), strict=True)
    verified = outcomes or {}
    found = {
        path: Line(row, summarise(row), label, path, outcome=verified.get(path))
        for path, row, label in sorted(named, key=lambda one: one[0])
    }
    ranked = {
        path: line.row
        for path, line in found.items()
        if seeds and isinstance(line.row, CheckedRow) and _has(line.row, seeds)
    }
    apart = None
    if ranked:
        places, tied, fronts, apart = _places(list(ranked.values()), seeds)
        for path, place, level, stands in zip(ranked, places, tied, fronts, strict=True):
            found[path] = replace(found[path], place=place, tied=level, front=stands)
    lines = sorted(found.values(), key=_order)
    return Ranking(tuple(lines), seeds if ranked else (), apart)


def shared_seeds(rows: Sequence[BoardRow]) -> tuple[int, ...]:
    """Return the seeds that over half of the rows have; () if those are too few to rank by."""
    able = [row for row in rows if isinstance(row, CheckedRow) and len(row.seeds) >= MIN_SEEDS]
    counts = Counter(entry.seed for row in able for entry in row.seeds)
    seeds = tuple(sorted(seed for seed, count in counts.items() if 2 * count > len(able)))
    return seeds if len(seeds) >= MIN_SEEDS else ()


def _has(row: CheckedRow, seeds: Sequence[int]) -> bool:
    there = {entry.seed for entry in row.seeds if entry.correct.selected.test is not None}
    return there >= set(seeds)


def _places(
    rows: Sequence[CheckedRow], seeds: Sequence[int]
) -> tuple[list[int], list[bool], list[Front], float | None]:
    """Return places, ties with the best, the front, and the difference that shows, in points."""
    import numpy

    from dsd_bench.store.correct import unpack

    chosen = [[entry for entry in row.seeds if entry.seed in set(seeds)] for row in rows]
    right = [
        [unpack(entry.correct.selected.test or "", entry.samples.test) for entry in entries]
        for entries in chosen
    ]
    accuracies = numpy.array([[bits.mean() for bits in entries] for entries in right])
    bits = numpy.array([numpy.concatenate(entries) for entries in right])
    found = compare(accuracies, disagreements(bits), bits.shape[1])
    best = int(accuracies.mean(axis=1).argmax())
    pairs = found.error[numpy.triu_indices(len(rows), 1)]
    apart = 100 * found.critical * float(numpy.median(pairs)) if pairs.size else None
    tied = [not worse for worse in found.better[best].tolist()]
    sparsities = [[one.rounds.sparsity[one.best_round] for one in entries] for entries in chosen]
    fronts = front(found, accuracies, numpy.array(sparsities))
    return found.places, tied, fronts, apart


def _order(line: Line) -> tuple[object, ...]:
    mean = -round(line.summary.accuracy.mean, 4)  # as it is shown
    return line.place is None, line.place or 0, mean, line.label, line.path
