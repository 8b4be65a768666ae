"""What the plugin registers. This module imports no torch: the components' classes load later."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from dsd_bench import Component, Params, hookimpl, param
from dsd_bench.pruners import PrunerParams

dsd_bench_api = "1"

LOG = "DSD_BENCH_TAYLOR_LOG"
"""Environment variable that names the observer's file; without it the observer does nothing."""


class TaylorParams(PrunerParams):
    """What ``taylor`` takes, beside ``fraction`` and ``scope``."""

    batches: int = param(
        10, help="training batches whose squared contributions add up", ge=1, unit="batches"
    )


class DeadUnitsLimitParams(Params):
    """What ``dead-units-limit`` takes."""

    limit: float = param(
        0.9, help="stop once this share of the ReLU units is dead", ge=0, le=1, unit="fraction"
    )


@hookimpl
def register_pruners() -> list[Component]:
    """Return the pruner ``taylor``."""
    return [
        Component(
            name="taylor",
            implementation="dsd_bench_taylor.pruner:Taylor",
            summary="prunes the smallest (weight * dL/dweight)^2, summed over training batches",
            params=TaylorParams,
            citation="Molchanov et al. 2019, Importance Estimation for Neural Network Pruning "
            "(CVPR)",
        )
    ]


@hookimpl
def register_metrics() -> list[Component]:
    """Return the metric ``dead-units``."""
    return [
        Component(
            name="dead-units",
            implementation="dsd_bench_taylor.dead_units:DeadUnits",
            summary="share of the ReLU units that no training image switches on",
        )
    ]


@hookimpl
def register_stop_criteria() -> list[Component]:
    """Return the stop criterion ``dead-units-limit``; it has its metric measured."""
    return [
        Component(
            name="dead-units-limit",
            implementation="dsd_bench_taylor.dead_units:DeadUnitsLimit",
            summary="stop once too many ReLU units are dead",
            params=DeadUnitsLimitParams,
            metrics=("dead-units",),
        )
    ]


@hookimpl
def round_finished(run_id: str, row: Mapping[str, Any]) -> None:
    """Append the round to the file that :data:`LOG` names, as one line of JSON."""
    if path := os.environ.get(LOG):
        line = json.dumps({"run_id": run_id, **row})
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
