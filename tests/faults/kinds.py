"""The kinds of faults: what is done to a sweep, and when."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsd_bench.store import locks
from dsd_bench.store.attempts import ATTEMPTS
from dsd_bench.store.runs import finished

from .sweeps import Broken, Child, Sweep, lease

ENDS = (signal.SIGTERM, signal.SIGKILL)
DISK = "4m"
"""Size of the disk that fills up."""
Act = Callable[["Case"], None]


class Impossible(Exception):
    """A kind that cannot be tried here, and why."""


@dataclass
class Case:
    """One sweep to which faults of one kind happen.

    Attributes:
        kind: the kind's name.
        index: which of the kind; it decides, with the campaign's seed, what is drawn.
        draw: whatever is random.
        sweep: the sweep.
        expected: ids of all runs.
        goal: how many faults to try at most.
        real: whether processes are started anew instead of forked.
        faults: what happened, and when, in seconds since the case began.
    """

    kind: str
    index: int
    draw: random.Random
    sweep: Sweep
    expected: list[str]
    goal: int = 4
    real: bool = False
    faults: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def strike(self, what: str) -> None:
        """Note a fault that has happened; what was finished then must stay as it is."""
        self.faults.append(f"{time.monotonic() - self.began:.3f} s: {what}")
        self.sweep.look()

    @property
    def going(self) -> bool:
        """Whether there is something left to disturb, and a fault left to try."""
        return len(self.faults) < self.goal and not self.sweep.all_done(self.expected)

    def wait(self, most: float = 0.7) -> None:
        """Let a random time pass."""
        if self.real:
            most = 4.0
        time.sleep(self.draw.uniform(0, most))

    def busy(self, share: float = 0.85) -> None:
        """Mostly wait until somebody is at work on a run, that instants are not all at starts."""
        if self.draw.random() < share:
            self.until(lambda: bool(self.sweep.holders()) or not self.living())

    def until(self, true: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Wait until ``true``, or for as long; return which."""
        ends = time.monotonic() + seconds
        while not true():
            if time.monotonic() > ends:
                return False
            time.sleep(0.01)
        return True

    def at(self, pid: int) -> str:
        """Say what a process is at."""
        for path in self.sweep.paths():
            held = locks.holder(path / locks.LOCK)
            if held is not None and held.pid == pid:
                rounds = path / "rounds.jsonl"
                with contextlib.suppress(OSError):
                    return f"at {path.name} after {rounds.read_bytes().count(10)} rounds"
                return f"at {path.name} in its first round"
        return "between runs"

    def living(self) -> list[Child]:
        """Return the processes that were started here and have not ended."""
        return [child for child in self.sweep.children if child.alive()]

    def unfinished(self) -> list[Path]:
        """Return the folders of runs that are not finished."""
        return [path for path in self.sweep.paths() if not finished(path)]


# -- processes that end


def kill_worker(case: Case) -> None:
    """``kill -9`` of workers: of ``work``, and of those that a scheduler has started."""
    if case.index % 3 == 2:
        scheduler = case.sweep.scheduler(real=case.real)
        while case.going and scheduler.alive():
            case.busy(1)
            case.wait()
            if victims := case.sweep.workers_of(scheduler):
                _kill(case, case.draw.choice(victims), "worker of a sweep")
        return
    case.sweep.write()
    while case.going:
        while len(case.living()) < 2:
            case.sweep.worker(real=case.real)
        case.busy()
        case.wait()
        if alive := case.living():
            _kill(case, case.draw.choice(alive).pid, "worker")
            case.until(lambda: len(case.living()) < 2)


def kill_scheduler(case: Case) -> None:
    """``kill -9`` of ``sweep``; the same command again at once, beside its workers that leave."""
    while case.going:
        scheduler = case.sweep.scheduler(real=case.real)
        case.busy()
        case.wait(1.0)
        if scheduler.alive():
            _kill(case, scheduler.pid, "scheduler")
            scheduler.wait()


def kill_both(case: Case) -> None:
    """``kill -9`` of ``sweep`` and its workers at the same instant."""
    while case.going:
        scheduler = case.sweep.scheduler(real=case.real)
        case.busy()
        case.wait(1.0)
        if scheduler.alive():
            workers = case.sweep.workers_of(scheduler)
            what = ", ".join(case.at(pid) for pid in workers) or "between runs"
            for pid in (scheduler.pid, *workers):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            scheduler.wait()
            case.strike(f"kill -9 scheduler and {len(workers)} workers ({what})")


def term(case: Case) -> None:
    """SIGTERM of schedulers and workers: they leave with a checkpoint."""
    _asked(case, signal.SIGTERM)


def interrupt(case: Case) -> None:
    """SIGINT of schedulers and workers: they leave with a checkpoint."""
    _asked(case, signal.SIGINT)


def _asked(case: Case, number: signal.Signals) -> None:
    case.sweep.write()
    while case.going:
        child = (case.sweep.worker if case.draw.random() < 0.5 else case.sweep.scheduler)(
            real=case.real
        )
        case.until(lambda child=child: bool(child.said()) or not child.alive())  # type: ignore[misc]
        case.busy()
        case.wait()
        if child.alive():
            what = ", ".join(map(case.at, case.sweep.holders())) or "between runs"
            child.signal(number)
            code = child.wait()
            case.strike(f"{number.name} to {child.what} ({what})")
            if code not in (0, 130) and (what != "between runs" or code != -number):
                raise Broken(f"{child.what} ended with {code} on {number.name}: {child.said()}")
            if code == 130 and child.what.endswith("work") and "left" not in child.said():
                raise Broken(f"{child.what} does not say what is left: {child.said()}")


def _kill(case: Case, pid: int, what: str) -> None:
    at = case.at(pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    case.strike(f"kill -9 {what} {at}")


# -- processes that sleep


def stop(case: Case) -> None:
    """SIGSTOP for longer than the lease, and back, while another worker is there."""
    case.sweep.write()
    while case.going:
        while len(case.living()) < 2:
            case.sweep.worker()
        case.wait(0.4)
        holders = set(case.sweep.holders())
        victims = [child for child in case.living() if child.pid in holders]
        if not victims:
            continue
        victim = case.draw.choice(victims)
        at = case.at(victim.pid)
        victim.signal(signal.SIGSTOP)
        case.strike(f"SIGSTOP of a worker {at}")
        time.sleep(lease() + case.draw.uniform(0.2, 1.0))
        victim.signal(signal.SIGCONT)
        case.wait(0.2)


def asleep_at_rename(case: Case) -> None:
    """A stop exactly between the last look at the lease and a rename, for longer than the lease."""
    case.sweep.write()
    while case.going:
        number = case.draw.randint(1, 45)
        sleeper = case.sweep.worker(asleep_at=number)
        if not case.until(lambda child=sleeper: child.stopped() or not child.alive()):  # type: ignore[misc]
            raise Broken(f"a worker neither sleeps nor ends: {sleeper.said()}")
        if not sleeper.alive():
            return
        at = case.at(sleeper.pid)
        other = case.sweep.worker()
        case.strike(f"asleep right before rename {number} {at}")
        # the other takes the run over and is killed, goes on beside the sleeper, or ends before
        way = case.draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, None))
        if way is None:
            other.wait()
        else:
            before = len(attempts(case))
            case.until(lambda before=before: len(attempts(case)) > before, 4 * lease())  # type: ignore[misc]
            case.wait(0.3)
        if way == signal.SIGKILL:
            other.signal(way)
            other.wait()
        case.sweep.look()
        sleeper.signal(signal.SIGCONT)
        case.until(lambda child=sleeper: not child.stopped())  # type: ignore[misc]
        case.wait(0.3)
        for child, number in ((other, signal.SIGTERM), (sleeper, case.draw.choice(ENDS))):
            child.signal(number)
            child.wait()
        case.sweep.look()


def attempts(case: Case) -> list[str]:
    """Return a line for each attempt that began or ended."""
    texts = [path / ATTEMPTS for path in case.sweep.paths()]
    return [line for text in texts if text.exists() for line in text.read_text().splitlines()]


def dead_host(case: Case) -> None:
    """Locks of hosts that are gone, whole, cut or empty; and take-overs that were cut."""
    case.sweep.write()
    for path in case.draw.sample(case.unfinished(), case.goal):
        holder = {"host": "gone", "boot": "b", "pid": 2**22 + 1, "started": "1"}
        text = json.dumps({**holder, "fence": case.draw.randint(0, 9), "beat": 3}).ljust(locks.SIZE)
        cut = case.draw.choice((locks.SIZE, locks.SIZE, 40, 0))
        (path / locks.LOCK).write_text(text[:cut])
        if half := case.draw.random() < 0.3:
            (path / f"{locks.LOCK}{locks.TAKING}").mkdir()
        case.strike(f"lock of a dead host on {path.name}, {cut} bytes, half taken over: {half}")
    if case.draw.random() < 0.5:
        case.sweep.worker()
    case.sweep.scheduler()


# -- several at once


def two(case: Case) -> None:
    """Two schedulers on one folder."""
    _together(case, 2)


def five(case: Case) -> None:
    """Five schedulers on one folder."""
    _together(case, 5)


def _together(case: Case, count: int) -> None:
    schedulers = []
    for _ in range(count):
        schedulers.append(case.sweep.scheduler(jobs=1))
        case.wait(0.2)
    case.strike(f"{count} schedulers on one folder")
    if case.draw.random() < 0.3:
        case.wait()
        victim = case.draw.choice(schedulers)
        if victim.alive():
            _kill(case, victim.pid, f"one of {count} schedulers")
            schedulers.remove(victim)
    for child in schedulers:
        code, said = child.wait(), child.said()
        slept = code == 130 and "slept for too long" in said  # on a computer that is very busy
        if code and not slept:
            raise Broken(f"one of {count} schedulers ended with {code}: {said[-600:]}")


def clocks(case: Case) -> None:
    """Hosts with other clocks, that leap; times of files set back and forth; dead hosts too."""
    case.sweep.write()
    number = 0
    while case.going:
        while len(case.living()) < 2:
            number += 1
            clock, leaps = case.draw.uniform(-1e6, 1e6), case.draw.randint(0, 3)
            case.sweep.worker(host=f"host-{number}", clock=clock, leaps=leaps)
            case.strike(f"worker on host-{number}, clock wrong by {clock:.0f} s, leaps {leaps}")
        case.wait(0.5)
        if not case.going:
            break
        files = [file for path in case.unfinished() for file in path.iterdir()]
        if case.draw.random() < 0.5 and files:
            shift = case.draw.uniform(-1e6, 1e6)
            for file in case.draw.sample(files, min(8, len(files))):
                with contextlib.suppress(FileNotFoundError):
                    os.utime(file, (time.time() + shift, time.time() + shift))
            case.strike(f"times of files set by {shift:.0f} s")
        elif alive := case.living():
            _kill(case, case.draw.choice(alive).pid, "a worker of a host whose clock is wrong,")
            case.until(lambda: len(case.living()) < 2)


# -- disks and folders


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a small disk at ``place``."""
    if os.geteuid():
        raise Impossible("a small tmpfs can only be mounted by root")
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Impossible(f"a small tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def full_disk(case: Case) -> None:
    """A disk (tmpfs) that fills up at any instant, and has room again later."""
    case.sweep.write()
    ballast = case.sweep.root / "ballast"
    while case.going:
        child = (case.sweep.worker if case.draw.random() < 0.5 else case.sweep.scheduler)()
        case.busy()
        case.wait(0.5)
        if not child.alive():
            continue
        _fill(ballast, left=case.draw.choice((0, 0, 4096, 16384, 40960)))
        case.strike("the disk is full")
        case.until(lambda child=child: not child.alive(), lease() + case.draw.uniform(0, 1.5))  # type: ignore[misc]
        ballast.unlink()
        _ended(case, child, "the disk is full")


def read_only(case: Case) -> None:
    """Folders that may not be written from any instant on, and may be later."""
    case.sweep.write()
    while case.going:
        child = (case.sweep.worker if case.draw.random() < 0.5 else case.sweep.scheduler)()
        case.busy()
        case.wait(0.5)
        if not child.alive():
            continue
        what, places = "everything", [case.sweep.runs]
        some = case.unfinished()
        if case.draw.random() < 0.5 and some:
            what, places = "one run", [case.draw.choice(some)]
        paths = [path for place in places for path in (place, *place.rglob("*"))]
        with locked_up([path for path in paths if not path.name.startswith(locks.LOCK)]):
            case.strike(f"{what} may not be written")
            case.until(lambda child=child: not child.alive(), lease() + case.draw.uniform(0, 1.5))  # type: ignore[misc]
        _ended(case, child, "may not be written")


@contextlib.contextmanager
def locked_up(paths: list[Path]) -> Iterator[None]:
    """Let nobody write into folders and files: root, who may all by their modes, neither."""
    root = os.geteuid() == 0
    away, back = (["chattr", "-f", "+i"], ["chattr", "-f", "-i"]) if root else (
        ["chmod", "-f", "a-w"], ["chmod", "-f", "u+w"]
    )  # fmt: skip
    if root and not shutil.which("chattr"):
        raise Impossible("root may write everywhere without chattr")
    words = [str(path) for path in paths]
    subprocess.run([*away, *words], capture_output=True, check=False)  # some may be gone
    try:
        if root and os.access(paths[0], os.W_OK):
            raise Impossible("chattr does not work on this file system")
        yield
    finally:
        subprocess.run([*back, *words], capture_output=True, check=False)


def _ended(case: Case, child: Child, words: str) -> None:
    """A process ends well, or says what was wrong; give it time if it goes on."""
    code = child.wait()
    said = child.said()
    if code not in (0, 1, 2, 130) or (code in (1, 2) and words not in said):
        raise Broken(f"{child.what} ended with {code} and does not say '{words}': {said[-600:]}")


def _fill(path: Path, left: int) -> None:
    """Fill the disk with one file, but for ``left`` bytes."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with open(path, "r+b") as file:
        file.truncate(max(0, path.stat().st_size - left))


def begun(case: Case) -> None:
    """Let a sweep go on for a random time, then kill it whole."""
    scheduler = case.sweep.scheduler()
    case.until(lambda: any(p.joinpath("rounds.jsonl").exists() for p in case.sweep.paths()))
    case.wait(0.8)
    case.sweep.kill()
    scheduler.wait()
    case.until(lambda: not case.sweep.holders())
    case.sweep.look()
