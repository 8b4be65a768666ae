"""The sections of a page that are told, from what was found to how to make it anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from dsd_bench.analysis import mean_curve
from dsd_bench.config.naming import command, method_words, seeds_word
from dsd_bench.config.run import canonical
from dsd_bench.pages.markup import Markup, el
from dsd_bench.pages.replays import Replayed
from dsd_bench.pages.subject import Shown, Subject, has_folder
from dsd_bench.plugins import catalogue
from dsd_bench.reports.findings import all_facts
from dsd_bench.reports.words import UNICODE, mean_std, percent, plural

NOTHING = "–"


def table(
    names: Sequence[str], rows: Sequence[Sequence[Any]], left: int = 1, **given: Any
) -> Markup:
    """Return a table that scrolls sideways where it has no room; its first columns are words."""
    kind = ["m" if at == left - 1 else "" if at < left else "n" for at in range(len(names))]
    head = el("tr", [el("th", name, scope="col", class_=k or None) for name, k in zip(names, kind)])
    body = [
        el("tr", [el("td", one, class_=k or None) for one, k in zip(row, kind)]) for row in rows
    ]
    made = el("table", el("thead", head), el("tbody", body), **given)
    return el("div", made, class_="scroll", tabindex="0", role="region", aria_label="table")


def section(identity: str, title: str, *children: Any) -> Markup:
    """Return a section with its heading."""
    return el("section", el("h2", title), *children, id=identity)


def found_words(shown: Shown) -> str:
    """Say in a sentence what a method's curve shows."""
    if shown.method.unfinished:
        return f"not finished, so nothing is said: {shown.method.state}"
    facts = {fact.title: fact for fact in all_facts(shown.method, shown.study.summary, UNICODE)}
    verdict = facts["verdict"]
    meaning = f" ({verdict.meaning})" if verdict.meaning else ""
    return f"{_text(verdict.text)}{meaning}"


def _text(text: str | Text) -> str:
    return text.plain if isinstance(text, Text) else text


def headline(subject: Subject) -> str:
    """Say what was found, in a sentence."""
    known = [
        (one.study.summary.selected_accuracy.mean, one)
        for one in subject.every
        if one.study.summary.selected_accuracy
    ]
    if len(subject.every) == 1 or not known:
        return f"{subject.every[0].method.label}: {found_words(subject.every[0])}."
    falls = [one for one in subject.every if one.study.summary.double_descent]
    best, shown = max(known, key=lambda one: one[0])
    unknown = sum(one.study.summary.double_descent is None for one in subject.every)
    dip = f"{len(falls)} of {plural(len(subject.every), 'method')} show sparse double descent"
    dip += f", of {unknown} it cannot be told" if unknown else ""
    if len(subject.methods) > 1:
        return f"{dip}."
    tied = ", which is the highest mean of all" if shown.line is None else ""
    if shown.line is not None:
        others = sum(one.line is not None and one.line.tied for one in subject.every) - 1
        tied = f"; {plural(others, 'other')} cannot be told from it" if others > 0 else ""
    return f"{dip}; the selected models of {shown.method.label} reach {percent(best)} %{tied}."


def summary(subject: Subject) -> Markup:
    """Return the table of what was found."""
    board = any(one.line for one in subject.every)
    names = [
        "method",
        "seeds",
        "selected, %",
        "at sparsity, %",
        "dense, %",
        "dip, points",
        "double descent",
    ]
    rows = [_summary_row(one) for one in subject.every]
    if board:
        names = ["place", *names, "front"]
        rows = [[_place(one), *row, _front(one)] for one, row in zip(subject.every, rows)]
    told = [
        el("li", el("b", one.method.label), f": {found_words(one)}", _notes(one))
        for one in subject.every
    ]
    note = "± one sample standard deviation over the seeds. "
    parts = {"test" if one.method.on_test else "validation" for one in subject.every}
    note += f"Models are selected on {' and '.join(sorted(parts))}."
    if board:
        note += " Place, ties and the Pareto front of accuracy and weights as its README says."
    return section(
        "found",
        "What was found",
        table(names, rows, 2 if board else 1, class_="wide"),
        el("p", note, class_="note"),
        el("details", el("summary", "in words"), el("ul", told), open=len(told) <= 4),
    )


def _place(one: Shown) -> str:
    if one.line is None or one.line.place is None:
        return NOTHING
    return f"{one.line.place}{' (tied)' if one.line.tied else ''}"


def _front(one: Shown) -> str:
    return NOTHING if one.line is None or one.line.front is None else one.line.front


def _notes(one: Shown) -> list[Markup]:
    notes = one.study.fairness.notes if one.study.fairness else ()
    return [el("span", f" But: {note}.", class_="but") for note in notes]


def _summary_row(one: Shown) -> list[Any]:
    told = one.study.summary
    chosen, dense = told.selected_accuracy, told.dense
    sparsity = [picked.sparsity for picked in told.selected]
    dip = NOTHING
    if told.dip and told.descent.depth:
        dip = f"{percent(told.descent.depth)} at {percent(told.dip.sparsity)} %"
    verdict = {True: "yes", False: "no", None: "cannot tell"}
    return [
        one.method.label,
        f"{len(one.method.runs)} ({seeds_word(run.seed for run in one.method.runs)})",
        mean_std(chosen.mean, chosen.std, UNICODE) if chosen else NOTHING,
        percent(sum(sparsity) / len(sparsity)) if sparsity else NOTHING,
        mean_std(dense.mean, dense.std, UNICODE) if dense else NOTHING,
        dip,
        verdict[told.double_descent],
    ]


def rules(found: Sequence[Replayed], cut: Sequence[str] = ()) -> Markup:
    """Return each rule's outcomes for all values of its parameter, with a slider for scripts.

    Args:
        found: the rules.
        cut: labels of the methods that stop rules could not be asked of.
    """
    lead = (
        "What rules would have done to these curves, replayed without training. Saved: share of "
        "the trainings; given up: accuracy, in points, that the best round of the whole curve has "
        "more. A value chosen here has seen the test images: try it on other seeds."
    )
    paper = "Printed is one value of each parameter: the one that the slider shows, else the usual."
    told = f"Stop rules are not replayed for {'; '.join(cut)}: a rule of its own ended it early."
    parts = [_rule(at, one) for at, one in enumerate(found)]
    return section(
        "rules",
        "Stop and selection rules, replayed",
        el("p", lead),
        el("p", told, class_="note") if cut else None,
        el("p", paper, class_="note paper"),
        parts,
    )


def _rule(at: int, one: Replayed) -> Markup:
    problem = el("p", one.problem, class_="but") if one.problem else None
    if not any(map(any, one.found)):
        return el("details", el("summary", one.title), problem)
    names = [one.key, "method", *one.columns]
    rows = [
        el(
            "tr",
            el("td", value),
            el("td", label, class_="m"),
            [el("td", words, class_="n") for words in told],
            data_v=number,
            class_="chosen" if number == one.usual else None,
        )
        for number, (value, methods) in enumerate(zip(one.values, one.found))
        for label, told in zip(one.labels, methods)
        if told is not None
    ]
    head = [
        el("th", name, scope="col", class_="n" if n > 1 else None) for n, name in enumerate(names)
    ]
    slider = el(
        "div",
        el("label", f"{one.key} ", el("input", type="range", min=0, max=len(one.values) - 1,
           value=one.usual, step=1, data_values=" ".join(one.values))),
        el("output", one.values[one.usual]),
        class_="slider",
        hidden=True,
    )  # fmt: skip
    made = el("table", el("thead", el("tr", head)), el("tbody", rows), class_="wide")
    return el(
        "details",
        el("summary", one.title),
        el("p", f"{one.key}: {one.told}."),
        problem,
        slider,
        el("div", made, class_="scroll", tabindex="0", role="region", aria_label=one.title),
        open=at == 0,
        class_="rule",
    )


ROUND_COLUMNS = (
    ("test_accuracy", "test, %", 100.0),
    ("val_accuracy", "validation, %", 100.0),
    ("train_accuracy_clean", "train, right labels, %", 100.0),
    ("train_accuracy_noisy", "train, wrong labels, %", 100.0),
    ("train_loss", "train loss", 1.0),
    ("test_loss", "test loss", 1.0),
    ("entropy", "entropy, bits", 1.0),
)


def rounds(subject: Subject) -> Markup:
    """Return a table of rounds for each method."""
    parts = [
        el("details", el("summary", one.method.label), _rounds(one), open=len(subject.every) == 1)
        for one in subject.every
    ]
    lead = "Means over the seeds ± one standard deviation; n: seeds that reached the round."
    return section("rounds", "Rounds", el("p", lead), parts)


def _rounds(one: Shown) -> Markup:
    found = {key: {p.round: p for p in mean_curve(one.seeds, key)} for key, _, _ in ROUND_COLUMNS}
    told = [column for column in ROUND_COLUMNS if found[column[0]]]
    every = {p.round: p for points in found.values() for p in points.values()}
    rows = []
    for at, first in sorted(every.items()):
        line = [str(at), percent(first.sparsity, 2)]
        for key, _, scale in told:
            point = found[key].get(at)
            digits = 1 if scale == 100 else 3
            spread = f" ± {scale * point.std:.{digits}f}" if point and point.std is not None else ""
            line.append(f"{scale * point.mean:.{digits}f}{spread}" if point else NOTHING)
        rows.append([*line, str(first.n)])
    names = ["round", "sparsity, %", *(title for _, title, _ in told), "n"]
    return table(names, rows, 0, class_="wide")


def origin(subject: Subject) -> Markup:
    """Return configurations, versions, hardware, runs, and the commands that make all anew."""
    parts = [
        el("details", el("summary", one.method.label), _configuration(one)) for one in subject.every
    ]
    commands = [*subject.again, subject.command]
    return section(
        "origin",
        "Where it comes from",
        el("h3", "Make it anew"),
        el("pre", "\n".join(commands), tabindex="0"),
        el("h3", "Versions and hardware"),
        el("ul", [el("li", words) for words in _conditions(subject)]),
        el("h3", "Configurations and runs"),
        parts,
    )


def _configuration(one: Shown) -> Markup:
    first = one.method.runs[0].config
    words = method_words(first, catalogue().find)
    terms = [(key, value) for key, value in words.items() if value != "none"]
    told_values = {key: value for key, value in first["protocol"].items() if value is not None}
    terms += [(key, _json(value)) for key, value in told_values.items()]
    told = [(el("dt", key), el("dd", value)) for key, value in terms]
    runs = [
        el("li", "seed ", run.seed, ": ", el("code", run.run_id), _ended(run.result))
        for run in one.method.runs
    ]
    again = [
        command("run", "--config", run.path / "config.json", runs_dir=run.path.parent)
        for run in one.method.runs
        if has_folder(run)
    ]
    commands = el("pre", "\n".join(again), tabindex="0") if again else None
    return el("div", el("dl", told), el("ul", runs), commands)


def _ended(result: Any) -> str:
    told = result or {}
    return f", round {told.get('best_round')} selected, ended by {told.get('stopped_by')}"


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _conditions(subject: Subject) -> list[str]:
    """Say each set of conditions once, with how many runs ran under it."""
    counts: dict[str, int] = {}
    words: dict[str, str] = {}
    for one in subject.every:
        for run in one.method.runs:
            told = run.result or {}
            parts = [told.get(key) for key in ("versions", "hardware", "plan")]
            key = canonical(parts)
            counts[key] = counts.get(key, 0) + 1
            words[key] = "; ".join(filter(None, map(_flat, parts)))
    return [f"{plural(counts[key], 'run')}: {words[key]}" for key in counts]


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        told = {key: item for key, item in value.items() if item not in (None, "", [])}
        return ", ".join(f"{key} {_flat(item)}" for key, item in told.items())
    if isinstance(value, list):
        return ", ".join(map(_flat, value))
    return value if isinstance(value, str) else json.dumps(value)
