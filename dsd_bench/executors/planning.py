"""From configurations to jobs: teachers first, each run once, each with its folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dsd_bench.config.naming import label
from dsd_bench.config.run import RunConfig
from dsd_bench.errors import RunError, UsageError, collect
from dsd_bench.executors import Job
from dsd_bench.experiment.mending import mend
from dsd_bench.plugins import catalogue
from dsd_bench.store.files import json_bytes, write_atomic
from dsd_bench.store.locks import LOCK, locked
from dsd_bench.store.runs import finished, named_ids


@dataclass(frozen=True)
class Planned:
    """One run that is wanted, for itself or as a teacher.

    Attributes:
        config: the run.
        job: what an executor gets.
        teacher: whether it is only wanted as a teacher.
        reused: whether it was finished before.
    """

    config: RunConfig
    job: Job
    teacher: bool
    reused: bool


def plan(
    configs: Sequence[RunConfig],
    runs_dir: Path,
    force: bool = False,
    labels: Mapping[str, str] | None = None,
) -> list[Planned]:
    """Order runs and their teachers so that each comes after what it needs; each once.

    Args:
        configs: the runs that are wanted.
        runs_dir: where their folders lie.
        force: whether the runs themselves, not their teachers, shall begin anew.
        labels: what to call runs, by id; others are called after their method.
    """
    named, methods = labels or {}, dict[tuple[Any, ...], str]()
    wanted = {config.run_id for config in configs}
    there = set(named_ids(runs_dir))
    planned: dict[str, Planned] = {}

    def method(config: RunConfig) -> str:
        key = config.seedless()
        if key not in methods:
            methods[key] = label(config.to_json(), catalogue().find)
        return methods[key]

    def add(config: RunConfig) -> None:
        run_id = config.run_id
        if run_id in planned:
            return
        for teacher in teachers(config):
            add(teacher)
        path = runs_dir / run_id
        needs = tuple(dict.fromkeys(teacher.run_id for teacher in teachers(config)))
        fresh = force and run_id in wanted
        name = named.get(run_id) or method(config)
        curve = "" if fresh else config.curve_id
        job = Job(run_id, path, needs, name, fresh, curve)
        done = not fresh and run_id in there and finished(path)
        planned[run_id] = Planned(config, job, run_id not in wanted, done)

    for config in configs:
        add(config)
    return list(planned.values())


def teachers(config: RunConfig) -> Iterable[RunConfig]:
    """Yield the configurations of the runs that ``config`` distils from."""
    return (r.teacher.config for r in config.regularizers if r.teacher is not None)


def one_of_several_seeds(configs: Iterable[RunConfig]) -> list[RunConfig]:
    """Return the first of those configurations that differ in their seeds, or teachers', only."""
    found: dict[tuple[Any, ...], RunConfig] = {}
    for config in configs:
        found.setdefault(config.seedless(), config)
    return list(found.values())


def prepare_folders(planned: Iterable[Planned], runs_dir: Path) -> None:
    """Create the folders of runs that are not finished, and their ``config.json``.

    Raises:
        UsageError: if the folder for runs cannot be created or written.
    """
    new = [item for item in planned if not item.reused]
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        for item in new:
            item.job.path.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--runs-dir: cannot make the folder {error.filename} ({error.strerror}); "
            "choose one that you may write"
        ) from None
    for path in (runs_dir, *(item.job.path for item in new)) if new else ():
        if not os.access(path, os.W_OK):
            raise UsageError(f"--runs-dir: {path} may not be written; choose another folder")
    for item in new:
        _write_config(item.job.path / "config.json", item.config)


def _write_config(path: Path, config: RunConfig) -> None:
    """Write a run's configuration, unless somebody carries the run on by now and has the same.

    Who begins with a run removes all that was to become a file of it.
    """
    data = json_bytes(config.to_json())
    try:
        write_atomic(path, data)
    except RunError as error:
        removed = isinstance(error.__cause__, FileNotFoundError)
        if not (removed and path.exists() and path.read_bytes() == data):
            raise


def check_finished(planned: Iterable[Planned], tell: Callable[[str, str], None]) -> None:
    """Repair the finished runs that are reused where their files have changed.

    Args:
        planned: the runs.
        tell: is called with a run's id and a sentence about what was repaired.

    Raises:
        UsageError: for every run that cannot be repaired.
    """
    problems = []
    for item in planned:
        if not item.reused:
            continue
        try:
            mend(item.job.path, item.config, partial(tell, item.job.run_id))
        except UsageError as error:
            problems.append(str(error))
    collect(problems)


def clear(path: Path, tell: Callable[[str], None] = lambda text: None) -> None:
    """Remove everything of a run but its configuration.

    Args:
        path: the run's folder.
        tell: is called, once, with a sentence if it takes long to learn whether a holder lives.

    Raises:
        Locked: if another process is working on it.
    """
    told: list[str] = []

    def waiting(text: str) -> None:
        if not told:
            told.append(text)
            tell(text)

    with locked(path / LOCK, waiting, patient=False):
        for entry in path.iterdir():
            if entry.name in ("config.json", LOCK):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
