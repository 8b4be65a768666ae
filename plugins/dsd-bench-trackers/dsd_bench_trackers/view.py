"""A run as trackers are shown it: flat names and numbers, read from its folder.

The folder is all that is read, whichever way a tracker came to hear of the run, so one that began
late, hung, or is asked for after the run has ended is shown the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST = 2**26
"""Bytes of a file that are read."""

TIMINGS = "timings/"
"""What the names of a round's timings begin with."""

Values = dict[str, float]


@dataclass(frozen=True)
class View:
    """A run's folder as it is now.

    Attributes:
        path: the folder.
        run_id: its id, the name that trackers show.
        config: ``config.json``, flat: ``protocol.lr``, ``regularizers.0.name``.
        method: pruner, perturber, regularizers and so on with their parameters, for people.
        rows: the numbers of each finished round: columns of ``rounds.jsonl``, further metrics as
            ``metrics/NAME/...``, ``timings/seconds`` and the like.
        result: ``result.json``; None while the run is not done.
        error: what its last attempt failed with; None if it did not.
    """

    path: Path
    run_id: str
    config: dict[str, Any]
    method: str
    rows: dict[int, Values]
    result: dict[str, Any] | None
    error: str | None

    @property
    def home(self) -> Path:
        """Where trackers' files go if nothing else is said: ``trackers``, beside the runs."""
        return self.path.parent / "trackers"

    def group(self, first: str | None) -> str:
        """Return what runs that differ by their seeds alone have in common."""
        return f"{first or self.path.parent.name}/{self.method}"[:120]

    def whole(self) -> dict[int, Values]:
        """Return the rounds without one at the end that the run may be writing right now.

        Each file of a run is replaced in one step, a round's timings last.
        """
        last = max(self.rows, default=None)
        timed = last is None or any(name.startswith(TIMINGS) for name in self.rows[last])
        return {round: row for round, row in self.rows.items() if timed or round != last}

    def summary(self) -> dict[str, Any]:
        """Return what came out: how the run ended and the numbers of its best round."""
        if self.result is None:
            return {}
        ended = {key: self.result.get(key) for key in ("best_round", "stopped_by", "reason")}
        best = self.rows.get(self.result.get("best_round", -1), {})
        whole = {key: value for key, value in best.items() if "/" not in key}
        return {**ended, **{f"best/{key}": value for key, value in whole.items()}}


def read(path: Path) -> View:
    """Read a run's folder.

    Raises:
        OSError, ValueError: if it is none, or a file of it is not what it should be.
    """
    config = _json(path / "config.json")
    if not isinstance(config, dict) or not isinstance(config.get("run_id"), str):
        raise ValueError(f"{path}: its config.json has no run_id; is this a run's folder?")
    rows = {row["round"]: dict(_numbers(row)) for row in _lines(path / "rounds.jsonl")}
    for part, prefix in _parts(path):
        for row in _lines(part):
            if row.get("round") in rows:
                rows[row["round"]] |= dict(_numbers(row, prefix))
    result = _json(path / "result.json") if (path / "result.json").exists() else None
    failed = _json(path / "failure.json") if (path / "failure.json").exists() else {}
    return View(
        path,
        config["run_id"],
        dict(_flat(config)),
        _method(config),
        dict(sorted(rows.items())),
        result,
        failed.get("error"),
    )


def _parts(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files with more of each round, and what their names begin with."""
    yield path / "timings.jsonl", TIMINGS
    for file in sorted(path.glob("metrics/*.jsonl")):
        yield file, f"metrics/{file.stem}/"


def _json(path: Path) -> Any:
    return json.loads(_text(path))


def _text(path: Path) -> str:
    with open(path, encoding="utf-8") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError(f"{path}: larger than {LARGEST} bytes")
    return text


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in _text(path).splitlines() if path.exists() else ():
        yield json.loads(line)


def _numbers(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a row; those of a layer are ``sparsity_per_layer/NAME``."""
    for key, value in _flat({key: each for key, each in row.items() if key != "round"}, "/"):
        if isinstance(value, int | float):
            yield f"{prefix}{key}", float(value)


def _flat(value: Any, sign: str = ".", name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested objects and lists with their flat names."""
    if isinstance(value, list):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        yield name, value
        return
    for key, item in value.items():
        yield from _flat(item, sign, f"{name}{sign}{key}" if name else key)


def _method(config: Mapping[str, Any]) -> str:
    """Return a method's components as words, without teachers, which differ by seed."""
    alone = [config.get(kind) for kind in ("pruner", "perturber", "updater", "stop")]
    parts = [*filter(None, alone), *config.get("regularizers", [])]
    return "+".join(_word(part) for part in parts if part["name"] not in ("none", "never"))


def _word(part: Mapping[str, Any]) -> str:
    simple = [
        f"{key}={value}"
        for key, value in part["params"].items()
        if isinstance(value, str | int | float) and key != "teacher"
    ]
    return f"{part['name']}({','.join(simple)})" if simple else str(part["name"])
