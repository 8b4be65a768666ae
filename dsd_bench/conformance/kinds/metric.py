"""Checks of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dsd_bench.conformance.checks import Broken, blaming, check, demand
from dsd_bench.conformance.networks import CLASSES, NETWORKS, SHAPE, network
from dsd_bench.conformance.networks import images as some_images
from dsd_bench.conformance.runs import finished, results_of, whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.conformance.unchanged import same, unchanged
from dsd_bench.errors import DsdError
from dsd_bench.masks import Masks
from dsd_bench.metrics import MeasureView, Metric, Outputs
from dsd_bench.metrics.passes import ReluCounter, evaluating
from dsd_bench.metrics.prunable import find_prunable
from dsd_bench.seeds import seeded_globals

PARTS = {"train": (20, 0), "val": (9, 1), "test": (12, 2)}
"""Size and seed of each part."""


def _view(model: nn.Module, absent: tuple[str, ...] = (), rectifiers: bool = True) -> MeasureView:
    """Return what a metric sees of ``model``, some parts ``absent``."""

    @cache
    def outputs(part: str) -> Outputs | None:
        if part in absent:
            return None
        count, seed = PARTS[part]
        inputs, labels = some_images(seed, count)
        counter = ReluCounter()
        with evaluating(model):
            logits = counter.run(model, inputs)
        clean = (labels + (torch.arange(count) % 4 == 0)) % CLASSES
        counts = counter.counts if part == "train" and rectifiers else ()
        return Outputs(logits.float(), labels, clean, tuple(counts))

    def images(part: str) -> Iterator[Tensor] | None:
        if part in absent:
            return None
        count, seed = PARTS[part]
        return iter(torch.split(some_images(seed, count)[0], 8))

    find_prunable(model, SHAPE)
    device = torch.device("cpu")
    return MeasureView(model, Masks.dense(model), 1, device, SHAPE, outputs, images)


def _measured(metric: Metric, view: MeasureView, seed: int = 1) -> Mapping[str, Any]:
    with seeded_globals(seed):
        return metric.measure(view)


def _as_json(values: Any) -> str:
    demand(isinstance(values, Mapping), f"measure gives a {type(values).__name__}, not a mapping")
    try:
        return json.dumps(dict(values), allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise Broken(f"its values are no JSON: {error} (None for what is absent)") from error


@check("metric")
def values(subject: Subject) -> None:
    """It gives JSON values by name, finite ones, or None."""
    with blaming("of a plain network it raises"):
        found = _measured(subject.make(), _view(network()))
    _as_json(found)
    demand(found and all(type(name) is str and name for name in found), "it gives no named values")


@check("metric")
def same_values(subject: Subject) -> None:
    """Asked again, or made anew, it gives the same, whatever the global generators."""
    metric, view = subject.make(), _view(network())
    first = _as_json(_measured(metric, view, seed=1))
    demand(first == _as_json(_measured(metric, view, seed=2)), "asked again it gives other values")
    anew = _as_json(_measured(subject.make(), _view(network()), seed=3))
    demand(first == anew, "made anew it gives other values")


@check("metric")
def changes_nothing(subject: Subject) -> None:
    """Network, masks and outputs are as they were: others measure them too."""
    model = network()
    view = _view(model)
    held = {part: view.outputs(part) for part in PARTS}
    tensors = [t for out in held.values() if out for t in (out.logits, out.labels, out.clean)]
    tensors += [
        *view.masks.tensors().values(),
        *(held["train"].relu_counts if held["train"] else ()),
    ]
    before = [tensor.clone() for tensor in tensors]
    with unchanged(model):
        _measured(subject.make(), view)
    kept = all(map(same, before, tensors))
    demand(kept, "it changes masks, logits, labels or counts in place")


@check("metric")
def absent_parts(subject: Subject) -> None:
    """Without a validation part, or rectifiers, it gives None, or says why it cannot."""
    for absent, rectifiers in ((("val",), True), ((), False)):
        what = "a validation part" if absent else "rectifiers"
        with blaming(f"without {what} it raises"):
            try:
                _as_json(_measured(subject.make(), _view(network(), absent, rectifiers)))
            except DsdError:
                continue


@check("metric")
def odd_networks(subject: Subject) -> None:
    """Shared weights, grouped convolutions, attention, frozen layers: measured, or refused."""
    for name in NETWORKS:
        with blaming(f"of a network with {name} it raises"):
            try:
                _as_json(_measured(subject.make(), _view(network(name))))
            except DsdError:
                demand(name != "a plain network", "it refuses a plain network of linear layers")


@check("metric")
def only_watches(subject: Subject) -> None:
    """A run with it has the bytes of one without it."""
    alone = results_of(finished(subject).path)
    watched = results_of(finished(subject, metric=[subject.word]).path)
    for name in ("rounds.jsonl", "correct.jsonl", "best.safetensors"):
        demand(alone[name] == watched[name], f"a run with it has another {name}")


whole_runs("metric", lambda subject: {"metric": [subject.word]})
