"""The built-in perturbers: their parameters and registration; implementations load lazily."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param


class RewindParams(Params):
    """What ``rewind`` takes."""

    step: int = param(
        0, help="step of the dense training to go back to; 0 = initialisation", ge=0, unit="steps"
    )


@hookimpl
def register_perturbers() -> list[Component]:
    """Return the built-in perturbers."""
    return [
        Component(
            name="none",
            implementation="dsd_bench.perturbers.states:Keep",
            summary="keeps the trained weights (fine-tuning)",
            citation="Han et al. 2015, Learning both Weights and Connections (NeurIPS)",
            sets_back=False,
        ),
        Component(
            name="rewind",
            implementation="dsd_bench.perturbers.states:Rewind",
            summary="goes back to the state after some steps of the dense training",
            params=RewindParams,
            citation="Frankle and Carbin 2019, The Lottery Ticket Hypothesis (ICLR); "
            "Frankle et al. 2020, Linear Mode Connectivity (ICML)",
            sets_back=True,
        ),
        Component(
            name="reinit",
            implementation="dsd_bench.perturbers.states:Reinit",
            summary="draws a new initialisation by the model's own rules",
            citation="He et al. 2022, Sparse Double Descent (ICML)",
            sets_back=True,
        ),
    ]
