"""Executors whose workers live elsewhere: a cluster's jobs or tasks, each a worker that pulls.

What an engine has to do is little: start so many workers, and say how many it holds. Which runs
there are, who is at work on them and what became of them is in their folders
(:mod:`dsd_bench.executors.pulling`), so nothing else goes between the engine and here.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DsdError, RunError, UsageError
from dsd_bench.executors import Emit, Executor, Job, Outcome, Settings
from dsd_bench.executors.following import Following
from dsd_bench.executors.pulling import RETRIES, Pool
from dsd_bench.executors.signals import Stop, stop_on_signals
from dsd_bench.store.files import own_folder, write_atomic
from dsd_bench.store.runs import finished

WORKERS = "workers"
"""Folder within a folder of runs: what was started for it, a folder for each set of runs."""
RUNS = "runs.txt"
"""File in such a folder: the ids of the runs, one a line."""


@dataclass(frozen=True)
class Crew:
    """What workers are to be started for.

    Attributes:
        name: of this set of runs in this folder, the same for the same command: 12 digits of hex.
        folder: where scripts, logs and whatever else the engine has may lie; absolute.
        command: a worker's command line, good on any computer that sees the folders and has this
            Python at this place: paths are absolute.
        settings: where and how to run; the command line says the same.
    """

    name: str
    folder: Path
    command: tuple[str, ...]
    settings: Settings

    @classmethod
    def of(cls, jobs: Sequence[Job], settings: Settings) -> Crew:
        """Return the crew for ``jobs``, which lie in one folder; its folder is made and filled."""
        (runs_dir,) = {job.path.parent.absolute() for job in jobs}
        ids = "".join(f"{run_id}\n" for run_id in sorted(job.run_id for job in jobs))
        name = hashlib.sha256(f"{runs_dir}\n{ids}".encode()).hexdigest()[:12]
        folder = runs_dir / WORKERS / name
        for path in (folder.parent, folder):
            own_folder(path)
        write_atomic(folder / RUNS, ids.encode())
        return cls(name, folder, worker_command(runs_dir, folder / RUNS, settings), settings)


@dataclass(frozen=True)
class Standing:
    """Workers that an engine holds.

    Attributes:
        running: those at work.
        queued: those that wait for their turn.
        why: what the queued ones wait for, in the engine's words.
    """

    running: int = 0
    queued: int = 0
    why: str = ""

    @property
    def all(self) -> int:
        """All that need not be started any more."""
        return self.running + self.queued

    def __str__(self) -> str:
        parts = [f"{self.running} running"]
        if self.queued:
            parts.append(f"{self.queued} queued" + (f" ({self.why})" if self.why else ""))
        return "workers: " + ", ".join(parts)


class RemoteExecutor(Executor):
    """Base of executors that start workers elsewhere.

    A subclass says how many workers it may have (:attr:`most`), starts them (:meth:`start`) and
    counts them (:meth:`standing`). The rest is done here: no more workers than runs that can
    be at work together, only those that are missing, following the runs by their folders, new
    workers for those that left.

    Attributes:
        lasting: whether workers outlive this process. If so, ``execute`` returns when they are
            started, unless ``settings.wait``; if not, it waits, and :meth:`dismiss` ends them.
        every: seconds between two looks while following.
    """

    elsewhere = True
    lasting: bool = True
    every: float = 5.0

    def check(
        self, jobs: Sequence[Job], configs: Sequence[RunConfig], settings: Settings, emit: Emit
    ) -> None:
        """Ask for the engine, then try models out in this process, on its CPU.

        Raises:
            UsageError: if the engine is not there, or listing everything that cannot be run.
        """
        if why := self.absent():
            raise UsageError(why)
        super().check(jobs, configs, settings, emit)

    @property
    def most(self) -> int:
        """How many workers to have at most."""
        raise NotImplementedError

    def start(self, crew: Crew, count: int, emit: Emit) -> None:
        """Start ``count`` workers that execute ``crew.command``.

        Args:
            crew: what they are for.
            count: how many, at least 1.
            emit: gets a note of what was started, in the engine's words.

        Raises:
            UsageError: if the engine is not there or refuses, in its own words.
        """
        raise NotImplementedError

    def standing(self, crew: Crew) -> Standing:
        """Return the crew's workers that wait or run now, from whichever command they come.

        Raises:
            UsageError: if the engine does not answer.
        """
        raise NotImplementedError

    def lost(self, crew: Crew) -> list[str]:
        """Return what became of workers that ended before their first line; each is told once."""
        return []

    def dismiss(self, crew: Crew) -> None:
        """Let workers that don't last leave, with a checkpoint, and wait for that."""

    def execute(self, jobs: Sequence[Job], settings: Settings, emit: Emit) -> list[Outcome]:
        """Start the workers that are missing; then leave, or follow the runs to their end.

        A run that has failed stays so, as it does for every worker: ``dsd-bench retry`` lets it be
        tried again.

        Raises:
            RunError: if all workers have ended, and none of them got on with a run.
        """
        if all(finished(job.path) for job in jobs):
            return [Outcome(job.run_id, "done") for job in jobs]
        retries = RETRIES if settings.retries is None else settings.retries
        pool = Pool(jobs[0].path.parent, retries, [job.run_id for job in jobs])
        stopped = False
        if pool.left:
            paths = [job.path for job in jobs if not finished(job.path)]
            crew = Crew.of(jobs, settings)
            self._tell_lost(crew, emit)
            standing = self.standing(crew)
            if standing.all >= min(self.most, pool.abreast):
                emit({"event": "note", "text": f"{standing}; no more are needed"})
            self._fill(crew, pool, standing, emit)
            if settings.wait or not self.lasting:
                with stop_on_signals(emit) as stop:
                    try:
                        self._follow(crew, pool, paths, stop, emit)
                    finally:
                        self.dismiss(crew)
                stopped = stop.is_set() and not self.lasting
                pool.look()
        for run_id, why in pool.failed.items():
            emit({"event": "failed", "run_id": run_id, "error": why})
        return [_outcome(job, pool, stopped) for job in jobs]

    def _fill(self, crew: Crew, pool: Pool, standing: Standing, emit: Emit) -> None:
        """Start the workers that are missing."""
        missing = min(self.most, pool.abreast) - standing.all
        if missing > 0:
            self.start(crew, missing, emit)

    def _follow(
        self, crew: Crew, pool: Pool, paths: Sequence[Path], stop: Stop, emit: Emit
    ) -> None:
        """Tell what happens until no run is left, or until stopped."""
        told, moved, empty = "", False, 0
        runs = Following(paths, emit)
        while pool.left and not stop.is_set():
            _nap(self.every, stop)
            moved |= runs.look()
            pool.look()
            self._tell_lost(crew, emit)
            try:
                standing = self.standing(crew)
            except DsdError as error:  # the runs go on, whether it answers or not
                told = _tell_new(f"{error}; the runs are followed meanwhile", told, emit)
                continue
            told = _tell_new(str(standing), told, emit)
            # an engine may show a worker late: it is asked once more before it is believed
            empty = 0 if standing.all else empty + 1
            if empty < 2 or not pool.left or stop.is_set():
                continue
            if not moved:
                raise RunError(
                    f"all workers have ended, and none got on with a run; "
                    f"what they said is in {crew.folder}"
                )
            self._fill(crew, pool, standing, emit)
            moved, empty = False, 0

    def _tell_lost(self, crew: Crew, emit: Emit) -> None:
        for text in self.lost(crew):
            emit({"event": "note", "text": text})


def worker_command(runs_dir: Path, ids: Path, settings: Settings) -> tuple[str, ...]:
    """Return the command line of a worker for the runs of ``runs_dir`` that ``ids`` lists."""
    words = [sys.executable, "-m", "dsd_bench", "work", str(runs_dir), "--runs", str(ids)]
    words += ["--device", settings.device, "--threads", str(settings.threads)]
    words += ["--layout", settings.layout, "--data-dir", str(settings.data_dir.absolute())]
    words += ["--checkpoint-seconds", str(settings.checkpoint_seconds)]
    words += ["--keep", settings.keep] if settings.keep else []
    words += [] if settings.retries is None else ["--retries", str(settings.retries)]
    for name in ("deterministic", "download", "accept_versions", "debug"):
        words += [f"--{name.replace('_', '-')}"] if getattr(settings, name) else []
    return tuple(words)


def read_ids(path: Path) -> list[str]:
    """Return the ids of runs that a file lists, one a line.

    Raises:
        UsageError: if it cannot be read, or lists none.
    """
    try:
        ids = path.read_text("utf-8").split()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"--runs {path}: cannot be read: {reason}") from None
    if not ids:
        raise UsageError(f"--runs {path}: it lists no runs; write an id on each line")
    return ids


def _outcome(job: Job, pool: Pool, stopped: bool) -> Outcome:
    """Return how a run stands when the command leaves it."""
    if job.run_id in pool.failed:
        why = f"{pool.failed[job.run_id]} (`dsd-bench retry` lets it be tried again)"
        return Outcome(job.run_id, "failed", why, exit_code=RunError.exit_code)
    if finished(job.path):
        return Outcome(job.run_id, "done")
    if stopped:
        return Outcome(job.run_id, "interrupted", "not finished", exit_code=130)
    return Outcome(job.run_id, "submitted")


def _tell_new(text: str, told: str, emit: Emit) -> str:
    """Tell ``text`` unless it was told last; return what was told last."""
    if text != told:
        emit({"event": "note", "text": text})
    return text


def _nap(seconds: float, stop: Stop) -> None:
    """Sleep, but no longer than somebody asks to stop."""
    ends = time.monotonic() + seconds
    while not stop.is_set() and (left := ends - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
