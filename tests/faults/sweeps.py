"""A sweep of tiny runs, the processes at work on it, and what it must be when all is done."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsd_bench.store import cleaning, locks
from dsd_bench.store.cleaning import find_waste
from dsd_bench.store.runs import finished, named_ids

from .child import BEAT, CONTEXT, Seams, run

SUITE = """title = "Faults"
question = "Does anything change what comes out?"
source = "none"

[scale.small]
seeds = "0-1"

[scale.small.options]
dataset = "digits:train_size=60,val_size=30"
model = "mlp:hidden=8"
batch_size = 20
rounds = 2
epochs = 6

[scale.small.grid]
method = [
  { label = "plain" },
  { label = "kd", reg = ["kd:teacher=dense"] },
  { label = "rewind", perturber = "rewind:step=2", reg = ["dropout"] },
]

[table]
columns = ["dense"]
"""
"""Six runs; two of them need one of the others."""
KNOWN = re.compile(
    r"(config\.json|rounds\.jsonl|correct\.jsonl|result\.json|provenance\.jsonl|timings\.jsonl"
    r"|log\.txt|attempts\.jsonl|(dense|best|checkpoint|checkpoint\.previous)\.safetensors"
    r"|weights/(round|snapshot)-\d+\.safetensors)\Z"
)
"""What a finished run may hold (docs/formats.md)."""
SAME = re.compile(r"(config\.json|rounds\.jsonl|correct\.jsonl|result\.json|.*/?[a-z]+.*tensors)\Z")
"""What must have the bytes of an undisturbed sweep."""
ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT = 120.0
"""Seconds after which a process of a sweep is taken to hang."""


class Broken(Exception):
    """Something came out other than it must."""


@dataclass
class Child:
    """A process of a sweep."""

    process: Any
    log: Path
    what: str
    struck: bool = False
    """Whether something was done to it, so that it may end as it likes."""

    @property
    def pid(self) -> int:
        """Its id."""
        return int(self.process.pid)

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.code is None

    @property
    def code(self) -> int | None:
        """Its exit code, below zero for a signal; None while it runs."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll()
        return self.process.exitcode  # type: ignore[no-any-return]

    def wait(self, seconds: float = LIMIT) -> int:
        """Wait for its end; return its exit code."""
        ends = time.monotonic() + seconds
        while (code := self.code) is None:
            if time.monotonic() > ends:
                raise Broken(f"{self.what} hangs: {self.said()[-300:]}")
            time.sleep(0.01)
        return code

    def signal(self, number: int) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def stopped(self) -> bool:
        """Whether it is stopped."""
        return state(self.pid) == "T"

    def said(self) -> str:
        """Return what it said so far."""
        with contextlib.suppress(OSError):
            return self.log.read_text("utf-8", "replace")
        return ""


def state(pid: int) -> str:
    """Return the state of a process as the system calls it; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@dataclass
class Sweep:
    """A folder with the suite and its runs."""

    root: Path
    broken: str = ""
    shared: Path | None = None
    """Where what may be remembered between sweeps lies."""
    children: list[Child] = field(default_factory=list)
    done: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    """Finished runs: inode, time and hash of their results when they were first seen."""
    spoiled: set[str] = field(default_factory=set)
    """Runs of which a fault has damaged a finished file, so that it must be written anew."""

    rows: dict[str, int] = field(default_factory=dict)
    """How many rounds each run had when it was last looked at; None are lost but by damage."""
    damaged: bool = False
    """Whether files were damaged, so that rounds may be lost."""
    resumable: set[str] = field(default_factory=set)
    """Runs that an undamaged checkpoint was left of: they must not begin anew."""
    unnoticed: set[str] = field(default_factory=set)
    """Runs whose results were damaged so that nobody can tell: their bytes are not compared."""

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.suite.write_text(SUITE)
        self.logs = self.shared or self.root / "logs"
        self.logs.mkdir(exist_ok=True)

    @property
    def suite(self) -> Path:
        """The suite's file."""
        return self.root / "faults.toml"

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.root / "runs"

    def paths(self) -> list[Path]:
        """Return the folders of all runs."""
        return [self.runs / run_id for run_id in named_ids(self.runs)]

    # -- starting

    def start(self, *words: str, real: bool = False, **seams: Any) -> Child:
        """Start ``dsd-bench WORDS``, forked or as a process of its own."""
        log = self.logs / f"{self.root.name}-{len(self.children)}.log"
        environment = {"XDG_CACHE_HOME": str(self.root.parent / "cache"), "OMP_NUM_THREADS": "1"}
        environment |= {"COLUMNS": "200"}
        process: Any
        if real:
            with open(log, "ab") as file:
                process = subprocess.Popen(
                    [sys.executable, "-m", "dsd_bench", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
                    start_new_session=True,
                )
        else:
            given = (words, Seams(broken=self.broken, **seams), str(log), environment)
            process = CONTEXT.Process(target=run, args=given)
            process.start()
        child = Child(process, log, f"dsd-bench {words[0]}")
        self.children.append(child)
        return child

    def scheduler(self, jobs: int = 2, **more: Any) -> Child:
        """Start ``dsd-bench sweep``."""
        words = ("sweep", str(self.suite), "--runs-dir", str(self.runs), "--jobs", str(jobs))
        return self.start(
            *words, "--yes", "--retries", "1000", "--checkpoint-seconds", "0.03", **more
        )

    def worker(self, retries: int = 1000, **more: Any) -> Child:
        """Start ``dsd-bench work``."""
        words = ("work", str(self.runs), "--retries", str(retries))
        return self.start(*words, "--checkpoint-seconds", "0.03", **more)

    def write(self) -> None:
        """Write the runs' folders, and begin none."""
        child = self.start(
            "sweep", str(self.suite), "--runs-dir", str(self.runs), "--write", "--yes"
        )
        if child.wait():
            raise Broken(f"the runs could not be written: {child.said()}")

    def workers_of(self, scheduler: Child) -> list[int]:
        """Return the processes at work on runs that are not ours: a scheduler's workers."""
        ours = {child.pid for child in self.children}
        return sorted(set(self.holders()) - ours)

    def holders(self) -> list[int]:
        """Return the living processes that hold a run of this folder."""
        held = [locks.holder(path / locks.LOCK) for path in self.paths()]
        return [one.pid for one in held if one is not None and state(one.pid) not in ("", "Z", "X")]

    # -- looking

    def look(self) -> None:
        """Note which runs are finished; those that were must be as they were. No round is lost."""
        for path in self.paths():
            count, before = rounds(path), self.rows.get(path.name, 0)
            if count < before and not self.damaged:
                raise Broken(f"{path.name}: had {before} rounds, has {count}")
            self.rows[path.name] = count
            if path.name in self.spoiled:
                continue
            if path.name in self.done:
                if stamp(path / "result.json") != self.done[path.name]:
                    raise Broken(f"{path.name}: its result was written again or lost")
            elif finished(path):
                self.done[path.name] = stamp(path / "result.json")

    def all_done(self, expected: Iterable[str]) -> bool:
        """Whether every run is finished."""
        return all(finished(self.runs / run_id) for run_id in expected)

    # -- the end

    def kill(self) -> None:
        """End whatever is still there."""
        for child in self.children:
            if child.alive():
                child.signal(signal.SIGKILL)
                child.wait()
        for pid in self.holders():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def rest(self, seconds: float = LIMIT) -> None:
        """Wait until nobody is at work any more."""
        ends = time.monotonic() + seconds
        for child in self.children:
            if child.alive():
                child.wait(seconds)
        while self.holders():
            if time.monotonic() > ends:
                raise Broken(f"processes {self.holders()} of a scheduler that is gone stay")
            time.sleep(0.01)

    def finish(self, expected: Sequence[str], by: str = "sweep") -> None:
        """Carry the sweep on to its end, as a user would: the same command again."""
        self.rest()
        start = self.worker if by == "work" and self.paths() else self.scheduler
        child = start()
        if child.wait() == 1 and "`dsd-bench retry`" in child.said():  # as it says itself
            self.start("retry", str(self.runs)).wait()
            child = start()
        if code := child.wait():
            raise Broken(f"{child.what} ended with {code}: {child.said()[-600:]}")
        if not self.all_done(expected):
            raise Broken(f"not all runs are done: {child.said()[-600:]}")


def rounds(path: Path) -> int:
    """Return how many rounds a run has."""
    try:
        return (path / "rounds.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def stamp(path: Path) -> tuple[int, int, str]:
    """Return what changes when a file is written again."""
    try:
        status = path.stat()
        return status.st_ino, status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return (0, 0, "")


def contents(runs: Path) -> dict[str, dict[str, bytes]]:
    """Return what must have the same bytes, by run and file."""
    return {
        run_id: {
            name: file.read_bytes()
            for file in sorted((runs / run_id).rglob("*"))
            if file.is_file()
            and SAME.match(name := file.relative_to(runs / run_id).as_posix())
            and not name.startswith("checkpoint")
        }
        for run_id in named_ids(runs)
    }


def undisturbed(root: Path) -> dict[str, dict[str, bytes]]:
    """Return the contents of a sweep to which nothing happened; made once for a folder."""
    sweep = Sweep(root / "undisturbed")
    if not (sweep.root / "whole").exists():
        shutil.rmtree(sweep.root)
        sweep = Sweep(sweep.root)
        child = sweep.scheduler()
        if child.wait():
            raise Broken(f"an undisturbed sweep fails: {child.said()}")
        (sweep.root / "whole").touch()
    return contents(sweep.runs)


def compare(sweep: Sweep, expected: dict[str, dict[str, bytes]]) -> list[str]:
    """Return what is other than in an undisturbed sweep, or should not be there."""
    found, wrong = contents(sweep.runs), []
    if found.keys() != expected.keys():
        wrong.append(f"runs {sorted(found.keys() ^ expected.keys())} are missing or too many")
    for run_id, files in expected.items():
        there = found.get(run_id, {})
        for name in sorted(files.keys() | there.keys()):
            if name == "result.json" and run_id in sweep.unnoticed:
                continue
            if files.get(name) != there.get(name):
                wrong.append(f"{run_id}/{name}: other bytes than undisturbed")
    wrong += _logged(sweep) + _litter(sweep)
    for child in sweep.children:
        if "Traceback (most recent" in (said := child.said()) or "(a bug;" in said:
            wrong.append(f"{child.what} said: {said[-800:]}")
    return wrong


def _logged(sweep: Sweep) -> list[str]:
    """Name what logs should not say: published twice, half-written, begun anew without need."""
    wrong = []
    for path in sweep.paths():
        lines = (path / "log.txt").read_text("utf-8", "replace").splitlines()
        ends = sum(" done: " in line for line in lines)
        if ends > 1 + (path.name in sweep.spoiled):
            wrong.append(f"{path.name}: published {ends} times")
        if not sweep.damaged and any("going back to the checkpoint" in line for line in lines):
            wrong.append(f"{path.name}: a checkpoint was seen half-written")
        if path.name in sweep.resumable and any("beginning anew" in line for line in lines):
            wrong.append(f"{path.name}: began anew, though a checkpoint was left")
    return wrong


def _litter(sweep: Sweep) -> list[str]:
    """Name files that a finished run should not hold and that ``clean`` does not know."""
    age, before = cleaning.AGE, {path: path.stat().st_mtime_ns for path in sweep.paths()}
    cleaning.AGE = -1e9
    try:
        waste = {one.path for one in find_waste(sweep.runs)}
    finally:
        cleaning.AGE = age
    assert {path: path.stat().st_mtime_ns for path in before} == before  # looking writes nothing
    files = [file for path in sweep.paths() for file in path.rglob("*") if file not in waste]
    named = {file: file.relative_to(sweep.runs / file.relative_to(sweep.runs).parts[0]).as_posix()
             for file in files}  # fmt: skip
    return [
        f"{file.parent.name}/{file.name}: litter that `clean` does not know"
        for file, name in named.items()
        if not (KNOWN.match(name) if file.is_file() else name in ("weights", "metrics"))
    ]


def lease() -> float:
    """Return the seconds after which a silent holder is superseded here."""
    return BEAT * locks.MISSED
