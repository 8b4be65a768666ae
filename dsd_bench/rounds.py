"""What rules that read the rounds of a run have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dsd_bench.errors import RunError

Rounds = Sequence[Mapping[str, Any]]

MARGIN = 1e-9
"""How far two numbers must be apart to differ: far more than rounding makes of decimals, far less
than one image or one weight."""

_HINTS = {
    "entropy": ": entropy is that of rectifiers (ReLU) and this model has none; try 'patience'",
    "val_accuracy": ": is there a validation part to judge by?",
}


def below(value: float, limit: float) -> bool:
    """Whether ``value`` is less than ``limit`` by more than rounding explains.

    Accuracies and sparsities are counts divided by counts, and 0.545 - 0.05 is 0.495 on paper but
    not in binary. So whoever compares a difference with a limit asks this; ties are not below.
    """
    return value < limit - MARGIN


def column(rounds: Rounds, name: str, who: str) -> list[float]:
    """Return a column of ``rounds``.

    Args:
        rounds: rows of ``rounds.jsonl``.
        name: of the column.
        who: what needs it, such as ``the stop rule 'patience'``.

    Raises:
        RunError: naming the first round that lacks it.
    """
    values = [row.get(name) for row in rounds]
    if None not in values:
        return list(map(float, values))  # type: ignore[arg-type]
    missing = values.index(None)
    number = rounds[missing].get("round", missing)
    raise RunError(f"{who} needs '{name}', which round {number} lacks{_HINTS.get(name, '')}")
