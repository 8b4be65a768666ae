"""What replays of stop rules and of choosers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from dsd_bench.components import kind_of
from dsd_bench.config.metrics import needed_keys, word_of
from dsd_bench.config.naming import component_word
from dsd_bench.config.run import ComponentConfig
from dsd_bench.config.words import parse_component
from dsd_bench.errors import UsageError
from dsd_bench.params import parse_values, split_word
from dsd_bench.plugins import catalogue
from dsd_bench.store.checkpoint import Row


@dataclass(frozen=True)
class Rule:
    """A stop criterion or a chooser, with its parameters.

    Attributes:
        word: as one types it, parameters at their default left out.
        config: as a run's configuration has it.
        built: the component itself.
        metrics: keys of the further metrics it reads, as rows have them.
    """

    word: str
    config: ComponentConfig
    built: Any
    metrics: tuple[str, ...] = ()


def rule_of(option: str, word: str, values: Mapping[str, Any] | None = None) -> Rule:
    """Return the rule that ``word`` names.

    Args:
        option: ``stop`` or ``choose``.
        word: ``name:key=value,...`` of any installed one.
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
    return Rule(text, config, component.create(params), needed_keys(component.metrics))


def grid(option: str, word: str, values: Mapping[str, Sequence[Any]]) -> list[Rule]:
    """Return ``word`` with every combination of ``values``.

    Args:
        option: ``stop`` or ``choose``.
        word: the rule whose parameters are varied.
        values: for each parameter the values to try.

    Raises:
        UsageError: for an unknown name, key or value.
    """
    return [
        rule_of(option, word, dict(zip(values, chosen))) for chosen in product(*values.values())
    ]


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
