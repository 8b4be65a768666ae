"""How to run, what is told meanwhile, and how it ended: no part of what is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dsd_bench.config.run import AskedLayout

Status = Literal["done", "failed", "interrupted", "submitted"]
"""``submitted``: left to workers that an executor has started elsewhere."""
Event = dict[str, Any]
"""``{"event": ..., "run_id": ...}`` and more: see :class:`dsd_bench.executors.Executor`."""
Emit = Callable[[Event], None]
Keep = Literal["all", "records", "none"]
"""``all`` rounds; the ``records``, which beat all before them; or ``none`` but the dense and the
best once the run has ended, and the records until then."""


@dataclass(frozen=True)
class Settings:
    """How to run, which is no part of what is run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:0``, ...
        threads: CPU threads of each run.
        jobs: runs side by side; None: as many as fit.
        layout: ``nchw`` or ``nhwc`` (channels_last); ``auto``: by rule
            (:mod:`dsd_bench.training.layout`).
        deterministic: refuse operations without a deterministic implementation.
        data_dir: where data sets lie.
        download: whether data and pretrained weights may be downloaded.
        checkpoint_seconds: longest time between two checkpoints within a training.
        debug: whether failures keep their traceback.
        accept_versions: whether other plugin code than a run's rounds were made with may go on
            with it; it is recorded (:mod:`dsd_bench.store.provenance`).
        keep: which rounds' weights stay (:data:`Keep`); None: by their size.
        wait: whether an executor whose workers outlive the command follows them to the end.
        retries: how often a run is tried again that was killed or failed for a reason that may have
            gone; attempts are counted in its folder then, and a run that has failed for good is
            left alone. None: each run is tried once, whatever became of it before.
    """

    device: str = "auto"
    threads: int = 1
    jobs: int | None = None
    layout: AskedLayout = "auto"
    deterministic: bool = False
    data_dir: Path = Path("data")
    download: bool = False
    checkpoint_seconds: float = 30.0
    debug: bool = False
    accept_versions: bool = False
    keep: Keep | None = None
    wait: bool = False
    retries: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How one job ended.

    Attributes:
        run_id: its id.
        status: ``done``, ``failed``, ``interrupted`` or ``submitted`` (:data:`Status`).
        error: what the user sees if it failed.
        resumed_from_round: the round whose training it resumed in, None if it began anew.
        exit_code: the error's exit code.
        traceback: for ``--debug``.
        transient: whether it failed for a reason that may go, such as too little memory.
        recorded: whether a failure is one of the run, noted in its folder, and none of the place,
            such as a full disk.
    """

    run_id: str
    status: Status
    error: str | None = None
    resumed_from_round: int | None = None
    exit_code: int = 0
    traceback: str | None = field(default=None, repr=False)
    transient: bool = False
    recorded: bool = True
