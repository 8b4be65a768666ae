"""What of a run's configuration is its track, its method, and which seeds it is of."""

from __future__ import annotations

from typing import Any

from dsd_bench.boards.schema import MethodConfig, Track
from dsd_bench.config.run import ADDED, LATER, RegularizerConfig, RunConfig, TeacherConfig
from dsd_bench.config.run import SCHEMA as CONFIG_SCHEMA

PARTS = ("pruner", "perturber", "updater", "optimizer", "schedule", "stop", "chooser")
"""Kinds of component that belong to the method, beside regularizers."""

METHOD_OPTIONS = ("retrain_lr_scale", "redense_epochs", "rounds", "target_sparsity")
"""Options of the protocol that belong to the method; all others are the track's schedule."""


def track_of(config: RunConfig) -> Track:
    """Return the track of a run.

    Split and noise of a run whose data seed is its seed belong to the track "data follow the
    seed"; any other data seed is a track of its own.
    """
    value = config.model_dump(mode="json")
    apart = (*METHOD_OPTIONS, "selection", "precision")
    return Track.model_validate(
        {
            "config_schema": CONFIG_SCHEMA,
            "data_seed": None if config.data_seed == config.seed else config.data_seed,
            "schedule": {k: v for k, v in value["protocol"].items() if k not in apart},
            **{key: value["protocol"][key] for key in ("selection", "precision")},
            "dataset": config.dataset.placeless(),
            "weights": config.weights.placeless() if config.weights else None,
            **{key: value[key] for key in ("fingerprint", "noise", "model")},
        }
    )


def method_of(config: RunConfig) -> MethodConfig:
    """Return the method of a run: nothing in it depends on the seed."""
    value = config.model_dump(mode="json")
    return MethodConfig.model_validate(
        {
            **{key: value.get(key) for key in PARTS},
            **{key: value["protocol"][key] for key in METHOD_OPTIONS},
            "regularizers": [_regularizer(part, config) for part in config.regularizers],
        }
    )


def _regularizer(part: RegularizerConfig, student: RunConfig) -> dict[str, Any]:
    """Describe a regularizer; how the user named its teacher does not matter."""
    value = part.model_dump(mode="json", exclude={"teacher"})
    if part.teacher is None:
        return value
    params = {key: item for key, item in value["params"].items() if key != "teacher"}
    teacher, weights = part.teacher.config, part.teacher.weights
    told = {
        "weights": weights,
        "trainings": trainings(teacher, weights),
        "differs": _differences(teacher, student),
    }
    return {**value, "params": params, "teacher": told}


def trainings(config: RunConfig, weights: str) -> int | None:
    """Return how many trainings a teacher took as configured, its own teachers' included.

    The dense weights took one. None where a stop rule or a target sparsity decides.
    """
    counts = [_own_trainings(config, weights)]
    for part in config.regularizers:
        if part.teacher:
            counts.append(trainings(part.teacher.config, part.teacher.weights))
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _own_trainings(config: RunConfig, weights: str) -> int | None:
    rounds = config.protocol.rounds
    if weights == "dense":
        return 1
    return None if rounds is None or config.stop.name != "never" else rounds + 1


def _differences(teacher: RunConfig, student: RunConfig) -> dict[str, Any]:
    """Return what of a teacher is not the student's.

    Stop ``never`` and the chooser ``best`` are no differences: no teacher has others.
    """
    plain = tuple(part for part in student.regularizers if part.teacher is None)
    expected = _parts(student.model_copy(update={"regularizers": plain, "chooser": None}))
    if teacher.stop.name == "never":
        expected["stop"] = teacher.stop.model_dump(mode="json")
    found = _parts(teacher)
    usual = {"weights": "none", **ADDED, **{kind: names[0] for kind, names in LATER.items()}}
    found |= {key: usual[key] for key in expected.keys() - found.keys()}
    return {key: value for key, value in found.items() if value != expected.get(key)}


def _parts(config: RunConfig) -> dict[str, Any]:
    """Return everything that a configuration fixes, flat, teachers described."""
    value = config.model_dump(mode="json", exclude={"metrics", "protocol", "regularizers"})
    protocol = config.protocol.model_dump(mode="json")
    if config.weights is not None:
        value["weights"] = config.weights.placeless()
    value["dataset"] = config.dataset.placeless().model_dump(mode="json")
    return {**protocol, **value, "regularizers": method_of(config).model_dump()["regularizers"]}


def teacher_ids(config: RunConfig) -> list[str]:
    """Return the run ids of all teachers, the nearest first."""
    found = []
    for part in config.regularizers:
        if part.teacher:
            found += [part.teacher.run_id, *teacher_ids(part.teacher.config)]
    return found


def whole(config: RunConfig) -> dict[str, Any]:
    """Return everything that a run's id depends on, teachers' configurations included.

    Without further metrics and without where data lie. Options that came after the first
    release are left out where they say what was always done, so that rows keep their bytes.
    :class:`RunConfig` reads it and gives the same ids.
    """
    value = config.model_dump(mode="json", exclude={"metrics", "dataset", "regularizers"})
    protocol = {k: v for k, v in value["protocol"].items() if ADDED.get(k, ...) != v}
    chain = [_whole_regularizer(part) for part in config.regularizers]
    if config.weights is not None:
        value["weights"] = config.weights.placeless()
    dataset = config.dataset.placeless().model_dump(mode="json")
    return {**value, "protocol": protocol, "dataset": dataset, "regularizers": chain}


def _whole_regularizer(part: RegularizerConfig) -> dict[str, Any]:
    """Return a regularizer; the parameter that named its teacher becomes its weights' name."""
    value = part.model_dump(mode="json", exclude={"teacher"})
    if part.teacher is None:
        return value
    weights = part.teacher.weights
    teacher = {
        "run_id": part.teacher.run_id,
        "weights": weights,
        "config": whole(part.teacher.config),
    }
    return {**value, "params": {**value["params"], "teacher": weights}, "teacher": teacher}


def reseeded(config: RunConfig, seed: int) -> RunConfig:
    """Return the configuration of the same method for another seed.

    What follows the seed goes with it: the data seed where it is the same, and the teachers'
    seeds and data seeds where they are their student's.
    """
    data_seed = seed if config.data_seed == config.seed else config.data_seed
    return _reseeded(config, seed, data_seed)


def _reseeded(config: RunConfig, seed: int, data_seed: int) -> RunConfig:
    def follow(teacher: TeacherConfig) -> TeacherConfig:
        old = teacher.config
        new = _reseeded(
            old,
            seed if old.seed == config.seed else old.seed,
            data_seed if old.data_seed == config.data_seed else old.data_seed,
        )
        return teacher.model_copy(update={"config": new, "run_id": new.run_id})

    chain = tuple(
        part.model_copy(update={"teacher": follow(part.teacher)}) if part.teacher else part
        for part in config.regularizers
    )
    return config.model_copy(update={"seed": seed, "data_seed": data_seed, "regularizers": chain})
