"""The components that a configuration trains with, built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dsd_bench.config.run import ComponentConfig, ProtocolConfig, RunConfig
from dsd_bench.config.words import build_component
from dsd_bench.errors import RunError, UsageError
from dsd_bench.optimizers import Optimizer
from dsd_bench.plugins import catalogue
from dsd_bench.schedules import Phase, RateView, Schedule, phases_of


def optimizer_of(config: RunConfig) -> Optimizer:
    """Return the optimiser of ``config``.

    Raises:
        UsageError: if it is not installed, or installed in another version.
    """
    made: Optimizer = build_component(catalogue(), "optimizer", config.chosen("optimizer"))
    return made


def passes_of(config: RunConfig) -> int:
    """Return how often each step of a training goes forward and backward."""
    return catalogue().get("optimizer", config.chosen("optimizer").name).component.passes


def schedule_of(config: RunConfig) -> Schedule:
    """Return the schedule of ``config``; errors as of :func:`optimizer_of`."""
    made: Schedule = build_component(catalogue(), "schedule", config.chosen("schedule"))
    return made


def planned_phases(config: RunConfig, round: int) -> tuple[Phase, ...]:
    """Return the phases that the training of ``round`` is planned to have.

    Raises:
        RunError: if the schedule plans what cannot be trained.
    """
    return phases_of(schedule_of(config), round, config.protocol)


def planned_epochs(config: Mapping[str, Any], round: int) -> int:
    """Return how many epochs the training of ``round`` is planned to have, all phases together.

    Args:
        config: the contents of a run's ``config.json``; read are ``protocol`` and ``schedule``.
        round: index of the round.
    """
    protocol = config["protocol"]
    if config.get("schedule") is None:
        later = protocol["retrain_epochs"] + protocol.get("redense_epochs", 0)
        return int(later if round else protocol["dense_epochs"])
    chosen = ComponentConfig.model_validate(config["schedule"])
    schedule: Schedule = build_component(catalogue(), "schedule", chosen)
    phases = phases_of(schedule, round, ProtocolConfig.model_validate(protocol))
    return sum(phase.epochs for phase in phases)


def check_schedule(config: RunConfig) -> None:
    """Ask the schedule of ``config`` what it plans for the first two rounds.

    Raises:
        UsageError: if it plans what cannot be trained, or a learning rate that is none.
    """
    schedule = schedule_of(config)
    where = f"schedule '{config.chosen('schedule').name}'"
    try:
        for round in (0, 1):
            for phase in phases_of(schedule, round, config.protocol):
                for epoch in {0, max(0, phase.epochs - 1)}:
                    rate = schedule.rate(RateView(config.protocol, round, phase, epoch, 0, 1))
                    if not 0 <= rate < math.inf:
                        at = f"round {round}, phase '{phase.name}', epoch {epoch}"
                        raise UsageError(f"{where}: its learning rate is {rate} in {at}")
    except RunError as error:
        raise UsageError(str(error)) from None
