"""What commands print beside their rich views: text and JSON that no file can steer a screen by."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from dsd_bench.errors import plain


def say(text: object, err: bool = False, end: str = "\n", **style: Any) -> None:
    """Print ``text`` with :func:`dsd_bench.errors.plain`; its line feeds stay.

    Args:
        text: anything; its ``str`` is taken.
        err: whether to print to standard error.
        end: what follows it.
        style: what :func:`click.style` takes, such as ``bold``.
    """
    click.secho(plain(text, lines=True) + end, err=err, nl=False, **style)


def complain(text: object) -> None:
    """Print an error; what a text of several lines adds cannot be taken for another error."""
    say(f"error: {hanging(text)}", err=True)


def hanging(text: object) -> str:
    """Return a text whose lines after the first are indented: none looks like another text."""
    first, *rest = str(text).split("\n")
    told = [first, *(line if not line or line[0] == " " else f"  {line}" for line in rest)]
    return "\n".join(told)


def say_json(value: object) -> None:
    """Print ``value`` as JSON in ASCII, control characters escaped."""
    # of ASCII's control characters JSON lets this one stand
    click.echo(json.dumps(value, indent=1, allow_nan=False).replace("\x7f", "\\u007f"))


def say_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``rows`` as CSV under a line of ``columns``; a value stays on its line."""
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: plain(v) if isinstance(v, str) else v for k, v in row.items()})
