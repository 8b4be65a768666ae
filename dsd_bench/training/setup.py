"""What a training is made of, beside the model and its masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dsd_bench.config.run import ProtocolConfig
from dsd_bench.data.on_device import DeviceData
from dsd_bench.errors import RunError
from dsd_bench.optimizers import Optimizer
from dsd_bench.regularizers import Regularizer
from dsd_bench.schedules import Schedule
from dsd_bench.seeds import torch_stream
from dsd_bench.stateful import Stateful, key
from dsd_bench.training.device import ComputeContext
from dsd_bench.training.updating import ActiveUpdater

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class ActiveRegularizer:
    """A regularizer of a run.

    Attributes:
        name: its component's; it keys the regularizer's stream.
        regularizer: the built component.
        teacher: the network that it distils from, if it distils.
    """

    name: str
    regularizer: Regularizer
    teacher: nn.Module | None = None


@dataclass(frozen=True)
class TrainingSetup:
    """What a training is made of, beside the model and its masks.

    Attributes:
        protocol: epochs, learning rate, batch size.
        data: the data on the device.
        context: device, layout and precision.
        seed: the run's seed; every stream of the training is keyed by it and the round.
        optimizer: makes a fresh optimiser for each phase.
        schedule: the phases of each round and their learning rates.
        regularizers: the chain, in order.
        updater: what changes masks within a training.
    """

    protocol: ProtocolConfig
    data: DeviceData
    context: ComputeContext
    seed: int
    optimizer: Optimizer
    schedule: Schedule
    regularizers: Sequence[ActiveRegularizer] = ()
    updater: ActiveUpdater | None = None

    @cached_property
    def recorded(self) -> bool:
        """Whether optimisers are of the kind that a graph can hold, which rounds otherwise.

        Asked when the first training begins, and the same for the whole run: also where no graph
        can be made then, as a run that is resumed learns that anew.
        """
        return self.context.plan.engine == "graph"

    @property
    def stateful(self) -> dict[str, Stateful]:
        """What of a training may remember something, by its key in checkpoints."""
        found: dict[str, Stateful] = {
            key("regularizer", active.name, index): active.regularizer
            for index, active in enumerate(self.regularizers)
        }
        if self.updater is not None:
            found[key("updater", self.updater.name)] = self.updater.updater
        return found

    def batches(self, *names: str | int) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
        """Return ``batches(count)``: un-augmented training batches from the stream ``names``."""

        def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
            draw = torch_stream("cpu", self.seed, *names)
            order = torch.randperm(len(self.data.train), generator=draw).to(self.context.device)
            for index in torch.split(order, self.protocol.batch_size)[:count]:
                images = self.data.normalise(self.data.train.gather(index))
                yield images, self.data.train.labels[index]

        return batches

    def gathered(self) -> Tensors:
        """Return what the regularizers hand to the pruner.

        Raises:
            RunError: if two of them hand over the same name.
        """
        found: Tensors = {}
        origin: dict[str, str] = {}
        for active in self.regularizers:
            for name, tensor in active.regularizer.gathered().items():
                if name in found:
                    raise RunError(
                        f"regularizers '{origin[name]}' and '{active.name}' both hand '{name}' to "
                        "the pruner; use one of them"
                    )
                found[name], origin[name] = tensor, active.name
        return found
