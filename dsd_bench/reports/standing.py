"""How far the runs of a folder are: read from their files alone, whoever works on them where."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from dsd_bench.config.naming import configuration_key, label, setting_words
from dsd_bench.config.run import SCHEMA, RunConfig
from dsd_bench.config.training import planned_epochs
from dsd_bench.errors import DsdError, UsageError
from dsd_bench.plugins import catalogue
from dsd_bench.reports.progress import planned_rounds
from dsd_bench.store.attempts import read_attempts
from dsd_bench.store.heads import read_head
from dsd_bench.store.locks import BEAT, LOCK, MISSED, Holder, holder
from dsd_bench.store.reading import read_json, read_rows
from dsd_bench.store.runs import failure, named_ids, said_finished
from dsd_bench.store.shapes import check_config

State = Literal["done", "running", "ready", "waiting", "planned", "failed", "dead", "damaged"]
STATES: tuple[State, ...] = (
    *("done", "running", "ready", "waiting", "planned", "failed", "dead", "damaged"),
)
SILENT = BEAT * MISSED
"""Seconds without a heartbeat after which a process on another host counts as dead."""
SAMPLE = 200
"""Finished runs whose timings are read to tell how long others will take."""

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """One run, as far as its files tell.

    Attributes:
        run_id: its id.
        state: ``done``; ``running``; ``ready``, to be taken by any worker, begun or not;
            ``waiting`` for teachers; ``planned``, its folder is not written yet; ``failed``, it or
            a teacher of it; ``dead``, whoever was at work on it is gone; ``damaged``, its folder
            cannot be read.
        bytes: of its files.
        seed, method: what it is; None of what is done, which is not read.
        setting: what it works on, by kind of component.
        round, rounds: the round that is in training or comes next, and the last one planned.
        epoch, epochs: those done of that training, and all of it.
        images_per_second: in the last round that ended.
        seconds_left: of its own trainings.
        holder: who is, or was, at work on it.
        silent: seconds since the last heartbeat, by this computer's clock.
        needs: ids of the teachers that are not done.
        lost: attempts that were killed or ran out of memory.
        error: what is wrong.
    """

    run_id: str
    state: State
    bytes: int = 0
    seed: int | None = None
    method: str | None = None
    setting: Mapping[str, str] = field(default_factory=dict)
    round: int | None = None
    rounds: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None
    holder: Holder | None = None
    silent: float | None = None
    needs: tuple[str, ...] = ()
    lost: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Overview:
    """The runs of a folder.

    Attributes:
        runs: by id.
        free: bytes that the disk has left; None if it does not tell.
        seconds_left: until all is done, with the workers that are there, or with one; None if
            nothing tells how long the runs take.
        workers: runs that somebody is at work on.
    """

    runs: tuple[Standing, ...]
    free: int | None
    seconds_left: float | None
    workers: int

    def name(self, run: Standing) -> str:
        """Return what tells a run from the others: its method and seed, and what it works on."""
        if run.method is None:
            return run.run_id
        told = [word for kind, word in run.setting.items() if kind in self._telling]
        return ", ".join([run.method, *told, f"seed {run.seed}"])

    @cached_property
    def _telling(self) -> set[str]:
        """Kinds of components that not all runs have the same of."""
        settings = [run.setting for run in self.runs if run.setting]
        kinds = {kind for setting in settings for kind in setting}
        return {kind for kind in kinds if len({setting.get(kind) for setting in settings}) > 1}

    def of(self, *states: State) -> list[Standing]:
        """Return the runs in these states."""
        return [run for run in self.runs if run.state in states]

    @property
    def left(self) -> int:
        """Number of runs that are still to come to an end."""
        return len(self.of("running", "ready", "waiting", "planned", "dead"))


@dataclass
class _Found:
    """A run that is not done while it is looked at.

    Attributes:
        run: what is known so far.
        key: equal for runs that differ in their seeds only.
        needs: ids of its teachers.
        left: epochs that are still to be trained; None if nobody knows how many rounds there are.
        pace: seconds that an epoch of it took; None before the first round ended.
        since: seconds since that was so.
    """

    run: Standing
    key: str = ""
    needs: tuple[str, ...] = ()
    left: float | None = None
    pace: float | None = None
    since: float = 0.0


class Folder:
    """A folder of runs that may be looked at again and again; what is done is read once.

    Args:
        runs_dir: the folder.
        only: the runs that are of interest, written or not; None: all that are there.
    """

    def __init__(self, runs_dir: Path, only: Mapping[str, RunConfig] | None = None) -> None:
        self.runs_dir, self.only = runs_dir, only
        self._done: dict[str, Standing] = {}
        self._names: dict[str, tuple[str, Mapping[str, str]]] = {}
        self._beats: dict[str, tuple[float, float]] = {}
        self._paces: dict[str, _Pace] = {}
        self._sampled: set[str] = set()

    def look(self) -> Overview:
        """Return how far the runs are now.

        Raises:
            UsageError: if the folder cannot be listed.
        """
        there = set(named_ids(self.runs_dir))
        ids = sorted(there) if self.only is None else list(self.only)
        found = {run_id: self._find(run_id, run_id in there) for run_id in ids}
        rest = [one for one in found.values() if one.run.state != "done"]
        self._learn(rest)
        states = {run_id: one.run for run_id, one in found.items()}
        for one in rest:
            states[one.run.run_id] = self._told(one)
        for run_id in _teachers_first(found):
            states[run_id] = self._judged(found[run_id], states)
        runs = tuple(states.values())
        workers = sum(run.state == "running" for run in runs)
        return Overview(runs, free_bytes(self.runs_dir), _seconds_left(runs, workers), workers)

    def _find(self, run_id: str, there: bool) -> _Found:
        if run_id in self._done:
            return _Found(self._done[run_id])
        path = self.runs_dir / run_id
        names, size = weigh(path) if there else (set[str](), 0)
        if "result.json" in names and said_finished(path):
            self._done[run_id] = Standing(run_id, "done", size)
            return _Found(self._done[run_id])
        try:
            if "config.json" not in names and self.only is not None:
                config = self.only[run_id].to_json()
            else:
                config = _config(path)
            return self._unfinished(path, config, names, size)
        except (DsdError, ValueError, TypeError, KeyError) as error:
            return _Found(Standing(run_id, "damaged", size, error=str(error)))

    def _unfinished(self, path: Path, config: Config, names: set[str], size: int) -> _Found:
        """Read a run that is not done; what it waits for is not known yet."""
        key = configuration_key(config)
        if key not in self._names:
            find = catalogue().find
            self._names[key] = label(config, find), setting_words(config, find)
        place = _Place.read(path, names)
        rounds = planned_rounds(config)
        held = holder(path / LOCK) if LOCK in names else None
        why = failure(path) if "failure.json" in names else None
        tries = read_attempts(path) if "attempts.jsonl" in names else None
        again = tries is not None and tries.last == "transient"
        state: State = "ready" if "config.json" in names else "planned"
        silent = None if held is None else max(0.0, time.time() - held.beat)
        if held is not None:
            state = "running" if self._lives(path.name, held, silent or 0.0) else "dead"
        elif why is not None and not again:
            state = "failed"
        method, where = self._names[key]
        run = Standing(
            *(path.name, state, size, config["seed"], method, where),
            round=place.round,
            rounds=rounds,
            epoch=place.epoch,
            epochs=planned_epochs(config, place.round),
            images_per_second=place.images_per_second,
            holder=held,
            silent=silent,
            lost=0 if tries is None else tries.lost - (state == "running"),
            error=why if state == "failed" else None,
        )
        left = None
        if rounds is not None:
            left = sum(planned_epochs(config, r) for r in range(place.round, rounds + 1))
            left = max(0, left - place.epoch)
        needs = tuple(dict.fromkeys(_teacher_ids(config)))
        since = time.time() - place.when if state == "running" and place.when else 0.0
        return _Found(run, key, needs, left, place.pace(config), since)

    def _lives(self, run_id: str, held: Holder, silent: float) -> bool:
        """Whether a holder lives: of one elsewhere its heartbeat tells, by changing."""
        if held.alive is not None:
            return held.alive
        now = time.monotonic()
        beat, seen = self._beats.get(run_id, (held.beat, -math.inf))
        self._beats[run_id] = held.beat, now if beat != held.beat else seen
        return silent < SILENT or now - self._beats[run_id][1] < SILENT

    def _learn(self, rest: Sequence[_Found]) -> None:
        """Take the timings of runs that are done for those of their kind that are not."""
        for one in rest:
            if one.pace is not None:
                self._paces.setdefault(one.key, _Pace()).seen[one.run.run_id] = one.pace
        if not any(one.key and one.pace is None for one in rest):
            return
        new = [run_id for run_id in self._done if run_id not in self._sampled]
        room = max(0, SAMPLE - len(self._sampled))
        for run_id in new[:: max(1, len(new) // room)] if room else ():
            self._sampled.add(run_id)
            path = self.runs_dir / run_id
            try:
                config = _config(path)
                pace = _Place.read(path, {"timings.jsonl"}).pace(config)
            except (DsdError, ValueError, TypeError, KeyError):
                continue
            if pace is not None:
                self._paces.setdefault(configuration_key(config), _Pace()).seen[run_id] = pace

    def _told(self, one: _Found) -> Standing:
        """Return a run with the time that it will take."""
        own = self._paces.get(one.key)
        every = [pace.mean for pace in self._paces.values()]
        pace = one.pace if one.pace is not None else own.mean if own else None
        if pace is None and every:
            pace = math.fsum(every) / len(every)
        if one.run.state in ("failed", "damaged") or one.left is None or pace is None:
            return one.run
        return replace(one.run, seconds_left=max(0.0, one.left * pace - one.since))

    def _judged(self, one: _Found, states: Mapping[str, Standing]) -> Standing:
        """Return a run with the teachers that it waits for, or that cost it its end."""
        run = states[one.run.run_id]
        if run.state not in ("ready", "planned"):
            return run
        open_ = tuple(need for need in one.needs if not self._finished(need, states))
        for need in open_:
            teacher = states.get(need)
            if teacher is None or teacher.state in ("failed", "damaged"):
                why = "is not there" if teacher is None else "did not finish"
                error = f"its teacher {need} {why}"
                return replace(run, state="failed", needs=open_, error=error, seconds_left=None)
        waits: State = "waiting" if run.state == "ready" else run.state
        return replace(run, state=waits, needs=open_) if open_ else run

    def _finished(self, run_id: str, states: Mapping[str, Standing]) -> bool:
        known = states.get(run_id)
        return known.state == "done" if known else said_finished(self.runs_dir / run_id)


@dataclass
class _Pace:
    """Seconds that an epoch took, by run."""

    seen: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return math.fsum(self.seen.values()) / len(self.seen)


@dataclass(frozen=True)
class _Place:
    """Where a run stands: in which round, at which epoch, since when; and its timings."""

    round: int
    epoch: int
    when: float | None
    timings: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path, names: set[str]) -> _Place:
        """Read it from the newest checkpoint and the timings; the rows tell no more."""
        file = path / "checkpoint.safetensors"
        timings = read_rows(path / "timings.jsonl") if "timings.jsonl" in names else []
        head = read_head(file) if file.name in names else None
        round, epoch, when = len(timings), 0, None
        if head is not None:
            cursor = head.get("cursor") or {}
            round = int(head.get("round", round))
            epoch = int(cursor.get("epoch", 0)) + sum(map(int, cursor.get("before", ())))
            when = file.stat().st_mtime
        return cls(round, epoch, when, timings)

    @property
    def images_per_second(self) -> float | None:
        """In the last round that ended."""
        value = self.timings[-1].get("images_per_second") if self.timings else None
        return float(value) if isinstance(value, int | float) else None

    def pace(self, config: Config) -> float | None:
        """Return the seconds that an epoch took."""
        seconds = math.fsum(float(row["seconds"]) for row in self.timings)
        epochs = sum(planned_epochs(config, int(row["round"])) for row in self.timings)
        return seconds / epochs if epochs and seconds > 0 else None


def _config(path: Path) -> dict[str, Any]:
    """Read a configuration as far as it is needed.

    Raises:
        UsageError: if it is damaged, or of another version.
    """
    file = path / "config.json"
    config = read_json(file)
    if config.get("schema") != SCHEMA:
        raise UsageError(
            f"{file}: schema {config.get('schema')!r}; this version reads {SCHEMA}; use the "
            "version of dsd-bench that wrote it"
        )
    check_config(config, file)
    return config


def _teacher_ids(config: Config) -> Iterator[str]:
    for part in config["regularizers"]:
        if part.get("teacher"):
            yield part["teacher"]["run_id"]


def _teachers_first(found: Mapping[str, _Found]) -> Iterable[str]:
    """Return the ids in an order in which what a run needs comes before it."""
    ordered: dict[str, None] = {}

    def add(run_id: str, above: frozenset[str]) -> None:
        if run_id in ordered or run_id in above or run_id not in found:
            return
        for need in found[run_id].needs:
            add(need, above | {run_id})
        ordered[run_id] = None

    for run_id in found:
        add(run_id, frozenset())
    return ordered


def _seconds_left(runs: Sequence[Standing], workers: int) -> float | None:
    """Return how long all runs will take, the longest one at least."""
    left = [run for run in runs if run.state not in ("done", "failed", "damaged")]
    seconds = [run.seconds_left for run in left if run.seconds_left is not None]
    if len(seconds) < len(left):
        return None
    return max([math.fsum(seconds) / max(1, workers), *seconds], default=0.0)


def weigh(path: Path) -> tuple[set[str], int]:
    """Return the names in a run's folder and the bytes of all its files; links are not followed.

    What cannot be read weighs nothing.
    """
    names, size, folders = None, 0, [os.fspath(path)]
    while folders:
        found = list[str]()
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                found.append(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
        names = found if names is None else names
    return set(names or ()), size


@cache
def _disk(path: str) -> str:
    """Return the folder itself or the nearest one above it that is there."""
    found = Path(path).absolute()
    return str(next((one for one in (found, *found.parents) if one.exists()), found))


def free_bytes(path: Path) -> int | None:
    """Return what the disk has left on which a folder lies or will lie; None if unknown."""
    try:
        return shutil.disk_usage(_disk(str(path))).free
    except OSError:
        return None
