"""Schedules: the phases of a round's training, their learning rates, and when they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dsd_bench.errors import RunError
from dsd_bench.params import NAME, Params
from dsd_bench.stateful import Stateful

if TYPE_CHECKING:
    import torch

    from dsd_bench.config.run import ProtocolConfig
    from dsd_bench.masks import Masks

REDENSE = "redense"
"""The phase in which all weights of a round train on (``--redense-epochs``)."""


@dataclass(frozen=True)
class Phase:
    """A part of a round's training, with an optimiser and random streams of its own.

    Attributes:
        name: lower-case letters, digits, ``-``, ``_`` and ``.``; it keys the streams of all
            phases but a round's first.
        epochs: its length, >= 0.
        masks: ``sparse``: pruned weights stay zero. ``dense``: they come back at zero and train.
            The network is measured as the last phase leaves it; the next round prunes the sparse
            one, as it was when its pruned weights came back. The dense training has no pruned
            weights, so there it does not matter.
    """

    name: str
    epochs: int
    masks: Literal["sparse", "dense"] = "sparse"


@dataclass(frozen=True)
class RateView:
    """Where in a round's training a learning rate is asked for.

    Attributes:
        protocol: the run's.
        round: index of the round; 0 is the dense training.
        phase: the phase.
        epoch: of the phase, from 0.
        step: of the epoch, from 0; 0 unless :attr:`Schedule.per_step`.
        steps_per_epoch: batches of an epoch.
    """

    protocol: ProtocolConfig
    round: int
    phase: Phase
    epoch: int
    step: int
    steps_per_epoch: int

    @property
    def start(self) -> float:
        """The protocol's learning rate for this round: ``--lr``, later scaled."""
        scale = self.protocol.retrain_lr_scale if self.round else 1.0
        return self.protocol.lr * scale


@dataclass(frozen=True)
class EndView:
    """What is to be seen between two epochs; leave it as it is.

    Attributes:
        model: the network, in train mode.
        masks: what is pruned.
        round: index of the round; 0 is the dense training.
        phase: the phase.
        epoch: how many of its epochs are done, 1 to ``phase.epochs - 1``.
    """

    model: torch.nn.Module
    masks: Masks
    round: int
    phase: Phase
    epoch: int


class Schedule(Stateful):
    """Base of all schedules. They draw no random numbers.

    Only :meth:`ends` may remember anything, and gives it in :meth:`state`.
    """

    per_step = False
    """Whether the learning rate is asked for before every step, not every epoch."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def phases(self, round: int, protocol: ProtocolConfig) -> Sequence[Phase]:
        """Return the phases of a round, in order, at least one.

        The default: one for as long as the protocol says, and after it, where ``--redense-epochs``
        asks for it, one with all weights (He et al., ICML 2022).
        """
        train = Phase("train", protocol.epochs(round))
        if not round or not protocol.redense_epochs:
            return (train,)
        return train, Phase(REDENSE, protocol.redense_epochs, "dense")

    def rate(self, view: RateView) -> float:
        """Return the learning rate there, >= 0."""
        raise NotImplementedError

    def ends(self, view: EndView) -> bool:
        """Whether the phase ends now, before its last epoch; asked between epochs."""
        return False


def phases_of(schedule: Schedule, round: int, protocol: ProtocolConfig) -> tuple[Phase, ...]:
    """Return the phases of a round, checked.

    Raises:
        RunError: if a schedule plans what cannot be trained.
    """
    phases = tuple(schedule.phases(round, protocol))
    where = f"schedule '{type(schedule).__name__}', round {round}"
    if not phases:
        raise RunError(f"{where}: it has no phases; at least one is needed")
    for phase in phases:
        if not isinstance(phase, Phase) or not NAME.match(phase.name):
            raise RunError(f"{where}: {phase!r} is no phase with a lower-case name")
        if type(phase.epochs) is not int or phase.epochs < 0:
            raise RunError(f"{where}, phase '{phase.name}': epochs={phase.epochs!r}; 0 or more")
        if phase.masks not in ("sparse", "dense"):
            raise RunError(f"{where}, phase '{phase.name}': masks={phase.masks!r}; sparse or dense")
    if len({phase.name for phase in phases}) < len(phases):
        raise RunError(f"{where}: two of its phases have the same name")
    return phases
