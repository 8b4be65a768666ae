"""A page for each command, from click's own description of it."""

from __future__ import annotations

from collections.abc import Iterator

import click

from docs.site.markdown import code, prose, table, toctree
from dsd_bench.cli.main import cli

PROGRAM = "dsd-bench"


def commands(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its words, ``("plugins", "test")``, groups before theirs."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1] if path else PROGRAM)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None:
                yield from commands(found, (*path, name))


def pages() -> dict[str, str]:
    """Return each page's text by its path on the site."""
    found = dict(commands())
    named = {path: f"commands/{'-'.join(path)}.md" for path in found if path}
    made = {place: _page(path, found[path]) for path, place in named.items()}
    made["commands/index.md"] = _index(found, named)
    return made


def _index(found: dict[tuple[str, ...], click.Command], named: dict[tuple[str, ...], str]) -> str:
    rows = []
    for path, place in named.items():
        link = f"[`{' '.join((PROGRAM, *path))}`]({place.removeprefix('commands/')})"
        rows.append((link, prose(found[path].get_short_help_str(200))))
    return "\n\n".join(
        [
            "# Command line",
            prose(_help(found[()])),
            "`--help` after any command says what is said here. Exit codes: 0 done, 1 a run failed,"
            " 2 something was wrong before it started, 130 interrupted.",
            table(["command", "what it does"], rows),
            "## Options before the command",
            _options(found[()]),
            toctree(
                place.removeprefix("commands/").removesuffix(".md") for place in named.values()
            ),
        ]
    )


def _page(path: tuple[str, ...], command: click.Command) -> str:
    parent = click.Context(cli, info_name=" ".join((PROGRAM, *path[:-1])))
    context = click.Context(command, info_name=path[-1], parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [
        f"# {' '.join(path)}",
        f"```text\n{' '.join((PROGRAM, *path))} {usage}\n```",
        prose(_help(command)),
        _options(command),
    ]
    if any(option.hidden for option in _of(command)):
        parts += ["## The teacher's own", _teacher(command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _help(command: click.Command) -> str:
    return "\n\n".join(
        " ".join(part.split()) for part in (command.help or "").split("\f")[0].split("\n\n")
    )


def _of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option)]


def _options(command: click.Command) -> str:
    groups: dict[str, list[tuple[str, str]]] = {}
    context = click.Context(command)
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is not None:
            groups.setdefault(getattr(option, "heading", "Options"), []).append(record)
    parts = []
    for heading, records in groups.items():
        rows = [(code(words), prose(text)) for words, text in records]
        title = [] if len(groups) == 1 else [f"## {heading}"]
        parts += [*title, table(["option", "what it says"], rows)]
    return "\n\n".join(parts)


def _teacher(command: click.Command) -> str:
    names = [option.opts[0] for option in _of(command) if option.hidden]
    return (
        "With `--reg kd` the teacher is the student's configuration without distillation and stop"
        " criterion; what differs is said by options of its own, which take what their namesakes"
        f" take: {', '.join(map(code, names))}.\n"
    )
