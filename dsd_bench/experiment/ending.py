"""When a run ends, and which of its rounds is the best; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsd_bench.config.run import RunConfig
from dsd_bench.errors import RunError
from dsd_bench.stopping import StopCriterion, below
from dsd_bench.store.checkpoint import Row


@dataclass(frozen=True)
class End:
    """Why and where a run ended.

    Attributes:
        best_round: the chosen round; by ``best`` the best on the selecting part.
        stopped_by: ``rounds``, ``target-sparsity``, ``nothing-left`` or the stop criterion's name.
        reason: the same for people.
        resumed_from_round: the round it was taken up in, None if it began anew.
        plans: the execution plans, each with the round it began in.
    """

    best_round: int
    stopped_by: str
    reason: str
    resumed_from_round: int | None
    plans: tuple[dict[str, Any], ...]


def ended(config: RunConfig, stop: StopCriterion, rows: Sequence[Row]) -> tuple[str, str] | None:
    """Return what ends the run after ``rows`` and why, or None to go on. A pure function.

    Raises:
        RunError: if the stop criterion answers anything but words or nothing.
    """
    if not rows:
        return None
    protocol, last = config.protocol, rows[-1]
    reason: object = stop.stop(rows, config.score)
    if isinstance(reason, str) and reason:
        return config.stop.name, reason
    if reason:
        raise RunError(
            f"stop '{config.stop.name}' answers {reason!r:.80}; expected why to stop, in words, or "
            "None to go on"
        )
    if protocol.rounds is not None and last["round"] >= protocol.rounds:
        return "rounds", f"all {protocol.rounds} rounds are done"
    target = protocol.target_sparsity
    if target is not None and not below(last["sparsity"], target):
        return "target-sparsity", f"the sparsity reached {target:g}"
    return None


def best_round(rows: Sequence[Row], score: str) -> int:
    """Return the round with the highest ``score``, the first of equals."""
    return max(range(len(rows)), key=lambda index: (rows[index][score], -index))
