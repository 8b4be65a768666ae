"""Mean curves with their bands and phases as SVG: panels above each other over one x axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsd_bench.analysis import Phase, Point, mean_curve
from dsd_bench.analysis.events import Event, Kind, marked, rings
from dsd_bench.analysis.sharing import shared_stretches
from dsd_bench.pages.markup import Markup, el
from dsd_bench.pages.scales import LEFT, RIGHT, WIDTH, Across, Up, up
from dsd_bench.reports.words import percent

COLOURS, DASHES, MARKS = 7, 5, 6
"""How many of each the style sheet and :func:`mark` know; their numbers have no common divisor."""

HEIGHTS = (250.0, 120.0)
"""Of the first panel, and of each below it."""
GAP = 38.0
STRIPE = 8.0

NUMERALS = {"light": "I", "critical": "II", "sweet": "III", "collapsed": "IV"}
EVENTS: dict[Kind, str] = {
    "selected": "selected model, mean over seeds",
    "gate": "gate opens for a seed",
    "stopped": "stop rule ends a seed",
}


@dataclass(frozen=True)
class Panel:
    """A panel: its column, its names above it and in hints, and what values are multiplied with."""

    column: str
    title: str
    short: str
    scale: float


PANELS = (
    Panel("test_accuracy", "test accuracy, %", "test", 100.0),
    Panel("val_accuracy", "validation accuracy, %", "validation", 100.0),
    Panel("train_accuracy_noisy", "train accuracy on wrong labels, %", "wrong labels", 100.0),
    Panel("entropy", "entropy of the neurons, bits", "entropy", 1.0),
)


@dataclass(frozen=True)
class Curve:
    """A curve of a figure.

    Attributes:
        label: its name.
        place: which look it has; the same in all figures of a page.
        seeds: for each seed its rows.
        events: what happened to them.
    """

    label: str
    place: int
    seeds: Sequence[Sequence[dict[str, Any]]]
    events: Sequence[Event] = ()

    @property
    def look(self) -> str:
        """Classes of its look."""
        return f"c{self.place % COLOURS} d{self.place % DASHES}"


@dataclass(frozen=True)
class Drawing:
    """A figure and what its page's script must know of it."""

    svg: Markup
    data: dict[str, Any]


def panels_of(curves: Sequence[Curve], wanted: Sequence[Panel] = PANELS) -> list[Panel]:
    """Return the panels that any curve has values for; validation only where there is no test."""
    found = [
        panel for panel in wanted if any(mean_curve(curve.seeds, panel.column) for curve in curves)
    ]
    tested = any(panel.column == "test_accuracy" for panel in found)
    return [panel for panel in found if not (tested and panel.column == "val_accuracy")]


def draw(
    identity: str,
    curves: Sequence[Curve],
    panels: Sequence[Panel],
    phases: Sequence[Phase] = (),
    title: str = "",
    told: str = "",
) -> Drawing:
    """Draw curves.

    Args:
        identity: of the figure in its page.
        curves: at least one.
        panels: from the top, at least one.
        phases: of the curves' first, which tint all panels.
        title: what the figure is, for who cannot see it.
        told: what it shows, likewise.
    """
    points = [[mean_curve(curve.seeds, panel.column) for curve in curves] for panel in panels]
    across = Across.around(one.sparsity for panel in points for curve in panel for one in curve)
    top, parts = 46.0 if phases else 32.0, []
    for place, (panel, means) in enumerate(zip(panels, points)):
        bottom = top + HEIGHTS[min(place, 1)]
        values = [panel.scale * edge for curve in means for one in curve for edge in _band(one)]
        axis = up(values, top, bottom)
        parts.append(_panel(panel, means, curves, (across, axis), phases, not place))
        top = bottom + GAP
    height = top + 10
    parts.append(_across(across, top - GAP))
    parts.append(
        el("line", class_="cursor", x1=_n(LEFT), x2=_n(LEFT), y1=28, y2=_n(top - GAP), hidden=True)
    )
    svg = el(
        "svg",
        el("title", title, id=f"{identity}-t"),
        el("desc", told, id=f"{identity}-d"),
        *parts,
        viewbox=f"0 0 {WIDTH:g} {_n(height)}",
        role="img",
        aria_labelledby=f"{identity}-t {identity}-d",
        class_="plot",
        id=identity,
        tabindex="0",
    )
    return Drawing(svg, _data(curves, panels, points, across))


def _data(
    curves: Sequence[Curve],
    panels: Sequence[Panel],
    points: Sequence[Sequence[Sequence[Point]]],
    across: Across,
) -> dict[str, Any]:
    """Return places and words of every point."""
    series = []
    for place, curve in enumerate(curves):
        told: dict[int, list[str]] = {}
        at: dict[int, float] = {}
        for number, means in enumerate(points):
            for one in means[place]:
                words = told.setdefault(one.round, [""] * len(panels))
                words[number] = _value(one, panels[number])
                at[one.round] = round(across.at(one.sparsity), 1)
                heads = f"round {one.round}, sparsity {percent(one.sparsity)} %, n = {one.n}"
                told[one.round] = [*words[: len(panels)], heads]
        rounds = sorted(told)
        series.append(
            {
                "label": curve.label,
                "place": curve.place,
                "x": [at[i] for i in rounds],
                "told": [told[i] for i in rounds],
            }
        )
    return {"panels": [panel.short for panel in panels], "series": series}


def _value(point: Point, panel: Panel) -> str:
    digits = 1 if panel.scale == 100 else 3
    spread = "" if point.std is None else f" ± {panel.scale * point.std:.{digits}f}"
    return f"{panel.scale * point.mean:.{digits}f}{spread}"


def _band(point: Point) -> tuple[float, float]:
    half = point.std or 0.0
    return point.mean - half, point.mean + half


def _panel(
    panel: Panel,
    means: Sequence[Sequence[Point]],
    curves: Sequence[Curve],
    axes: tuple[Across, Up],
    phases: Sequence[Phase],
    first: bool,
) -> Markup:
    axis = axes[1]
    above = 29 if first and phases else 15
    parts = [
        *_phases(phases, axes, first),
        el("text", panel.title, class_="name", x=_n(LEFT - 40), y=_n(axis.top - above)),
        *_ticks(axis),
    ]
    drawn = [_curve(curve, points, panel, axes) for curve, points in zip(curves, means) if points]
    stripes = [
        _stripe(
            curves, stretch.members, turn, means[member], panel, axes, (stretch.first, stretch.last)
        )
        for stretch in shared_stretches(means)
        for turn, member in enumerate(stretch.members)
    ]
    return el("g", parts, drawn, stripes, _events(curves, panel, axes))


def _ticks(axis: Up) -> list[Markup]:
    parts = []
    for tick in axis.ticks():
        at = _n(axis.at(tick))
        parts.append(el("line", class_="grid", x1=_n(LEFT), x2=_n(WIDTH - RIGHT), y1=at, y2=at))
        parts.append(el("text", f"{tick:g}", class_="y", x=_n(LEFT - 6), y=_n(axis.at(tick) + 4)))
    return parts


def _across(across: Across, bottom: float) -> Markup:
    parts = [
        el("line", class_="axis", x1=_n(LEFT), x2=_n(WIDTH - RIGHT), y1=_n(bottom), y2=_n(bottom))
    ]
    for place, word in across.ticks():
        parts.append(el("text", word, class_="x", x=_n(place), y=_n(bottom + 18)))
    parts.append(
        el("text", "sparsity, %", class_="x name", x=_n((LEFT + WIDTH) / 2), y=_n(bottom + 38))
    )
    return el("g", parts)


def _phases(phases: Sequence[Phase], axes: tuple[Across, Up], first: bool) -> list[Markup]:
    across, axis = axes
    parts = []
    for phase in phases:
        start, end = across.at(phase.start), across.at(phase.end)
        size = {"width": _n(max(end - start, 0)), "height": _n(axis.bottom - axis.top)}
        parts.append(el("rect", class_=f"phase {phase.name}", x=_n(start), y=_n(axis.top), **size))
        if first:
            wide = end - start > 90
            word = f"{phase.name} ({NUMERALS[phase.name]})" if wide else NUMERALS[phase.name]
            at = {"x": _n((start + end) / 2), "y": _n(axis.top - 6)}
            parts.append(el("text", word, class_="x phase-name", **at))
    return parts


def _curve(curve: Curve, points: Sequence[Point], panel: Panel, axes: tuple[Across, Up]) -> Markup:
    across, axis = axes
    places = [(across.at(one.sparsity), axis.at(panel.scale * one.mean)) for one in points]
    upper = [(x, axis.at(panel.scale * _band(one)[1])) for (x, _), one in zip(places, points)]
    lower = [(x, axis.at(panel.scale * _band(one)[0])) for (x, _), one in zip(places, points)]
    banded = any(one.std for one in points)
    fewer = [place for place, one in zip(places, points) if one.n < points[0].n]
    whole = [place for place, one in zip(places, points) if one.n == points[0].n]
    return el(
        "g",
        el("path", class_="band", d=f"{_line(upper)}L{_line(lower[::-1])[1:]}Z")
        if banded
        else None,
        el("path", class_="line", d=_line(places)),
        el("path", class_="mark", d=mark(curve.place, whole)),
        el("path", class_="mark fewer", d=mark(curve.place, fewer)) if fewer else None,
        class_=f"s {curve.look}",
        data_s=curve.place,
    )


def _stripe(
    curves: Sequence[Curve],
    members: Sequence[int],
    turn: int,
    points: Sequence[Point],
    panel: Panel,
    axes: tuple[Across, Up],
    rounds: tuple[int, int],
) -> Markup:
    """Draw one member's share of a stretch that several curves have in common."""
    across, axis = axes
    inside = [one for one in points if rounds[0] <= one.round <= rounds[1]]
    places = [(across.at(one.sparsity), axis.at(panel.scale * one.mean)) for one in inside]
    curve, count = curves[members[turn]], len(members)
    own = [place for place, one in zip(places, inside) if one.round % count == turn]
    return el(
        "g",
        el("path", class_="line stripe", d=_line(places),
           stroke_dasharray=f"{STRIPE:g} {STRIPE * (count - 1):g}",
           stroke_dashoffset=f"{-STRIPE * turn:g}"),
        el("path", class_="mark", d=mark(curve.place, own)) if own else None,
        class_=f"s c{curve.place % COLOURS}",
        data_s=curve.place,
    )  # fmt: skip


def _events(curves: Sequence[Curve], panel: Panel, axes: tuple[Across, Up]) -> list[Markup]:
    """Draw what happened to each curve; of several at one place the first is the largest."""
    across, axis = axes
    found = [
        (kind, (across.at(x), axis.at(panel.scale * y)), curve)
        for curve in curves
        for kind in EVENTS
        for x, y in marked(curve.seeds, curve.events, kind, panel.column)
    ]
    return [
        el(
            "path",
            class_=f"s c{curve.place % COLOURS} event {kind}",
            data_s=curve.place,
            d=event_mark(kind),
            transform=f"translate({_n(x)} {_n(y)})"
            + (f" scale({1 + 0.4 * ring:g})" if ring else ""),
        )
        for (kind, (x, y), curve), ring in zip(found, rings([event[:2] for event in found]))
    ]


def event_mark(kind: Kind) -> str:
    """Return the path of an event's mark around the origin: a star, a bar, a cross."""
    return (
        "M0 0"
        + {
            "selected": "m0-8 2.2 5 5.4.6-4 3.7 1.1 5.3-4.7-2.7-4.7 2.7 1.1-5.3-4-3.7 5.4-.6z",
            "gate": "m0-9v18",
            "stopped": "m-5-5 10 10m0-10-10 10",
        }[kind]
    )


def mark(place: int, places: Sequence[tuple[float, float]]) -> str:
    """Return the path of a curve's marks: circles, squares, triangles, diamonds ..."""
    shape = (
        "m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z",
        "m-2.9-2.9h5.8v5.8h-5.8z",
        "m0-3.8 3.6 6.4h-7.2z",
        "m0-4 4 4-4 4-4-4z",
        "m0 3.8 3.6-6.4h-7.2z",
        "m-3.6-1.2h2.4v-2.4h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4z",
    )[place % MARKS]
    return "".join(f"M{_n(x)} {_n(y)}{shape}" for x, y in places)


def swatch(place: int) -> Markup:
    """Return a look by itself, for legends."""
    return el(
        "svg",
        el("path", class_="line", d="M1 7h32"),
        el("path", class_="mark", d=mark(place, [(17, 7)])),
        viewbox="0 0 34 14",
        class_=f"swatch s c{place % COLOURS} d{place % DASHES}",
        aria_hidden="true",
    )


def event_swatch(kind: Kind) -> Markup:
    """Return an event's mark by itself, for legends."""
    path = el("path", class_=f"event {kind}", d=event_mark(kind), transform="translate(10 10)")
    return el("svg", path, viewbox="0 0 20 20", class_="swatch plain", aria_hidden="true")


def _line(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)


def _n(value: float) -> str:
    """Write a coordinate with one decimal."""
    return f"{value:.1f}".removesuffix(".0")
