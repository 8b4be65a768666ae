"""Executors: where runs happen. Any executor gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dsd_bench.params import Params

Status = Literal["done", "failed", "interrupted"]
Event = dict[str, Any]
"""``{"event": ..., "run_id": ...}`` and what belongs to it; see :class:`Executor`."""


@dataclass(frozen=True)
class Job:
    """One run to be carried to its end.

    Attributes:
        run_id: its id.
        path: its folder; it holds ``config.json``.
        needs: ids of the jobs that must be done first (teachers).
        label: what people call it.
        fresh: whether to begin anew even if it was finished (``--force``).
    """

    run_id: str
    path: Path
    needs: tuple[str, ...] = ()
    label: str = ""
    fresh: bool = False


@dataclass(frozen=True)
class Settings:
    """How to run, which is no part of what is run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:0``, ...
        threads: CPU threads of each run.
        jobs: runs side by side; None: as many as fit.
        deterministic: refuse operations without a deterministic implementation.
        data_dir: where data sets lie.
        download: whether data and pretrained weights may be downloaded.
        checkpoint_seconds: longest time between two checkpoints within a training.
        debug: whether failures keep their traceback.
    """

    device: str = "auto"
    threads: int = 1
    jobs: int | None = None
    deterministic: bool = False
    data_dir: Path = Path("data")
    download: bool = False
    checkpoint_seconds: float = 30.0
    debug: bool = False


@dataclass(frozen=True)
class Outcome:
    """How one job ended.

    Attributes:
        run_id: its id.
        status: ``done``, ``failed`` or ``interrupted``.
        error: what the user sees if it failed.
        resumed_from_round: the round whose training it resumed in, None if it began anew.
        exit_code: the error's exit code.
        traceback: for ``--debug``.
    """

    run_id: str
    status: Status
    error: str | None = None
    resumed_from_round: int | None = None
    exit_code: int = 0
    traceback: str | None = field(default=None, repr=False)


class Executor:
    """Base of all executors.

    Events are dictionaries with a key ``event``: ``started`` (``resumed_from_round``), ``progress``
    (``round``, ``epoch``, ``epochs``, ``images_per_second``), ``round`` (``row``), ``finished``
    (``result``), ``failed`` (``error``), ``note`` (``text``); all carry ``run_id``.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def execute(
        self, jobs: Sequence[Job], settings: Settings, emit: Callable[[Event], None]
    ) -> list[Outcome]:
        """Carry every job to an end, teachers first; a failing job costs only its dependents.

        Returns one outcome a job, in the order of ``jobs``. An interruption (Ctrl-C, SIGTERM)
        makes the unfinished ones ``interrupted``; it does not raise.
        """
        raise NotImplementedError
