"""Finished curves from run folders, checked for what a replay needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsd_bench.config.naming import command
from dsd_bench.config.run import RunConfig
from dsd_bench.costs.ledger import read_ledger
from dsd_bench.errors import UsageError
from dsd_bench.replay import Curve
from dsd_bench.store.correct import read_bits
from dsd_bench.store.further import further_metrics
from dsd_bench.store.runs import StoredRun, finished

WHOLE = ("rounds", "target-sparsity", "nothing-left")
"""What ends a curve that no stop criterion cut short."""


def read_curve(run: StoredRun, data_dir: Path = Path("data")) -> Curve:
    """Return the curve of a finished run with what its trainings cost.

    Args:
        run: the run folder.
        data_dir: where data sets lie; read only for those that do not tell their sizes.

    Raises:
        UsageError: if the run is unfinished or was itself stopped early.
    """
    again = _again(run)
    config, rows = read_rounds(run)
    assert run.result is not None
    if run.result["stopped_by"] not in WHOLE:
        raise UsageError(
            f"run {run.run_id} was itself stopped by '{run.result['stopped_by']}' after round "
            f"{run.rows[-1]['round']}, so the rest of its curve is unknown; train only that "
            f"rest with: {again} --stop never"
        )
    ledger = read_ledger(run, data_dir)
    effective = [training.effective for training in ledger.trainings]
    known = [macs for macs in effective if macs is not None]
    return Curve(
        config=config,
        rows=rows,
        end=(str(run.result["stopped_by"]), str(run.result.get("reason"))),
        dense=[training.dense for training in ledger.trainings],
        effective=known if len(known) == len(effective) else None,
    )


def read_rounds(run: StoredRun) -> tuple[RunConfig, list[dict[str, Any]]]:
    """Return the configuration of a finished run and its rows as the protocol has them.

    Raises:
        UsageError: if the run is unfinished.
    """
    if run.result is None or not finished(run.path):
        raise UsageError(
            f"run {run.run_id} is unfinished ({len(run.rows)} rounds so far) and a replay needs "
            f"the whole curve; finish it with: {_again(run)}"
        )
    config = RunConfig.from_json(run.config, str(run.path / "config.json"))
    return config, rows_with_metrics(run)


def _again(run: StoredRun) -> str:
    """Return the command that goes on with a run."""
    return command("run", "--config", run.path / "config.json", runs_dir=run.path.parent)


def rows_with_metrics(run: StoredRun) -> list[dict[str, Any]]:
    """Return a run's rows as the protocol has them, with ``metrics`` and ``correct``."""
    bits = read_bits(run.path)
    rows = [
        {**row, **({"correct": bits[row["round"]]} if row["round"] in bits else {})}
        for row in run.rows
    ]
    for name, lines in further_metrics(run).items():
        for index, values in lines.items():
            rows[index].setdefault("metrics", {})[name] = values
    return rows
