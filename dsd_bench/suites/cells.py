"""From a suite to its cells: every combination of the axes' entries, each with its runs."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsd_bench.config.layers import Layer, merge, normalise, parse_seeds
from dsd_bench.config.resolve import resolve
from dsd_bench.config.run import RunConfig
from dsd_bench.config.words import parse_component
from dsd_bench.errors import UsageError, suggest
from dsd_bench.suites.schema import Scale, Suite

SEPARATOR = " / "
CYCLE = "teachers in a cycle"


@dataclass(frozen=True)
class Cell:
    """One combination of the axes' entries.

    Attributes:
        labels: the entry's label by axis.
        configs: one run for each seed.
    """

    labels: Mapping[str, str]
    configs: tuple[RunConfig, ...]

    @property
    def name(self) -> str:
        """The labels, as ``--only`` matches them."""
        return SEPARATOR.join(self.labels.values())


def cells(
    suite: Suite,
    scale: Scale,
    *,
    only: Sequence[str] = (),
    seeds: str | None = None,
    places: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """Expand ``suite`` at ``scale``.

    Args:
        suite: the suite.
        scale: ``small``, ``cpu`` or ``paper``.
        only: shell patterns; a cell is kept if its name or one of its labels matches one of them.
        seeds: instead of the scale's.
        places: ``data_dir`` and ``runs_dir``.

    Raises:
        UsageError: for wrong options (with the cell's name), teachers in a cycle, and patterns
            that match nothing.
    """
    grid = _Grid(suite, scale, seeds, dict(places or {}))
    chosen = [labels for labels in grid.combinations() if _matches(labels, only)]
    if not chosen:
        names = [SEPARATOR.join(labels.values()) for labels in grid.combinations()]
        raise UsageError(f"--only {' '.join(only)}: no cell matches{suggest(only[0], names)}")
    return [Cell(labels, tuple(grid.configs(labels))) for labels in chosen]


def _matches(labels: Mapping[str, str], only: Sequence[str]) -> bool:
    names = [SEPARATOR.join(labels.values()), *labels.values()]
    return not only or any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in only)


class _Grid:
    """The axes of one suite at one scale, and what they resolve to."""

    def __init__(
        self, suite: Suite, scale: Scale, seeds: str | None, places: dict[str, Any]
    ) -> None:
        self.axes = suite.axes(scale)
        spec = suite.scale[scale]
        self.base = [suite.options, spec.options, places]
        self.seeds = parse_seeds(seeds if seeds is not None else spec.seeds)
        self.known: dict[tuple[str, ...], list[RunConfig]] = {}

    def combinations(self) -> list[dict[str, str]]:
        """Return the labels of every cell, the last axis running fastest."""
        names = [axis.name for axis in self.axes]
        every = itertools.product(*(axis.labels for axis in self.axes))
        return [dict(zip(names, labels)) for labels in every]

    def configs(self, labels: Mapping[str, str], students: tuple[str, ...] = ()) -> list[RunConfig]:
        """Return a cell's runs, one a seed; ``students`` are the cells that wait for them."""
        name = SEPARATOR.join(labels.values())
        if name in students:
            circle = " -> ".join([*students[students.index(name) :], name])
            raise UsageError(f"{CYCLE}: {circle}")
        key = tuple(labels.values())
        if key not in self.known:
            self.known[key] = self._resolve(labels, (*students, name))
        return self.known[key]

    def _resolve(self, labels: Mapping[str, str], students: tuple[str, ...]) -> list[RunConfig]:
        cell = students[-1]
        try:
            layers, teacher = self._layers(labels)
            if teacher is None:
                return resolve(*layers, {"seeds": self.seeds})
            found = []
            for seed, other in zip(self.seeds, self._other(labels, teacher, students)):
                mine = [_taught(layer, other) for layer in layers]
                found += resolve(*mine, {"seeds": str(seed)})
            return found
        except UsageError as error:
            if str(error).startswith(CYCLE):
                raise
            raise UsageError(f"cell '{cell}': {error}") from None

    def _layers(self, labels: Mapping[str, str]) -> tuple[list[Layer], str | None]:
        """Return a cell's layers, and the label that ``teacher = "LABEL"`` names, if any does."""
        teacher, own = None, []
        for axis in self.axes:
            options = dict(next(given for name, given in axis.entries if name == labels[axis.name]))
            if isinstance(options.get("teacher"), str):
                teacher = options.pop("teacher")
            own.append(normalise(options))
        base = [normalise(layer) for layer in self.base]
        distils = any(map(_distils, merge([*base, *own]).get("reg") or []))
        if teacher is not None and not distils:
            raise UsageError(f"'{teacher}' shall teach, but no regularizer distils; add kd")
        if teacher is not None or not distils:
            # the suite's words on teachers are for those of its cells that have one
            base = [{k: v for k, v in layer.items() if k != "teacher"} for layer in base]
        return [*base, *own], teacher

    def _other(
        self, labels: Mapping[str, str], teacher: str, students: tuple[str, ...]
    ) -> list[RunConfig]:
        """Return the runs of the cell with another entry, the one called ``teacher``."""
        axis = next((axis for axis in self.axes if teacher in axis.labels), None)
        if axis is None:
            every = [label for axis in self.axes for label in axis.labels]
            raise UsageError(f"no teacher '{teacher}'{suggest(teacher, every)}")
        return self.configs({**labels, axis.name: teacher}, students)


def _distils(word: Any) -> bool:
    return parse_component("reg", word, "reg")[0].component.teacher


def _taught(layer: Mapping[str, Any], teacher: RunConfig) -> dict[str, Any]:
    """Let the layer's ``kd`` learn from ``teacher``'s best weights."""
    if "reg" not in layer:
        return dict(layer)
    return {**layer, "reg": [_with_teacher(word, teacher) for word in layer["reg"]]}


def _with_teacher(word: Any, teacher: RunConfig) -> Any:
    entry, values = parse_component("reg", word, "reg")
    if not entry.component.teacher:
        return word
    params = {**values.model_dump(mode="json"), "teacher": teacher.run_id}
    config = teacher.model_dump(mode="json")
    taught = {"run_id": teacher.run_id, "weights": "best", "config": config}
    return {"name": entry.component.name, "params": params, "teacher": taught}
