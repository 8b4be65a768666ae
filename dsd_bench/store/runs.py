"""Reading run folders: needs no torch, trusts nothing it reads."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsd_bench.errors import UsageError

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


def load_run(path: Path) -> StoredRun:
    """Read one run folder.

    Raises:
        UsageError: if it is no run folder, or a file in it is not what it should be.
    """
    config = read_json(path / "config.json")
    run_id = config.get("run_id")
    if not isinstance(run_id, str) or not RUN_ID.match(run_id):
        raise UsageError(f"{path / 'config.json'}: no valid run_id; is this a run folder?")
    result = read_json(path / "result.json") if (path / "result.json").exists() else None
    rows = tuple(read_rows(path / "rounds.jsonl"))
    return StoredRun(run_id, path, config, rows, result, _failure(path))


def _failure(path: Path) -> str | None:
    """Return the message that is recorded of a run's last failure."""
    try:
        return str(read_json(path / "failure.json").get("error"))
    except UsageError:
        return None


def finished(path: Path) -> bool:
    """Whether a run folder holds a whole ``result.json`` of its own."""
    try:
        result = read_json(path / "result.json")
    except UsageError:
        return False
    whole = {"best_round", "stopped_by", "samples"} <= result.keys()
    return whole and result.get("run_id") == path.name and result.get("status") == "done"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from ``path``; a missing or damaged file is a :class:`UsageError`."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: cannot be read as JSON: {error}; if it is a run's, run the same command again"
        ) from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: holds no JSON object")
    return value


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line; a missing file has no rows."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path}:{number}: not a JSON object")
        rows.append(row)
    return rows


def find_run(word: str, runs_dir: Path) -> Path:
    """Return the folder of the run that ``word`` names: an id, a unique prefix of one, or a path.

    Raises:
        UsageError: if nothing or more than one run matches.
    """
    path = Path(word)
    if (path / "config.json").is_file():
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
    """Return the ids of all runs in ``runs_dir``, sorted."""
    if not runs_dir.is_dir():
        return []
    return sorted(
        entry.name
        for entry in runs_dir.iterdir()
        if RUN_ID.match(entry.name) and (entry / "config.json").is_file()
    )
