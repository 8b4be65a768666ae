"""From finished runs to row files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsd_bench.boards.schema import (
    SCHEMA,
    BoardRow,
    MethodConfig,
    SeedResult,
    Track,
    encode,
    explain,
    parse,
    read_row,
    row_path,
)
from dsd_bench.boards.schema import Rounds as Columns
from dsd_bench.config.run import SCHEMA as CONFIG_SCHEMA
from dsd_bench.config.run import RegularizerConfig, RunConfig
from dsd_bench.errors import UsageError, collect
from dsd_bench.store.files import explained, write_atomic
from dsd_bench.store.runs import StoredRun

METHOD_OPTIONS = ("retrain_lr_scale", "redense_epochs", "rounds", "target_sparsity")
"""Options of the protocol that belong to the method; all others are the track's schedule."""


def submit(runs: Sequence[StoredRun], leaderboards_dir: Path) -> list[Path]:
    """Write or extend the row files of ``runs`` and return their paths, sorted.

    Seeds of one method go into one file, in whatever order they are submitted. A run that is
    there already is replaced by its present content, so submitting twice changes nothing.
    Either every file is written or, on a mistake, none.

    Raises:
        UsageError: for no runs, unfinished ones, one given twice, damaged or incomplete ones,
            another run of the same seed, or runs of which some select on test and some do not.
        dsd_bench.errors.RunError: if the folder cannot be written.
    """
    configs = _checked(runs)
    rows: dict[Path, BoardRow] = {}
    problems: list[str] = []
    for run, config in zip(runs, configs):
        try:
            row = row_of(run, config)
            path = leaderboards_dir / row_path(row)
            before = rows.get(path) or (read_row(path) if path.exists() else None)
            rows[path] = _merged(before, row, path) if before else row
        except UsageError as error:
            problems.append(str(error))
    collect(problems)
    for path, row in rows.items():
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encode(row).encode())
    return sorted(rows)


def _checked(runs: Sequence[StoredRun]) -> list[RunConfig]:
    """Return the configurations of runs that can go on boards together."""
    if not runs:
        raise UsageError("no runs to submit")
    problems: list[str] = []
    seen: set[str] = set()
    for run in runs:
        status = run.result.get("status") if run.result else None
        if status != "done":
            state = "unfinished" if status is None else f"'{status}'"
            problems.append(f"{run.path}: run {run.run_id} is {state}; only finished runs count")
        if run.run_id in seen:
            problems.append(f"{run.path}: run {run.run_id} is given twice")
        seen.add(run.run_id)
    collect(problems)
    configs = [RunConfig.from_json(run.config, str(run.path / "config.json")) for run in runs]
    by_test = [r.run_id for r, c in zip(runs, configs) if c.protocol.selection == "test"]
    if 0 < len(by_test) < len(runs):
        raise UsageError(
            f"{len(by_test)} of {len(runs)} runs select on test ({', '.join(by_test)}), the others "
            "on validation; no board mixes the two: submit them apart"
        )
    return configs


def _merged(before: BoardRow, new: BoardRow, path: Path) -> BoardRow:
    """Return ``before`` with the seeds of ``new``."""
    if (before.track, before.method) != (new.track, new.method):
        raise UsageError(f"{path}: holds another track or method under the same name")
    seeds = {entry.seed: entry for entry in before.seeds}
    for entry in new.seeds:
        there = seeds.get(entry.seed, entry).run_id
        if there != entry.run_id:
            raise UsageError(
                f"{path}: has run {there} for seed {entry.seed}, not {entry.run_id}; "
                "one method has one run a seed"
            )
        seeds[entry.seed] = entry
    return _row(new.track, new.method, [seeds[seed] for seed in sorted(seeds)], str(path))


def row_of(run: StoredRun, config: RunConfig) -> BoardRow:
    """Return the row of a single finished run."""
    return _row(track_of(config), method_of(config), [_entry(run, config)], str(run.path))


def _row(track: Track, method: MethodConfig, seeds: list[SeedResult], where: str) -> BoardRow:
    return parse({"schema": SCHEMA, "track": track, "method": method, "seeds": seeds}, where)


def _entry(run: StoredRun, config: RunConfig) -> SeedResult:
    result = run.result or {}
    if [row.get("round") for row in run.rows] != list(range(len(run.rows))):
        raise UsageError(f"{run.path / 'rounds.jsonl'}: the rounds are not 0, 1, 2, ... in order")
    value = {
        "seed": config.seed,
        "data_seed": config.data_seed,
        "run_id": run.run_id,
        "teachers": _teacher_ids(config),
        "rounds": {name: [row.get(name) for row in run.rows] for name in Columns.model_fields},
        **{key: result.get(key) for key in ("best_round", "stopped_by", "plan")},
        **{key: result.get(key) for key in ("versions", "hardware")},
    }
    try:
        return SeedResult.model_validate(value)
    except ValidationError as error:
        raise UsageError("\n".join(explain(error, str(run.path)))) from None


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
            **{key: value[key] for key in ("fingerprint", "noise", "model")},
        }
    )


def method_of(config: RunConfig) -> MethodConfig:
    """Return the method of a run: nothing in it depends on the seed."""
    value = config.model_dump(mode="json")
    return MethodConfig.model_validate(
        {
            **{key: value[key] for key in ("pruner", "perturber", "stop")},
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
    """Return what of a teacher is not the student's; stop ``never`` is no difference."""
    plain = tuple(part for part in student.regularizers if part.teacher is None)
    expected = _parts(student.model_copy(update={"regularizers": plain}))
    if teacher.stop.name == "never":
        expected["stop"] = teacher.stop.model_dump(mode="json")
    return {key: value for key, value in _parts(teacher).items() if value != expected[key]}


def _parts(config: RunConfig) -> dict[str, Any]:
    """Return everything that a configuration fixes, flat, teachers described."""
    value = config.model_dump(mode="json", exclude={"metrics", "protocol", "regularizers"})
    protocol = config.protocol.model_dump(mode="json")
    value["dataset"] = config.dataset.placeless().model_dump(mode="json")
    return {**value, **protocol, "regularizers": method_of(config).model_dump()["regularizers"]}


def _teacher_ids(config: RunConfig) -> list[str]:
    """Return the run ids of all teachers, the nearest first."""
    found = []
    for part in config.regularizers:
        if part.teacher:
            found += [part.teacher.run_id, *_teacher_ids(part.teacher.config)]
    return found
