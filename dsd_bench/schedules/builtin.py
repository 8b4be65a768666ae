"""The built-in schedules: their parameters and registration; implementations load lazily."""

from __future__ import annotations

from typing import Literal

from dsd_bench.components import PAPER, Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param


class _Annealed(Params):
    redense: float = param(
        0.1,
        help="learning rate of re-dense training, as a share of a training's (Han et al., DSD, "
        "ICLR 2017): what is left at the end of one would train nothing",
        gt=0,
        le=1,
    )


class CosineParams(_Annealed):
    """What ``cosine`` takes."""

    final: float = param(
        0.0, help="share of the learning rate that is left at the end", main=True, ge=0, le=1
    )
    every: Literal["epoch", "step"] = param("epoch", help="when the learning rate changes")


class OneCycleParams(_Annealed):
    """What ``one-cycle`` takes; names and defaults are those of torch's ``OneCycleLR``."""

    pct_start: float = param(
        0.3, help="share of a training's steps in which the rate rises", main=True, ge=0, le=1
    )
    div_factor: float = param(25.0, help="the first rate is this many times smaller", ge=1)
    final_div_factor: float = param(
        1e4, help="the last rate is this many times smaller than the first", ge=1
    )
    anneal: Literal["cos", "linear"] = param("cos", help="how it rises and falls")


class EarlyBirdParams(Params):
    """What ``early-bird`` takes."""

    distance: float = param(
        0.1,
        help="how little masks of successive epochs differ, as a share of all weights",
        main=True,
        gt=0,
        le=1,
    )
    last: int = param(5, help="distances that must all be below it", ge=1, unit="epochs")
    fraction: float = param(0.5, help="share of the weights that a mask prunes", gt=0, lt=1)


@hookimpl
def register_schedules() -> list[Component]:
    """Return the built-in schedules."""
    return [
        Component(
            name="step",
            implementation="dsd_bench.schedules.step:Step",
            summary="the learning rate drops at --milestones, by --lr-drop",
            citation=PAPER,
        ),
        Component(
            name="cosine",
            implementation="dsd_bench.schedules.annealed:Cosine",
            summary="the learning rate falls along half a cosine, without restarts",
            params=CosineParams,
            citation="Loshchilov and Hutter 2017, SGDR: Stochastic Gradient Descent with Warm "
            "Restarts (ICLR)",
        ),
        Component(
            name="early-bird",
            implementation="dsd_bench.schedules.early_bird:EarlyBird",
            summary="like step; the dense training ends when what would be pruned stays the same",
            params=EarlyBirdParams,
            citation="You et al. 2020, Drawing Early-Bird Tickets: Towards More Efficient Training "
            "of Deep Networks (ICLR)",
        ),
        Component(
            name="one-cycle",
            implementation="dsd_bench.schedules.annealed:OneCycle",
            summary="the learning rate rises to --lr and falls to almost nothing, step by step",
            params=OneCycleParams,
            citation="Smith and Topin 2019, Super-Convergence: Very Fast Training of Neural "
            "Networks Using Large Learning Rates",
        ),
    ]
