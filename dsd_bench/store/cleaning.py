"""What may be deleted of a folder of runs: found first, and looked at again under the run's lock.

Only files that this package writes, by their names, in folders named by a run's id; nothing is
followed through a link, and a run that somebody may be at work on is left alone. Each file is one
deletion, so that being killed in between leaves less to delete, nothing half-deleted.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsd_bench.errors import DamagedFile, DsdError, Locked, UsageError
from dsd_bench.store.attempts import ATTEMPTS
from dsd_bench.store.correct import CORRECT
from dsd_bench.store.files import TEMPORARY
from dsd_bench.store.locks import BEAT, LOCK, MISSED, holder, locked
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import FAILURE, finished, named_ids

Kind = Literal["leftover", "checkpoint", "broken"]
"""``leftover``: of a write that was killed; ``checkpoint``: of a finished run; ``broken``: a folder
without a configuration that can be read, and without a row or a checkpoint."""
KINDS: tuple[Kind, ...] = ("leftover", "checkpoint", "broken")
AGE = 600.0
"""Seconds after which a temporary file is taken to be nobody's."""
NEWEST, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
FRESH = f"{NEWEST}.new"
FOLDERS = (".", "weights", "metrics")
"""Where a run writes."""
_SMALL = {"config.json", "log.txt", "timings.jsonl", "provenance.jsonl", "rounds.jsonl", LOCK}
_SMALL |= {ATTEMPTS, CORRECT, FAILURE, FRESH}
"""What a broken folder may hold."""


@dataclass(frozen=True)
class Waste:
    """One file, or one broken folder, that may be deleted.

    Attributes:
        path: of it.
        run: the run's folder.
        kind: why it may go.
        bytes: that this frees.
    """

    path: Path
    run: Path
    kind: Kind
    bytes: int


def find_waste(runs_dir: Path, extend: bool = True) -> list[Waste]:
    """Return what may be deleted; nothing is written, and no lock is taken.

    Args:
        runs_dir: the folder of runs.
        extend: whether finished runs shall be able to go on to more rounds: the newest checkpoint
            stays.

    Raises:
        UsageError: if the folder is not there or cannot be listed.
    """
    if not runs_dir.is_dir():
        raise UsageError(f"{runs_dir}: no such folder")
    found: list[Waste] = []
    for run_id in named_ids(runs_dir):
        path = runs_dir / run_id
        if _is(path, stat.S_ISDIR) and not _busy(path):
            found += _of_run(path, extend)
    return found


def remove(waste: Iterable[Waste], extend: bool = True) -> Iterator[tuple[Waste, str | None]]:
    """Delete what :func:`find_waste` found; yield each with None, or with why it is still there.

    Each run's lock is held meanwhile, and what has changed since is left alone.
    """
    runs: dict[Path, list[Waste]] = {}
    for one in waste:
        runs.setdefault(one.run, []).append(one)
    for path, ones in runs.items():
        try:
            with locked(path / LOCK, _give_up):
                still = {one.path for one in _of_run(path, extend, held=True)}
                for one in ones:
                    told = _removed(one) if one.path in still else "it is needed again"
                    yield one, told
        except Locked:
            yield from ((one, "somebody is at work on this run") for one in ones)
            continue
        except DsdError as error:
            yield from ((one, str(error)) for one in ones)
            continue
        if any(one.kind == "broken" for one in ones):
            with contextlib.suppress(OSError):  # it holds something again
                path.rmdir()


def _of_run(path: Path, extend: bool, held: bool = False) -> list[Waste]:
    if not finished(path) and _broken(path, held):
        files = [file for file in _files(path) if file.name != LOCK]
        return [Waste(path, path, "broken", sum(map(_size, files)))]
    found = [Waste(file, path, "leftover", _size(file)) for file in _leftovers(path)]
    if finished(path):
        if _is(path / LOCK, stat.S_ISREG):  # of who died as it ended; nobody takes it over
            found.append(Waste(path / LOCK, path, "leftover", _size(path / LOCK)))
        old = path / PREVIOUS
        if _is(old, stat.S_ISREG) and (not extend or _whole(path / NEWEST)):
            found.append(Waste(old, path, "checkpoint", _size(old)))
        if not extend and _is(path / NEWEST, stat.S_ISREG):
            found.append(Waste(path / NEWEST, path, "checkpoint", _size(path / NEWEST)))
    return found


def _leftovers(path: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        if not _is(path / folder, stat.S_ISDIR):
            continue
        for file in _files(path / folder):
            temporary = TEMPORARY.match(file.name) or (folder == "." and file.name == FRESH)
            if temporary and time.time() - file.lstat().st_mtime > AGE:
                yield file


def _broken(path: Path, held: bool) -> bool:
    """Whether a folder holds no run: what is in it is known, and none of it worth anything.

    Args:
        path: the folder.
        held: whether this process holds its lock, which makes lock and folder young.
    """
    config = path / "config.json"
    if config.exists() and not os.access(config, os.R_OK):
        return False
    with contextlib.suppress(UsageError):
        read_json(config)
        return False
    try:
        entries = list(os.scandir(path))
    except OSError:
        return False
    for entry in entries:
        known = entry.name in _SMALL or TEMPORARY.match(entry.name)
        young = time.time() - entry.stat(follow_symlinks=False).st_mtime <= AGE
        young = young and not (held and entry.name == LOCK)
        if not known or young or not entry.is_file(follow_symlinks=False):
            return False
    rows = path / "rounds.jsonl"
    old = held or time.time() - path.lstat().st_mtime > AGE
    return old and (not rows.exists() or not _size(rows))


def _removed(one: Waste) -> str | None:
    """Delete it; return why that could not be."""
    files = [one.path] if one.path.name != LOCK else []  # it goes when we let go of it
    if one.kind == "broken":
        files = [file for file in _files(one.path) if file.name != LOCK]
    try:
        for file in files:
            file.unlink(missing_ok=True)
    except OSError as error:
        return f"cannot be deleted: {error.strerror}"
    return None


def _whole(path: Path) -> bool:
    """Whether a checkpoint can be read; it imports torch."""
    if not _is(path, stat.S_ISREG):
        return False
    from dsd_bench.store.tensors import read_tensors

    try:
        read_tensors(path)
    except DamagedFile:
        return False
    return True


def _give_up(text: str) -> None:
    raise Locked(text)


def _busy(path: Path) -> bool:
    """Whether somebody may be at work on a run; a lock that cannot be read counts."""
    if not os.path.lexists(path / LOCK):
        return False
    held = holder(path / LOCK)
    if held is None:
        return True
    return held.alive if held.alive is not None else time.time() - held.beat < BEAT * MISSED


def _files(folder: Path) -> list[Path]:
    """Return the regular files of a folder, no links."""
    try:
        with os.scandir(folder) as entries:
            return [Path(one.path) for one in entries if one.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether there is such a thing itself, not a link to one."""
    try:
        return kind(path.lstat().st_mode)
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
