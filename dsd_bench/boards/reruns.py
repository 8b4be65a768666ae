"""From a row to the runs that it is of or that would give it again, and what they gave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dsd_bench.boards.agreement import Again, again
from dsd_bench.boards.methods import reseeded
from dsd_bench.boards.rows import row_of
from dsd_bench.boards.schema import CheckedRow, CheckedSeed
from dsd_bench.boards.words import seeds_words
from dsd_bench.config.metrics import canonical_metric, metric_key, word_of
from dsd_bench.config.run import (
    LATER,
    ComponentConfig,
    DatasetConfig,
    RegularizerConfig,
    RunConfig,
    WeightsConfig,
)
from dsd_bench.config.words import parse_component
from dsd_bench.errors import UsageError, plain
from dsd_bench.params import field_extra
from dsd_bench.plugins import catalogue
from dsd_bench.store.given import contents
from dsd_bench.store.runs import StoredRun, finished, load_run


def configurations(
    row: CheckedRow, seeds: Iterable[int], dataset: str | None = None, weights: Path | None = None
) -> list[RunConfig]:
    """Return what to run to get seeds of a row again; its ids are those of the row.

    Args:
        row: the row.
        seeds: some of its seeds.
        dataset: the row's data set as one types it, for one that is told where its files lie: rows
            do not say that.
        weights: the file that the row's runs begin from, if they begin from one.

    Raises:
        UsageError: for a seed that the row has not, a data set or file that is not the row's, and
            components that are not installed, with the distributions that the row names.
    """
    there = {entry.seed for entry in row.seeds}
    if missing := sorted(set(seeds) - there):
        told = ", ".join(map(str, missing))
        raise UsageError(f"the row has no seed {told}; it has {seeds_words(row.seeds)}")
    first = RunConfig.model_validate(row.config)
    if lacking := sorted(set(_lacking(first))):
        named = sorted(
            {name for entry in row.seeds for code in entry.code for name in code.plugins}
        )
        source = (
            f"it was made with {', '.join(map(plain, named))}" if named else "no source is named"
        )
        raise UsageError(
            f"the row needs {' and '.join(lacking)}, which nothing installed brings; {source}"
        )
    data = None if dataset is None else _dataset(dataset, first)
    given = _weights(weights, first)
    placed = (_placed(reseeded(first, seed), data, given) for seed in seeds)
    return [_measured(config, claimed(row, config.seed)) for config in placed]


def _measured(config: RunConfig, entry: CheckedSeed) -> RunConfig:
    """Return a configuration that also measures the calibration errors that the row tells.

    Not so where only a hash of the metric's parameters is told, or it is not installed.
    """
    if entry.ece is None:
        return config
    with suppress(UsageError):
        word = canonical_metric(word_of(entry.ece.metric))
        if metric_key(word) == entry.ece.metric:
            metrics = tuple(dict.fromkeys((*config.metrics, word)))
            return config.model_copy(update={"metrics": metrics})
    return config


ONE_OF = ("dataset", "model", "noise", "pruner", "perturber", "stop")
"""Kinds of which a run always names one component, as the fields of its configuration."""


def _lacking(config: RunConfig) -> Iterator[str]:
    """Yield each component of a run and of its teachers that is not installed."""
    parts: list[tuple[str, ComponentConfig]] = [(kind, getattr(config, kind)) for kind in ONE_OF]
    parts += [(kind, config.chosen(kind)) for kind in LATER]
    parts += [("regularizer", part) for part in config.regularizers]
    for kind, part in parts:
        if catalogue().find(kind, part.name) is None:
            yield f"{kind} '{plain(part.name)}'"
    for part in config.regularizers:
        if part.teacher is not None:
            yield from _lacking(part.teacher.config)


def _dataset(word: str, config: RunConfig) -> DatasetConfig:
    """Return the data set of a row with where it lies."""
    entry, values = parse_component("dataset", word, "--dataset")
    fields = entry.component.params.model_fields.items()
    found = DatasetConfig(
        name=entry.component.name,
        version=entry.component.version,
        params=values.model_dump(mode="json"),
        places=tuple(name for name, field in fields if field_extra(field).get("place")),
    )
    if found.placeless() != config.dataset.placeless():
        raise UsageError(
            f"--dataset {word}: the row is of {config.dataset.name} with "
            f"{_values(config.dataset.placeless().params)}"
        )
    return found


def _values(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in params.items()) or "no parameters"


def _weights(path: Path | None, config: RunConfig) -> WeightsConfig | None:
    """Return the weights that a row's runs begin from with where they lie."""
    if config.weights is None:
        if path is not None:
            raise UsageError(f"--weights {path}: the row's runs begin from no given weights")
        return None
    if path is None:
        raise UsageError(
            f"the row's runs begin from weights of contents sha256:{config.weights.sha256}; give "
            "them by --weights FILE.safetensors"
        )
    if contents(path) != config.weights.sha256:
        raise UsageError(
            f"--weights {path}: its contents are not those of the row, sha256:"
            f"{config.weights.sha256}"
        )
    return config.weights.model_copy(update={"file": str(path)})


def _placed(
    config: RunConfig, dataset: DatasetConfig | None, weights: WeightsConfig | None
) -> RunConfig:
    """Return a configuration, its teachers' included, that says where files lie.

    And what its stop rule measures, which a row does not say either.
    """
    stop = catalogue().get("stop", config.stop.name, "the row").component
    metrics = tuple(canonical_metric(word, f"stop {stop.name}") for word in stop.metrics)
    changes: dict[str, Any] = {"metrics": metrics}
    if dataset is not None and config.dataset.placeless() == dataset.placeless():
        changes["dataset"] = dataset
    own = config.weights
    if weights is not None and own is not None and own.sha256 == weights.sha256:
        changes["weights"] = own.model_copy(update={"file": weights.file})
    chain = tuple(_taught(part, dataset, weights) for part in config.regularizers)
    return config.model_copy(update={**changes, "regularizers": chain})


def _taught(
    part: RegularizerConfig, dataset: DatasetConfig | None, weights: WeightsConfig | None
) -> RegularizerConfig:
    if part.teacher is None:
        return part
    config = _placed(part.teacher.config, dataset, weights)
    teacher = part.teacher.model_copy(update={"config": config})
    return part.model_copy(update={"teacher": teacher})


def row_of_run(run: StoredRun) -> CheckedRow:
    """Return the row of a single finished run.

    Raises:
        UsageError: if a file of the run is damaged or missing, or contradicts another.
    """
    row = row_of(run, RunConfig.from_json(run.config, str(run.path / "config.json")))
    assert isinstance(row, CheckedRow)
    return row


def seed_of(run: StoredRun) -> CheckedSeed:
    """Return what a row says of a finished run.

    Raises:
        UsageError: if a file of the run is damaged or missing, or contradicts another.
    """
    return row_of_run(run).seeds[0]


def claimed(row: CheckedRow, seed: int) -> CheckedSeed:
    """Return what a row says of one of its seeds."""
    return next(entry for entry in row.seeds if entry.seed == seed)


def beside(row: CheckedRow, runs_dir: Path) -> Iterator[tuple[StoredRun, Again]]:
    """Yield the finished runs of a row that lie in a folder, each held against the row.

    Raises:
        UsageError: if one of them is damaged or contradicts itself.
    """
    for entry in row.seeds:
        path = runs_dir / entry.run_id
        if finished(path):
            run = load_run(path)
            yield run, again(entry, seed_of(run))
