"""What further metrics (``--metric``) said of a run's rounds: ``metrics/NAME.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsd_bench.store.reading import read_rows
from dsd_bench.store.runs import StoredRun

Values = Mapping[str, Any]


def further_metrics(run: StoredRun) -> dict[str, dict[int, Values]]:
    """Return the values of each further metric: file's name -> round -> values by name.

    Lines of rounds that the run does not have are left out.

    Raises:
        UsageError: if a file is damaged.
    """
    found: dict[str, dict[int, Values]] = {}
    for path in sorted((run.path / "metrics").glob("*.jsonl")):
        lines = found[path.stem] = {}
        for line in read_rows(path):
            index = line.get("round")
            if isinstance(index, int) and 0 <= index < len(run.rows):
                lines[index] = {key: value for key, value in line.items() if key != "round"}
    return found


def measured_rows(run: StoredRun) -> list[dict[str, Any]]:
    """Return a run's rows with what further metrics said, as ``METRIC.NAME``: ``ece.test_ece``.

    Raises:
        UsageError: if a file is damaged.
    """
    rows = [dict(row) for row in run.rows]
    for metric, lines in further_metrics(run).items():
        for index, values in lines.items():
            rows[index] |= {f"{metric}.{name}": value for name, value in values.items()}
    return rows
