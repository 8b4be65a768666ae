"""One pruning: what a pruner may answer, and how its new weights are put into the network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dsd_bench.components import Component
from dsd_bench.errors import RunError
from dsd_bench.masks import Masks
from dsd_bench.pruners import Pruned, Pruner, PruneView

Tensors = Mapping[str, Tensor]


def prune(pruner: Pruner, declared: Component, view: PruneView) -> Pruned:
    """Return a pruner's next masks, and the new weights that it gives with them, if any.

    Args:
        pruner: the pruner.
        declared: how it is registered.
        view: what it may look at.

    Raises:
        NothingLeft: if no weight can be pruned any more.
        RunError: saying what of its answer is wrong.
    """
    answer = pruner.prune(view)
    if not isinstance(answer, Pruned):
        answer = Pruned(answer, {})
    elif not declared.reconstructs:
        raise RunError(
            "it returned new weights with its masks; a pruner that does so is registered with "
            "Component(reconstructs=True)"
        )
    if not isinstance(answer.masks, Masks):
        raise RunError(
            f"it returned a {type(answer.masks).__name__}; prune gives Masks (dsd_bench.masks), "
            "scores a dict"
        )
    _check_masks(answer.masks, view.masks, view.round)
    check_weights(answer.weights, view.model)
    return answer


@torch.no_grad()
def put_weights(weights: Tensors, model: nn.Module) -> None:
    """Copy new values into parameters of ``model``, whatever device they are on."""
    known = dict(model.named_parameters(remove_duplicate=False))
    for name, value in weights.items():
        known[name].copy_(value)


def _check_masks(now: Masks, before: Masks, round: int) -> None:
    if set(now.weights) != set(before.weights) or not now.nested_in(before):
        raise RunError("it brought pruned weights back or lost a layer")
    if now.nonzero >= before.nonzero:
        raise RunError(f"it pruned nothing in round {round}")


def check_weights(weights: Tensors, model: nn.Module) -> None:
    """Raise :class:`RunError` naming the first of ``weights`` that does not fit ``model``."""
    known = dict(model.named_parameters(remove_duplicate=False)) if weights else {}
    for name, value in weights.items():
        if name not in known:
            raise RunError(f"it gave new weights for '{name}', which is no parameter of the model")
        if not isinstance(value, Tensor):
            raise RunError(f"its new weights for '{name}' are a {type(value).__name__}, no tensor")
        if value.shape != known[name].shape or value.dtype != known[name].dtype:
            raise RunError(
                f"its new weights for '{name}' are {value.dtype} {tuple(value.shape)}, expected "
                f"{known[name].dtype} {tuple(known[name].shape)}"
            )
        if not bool(value.isfinite().all()):
            raise RunError(f"its new weights for '{name}' are not all finite")
