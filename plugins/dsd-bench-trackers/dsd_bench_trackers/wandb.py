"""Weights & Biases, online or offline.

``wandb.init`` with an id and ``resume="allow"`` goes on with a run
(https://docs.wandb.ai/guides/runs/resuming); a step that the server has is not logged again.
Without a server nobody knows what was sent: an offline run that is resumed writes all its rounds
anew.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import wandb

from dsd_bench_trackers.session import Ended
from dsd_bench_trackers.view import Values, View
from dsd_bench_trackers.words import WandbParams

CODES: dict[Ended, int] = {"finished": 0, "failed": 1, "left": 255}
"""Exit codes by which W&B tells how a run ended; a preempted one ends with another than 0."""


class Wandb:
    """A run of W&B, whose id and name are those of the run."""

    def __init__(self, run: Any, old: list[Path]) -> None:
        self._run, self._old = run, old
        self.known = set(range(run.step)) if run.resumed else set()

    def log(self, round: int, values: Values) -> None:
        """Log the numbers of a round; its number is the step."""
        self._run.log(values, step=round, commit=True)

    def end(self, view: View, how: Ended) -> None:
        """Write the summary and finish the run."""
        for key, value in view.summary().items():
            self._run.summary[key] = value
        if how == "failed":
            self._run.summary["error"] = view.error
        if how == "left":
            self._run.mark_preempting()
        self._run.finish(exit_code=CODES[how])
        for folder in self._old:  # all that it has is in the new one
            shutil.rmtree(folder, ignore_errors=True)


def begin(params: WandbParams, view: View) -> Wandb:
    """Begin a run of W&B, or go on with it."""
    mode: Any = params.mode or os.environ.get("WANDB_MODE") or "online"
    folder = Path(params.dir or view.home).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    offline = mode == "offline"
    old = list(folder.glob(f"wandb/offline-run-*-{view.run_id}")) if offline else []
    run = wandb.init(
        project=params.project,
        entity=params.entity,
        group=view.group(params.group),
        id=view.run_id,
        name=view.run_id,
        resume=None if offline else "allow",
        reinit="create_new",
        config=view.config,
        dir=str(folder),
        mode=mode,
        save_code=False,
        settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
    )
    return Wandb(run, [path for path in old if not list(path.glob("*.synced"))])
