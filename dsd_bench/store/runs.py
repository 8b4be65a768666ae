"""Reading run folders: needs no torch, trusts nothing it reads."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsd_bench.errors import UsageError
from dsd_bench.store.files import write_json
from dsd_bench.store.hashes import check_texts
from dsd_bench.store.reading import read_bytes, read_json, read_rows
from dsd_bench.store.shapes import check_config, check_result, check_rows

FAILURE = "failure.json"
RUN_ID = re.compile(r"[0-9a-f]{16}\Z")


@dataclass(frozen=True)
class StoredRun:
    """A run folder as it was when it was read.

    Attributes:
        run_id: its id.
        path: its folder.
        config: ``config.json``.
        rows: the lines of ``rounds.jsonl``, round 0 first.
        result: ``result.json``; None while the run is unfinished.
        error: what its last attempt failed with (``failure.json``); None if it did not.
    """

    run_id: str
    path: Path
    config: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    result: dict[str, Any] | None
    error: str | None = None

    @property
    def score(self) -> str:
        """The column that selection and stopping use: ``val_accuracy`` or ``test_accuracy``."""
        return f"{self.config['protocol']['selection']}_accuracy"

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])


def load_run(path: Path, verify: bool = True) -> StoredRun:
    """Read one run folder.

    Args:
        path: the folder.
        verify: whether to compare the texts of a finished run with their hashes.

    Raises:
        UsageError: if it is no run folder, or a file in it is not what it should be.
    """
    result = read_json(path / "result.json") if (path / "result.json").exists() else None
    if verify:
        check_texts(path, result)
    config = read_json(path / "config.json")
    run_id = config.get("run_id")
    if not isinstance(run_id, str) or not RUN_ID.match(run_id):
        raise UsageError(f"{path / 'config.json'}: no valid run_id; is this a run folder?")
    check_config(config, path / "config.json")
    rows = tuple(read_rows(path / "rounds.jsonl"))
    check_rows(rows, path / "rounds.jsonl")
    if result is not None:
        check_result(result, path / "result.json", rows)
    return StoredRun(run_id, path, config, rows, result, failure(path))


def failure(path: Path) -> str | None:
    """Return the message that is recorded of a run's last failure, None if it did not fail."""
    try:
        return str(read_json(path / FAILURE).get("error"))
    except UsageError:
        return None


def record_failure(path: Path, error: str) -> None:
    """Record why a run failed; its next attempt removes that.

    Raises:
        RunError: if it cannot be written.
    """
    write_json(path / FAILURE, {"run_id": path.name, "error": error})


def finished(path: Path) -> bool:
    """Whether a run folder holds a whole ``result.json`` of its own."""
    try:
        result = read_json(path / "result.json")
    except UsageError:
        return False
    whole = {"best_round", "stopped_by", "samples"} <= result.keys()
    return whole and result.get("run_id") == path.name and result.get("status") == "done"


def said_finished(path: Path) -> bool:
    """Whether a run's folder says that it is done: as :func:`finished`, at a twentieth of the cost.

    The file is written in one piece, so its first and last lines speak for the rest; what was
    damaged later is not seen.
    """
    try:
        text = read_bytes(path / "result.json")
    except (FileNotFoundError, UsageError):
        return False
    begins = f'{{\n "run_id": "{path.name}",\n "status": "done",\n'
    return (text.startswith(begins.encode()) and text.endswith(b"}\n")) or finished(path)


def finished_plans(path: Path) -> list[dict[str, Any]]:
    """Return the execution plans in a run's ``result.json``; none if it has none."""
    try:
        plans = read_json(path / "result.json").get("plan")
    except UsageError:
        return []
    return [plan for plan in plans if isinstance(plan, dict)] if isinstance(plans, list) else []


def find_run(word: str, runs_dir: Path) -> Path:
    """Return the folder of the run that ``word`` names: an id, a unique prefix of one, or a path.

    Raises:
        UsageError: if nothing or more than one run matches.
    """
    path = Path(word)
    if os.path.lexists(path / "config.json"):  # whatever it is: who reads it says what is wrong
        return path
    ids = stored_ids(runs_dir)
    matches = [
        run_id for run_id in ids if re.fullmatch("[0-9a-f]+", word) and run_id.startswith(word)
    ]
    if len(matches) == 1:
        return runs_dir / matches[0]
    if matches:
        raise UsageError(f"'{word}' fits {len(matches)} runs in {runs_dir}: {', '.join(matches)}")
    raise UsageError(
        f"no run '{word}' in {runs_dir} ({len(ids)} runs there); give an id, a prefix or a path"
    )


def stored_ids(runs_dir: Path) -> list[str]:
    """Return the ids of all runs in ``runs_dir``, sorted.

    Raises:
        UsageError: if it may not be read.
    """
    ids = named_ids(runs_dir)
    return [name for name in ids if os.path.lexists(f"{runs_dir}/{name}/config.json")]


def named_ids(runs_dir: Path) -> list[str]:
    """Return the names in ``runs_dir`` that are ids of runs, sorted; none if it is not there.

    Raises:
        UsageError: if it may not be read.
    """
    try:
        names = os.listdir(runs_dir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UsageError(f"{runs_dir}: cannot be listed: {error.strerror}") from None
    return sorted(filter(RUN_ID.match, names))
