"""Every extension point of dsd-bench, on one page.

A plugin is a module (or object) behind an entry point of the group ``dsd_bench``; it marks its
functions with ``@dsd_bench.hookimpl``. Two sorts of hook exist:

* ``register_*`` hooks return components. **Whatever can change a number is a component** and is
  hashed into the id of the runs that use it.
* observers watch. They are never hashed, cannot change a run, and a failing one is noted in the
  run's log and otherwise ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pluggy

from dsd_bench.components import Component

PROJECT = "dsd_bench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_pruners() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return pruners; each implements :class:`dsd_bench.pruners.Pruner`."""


@hookspec
def register_perturbers() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return perturbers; each implements :class:`dsd_bench.perturbers.Perturber`."""


@hookspec
def register_regularizers() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return regularizers; each implements :class:`dsd_bench.regularizers.Regularizer`."""


@hookspec
def register_stop_criteria() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return stop criteria; each implements :class:`dsd_bench.stopping.StopCriterion`."""


@hookspec
def register_models() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return model factories; each implements :class:`dsd_bench.models.ModelFactory`."""


@hookspec
def register_datasets() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return data sets; each implements :class:`dsd_bench.data.Dataset`."""


@hookspec
def register_label_noise() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return label noises; each implements :class:`dsd_bench.noise.LabelNoise`."""


@hookspec
def register_metrics() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return further metrics; each implements :class:`dsd_bench.metrics.Metric`."""


@hookspec
def register_executors() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return executors; each implements :class:`dsd_bench.executors.Executor`."""


@hookspec
def register_reporters() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return reporters; each implements :class:`dsd_bench.reports.Reporter`."""


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
