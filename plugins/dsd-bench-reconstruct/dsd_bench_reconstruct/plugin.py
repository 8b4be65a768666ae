"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

from dsd_bench import Component, hookimpl, param
from dsd_bench.pruners import PrunerParams

dsd_bench_api = "1"


class OBSParams(PrunerParams):
    """What ``obs`` takes, beside ``fraction`` and ``scope``."""

    batches: int = param(
        10, help="training batches whose inputs to the layers are looked at", ge=1, unit="batches"
    )
    damping: float = param(
        0.01, help="added to the diagonal of each layer's Hessian, as a share of its mean", gt=0
    )


@hookimpl
def register_pruners() -> list[Component]:
    """Return the pruner ``obs``."""
    return [
        Component(
            name="obs",
            implementation="dsd_bench_reconstruct.obs:OBS",
            summary="optimal brain surgeon by layers: prunes what others can make up for, and lets "
            "them do so",
            params=OBSParams,
            reconstructs=True,
            citation="Hassibi and Stork 1992, Second Order Derivatives for Network Pruning: "
            "Optimal Brain Surgeon (NeurIPS); by layers Dong, Chen and Pan 2017, Learning to "
            "Prune Deep Neural Networks via Layer-wise Optimal Brain Surgeon (NeurIPS)",
        )
    ]
