"""Stop rules applied to finished curves: what would have been saved, and what given up.

A stop criterion is a pure function of the rounds so far, so what a real run with it would have done
follows from a curve that went on without it, and no training is needed. :func:`replay` asks the
protocol's own :func:`dsd_bench.experiment.ending.ended` round by round; reading folders is left to
:mod:`dsd_bench.replay.curves`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from dsd_bench.analysis import Spread, spread
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DsdError, RunError, UsageError
from dsd_bench.experiment.choosing import choice_of
from dsd_bench.experiment.ending import ended
from dsd_bench.replay.rules import Rule, check_metrics, grid, rule_of
from dsd_bench.store.checkpoint import Row

rule = partial(rule_of, "stop")
"""Return the stop rule that a word names."""
varied = partial(grid, "stop")
"""Return the stop rules of a grid: a word with every combination of values."""


@dataclass(frozen=True)
class Curve:
    """A finished run that was pruned to the end of its schedule.

    Attributes:
        config: the run.
        rows: of all rounds, the dense one first; further metrics' values under ``metrics``.
        end: what ended it and why, as ``result.json`` has it.
        dense: MACs of each training, every weight counted.
        effective: the same without pruned weights; None where teachers' masks are unknown.
    """

    config: RunConfig
    rows: Sequence[Row]
    end: tuple[str, str]
    dense: Sequence[int]
    effective: Sequence[int] | None = None


@dataclass(frozen=True)
class Replay:
    """What a rule does to one curve. Accuracies are in 0..1, on test (validation without one).

    Attributes:
        rule: its word.
        run_id, seed: of the run.
        round: the last one trained under the rule; ``last``: of the whole curve.
        stopped_by, reason: as ``result.json`` would have them.
        best_round: the one that the run's chooser chooses.
        accuracy: of the selected model.
        whole_round, whole_accuracy: what the whole curve selects by the same score.
        oracle_round, oracle_accuracy: the best round of the whole curve by this very accuracy,
            which nobody can select honestly.
        macs: dense, of all trainings of the curve; ``macs_saved``: of those that are spared.
        effective, effective_saved: the same without pruned weights; None where unknown.
    """

    rule: str
    run_id: str
    seed: int
    round: int
    last: int
    stopped_by: str
    reason: str
    best_round: int
    accuracy: float
    whole_round: int
    whole_accuracy: float
    oracle_round: int
    oracle_accuracy: float
    macs: int
    macs_saved: int
    effective: int | None
    effective_saved: int | None

    @property
    def trainings_saved(self) -> int:
        """Rounds of the curve that the rule spares."""
        return self.last - self.round

    @property
    def given_up(self) -> float:
        """Accuracy that the oracle has more; never negative."""
        return self.oracle_accuracy - self.accuracy

    @property
    def lost(self) -> float:
        """Accuracy that the whole curve's own selection has more; negative: the rule helped."""
        return self.whole_accuracy - self.accuracy


def replay(curve: Curve, rule: Rule) -> Replay:
    """Return what a run with ``rule`` would have done; trains nothing.

    Raises:
        UsageError: if the curve lacks what the rule reads.
        RunError: if a plugin's rule fails.
    """
    check_metrics(curve.config.run_id, curve.rows, f"the stop rule '{rule.word}'", rule.metrics)
    config = curve.config.model_copy(update={"stop": rule.config})
    count, (stopped_by, reason) = _end(curve, config, rule)
    score, choice = config.score, choice_of(config)
    best, whole = choice.of(curve.rows[:count]), choice.of(curve.rows)
    column = "test_accuracy" if curve.rows[0].get("test_accuracy") is not None else score
    accuracies = [float(row[column]) for row in curve.rows]
    oracle = max(range(len(accuracies)), key=lambda index: (accuracies[index], -index))
    effective = curve.effective
    return Replay(
        rule=rule.word,
        run_id=curve.config.run_id,
        seed=config.seed,
        round=count - 1,
        last=len(curve.rows) - 1,
        stopped_by=stopped_by,
        reason=reason,
        best_round=best,
        accuracy=accuracies[best],
        whole_round=whole,
        whole_accuracy=accuracies[whole],
        oracle_round=oracle,
        oracle_accuracy=accuracies[oracle],
        macs=sum(curve.dense),
        macs_saved=sum(curve.dense[count:]),
        effective=None if effective is None else sum(effective),
        effective_saved=None if effective is None else sum(effective[count:]),
    )


def _end(curve: Curve, config: RunConfig, rule: Rule) -> tuple[int, tuple[str, str]]:
    """Return the number of rounds that are trained, what ends them and why."""
    for count in range(1, len(curve.rows) + 1):
        try:
            end = ended(config, rule.built, curve.rows[:count])
        except DsdError as error:
            raise UsageError(f"run {curve.config.run_id}: {error}") from None
        except Exception as error:  # a plugin's rule
            raise RunError(
                f"the stop rule '{rule.word}' failed on round {count - 1} of run "
                f"{curve.config.run_id}: {type(error).__name__}: {error}"
            ) from error
        if end is not None:
            return count, end
    return len(curve.rows), curve.end


@dataclass(frozen=True)
class MethodReplay:
    """What a rule does to the curves of one configuration: means and spreads over the seeds.

    Attributes:
        rule: its word.
        replays: one for each seed.
        round: the last one trained.
        trainings_saved, macs_saved, effective_saved: shares of the whole curve's, 0..1;
            effective is None where it is unknown.
        accuracy: of the selected models, 0..1.
        given_up: against the oracle; ``lost``: against the whole curve's own selection.
    """

    rule: str
    replays: tuple[Replay, ...]
    round: Spread
    trainings_saved: Spread
    macs_saved: Spread
    effective_saved: Spread | None
    accuracy: Spread
    given_up: Spread
    lost: Spread


def outcome(replays: Sequence[Replay]) -> MethodReplay:
    """Summarise the replays of one rule, at least one."""

    def over(values: Iterable[float]) -> Spread:
        found = spread(list(values))
        assert found is not None
        return found

    effective = [
        one.effective_saved / one.effective
        for one in replays
        if one.effective is not None and one.effective_saved is not None
    ]
    return MethodReplay(
        rule=replays[0].rule,
        replays=tuple(replays),
        round=over(one.round for one in replays),
        trainings_saved=over(one.trainings_saved / (one.last + 1) for one in replays),
        macs_saved=over(one.macs_saved / one.macs for one in replays),
        effective_saved=over(effective) if len(effective) == len(replays) else None,
        accuracy=over(one.accuracy for one in replays),
        given_up=over(one.given_up for one in replays),
        lost=over(one.lost for one in replays),
    )


def outcomes(curves: Sequence[Curve], rules: Iterable[Rule]) -> list[MethodReplay]:
    """Return what each rule does to the curves of one configuration (at least one)."""
    return [outcome([replay(curve, rule) for curve in curves]) for rule in rules]
