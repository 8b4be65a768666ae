"""Checks of schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dsd_bench.config.run import ProtocolConfig
from dsd_bench.conformance.checks import blaming, check, demand
from dsd_bench.conformance.networks import SHAPE, network
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.unchanged import unchanged
from dsd_bench.errors import DsdError
from dsd_bench.masks import Masks
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.schedules import EndView, Phase, RateView, Schedule, phases_of

STEPS = 3
"""Steps of an epoch."""


def _protocols() -> Iterator[ProtocolConfig]:
    """Yield protocols of different lengths; a training may have one epoch alone."""
    plain = ProtocolConfig(rounds=3, dense_epochs=6, retrain_epochs=4, lr=0.1)
    yield plain
    yield plain.model_copy(update={"dense_epochs": 1, "retrain_epochs": 1})
    yield plain.model_copy(update={"redense_epochs": 2, "retrain_lr_scale": 0.5})


def _places(schedule: Schedule, protocol: ProtocolConfig) -> Iterator[RateView]:
    """Yield every place of four rounds at which the rate is asked for."""
    for round in range(4):
        for phase in phases_of(schedule, round, protocol):
            for epoch in range(phase.epochs):
                for step in range(STEPS if schedule.per_step else 1):
                    yield RateView(protocol, round, phase, epoch, step, STEPS)


@check("schedule")
def phases(subject: Subject) -> None:
    """Every round has phases, the same ones whenever they are asked for."""
    schedule = subject.make()
    for protocol in _protocols():
        for round in range(4):
            with blaming(f"of round {round} its phases raise"):
                found = phases_of(schedule, round, protocol)
                again = phases_of(subject.make(), round, protocol)
            demand(all(type(phase) is Phase for phase in found), "a phase is no plain Phase")
            demand(found == again, f"round {round} has the phases {found}, asked again {again}")
            demand(sum(phase.epochs for phase in found), f"round {round} trains for no epoch")


@check("schedule")
def rates(subject: Subject) -> None:
    """Every learning rate is a finite number of 0 or more, and some are above 0."""
    schedule = subject.make()
    for protocol in _protocols():
        found = []
        for place in _places(schedule, protocol):
            with blaming(f"in round {place.round}, epoch {place.epoch} its rate raises"):
                found.append(schedule.rate(place))
            rate = found[-1]
            told = f"in round {place.round}, phase '{place.phase.name}', epoch {place.epoch}"
            demand(isinstance(rate, float | int), f"{told} the rate is a {type(rate).__name__}")
            demand(math.isfinite(rate) and rate >= 0, f"{told} the rate is {rate}")
        demand(any(found), "all its learning rates are 0")


@check("schedule")
def pure(subject: Subject) -> None:
    """Rates follow from the place alone: asked backwards, or of a new one, they are the same."""
    schedule = subject.make()
    for protocol in _protocols():
        places = list(_places(schedule, protocol))
        forward = [schedule.rate(place) for place in places]
        backward = [schedule.rate(place) for place in reversed(places)][::-1]
        anew = [subject.make().rate(place) for place in places]
        demand(forward == backward, "asked in another order it gives other rates")
        demand(forward == anew, "made anew it gives other rates")


@check("schedule")
def ends(subject: Subject) -> None:
    """Asked whether a phase ends, it answers alike and leaves the network as it is."""
    model = network().train()
    find_prunable(model, SHAPE)
    answers = []
    for schedule in (subject.make(), subject.make()):
        found: list[bool | str] = []
        for round in (0, 1):
            for epoch in (1, 2, 3):
                view = EndView(model, Masks.dense(model), round, Phase("train", 4), epoch)
                with unchanged(model), blaming("it raises"):
                    try:
                        found.append(bool(schedule.ends(view)))
                    except DsdError as error:
                        found.append(str(error))
        answers.append(found)
    demand(answers[0] == answers[1], "made anew it ends phases elsewhere")


whole_runs("schedule", lambda subject: {"schedule": subject.word})
