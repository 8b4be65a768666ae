"""One phase at one learning rate, for trying things out and timing them; no component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsd_bench.params import Params
from dsd_bench.schedules import Phase, RateView, Schedule

if TYPE_CHECKING:
    from dsd_bench.config.run import ProtocolConfig


class Flat(Schedule):
    """Trains for ``epochs`` at ``rate``, whatever the protocol says."""

    def __init__(self, epochs: int, value: float) -> None:
        super().__init__(Params())
        self.epochs, self.value = epochs, value

    def phases(self, round: int, protocol: ProtocolConfig) -> Sequence[Phase]:
        """Return the one phase."""
        return (Phase("train", self.epochs),)

    def rate(self, view: RateView) -> float:
        """Return the one rate."""
        return self.value
