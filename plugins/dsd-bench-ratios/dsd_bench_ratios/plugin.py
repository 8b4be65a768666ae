"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

from pydantic import field_validator

from dsd_bench import Component, Params, hookimpl, param
from dsd_bench.pruners import PrunerParams
from dsd_bench_ratios.recorded import resolve

dsd_bench_api = "1"


class RatioParams(Params):
    """What pruners that fix the layers' ratios take; there is no scope to choose."""

    fraction: float = param(
        0.2, help="fraction of the remaining weights to prune per round", gt=0, lt=1, main=True
    )


class RandomAtParams(RatioParams):
    """What ``random-at`` takes.

    A run that is named is read at once, and its ratios take its place: they are in the
    configuration and the id of the run that uses them, and the named one is needed no more.
    """

    ratios: str = param(
        "erk",
        help="erk, uniform, the folder of a run (or its id, below runs/) whose layer ratios to "
        "take, or these written out: LAYER:SHARE:SHARE...+LAYER:..., the share of each layer's "
        "weights that is left after every pruning",
    )

    @field_validator("ratios")
    @classmethod
    def _resolved(cls, value: str) -> str:
        return resolve(value)


@hookimpl
def register_pruners() -> list[Component]:
    """Return the pruners ``lamp``, ``erk``, ``uniform`` and ``random-at``."""
    return [
        Component(
            name="lamp",
            implementation="dsd_bench_ratios.lamp:Lamp",
            summary="prunes the smallest w^2 over the sum of the squares from w on, in its layer",
            params=PrunerParams,
            citation="Lee et al. 2021, Layer-Adaptive Sparsity for the Magnitude-based Pruning "
            "(ICLR)",
        ),
        Component(
            name="erk",
            implementation="dsd_bench_ratios.layers:Erk",
            summary="prunes by magnitude in each layer, to densities as (in + out + kernel) / size",
            params=RatioParams,
            citation="Evci et al. 2020, Rigging the Lottery (ICML); Mocanu et al. 2018, Scalable "
            "Training of Artificial Neural Networks (Nature Communications)",
        ),
        Component(
            name="uniform",
            implementation="dsd_bench_ratios.layers:Uniform",
            summary="prunes by magnitude in each layer, to one density in all layers",
            params=RatioParams,
            citation="Zhu and Gupta 2018, To Prune, or Not to Prune (ICLR workshop)",
        ),
        Component(
            name="random-at",
            implementation="dsd_bench_ratios.layers:RandomAt",
            summary="prunes weights drawn at random, to ERK's, uniform or a run's layer ratios",
            params=RandomAtParams,
            citation="Su et al. 2020, Sanity-Checking Pruning Methods (NeurIPS); Liu et al. 2022, "
            "The Unreasonable Effectiveness of Random Pruning (ICLR)",
        ),
    ]
