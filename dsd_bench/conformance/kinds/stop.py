"""Checks of stop criteria."""

from __future__ import annotations

from dsd_bench.conformance.checks import check, demand
from dsd_bench.conformance.rules import SCORES, Rows, answers_of, curves, rule_checks
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.stopping import StopCriterion


def _ask(criterion: StopCriterion, rows: Rows, score: str) -> str | None:
    return criterion.stop(rows, score)


@check("stop")
def answers(subject: Subject) -> None:
    """It answers why to stop, in words, or None."""
    for rows in curves(subject):
        for score in SCORES:
            for answer in answers_of(_ask, subject.make(), rows, score):
                right = answer is None or (type(answer) is str and answer.strip())
                demand(right, f"it answers {answer!r}; expected a sentence or None")


rule_checks("stop", _ask)
whole_runs("stop", lambda subject: {"stop": subject.word})
