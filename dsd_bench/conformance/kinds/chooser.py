"""Checks of choosers."""

from __future__ import annotations

from itertools import pairwise

from dsd_bench.choosers import Chooser
from dsd_bench.conformance.checks import Skipped, check, demand
from dsd_bench.conformance.rules import SCORES, Rows, answers_of, curves, refused, rule_checks
from dsd_bench.conformance.runs import whole_runs
from dsd_bench.conformance.subjects import Subject


def _ask(chooser: Chooser, rows: Rows, score: str) -> int:
    return chooser.choose(rows, score)


@check("chooser")
def answers(subject: Subject) -> None:
    """It answers the number of one of the rounds, a whole number."""
    for rows in curves(subject):
        for score in SCORES:
            for last, answer in enumerate(answers_of(_ask, subject.make(), rows, score)):
                right = refused(answer) or (type(answer) is int and 0 <= answer <= last)
                demand(right, f"it answers {answer!r}; expected a round from 0 to {last}")


rule_checks("chooser", _ask)


@check("chooser")
def steady(subject: Subject) -> None:
    """If it says that it is steady, a further round changes its choice to nothing but that one."""
    if not subject.make().steady:
        raise Skipped("it does not say that it is steady: a run with it keeps all weights")
    for rows in curves(subject):
        for score in SCORES:
            found = answers_of(_ask, subject.make(), rows, score)
            for last, (before, now) in enumerate(pairwise(found), start=1):
                demand(
                    now in (before, last),
                    f"after round {last} its choice goes from {before} to {now}: do not say steady",
                )


whole_runs("chooser", lambda subject: {"choose": subject.word})
