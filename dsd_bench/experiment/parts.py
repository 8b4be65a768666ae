"""What a run is made of, and who watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from dsd_bench.components import Component
from dsd_bench.config.run import RunConfig
from dsd_bench.experiment.choosing import Choice
from dsd_bench.experiment.settings import Keep
from dsd_bench.metrics import Metric
from dsd_bench.perturbers import Perturber
from dsd_bench.pruners import Pruner
from dsd_bench.stateful import Stateful, key
from dsd_bench.stopping import StopCriterion
from dsd_bench.store.checkpoint import Row
from dsd_bench.training.setup import TrainingSetup


class Watcher(Protocol):
    """Is told what happens, and says when to stop. It cannot change a number."""

    def goes_on(self, round: int, midway: bool) -> None:
        """Trainings follow, the first in ``round``, of which some is done if ``midway``.

        Raises:
            UsageError: to refuse it.
        """

    def begun(self, resumed_from_round: int | None, rows: Sequence[Row]) -> None:
        """The run begins, with these rounds already done."""

    def stopping(self) -> bool:
        """Whether to stop now; the run will be resumable."""

    def progress(
        self, round: int, epoch: int, epochs: int, images_per_second: float, within: float
    ) -> None:
        """A training goes on; ``within`` (0..1) is the share of the next epoch that is done."""

    def round(self, row: Row, timing: Mapping[str, Any]) -> None:
        """A round has ended and is safe."""


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of, built and on its device.

    Attributes:
        config: the run.
        setup: data, regularizers and where to compute.
        build: ``build(seed)`` makes a freshly initialised model on the device.
        pruner, perturber, stop: the chosen components.
        choice: how the round is chosen that the run returns.
        pruning: how the pruner is registered, which says what it may do.
        measured: the built-in metrics, which fill a row.
        further: further metrics by name.
        checkpoint_seconds: longest time between checkpoints within a training.
        keep: which rounds' weights stay; None: by their size.
        begin: puts the weights that the run begins from into a new network, and returns what the
            log should say; nothing where it begins from an initialisation.
    """

    config: RunConfig
    setup: TrainingSetup
    build: Callable[[int], nn.Module]
    pruner: Pruner
    pruning: Component
    perturber: Perturber
    stop: StopCriterion
    choice: Choice
    measured: Sequence[Metric]
    further: Mapping[str, Metric] = field(default_factory=dict)
    checkpoint_seconds: float = 30.0
    keep: Keep | None = None
    begin: Callable[[nn.Module], Sequence[str]] = lambda model: ()

    @property
    def stateful(self) -> dict[str, Stateful]:
        """Every component that may remember something, by its key in checkpoints."""
        return {
            **self.setup.stateful,
            key("schedule", self.config.chosen("schedule").name): self.setup.schedule,
            key("pruner", self.config.pruner.name): self.pruner,
            key("perturber", self.config.perturber.name): self.perturber,
        }
