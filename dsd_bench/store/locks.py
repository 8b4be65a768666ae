"""One process a run: a lease, in a file that says who holds it, with flock where that works.

The file names host, boot, process and the process's start time, and a count of heartbeats. On this
host a holder whose process is gone is dead. Of all others nothing is known but the heartbeat, and
clocks differ: a holder lives if the file changes while it is watched, and has lost its lease after
missed beats by the watcher's own clock. A process id alone proves nothing: ids are reused.

A lease is made by creating the file, which only one can, and taken over by replacing it, which only
one can at a time: who has made the folder ``lock.taking``. Neither needs flock. It counts how often
it was taken over (``fence``). A holder that slept past its lease (it was stopped, its computer was
suspended) may wake up: :func:`confirm`, asked before anything is published, then tells it that
another one holds the run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dsd_bench.errors import Locked, RunError, Superseded, UsageError, plain
from dsd_bench.store.files import NO_FOLLOW, NO_WAIT, explained, temporary

if sys.platform != "win32":
    import fcntl

LOCK = "lock"
"""A run's lock file, in its folder."""
BEAT = 10.0
"""Seconds between two heartbeats."""
MISSED = 6
"""Missed beats after which a holder has lost its lease."""
PAUSE = 0.2
"""Seconds between two looks at a lock that is held."""
SIZE = 512
"""Bytes of a lock file: always the same, so that it is never seen half-written."""
TAKING = ".taking"
"""Ends the name of the folder that is there while a lock is taken over."""
_HELD: set[str] = set()
"""Absolute paths of the locks that this process has taken and not let go of."""
_FLAGS = os.O_RDWR | NO_FOLLOW | NO_WAIT


@contextlib.contextmanager
def locked(
    path: Path,
    waiting: Callable[[str], None] | None = None,
    patient: bool = True,
    watch: Watch | None = None,
) -> Iterator[None]:
    """Hold the lock file ``path`` inside the block.

    Args:
        path: the lock file; it is removed afterwards.
        waiting: is called with a sentence several times a second while another process holds the
            lock, and may raise to give up.
        patient: whether to wait for a holder that is known to live; without ``waiting`` never.
        watch: what was seen of the holder in earlier tries.

    The lock of a holder whose process is gone is taken over: at once on its own host. That of any
    other after it was watched for :data:`MISSED` beats without one, whoever waits.

    Raises:
        Locked: naming the holder, if there is one that lives and no patience.
        UsageError: if ``path`` is a link, a folder or anything else that is no lock file.
    """
    watch = watch or Watch()
    while (handle := _try(path, watch)) is None:
        holder = f"{path.parent}: {describe(path)}"
        if watch.alive and (waiting is None or not patient):
            raise Locked(f"{holder} is working on this run; wait for it")
        if waiting is not None:
            unsure = f"holds its lock; watching for {BEAT * MISSED:.0f} s whether it still lives"
            waiting(f"{holder} {'is working on this run' if watch.alive else unsure}")
        time.sleep(PAUSE)
    path = path.absolute()  # whoever runs in the block may change the working folder
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, handle, stop), daemon=True)
    beat.start()
    _HELD.add(str(path))
    try:
        yield
    finally:
        _HELD.discard(str(path))
        stop.set()
        beat.join()
        with contextlib.suppress(OSError):
            if _mine(_read(path)):  # else it was taken over while this process slept
                path.unlink()
        os.close(handle)


def confirm(path: Path) -> None:
    """Make sure that this process still holds the lock ``path``, if it has taken it.

    To be asked before anything is published that the lock protects.

    Raises:
        Superseded: if its lease ran out while it slept, and another one took the lock over.
    """
    if str(path.absolute()) in _HELD and not _mine(_read(path)):
        raise Superseded(
            f"{path.parent}: this process slept for too long, and {describe(path)} has taken the "
            "run over; nothing of it is written any more"
        )


class Watch:
    """What one waiting process has seen of a holder.

    Args:
        pause: the longest time between two looks, in seconds, in which the watcher was awake.

    Attributes:
        alive: whether the holder is known to live.
    """

    def __init__(self, pause: float | None = None) -> None:
        self.alive = False
        self._pause = 5 * PAUSE if pause is None else pause
        self._seen: tuple[bytes, int, int] | None = None
        self._still = self._looked = 0.0
        self._taker: Watch | None = None

    def died(self, handle: int, alive: bool = False) -> bool:
        """Look at the heartbeat; whether it has stood still for too long.

        Only time in which it was looked at counts: this process may have been asleep itself.

        Args:
            handle: the open lock file.
            alive: whether its process is known to be there.
        """
        seen, now = self._look(handle), time.monotonic()
        if seen == self._seen:
            self._still += min(now - self._looked, self._pause)
        else:
            self.alive = alive or self._seen is not None
            self._seen, self._still = seen, 0.0
        self._looked = now
        return self._still >= BEAT * MISSED

    def remember(self, handle: int) -> None:
        """Note what the lock of a holder looks like that is dead."""
        self._seen = self._look(handle)

    def same(self, handle: int) -> bool:
        """Whether the lock is as it was seen last."""
        return self._look(handle) == self._seen

    def taker_died(self, taking: Path) -> bool:
        """Whether somebody began to take the lock over long ago and never ended."""
        if self._taker is None:
            self._taker = Watch(self._pause)
        try:
            handle = os.open(taking, os.O_RDONLY)
        except OSError:
            return False
        try:
            return self._taker.died(handle)
        finally:
            os.close(handle)

    @staticmethod
    def _look(handle: int) -> tuple[bytes, int, int]:
        status = os.fstat(handle)
        data = os.pread(handle, SIZE, 0) if stat.S_ISREG(status.st_mode) else b""
        return data, status.st_ino, status.st_mtime_ns


def _try(path: Path, watch: Watch) -> int | None:
    """Return an open handle that holds the lock, or None while somebody may hold it."""
    handle, created = _open(path)
    with _closing(handle):
        flocked = _flock(handle)
        if created and flocked is not None and _same_file(handle, path):
            try:
                with explained(path):
                    _write(handle, beat=0, fence=1)
            except BaseException:
                path.unlink(missing_ok=True)  # an empty lock would have to be watched
                raise
            return handle
        free = _same_file(handle, path) and not _held(handle, flocked, watch)
        taken = _take_over(handle, path, watch) if free else None
    os.close(handle)
    return taken


def _take_over(old: int, path: Path, watch: Watch) -> int | None:
    """Replace the lock of a dead holder; return a handle of the new one, None if it is too late."""
    taking, fresh = path.with_name(path.name + TAKING), temporary(path)
    try:
        with explained(path):
            taking.mkdir()
    except RunError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        if watch.taker_died(taking):
            with contextlib.suppress(OSError):
                taking.rmdir()
        return None
    handle = None
    try:
        seen = _parsed(os.pread(old, SIZE, 0))
        with explained(path):
            handle = os.open(fresh, _FLAGS | os.O_CREAT | os.O_EXCL, 0o644)
            _flock(handle)
            _write(handle, beat=0, fence=_fence(seen) + 1)
            if not _same_file(old, path) or not watch.same(old):
                return None  # another one was quicker, or the holder lives after all
            try:
                os.replace(fresh, path)
            except FileNotFoundError:  # who has the run now has tidied up
                return None
        taken, handle = handle, None
        return taken
    finally:
        if handle is not None:
            os.close(handle)
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            taking.rmdir()


def _fence(holder: dict[str, Any]) -> int:
    """Return how often a lock was taken, as it says itself."""
    fence = holder.get("fence")
    return fence if isinstance(fence, int) and fence > 0 else 0


def _open(path: Path) -> tuple[int, bool]:
    """Open the lock file, never through a link; also return whether it was made just now."""
    while True:
        for flags in (os.O_CREAT | os.O_EXCL, 0):
            try:
                handle = os.open(path, _FLAGS | flags, 0o644)
            except (FileExistsError, FileNotFoundError) as error:
                if flags and isinstance(error, FileNotFoundError):  # no such folder
                    with explained(path):
                        raise
            except OSError:
                with contextlib.suppress(FileNotFoundError):
                    _refuse_strange(path, os.lstat(path))
                with explained(path):
                    raise
            else:
                with _closing(handle):
                    _refuse_strange(path, os.fstat(handle))
                return handle, bool(flags)
        # removed between the two attempts: once more


@contextlib.contextmanager
def _closing(handle: int) -> Iterator[None]:
    """Close the file if the block fails."""
    try:
        yield
    except BaseException:
        os.close(handle)
        raise


def _refuse_strange(path: Path, status: os.stat_result) -> None:
    """Refuse what is no file of its own: writing there would change something else."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a link or special file"
        raise UsageError(f"{path}: {what}, where a lock file of dsd-bench belongs; remove it")


def _write(handle: int, beat: int, fence: int) -> None:
    """Say that this process holds the lock, in one piece: no reader sees half of it."""
    data = json.dumps({**_myself(), "fence": fence, "beat": beat}).encode().ljust(SIZE)
    os.pwrite(handle, data, 0)
    os.ftruncate(handle, len(data))
    os.fsync(handle)  # other hosts see it now


def _flock(handle: int) -> bool | None:
    """Take the advisory lock: True if it works here, False if it doesn't, None if it is taken."""
    if sys.platform == "win32":
        return False  # the file and its heartbeat have to do
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL):
            raise
        return False
    return True


def _same_file(handle: int, path: Path) -> bool:
    """Whether the path still names the open file: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _held(handle: int, flocked: bool | None, watch: Watch) -> bool:
    """Whether somebody who may live holds the file, this process not counted.

    On this host a dead process is known at once, by flock where that works. One that lives is
    watched like any other: it may have been stopped for good.
    """
    holder = _parsed(os.pread(handle, SIZE, 0))
    if _mine(holder) and flocked is not None:
        watch.remember(handle)
        return False
    if holder.get("host") == socket.gethostname() and holder.get("boot") == _boot():
        if flocked is True or (flocked is False and not _lives(holder)):
            watch.remember(handle)
            return False
        watch.alive = True
        return not watch.died(handle, alive=True)
    watch.alive |= flocked is None
    return not watch.died(handle)


def _lives(holder: dict[str, Any]) -> bool:
    """Whether a holder on this host is a process that is there."""
    return _started(holder.get("pid")) == holder.get("started")


def describe(path: Path) -> str:
    """Return who holds the lock, for people."""
    holder = _read(path)
    host = holder.get("host", "")
    place = "" if host == socket.gethostname() else f" on {host}"
    return plain(f"process {holder.get('pid', '?')}{place}") if holder else "another process"


@dataclass(frozen=True)
class Holder:
    """Who a lock file names.

    Attributes:
        host, pid: the process.
        alive: whether it lives; None of a process on another host, of which only its heartbeat
            tells.
        beat: when it was last written, in seconds since 1970 by the clock of the file system.
    """

    host: str
    pid: int
    alive: bool | None
    beat: float


def holder(path: Path) -> Holder | None:
    """Return who holds the lock file ``path``, without touching it; None if nobody does."""
    found = _read(path)
    try:
        host, pid, beat = str(found["host"]), int(found["pid"]), os.lstat(path).st_mtime
    except (KeyError, OSError, TypeError, ValueError):
        return None
    here = host == socket.gethostname() and found.get("boot") == _boot()
    alive = _started(pid) == found.get("started") if here else None
    return Holder(plain(host), pid, alive, beat)


def _read(path: Path) -> dict[str, Any]:
    try:
        handle = os.open(path, (_FLAGS & ~os.O_RDWR) | os.O_RDONLY)
    except OSError:
        return {}
    try:
        return _parsed(os.pread(handle, SIZE, 0))
    except OSError:  # a folder, a pipe
        return {}
    finally:
        os.close(handle)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _mine(holder: dict[str, Any]) -> bool:
    """Whether ``holder`` is this very process."""
    return {key: holder.get(key) for key in _myself()} == _myself()


def _myself() -> dict[str, Any]:
    return _identity(os.getpid())


@cache
def _identity(pid: int) -> dict[str, Any]:
    """Return who this process is; once, because a computer's name may change meanwhile."""
    identity = {"host": socket.gethostname(), "boot": _boot(), "pid": pid}
    return identity | {"started": _started(pid)}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _started(pid: Any) -> str | None:
    """Return a process's start time as the system counts it, None if it is gone."""
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_text("utf-8").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]  # a zombie holds nothing
    except (TypeError, ValueError):
        return None
    except OSError:
        return None if Path("/proc/self/stat").exists() else _signalled(pid)


def _signalled(pid: Any) -> str | None:
    """Without /proc: whether a signal could be sent; start times are unknown there."""
    try:
        os.kill(int(pid), 0)
    except (OSError, TypeError, ValueError):
        return None
    return "unknown"


def _beat(path: Path, handle: int, stop: threading.Event) -> None:
    beat, fence = 0, _fence(_parsed(os.pread(handle, SIZE, 0)))
    while not stop.wait(BEAT):
        beat += 1
        with contextlib.suppress(OSError):
            if _mine(_read(path)):  # else it was taken over while this process slept
                _write(handle, beat, fence)
