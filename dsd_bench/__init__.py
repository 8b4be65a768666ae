"""dsd-bench: sparse double descent, measured fairly.

The names here are the public API; importing it never imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsd_bench.api import load_model, load_runs, run
    from dsd_bench.components import Component
    from dsd_bench.config.resolve import configure
    from dsd_bench.config.run import RunConfig
    from dsd_bench.export import load_exported
    from dsd_bench.hookspecs import hookimpl
    from dsd_bench.params import Params, param

__version__ = "0.1.0"
__all__ = [
    "Component",
    "Params",
    "RunConfig",
    "__version__",
    "configure",
    "hookimpl",
    "load_exported",
    "load_model",
    "load_runs",
    "param",
    "run",
]

_LAZY = {
    "Component": "dsd_bench.components",
    "Params": "dsd_bench.params",
    "hookimpl": "dsd_bench.hookspecs",
    "param": "dsd_bench.params",
    "RunConfig": "dsd_bench.config.run",
    "configure": "dsd_bench.config.resolve",
    "run": "dsd_bench.api",
    "load_runs": "dsd_bench.api",
    "load_model": "dsd_bench.api",
    "load_exported": "dsd_bench.export",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``--help`` answers at once."""
    import importlib

    if name not in _LAZY:
        raise AttributeError(f"module 'dsd_bench' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)
