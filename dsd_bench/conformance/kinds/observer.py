"""Checks of observers: the hooks of a plugin that watch runs."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dsd_bench.conformance.checks import Broken, blaming, check, demand
from dsd_bench.conformance.runs import finished, results_of, whole_runs
from dsd_bench.conformance.subjects import Subject
from dsd_bench.plugins import catalogue

TIMES, SECONDS = 50, 2.0
"""So often a run's events are told within this time."""


@check("observer")
def every_event(subject: Subject) -> None:
    """It raises for no event: of a run that begins, is resumed, ends well, fails."""
    _tell(subject)


@check("observer")
def at_once(subject: Subject) -> None:
    """It answers at once: the events of 50 runs of three rounds take two seconds at most."""
    finished(subject)
    began = time.monotonic()
    for _ in range(TIMES):
        _tell(subject)
    seconds = time.monotonic() - began
    demand(seconds <= SECONDS, f"the events of {TIMES} runs take {seconds:.1f} s: let others wait")


@check("observer")
def only_watches(subject: Subject) -> None:
    """A run that it watches has the bytes of one that it does not, and it leaves the folder."""
    watched, other = results_of(finished(subject).path), replace(subject, memory={})
    with _unwatched(subject):
        alone = results_of(finished(other).path)
    for name in (*watched, *alone):
        demand(watched.get(name) == alone.get(name), f"a run that it watches has another {name}")
    path = finished(subject).path
    before = _files(path)
    _tell(subject)
    demand(before == _files(path), "it writes into a run's folder")


whole_runs("observer", lambda subject: {})


def _tell(subject: Subject) -> None:
    """Tell of a run that begins, is resumed, fails, and of one that ends well."""
    run = finished(subject)
    started = {"config": run.config, "path": run.path}
    events: list[tuple[str, dict[str, Any]]] = [("run_started", started)]
    events += [("round_finished", {"row": row}) for row in run.rows]
    events += [("run_failed", {"error": "it diverged"}), ("run_started", started)]
    events += [("run_finished", {"result": run.result})]
    plugin, manager = _plugin(subject), catalogue().manager
    others = [other for other in manager.get_plugins() if other is not plugin]
    for hook, values in events:
        call = manager.subset_hook_caller(hook, others)
        with blaming(f"of {hook} it raises"):
            call(run_id=run.run_id, **copy.deepcopy(values))


def _plugin(subject: Subject) -> object:
    """Return the plugin whose hooks are checked.

    Raises:
        Broken: if it is not registered any more.
    """
    wanted = subject.entry.component.implementation.partition(":")[0]
    for plugin in catalogue().manager.get_plugins():
        if getattr(plugin, "__name__", type(plugin).__module__) == wanted:
            return plugin
    raise Broken(f"{wanted} is not registered")


@contextmanager
def _unwatched(subject: Subject) -> Iterator[None]:
    plugin, manager = _plugin(subject), catalogue().manager
    manager.unregister(plugin)
    try:
        yield
    finally:
        manager.register(plugin)


def _files(path: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in path.rglob("*")}
