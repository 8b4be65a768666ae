"""What is known of runs under way: pure bookkeeping of events, no drawing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsd_bench.config.training import planned_epochs
from dsd_bench.executors import Event, Job

_SETTLED = 3.0
"""Seconds before which the speed says little: workers are still starting."""
_ENOUGH = 0.01
"""Epochs before which the speed says little: an epoch may take hours."""


def planned_rounds(config: Mapping[str, Any]) -> int | None:
    """Return the number of prunings that a run was asked for, None if it cannot be told.

    With a target sparsity it follows from the pruner's ``fraction``, but for rounding.
    """
    protocol = config["protocol"]
    if protocol.get("rounds") is not None:
        return int(protocol["rounds"])
    target, fraction = protocol.get("target_sparsity"), config["pruner"]["params"].get("fraction")
    if target is None or not 0 < target < 1 or not fraction or not 0 < fraction < 1:
        return None
    return math.ceil(math.log(1 - target) / math.log(1 - fraction) - 1e-9)


@dataclass
class RunState:
    """One run as far as its events tell.

    Attributes:
        job: the run.
        config: its ``config.json``.
        teacher: whether another job needs it.
        status: ``waiting``, ``running``, ``done`` or ``failed``.
        round: index of the round that is in training.
        epoch, epochs: of that training; ``epochs`` is 0 until known.
        within: share of the next epoch that is done, 0..1.
        images_per_second: as last reported.
        rows: the finished rounds by index.
        result: its ``result.json`` once done.
        error: why it failed.
        resumed: whether it went on from a checkpoint.
        started_from: epochs that lay behind it when its training began here; None before.
        alone: whether all jobs are of one method, so that the seed tells runs apart.
    """

    job: Job
    config: Mapping[str, Any]
    teacher: bool = False
    status: str = "waiting"
    round: int = 0
    epoch: int = 0
    epochs: int = 0
    within: float = 0.0
    images_per_second: float | None = None
    rows: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    result: Mapping[str, Any] | None = None
    error: str | None = None
    resumed: bool = False
    started_from: float | None = None
    alone: bool = True
    ends: list[int] = field(default_factory=lambda: [0], repr=False)

    @property
    def name(self) -> str:
        """``seed 0`` or ``teacher seed 0``; with the method where there are several."""
        seed = f"seed {self.config['seed']}"
        if self.alone or not self.job.label:
            return f"teacher {seed}" if self.teacher else seed
        return f"{self.job.label}, {seed}"

    @property
    def last_row(self) -> Mapping[str, Any] | None:
        """The row of the last finished round."""
        return self.rows[max(self.rows)] if self.rows else None

    def epochs_before(self, index: int) -> int:
        """Return the epochs of all trainings before round ``index``."""
        while len(self.ends) <= index:
            self.ends.append(self.ends[-1] + planned_epochs(self.config, len(self.ends) - 1))
        return self.ends[index]

    @property
    def epochs_done(self) -> float:
        """Epochs that lie behind it, parts of one included."""
        return self.epochs_before(self.round) + self.epoch + self.within

    @property
    def epochs_trained(self) -> float:
        """Epochs that it did since it started here."""
        return 0 if self.started_from is None else self.epochs_done - self.started_from

    @property
    def epochs_planned(self) -> float | None:
        """Epochs of all its trainings; of an ended run those that it did."""
        if self.status in ("done", "failed"):
            return self.epochs_done
        rounds = planned_rounds(self.config)
        return None if rounds is None else self.epochs_before(rounds + 1)


class Progress:
    """The runs of one command and what their events said.

    Args:
        jobs: the runs, in the order in which they are shown.
        configs: their ``config.json`` by run id.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        configs: Mapping[str, Mapping[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        needed = {run_id for job in jobs for run_id in job.needs}
        alone = len({job.label for job in jobs if job.run_id not in needed}) <= 1
        self.runs = {
            job.run_id: RunState(job, configs[job.run_id], job.run_id in needed, alone=alone)
            for job in jobs
        }
        self.changes = 0
        self._clock = clock
        self._begun: float | None = None

    def handle(self, event: Event) -> RunState | None:
        """Note an event; return the run it is about, None if that is none of ours."""
        run = self.runs.get(event.get("run_id", ""))
        if run is None:
            return None
        if self._begun is None:
            self._begun = self._clock()
        match event["event"]:
            case "started":
                _start(run, event.get("resumed_from_round"), event.get("rows", ()))
            case "progress":
                _advance(run, event)
            case "round":
                _finish_round(run, event["row"])
            case "finished":
                run.status, run.result = "done", event.get("result")
            case "failed":
                run.status, run.error = "failed", event.get("error")
        self.changes += event["event"] != "progress"
        return run

    @property
    def elapsed(self) -> float:
        """Seconds since the first event."""
        return 0.0 if self._begun is None else self._clock() - self._begun

    @property
    def share(self) -> float | None:
        """Epochs behind us as a share of all, 0..1; None if the rounds of a run are open."""
        done, planned = self._epochs() or (0.0, 0.0)
        return min(1.0, done / planned) if planned else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the epochs done since the start; None while too little is known."""
        trained = sum(run.epochs_trained for run in self.runs.values())
        done, planned = self._epochs() or (0.0, 0.0)
        if not planned or trained < _ENOUGH or self.elapsed < _SETTLED:
            return None
        return max(0, planned - done) * self.elapsed / trained

    def _epochs(self) -> tuple[float, float] | None:
        """Epochs that are done and planned; those of a curve count once, whoever trains them."""
        curves: dict[str, tuple[float, float]] = {}
        for run in self.runs.values():
            planned = run.epochs_planned
            if planned is None:
                return None
            done, most = curves.get(run.job.trains, (0.0, 0.0))
            curves[run.job.trains] = (max(done, run.epochs_done), max(most, planned))
        return sum(done for done, _ in curves.values()), sum(most for _, most in curves.values())


def _start(run: RunState, resumed_from: int | None, rows: Sequence[Mapping[str, Any]]) -> None:
    run.status, run.resumed = "running", resumed_from is not None
    run.rows = {row["round"]: row for row in rows}
    run.round = max(run.rows) + 1 if run.rows else resumed_from or 0


def _advance(run: RunState, event: Event) -> None:
    run.status, run.round = "running", event["round"]
    run.epoch, run.epochs = event["epoch"], event["epochs"]
    run.within = event.get("within") or 0.0
    run.images_per_second = event.get("images_per_second") or run.images_per_second
    if run.started_from is None:
        # the first event of a resumed run comes after a quarter of a second, at most one epoch
        first = run.epochs_done if run.within else run.epochs_done - 1
        behind = first if run.resumed else run.epochs_before(run.round)
        run.started_from = max(0, behind)


def _finish_round(run: RunState, row: Mapping[str, Any]) -> None:
    if run.started_from is None:
        run.started_from = run.epochs_before(row["round"])
    run.rows[row["round"]] = row
    run.round, run.epoch, run.within = row["round"] + 1, 0, 0.0
