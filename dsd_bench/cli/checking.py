"""``dsd-bench plugins test``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import click
from rich.columns import Columns
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dsd_bench.cli.checks import demands, demands_markdown, demands_text, reports_markdown
from dsd_bench.cli.saying import say, say_json
from dsd_bench.conformance.checks import BAD, Result, Status
from dsd_bench.conformance.running import Report, results
from dsd_bench.conformance.subjects import Subject, select
from dsd_bench.errors import UsageError, plain
from dsd_bench.plugins import Failure, catalogue
from dsd_bench.plugins.digest import version
from dsd_bench.reports.words import open_console

STYLES: dict[Status, tuple[str, str, str]] = {
    "passed": ("✓", "+", "green"),
    "expected": ("~", "~", "cyan"),
    "warned": ("!", "!", "yellow"),
    "skipped": ("-", "-", "dim"),
    "unexpected": ("✗", "x", "red"),
    "failed": ("✗", "x", "red"),
}
"""What a result looks like: its mark, the mark in plain ASCII, its colour."""

WORDS: dict[Status, str] = {
    "passed": "passed",
    "expected": "expected to fail",
    "warned": "new",
    "skipped": "skipped",
    "unexpected": "unexpectedly passed",
    "failed": "failed",
}
"""How results are counted."""


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="Tell what each check demands; run none.")
@click.option("--markdown", is_flag=True, help="Print a table for a README.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def test(name: str | None, listing: bool, markdown: bool, as_json: bool) -> int:
    """Check the components of the plugin NAME, or of all installed plugins.

    NAME is a distribution (`dsd-bench-mine`, or `mine` for short; `dsd-bench` for the built-in
    components), or a module that registers components and need not be installed. Ends with 1 if a
    component is not conformant.
    """
    if markdown and as_json:
        raise UsageError("--markdown and --json: give one of them")
    if listing:
        _list(markdown, as_json)
        return 0
    known = catalogue()
    subjects = select(known, name)
    failed = [each for each in known.failed if name is None or _is(each, name)]
    console = None if as_json or markdown else open_console(sys.stdout)
    reports: list[Report] = []
    for subject in subjects:
        if console is not None and (not reports or _owner(reports[-1].subject) != _owner(subject)):
            console.print(_title(subject))
        reports.append(_checked(subject, console))
        if console is not None:
            _print(console, reports[-1])
    if as_json:
        say_json(_json(reports, failed))
    elif markdown:
        say("\n".join([*reports_markdown(reports), *map(_unloaded, failed)]))
    elif console is not None:
        _conclude(console, reports, failed)
    return int(bool(failed) or not all(each.passed for each in reports))


def _list(markdown: bool, as_json: bool) -> None:
    if as_json:
        say_json([vars(each) for each in demands()])
    else:
        say("\n".join(demands_markdown() if markdown else demands_text()))


def _is(failure: Failure, name: str) -> bool:
    words = failure.distribution.lower().replace("_", "-")
    return words.removeprefix("dsd-bench-") == name.lower().removeprefix("dsd-bench-")


def _owner(subject: Subject) -> str:
    return subject.entry.distribution


def _checked(subject: Subject, console: Console | None) -> Report:
    """Run the checks; a terminal shows meanwhile which."""
    found: list[Result] = []
    shown = console is not None and console.is_terminal
    waiting = console.status("") if console is not None and shown else nullcontext()
    with waiting as status:
        for result in results(subject):
            found.append(result)
            if status is not None:
                status.update(Text(f"{subject.kind} {subject.name}: {result.check}", style="dim"))
    return Report(subject, tuple(found))


def _title(subject: Subject) -> Text:
    number = version(_owner(subject))
    return Text(f"{_owner(subject)} {number if number != 'unknown' else ''}".strip(), style="bold")


def _print(console: Console, report: Report) -> None:
    """Print a line on one component, its checks side by side, and what is to be said of some."""
    seconds = sum(result.seconds for result in report.results)
    counts, style = _counted(report.results)
    line = Table.grid(expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right")
    subject = report.subject
    line.add_row(
        Text.assemble("  ", (f"{subject.kind} {subject.name}", "bold")),
        Text.assemble((counts, style), (f"  {seconds:5.1f} s", "dim")),
    )
    console.print(line)
    marks = [_mark(console, result) for result in report.results]
    console.print(Padding(Columns(marks, padding=(0, 2), equal=True), (0, 0, 0, 4)))
    told = [result for result in report.results if result.status != "passed"]
    if told:
        reasons = Table.grid(padding=(0, 2, 0, 0))
        reasons.add_column(max_width=30)
        reasons.add_column()
        for status, reason, names in _grouped(told):
            mark = _mark(console, Result(", ".join(names), status))
            reasons.add_row(mark, Text(reason))
        console.print(Padding(reasons, (1, 0, 0, 4)))
    console.print()


def _grouped(told: Sequence[Result]) -> list[tuple[Status, str, list[str]]]:
    """Gather the checks of which the same is to be said."""
    found: dict[tuple[Status, str], list[str]] = {}
    for result in told:
        found.setdefault((result.status, result.reason), []).append(result.check)
    return [(status, reason, names) for (status, reason), names in found.items()]


def _mark(console: Console, result: Result) -> Text:
    fine, ascii_only, style = STYLES[result.status]
    mark = ascii_only if console.options.ascii_only else fine
    return Text(f"{mark} {result.check}", style=style)


def _counted(results: Sequence[Result]) -> tuple[str, str]:
    counts: Counter[Status] = Counter(result.status for result in results)
    text = ", ".join(f"{counts[status]} {word}" for status, word in WORDS.items() if counts[status])
    return text, "red" if any(counts[status] for status in BAD) else "green"


def _unloaded(failure: Failure) -> str:
    return plain(f"{failure.distribution} could not be loaded: {failure.error}")


def _conclude(console: Console, reports: Sequence[Report], failed: Sequence[Failure]) -> None:
    for each in failed:
        console.print(Text(_unloaded(each), style="red"))
    counts, style = _counted([result for report in reports for result in report.results])
    amount = f"{len(reports)} component{'' if len(reports) == 1 else 's'}"
    console.print(Text(f"{amount}: {counts or 'nothing to check'}", style=f"bold {style}"))


def _json(reports: Sequence[Report], failed: Sequence[Failure]) -> dict[str, Any]:
    return {
        "passed": not failed and all(report.passed for report in reports),
        "components": [
            {
                "kind": report.subject.kind,
                "name": report.subject.name,
                "distribution": _owner(report.subject),
                "passed": report.passed,
                "checks": [vars(result) for result in report.results],
            }
            for report in reports
        ],
        "failed": [{"distribution": f.distribution, "error": f.error} for f in failed],
    }
