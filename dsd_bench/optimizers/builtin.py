"""The built-in optimisers' registration; implementations load lazily.

Their momentum and weight decay are options of the protocol, as they have been since the first
release, so they take no parameters, and their version stays 1: a run's id has their name alone.
"""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl


@hookimpl
def register_optimizers() -> list[Component]:
    """Return the built-in optimisers."""
    return [
        Component(
            name="sgd",
            implementation="dsd_bench.optimizers.plain:Sgd",
            summary="stochastic gradient descent with --momentum and --weight-decay",
        ),
        Component(
            name="adam",
            implementation="dsd_bench.optimizers.plain:Adam",
            summary="Adam; --momentum is beta 1, beta 2 is 0.999",
            citation="Kingma and Ba 2015, Adam: A Method for Stochastic Optimization (ICLR)",
        ),
        Component(
            name="adamw",
            implementation="dsd_bench.optimizers.plain:AdamW",
            summary="Adam with decoupled weight decay",
            citation="Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization (ICLR)",
        ),
    ]
