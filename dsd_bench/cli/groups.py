"""Groups of commands: each is imported when it is used, so that ``--help`` answers at once."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from dsd_bench.errors import collect, suggest


class Unread(Exception):
    """The reader of a command's output has gone, as with ``| head``."""


class Commands(click.Group):
    """A group that imports a command when it is called.

    Args:
        commands: each command's module and summary; the function is called as the command.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which one meets them."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.lazy:
            return None
        module = importlib.import_module(self.lazy[cmd_name][0])
        return getattr(module, cmd_name)  # type: ignore[no-any-return]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest a command's name for a wrong one."""
        if args and args[0] not in self.lazy:
            ctx.fail(f"no such command '{args[0]}'{suggest(args[0], self.lazy)}")
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            refuse_repeated(command, rest)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Carry a command out.

        Raises:
            Unread: instead of a ``BrokenPipeError``, which click turns into an exit with code 1.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise Unread from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.lazy.items()])


def refuse_repeated(command: click.Command, args: Sequence[str]) -> None:
    """Refuse an option that takes one value and is given several: click takes the last.

    Raises:
        UsageError: naming each of them.
    """
    if any(word in ("--help", "-h") for word in args):
        return
    parser = command.make_parser(click.Context(command))
    try:
        met = Counter(parser.parse_args(list(args))[2])
    except click.UsageError:
        return  # the command itself says what is wrong
    collect(
        [
            f"{option.opts[0]} is given {count} times; it takes one value"
            for option, count in met.items()
            if isinstance(option, click.Option)
            and count > 1
            and not (option.multiple or option.is_flag or option.count)
        ]
    )
