"""What happened to each seed of a method on its way: which round it keeps, where rules acted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dsd_bench.analysis.summary import NOTHING_LEFT, selected_round
from dsd_bench.stopping.rules import gate_opened

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun

Kind = Literal["selected", "gate", "stopped"]

PLAIN_ENDS = (None, "rounds", "target-sparsity", NOTHING_LEFT)
"""What ends a curve without a stop rule."""


@dataclass(frozen=True)
class Event:
    """Something that happened to one seed.

    Attributes:
        kind: ``selected``: the round whose model is kept; ``gate``: the round that opened the
            gate of its ``entropy-gate``; ``stopped``: the last round, which a stop rule ended.
        seed: its place among the runs.
        round: of that seed.
    """

    kind: Kind
    seed: int
    round: int


def events(runs: Sequence[StoredRun]) -> list[Event]:
    """Return what happened to each of some runs, in their order."""
    return [event for place, run in enumerate(runs) for event in _events(place, run)]


def _events(place: int, run: StoredRun) -> list[Event]:
    chosen, gate = selected_round(run), _gate(run)
    rounds: list[tuple[Kind, int | None]] = [("selected", chosen), ("gate", gate)]
    if run.rows and run.result and run.result.get("stopped_by") not in PLAIN_ENDS:
        rounds.append(("stopped", run.rows[-1]["round"]))
    return [Event(kind, place, at) for kind, at in rounds if at is not None]


def _gate(run: StoredRun) -> int | None:
    """Return the round that opened the run's own entropy gate, None without one."""
    stop: dict[str, Any] = run.config["stop"]
    entropies = [row.get("entropy") for row in run.rows]
    if stop["name"] != "entropy-gate" or not entropies or None in entropies:
        return None
    drop = stop["params"].get("drop")
    if not isinstance(drop, int | float):
        return None
    opened = gate_opened([float(one) for one in entropies if one is not None], drop)
    return None if opened is None else int(run.rows[opened]["round"])
