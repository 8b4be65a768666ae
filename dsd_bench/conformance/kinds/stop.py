"""Checks of stop criteria."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsd_bench.conformance.checks import Skipped, blaming, check, demand
from dsd_bench.conformance.runs import finished, whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.errors import DsdError
from dsd_bench.replay.curves import rows_with_metrics
from dsd_bench.stopping import StopCriterion

Rows = Sequence[Mapping[str, Any]]
SCORES = ("val_accuracy", "test_accuracy")
ABSENT = ("entropy", "entropy_per_layer")
"""Columns that are null for networks without rectifiers."""


def _curves(subject: Subject) -> Iterator[list[dict[str, Any]]]:
    """Yield the rounds of a run with all that the criterion reads, and curves made of them."""
    component = subject.entry.component
    told = list(component.metrics)
    rows = rows_with_metrics(finished(subject, rounds=4, metric=told))
    yield rows
    draw = random.Random(0)
    for fall in (0.0, 0.02, 0.2):
        made = []
        for index in range(12):
            row = copy.deepcopy(rows[min(index, len(rows) - 1)])
            level = 0.9 - fall * index + draw.uniform(-0.03, 0.03)
            row |= {"round": index, "sparsity": 1 - 0.8**index} | dict.fromkeys(SCORES, level)
            made.append(row)
        yield made


def _answers(criterion: StopCriterion, rows: Rows, score: str) -> list[str | None]:
    """Return the answers after each round of a curve, as one run would ask for them."""
    found: list[str | None] = []
    for count in range(1, len(rows) + 1):
        with blaming(f"after round {count - 1} of a curve it raises"):
            try:
                found.append(criterion.stop(rows[:count], score))
            except DsdError as error:
                found.append(f"refused: {error}")
    return found


@check("stop")
def answers(subject: Subject) -> None:
    """It answers why to stop, in words, or None."""
    for rows in _curves(subject):
        for score in SCORES:
            for answer in _answers(subject.make(), rows, score):
                right = answer is None or (type(answer) is str and answer.strip())
                demand(right, f"it answers {answer!r}; expected a sentence or None")


@check("stop")
def pure(subject: Subject) -> None:
    """Its answer follows from the rounds alone: asked again, backwards or anew it is the same."""
    criterion = subject.make()
    for rows in _curves(subject):
        for score in SCORES:
            first = _answers(criterion, rows, score)
            demand(first == _answers(criterion, rows, score), "asked again it answers otherwise")
            anew = [
                _answers(subject.make(), rows[: count + 1], score)[-1] for count in range(len(rows))
            ]
            demand(first == anew, "made anew for a round it answers otherwise")
            counts = range(len(rows), 0, -1)
            late = [criterion.stop(rows[:count], score) for count in counts if _fine(first, count)]
            early = [first[count - 1] for count in counts if _fine(first, count)]
            demand(late == early, "asked of later rounds first it answers otherwise")


def _fine(found: Sequence[str | None], count: int) -> bool:
    return not (found[count - 1] or "").startswith("refused: ")


@check("stop")
def leaves_rounds(subject: Subject) -> None:
    """The rounds stay as they were."""
    for rows in _curves(subject):
        before = copy.deepcopy(rows)
        _answers(subject.make(), rows, SCORES[0])
        demand(rows == before, "it changes the rounds that it was given")


@check("stop")
def absent_columns(subject: Subject) -> None:
    """Without a validation part, or a column that may be null, it works, or declares the column."""
    needed = subject.entry.component.columns
    for rows in _curves(subject):
        for absent in ((SCORES[0], "val_loss"), ABSENT, ("correct",)):
            if set(absent) & set(needed):
                continue
            cut = [
                {k: None if k in absent else v for k, v in row.items() if (k, absent) != _CORRECT}
                for row in rows
            ]
            with blaming(f"where {absent[0]} is null (columns can declare it)"):
                _answers(subject.make(), cut, SCORES[1])


_CORRECT = ("correct", ("correct",))
"""Rounds of the first release lack the column, which is never null."""


@check("stop")
def columns(subject: Subject) -> None:
    """The columns that it declares are of rounds.jsonl, and the metrics are there."""
    component = subject.entry.component
    if not (component.columns or component.metrics):
        raise Skipped("it declares no columns and no metrics")
    row = next(_curves(subject))[0]
    for column in component.columns:
        demand(column in row, f"columns names '{column}', which rounds.jsonl has not")
    for metric in component.metrics:
        demand(metric in row.get("metrics", {}), f"metrics names '{metric}', which is not measured")


whole_runs("stop", lambda subject: {"stop": subject.word})
