"""What happened to each seed of a method on its way: which round it keeps, where rules acted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from dsd_bench.analysis.curves import mean_curve
from dsd_bench.analysis.summary import NOTHING_LEFT, selected_round
from dsd_bench.stopping.rules import fit_lost, gate_opened
from dsd_bench.store.checkpoint import Row

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun

Kind = Literal["selected", "gate", "stopped"]

GATES = {
    "entropy-gate": ("entropy", gate_opened),
    "interpolation-gate": ("train_accuracy", fit_lost),
}
"""Stop rules with a gate: the column that it reads, and where it opens."""

PLAIN_ENDS = (None, "rounds", "target-sparsity", NOTHING_LEFT)
"""What ends a curve without a stop rule."""


@dataclass(frozen=True)
class Event:
    """Something that happened to one seed.

    Attributes:
        kind: ``selected``: the round whose model is kept; ``gate``: the round that opened the
            gate of its ``entropy-gate`` or ``interpolation-gate``; ``stopped``: the last round,
            which a stop rule ended.
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
    """Return the round that opened the run's own gate, None without one."""
    stop: dict[str, Any] = run.config["stop"]
    if stop["name"] not in GATES:
        return None
    column, opens = GATES[stop["name"]]
    values = [row.get(column) for row in run.rows]
    if not values or None in values:
        return None
    drop = stop["params"].get("drop")
    if not isinstance(drop, int | float):
        return None
    opened = opens([float(one) for one in values if one is not None], drop)
    return None if opened is None else int(run.rows[opened]["round"])


def marked(
    seeds: Sequence[Sequence[Row]],
    found: Sequence[Event],
    kind: Kind,
    column: str,
    key: str = "sparsity",
) -> list[tuple[float, float]]:
    """Return where events are marked: of selected models their mean, of others each.

    Rules act on seeds; their rounds are marked on the mean curve.

    Args:
        seeds: of each seed its rows.
        found: of these seeds.
        kind: which events.
        column: what is drawn.
        key: what it is drawn over: ``sparsity`` or ``round``.
    """
    chosen = [event for event in found if event.kind == kind]
    if kind == "selected":
        rows = [row for event in chosen if (row := _row(seeds, event)).get(column) is not None]
        if not rows:
            return []
        return [(fmean(row[key] for row in rows), fmean(row[column] for row in rows))]
    points = {point.round: point for point in mean_curve(seeds, column)}
    wanted = sorted({event.round for event in chosen} & points.keys())
    return [
        (points[at].sparsity if key == "sparsity" else float(at), points[at].mean) for at in wanted
    ]


def rings(places: Sequence[object]) -> list[int]:
    """Return how many later ones lie at each one's place: marks that many sizes larger all show."""
    later: dict[object, int] = {}
    found = []
    for place in reversed(places):
        found.append(later.get(place, 0))
        later[place] = found[-1] + 1
    return found[::-1]


def _row(seeds: Sequence[Sequence[Row]], event: Event) -> Row:
    return next((row for row in seeds[event.seed] if row["round"] == event.round), {})
