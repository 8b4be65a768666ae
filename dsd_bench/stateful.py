"""Components that remember: tensors of their own, kept in every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dsd_bench.errors import RunError

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

FOLDER = "components"
"""What the names of components' tensors begin with in a checkpoint."""


class Stateful:
    """A component that lives through trainings or prunings: one object for a whole run.

    What it remembers beside its parameters it gives in :meth:`state`, in every checkpoint, and
    gets back in :meth:`load` when the run is taken up again, between rounds or within one. What
    is in neither is lost then, and the run's bytes would be others.
    """

    def state(self) -> dict[str, torch.Tensor]:
        """Return all that is remembered, by names of the component's own; nothing by default.

        Called at any time, also before the component has done anything. Numbers go into tensors.
        """
        return {}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Undo :meth:`state`; ``tensors``, on the run's device, become the component's own.

        Called of a new component before anything else, and where a training goes on in its midst
        once more after ``begin``, so that what that sets back is as it was. Not called where
        there was nothing to remember.
        """
        raise NotImplementedError(f"{type(self).__name__} has a state, but no load")


def key(kind: str, name: str, index: int = 0) -> str:
    """Return what a component's tensors are under in a checkpoint.

    Args:
        kind: the component's kind.
        name: its name.
        index: its place, where a run has several of the kind.
    """
    return f"{FOLDER}/{kind}/{index}/{name}"


def states(components: Mapping[str, Stateful]) -> Tensors:
    """Return what ``components``, by their keys, remember, as it is put into a checkpoint.

    Raises:
        RunError: naming a component whose state is not tensors by name.
    """
    return {
        f"{place}/{name}": tensor
        for place, component in components.items()
        for name, tensor in _state(place, component).items()
    }


def part(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors of a checkpoint under ``prefix/``, without it."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def give_back(components: Mapping[str, Stateful], tensors: Tensors, device: torch.device) -> None:
    """Give components what :func:`states` took, each tensor as a copy of its own on ``device``."""
    for place, component in components.items():
        if found := part(tensors, place):
            component.load({name: tensor.to(device, copy=True) for name, tensor in found.items()})


def _state(place: str, component: Stateful) -> Mapping[str, torch.Tensor]:
    import torch

    state = component.state()
    _, kind, _, name = place.split("/")
    if not isinstance(state, Mapping):
        raise RunError(f"{kind} '{name}': state() gave a {type(state).__name__}, not a dict")
    for entry, value in state.items():
        dense = isinstance(value, torch.Tensor) and value.layout == torch.strided
        if not isinstance(entry, str) or not dense:
            raise RunError(
                f"{kind} '{name}': state() gave {type(value).__name__} as {entry!r}: it must be "
                "dense tensors by name (numbers as torch.tensor(number))"
            )
    return state
