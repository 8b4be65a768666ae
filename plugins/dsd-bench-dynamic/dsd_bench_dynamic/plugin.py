"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

from typing import Literal

from dsd_bench import Component, Params, hookimpl, param

dsd_bench_api = "1"


class GMPParams(Params):
    """What ``gmp`` takes."""

    every: int = param(100, help="steps between two prunings", ge=1, unit="steps", main=True)
    first: float = param(0.0, help="share of a training before the first pruning", ge=0, lt=1)
    until: float = param(0.75, help="share of a training after which nothing goes", gt=0, le=1)
    scope: Literal["global", "layer"] = param(
        "global",
        help="rank the weights of all layers together, or prune each layer to as many as the "
        "pruner left there",
    )
    start: Literal["dense", "before"] = param(
        "dense",
        help="begin each training with all weights, or with those of the round before",
    )


class RigLParams(Params):
    """What ``rigl`` takes."""

    every: int = param(100, help="steps between two updates", ge=1, unit="steps", main=True)
    share: float = param(
        0.3, help="share of a layer's weights that are exchanged at first; it falls as a cosine",
        gt=0, le=1,
    )  # fmt: skip
    until: float = param(0.75, help="share of a training after which masks stay", gt=0, le=1)
    batches: int = param(
        1, help="training batches whose gradient says what grows", ge=1, unit="batches"
    )


class SETParams(Params):
    """What ``set`` takes."""

    share: float = param(
        0.3, help="share of the smallest positive and of the smallest negative weights that go",
        gt=0, lt=1, main=True,
    )  # fmt: skip
    every: int = param(1, help="epochs between two exchanges", ge=1, unit="epochs")


@hookimpl
def register_updaters() -> list[Component]:
    """Return the updaters."""
    return [
        Component(
            name="gmp",
            implementation="dsd_bench_dynamic.gmp:GMP",
            summary="gradual magnitude pruning: many weights go early in a training, few late",
            params=GMPParams,
            citation="Zhu and Gupta 2017, To Prune, or Not to Prune (arXiv:1710.01878)",
        ),
        Component(
            name="rigl",
            implementation="dsd_bench_dynamic.rigl:RigL",
            summary="drops the smallest weights and grows those of the largest gradient",
            params=RigLParams,
            citation="Evci, Gale, Menick, Castro and Elsen 2020, Rigging the Lottery: Making All "
            "Tickets Winners (ICML)",
        ),
        Component(
            name="set",
            implementation="dsd_bench_dynamic.evolutionary:SET",
            summary="drops the smallest weights and grows random ones after each epoch",
            params=SETParams,
            citation="Mocanu, Mocanu, Stone, Nguyen, Gibescu and Liotta 2018, Scalable Training of "
            "Artificial Neural Networks with Adaptive Sparse Connectivity (Nature Communications)",
        ),
    ]
