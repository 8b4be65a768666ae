"""One process a run: flock where it works, and a file that says who holds it.

The file names host, boot, process and the process's start time, and a count of heartbeats. On this
host a holder lives if the very process does. Of a holder on another host nothing is known but the
heartbeat, and clocks differ: it lives if the file changes while it is watched, and is dead after
missed beats by the watcher's own clock. A process id alone proves nothing: ids are reused.
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

from dsd_bench.errors import Locked, UsageError, plain
from dsd_bench.store.files import NO_FOLLOW, NO_WAIT, explained

if sys.platform != "win32":
    import fcntl

BEAT = 10.0
"""Seconds between two heartbeats."""
MISSED = 6
"""Missed beats after which a holder on another host counts as dead."""
PAUSE = 0.2
"""Seconds between two looks at a lock that is held."""
SIZE = 512
"""Bytes of a lock file: always the same, so that it is never seen half-written."""
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

    A dead holder's lock is taken over: at once on its own host; on another one after it was watched
    for :data:`MISSED` beats, whoever waits.

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
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, handle, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        with contextlib.suppress(OSError):
            if _mine(_read(path)):  # else it was taken over while this process slept
                path.unlink()
        os.close(handle)


class Watch:
    """What one waiting process has seen of a holder.

    Attributes:
        alive: whether the holder is known to live.
    """

    def __init__(self) -> None:
        self.alive = False
        self._seen: tuple[bytes, int, int] | None = None
        self._still = self._looked = 0.0

    def died(self, handle: int) -> bool:
        """Look at the heartbeat; whether it has stood still for too long.

        Only time in which it was looked at counts: this process may have been asleep itself.
        """
        status = os.fstat(handle)
        seen, now = (os.pread(handle, SIZE, 0), status.st_ino, status.st_mtime_ns), time.monotonic()
        if seen == self._seen:
            self._still += min(now - self._looked, 5 * PAUSE)
        else:
            self.alive = self._seen is not None
            self._seen, self._still = seen, 0.0
        self._looked = now
        return self._still >= BEAT * MISSED


def _try(path: Path, watch: Watch) -> int | None:
    """Return an open handle that holds the lock, or None while somebody may hold it."""
    handle, created = _open(path)
    with _closing(handle):
        flocked = _flock(handle)
        watch.alive |= flocked is None
        free = flocked is not None and _same_file(handle, path)
        if free and (created or not _held(handle, flocked is True, watch)):
            try:
                with explained(path):
                    _write(handle, beat=0)
            except BaseException:
                path.unlink(missing_ok=True)  # an empty lock would have to be watched
                raise
            return handle
    os.close(handle)
    return None


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


def _write(handle: int, beat: int) -> None:
    """Say that this process holds the lock, in one piece: no reader sees half of it."""
    data = json.dumps({**_myself(), "beat": beat}).encode().ljust(SIZE)
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


def _held(handle: int, flocked: bool, watch: Watch) -> bool:
    """Whether somebody who may live holds the file, this process not counted.

    On this host flock has the last word where it works; it does not reach other hosts.
    """
    holder = _parsed(os.pread(handle, SIZE, 0))
    if _mine(holder):
        return False
    if holder.get("host") == socket.gethostname() and holder.get("boot") == _boot():
        watch.alive = not flocked and _started(holder.get("pid")) == holder.get("started")
        return watch.alive
    return not watch.died(handle)


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
    beat = 0
    while not stop.wait(BEAT):
        beat += 1
        with contextlib.suppress(OSError):
            if _mine(_read(path)):  # else it was taken over while this process slept
                _write(handle, beat)
