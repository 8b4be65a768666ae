"""Registers the broken components of all kinds; it imports no torch, as plugins should not."""

from __future__ import annotations

from dsd_bench import Component, Params, hookimpl, param
from dsd_bench.data import DatasetParams
from dsd_bench.pruners import PrunerParams

dsd_bench_api = "1"


class OddParams(PrunerParams):
    """A parameter that no word can hold."""

    names: frozenset[str] = param(frozenset(), help="any")


EVERY = ("implements", "documented", "expectations")
RUNS = ("resumes", "survives-kill")
BROKEN = {
    "pruner": (
        *EVERY,
        *("same-seed", "exact-counts", "changes-nothing", "odd-networks", "to-the-end"),
        "new-weights",
        *("any-dtype", "any-device", *RUNS),
    ),
    "perturber": (
        *("same-seed", "changes-weights-only", "snapshots", "odd-networks", "any-dtype"),
        *("any-device", *RUNS),
    ),
    "regularizer": (
        *("same-seed", "gradients", "leaves-no-trace", "no-waiting", "images"),
        *("low-precision", "by-parts", "odd-networks", *RUNS),
    ),
    "updater": (
        *("steps", "same-seed", "exact-counts", "declares-rightly", "changes-nothing"),
        *("odd-networks", "any-dtype", "any-device", *RUNS),
    ),
    "optimizer": (
        *("learns", "pruned-stay-zero", "same-steps", "state-comes-back", "rate", "frozen"),
        *("any-dtype", "no-waiting", *RUNS),
    ),
    "schedule": ("phases", "rates", "pure", "ends", *RUNS),
    "chooser": (
        *("answers", "pure", "leaves-rounds", "absent-columns", "columns", "steady"),
        *RUNS,
    ),
    "stop": ("answers", "pure", "leaves-rounds", "absent-columns", "columns", *RUNS),
    "model": (
        *("same-seed", "logits", "prunable", "evaluates-alike", "whole-state", "any-dtype"),
        *("any-device", *RUNS),
    ),
    "dataset": (
        *("params", "recipe", "missing-files", "fingerprint", "arrays", "same-data", "outline"),
        *("splits", *RUNS),
    ),
    "noise": ("same-draw", "labels", "leaves-labels", *RUNS),
    "metric": (
        *("values", "same-values", "changes-nothing", "absent-parts", "odd-networks"),
        *("only-watches", *RUNS),
    ),
    "executor": ("same-bytes", "finished-runs", "failures", "events", "closes"),
    "reporter": ("writes", "absent-values", "same-text", "only-reads", "plain-text"),
}
"""The checks that there is a component to break, by kind."""

CLASSES = {"outline": "OutlineTold"}
PARAMS = {"pruner": PrunerParams, "dataset": DatasetParams}


def components(kind: str) -> list[Component]:
    """Return the components of a kind; ``same-seed`` is implemented by the class ``SameSeed``."""
    made = []
    for name in ("good", *BROKEN[kind]):
        place = f"broken.{kind}:{CLASSES.get(name, name.title().replace('-', ''))}"
        params = PARAMS.get(kind, Params) if (kind, name) != ("dataset", "params") else Params
        columns = ("colour",) if kind in ("stop", "chooser") and name == "columns" else ()
        made.append(Component(name, place, "broken", params, columns=columns))
    return made


@hookimpl
def register_pruners():
    odd = Component("parameters", "broken.pruner:Good", "broken", OddParams)
    return [*components("pruner"), odd]


@hookimpl
def register_perturbers():
    return components("perturber")


@hookimpl
def register_regularizers():
    return components("regularizer")


@hookimpl
def register_updaters():
    return components("updater")


@hookimpl
def register_optimizers():
    return components("optimizer")


@hookimpl
def register_schedules():
    return components("schedule")


@hookimpl
def register_choosers():
    return components("chooser")


@hookimpl
def register_stop_criteria():
    return components("stop")


@hookimpl
def register_models():
    return components("model")


@hookimpl
def register_datasets():
    return components("dataset")


@hookimpl
def register_label_noise():
    return components("noise")


@hookimpl
def register_metrics():
    return components("metric")


@hookimpl
def register_executors():
    return components("executor")


@hookimpl
def register_reporters():
    return components("reporter")
