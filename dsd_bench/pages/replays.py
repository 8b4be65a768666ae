"""Rules replayed over the whole curves of a page, for a few values of each rule's parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DsdError
from dsd_bench.pages.subject import Shown
from dsd_bench.replay import Curve, MethodReplay, outcomes, varied
from dsd_bench.replay.curves import WHOLE
from dsd_bench.store.runs import StoredRun


@dataclass(frozen=True)
class Family:
    """A rule with one parameter and the values of it that are tried.

    Attributes:
        word: the rule, as ``replay --stop`` takes it.
        key: its parameter.
        values: of the parameter, the first the least strict.
        told: what the parameter means.
    """

    word: str
    key: str
    values: tuple[float | int, ...]
    told: str


FAMILIES = (
    Family(
        "patience", "tolerance", (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2),
        "stop once validation accuracy is below its best so far by more than this (0..1)",
    ),
    Family(
        "patience", "patience", (1, 2, 3, 4, 5, 8),
        "stop after so many rounds in a row below the best so far",
    ),
    Family(
        "entropy-gate", "drop", (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        "early stop only once entropy has fallen by this share of the dense network's",
    ),
    Family(
        "entropy-gate", "tolerance", (0.0, 0.01, 0.02, 0.05, 0.1, 0.2),
        "once the gate is open, stop if accuracy falls below its best since by more than this",
    ),
)  # fmt: skip
"""Rules that end a run; one that chooses a round is a family likewise, once replay knows it."""


@dataclass(frozen=True)
class Replayed:
    """A family over the methods whose curves are whole.

    Attributes:
        family: the rule.
        labels: of the methods.
        found: ``found[value][method]``.
        problem: why it cannot be replayed; empty if it can.
    """

    family: Family
    labels: tuple[str, ...]
    found: tuple[tuple[MethodReplay, ...], ...] = ()
    problem: str = ""


def whole(shown: Shown) -> bool:
    """Whether all runs of a method were pruned to the end of their schedules."""
    return all((run.result or {}).get("stopped_by") in WHOLE for run in shown.method.runs)


def replayed(methods: Sequence[Shown]) -> list[Replayed]:
    """Replay every family over the methods whose curves are whole; [] without any."""
    able = [one for one in methods if whole(one)]
    if not able:
        return []
    curves = [[_curve(run) for run in one.method.runs] for one in able]
    labels = tuple(one.method.label for one in able)
    return [_replayed(family, labels, curves) for family in FAMILIES]


def _replayed(
    family: Family, labels: tuple[str, ...], curves: Sequence[Sequence[Curve]]
) -> Replayed:
    try:
        rules = varied(family.word, {family.key: family.values})
        found = [outcomes(one, rules) for one in curves]
    except DsdError as error:
        return Replayed(family, labels, problem=str(error))
    return Replayed(family, labels, tuple(zip(*found)))


def _curve(run: StoredRun) -> Curve:
    """Return a run's curve; each training counts one, so that no network has to be counted."""
    end = run.result or {}
    return Curve(
        config=RunConfig.from_json(run.config, str(run.path / "config.json")),
        rows=run.rows,
        end=(str(end.get("stopped_by")), str(end.get("reason"))),
        dense=[1] * len(run.rows),
    )
