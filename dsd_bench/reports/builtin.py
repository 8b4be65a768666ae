"""The built-in reporters, registered like anybody's."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl
from dsd_bench.params import Params, param


class TerminalParams(Params):
    """What the terminal view shows."""

    height: int = param(16, help="height of the accuracy plot", unit="rows", ge=4, le=100)
    table: bool = param(True, help="whether to list every round below the plots")


@hookimpl
def register_reporters() -> list[Component]:
    """Return the terminal view and the CSV writer."""
    return [
        Component(
            name="terminal",
            implementation="dsd_bench.reports.terminal:Terminal",
            summary="curves over the log-density axis and a table of all rounds",
            params=TerminalParams,
        ),
        Component(
            name="csv",
            implementation="dsd_bench.reports.csv:Csv",
            summary="one line per run and round, every scalar in full precision",
        ),
    ]
