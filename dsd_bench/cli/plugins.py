"""``dsd-bench plugins`` and ``dsd-bench info``."""

from __future__ import annotations

from typing import Any

import click

from dsd_bench.cli.describe import parameter_lines, usage
from dsd_bench.cli.groups import Commands
from dsd_bench.cli.saying import say, say_json
from dsd_bench.components import KINDS
from dsd_bench.errors import UsageError, plain, suggest
from dsd_bench.plugins import OBSERVER, Catalogue, Registration, catalogue

COMMANDS = {
    "new": ("dsd_bench.cli.creating", "Make a new plugin that works, of any kind."),
    "test": ("dsd_bench.cli.checking", "Check that plugins keep to what every component must."),
}
"""What else can be done with plugins: each command's module and summary."""


@click.group(cls=Commands, lazy=COMMANDS, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """List every component by kind, what watches runs, and the plugins that failed to load."""
    if context.invoked_subcommand is not None:
        return
    known = catalogue()
    if as_json:
        say_json(listing(known))
        return
    for kind in KINDS:
        entries = known.entries(kind)
        if entries:
            say(kind, bold=True)
        for entry in entries:
            foreign = "" if entry.distribution == "dsd-bench" else f"  [{entry.distribution}]"
            say(f"  {usage(entry):<36} {plain(entry.component.summary)}{plain(foreign)}")
    if known.observers:
        say(OBSERVER, bold=True)
    for entry in known.observers:
        text = f"{entry.component.summary}  [{entry.distribution}]"
        say(f"  {entry.component.name:<36} {plain(text)}")
    for old in known.deprecated:
        say(plain(f"deprecated: {old.distribution}: {old.error}"), fg="yellow")
    for failure in known.failed:
        say(plain(f"failed: {failure.distribution}: {failure.error}"), fg="red")


def listing(known: Catalogue) -> dict[str, Any]:
    """Return what ``plugins --json`` prints."""
    components = [entry_json(entry) for entry in known.entries()]
    failed = [{"distribution": f.distribution, "error": f.error} for f in known.failed]
    old = [{"distribution": d.distribution, "warning": d.error} for d in known.deprecated]
    observers = [
        {"distribution": o.distribution, "summary": o.component.summary} for o in known.observers
    ]
    return {
        "components": components,
        "observers": observers,
        "failed": failed,
        "deprecated": old,
    }


def entry_json(entry: Registration) -> dict[str, Any]:
    """Return what JSON says of one component."""
    return {
        "kind": entry.kind,
        "name": entry.component.name,
        "version": entry.component.version,
        "distribution": entry.distribution,
        "origin": entry.origin,
        "summary": entry.component.summary,
    }


@click.command()
@click.argument("kind")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(kind: str, name: str | None, as_json: bool) -> None:
    """Describe the component NAME of KIND: parameters, citation, origin, distribution."""
    known = catalogue()
    if kind not in KINDS:
        fits = [f"`dsd-bench info {one} {kind}`" for one in KINDS if known.find(one, kind)]
        hint = f"; to describe the component: {' or '.join(fits)}" if fits else suggest(kind, KINDS)
        raise UsageError(f"there is no kind '{kind}'{hint}")
    if name is None:
        raise UsageError(f"which {kind}? choose from: {', '.join(known.names(kind))}")
    entry = known.get(kind, name)
    if as_json:
        say_json(info_json(entry))
        return
    say("\n".join(_describe(entry)))


def info_json(entry: Registration) -> dict[str, Any]:
    """Return what ``info --json`` prints; a parameter's ``schema`` is JSON Schema."""
    component = entry.component
    return {
        **entry_json(entry),
        "usage": usage(entry),
        "citation": component.citation,
        "metrics": list(component.metrics),
        "schema": component.params.model_json_schema(),
    }


def _describe(entry: Registration) -> list[str]:
    component = entry.component
    title = plain(f"{entry.kind} {component.name}: {component.summary}")
    lines = [title, "", f"  {usage(entry)}", ""]
    for name, text in parameter_lines(entry):
        lines.append(f"  {name:<28} {text}")
    if component.metrics:
        lines.append(f"  needs the metrics: {plain(', '.join(component.metrics))}")
    lines += ["", f"  citation      {plain(component.citation or '-')}"]
    lines += [f"  version       {component.version}"]
    lines += [f"  distribution  {plain(entry.distribution)}"]
    return [*lines, f"  origin        {plain(entry.origin)}"]
