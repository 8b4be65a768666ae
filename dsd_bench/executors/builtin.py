"""The built-in executors."""

from __future__ import annotations

from dsd_bench.components import Component
from dsd_bench.hookspecs import hookimpl


@hookimpl
def register_executors() -> list[Component]:
    """Return the executors of this package."""
    return [
        Component(
            "local",
            "dsd_bench.executors.local:Local",
            "runs side by side in worker processes of this computer",
        ),
        Component(
            "inline",
            "dsd_bench.executors.inline:Inline",
            "runs one after another in this process",
        ),
    ]
