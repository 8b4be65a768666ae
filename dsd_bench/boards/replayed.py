"""Stop rules and choosers replayed over the curves of a track's rows: numbers, no training.

A rule is a pure function of the rounds, so what it would have done follows from a curve that went
on without it. Curves are those of methods whose runs no rule stopped. The unit is the method: its
seeds are averaged first, and intervals are over methods.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dsd_bench.analysis import Evidence, Spread, mean_curve, phase_of, phases, spread
from dsd_bench.analysis.evidence import DOUBLE_DESCENT
from dsd_bench.boards.ranking import Line
from dsd_bench.boards.schema import BoardRow, SeedResult
from dsd_bench.boards.spent import epochs_of
from dsd_bench.choosers.builtin import register_choosers
from dsd_bench.components import Component
from dsd_bench.config.run import canonical
from dsd_bench.errors import DsdError
from dsd_bench.params import parse_values, split_word, validate
from dsd_bench.rounds import Columns
from dsd_bench.stopping.builtin import register_stop_criteria

STOPS = (
    *("never", "patience", "patience:tolerance=0.02", "patience:tolerance=0.05"),
    *("patience:patience=3", "entropy-gate", "entropy-gate:tolerance=0.02"),
    *("entropy-gate:drop=0.1", "interpolation-gate", "interpolation-gate:drop=0.2"),
    *("target:0.9", "target:0.95"),
)
"""The stop rules that are replayed, at their defaults and a few other parameters."""

CHOOSERS = ("best", "max-drop:0.005", "max-drop:0.01", "max-drop:0.02", "max-drop:0.05")
"""The choosers that are replayed; ``one-se`` needs bits of all rounds, which rows lack."""

WHOLE = ("rounds", "target-sparsity", "nothing-left")
"""What ends a curve that no stop rule cut short."""


@dataclass(frozen=True)
class Curve:
    """One seed of a method.

    Attributes:
        entry: the seed.
        score: the column that selects.
        epochs: of the dense training and of each later one, re-dense ones included, as track and
            method say; None where they do not.
    """

    entry: SeedResult
    score: str
    epochs: tuple[float, float] | None

    @cached_property
    def rows(self) -> Columns:
        """Rows with the columns that built-in rules read."""
        rounds = self.entry.rounds
        names = ("sparsity", "entropy", "nonzero", "train_accuracy", "test_accuracy", self.score)
        return Columns(
            {
                "round": range(len(rounds.sparsity)),
                **{name: getattr(rounds, name) for name in dict.fromkeys(names)},
            }
        )

    @cached_property
    def work(self) -> dict[str, list[float] | None]:
        """What the trainings cost beside each other: epochs times MACs of an image, forward.

        ``macs`` is dense, ``effective`` without pruned weights; None where it is not known. Where
        all weights train again in the end, rows have those networks' MACs, not the sparse ones'.
        """
        rounds = self.entry.rounds
        dense, effective = rounds.macs_dense, rounds.macs_effective
        whole = any(a == b for a, b in zip(dense[1:], effective[1:]))
        return {"macs": self._work(dense), "effective": None if whole else self._work(effective)}

    def _work(self, macs: Sequence[float | None]) -> list[float] | None:
        known = [value for value in macs if value is not None]
        if self.epochs is None or len(known) < len(macs):
            return None
        return [self.epochs[place > 0] * value for place, value in enumerate(known)]

    def saved(self, count: int) -> Mapping[str, float | None]:
        """Return the share of each part of :attr:`work` that the rounds from ``count`` on cost."""
        if count not in self._saved:
            self._saved[count] = {name: _share(costs, count) for name, costs in self.work.items()}
        return self._saved[count]

    @cached_property
    def _saved(self) -> dict[int, Mapping[str, float | None]]:
        return {}

    @cached_property
    def accuracy(self) -> list[float]:
        """Test accuracy, round by round."""
        return self.entry.rounds.test_accuracy

    @cached_property
    def highest(self) -> float:
        """The test accuracy of the best round on test."""
        return max(self.accuracy)

    @cached_property
    def _best(self) -> list[int]:
        scores: list[float] = getattr(self.entry.rounds, self.score)
        found = [0]
        for place in range(1, len(scores)):
            found.append(place if scores[place] > scores[found[-1]] else found[-1])
        return found

    def best(self, count: int) -> int:
        """Return the round that is best on the selecting part among the first ``count``."""
        return self._best[count - 1]


@dataclass(frozen=True)
class Method:
    """The curves of one method that went to the end of its schedule, at least one.

    Attributes:
        row: the method's.
        evidence: of a dip in its mean curve.
        curves: one for each seed.
    """

    row: BoardRow
    evidence: Evidence
    curves: tuple[Curve, ...]

    @cached_property
    def critical(self) -> frozenset[int] | None:
        """The rounds in the phase ``critical`` of the mean curve; None without double descent."""
        if self.evidence.verdict != DOUBLE_DESCENT:
            return None
        shared = min(len(curve.rows) for curve in self.curves)
        points = mean_curve([curve.rows[:shared] for curve in self.curves])
        found = phases(points, self.evidence)
        return frozenset(p.round for p in points if phase_of(p, found) == "critical")


def methods_of(lines: Sequence[Line]) -> list[Method]:
    """Return the methods of a board's lines with a curve to its end.

    Rows that differ in nothing but the chooser hold the same curves, and count once.
    """
    found: dict[str, Method] = {}
    for row, evidence in ((line.row, line.summary.evidence) for line in lines if replayable(line)):
        score = f"{row.track.selection}_accuracy"
        epochs = epochs_of(row.track, row.method)
        curves = tuple(Curve(entry, score, epochs) for entry in _whole(row))
        same = canonical(row.method.model_dump(mode="json", exclude={"chooser"}))
        if same not in found:
            found[same] = Method(row, evidence, curves)
    return list(found.values())


def replayable(line: Line) -> bool:
    """Whether a line has a curve that no rule cut short."""
    return line.row.method.stop.name == "never" and any(_whole(line.row))


def _whole(row: BoardRow) -> Iterator[SeedResult]:
    return (entry for entry in row.seeds if entry.stopped_by in WHOLE)


@dataclass(frozen=True)
class Rule:
    """A built-in component with its parameters: its word, and what is built."""

    word: str
    built: Any


def _rules(words: Sequence[str], components: Sequence[Component]) -> list[Rule]:
    known = {component.name: component for component in components}
    made = []
    for word in words:
        name, bare, keyed = split_word(word, word)
        model = known[name].params
        values = validate(model, parse_values(model, bare, keyed, word), word)
        made.append(Rule(word, known[name].create(values)))
    return made


def stop_rules() -> list[Rule]:
    """Return the stop rules that are replayed."""
    return _rules(STOPS, register_stop_criteria())


def choosers() -> list[Rule]:
    """Return the choosers that are replayed."""
    return _rules(CHOOSERS, register_choosers())


@dataclass(frozen=True)
class Told:
    """What a rule does to the curves of several methods.

    Attributes:
        word: the rule.
        curves: how many it could read.
        values: each quantity's mean over the methods, with the spread among them; None where no
            method has it.
    """

    word: str
    curves: int
    values: Mapping[str, Spread | None]


def stopped(rule: Rule, methods: Sequence[Method]) -> Told:
    """Replay a stop rule.

    The quantities: ``regret``, the oracle's test accuracy minus that of the round which is best on
    the selecting part up to the stop, where the oracle is the curve's best round on test;
    ``trainings``, ``macs`` and ``effective``, the shares of trainings, and of their dense and
    effective MACs, that are saved; ``dip``, the share of curves of methods with double descent that
    end in the phase critical of the mean curve.
    """

    def quantities(method: Method, curve: Curve) -> dict[str, float | None]:
        count = _count(rule, curve)
        accuracy, last = curve.accuracy, len(curve.rows) - 1
        dip = None if method.critical is None else float(count - 1 in method.critical)
        return {
            "regret": curve.highest - accuracy[curve.best(count)],
            "trainings": (last + 1 - count) / (last + 1),
            **curve.saved(count),
            "dip": dip,
        }

    return _told(rule, methods, quantities)


def chosen(rule: Rule, methods: Sequence[Method]) -> Told:
    """Replay a chooser.

    The quantities: ``lost``, the test accuracy of ``best``'s round minus that of the chosen one;
    ``regret``, the oracle's minus the chosen one's; ``fewer``, the share of the weights of
    ``best``'s round that are saved; ``sparsity`` of the chosen round.
    """

    def quantities(method: Method, curve: Curve) -> dict[str, float | None]:
        place, best = rule.built.choose(curve.rows, curve.score), curve.best(len(curve.rows))
        accuracy, counts = curve.accuracy, curve.entry.rounds.nonzero
        return {
            "lost": accuracy[best] - accuracy[place],
            "regret": curve.highest - accuracy[place],
            "fewer": 1 - counts[place] / counts[best] if counts[best] else None,
            "sparsity": curve.entry.rounds.sparsity[place],
        }

    return _told(rule, methods, quantities)


def _count(rule: Rule, curve: Curve) -> int:
    """Return how many rounds are trained under a stop rule."""
    last = rule.built.first(curve.rows, curve.score)
    return len(curve.rows) if last is None else last + 1


def _share(costs: Sequence[float] | None, count: int) -> float | None:
    total = sum(costs) if costs else 0.0
    return sum(costs[count:]) / total if costs and total else None


Quantities = Callable[[Method, Curve], Mapping[str, float | None]]


def _told(rule: Rule, methods: Sequence[Method], quantities: Quantities) -> Told:
    """Average over the seeds of each method, then over the methods."""
    means: dict[str, list[float]] = {}
    curves = 0
    for method in methods:
        found = list(_readable(method, quantities))
        curves += len(found)
        for name in found[0] if found else ():
            known = [value for one in found if (value := one[name]) is not None]
            if known:
                means.setdefault(name, []).append(statistics.fmean(known))
    return Told(rule.word, curves, {name: spread(values) for name, values in means.items()})


def _readable(method: Method, quantities: Quantities) -> Iterator[Mapping[str, float | None]]:
    """Yield what a rule does to the curves that have what it reads; a net may have no entropy."""
    for curve in method.curves:
        try:
            yield quantities(method, curve)
        except DsdError:
            continue
