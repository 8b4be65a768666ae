"""Describing components: for ``--help`` of a run's chosen ones and for ``info``."""

from __future__ import annotations

from dsd_bench.cli.options import default_text, field_help, metavar
from dsd_bench.params import main_field
from dsd_bench.plugins import Registration


def parameter_lines(entry: Registration) -> list[tuple[str, str]]:
    """Return each parameter as (name and type, help with range and default)."""
    main = main_field(entry.component.params)
    lines = []
    for name, field in entry.component.params.model_fields.items():
        bare = " (may stand bare)" if name == main else ""
        lines.append((f"{name}={metavar(field)}", f"{field_help(field)}{bare}"))
    return lines


def usage(entry: Registration) -> str:
    """Return how the component is written, its main parameter bare."""
    main = main_field(entry.component.params)
    if main is None:
        return entry.component.name
    field = entry.component.params.model_fields[main]
    value = metavar(field) if field.is_required() else default_text(field).removeprefix("default: ")
    return f"{entry.component.name}:{value or metavar(field)}"
