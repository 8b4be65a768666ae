"""Describing components: for ``--help`` of a run's chosen ones and for ``info``."""

from __future__ import annotations

from dsd_bench.cli.options import default_text, field_help, metavar
from dsd_bench.environment.contained import contained
from dsd_bench.errors import describe, plain
from dsd_bench.params import Params, main_field
from dsd_bench.plugins import Registration


def parameter_lines(entry: Registration) -> list[tuple[str, str]]:
    """Return each parameter as (name and type, help with range and default)."""
    try:
        with contained():
            return _lines(entry.component.params)
    except Exception as error:  # a plugin may declare what cannot be described
        return [("(parameters)", f"cannot be described: {describe(error)}")]


def _lines(params: type[Params]) -> list[tuple[str, str]]:
    main = main_field(params)
    lines = []
    for name, field in params.model_fields.items():
        bare = " (may stand bare)" if name == main else ""
        lines.append((plain(f"{name}={metavar(field)}"), plain(f"{field_help(field)}{bare}")))
    return lines


def usage(entry: Registration) -> str:
    """Return how the component is written, its main parameter bare."""
    try:
        with contained():
            return plain(entry.component.name + _bare(entry.component.params))
    except Exception:  # parameter_lines says what is wrong with them
        return entry.component.name


def _bare(params: type[Params]) -> str:
    main = main_field(params)
    if main is None:
        return ""
    field = params.model_fields[main]
    value = metavar(field) if field.is_required() else default_text(field).removeprefix("default: ")
    return f":{value or metavar(field)}"
