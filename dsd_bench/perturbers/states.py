"""The built-in perturbers: each chooses the state from which the next training starts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dsd_bench.errors import RunError
from dsd_bench.perturbers import Perturber, PerturbView
from dsd_bench.perturbers.builtin import RewindParams


class Keep(Perturber):
    """``none``: the surviving weights go on from where they are."""

    def perturb(self, view: PerturbView) -> None:
        """Change nothing."""


class Rewind(Perturber):
    """``rewind``: the whole state after ``step`` steps of the dense training (Algorithm 1)."""

    params: RewindParams

    def snapshots(self) -> tuple[int, ...]:
        """Return the one step that is gone back to."""
        return (self.params.step,)

    def perturb(self, view: PerturbView) -> None:
        """Load that state: all parameters and buffers."""
        load_state(view.model, view.snapshot(self.params.step))


class Reinit(Perturber):
    """``reinit``: the whole state of a new initialisation, from the round's own stream."""

    def perturb(self, view: PerturbView) -> None:
        """Load that state: all parameters and buffers."""
        load_state(view.model, view.fresh())


@torch.no_grad()
def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a whole state into the parameters and buffers of ``model``, in place.

    Args:
        model: on any device.
        state: a tensor for each parameter and buffer, by name and of its shape; buffers that
            ``state_dict`` leaves out (non-persistent ones) may be missing.

    Raises:
        RunError: for a missing or misshapen tensor; ``model`` is then unchanged.
    """
    targets = dict(model.named_parameters()) | dict(model.named_buffers())
    needed = model.state_dict().keys()
    wrong = [
        name
        for name, target in targets.items()
        if (name in state and state[name].shape != target.shape)
        or (name in needed and name not in state)
    ]
    if wrong:
        names = ", ".join(wrong)
        raise RunError(f"the state to load does not fit {type(model).__name__}, see: {names}")
    for name, target in targets.items():
        if name in state:
            target.copy_(state[name])
