"""What replays of stop rules and of choosers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dsd_bench.components import Component, kind_of
from dsd_bench.config.metrics import word_of
from dsd_bench.config.naming import component_word
from dsd_bench.config.run import ComponentConfig
from dsd_bench.config.words import parse_component
from dsd_bench.errors import UsageError
from dsd_bench.params import parse_values, split_word
from dsd_bench.plugins import catalogue
from dsd_bench.store.checkpoint import Row


@dataclass(frozen=True)
class Named:
    """A component that a word names.

    Attributes:
        component: as it is registered.
        word: as one types it, parameters at their default left out.
        config: as a run's configuration has it.
        built: the component itself.
    """

    component: Component
    word: str
    config: ComponentConfig
    built: Any


def named(option: str, word: str, values: Mapping[str, Any] | None = None) -> Named:
    """Return the component that ``word`` names.

    Args:
        option: ``stop`` or ``choose``.
        word: ``name:key=value,...``.
        values: parameters that replace those of ``word``.

    Raises:
        UsageError: for an unknown name, key or value.
    """
    kind, flag, given = kind_of(option), f"--{option}", word
    asked: Any = given
    if values:
        name, bare, keyed = split_word(given, flag)
        model = catalogue().get(kind, name, flag).component.params
        asked = {"name": name, **parse_values(model, bare, keyed, f"{flag} {name}"), **values}
    entry, params = parse_component(option, asked, flag)
    component = entry.component
    config = ComponentConfig(
        name=component.name, version=component.version, params=params.model_dump(mode="json")
    )
    text = component_word(kind, config.model_dump(), catalogue().find)
    return Named(component, text, config, component.create(params))


def check_metrics(run_id: str, rows: Sequence[Row], who: str, wanted: Sequence[str]) -> None:
    """Raise :class:`UsageError` unless every row has the further metrics that a rule reads.

    Args:
        run_id: of the run.
        rows: of its rounds.
        who: reads them, such as ``the stop rule 'mine'``.
        wanted: the metrics' keys.
    """
    held = set.intersection(*(set(row.get("metrics", ())) for row in rows))
    if missing := [name for name in wanted if name not in held]:
        options = " ".join(f"--metric {word_of(name)}" for name in missing)
        raise UsageError(
            f"{who} reads {', '.join(missing)}, which run {run_id} did not measure; measure it by "
            f"running again with {options} --force"
        )
