"""What runs in a process of a sweep: the real commands, with short leases and a clock of its own.

A process that has imported torch once forks all others, so that a start costs no two seconds. They
are processes like any other: with an id, signals, locks and pipes of their own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import torch

import dsd_bench.experiment.runner
import dsd_bench.training.device
from dsd_bench.cli import sweep as _sweep  # noqa: F401
from dsd_bench.cli import work as _work  # noqa: F401
from dsd_bench.cli.main import main as command
from dsd_bench.executors import local, pulling, worker
from dsd_bench.store import files, locks

torch.set_num_threads(1)
BEAT = 0.1
"""Seconds between two heartbeats in these processes; a lease lasts six of them."""
PLACE = str(Path(__file__).resolve().parents[__name__.count(".")])
"""Where a new process finds this module under the name that it has here."""
if PLACE not in (before := os.environ.get("PYTHONPATH", "")).split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (PLACE, before)))
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Seams:
    """What is other in a process than in a user's.

    Attributes:
        host: what the computer is called; processes of other names are taken for ones elsewhere.
        clock: seconds by which its clock is wrong, from the start on.
        leaps: seed of sudden leaps of its clock, in either direction; 0: there are none.
        asleep_at: the rename or link, counted from 1, right before which it stops itself.
        broken: name of a protection to leave out (:data:`BREAKS`), to see the campaign notice.
    """

    host: str | None = None
    clock: float = 0.0
    leaps: int = 0
    asleep_at: int = 0
    broken: str = ""


def begin(seams: Seams) -> None:
    """Put the seams in; in the new process."""
    os.setpgrp()  # a signal for one process is for no other
    # the process that forked this one forks its workers as well: no other need import all again
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    locks.BEAT, locks.PAUSE = BEAT, BEAT / 5
    pulling.POLL, pulling.LONGEST_POLL = BEAT, 2 * BEAT
    if seams.host is not None:
        name = seams.host
        socket.gethostname = lambda: name
        locks._boot = lambda: name  # type: ignore[assignment]
    if seams.clock or seams.leaps:
        time.time = _clock(seams)  # type: ignore[assignment]
    if seams.asleep_at:
        _sleep_at(seams.asleep_at)
    if seams.broken:
        BREAKS[seams.broken]()
    local.subprocess = _Subprocess(seams)  # type: ignore[assignment]


def _clock(seams: Seams) -> Callable[[], float]:
    """Return a clock that is wrong, and that leaps every fraction of a second."""
    real, began = time.time, time.monotonic()

    def now() -> float:
        shift = seams.clock
        if seams.leaps:
            leap = int((time.monotonic() - began) / 0.2)
            shift += random.Random(f"{seams.leaps}/{leap}").uniform(-1e5, 1e5)
        return real() + shift

    return now


def _sleep_at(number: int) -> None:
    """Let this process stop itself right before a rename or link: what precedes has been done."""
    seen = 0

    def asleep(real: Callable[..., None]) -> Callable[..., None]:
        def act(source: Any, target: Any, **more: Any) -> None:
            nonlocal seen
            if Path(target).name != locks.LOCK:
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGSTOP)
            real(source, target, **more)

        return act

    os.replace, os.link = asleep(os.replace), asleep(os.link)  # type: ignore[assignment]


# -- what is started


def run(words: Sequence[str], seams: Seams, log: str, environment: dict[str, str]) -> None:
    """Be ``dsd-bench WORDS``; what it says goes to the file ``log``."""
    null = os.open(os.devnull, os.O_RDONLY)
    told = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    _become(null, told, told, environment)
    begin(seams)
    sys.argv = ["dsd-bench"]  # else `work` would begin itself anew, without the seams
    _leave(lambda: command(list(words)))


def run_worker(
    seams: Seams, given: Any, told: Any, errors: Any, environment: dict[str, str]
) -> None:
    """Be the worker process of a sweep's executor ``local``."""
    try:
        pipes = given.detach(), told.detach(), errors.detach()
    except (OSError, EOFError):  # whoever starts it has been killed
        os._exit(1)
    _become(*pipes, environment)
    begin(seams)
    _leave(worker.main)


def _become(given: int, told: int, errors: int, environment: dict[str, str]) -> None:
    for number, handle in enumerate((given, told, errors)):
        if handle != number:
            os.dup2(handle, number)
            os.close(handle) if handle not in (0, 1, 2, told, errors) else None
    for handle in {given, told, errors} - {0, 1, 2}:
        with contextlib.suppress(OSError):
            os.close(handle)
    os.environ.update(environment)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(main: Callable[[], None]) -> None:
    code: Any = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


class _Subprocess:
    """Stands in for ``subprocess`` where ``local`` starts its workers: forks them instead."""

    PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

    def __init__(self, seams: Seams) -> None:
        self._seams = seams

    def Popen(self, words: Sequence[str], env: dict[str, str], **_: Any) -> Forked:
        """Start a worker."""
        return Forked(self._seams, env)


class Forked:
    """A worker, as ``subprocess.Popen`` has it."""

    def __init__(self, seams: Seams, environment: dict[str, str]) -> None:
        given, self_in = os.pipe()
        self_out, told = os.pipe()
        self_err, errors = os.pipe()
        ends = [DupFd(end) for end in (given, told, errors)]
        self._process = CONTEXT.Process(target=run_worker, args=(seams, *ends, environment))
        self._process.start()
        for end in (given, told, errors):
            os.close(end)
        self.stdin, self.stdout = open(self_in, "wb"), open(self_out, "rb")  # noqa: SIM115
        self.stderr, self.pid = open(self_err, "rb"), self._process.pid  # noqa: SIM115

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit code, below zero for a signal."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        return code

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.pid or 0), signal.SIGKILL)


# -- protections that can be left out, to see that the campaign notices


def _unsynced_in_place() -> None:
    """Write files in place: a reader, or who resumes, may see half of them."""

    def write(path: Path, data: bytes, sync: bool = True, confirm: Any = None) -> None:
        with open(path, "wb", buffering=0) as file:
            for first in range(0, len(data), 512):
                file.write(data[first : first + 512])
                time.sleep(0.01)

    from dsd_bench.store import folder, tensors

    for module in (files, folder, tensors):
        module.write_atomic = write  # type: ignore[attr-defined]


def _no_confirm() -> None:
    """Never look whether the lease is still there."""
    from dsd_bench.store import folder

    locks.confirm = folder.confirm = lambda path: None  # type: ignore[attr-defined]
    dsd_bench.experiment.runner.confirm = lambda path: None  # type: ignore[attr-defined]


def _no_tidy() -> None:
    """Leave temporary files of an earlier owner where they are."""
    from dsd_bench.store.folder import RunFolder

    RunFolder.tidy = lambda self: None  # type: ignore[method-assign]


def _no_lock() -> None:
    """Let everybody hold every lock."""

    @contextlib.contextmanager
    def locked(path: Path, *_: Any, **__: Any) -> Any:
        yield

    pulling.locked = locked  # type: ignore[attr-defined]
    dsd_bench.experiment.runner.locked = locked  # type: ignore[attr-defined]


def _no_checksum() -> None:
    """Believe every checkpoint and all weights that can be parsed."""
    from dsd_bench.store import hashes, tensors, weights

    class Same(str):
        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    tensors.checksum = lambda *given: Same("0" * 64)  # type: ignore[assignment]
    weights.sha256 = lambda path: Same("")  # type: ignore[attr-defined]
    hashes.changed_texts = lambda *given: []  # type: ignore[assignment]


def _no_previous() -> None:
    """Keep one checkpoint only."""
    from dsd_bench.store import folder

    folder._link = lambda path, other: Path(other).touch()  # type: ignore[assignment]


def _clocks_compared() -> None:
    """Judge a holder elsewhere by the age of its file instead of by watching it."""

    def died(self: Any, handle: int, alive: bool = False) -> bool:
        return time.time() - os.fstat(handle).st_mtime > locks.BEAT * locks.MISSED

    locks.Watch.died = died  # type: ignore[method-assign]


def _result_early() -> None:
    """Publish the result whatever is there already."""
    from dsd_bench.store import folder

    def once(path: Path, data: bytes, confirm: Any = None) -> bool:
        files.write_atomic(path, data)
        return True

    folder.write_once = once  # type: ignore[attr-defined]
    _no_confirm()


BREAKS: dict[str, Callable[[], None]] = {
    "atomic": _unsynced_in_place,
    "confirm": _no_confirm,
    "tidy": _no_tidy,
    "lock": _no_lock,
    "checksum": _no_checksum,
    "previous": _no_previous,
    "clocks": _clocks_compared,
    "once": _result_early,
}
