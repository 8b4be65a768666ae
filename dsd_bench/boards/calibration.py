"""The calibration errors that a run's metric ``ece`` recorded, for its row."""

from __future__ import annotations

from typing import Any

from dsd_bench.store.reading import read_rows
from dsd_bench.store.runs import StoredRun

METRIC = "ece"
"""What such a metric is called; its file is ``metrics/ece.jsonl``, or ``metrics/ece+....jsonl``."""

COLUMNS = ("test_ece", "test")
"""The names that its value of the test part, in 0..1, may have."""


def calibration(run: StoredRun) -> dict[str, Any]:
    """Return ``{"ece": ...}`` as rows hold it; {} where not every round has a value.

    Of several such files the one with default parameters counts, and none if there is no such.

    Raises:
        dsd_bench.errors.UsageError: if the file is damaged.
    """
    folder = run.path / "metrics"
    files = sorted([*folder.glob(f"{METRIC}.jsonl"), *folder.glob(f"{METRIC}+*.jsonl")])
    usual = [path for path in files if path.stem == METRIC] or files
    if len(usual) != 1:
        return {}
    lines = read_rows(usual[0])
    values = [_value(line) for line in lines]
    if [line.get("round") for line in lines] != list(range(len(run.rows))) or None in values:
        return {}
    return {"ece": {"metric": usual[0].name.removesuffix(".jsonl"), "test": values}}


def _value(line: dict[str, Any]) -> float | None:
    found = next((line[name] for name in COLUMNS if name in line), None)
    return None if found is None or isinstance(found, bool) else found
