"""The built-in updater, which does nothing; others come with plugins."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl


@hookimpl
def register_updaters() -> list[Component]:
    """Return the built-in updater."""
    return [
        Component(
            name="none",
            implementation="dsd_bench.updaters:Updater",
            summary="masks stay as the pruner made them",
        )
    ]
