"""What ``dsd-bench plugins test`` tells beside its screen: all checks, and Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dsd_bench.components import KINDS
from dsd_bench.conformance.checks import EVERY, Result, Status, checks_of
from dsd_bench.conformance.running import Report
from dsd_bench.plugins import OBSERVER

TOLD: dict[Status, str] = {
    "expected": "expected to fail",
    "warned": "new, fails",
    "skipped": "does not apply",
    "unexpected": "passes unexpectedly",
    "failed": "fails",
}
"""What a table says before the names of checks that did not simply pass."""


@dataclass(frozen=True)
class Demand:
    """What a check demands of components of some kinds."""

    check: str
    kinds: Sequence[str]
    demands: str


def demands() -> list[Demand]:
    """Return all checks: those of every kind first; what is the same for several kinds is one."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for kind in (*KINDS, OBSERVER):
        for each in checks_of(kind):
            of = kinds.setdefault((each.name, each.summary), [])
            if each.kind not in of:
                of.append(each.kind)
    found = [Demand(name, of, text) for (name, text), of in kinds.items()]
    return sorted(found, key=lambda one: (one.kinds != [EVERY], len(one.kinds) == 1))


def demands_text(indent: str = "  ") -> Iterator[str]:
    """Yield the lines of a listing of all checks, each under the kinds that it is for."""
    heading = ""
    for each in demands():
        kinds = _of(each)
        if kinds != heading:
            heading = kinds
            yield kinds
        yield f"{indent}{each.check:<22} {each.demands}"


def demands_markdown() -> Iterator[str]:
    """Yield the lines of a table of all checks."""
    yield "| check | of | demands |"
    yield "| --- | --- | --- |"
    for each in demands():
        yield f"| `{each.check}` | {_of(each)} | {_cell(each.demands)} |"


def _of(each: Demand) -> str:
    return "every kind" if list(each.kinds) == [EVERY] else ", ".join(each.kinds)


def reports_markdown(reports: Sequence[Report]) -> Iterator[str]:
    """Yield the lines of a table of components, and of the checks that did not simply pass."""
    yield "| distribution | component | all checks pass but |"
    yield "| --- | --- | --- |"
    for report in reports:
        yield report_markdown(report)


def report_markdown(report: Report) -> str:
    """Return a component's line of :func:`reports_markdown`."""
    subject = report.subject
    told: dict[tuple[Status, str], list[Result]] = {}
    for each in report.results:
        if each.status != "passed":
            told.setdefault((each.status, each.reason), []).append(each)
    rest = "; ".join(
        f"{', '.join(f'`{each.check}`' for each in group)} {TOLD[status]}: {_cell(reason)}"
        for (status, reason), group in told.items()
    )
    owner = subject.entry.distribution
    return f"| {owner} | {subject.kind} `{subject.name}` | {rest or '-'} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
