"""What runs are called, and which of them belong together; shared by every view and board."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dsd_bench.components import Component
from dsd_bench.config.layers import SINGLE
from dsd_bench.config.run import LATER
from dsd_bench.params import format_word, main_field

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun

Config = Mapping[str, Any]
"""The contents of a run's ``config.json``."""

Lookup = Callable[[str, str], Component | None]
"""Finds a component by kind and name; None where it is not installed here."""

_SETTING = ("dataset", "noise", "model", "weights")
_LONG_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{8}\b")


def component_word(kind: str, part: Mapping[str, Any], lookup: Lookup | None = None) -> str:
    """Write one component of a configuration as its user would type it.

    Args:
        kind: ``pruner``, ``regularizer``, ...
        part: its ``{"name", "version", "params"}``.
        lookup: where to find the component. With it, parameters at their default are left
            out and the main one stands bare; without it every parameter is named.
    """
    params = {key: value for key, value in part.get("params", {}).items() if value is not None}
    component = lookup(kind, part["name"]) if lookup else None
    if component is None:
        return format_word(part["name"], params)
    told = told_params(params, component)
    return format_word(part["name"], told, main_field(component.params))


def told_params(params: Mapping[str, Any], component: Component) -> dict[str, Any]:
    """Return the parameters that are not at their default, as JSON, in the component's order."""
    fields = component.params.model_fields
    default = {key: field.get_default(call_default_factory=True) for key, field in fields.items()}
    return {
        key: params[key]
        for key in sorted(params, key=[*fields, *params].index)
        if params[key] is not None and not _same(default.get(key), params[key])
    }


def _same(default: Any, value: Any) -> bool:
    """Whether a parameter's default, seen as JSON, is ``value``."""
    return default == value or json.dumps(default, default=str) == json.dumps(value)


def method_words(config: Config, lookup: Lookup | None = None) -> dict[str, str]:
    """Return the component words of a run by kind.

    The keys are ``dataset``, ``noise``, ``model``, ``pruner``, ``perturber``, ``regularizers``
    (joined by `` + `` in their order, ``none`` if there is none) and ``stop``; ``optimizer`` and
    ``schedule`` only where they are not what the protocol's options describe, ``updater`` only
    where there is one, ``chooser`` only where it is not ``best``, and ``weights`` only where the
    run begins from given ones, by the first digits of their hash.
    """
    words = {kind: component_word(kind, config[kind], lookup) for kind in SINGLE}
    chain = [component_word("regularizer", part, lookup) for part in config["regularizers"]]
    stop = words.pop("stop")
    if given := config.get("weights"):
        head = ", head replaced" if given["head"] == "replace" else ""
        words["weights"] = f"weights {given['sha256'][:8]}{head}"
    later = {kind: component_word(kind, config[kind], lookup) for kind in LATER if config.get(kind)}
    return words | {"regularizers": " + ".join(chain) or "none", "stop": stop} | later


def label(config: Config, lookup: Lookup | None = None) -> str:
    """Return a short name of the method, such as ``magnitude + kd, stop entropy-gate``.

    What does nothing (perturber ``none``, stop ``never``) is left out, and so are an optimiser and
    a schedule that the protocol's options describe, and the chooser ``best``; run ids are cut to
    eight digits.
    """
    words = method_words(config, lookup)
    kinds = ("pruner", "perturber", "updater", "regularizers")
    text = " + ".join(words[kind] for kind in kinds if words.get(kind, "none") != "none")
    text += "".join(f", {words[kind]}" for kind in ("optimizer", "schedule") if kind in words)
    if words["stop"] != "never":
        text += f", stop {words['stop']}"
    if "chooser" in words:
        text += f", choose {words['chooser']}"
    return _LONG_ID.sub(r"\1", text)


def setting(config: Config, lookup: Lookup | None = None) -> str:
    """Return what the method works on, such as ``digits, symmetric:rate=0.4, mlp``."""
    return ", ".join(setting_words(config, lookup).values())


def setting_words(config: Config, lookup: Lookup | None = None) -> dict[str, str]:
    """Return the words of :func:`setting` by kind."""
    words = method_words(config, lookup)
    return {kind: words[kind] for kind in _SETTING if words.get(kind, "none") != "none"}


def distinct_labels(configs: Sequence[Config], lookup: Lookup | None = None) -> list[str]:
    """Return a label for each configuration; equal ones get what tells them apart.

    Added are, in this order and only as far as they differ: data, noise and model, the teachers'
    methods, values of the protocol, seeds, and at last the run id.
    """
    labels = [label(config, lookup) for config in configs]
    details = [_details(config, lookup) for config in configs]
    for key in dict.fromkeys(key for detail in details for key in detail):
        if len(set(labels)) == len(labels):
            break
        values = [detail.get(key, "") for detail in details]
        clash = [_differs(index, labels, values) for index in range(len(labels))]
        labels = [
            f"{text}, {value}" if differs else text
            for text, value, differs in zip(labels, values, clash)
        ]
    return labels


def _differs(index: int, labels: Sequence[str], values: Sequence[str]) -> bool:
    """Whether another entry has the same label but another value."""
    return any(
        text == labels[index] and value != values[index] for text, value in zip(labels, values)
    )


def _details(config: Config, lookup: Lookup | None) -> dict[str, str]:
    words = method_words(config, lookup)
    found = {kind: words[kind] for kind in _SETTING if kind in words}
    protocol = {key: f"{key}={value}" for key, value in config["protocol"].items()}
    own = {key: f"{key} {config[key]}" for key in ("data_seed", "seed")}
    chain = [part["teacher"]["config"] for part in config["regularizers"] if part.get("teacher")]
    found["teachers"] = " and ".join(f"teacher {label(one, lookup)}" for one in chain)
    return found | protocol | own | {"run_id": config["run_id"][:8]}


def configuration_key(config: Config) -> str:
    """Return a text that is equal for runs that differ in nothing but their seeds.

    The teacher's own seeds are left out too: seed 1's teacher is not seed 0's. So are further
    metrics, which cannot change a number.
    """
    return json.dumps(_seedless(config), sort_keys=True)


def _seedless(config: Config) -> dict[str, Any]:
    dropped = ("run_id", "curve_id", "seed", "data_seed", "metrics")
    kept = {key: value for key, value in config.items() if key not in dropped}
    if kept.get("weights"):
        kept["weights"] = {key: kept["weights"][key] for key in ("sha256", "head")}
    return kept | {"regularizers": [_untaught(part) for part in config.get("regularizers", ())]}


def _untaught(part: Mapping[str, Any]) -> dict[str, Any]:
    teacher = part.get("teacher")
    if not teacher:
        return dict(part)
    return {**part, "teacher": [teacher["weights"], _seedless(teacher["config"])]}


def group_runs(runs: Iterable[StoredRun]) -> list[list[StoredRun]]:
    """Gather the seeds of each configuration, in order of first appearance, seeds ascending.

    A run that is given twice counts once. Runs of one configuration whose data follow the
    seed stay apart from those with a fixed ``--data-seed``.
    """
    groups: dict[str, dict[str, StoredRun]] = {}
    for run in runs:
        groups.setdefault(configuration_key(run.config), {})[run.run_id] = run
    return [part for members in groups.values() for part in _by_data(list(members.values()))]


def _by_data(runs: list[StoredRun]) -> list[list[StoredRun]]:
    """Split by how the data seed was chosen; seed 0 with data seed 0 fits both choices."""
    fixed = {run.config["data_seed"] for run in runs}
    if len(fixed) == 1:
        return [sorted(runs, key=lambda run: run.seed)]
    parts: dict[Any, list[StoredRun]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        data_seed = run.config["data_seed"]
        parts.setdefault("seed" if data_seed == run.seed else data_seed, []).append(run)
    return list(parts.values())


def command(name: str, *words: object, runs_dir: object = "runs") -> str:
    """Return a command of dsd-bench to paste into a shell, what needs it quoted.

    Args:
        name: the command, such as ``show``.
        words: what follows it.
        runs_dir: where runs lie; said where it is not the default.
    """
    folder = [] if str(runs_dir) == "runs" else ["--runs-dir", str(runs_dir)]
    return shlex.join(["dsd-bench", name, *map(str, words), *folder])


def seeds_word(seeds: Iterable[int]) -> str:
    """Write seeds the way ``--seeds`` takes them: ``0-2``, ``0,3``, ``5``."""
    ordered = sorted(set(seeds))
    runs: list[list[int]] = []
    for seed in ordered:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
