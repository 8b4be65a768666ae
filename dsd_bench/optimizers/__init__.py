"""Optimisers: what turns gradients into new weights. Each training gets a fresh one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from dsd_bench.params import Params

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

State: TypeAlias = "dict[str, Tensor | float]"
"""What an optimiser remembers, by ``INDEX/NAME``."""


@dataclass(frozen=True)
class OptimizerView:
    """What an optimiser is made of.

    Attributes:
        parameters: what to train, in the model's order.
        rate: the protocol's learning rate (``--lr``); the core sets each step's own before it.
            Where steps are recorded it is a tensor on the device, to be kept as it is.
        momentum: the protocol's, 0 <= momentum < 1 (of Adam it is beta 1).
        weight_decay: the protocol's, >= 0.
        recorded: whether steps are recorded and replayed as a CUDA graph; only where the component
            declares :attr:`Optimizer.recordable`.
    """

    parameters: Sequence[nn.Parameter]
    rate: float | Tensor
    momentum: float
    weight_decay: float
    recorded: bool = False


class Stepping(Protocol):
    """What a training needs of an optimiser; :class:`.wrapping.Torch` makes one of any of torch."""

    def hold(self, masks: Mapping[nn.Parameter, Tensor]) -> None:
        """Multiply gradients by ``masks`` in every step: neither those weights nor their momentum
        leave zero.
        """

    def forget(self, stay: Mapping[nn.Parameter, Tensor]) -> None:
        """Zero the state (momentum and the like) of the weights that ``stay`` (bool) lacks."""

    def set_rate(self, rate: float) -> None:
        """Use the learning rate ``rate`` from the next step on."""

    def step(self) -> None:
        """Update the parameters by their gradients, and drop the gradients."""

    def state(self) -> State:
        """Return what changes from step to step, as ``INDEX/NAME`` by the parameters' order."""

    def load(self, state: Mapping[str, Tensor | float]) -> None:
        """Undo :meth:`state`; what is missing stays as it is."""


@runtime_checkable
class Ascending(Protocol):
    """What an optimiser of two passes has beside a :class:`Stepping`, or an optimiser of torch's.

    Each step then goes forward and backward twice over the same batch: once where the weights
    are, before :meth:`ascend`, and once where that took them, before ``step``, which brings
    them back and updates them by the second gradients. Nothing may remain of the first pass
    between steps. The second pass leaves the running statistics of batch norms alone; what draws
    random numbers draws anew. With gradients clipped, the second ones are.
    """

    def ascend(self) -> None:
        """Move the weights by their gradients, which the core has masked and drops afterwards."""


class Optimizer:
    """Base of all optimisers.

    Gradients are multiplied by the masks before every step. What a step then does to a weight may
    depend on its gradient and on state that begins at zero; a weight with neither must stay as it
    is, but for weight decay, so that pruned weights stay zero.

    The step must not wait for the host (no ``.item()``).
    """

    recordable = False
    """Whether a step can be recorded as a CUDA graph; else steps run one by one on a GPU."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def build(self, view: OptimizerView) -> torch.optim.Optimizer | Stepping:
        """Return a fresh optimiser over ``view.parameters``: one of torch's interface, or its own.

        The learning rate of its parameter groups is set by the core. Its ``state`` must hold
        everything that changes from step to step, as tensors or numbers: it is saved in every
        checkpoint. With an ``ascend`` it has two passes (:class:`Ascending`); its component
        declares ``passes=2``.
        """
        raise NotImplementedError


def base(name: str, view: OptimizerView) -> Stepping:
    """Return a built-in optimiser, for others that change what it gets.

    Args:
        name: ``sgd``, ``adam`` or ``adamw``.
        view: as :meth:`Optimizer.build` gets it.
    """
    from dsd_bench.optimizers.plain import built  # it loads torch

    return built(name, view)
