"""What a curve shows, in the same words wherever it is told: ``run``, ``show`` and ``analyze``.

Each word of the field is explained where it stands, for a reader who meets it for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from dsd_bench.analysis import Point, Selected, Summary, images_tested
from dsd_bench.analysis.evidence import MATTERS
from dsd_bench.errors import UsageError
from dsd_bench.reports.methods import Method
from dsd_bench.reports.words import Glyphs, mean_std, percent, plural

if TYPE_CHECKING:
    from dsd_bench.store import StoredRun


@dataclass(frozen=True)
class Fact:
    """One thing that is told.

    Attributes:
        title: its word, such as ``dip``; empty where it goes on with the one before.
        text: what was measured.
        meaning: what the word means; empty where that needs no telling.
    """

    title: str
    text: str | Text
    meaning: str = ""


def print_facts(console: Console, facts: Sequence[Fact]) -> None:
    """Print facts below each other, each with its meaning."""
    indent = 2 + max((len(fact.title) for fact in facts), default=0)
    for fact in facts:
        told = [fact.text if isinstance(fact.text, Text) else Text(fact.text)]
        told += [Text(fact.meaning, style="dim")] if fact.meaning else []
        title = fact.title
        for text in told:
            for line in text.wrap(console, max(10, console.width - indent)):
                line.rstrip()
                console.print(Text.assemble((title.ljust(indent), "bold"), line), soft_wrap=True)
                title = ""


def known_size(runs: Sequence[StoredRun]) -> int | None:
    """Return the size of the test part, None if the runs do not tell it or do not agree."""
    try:
        return images_tested(runs)
    except UsageError:
        return None


def all_facts(method: Method, summary: Summary, signs: Glyphs) -> list[Fact]:
    """Tell everything that a summary holds, the verdict at the end."""
    facts = dense_facts(summary, signs)
    facts += dip_facts(method, summary, signs)
    facts += sweet_facts(method, summary, signs)
    if len(summary.shared) < len(summary.curve):
        text = f"(over the {plural(len(summary.shared), 'round')} that all seeds reached)"
        facts.append(Fact("", text))
    facts += selected_facts(method, summary, signs)
    facts += stopped_facts(summary)
    return [*facts, *verdict_facts(method, summary)]


def at(point: Point | Selected) -> str:
    """Say where on the curve a round is."""
    return f"at sparsity {percent(point.sparsity)} % (round {point.round})"


def value(point: Point, signs: Glyphs) -> str:
    """Write a point's accuracy and where it is."""
    return f"{mean_std(point.mean, point.std, signs)} % {at(point)}"


def dense_facts(summary: Summary, signs: Glyphs) -> list[Fact]:
    """Tell the accuracy before any pruning."""
    if not summary.dense:
        return []
    spread = ""
    if summary.dense.std is not None:
        over = plural(summary.dense.n, "seed")
        spread = f"; {signs.plus_minus} standard deviation over {over}"
    meaning = f"the unpruned network: round 0{spread}"
    text = f"{mean_std(summary.dense.mean, summary.dense.std, signs)} %"
    return [Fact("dense", text, meaning)]


def dip_facts(method: Method, summary: Summary, signs: Glyphs) -> list[Fact]:
    """Tell the deepest dip; nothing where there is none, or where runs are still to come."""
    if summary.dip is None or method.unfinished:
        return []
    depth = summary.descent
    text = f"{value(summary.dip, signs)}: falls {percent(depth.fall)}, "
    text += f"recovers {percent(depth.rise)} points"
    meaning = "the worst before it recovers; sparsity: share of weights pruned away"
    return [Fact("dip", text, meaning)]


def sweet_facts(method: Method, summary: Summary, signs: Glyphs) -> list[Fact]:
    """Tell the sweet spot, or without one the best round of the curve."""
    if summary.sweet is None:
        return []
    peak = summary.sweet
    text = value(peak, signs)
    if summary.dense and peak.round > 0:
        gain = 100 * (peak.mean - summary.dense.mean)
        text += f": {abs(gain):.1f} points {'above' if gain >= 0 else 'below'} dense"
    if summary.double_descent and not method.unfinished:
        left = 1 / (1 - peak.sparsity) if peak.sparsity < 1 else None
        part = f", with 1/{left:.0f} of the weights" if left and left >= 1.5 else ""
        return [Fact("sweet spot", text, f"the best after the dip{part}")]
    return [Fact("best so far" if method.unfinished else "best of curve", text)]


def selected_facts(method: Method, summary: Summary, signs: Glyphs) -> list[Fact]:
    """Tell the model that each seed keeps, marked if the test part chose it."""
    if not summary.selected:
        return []
    where = "the test images" if method.on_test else "validation images, not trained on"
    how = "best" if method.chooser == "best" else f"chosen by {method.chooser}"
    meaning = f"the round that is kept: {how} on {where}"
    models = [f"seed {one.seed}: {percent(one.accuracy)} %, {at(one)}" for one in summary.selected]
    if len(models) == 1:
        text = Text.assemble(models[0], "  ", method.selection)
        return [Fact("selected", text, meaning)]
    over = summary.selected_accuracy
    mean = f"{mean_std(over.mean, over.std, signs)} %  " if over else ""
    first = Fact("selected", Text.assemble(mean, method.selection), meaning)
    return [first, *(Fact("", model) for model in models)]


def stopped_facts(summary: Summary) -> list[Fact]:
    """Tell the seeds that ended early, why, and what a stop rule spared."""
    facts: list[Fact] = []
    for end in summary.stopped:
        saved = f", {plural(end.saved, 'training')} saved" if end.saved is not None else ""
        text = f"seed {end.seed} after round {end.round}{saved}: {end.reason}"
        facts.append(Fact("" if facts else "stopped" if end.cut else "ended", text))
    return facts


def verdict_facts(method: Method, summary: Summary) -> list[Fact]:
    """Say in one sentence what was seen, and what that rests on; of unfinished runs how far."""
    if method.unfinished:
        return [Fact("verdict", Text(f"none yet: {method.state}", style="yellow"))]
    words = {
        True: "sparse double descent",
        False: "no double descent",
        None: "cannot tell",
    }[summary.double_descent]
    text = Text.assemble((words, "bold"), f": {summary.evidence.reason}")
    facts = [Fact("verdict", text, _sentence(summary))]
    return [*facts, *([Fact("", summary.evidence.more.words)] if summary.evidence.more else [])]


def _sentence(summary: Summary) -> str:
    """Say what was seen to somebody who has never heard of it."""
    if len(summary.shared) == 1:
        return "only the unpruned network is there: of pruning this says nothing"
    if summary.double_descent:
        parts = ["pruned step by step, the network gets worse (dip), then better (sweet spot)"]
        if summary.sweet and summary.dense and summary.sweet.mean > summary.dense.mean:
            parts[0] += " than it ever was unpruned"
        if summary.sweet and summary.shared[-1].mean < summary.sweet.mean - MATTERS:
            parts.append("and collapses when hardly a weight is left")
        return ", ".join(parts)
    if summary.double_descent is False:
        return "pruned step by step, the network never gets worse and then clearly better again"
    if summary.dip is None:
        return ""
    return "there is a dip, but at this size chance alone may make one as deep"
