"""Layers of options, from a recipe, a TOML file, a ``config.json`` or the command line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dsd_bench.components import option_of
from dsd_bench.config.run import LATER, ProtocolConfig, RunConfig
from dsd_bench.errors import UsageError, collect, suggest
from dsd_bench.store.reading import read_json, read_toml

Layer = dict[str, Any]

SINGLE = {
    "dataset": "digits",
    "noise": "none",
    "model": "mlp",
    "pruner": "magnitude",
    "perturber": "none",
    "stop": "never",
}
"""Options that name one component, with what they are if neither user nor recipe says."""

PROTOCOL = tuple(ProtocolConfig.model_fields)
OTHER = (
    "reg",
    "metric",
    "weights",
    "weights_head",
    "seeds",
    "data_seed",
    "epochs",
    "teacher",
    "data_dir",
    "runs_dir",
)
KEYS = tuple(dict.fromkeys((*SINGLE, *map(option_of, LATER), *PROTOCOL, *OTHER)))
"""Every option of a layer."""


def normalise(layer: Mapping[str, Any], where: str = "") -> Layer:
    """Return a layer with only known keys and ``epochs`` spelled out; None means not given."""
    values = {key: value for key, value in layer.items() if value is not None}
    prefix = f"{where}: " if where else ""
    collect(_unknown(values, prefix))
    if "rounds" in values and "target_sparsity" in values:
        raise UsageError(f"{prefix}give --rounds or --target-sparsity, not both")
    if not isinstance(values.get("teacher", {}), Mapping):
        raise UsageError(f"{prefix}teacher={values['teacher']!r} is no table of options")
    for key in ("reg", "metric"):
        if key in values and not isinstance(values[key], list | tuple):
            values[key] = [values[key]]
    for key in ("data_dir", "runs_dir"):
        if key in values:
            values[key] = str(values[key])
    epochs = values.pop("epochs", None)
    return (
        {"dense_epochs": epochs, "retrain_epochs": epochs} if epochs is not None else {}
    ) | values


def _unknown(values: Layer, prefix: str) -> list[str]:
    """Name every unknown option; what there is to choose from is said once, at the end."""
    wrong = [key for key in values if key not in KEYS]
    told = [f"{prefix}unknown option '{key}'{suggest(key, KEYS)}" for key in wrong]
    return [text.partition(" choose from: ")[0].rstrip(";") for text in told[:-1]] + told[-1:]


def merge(layers: Sequence[Layer]) -> Layer:
    """Merge layers, weakest first; rounds and target_sparsity displace each other."""
    merged: Layer = {}
    for layer in layers:
        if "rounds" in layer or "target_sparsity" in layer:
            merged.pop("rounds", None)
            merged.pop("target_sparsity", None)
        teacher = {**merged.get("teacher", {}), **layer.get("teacher", {})}
        merged |= layer
        if teacher:
            merged["teacher"] = teacher
    return merged


def read_layer(path: Path) -> Layer:
    """Read a layer from a TOML file, or from a run's ``config.json``.

    Raises:
        UsageError: naming the file, and the line where TOML can tell.
    """
    if path.suffix == ".json":
        return _layer_of_run(RunConfig.from_json(read_json(path), str(path)))
    try:
        values = read_toml(path)
        if {"title", "scale"} <= values.keys():
            words = f"dsd-bench sweep {shlex.quote(str(path))}"
            raise UsageError(
                f"--config: {path} is a suite, not the options of one run; try {words}"
            )
        return normalise(values, str(path))
    except FileNotFoundError:
        raise UsageError(f"--config: {path}: no such file") from None


def _layer_of_run(config: RunConfig) -> Layer:
    """Return options that give ``config`` again."""
    value = config.model_dump(mode="json")
    layer = {key: value[key] for key in SINGLE}
    layer |= {key: item for key, item in value["protocol"].items() if item is not None}
    layer |= {option_of(kind): value[kind] for kind in LATER if kind in value}
    layer |= {"weights": value["weights"]} if "weights" in value else {}
    layer |= {"reg": value["regularizers"], "metric": value["metrics"]}
    layer["seeds"] = str(config.seed)
    if config.data_seed != config.seed:
        layer["data_seed"] = config.data_seed
    teachers = [reg.teacher.config for reg in config.regularizers if reg.teacher]
    if teachers:
        layer["teacher"] = _layer_of_run(teachers[0])
        for key in ("seeds", "data_seed", "dataset"):
            layer["teacher"].pop(key, None)
    return layer


MOST_SEEDS = 10_000


def parse_seeds(value: Any) -> list[int]:
    """Parse ``0-2`` (inclusive), ``0,3``, ``5`` or a list of integers.

    Raises:
        UsageError: for anything else, an empty range or a repeated seed.
    """
    parts = (
        [str(part) for part in value] if isinstance(value, list | tuple) else str(value).split(",")
    )
    seeds: list[int] = []
    for part in parts:
        first, dash, last = part.strip().partition("-")
        low = parse_seed(first)
        high = parse_seed(last) if dash else low
        if high < low:
            raise UsageError(f"--seeds: '{part}' runs backwards; write {high}-{low}")
        if high - low >= MOST_SEEDS:
            raise UsageError(f"--seeds: '{part}' are more than {MOST_SEEDS:,} seeds")
        seeds += range(low, high + 1)
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds: '{value}' names a seed twice")
    return seeds


def parse_seed(value: Any) -> int:
    """Parse one seed, a whole number from 0 to 2**31 - 1."""
    if not re.fullmatch(r"\d{1,10}", str(value).strip()) or int(value) >= 2**31:
        raise UsageError(f"'{value}' is not a seed; write 0-2, 0,3 or 5 (whole numbers from 0)")
    return int(value)


def flag(option: str) -> str:
    """Return an option's spelling on the command line."""
    return f"--{option.replace('_', '-')}"
