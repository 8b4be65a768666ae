"""Which rounds' weights stay, and how much room a whole curve of them takes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from dsd_bench.config.run import ProtocolConfig
from dsd_bench.experiment.settings import Keep
from dsd_bench.masks import Masks
from dsd_bench.pruners import Pruner, PrunerParams

MOST = 256 * 2**20
"""Bytes up to which a run keeps all rounds unless told otherwise."""


def chosen(
    keep: Keep | None,
    protocol: ProtocolConfig,
    pruner: Pruner,
    state: Mapping[str, Tensor],
    masks: Masks,
    whole: bool = False,
) -> Keep:
    """Return which rounds to keep: as told, else all while they are expected to fit MOST."""
    if keep is not None:
        return keep
    fits = curve_bytes(protocol, pruner, state, masks, whole) <= MOST
    return "all" if fits else "records"


def curve_bytes(
    protocol: ProtocolConfig,
    pruner: Pruner,
    state: Mapping[str, Tensor],
    masks: Masks,
    whole: bool = False,
) -> float:
    """Return about how many bytes the packed weights of all pruned rounds take.

    A pruner without a plain fraction is taken to leave the network as large as it is; infinite
    where it is not known how many rounds there will be.

    Args:
        protocol: its rounds or target sparsity.
        pruner: its fraction.
        state: the network's tensors by name.
        masks: masks of its prunable weights.
        whole: whether networks are kept with their pruned weights back.
    """
    left = 1 - pruner.params.fraction if isinstance(pruner.params, PrunerParams) else 1.0
    rounds = float(protocol.rounds) if protocol.rounds is not None else math.inf
    if protocol.target_sparsity is not None and left < 1:
        rounds = min(rounds, math.ceil(math.log(1 - protocol.target_sparsity) / math.log(left)))
    if math.isinf(rounds):
        return rounds
    total = sum(tensor.nbytes for tensor in state.values())
    prunable = sum(state[name].nbytes for name in masks.weights)
    bits = sum(mask.numel() for mask in masks.weights.values()) / 8
    if whole:
        left = 1.0
    dense = rounds if left == 1 else left * (1 - left**rounds) / (1 - left)
    return rounds * (total - prunable + bits) + prunable * dense
