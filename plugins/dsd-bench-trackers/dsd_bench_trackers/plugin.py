"""What the plugin registers: observers, which do nothing unless :data:`TRACKERS` names a tracker.

This module imports neither torch nor a tracker's library; nothing but the environment is looked at
while no tracker is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsd_bench import hookimpl

dsd_bench_api = "1"

TRACKERS = "DSD_BENCH_TRACKERS"
"""Environment variable that asks for trackers: ``NAME[:KEY=VALUE,...]``, several with spaces."""


def _tell(event: str, run_id: str, path: Path | None = None) -> None:
    if asked := os.environ.get(TRACKERS, "").strip():
        from dsd_bench_trackers.watching import sender

        sender(asked).tell(event, run_id, path)


@hookimpl
def run_started(run_id: str, config: Mapping[str, Any], path: Path) -> None:
    """Have the run shown, with the rounds that it has."""
    _tell("started", run_id, path)


@hookimpl
def round_finished(run_id: str, row: Mapping[str, Any]) -> None:
    """Have the round shown."""
    _tell("round", run_id)


@hookimpl
def run_finished(run_id: str, result: Mapping[str, Any]) -> None:
    """Have the result shown."""
    _tell("finished", run_id)


@hookimpl
def run_failed(run_id: str, error: str) -> None:
    """Have the run shown as failed."""
    _tell("failed", run_id)
