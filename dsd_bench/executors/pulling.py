"""Workers that pull: each takes any ready run of a folder and carries it on, until none is left.

The folder is the only truth: there is no server, and any number of workers on any hosts that see it
may come and go. What a run needs (its teachers) is in its ``config.json``; who is at work on it is
in its lock; what became of earlier attempts is in its ``attempts.jsonl``.

Of the runs of one curve one is taken at a time, as the others begin with its rounds. Two workers
that take two of them in the same instant both train: that costs time and changes no number.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsd_bench.config.run import RunConfig
from dsd_bench.errors import DsdError, Locked, UsageError
from dsd_bench.executors import Emit, Outcome, Settings
from dsd_bench.executors.planning import teachers
from dsd_bench.store import attempts
from dsd_bench.store.locks import LOCK, Watch, holder, locked
from dsd_bench.store.reading import read_json
from dsd_bench.store.runs import failure, finished, stored_ids

RETRIES = 2
"""How often a run is tried again that was killed or failed for a reason that may have gone."""
POLL = 1.0
"""Seconds between two looks at a folder in which nothing is ready now."""
LONGEST_POLL = 5.0
"""The same where a look takes long: a look is to take a fifth of the time at most."""


@dataclass
class Candidate:
    """A run that is not at its end, as this worker knows it.

    Attributes:
        path: its folder.
        needs: ids of the runs that must be done first.
        curve: id of the curve that it trains.
        watch: what was seen of whoever holds it.
    """

    path: Path
    needs: tuple[str, ...]
    curve: str
    watch: Watch = field(default_factory=lambda: Watch(1.5 * LONGEST_POLL))


class Pool:
    """The runs of a folder that are not at their end.

    Args:
        runs_dir: the folder.
        retries: see :data:`RETRIES`.
        only: ids of the runs to take; None: all that are there, and those that still come.

    Attributes:
        failed: those that failed for good or cannot be carried on, and why.
    """

    def __init__(
        self, runs_dir: Path, retries: int = RETRIES, only: Iterable[str] | None = None
    ) -> None:
        self.runs_dir, self.retries = runs_dir, retries
        self.failed: dict[str, str] = {}
        self._only = None if only is None else set(only)
        self._left: dict[str, Candidate] = {}
        self._curves: dict[str, set[str]] = {}
        """The runs that are or were left, by their curve."""
        self._turn: deque[str] = deque()
        """Those of them that have not had their turn since the folder was looked at."""
        self._done: set[str] = set()
        self.look()

    @property
    def left(self) -> int:
        """Number of runs that are not at their end, whoever is at work on them."""
        return len(self._left)

    @property
    def abreast(self) -> int:
        """How many of the runs that are left can be at work together, teachers aside."""
        return len({candidate.curve for candidate in self._left.values()})

    @property
    def done(self) -> int:
        """Number of runs that were seen finished."""
        return len(self._done)

    def look(self) -> None:
        """See which runs have come, ended or failed since the last time; all have a turn then."""
        for run_id in stored_ids(self.runs_dir):
            known = run_id in self._left or run_id in self._done or run_id in self.failed
            if not known and (self._only is None or run_id in self._only):
                self._add(run_id)
        for run_id in list(self._left):
            self.settle(run_id)
        while lost := {run_id: need for run_id in self._left if (need := self._lost(run_id))}:
            for run_id, need in lost.items():
                self._give_up(run_id, f"its teacher {need} did not finish")
        self._turn = deque(self._left)

    def settle(self, run_id: str, outcome: Outcome | None = None) -> None:
        """See whether a run that was left has come to its end.

        Args:
            run_id: the run.
            outcome: how it ended here; it is left to others where that is no matter of the run.
        """
        path = self.runs_dir / run_id
        if run_id not in self._left:
            return
        if finished(path):
            self._done.add(run_id)
            del self._left[run_id]
        elif outcome is not None and not outcome.recorded:
            self._give_up(run_id, str(outcome.error))
        elif (why := failure(path)) and not attempts.read_attempts(path).may_go_on:
            self._give_up(run_id, why)

    @contextlib.contextmanager
    def taken(self) -> Iterator[Path | None]:
        """Hold a ready run inside the block; None if none is ready now.

        Runs have their turn one after the other, and the folder is looked at again when all had
        theirs: not for every run, which would be quadratic in their number.

        What this process knows of others' locks is kept from call to call, so that a dead holder on
        another host is noticed after a minute of calls.
        """
        with contextlib.ExitStack() as held:
            path = next(self._free(held), None)
            if path is None:
                self.look()
                path = next(self._free(held), None)
            yield path

    def _free(self, held: contextlib.ExitStack) -> Iterator[Path]:
        while self._turn:
            run_id = self._turn.popleft()
            candidate = self._left.get(run_id)
            if candidate is None or not all(map(self._finished, candidate.needs)):
                continue
            path, others = candidate.path, self._curves[candidate.curve] - {run_id}
            if any(map(self._held, others)):
                continue
            try:
                held.enter_context(locked(path / LOCK, _busy, watch=candidate.watch))
                if not self._still_to_do(path):
                    held.close()
                    self.settle(run_id)
                elif any(self._held(other) for other in others if other < run_id):
                    held.close()  # somebody was as quick, and one of us has to go on
                else:
                    yield path
                    held.close()
                    self.settle(run_id)
            except Locked:
                continue
            except DsdError as error:
                self._give_up(run_id, str(error))

    def _held(self, run_id: str) -> bool:
        """Whether somebody is at work on a run that is left, as far as its lock tells."""
        if run_id not in self._left:
            return False
        found = holder(self._left[run_id].path / LOCK)
        return found is not None and found.alive is not False

    def _still_to_do(self, path: Path) -> bool:
        """Whether a run that is held now is neither done nor given up."""
        return not finished(path) and attempts.given_up(path, self.retries) is None

    def _add(self, run_id: str) -> None:
        path = self.runs_dir / run_id
        try:
            config = RunConfig.from_json(read_json(path / "config.json"), str(path / "config.json"))
        except UsageError as error:
            self.failed[run_id] = str(error)
        else:
            needs = tuple(dict.fromkeys(teacher.run_id for teacher in teachers(config)))
            self._left[run_id] = Candidate(path, needs, config.curve_id)
            self._curves.setdefault(config.curve_id, set()).add(run_id)

    def _give_up(self, run_id: str, why: str) -> None:
        self.failed[run_id] = why
        del self._left[run_id]

    def _finished(self, run_id: str) -> bool:
        """Whether a run is done; also one that is not among those to take."""
        if run_id in self._left:
            return False
        return run_id in self._done or finished(self.runs_dir / run_id)

    def _lost(self, run_id: str) -> str | None:
        """Return a run that ``run_id`` needs and that nobody will carry to its end."""
        for need in self._left[run_id].needs:
            if need not in self._left and not self._finished(need):
                return need
        return None


def work(pool: Pool, settings: Settings, emit: Emit, stopping: Callable[[], bool]) -> list[Outcome]:
    """Carry on one ready run after the other; return how those that were taken ended.

    It returns when nothing is left: not while another worker is at work on a run, who may die, or
    whose run others wait for. And when it is told to stop.

    Args:
        pool: the runs.
        settings: where and how to run.
        emit: gets the runs' events.
        stopping: is asked between steps, and while nothing is ready.
    """
    outcomes: list[Outcome] = []
    settings = replace(settings, retries=pool.retries)
    while not stopping():
        asked = time.monotonic()
        with pool.taken() as path:
            if path is not None:
                from dsd_bench.experiment.runner import run_folder  # takes its time: torch

                outcome = run_folder(path, settings, emit, stopping, held=True)
                outcomes.append(outcome)
        if path is not None:
            pool.settle(path.name, outcomes[-1])
        elif not pool.left:
            break
        elif not stopping():
            time.sleep(max(POLL, min(4 * (time.monotonic() - asked), LONGEST_POLL)))
    return outcomes


def _busy(text: str) -> None:
    raise Locked(text)
