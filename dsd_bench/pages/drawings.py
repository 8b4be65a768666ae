"""The sections of a page that are drawn: curves, students over their teachers, maps of layers."""

from __future__ import annotations

from collections.abc import Sequence

from dsd_bench.pages import curves, heat
from dsd_bench.pages.curves import EVENTS, Curve, Drawing
from dsd_bench.pages.markup import Markup, el
from dsd_bench.pages.sections import found_words, section
from dsd_bench.pages.subject import Subject, teachers_of
from dsd_bench.plugins import catalogue
from dsd_bench.reports.methods import methods_of


def figures(subject: Subject) -> tuple[Markup, dict[str, Drawing]]:
    """Return the curves of every setting with their legend, and the figures by their names."""
    places = {one.method.label: at for at, one in enumerate(subject.every)}
    drawn: dict[str, Drawing] = {}
    parts: list[Markup] = []
    for number, (setting, methods) in enumerate(subject.methods.items()):
        lines = [
            Curve(one.method.label, places[one.method.label], one.seeds, one.events)
            for one in methods
        ]
        identity = f"curves{number}"
        phased = next((one for one in methods if one.study.phases), None)
        phases = phased.study.phases if phased else []
        told = " ".join(f"{one.method.label}: {found_words(one)}." for one in methods)
        made = curves.draw(
            identity, lines, curves.panels_of(lines), phases, f"Curves: {setting}", told
        )
        drawn[identity] = made
        tint = f"tints: phases of {phased.method.label}; " if phased and len(methods) > 1 else ""
        note = f"{setting}. Lines: mean over seeds; bands: ± 1 standard deviation; {tint}"
        note += "striped: curves coincide; hollow marks: mean over fewer seeds."
        parts.append(
            el("figure", _legend(lines), el("div", made.svg, class_="fit"),
               el("figcaption", note))
        )  # fmt: skip
    return section("curves", "Curves", parts), drawn


def _legend(lines: Sequence[Curve]) -> Markup:
    """Name curves and marks; the boxes that choose curves show where scripts run."""
    several = len(lines) > 1
    entries = [
        el(
            "li",
            el(
                "label",
                el("input", type="checkbox", checked=True, data_s=one.place, hidden=True)
                if several
                else None,
                curves.swatch(one.place),
                el("span", one.label),
            ),
        )
        for one in lines
    ]
    kinds = {event.kind for one in lines for event in one.events}
    marks = [
        el("li", curves.event_swatch(kind), el("span", words))
        for kind, words in EVENTS.items()
        if kind in kinds
    ]
    return el("ul", entries, marks, class_="legend")


def teachers(subject: Subject) -> tuple[Markup | None, dict[str, Drawing]]:
    """Return each distilled method over its teacher's own curve, where that lies beside it."""
    drawn: dict[str, Drawing] = {}
    parts: list[Markup] = []
    for one in subject.every:
        runs = teachers_of(one)
        if not runs:
            continue
        teacher = methods_of(runs, catalogue().find)[0]
        label = f"teacher: {teacher.label}"
        lines = [
            Curve(one.method.label, 0, one.seeds, one.events),
            Curve(label, 1, [run.rows for run in teacher.runs]),
        ]
        identity = f"teacher{len(drawn)}"
        told = f"{one.method.label} over the curve of its teacher, {teacher.label}."
        made = curves.draw(identity, lines, curves.panels_of(lines)[:2], (), told, told)
        drawn[identity] = made
        parts.append(
            el("details", el("summary", one.method.label),
               el("figure", _plain_legend(lines), el("div", made.svg, class_="fit")),
               open=not parts)
        )  # fmt: skip
    if not parts:
        return None, {}
    lead = "Each distilled network over the curve of the network that taught it."
    return section("teachers", "Students and teachers", el("p", lead), parts), drawn


def _plain_legend(lines: Sequence[Curve]) -> Markup:
    entries = [el("li", curves.swatch(one.place), el("span", one.label)) for one in lines]
    return el("ul", entries, class_="legend")


def layers(subject: Subject) -> tuple[Markup | None, dict[str, Drawing]]:
    """Return heat maps of each method's layers; None where no run has them."""
    drawn: dict[str, Drawing] = {}
    parts: list[Markup] = []
    for one in subject.every:
        maps = [found for made in (heat.sparsities, heat.entropies) if (found := made(one.seeds))]
        left = max(map(heat.margin, maps), default=0.0)
        figures = []
        for found in maps:
            identity = f"heat{len(drawn)}"
            drawn[identity] = heat.draw(identity, found, one.method.label, left)
            figures.append(el("div", drawn[identity].svg, class_="fit"))
        if figures:
            words = el("summary", one.method.label)
            parts.append(el("details", words, el("figure", figures), open=not parts))
    if not parts:
        return None, {}
    lead = "Mean over the seeds; dark is high. Layers from the input (above) to the output."
    return section("layers", "Layers over rounds", el("p", lead), el("div", _scale()), parts), drawn


def _scale() -> Markup:
    cells = [
        el("rect", class_=f"lv{at}", x=30 + 10 * at, y=0, width=10, height=12)
        for at in range(heat.LEVELS)
    ]
    ends = (el("text", "0", x=20, y=11), el("text", "1", x=200, y=11))
    return el(
        "svg", cells, ends, viewbox="0 0 220 14", class_="scale", role="img",
        aria_label="colours from 0 to 1",
    )  # fmt: skip
