"""The step schedule: the learning rate drops at milestones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsd_bench.schedules import REDENSE, RateView, Schedule

if TYPE_CHECKING:
    from dsd_bench.config.run import ProtocolConfig


class Step(Schedule):
    """Multiplies the rate by ``--lr-drop`` at each of ``--milestones``, fractions of the training.

    Re-dense training goes on at the last rate.
    """

    def rate(self, view: RateView) -> float:
        """Return the rate of an epoch."""
        protocol = view.protocol
        epoch = protocol.epochs(view.round) if view.phase.name == REDENSE else view.epoch
        return view.start * protocol.lr_drop ** drops(protocol, view.round, epoch)


def drops(protocol: ProtocolConfig, round: int, epoch: int) -> int:
    """Return how often the rate has dropped in ``epoch``: after each milestone's epoch."""
    epochs = protocol.epochs(round)
    return sum(epoch >= round_half_up(m * epochs) for m in protocol.milestones)


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves up."""
    return int(value + 0.5)
