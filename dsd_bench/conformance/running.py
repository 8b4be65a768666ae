"""Running checks: each is kept from harming the others, and ends after a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dsd_bench.conformance.checks import (
    BAD,
    Broken,
    Check,
    Result,
    Skipped,
    Status,
    checks_of,
    expected_failures,
)
from dsd_bench.conformance.subjects import Subject
from dsd_bench.environment.contained import contained
from dsd_bench.environment.limited import limited
from dsd_bench.errors import describe, plain

SECONDS = 300.0
"""Longest that one check may take."""

SOMETHING = "something-checked"
"""The last line of a component's table: not all checks of its kind were skipped."""


@dataclass(frozen=True)
class Report:
    """How the checks of one component ended."""

    subject: Subject
    results: Sequence[Result]

    @property
    def passed(self) -> bool:
        """Whether the component is conformant."""
        return not any(result.status in BAD for result in self.results)


def report(subject: Subject) -> Report:
    """Run all checks of one component."""
    return Report(subject, tuple(results(subject)))


def results(subject: Subject) -> Iterator[Result]:
    """Run the checks of one component, one by one; the last one says whether any applied."""
    own = []
    for each in checks_of(subject.kind):
        result = run_check(each, subject)
        if each.kind == subject.kind:
            own.append(result)
        yield result
    yield something_checked(own)


def something_checked(own: Sequence[Result]) -> Result:
    """Judge the checks of a component's own kind together: all skipped is a failure."""
    if own and all(result.status == "skipped" for result in own):
        why = f"every check of its kind was skipped: {own[0].reason}"
        return Result(SOMETHING, "failed", why)
    return Result(SOMETHING, "passed")


def run_check(each: Check, subject: Subject) -> Result:
    """Run one check; whatever happens in it is its result."""
    began = time.monotonic()
    status, reason = _outcome(each, subject)
    told = _expectations(subject).get(each.name)
    if told is not None:
        status, reason = _against_expectation(status, reason, told)
    elif status == "failed" and each.new:
        status = "warned"
        reason = f"{reason} (new in {each.since}; counts from the next version on)"
    return Result(each.name, status, reason, round(time.monotonic() - began, 3))


def _outcome(each: Check, subject: Subject) -> tuple[Status, str]:
    try:
        with contained(), limited(SECONDS, f"the check '{each.name}'"):
            each.act(subject)
    except Skipped as why:
        return "skipped", plain(why)
    except Broken as why:
        return "failed", plain(why)
    except Exception as error:  # one check's failure, not the end of the others
        return "failed", describe(error)
    return "passed", ""


def _against_expectation(status: Status, reason: str, told: str) -> tuple[Status, str]:
    if status == "failed":
        return "expected", f"{plain(told)} ({reason})"
    if status == "passed":
        return "unexpected", f"it passes; take it out of expected_failed_checks ({plain(told)})"
    return "failed", f"it was expected to fail, but does not apply: {reason}"


def _expectations(subject: Subject) -> dict[str, str]:
    try:
        given = expected_failures(subject.load())
    except Broken:
        return {}
    return {str(name): str(reason) for name, reason in given.items()}
