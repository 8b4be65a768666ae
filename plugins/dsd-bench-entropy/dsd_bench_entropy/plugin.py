"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

import re

from pydantic import field_validator

from dsd_bench import Component, Params, hookimpl, param

dsd_bench_api = "1"

NEPENTHE = (
    "Liao, Quetu, Nguyen and Tartaglione 2026, NEPENTHE: Entropy-Based Pruning as a Neural Network "
    "Depth's Reducer (TMLR; arXiv 2404.16890)"
)
AUTO = "auto"
"""Layers that are chosen by what they give."""


class NepentheParams(Params):
    """What ``nepenthe`` takes."""

    fraction: float = param(
        0.2, help="fraction of the remaining weights to prune per round", gt=0, lt=1, main=True
    )
    batches: int = param(
        10, help="training batches over which units are watched", ge=1, unit="batches"
    )


class AttentionTransferParams(Params):
    """What ``attention-transfer`` takes."""

    beta: float = param(
        1000.0, help="the loss grows by beta times the maps' mean squared difference", ge=0
    )
    power: float = param(2.0, help="power p of |activation|, summed over channels", gt=0)
    layers: str = param(
        AUTO,
        help="modules of the network whose outputs are compared, joined by '+'; auto: its last "
        "child of every map size, or its ReLUs where it has no maps",
    )
    teacher_layers: str = param(
        AUTO, help="the same for the teacher, in the same order; auto: as for the network"
    )
    teacher: str = param(
        "best",
        help="best (the teacher run's best round on validation), dense (its round 0) or a run's id",
    )

    @field_validator("teacher")
    @classmethod
    def _known_teacher(cls, value: str) -> str:
        if not re.fullmatch(r"best|dense|[0-9a-f]{4,64}", value):
            raise ValueError(
                "expected best, dense or a run's id (or 4 or more of its first hexadecimal digits)"
            )
        return value


@hookimpl
def register_metrics() -> list[Component]:
    """Return the metric ``layer-entropy``."""
    return [
        Component(
            name="layer-entropy",
            implementation="dsd_bench_entropy.metric:LayerEntropy",
            summary="entropy of the units' states by layer, and how many layers have become linear",
            citation=NEPENTHE,
        )
    ]


@hookimpl
def register_pruners() -> list[Component]:
    """Return the pruner ``nepenthe``."""
    return [
        Component(
            name="nepenthe",
            implementation="dsd_bench_entropy.pruner:Nepenthe",
            summary="prunes by magnitude, most in layers of low entropy and small weights",
            params=NepentheParams,
            citation=NEPENTHE,
        )
    ]


@hookimpl
def register_regularizers() -> list[Component]:
    """Return the regularizer ``attention-transfer``."""
    return [
        Component(
            name="attention-transfer",
            implementation="dsd_bench_entropy.transfer:AttentionTransfer",
            summary="makes the network look where its teacher looks: attention maps are alike",
            params=AttentionTransferParams,
            citation="Zagoruyko and Komodakis 2017, Paying More Attention to Attention (ICLR)",
            teacher=True,
        )
    ]
