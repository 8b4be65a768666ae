"""What planned runs are expected to cost, before any is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsd_bench.config.run import RunConfig
from dsd_bench.costs import macs_word
from dsd_bench.executors import Settings
from dsd_bench.executors.planning import Planned
from dsd_bench.reports.words import duration, plural


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

    def words(self, run_ids: Sequence[str]) -> str:
        """Write the sum over ``run_ids``, saying how many are unknown."""
        chosen = [self.costs[run_id] for run_id in run_ids]
        known = [cost.macs for cost in chosen if cost.macs is not None]
        text = f"expected: {macs_word(sum(known))} MACs" if known else "expected MACs: unknown"
        if self.timed:
            seconds = sum(cost.seconds or 0.0 for cost in chosen)
            text += f", {duration(seconds)} of training one run after another"
        if len(known) < len(chosen):
            text += f"; not known of {plural(len(chosen) - len(known), 'run')}"
        return text


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
