"""Every extension point of dsd-bench, on one page.

A plugin is a module (or object) behind an entry point of the group ``dsd_bench``; it marks its
functions with ``@dsd_bench.hookimpl``. Two sorts of hook exist:

* ``register_*`` hooks take nothing and return components, one hook for each kind in
  :data:`dsd_bench.components.TABLE`. **Whatever can change a number is a component** and is hashed
  into the id of the runs that use it.
* observers watch. They are never hashed, cannot change a run, and a failing one is noted in the
  run's log and otherwise ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pluggy

from dsd_bench.components import TABLE, Component, Kind

PROJECT = "dsd_bench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


def _specify(kind: Kind) -> None:
    """Make the hook that registers components of ``kind``."""

    def hook() -> Iterable[Component]:
        raise NotImplementedError

    hook.__name__ = hook.__qualname__ = kind.hook
    hook.__doc__ = f"Return {kind.plural}; each implements :class:`dsd_bench.{kind.base}`."
    globals()[kind.hook] = hookspec(hook)


for _kind in TABLE:
    _specify(_kind)


@hookspec
def run_started(run_id: str, config: Mapping[str, Any], path: Path) -> None:
    """Watch a run begin or resume.

    Args:
        run_id: its id.
        config: the contents of its ``config.json`` (a copy).
        path: its folder.
    """


@hookspec
def round_finished(run_id: str, row: Mapping[str, Any]) -> None:
    """Watch a round end; ``row`` is a copy of its line of ``rounds.jsonl``."""


@hookspec
def run_finished(run_id: str, result: Mapping[str, Any]) -> None:
    """Watch a run end well; ``result`` is a copy of its ``result.json``."""


@hookspec
def run_failed(run_id: str, error: str) -> None:
    """Watch a run fail; ``error`` is the message that the user sees."""
