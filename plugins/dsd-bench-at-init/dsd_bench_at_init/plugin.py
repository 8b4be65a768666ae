"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

from dsd_bench import Component, hookimpl, param
from dsd_bench.pruners import PrunerParams

dsd_bench_api = "1"


class SNIPParams(PrunerParams):
    """What ``snip`` takes, beside ``fraction`` and ``scope``."""

    batches: int = param(
        1, help="training batches over which the gradient is taken", ge=1, unit="batches"
    )


class GraSPParams(SNIPParams):
    """What ``grasp`` takes."""

    temperature: float = param(200.0, help="what the logits are divided by", gt=0)


class SynFlowParams(PrunerParams):
    """What ``synflow`` takes."""

    iterations: int = param(100, help="prunings of which one of the protocol's is made", ge=1)


@hookimpl
def register_pruners() -> list[Component]:
    """Return the pruners."""
    return [
        Component(
            name="snip",
            implementation="dsd_bench_at_init.gradients:SNIP",
            summary="at initialisation: prunes the smallest |weight * dL/dweight|",
            params=SNIPParams,
            at_initialisation=True,
            citation="Lee, Ajanthan and Torr 2019, SNIP: Single-shot Network Pruning Based on "
            "Connection Sensitivity (ICLR)",
        ),
        Component(
            name="grasp",
            implementation="dsd_bench_at_init.gradients:GraSP",
            summary="at initialisation: keeps the weights that the gradient's norm lives by",
            params=GraSPParams,
            at_initialisation=True,
            citation="Wang, Zhang and Grosse 2020, Picking Winning Tickets Before Training by "
            "Preserving Gradient Flow (ICLR)",
        ),
        Component(
            name="synflow",
            implementation="dsd_bench_at_init.synflow:SynFlow",
            summary="at initialisation and without data: keeps all layers' flow, bit by bit",
            params=SynFlowParams,
            at_initialisation=True,
            citation="Tanaka, Kunin, Yamins and Ganguli 2020, Pruning Neural Networks Without Any "
            "Data by Iteratively Conserving Synaptic Flow (NeurIPS)",
        ),
    ]
