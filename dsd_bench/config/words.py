"""From a component's word to the component: found, its parameters typed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsd_bench import params
from dsd_bench.components import kind_of
from dsd_bench.config.run import ComponentConfig
from dsd_bench.errors import UsageError
from dsd_bench.plugins import Catalogue, Registration, catalogue

CHOSEN = {"version", "params", "teacher", "places", "at_initialisation"}
"""What a run's ``config.json`` says of a component beside its name."""


def build_component(catalogue: Catalogue, kind: str, config: ComponentConfig) -> Any:
    """Build the implementation that a configuration names.

    Raises:
        UsageError: if it is not installed, or installed in another version.
    """
    given = component_params(catalogue, kind, config)
    return catalogue.get(kind, config.name).component.create(given)


def component_params(catalogue: Catalogue, kind: str, config: ComponentConfig) -> params.Params:
    """Return the validated parameters of a component; its implementation is not imported.

    Raises:
        UsageError: if it is not installed, or installed in another version.
    """
    found = catalogue.get(kind, config.name).component
    if found.version != config.version:
        raise UsageError(
            f"{kind} '{config.name}' is installed in version {found.version}, "
            f"the run was made with version {config.version}"
        )
    return params.validate(found.params, config.params, f"{kind} {config.name}")


def parse_component(option: str, word: Any, where: str) -> tuple[Registration, params.Params]:
    """Return the component that ``word`` names and its validated parameters.

    ``word`` is ``"name:key=value"``, or a table ``{"name": ..., key: value}``; a run's
    ``config.json`` gives ``{"name", "version", "params"}``.
    """
    kind = kind_of(option)
    bare: str | None = None
    values: Mapping[str, Any]
    if isinstance(word, str):
        name, bare, values = params.split_word(word, where)
    else:
        name = component_name(word, where)
        values = {k: v for k, v in word.items() if k != "name"}
        if set(values) <= CHOSEN and "params" in values:
            values = values["params"]
            if not isinstance(values, Mapping):
                raise UsageError(f"{where} {name}: params={values!r} is no table")
    entry = catalogue().get(kind, name, where)
    where = f"{where} {name}"
    model = entry.component.params
    return entry, params.validate(model, params.parse_values(model, bare, values, where), where)


def component_name(word: Any, where: str) -> str:
    """Return the name in a component's word or table."""
    if isinstance(word, str):
        return params.split_word(word, where)[0]
    if isinstance(word, Mapping) and isinstance(word.get("name"), str):
        return str(word["name"])
    raise UsageError(f"{where}: {word!r} is neither 'name:key=value' nor a table with a name")
