"""Checks of rules that follow from the rounds of a run alone: stop criteria and choosers."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dsd_bench.conformance.checks import Skipped, blaming, check, demand
from dsd_bench.conformance.runs import finished
from dsd_bench.conformance.subjects import Subject
from dsd_bench.errors import DsdError
from dsd_bench.replay.curves import rows_with_metrics

Rows = Sequence[Mapping[str, Any]]
Ask = Callable[[Any, Rows, str], Any]
"""Asks a rule about rounds: ``ask(rule, rows, score)``."""

SCORES = ("val_accuracy", "test_accuracy")
ABSENT = ("entropy", "entropy_per_layer")
"""Columns that are null for networks without rectifiers."""

_CORRECT = ("correct", ("correct",))
"""Rounds of the first release lack the column, which is never null."""


def curves(subject: Subject) -> Iterator[list[dict[str, Any]]]:
    """Yield the rounds of a run with all that the rule reads, and curves made of them."""
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


def answers_of(ask: Ask, rule: Any, rows: Rows, score: str) -> list[Any]:
    """Return the answers after each round of a curve, as one run would ask for them.

    What a rule refuses with an error of ours is a text that begins with ``refused: ``.
    """
    found: list[Any] = []
    for count in range(1, len(rows) + 1):
        with blaming(f"after round {count - 1} of a curve it raises"):
            try:
                found.append(ask(rule, rows[:count], score))
            except DsdError as error:
                found.append(f"refused: {error}")
    return found


def refused(answer: Any) -> bool:
    """Whether an answer stands for an error of ours."""
    return isinstance(answer, str) and answer.startswith("refused: ")


def rule_checks(kind: str, ask: Ask) -> None:
    """Add the checks that all rules of this sort have in common."""

    @check(kind)
    def pure(subject: Subject) -> None:
        """Its answer follows from the rounds alone: asked again, backwards, anew it is the same."""
        rule = subject.make()
        for rows in curves(subject):
            for score in SCORES:
                first = answers_of(ask, rule, rows, score)
                again = answers_of(ask, rule, rows, score)
                demand(first == again, "asked again it answers otherwise")
                anew = [
                    answers_of(ask, subject.make(), rows[: count + 1], score)[-1]
                    for count in range(len(rows))
                ]
                demand(first == anew, "made anew for a round it answers otherwise")
                fine = [n for n in range(len(rows), 0, -1) if not refused(first[n - 1])]
                late = [ask(rule, rows[:count], score) for count in fine]
                early = [first[count - 1] for count in fine]
                demand(late == early, "asked of later rounds first it answers otherwise")

    @check(kind)
    def leaves_rounds(subject: Subject) -> None:
        """The rounds stay as they were."""
        for rows in curves(subject):
            before = copy.deepcopy(rows)
            answers_of(ask, subject.make(), rows, SCORES[0])
            demand(rows == before, "it changes the rounds that it was given")

    @check(kind)
    def absent_columns(subject: Subject) -> None:
        """Without a validation part, or a column that may be null, it works, or declares that."""
        needed = subject.entry.component.columns
        for rows in curves(subject):
            for absent in ((SCORES[0], "val_loss"), ABSENT, ("correct",)):
                if set(absent) & set(needed):
                    continue
                cut = [
                    {
                        k: None if k in absent else v
                        for k, v in row.items()
                        if (k, absent) != _CORRECT
                    }
                    for row in rows
                ]
                with blaming(f"where {absent[0]} is null (columns can declare it)"):
                    answers_of(ask, subject.make(), cut, SCORES[1])

    @check(kind)
    def columns(subject: Subject) -> None:
        """The columns that it declares are of rounds.jsonl, and the metrics are there."""
        component = subject.entry.component
        if not (component.columns or component.metrics):
            raise Skipped("it declares no columns and no metrics")
        row = next(curves(subject))[0]
        for column in component.columns:
            demand(column in row, f"columns names '{column}', which rounds.jsonl has not")
        for metric in component.metrics:
            known = row.get("metrics", {})
            demand(metric in known, f"metrics names '{metric}', which is not measured")
