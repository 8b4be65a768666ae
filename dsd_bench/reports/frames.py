"""Runs as one tidy pandas table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dsd_bench.analysis import selected_round
from dsd_bench.config.naming import method_words
from dsd_bench.store.checkpoint import ROW

if TYPE_CHECKING:
    import pandas as pd

    from dsd_bench.store import StoredRun

IDENTITY = (
    "run_id",
    "curve_id",
    "seed",
    "data_seed",
    "dataset",
    "noise",
    "model",
    "pruner",
    "perturber",
    "regularizers",
    "stop",
    "selection",
    "precision",
)
"""The columns that say which run a line is of; components as the words a user would type."""

MEASURED = tuple(key for key in ROW if not key.endswith("_per_layer"))
"""The scalar columns of ``rounds.jsonl``; accuracies and sparsities in 0..1, entropy in bits."""


def runs_frame(runs: Sequence[StoredRun]) -> pd.DataFrame:
    """Return one line per run and round.

    The columns are ``IDENTITY``, ``MEASURED``, ``best`` (whether this is the selected round; of
    an unfinished run the best so far), then any further scalar that the rows hold. Quantities
    per layer are lists and stay in ``rounds.jsonl``. What was not measured is NaN.

    Args:
        runs: finished or not; those without a round give no line.
    """
    import pandas as pd

    lines = [line for run in runs for line in _lines(run)]
    known = [*IDENTITY, *MEASURED, "best"]
    further = sorted({key for line in lines for key in line} - set(known))
    return pd.DataFrame(lines, columns=[*known, *further])


def _lines(run: StoredRun) -> list[dict[str, Any]]:
    config, best = run.config, selected_round(run)
    protocol = config["protocol"]
    own = {key: config[key] for key in ("run_id", "curve_id", "seed", "data_seed")}
    own |= method_words(config)
    own |= {"selection": protocol["selection"], "precision": protocol["precision"]}
    return [own | _scalars(row) | {"best": row["round"] == best} for row in run.rows]


def _scalars(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not isinstance(value, list | dict)}
