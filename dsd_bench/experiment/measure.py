"""Measuring a trained network: one row of ``rounds.jsonl``."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

from dsd_bench.data.parts import Part
from dsd_bench.errors import Diverged, RunError, UsageError
from dsd_bench.masks import Masks
from dsd_bench.metrics import MeasureView, Metric, Outputs
from dsd_bench.metrics.classification import are_right
from dsd_bench.metrics.macs import count_macs, effective_macs
from dsd_bench.metrics.passes import forward_pass
from dsd_bench.seeds import preserved_globals
from dsd_bench.store.checkpoint import ROW, Row
from dsd_bench.store.correct import PARTS, pack
from dsd_bench.training.setup import TrainingSetup

BUILTIN = ("sparsity", "classification", "entropy", "macs")
"""The metrics that fill ``rounds.jsonl``, always on."""


def measure_view(setup: TrainingSetup, model: nn.Module, masks: Masks, round: int) -> MeasureView:
    """Return what metrics may look at; each part of the data passes the network once."""
    data, context = setup.data, setup.context

    def outputs(name: str) -> Outputs | None:
        samples = getattr(data, name)
        if samples is None:
            return None
        return forward_pass(
            model,
            samples.chunks(context.eval_batch(data.shape)),
            samples.labels,
            samples.clean,
            normalise=data.normalise,
            count_relu=name == "train",
            autocast=context.autocast,
        )

    def images(name: str) -> Iterator[torch.Tensor] | None:
        samples: Part | None = getattr(data, name)
        if samples is None:
            return None
        return map(data.normalise, samples.chunks(context.eval_batch(data.shape)))

    once: Callable[[str], Outputs | None] = cache(outputs)
    return MeasureView(model, masks, round, context.device, data.shape, once, images)


def refuse_other_counts(
    model: nn.Module, shape: Sequence[int], rows: Sequence[Row], whole: bool = False
) -> None:
    """Refuse to go on from rounds whose costs were counted otherwise than they would be now.

    Args:
        model: the run's.
        shape: one image's ``(C, H, W)``.
        rows: the rounds so far.
        whole: whether the last one measured a network with its pruned weights back.

    Raises:
        UsageError: if the last one's multiply-accumulates are not what this version counts.
    """
    if not rows:
        return
    device = next(model.parameters()).device
    total, layers = count_macs(model, torch.zeros(1, *shape, device=device))
    sparse = effective_macs(total, layers, rows[-1]["sparsity_per_layer"])
    now = total, total if whole else sparse
    recorded = rows[-1]["macs_dense"], rows[-1]["macs_effective"]
    if recorded != now:
        raise UsageError(
            f"its rounds recorded {recorded[1]:,} of {recorded[0]:,} multiply-accumulates of an "
            "image as effective, this version of dsd-bench (or of the model's library) counts "
            f"{now[1]:,} of {now[0]:,}: one curve would mix both; begin anew with --force"
        )


def measure(view: MeasureView, metrics: Sequence[Metric]) -> dict[str, Any]:
    """Return the row of this round.

    Raises:
        Diverged: if a value is not a finite number.
    """
    values: dict[str, Any] = {"round": view.round}
    for metric in metrics:
        values |= metric.measure(view)
    for key, value in values.items():
        if not _finite(value):
            raise Diverged(f"round {view.round}: {key} is {value}; try a smaller --lr")
    return {key: values.get(key) for key in ROW}


def measure_correct(view: MeasureView) -> dict[str, str | None]:
    """Return the packed bits of which validation and test images are right; None for no part."""
    outputs = {part: view.outputs(part) for part in PARTS}
    return {
        part: None if out is None else pack(are_right(out).cpu().numpy())
        for part, out in outputs.items()
    }


def measure_further(view: MeasureView, metrics: Mapping[str, Metric]) -> dict[str, Any]:
    """Return the further metrics' values by name; all generators stay as they were."""
    values = {}
    for name, metric in metrics.items():
        with preserved_globals():
            answer = copy.deepcopy(dict(metric.measure(view)))
        if not _finite(answer):
            raise RunError(f"metric '{name}' gave a value that is not finite; it may give None")
        values[name] = answer
    return values


def _finite(value: Any) -> bool:
    """Whether every number within a JSON value is finite."""
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
