"""What lies in a folder of runs: every run's state, also of those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsd_bench.errors import UsageError
from dsd_bench.store.runs import RUN_ID, StoredRun, finished, load_run

State = Literal["done", "unfinished", "failed", "damaged"]
STATES: tuple[State, ...] = ("done", "unfinished", "failed", "damaged")


@dataclass(frozen=True)
class Listed:
    """A run folder.

    Attributes:
        path: the folder.
        state: ``done``; ``unfinished``, interrupted or at work; ``failed``; ``damaged``, it cannot
            be read.
        run: what was read; None if damaged.
        error: why it failed or cannot be read; None for the other states.
        modified: when a file of it was last written, seconds since 1970; None if unknown.
        bytes: of all its files.
    """

    path: Path
    state: State
    run: StoredRun | None
    error: str | None
    modified: float | None
    bytes: int


def state_of(run: StoredRun) -> State:
    """Return the state of a run that could be read."""
    if run.result is not None and run.rows and finished(run.path):
        return "done"
    return "failed" if run.error else "unfinished"


def look(path: Path) -> Listed:
    """Read a run folder, whatever is in it."""
    modified, size = _weigh(path)
    try:
        run = load_run(path)
    except UsageError as error:
        return Listed(path, "damaged", None, str(error), modified, size)
    state = state_of(run)
    return Listed(path, state, run, run.error if state == "failed" else None, modified, size)


def list_runs(runs_dir: Path) -> list[Listed]:
    """Return every run of a folder, the one that was last written last.

    Raises:
        UsageError: if there is no such folder, or it may not be read.
    """
    try:
        names = sorted(name for name in os.listdir(runs_dir) if RUN_ID.match(name))
    except OSError as error:
        raise UsageError(f"{runs_dir}: cannot be listed: {error.strerror}") from None
    found = [look(runs_dir / name) for name in names]
    return sorted(found, key=lambda one: one.modified or 0.0)


def _weigh(path: Path) -> tuple[float | None, int]:
    """Return when the newest file was written, and the bytes of all; links are not followed."""
    times: list[float] = []
    size = 0
    for entry in _files(path):
        try:
            told = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it was removed meanwhile
        times.append(told.st_mtime)
        size += told.st_size
    return max(times, default=None), size


def _files(path: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = list(os.scandir(path))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            yield entry
