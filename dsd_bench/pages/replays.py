"""Rules replayed over the curves of a page, for a few values of each rule's parameter.

Stop rules are replayed over the methods whose curves are whole, choosers over all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DsdError
from dsd_bench.pages.subject import Shown, has_folder
from dsd_bench.plugins import catalogue
from dsd_bench.replay import Curve, outcomes, varied
from dsd_bench.replay.choices import summaries, way
from dsd_bench.replay.curves import WHOLE, rows_with_metrics
from dsd_bench.replay.rules import Rule
from dsd_bench.reports.words import percent
from dsd_bench.store.checkpoint import Row
from dsd_bench.store.runs import StoredRun

Cells = tuple[str, ...]
"""What a rule does to a method, in words of one column each."""

Given = TypeVar("Given")


@dataclass(frozen=True)
class Family:
    """A stop rule with one parameter and the values of it that are tried.

    Attributes:
        word: the rule, as ``replay --stop`` takes it.
        key: its parameter.
        values: of the parameter.
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
    Family(
        "interpolation-gate", "drop", (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
        "early stop only once train accuracy is so far (0..1) below its highest",
    ),
)  # fmt: skip
"""Stop rules that are replayed."""

CHOOSERS = (
    "best", "one-se", "max-drop:0.005", "max-drop:0.01", "max-drop:0.02", "max-drop:0.03",
    "max-drop:0.05", "max-drop:0.1",
)  # fmt: skip
"""Choosers that are tried, the first as runs do it."""

STOPPED = ("stops at round", "saved, %", "selected, %", "given up, points")
CHOSE = ("keeps round", "at sparsity, %", "fewer weights, %", "selected, %", "given up, points")


@dataclass(frozen=True)
class Replayed:
    """A rule over the methods that it can be asked of.

    Attributes:
        title: the rule and its parameter.
        told: what the parameter means.
        key: what ``values`` are of.
        values: what was tried, in words.
        usual: the place of what is usual among them.
        columns: headings of the numbers.
        labels: of the methods.
        found: ``found[value][method]``: the numbers, in words; None where it could not be asked.
        problem: what could not be asked, and why; empty if all could.
    """

    title: str
    told: str
    key: str
    values: tuple[str, ...] = ()
    usual: int = 0
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    found: tuple[tuple[Cells | None, ...], ...] = ()
    problem: str = ""


def replayed(methods: Sequence[Shown]) -> list[Replayed]:
    """Replay every stop rule and chooser; nothing is trained."""
    able = [one for one in methods if whole(one)]
    stops = [_stop(family, able) for family in FAMILIES] if able else []
    return [*stops, _choosers(methods)]


def whole(shown: Shown) -> bool:
    """Whether all runs of a method were pruned to the end of their schedules."""
    return all((run.result or {}).get("stopped_by") in WHOLE for run in shown.method.runs)


def _stop(family: Family, methods: Sequence[Shown]) -> Replayed:
    """Ask a stop rule; a method whose chooser lacks what it reads is left out."""
    title = f"{family.word}: {family.key}"
    try:
        rules = varied(family.word, {family.key: family.values})
    except DsdError as error:
        return Replayed(title, family.told, family.key, problem=str(error))
    curves = [[_curve(run) for run in one.method.runs] for one in methods]
    problems: dict[str, None] = {}
    found = [
        _asked(methods, curves, partial(_stopped, rule), "their chooser", problems)
        for rule in rules
    ]
    return Replayed(
        title=title,
        told=family.told,
        key=family.key,
        values=tuple(f"{value:g}" for value in family.values),
        usual=_usual(family),
        columns=STOPPED,
        labels=tuple(one.method.label for one in methods),
        found=tuple(found),
        problem="; ".join(problems),
    )


def _usual(family: Family) -> int:
    """Return the place of the parameter's default among the values, else the first."""
    component = catalogue().find("stop", family.word)
    default = component.params.model_fields[family.key].default if component else None
    return family.values.index(default) if default in family.values else 0


def _choosers(methods: Sequence[Shown]) -> Replayed:
    """Ask the choosers, each of the methods that have what it reads."""
    rows = [[_rows(run) for run in one.method.runs] for one in methods]
    problems: dict[str, None] = {}
    asked = {
        word: _asked(methods, rows, partial(_chose, way(word)), word, problems) for word in CHOOSERS
    }
    found = {word: answers for word, answers in asked.items() if any(answers)}
    return Replayed(
        title="which round is kept",
        told="best on validation; the sparsest within one standard error of that; or the sparsest "
        "at most so much below it",
        key="chooser",
        values=tuple(found),
        columns=CHOSE,
        labels=tuple(one.method.label for one in methods),
        found=tuple(found.values()),
        problem="; ".join(problems),
    )


def _asked(
    methods: Sequence[Shown],
    given: Sequence[Given],
    ask: Callable[[Given], Cells],
    reads: str,
    problems: dict[str, None],
) -> tuple[Cells | None, ...]:
    """Ask of each method what a rule does to it.

    Args:
        methods: that are asked of.
        given: what a rule is asked with, for each of them.
        ask: gives the answer.
        reads: what reads something that a board's row may lack.
        problems: what kept methods from being asked is added here, once.
    """
    answers: list[Cells | None] = []
    lean = []
    for one, its in zip(methods, given):
        try:
            answers.append(ask(its))
        except DsdError as error:
            answers.append(None)
            if all(map(has_folder, one.method.runs)):
                problems[str(error)] = None
            else:
                lean.append(one.method.label)
    if lean:
        whom = "any method" if len(lean) == len(methods) else "; ".join(lean)
        problems[f"not replayed for {whom}: rows do not hold what {reads} reads"] = None
    return tuple(answers)


def _stopped(rule: Rule, curves: Sequence[Curve]) -> Cells:
    (told,) = outcomes(curves, [rule])
    shares = (told.trainings_saved, told.accuracy, told.given_up)
    return (f"{told.round.mean:.1f}", *(percent(one.mean) for one in shares))


def _chose(rule: Rule, rows: Sequence[tuple[RunConfig, Sequence[Row]]]) -> Cells:
    (told,) = summaries(rows, [rule])
    shares = (told.sparsity, told.fewer, told.accuracy, told.given_up)
    return (f"{told.round.mean:.1f}", *(percent(one.mean) for one in shares))


def _config(run: StoredRun) -> RunConfig:
    return RunConfig.from_json(run.config, str(run.path / "config.json"))


def _rows(run: StoredRun) -> tuple[RunConfig, Sequence[Row]]:
    """Return what choosers read; of a board's row the columns alone."""
    return _config(run), rows_with_metrics(run) if has_folder(run) else run.rows


def _curve(run: StoredRun) -> Curve:
    """Return a run's curve; each training counts one, so that no network has to be counted."""
    end = run.result or {}
    return Curve(
        config=_config(run),
        rows=_rows(run)[1],
        end=(str(end.get("stopped_by")), str(end.get("reason"))),
        dense=[1] * len(run.rows),
    )
