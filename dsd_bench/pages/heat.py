"""Layers over rounds as colours: one path for each of a few levels, so deep networks stay small."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsd_bench.pages.curves import Drawing
from dsd_bench.pages.markup import el
from dsd_bench.pages.scales import WIDTH

LEVELS = 16
TOP = 30.0
LETTER = 10.5
"""How wide a letter is at most, on a phone, where the text is large."""
APART = 20.0
"""How far names are apart, at least."""
LONGEST = 18

Values = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Layers:
    """A quantity of every layer in every round, mean over the seeds.

    Attributes:
        title: what it is.
        names: of the layers, from the network's input.
        rounds: their numbers.
        values: ``values[layer][round]``, 0..1; None where nobody measured it.
    """

    title: str
    names: Sequence[str]
    rounds: Sequence[int]
    values: Values


def sparsities(seeds: Sequence[Sequence[dict[str, Any]]]) -> Layers | None:
    """Return the sparsity of each layer; None where it is not recorded."""
    return _layers("sparsity of each layer", "sparsity_per_layer", seeds)


def entropies(seeds: Sequence[Sequence[dict[str, Any]]]) -> Layers | None:
    """Return the entropy of each layer of rectifiers; None where it is not recorded."""
    return _layers("entropy of each layer's neurons, bits", "entropy_per_layer", seeds)


def _layers(title: str, key: str, seeds: Sequence[Sequence[dict[str, Any]]]) -> Layers | None:
    found: dict[str, dict[int, list[float]]] = {}
    for rows in seeds:
        for row in rows:
            for name, value in _named(row.get(key)).items():
                if isinstance(value, int | float):
                    found.setdefault(name, {}).setdefault(row["round"], []).append(float(value))
    rounds = sorted({at for values in found.values() for at in values})
    if not rounds:
        return None
    grid = [[_mean(values.get(at)) for at in rounds] for values in found.values()]
    return Layers(title, list(found), rounds, grid)


def _named(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {f"{at + 1}": one for at, one in enumerate(value)} if isinstance(value, list) else {}


def _mean(values: list[float] | None) -> float | None:
    return statistics.fmean(values) if values else None


def margin(layers: Layers) -> float:
    """Return the room that the names of the layers need."""
    return 16 + LETTER * max(map(len, short(layers.names)))


def draw(identity: str, layers: Layers, label: str, left: float | None = None) -> Drawing:
    """Draw a heat map; darker is more.

    Args:
        identity: of the figure in its page.
        layers: what is drawn.
        label: of the method.
        left: the room for names; None: what they need.
    """
    count = len(layers.names)
    each = max(6.0, min(22.0, 400.0 / count))
    shown = short(layers.names)
    left = margin(layers) if left is None else left
    wide = (WIDTH - left - 14) / len(layers.rounds)
    bottom = TOP + each * count
    paths = [
        el("path", class_=f"lv{level}", d=_cells(layers.values, level, wide, each))
        for level in range(LEVELS)
    ]
    names = [
        el("text", shown[at], class_="y", x=f"{left - 6:.1f}",
           y=f"{TOP + each * (at + 0.5) + 4:.1f}")
        for at in range(0, count, math.ceil(APART / each))
    ]  # fmt: skip
    every = -(-len(layers.rounds) // 12)
    rounds = [
        el("text", at, class_="x", x=f"{left + wide * (place + 0.5):.1f}", y=f"{bottom + 16:.1f}")
        for place, at in enumerate(layers.rounds)
        if place % every == 0
    ]
    svg = el(
        "svg",
        el("title", f"{layers.title}: {label}", id=f"{identity}-t"),
        el("desc", _told(layers), id=f"{identity}-d"),
        el("text", layers.title, class_="name", x=4, y=14),
        el("g", paths, transform=f"translate({left:g} {TOP:g})"),
        names,
        rounds,
        el("text", "round", class_="x name", x=f"{(left + WIDTH) / 2:.1f}", y=f"{bottom + 34:.1f}"),
        viewbox=f"0 0 {WIDTH:g} {bottom + 42:.1f}",
        role="img",
        aria_labelledby=f"{identity}-t {identity}-d",
        class_="heat",
        id=identity,
    )
    values = [[None if v is None else round(v, 3) for v in row] for row in layers.values]
    box = [left, TOP, round(wide, 3), round(each, 3)]
    told = {"names": list(layers.names), "rounds": list(layers.rounds), "values": values}
    return Drawing(svg, {"box": box, **told})


def level_of(value: float) -> int:
    """Return the level of a value in 0..1."""
    return max(0, min(LEVELS - 1, int(value * LEVELS)))


def _cells(values: Values, level: int, wide: float, high: float) -> str:
    """Return the path of all cells of one level; neighbours in a row are one rectangle."""
    found = []
    for place, row in enumerate(values):
        at = 0
        while at < len(row):
            end = at
            while end < len(row) and (value := row[end]) is not None and level_of(value) == level:
                end += 1
            if end > at:
                span = f"{wide * (end - at):.1f}"
                found.append(f"M{wide * at:.1f} {high * place:.1f}h{span}v{high:.1f}h-{span}z")
            at = max(end, at + 1)
    return "".join(found)


def short(names: Sequence[str]) -> list[str]:
    """Return what tells layers apart: of long names not the parts that all have in common."""
    parts = [name.split(".") for name in names]
    if len(parts) > 1 and max(map(len, names)) > LONGEST:
        for end in (0, -1):
            while min(map(len, parts)) > 1 and len({one[end] for one in parts}) == 1:
                for one in parts:
                    one.pop(end)
    return [_middle(".".join(one)) for one in parts]


def _middle(name: str) -> str:
    """Return a name without its middle if it is long."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def _told(layers: Layers) -> str:
    """Say each layer's first and last value; of many the first and the last layer's."""
    names = list(zip(layers.names, layers.values))
    shown = names if len(names) <= 8 else [names[0], names[-1]]
    parts = [f"{name} {_number(row[0])} to {_number(row[-1])}" for name, row in shown]
    first, last = layers.rounds[0], layers.rounds[-1]
    return f"From round {first} to {last}: {'; '.join(parts)}."


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
