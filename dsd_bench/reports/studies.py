"""What ``dsd-bench analyze`` prints of each configuration."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dsd_bench.analysis import Dodge, Memorisation, Point, Spread, Study
from dsd_bench.reports.findings import (
    Fact,
    dense_facts,
    dip_facts,
    selected_facts,
    sweet_facts,
    value,
    verdict_facts,
)
from dsd_bench.reports.methods import Method
from dsd_bench.reports.words import Glyphs, glyphs, mean_std, percent, plural

_Fact = tuple[str, RenderableType]


def print_study(
    console: Console, method: Method, study: Study, dodged: Dodge | None = None
) -> None:
    """Print verdict, phases and measures of one configuration.

    Args:
        console: where to.
        method: its name and runs.
        study: what was found.
        dodged: how it compares with vanilla; None if there is nothing to compare with.
    """
    signs = glyphs(console)
    console.print(Text(method.label, style="bold"))
    console.print(Text.assemble(f"{method.setting}  {method.seeds}  ", method.selection))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for title, content in _facts(method, study, dodged, signs):
        table.add_row(title, content)
    console.print(table)
    console.print()


def _facts(method: Method, study: Study, dodged: Dodge | None, signs: Glyphs) -> list[_Fact]:
    facts = [*_verdict(method, study), *_notes(study), *_points(method, study, signs)]
    if study.phases:
        facts.append(("phases", _phases(study)))
    if study.area is not None and study.until is not None:
        words = f"mean over log-density, 100 to {percent(study.until, 2)} % of the weights"
        facts.append(("area", f"{percent(study.area)} %: {words}"))
    facts += _compression(study, signs)
    facts += _memorisation(study.memorisation, signs)
    if dodged:
        facts.append(("dodged", Text.assemble((dodged.verdict, "bold"), f": {dodged.reason}")))
    return facts


def _told(facts: Sequence[Fact]) -> list[_Fact]:
    """Turn what all views say into lines of this one."""
    lines: list[_Fact] = []
    for fact in facts:
        lines.append((fact.title, fact.text))
        lines += [("", Text(fact.meaning, style="dim"))] if fact.meaning else []
    return lines


def _verdict(method: Method, study: Study) -> list[_Fact]:
    evidence = study.summary.evidence
    facts = _told(verdict_facts(method, study.summary))
    found = evidence.descent
    if found.bottom is None:
        return facts
    if evidence.chance is not None and evidence.noise is not None:
        words = f"chance {evidence.chance:.3f} without double descent"
        facts.append(("", f"{words}, at a standard error of {percent(evidence.noise)} points"))
    if len(evidence.seeds) > 1:
        depths = ", ".join(percent(seed.depth) for seed in evidence.seeds)
        facts.append(("", f"depths of the seeds' own curves: {depths} points"))
    else:
        facts.append(("", "one seed: how much seeds differ is not known"))
    return facts


def _notes(study: Study) -> list[_Fact]:
    """Return what must be said beside the verdict."""
    notes = study.fairness.notes if study.fairness else ()
    return [("" if place else "but", note) for place, note in enumerate(notes)]


def _points(method: Method, study: Study, signs: Glyphs) -> list[_Fact]:
    summary = study.summary
    facts = _told([*dense_facts(summary, signs), *dip_facts(method, summary, signs)])
    if summary.double_descent:
        facts += _told(sweet_facts(method, summary, signs))
    if study.best:
        phase = f", {study.best_phase} phase" if study.best_phase else ""
        facts.append(("peak", value(study.best, signs) + phase))
    return [*facts, *_told(selected_facts(method, summary, signs))]


def _phases(study: Study) -> Table:
    table = Table.grid(padding=(0, 2))
    for phase in study.phases:
        rounds = "between two rounds"
        if phase.rounds:
            first, last = phase.rounds
            rounds = f"rounds {first} to {last}" if first < last else f"round {first}"
        stretch = f"sparsity {percent(phase.start)} to {percent(phase.end)} %"
        table.add_row(phase.name, stretch, rounds)
    if study.phases[-1].name != "collapsed":
        table.add_row("collapsed", "not reached", "")
    return table


def _compression(study: Study, signs: Glyphs) -> list[_Fact]:
    found = study.compression
    if found.mean is None:
        return []
    points = 100 * found.within
    limit = f"within {points:g} point{'' if points == 1 else 's'} of dense"
    times = f"1/{1 / (1 - found.mean.sparsity):.0f} of the weights, " if _left(found.mean) else ""
    last = ", the last one" if found.mean.round == study.summary.shared[-1].round else ""
    where = f"({times}round {found.mean.round}{last})"
    text = f"sparsity {percent(found.mean.sparsity)} % {where} {limit}"
    facts: list[_Fact] = [("compression", text)]
    if found.over and found.over.n > 1:
        each = ", ".join(percent(one) for one in found.seeds)
        over = mean_std(found.over.mean, found.over.std, signs)
        facts.append(("", f"seeds by themselves: {each} %; {over} %"))
    return facts


def _left(point: Point) -> bool:
    return 0.0 < point.sparsity < 1.0


def _memorisation(found: Memorisation | None, signs: Glyphs) -> list[_Fact]:
    if found is None:
        return [("memorised", "no label is known to be wrong")]
    fit = f"the dense net fits {_spread(found.dense_fit, signs)} % of the wrong labels"
    if not any(one.forgets for one in found.seeds):
        return [("memorised", f"{fit}, and no seed loses half of a fit of 50 % or more")]
    lead = f"{fit}; by round, where half of that is gone (right: fit of the right labels then):"
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("seed", "half gone", "sparsity, %", "right, %", "entropy falls", "bottom"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in found.seeds:
        table.add_row(
            str(one.seed),
            _round(one.round, 1),
            percent(one.sparsity),
            percent(one.clean_fit),
            _round(one.entropy_round),
            _round(one.bottom_round),
        )
    return [("memorised", Group(lead, table, *_lags(found, signs)))]


def _lags(found: Memorisation, signs: Glyphs) -> list[str]:
    """Say how the three events follow each other, in rounds."""
    lines = []
    for name, lag in (("entropy falls", found.entropy_after), ("bottom is", found.bottom_after)):
        if lag:
            spread = f" {signs.plus_minus} {lag.std:.1f}" if lag.std is not None else ""
            when = "after" if lag.mean >= 0 else "before"
            over = f" ({plural(lag.n, 'seed')})"
            lines.append(f"{name} {abs(lag.mean):.1f}{spread} rounds {when} that{over}")
    return lines


def _spread(told: Spread | None, signs: Glyphs) -> str:
    return mean_std(told.mean, told.std, signs) if told else "-"


def _round(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
