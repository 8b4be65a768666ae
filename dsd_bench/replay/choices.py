"""Choosers applied to finished curves: which round, how many weights less, what that costs.

A chooser is a pure function of the rounds, so no training is needed. The choices are compared with
that of ``best``, which runs have unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from dsd_bench.analysis import Spread, spread
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DsdError, RunError, UsageError
from dsd_bench.experiment.choosing import Choice
from dsd_bench.experiment.ending import best_round
from dsd_bench.replay.rules import Rule, check_metrics, grid, rule_of
from dsd_bench.store.checkpoint import Row

way = partial(rule_of, "choose")
"""Return the chooser that a word names."""
ways = partial(grid, "choose")
"""Return the choosers of a grid: a word with every combination of values."""


@dataclass(frozen=True)
class Chosen:
    """What a chooser chooses of one curve. Accuracies are in 0..1, on test (else validation).

    Attributes:
        chooser: its word.
        run_id, seed: of the run.
        round, sparsity, nonzero, accuracy: of the chosen round.
        best_round, best_nonzero, best_accuracy: of the one that ``best`` chooses.
        oracle_round, oracle_accuracy: the best round by this very accuracy, which nobody can choose
            honestly.
    """

    chooser: str
    run_id: str
    seed: int
    round: int
    sparsity: float
    nonzero: int
    accuracy: float
    best_round: int
    best_nonzero: int
    best_accuracy: float
    oracle_round: int
    oracle_accuracy: float

    @property
    def fewer(self) -> float:
        """Share of the weights of ``best``'s round that the chosen one does without."""
        return 1 - self.nonzero / self.best_nonzero

    @property
    def given_up(self) -> float:
        """Accuracy that the oracle has more; never negative."""
        return self.oracle_accuracy - self.accuracy

    @property
    def lost(self) -> float:
        """Accuracy that ``best``'s choice has more; negative: the chooser helped."""
        return self.best_accuracy - self.accuracy


def choose(config: RunConfig, rows: Sequence[Row], rule: Rule) -> Chosen:
    """Return what a run with this chooser would have returned; trains nothing.

    Args:
        config: the run.
        rows: of all its rounds, further metrics' values under ``metrics``, bits under ``correct``.
        rule: the chooser.

    Raises:
        UsageError: if the rows lack what the chooser reads.
        RunError: if a plugin's chooser fails.
    """
    check_metrics(config.run_id, rows, f"the chooser '{rule.word}'", rule.metrics)
    score = config.score
    try:
        place = Choice(rule.config.name, rule.built, score).of(rows)
    except DsdError as error:
        raise UsageError(f"run {config.run_id}: {error}") from None
    except Exception as error:  # a plugin's chooser
        raise RunError(
            f"the chooser '{rule.word}' failed on run {config.run_id}: "
            f"{type(error).__name__}: {error}"
        ) from error
    column = "test_accuracy" if rows[0].get("test_accuracy") is not None else score
    accuracies = [float(row[column]) for row in rows]
    best, oracle = best_round(rows, score), best_round(rows, column)
    return Chosen(
        chooser=rule.word,
        run_id=config.run_id,
        seed=config.seed,
        round=place,
        sparsity=rows[place]["sparsity"],
        nonzero=rows[place]["nonzero"],
        accuracy=accuracies[place],
        best_round=best,
        best_nonzero=rows[best]["nonzero"],
        best_accuracy=accuracies[best],
        oracle_round=oracle,
        oracle_accuracy=accuracies[oracle],
    )


@dataclass(frozen=True)
class MethodChoice:
    """What a chooser chooses of the curves of one configuration: spreads over the seeds.

    Attributes:
        chooser: its word.
        choices: one for each seed.
        round, sparsity, accuracy: of the chosen rounds; shares in 0..1.
        fewer: share of the weights of ``best``'s round that are saved.
        given_up: accuracy against the oracle; ``lost``: against ``best``.
    """

    chooser: str
    choices: tuple[Chosen, ...]
    round: Spread
    sparsity: Spread
    accuracy: Spread
    fewer: Spread
    given_up: Spread
    lost: Spread


def summary(choices: Sequence[Chosen]) -> MethodChoice:
    """Summarise the choices of one chooser, at least one."""

    def over(name: str) -> Spread:
        found = spread([float(getattr(one, name)) for one in choices])
        assert found is not None
        return found

    names = ("round", "sparsity", "accuracy", "fewer", "given_up", "lost")
    told = {name: over(name) for name in names}
    return MethodChoice(chooser=choices[0].chooser, choices=tuple(choices), **told)


def summaries(
    curves: Sequence[tuple[RunConfig, Sequence[Row]]], tried: Iterable[Rule]
) -> list[MethodChoice]:
    """Return what each chooser chooses of the curves of one configuration (at least one)."""
    return [summary([choose(config, rows, one) for config, rows in curves]) for one in tried]
