"""The built-in pruners: their parameters and registration; the implementations load lazily."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param
from dsd_bench.pruners import PrunerParams


class GradientParams(PrunerParams):
    """What ``gradient`` takes."""

    batches: int = param(
        10, help="training batches over which the gradient is accumulated", ge=1, unit="batches"
    )


class StructuredParams(Params):
    """What ``structured-l1`` takes; every layer is ranked alone."""

    fraction: float = param(
        0.5, help="fraction of each layer's remaining filters to prune per round", gt=0, lt=1
    )


@hookimpl
def register_pruners() -> list[Component]:
    """Return the built-in pruners."""
    return [
        Component(
            name="magnitude",
            implementation="dsd_bench.pruners.unstructured:Magnitude",
            summary="prunes the smallest weights by absolute value",
            params=PrunerParams,
            citation="Han et al. 2015, Learning both Weights and Connections (NeurIPS)",
        ),
        Component(
            name="random",
            implementation="dsd_bench.pruners.unstructured:Random",
            summary="prunes weights drawn at random",
            params=PrunerParams,
            citation="He et al. 2022, Sparse Double Descent (ICML)",
        ),
        Component(
            name="gradient",
            implementation="dsd_bench.pruners.gradient:Gradient",
            summary="prunes the smallest |weight * dL/dweight| over some training batches",
            params=GradientParams,
            citation="Lee, Ajanthan and Torr 2019, SNIP (ICLR)",
        ),
        Component(
            name="structured-l1",
            implementation="dsd_bench.pruners.structured:StructuredL1",
            summary="prunes whole filters (hidden neurons) of the smallest L1 norm in each layer",
            params=StructuredParams,
            citation="Li et al. 2017, Pruning Filters for Efficient ConvNets (ICLR); "
            "Quetu and Tartaglione 2024, DSD2 (AAAI), Appendix G",
        ),
    ]
