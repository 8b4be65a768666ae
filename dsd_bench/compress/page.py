"""The page: what was gained and lost, why this round, which classes, how large, how fast, again."""

from __future__ import annotations

from collections.abc import Sequence

from dsd_bench.compress.outcome import Change, OfClass, Share
from dsd_bench.compress.result import Result, words_of
from dsd_bench.costs import macs_word
from dsd_bench.pages import drawings, sections, subject
from dsd_bench.pages.document import assemble
from dsd_bench.pages.markup import Markup, el
from dsd_bench.pages.sections import NOTHING, section, table
from dsd_bench.plugins import catalogue
from dsd_bench.reports.words import percent, size_word

CLASSES = 30
"""Of more classes only so many are shown before the rest is folded away."""


def page(result: Result) -> str:
    """Return the page; the same result gives the same text."""
    about = subject.of_runs([result.curve], result.commands[0], catalogue().find)
    curves, drawn = drawings.figures(about)
    parts = [
        _short(result),
        curves,
        _choice(result),
        _classes(result),
        _speed(result),
        _again(result),
        sections.rounds(about),
        sections.origin(about),
    ]
    return assemble(_title(result), _header(result), parts, drawn)


def _title(result: Result) -> str:
    return f"Compressed: {result.ready.begin.bare} on {result.ready.asked.data}"


def found_words(result: Result) -> str:
    """Say in a sentence what was found."""
    one = result.outcome
    kept = percent(1 - result.row["sparsity"])
    told = (
        f"{kept} % of the weights reach {percent(one.after.value)} % on the test images; the "
        f"original reaches {percent(one.before.value)} % ({_change(one.change)} points)"
    )
    if result.chosen == 0:
        return (
            "no pruned network is as good by the validation images: the original is returned as "
            f"it is, with {percent(one.before.value)} % on the test images"
        )
    shipped = result.shipped
    if shipped and shipped.parameters_shrunk:
        times = shipped.parameters_dense / shipped.parameters_shrunk
        really = f"it is really {times:.1f} x smaller" if times >= 1.05 else "it is hardly smaller"
        told += f"; without what is dead {really}"
        told += "" if result.ready.asked.structured or times >= 1.05 else " (see --structured)"
    return told


def _header(result: Result) -> Markup:
    notes = [el("p", f"Note: {note}.", class_="but") for note in result.ready.notes]
    return el(
        "header",
        el("h1", _title(result)),
        el("p", el("b", "Asked: "), "which sparsity can this network afford, and what is gained?"),
        el("p", el("b", "Found: "), found_words(result).replace(" %", "\u00a0%") + ".",
           class_="found"),
        notes,
    )  # fmt: skip


def _short(result: Result) -> Markup:
    one, first, row = result.outcome, result.curve.rows[0], result.row
    rows: list[list[str]] = [
        ["test accuracy, %", _share(one.before), _share(one.after)],
        ["balanced accuracy, %", percent(one.balanced_before), percent(one.balanced_after)],
        ["weights that are not zero", f"{first['nonzero']:,}", f"{row['nonzero']:,}"],
        ["multiply-accumulates an image", macs_word(first["macs_dense"]),
         f"{macs_word(row['macs_effective'])}, were zeros free"],
    ]  # fmt: skip
    if shipped := result.shipped:
        rows += [[line.what, line.before, line.after] for line in shipped.lines()]
    change = (
        f"Difference of the accuracies: {_change(one.change)} points, over the same "
        f"{one.change.n:,} images ({one.change.lost:,} only the original gets right, "
        f"{one.change.won:,} only the chosen network; McNemar's exact p {_p(one.change.p)})."
    )
    note = (
        "In brackets: intervals of 95 % (accuracies: Wilson; their difference: Bonett and Price, "
        "paired over the images). Balanced: the mean over the classes, each counting the same."
    )
    return section(
        "short",
        "In short",
        table(["", "original", "chosen"], rows, 1, class_="wide"),
        el("p", change),
        el("p", note, class_="note"),
    )


def _choice(result: Result) -> Markup:
    stopped = (result.curve.result or {}).get("stopped_by")
    rows = [
        [one.chooser, str(one.round), percent(one.sparsity, 2), f"{one.nonzero:,}",
         percent(one.accuracy)]
        for one in result.choosers
    ]  # fmt: skip
    lead = f"Chosen is {words_of(result.choosers)}. The curve was ended by {stopped}."
    caution = (
        "The other rules are shown to be compared; to take the one whose test accuracy looks best "
        "would be choosing by the test images."
    )
    names = ["chooser", "round", "sparsity, %", "weights left", "test, %"]
    return section(
        "choice",
        "The choice, and why",
        el("p", lead),
        table(names, rows, 1, class_="wide"),
        el("p", caution, class_="note"),
    )


def _classes(result: Result) -> Markup:
    classes = result.ready.classes
    place = {name: at for at, name in enumerate(classes.names)}
    rows = [_class_row(one, classes.train[place[one.name]]) for one in result.outcome.classes]
    names = ["class", "train images", "test images", "original, %", "chosen, %", "change, points",
             "p, corrected"]  # fmt: skip
    sure = [one for one in result.outcome.classes if one.holm is not None and one.holm < 0.05]
    lead = "Those that lost most come first. "
    if sure:
        told = ", ".join(f"{one.name} ({_signed(one.change)})" for one in sure)
        lead += f"Beyond chance, all classes considered together: {told}."
    else:
        lead += "None changed beyond chance, all classes considered together."
    caution = (
        f"Caution: among {len(rows)} classes some lose and some win by chance alone, and the one "
        "at the top was picked because it lost most, so its loss looks larger than it is. p is of "
        "McNemar's exact test over the class's own test images, corrected by Holm for all classes; "
        "few images of a class can hide a loss."
    )
    shown, rest = rows[:CLASSES], rows[CLASSES:]
    more = el("details", el("summary", f"{len(rest)} more"), table(names, rest)) if rest else None
    return section(
        "classes",
        "Which classes changed",
        el("p", lead),
        table(names, shown, 1, class_="wide"),
        more,
        el("p", caution, class_="note"),
    )


def _class_row(one: OfClass, train: int) -> list[str]:
    if one.before is None or one.after is None or one.change is None:
        return [one.name, f"{train:,}", "0", NOTHING, NOTHING, NOTHING, NOTHING]
    return [
        one.name,
        f"{train:,}",
        f"{one.before.n:,}",
        percent(one.before.value),
        percent(one.after.value),
        _change(one.change),
        _p(one.holm),
    ]


def _speed(result: Result) -> Markup | None:
    shipped = result.shipped
    if shipped is None:
        return None
    files = table(["file", "bytes"], [[name, size_word(n)] for name, n in shipped.files.items()])
    parts: list[Markup | None] = [el("p", shipped.words()), files]
    if shipped.timings:
        names = ["runtime", "images at once", "dense, ms", "shrunk, ms", "times as fast"]
        parts.append(table(names, [one.words() for one in shipped.timings], 1, class_="wide"))
        parts.append(el("p", shipped.conditions, class_="note"))
    if shipped.left:
        items = [el("li", words) for words in shipped.left]
        parts.append(el("details", el("summary", "what stayed whole"), el("ul", items)))
    parts += [el("p", f"But: {words}.", class_="but") for words in shipped.problems]
    return section("speed", "Size and speed" if shipped.timings else "Size", *parts)


def _again(result: Result) -> Markup:
    lead = "The first command makes all of this; the others are the same runs as it makes."
    begin = result.ready.begin
    told = f"Images are normalised by: {begin.normalised}. Trained: {result.ready.lengths.words}."
    return section(
        "again",
        "The command that repeats it",
        el("p", lead),
        el("pre", "\n".join(result.commands), tabindex="0"),
        el("p", told, class_="note"),
    )


def _share(one: Share) -> str:
    return f"{percent(one.value)} ({percent(one.low)} to {percent(one.high)})"


def _change(one: Change) -> str:
    return f"{_signed(one)} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def _signed(one: Change | None) -> str:
    return NOTHING if one is None else f"{100 * one.value:+.1f}"


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def lines(result: Result) -> Sequence[tuple[str, str]]:
    """Return what the terminal prints at the end: pairs of what and words."""
    one = result.outcome
    told = [
        ("found", found_words(result)),
        ("chosen", words_of(result.choosers)),
        ("original", f"{_share(one.before)} % on test, run {result.original.run_id}"),
        ("chosen network", f"{_share(one.after)} % on test, run {result.curve.run_id}"),
        ("balanced", f"{percent(one.balanced_before)} % -> {percent(one.balanced_after)} %"),
    ]
    worst = next((one for one in result.outcome.classes if one.change), None)
    if worst is not None and worst.change is not None and worst.change.value < 0:
        sure = "beyond chance" if (worst.holm or 1) < 0.05 else "may be chance"
        told.append(("loses most", f"{worst.name}, {_signed(worst.change)} points ({sure})"))
    if result.shipped:
        told += [(line.what, f"{line.before} -> {line.after}") for line in result.shipped.lines()]
        told += [("but", words) for words in result.shipped.warnings + result.shipped.problems]
    return told
