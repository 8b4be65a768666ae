"""What planned runs are expected to cost, before any is run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsd_bench.config.run import RunConfig
from dsd_bench.config.training import planned_epochs
from dsd_bench.costs import macs_word
from dsd_bench.errors import UsageError
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import Planned
from dsd_bench.reports.progress import planned_rounds
from dsd_bench.reports.words import duration, plural
from dsd_bench.store.curves import curves_in
from dsd_bench.store.runs import load_run


@dataclass(frozen=True)
class Expected:
    """One run's expected cost; None where it cannot be known beforehand.

    Attributes:
        macs: multiply-accumulates of all its trainings, dense, forward and backward.
        seconds: on the calibrated device; teachers are runs of their own.
        trainings: the dense one and one for each pruning, if no stop rule ends it earlier.
        bytes: that the run's folder will take, about.
    """

    macs: int | None
    seconds: float | None
    trainings: int | None = None
    bytes: int | None = None

    @property
    def macs_words(self) -> str:
        """The MACs, such as ``1.63 P``."""
        return "?" if self.macs is None else macs_word(self.macs)

    @property
    def time_words(self) -> str:
        """The time, such as ``1:02:03``."""
        return "?" if self.seconds is None else duration(self.seconds)


@dataclass(frozen=True)
class Budget:
    """The expected costs by run id; ``timed``: whether seconds are known."""

    costs: Mapping[str, Expected]
    timed: bool

    def of(self, run_id: str) -> Expected:
        """Return one run's."""
        return self.costs[run_id]

    def words(self, curves: Sequence[CurveLeft]) -> str:
        """Write the sum over what is left, saying of how many runs it is unknown."""
        macs = [curve.macs(self) for curve in curves]
        known = [value for value in macs if value is not None]
        text = f"expected: {macs_word(int(sum(known)))} MACs" if known else "expected MACs: unknown"
        if self.timed:
            seconds = math.fsum(curve.seconds(self) or 0.0 for curve in curves)
            text += f", {duration(seconds)} of training one run after another"
        unknown = sum(len(one.items) for one, value in zip(curves, macs) if value is None)
        return text + (f"; not known of {plural(unknown, 'run')}" if unknown else "")


@dataclass(frozen=True)
class CurveLeft:
    """A curve that is still to be trained: once, however many runs take its rounds.

    Attributes:
        items: those runs; they record the same metrics, so that any of them can train it for all.
        done: rounds that are there, of whichever run.
    """

    items: tuple[Planned, ...]
    done: int

    def trainings(self, costs: Budget) -> int | None:
        """Return how many trainings are left; None if that cannot be known."""
        found = _most(costs.of(item.job.run_id).trainings for item in self.items)
        return None if found is None else max(0, int(found) - self.done)

    def macs(self, costs: Budget) -> float | None:
        """Return the MACs that are left; None if they cannot be known."""
        return _most(self._left(item, costs.of(item.job.run_id).macs) for item in self.items)

    def seconds(self, costs: Budget) -> float | None:
        """Return the seconds that are left; None if they cannot be known."""
        return _most(self._left(item, costs.of(item.job.run_id).seconds) for item in self.items)

    def _left(self, item: Planned, whole: float | None) -> float | None:
        if whole is None or not self.done:
            return whole
        return whole * share_left(item.config.to_json(), self.done)


def curves_left(planned: Iterable[Planned]) -> list[CurveLeft]:
    """Return what is to be trained for those of the ``planned`` runs that are not finished."""
    groups: dict[tuple[str, ...], list[Planned]] = {}
    for item in planned:
        if not item.reused:
            key = (item.job.trains, *sorted(item.config.metrics))
            groups.setdefault(key, []).append(item)
    return [CurveLeft(tuple(items), rounds_there(items[0])) for items in groups.values()]


def rounds_done(item: Planned) -> int:
    """Return how many rounds a planned run has itself; 0 where they cannot be read."""
    return 0 if item.job.fresh else _rounds(item.job.path, set())


def rounds_there(item: Planned) -> int:
    """Return how many rounds a planned run goes on from, its own or another run's of its curve."""
    if not item.job.curve:
        return rounds_done(item)
    names = {item.job.run_id, *curves_in(item.job.path.parent).of(item.job.curve)}
    wanted = set(item.config.metrics)
    return max(_rounds(item.job.path.parent / name, wanted) for name in names)


def _rounds(path: Path, metrics: set[str]) -> int:
    """Return how many rounds a run has, if ``metrics`` were recorded."""
    if not (path / "rounds.jsonl").exists():
        return 0
    try:
        found = load_run(path)
    except UsageError:
        return 0
    return len(found.rows) if metrics <= set(found.config.get("metrics", ())) else 0


def share_left(config: Mapping[str, Any], done: int) -> float:
    """Return the share of a run's epochs that follow its first ``done`` rounds, 0..1."""
    rounds = planned_rounds(config)
    if rounds is None:
        return 1.0
    epochs = [planned_epochs(config, round) for round in range(rounds + 1)]
    return max(0.0, 1.0 - sum(epochs[:done]) / max(1, sum(epochs)))


def _most(values: Iterable[float | None]) -> float | None:
    """Return the largest; None if one is not known."""
    found = [*values]
    return None if None in found else max(value for value in found if value is not None)


def budget(planned: Sequence[Planned], calibrate: Settings | None = None) -> Budget:
    """Return what ``planned`` runs cost if no stop rule ends them early.

    Args:
        planned: the runs.
        calibrate: where they will be run; then steps are timed on synthetic data (and cached).
    """
    from dsd_bench.costs.expected import expected_cost  # it loads torch

    known, found = dict[tuple[Any, ...], Expected](), dict[str, Expected]()
    for item in planned:
        key = item.config.seedless()
        if key not in known:
            cost = expected_cost(item.config)
            seconds = None if calibrate is None else _seconds(item.config, calibrate)
            known[key] = (
                Expected(cost.macs, seconds, cost.trainings, cost.bytes)
                if cost
                else Expected(None, seconds)
            )
        found[item.job.run_id] = known[key]
    return Budget(found, calibrate is not None)


def _seconds(config: RunConfig, settings: Settings) -> float | None:
    from dsd_bench.costs.timing import expected_seconds
    from dsd_bench.training import device

    precision = config.protocol.precision
    context = device.make_context(
        *(settings.device, settings.threads, settings.deterministic, precision), settings.layout
    )
    return expected_seconds(config, context)
