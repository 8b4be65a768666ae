"""A page for each component and each kind of them, from the catalogue."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from docs.site.markdown import code, prose, table, toctree
from dsd_bench.cli.describe import usage
from dsd_bench.cli.options import default_text, limits, metavar
from dsd_bench.components import TABLE, Component, Kind
from dsd_bench.params import field_extra, main_field
from dsd_bench.plugins import Catalogue, Registration

OPTION = {"regularizer": "--reg", "reporter": "show --reporter"}
"""How a kind is chosen on the command line, where it is not ``--KIND``."""

ORPHAN = "---\norphan: true\n---"
"""Pages of components hang below their kind's table, not in the sidebar, which would be endless."""


def pages(known: Catalogue, curves: dict[tuple[str, str], str]) -> dict[str, str]:
    """Return each page's text by its path on the site.

    Args:
        known: the components.
        curves: for a (kind, name) Markdown that shows it at work.
    """
    made = {"components/index.md": _index(known)}
    for kind in TABLE:
        made[f"components/{kind.name}/index.md"] = _kind(kind, known.entries(kind.name))
        for entry in known.entries(kind.name):
            shown = curves.get((kind.name, entry.component.name), "")
            made[f"components/{kind.name}/{entry.component.name}.md"] = _page(entry, shown)
    return made


def option(kind: str) -> str:
    """Return the option that chooses a component of a kind."""
    return OPTION.get(kind, f"--{kind}")


def _index(known: Catalogue) -> str:
    parts = [
        "# Components",
        "Every part of a run that can change a number is a component with typed parameters; they"
        " combine freely. Write them as `name:key=value,...`; a first value may stand bare."
        " `dsd-bench plugins` lists them, those of your own plugins too, and"
        " `dsd-bench info KIND NAME` says what is said here.",
    ]
    for kind in TABLE:
        parts += [
            f"## {kind.plural.capitalize()}",
            _list(known.entries(kind.name), f"{kind.name}/"),
        ]
    parts.append(toctree(f"{kind.name}/index" for kind in TABLE))
    return "\n\n".join(parts)


def _kind(kind: Kind, entries: list[Registration]) -> str:
    return "\n\n".join(
        [
            f"# {kind.plural.capitalize()}",
            f"Chosen with `{option(kind.name)}`. Registered through"
            f" [`{kind.hook}`](../../hooks.md); base class {{py:class}}`dsd_bench.{kind.base}`.",
            _list(entries, ""),
        ]
    )


def _list(entries: list[Registration], folder: str) -> str:
    rows = [
        (f"[`{one.component.name}`]({folder}{one.component.name}.md)", prose(one.component.summary))
        for one in entries
    ]
    return table(["name", "what it does"], rows)


def _page(entry: Registration, shown: str) -> str:
    component = entry.component
    module, _, name = component.implementation.partition(":")
    parts = [
        ORPHAN,
        f"# {component.name}",
        f"[{entry.kind.capitalize()}](index.md): {prose(component.summary)}",
        f"```text\n{option(entry.kind)} {usage(entry)}\n```",
        "## Parameters",
        _parameters(component),
        shown,
        "## Facts",
        table(["what", "value"], _facts(entry)),
        "## From its source",
        f"```{{eval-rst}}\n.. autoclass:: {module}.{name}\n   :no-members:\n   :no-index:\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _parameters(component: Component) -> str:
    fields = component.params.model_fields
    if not fields:
        return "It has none."
    main = main_field(component.params)
    rows = [_parameter(name, field, name == main) for name, field in fields.items()]
    return table(["name", "type", "default", "range", "unit", "what it is"], rows)


def _parameter(name: str, field: FieldInfo, bare: bool) -> tuple[str, ...]:
    default = default_text(field).removeprefix("default: ")
    text = prose(field.description or "") + (" (may stand bare)" if bare else "")
    return (
        code(name),
        code(metavar(field)),
        "required" if field.is_required() else code(default),
        code(limits(field)),
        str(field_extra(field).get("unit") or ""),
        text,
    )


def _facts(entry: Registration) -> list[tuple[str, str]]:
    component = entry.component
    said = {None: "not said", True: "yes", False: "no"}
    facts = [
        ("citation", prose(component.citation)),
        ("version", str(component.version)),
        ("distribution", code(entry.distribution)),
        ("implementation", code(component.implementation)),
    ]
    if entry.kind == "pruner":
        facts.append(("gives new weights", said[component.reconstructs]))
        facts.append(("prunes at initialisation", said[component.at_initialisation]))
    if entry.kind == "perturber":
        facts.append(("sets the weights back", said[component.sets_back]))
    if entry.kind == "regularizer":
        changes = True if component.teacher else component.changes_targets
        facts.append(("changes the targets", said[changes]))
    if component.metrics:
        facts.append(("metrics it reads", ", ".join(map(code, component.metrics))))
    if component.columns:
        facts.append(("columns it needs", ", ".join(map(code, component.columns))))
    if entry.kind == "optimizer":
        facts.append(("passes a step", str(component.passes)))
    return facts
