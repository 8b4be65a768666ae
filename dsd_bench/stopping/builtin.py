"""The built-in stop criteria and their parameters."""

from __future__ import annotations

from dsd_bench.components import PAPER, Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param


class TargetParams(Params):
    """Parameters of ``target``."""

    sparsity: float = param(
        0.99, help="stop at this sparsity or above it", gt=0, lt=1, main=True, unit="fraction"
    )


class PatienceParams(Params):
    """Parameters of ``patience``."""

    tolerance: float = param(
        0.0,
        help="a round is bad if its accuracy is below the best before it by more than this",
        ge=0,
        le=1,
        unit="accuracy, 0..1",
    )
    patience: int = param(1, help="stop after this many bad rounds in a row", ge=1, unit="rounds")


class GateParams(Params):
    """What stop rules take that allow an early stop only once a gate has opened."""

    drop: float
    tolerance: float = param(
        0.05,
        help="a round is bad if its accuracy is below the best since the gate opened by more",
        ge=0,
        le=1,
        unit="accuracy, 0..1",
    )
    patience: int = param(1, help="stop after this many bad rounds in a row", ge=1, unit="rounds")


class EntropyGateParams(GateParams):
    """Parameters of ``entropy-gate``."""

    drop: float = param(
        0.05,
        help="the gate opens once (H0 - H) / H0 is above this; it never closes again",
        ge=0,
        lt=1,
        unit="fraction of the dense model's entropy",
        main=True,
    )


class InterpolationGateParams(GateParams):
    """Parameters of ``interpolation-gate``."""

    drop: float = param(
        0.1,
        help="the gate opens once the train accuracy is below its highest by more than this",
        ge=0,
        lt=1,
        unit="accuracy, 0..1",
        main=True,
    )


@hookimpl
def register_stop_criteria() -> list[Component]:
    """Return the built-in stop criteria."""
    return [
        Component("never", "dsd_bench.stopping.rules:Never", "prune to the end of the schedule"),
        Component(
            "target",
            "dsd_bench.stopping.rules:Target",
            "stop once a sparsity is reached",
            TargetParams,
            version=2,
        ),
        Component(
            "patience",
            "dsd_bench.stopping.rules:Patience",
            "the usual early stop: accuracy fell below the best so far",
            PatienceParams,
            version=2,
        ),
        Component(
            "entropy-gate",
            "dsd_bench.stopping.rules:EntropyGate",
            "Algorithm 2: early stop, allowed only once the neurons' entropy has fallen",
            EntropyGateParams,
            version=2,
            columns=("entropy",),
            citation=f"{PAPER}, Algorithm 2",
        ),
        Component(
            "interpolation-gate",
            "dsd_bench.stopping.rules:InterpolationGate",
            "early stop, allowed only once the network no longer fits its labels",
            InterpolationGateParams,
            columns=("train_accuracy",),
        ),
    ]
